/*
 * Packing of a matrix whose rows are contiguous into a panel that the tile reads: transposed and
 * widened to f32. Pure, any thread.
 */
#ifndef SORA_HIP_CPU_FAST_PACK_H
#define SORA_HIP_CPU_FAST_PACK_H

#include "hip/cpu/fast/simd.h"

#ifdef FAST

struct fast_source {
    const void *data; /* f32, f16 or bf16 */
    enum sora_dtype dtype;
    int64_t offset, stride; /* elements: row 0, and from row to row */
};

/* out[k * vectors * VF_LANES + j] = row j, element k, for k < depth and j < rows; further j of the
 * panel are 0. rows 1..vectors*VF_LANES, vectors 1 or 2. */
void FAST(pack_rows)(const struct fast_source *source, int rows, int64_t depth, int vectors,
                     float *out);

#endif

#endif
