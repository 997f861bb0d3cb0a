/*
 * The one inner kernel of matmul, attention and convolution: a register tile of sums.
 *
 *   c[i, j] (+)= sum over segments s and k of a[s][i * row_stride + k] * b[s * depth + k, j]
 *
 * for i < rows (1..TILE_ROWS) and the PANEL or VF_LANES columns of one packed panel. Every element
 * is one chain of fused multiply-adds in the order of k from zero, then added to c, whatever the
 * tile: how an operation is cut into tiles never changes a bit. Pure, any thread.
 */
#ifndef SORA_HIP_CPU_FAST_TILE_H
#define SORA_HIP_CPU_FAST_TILE_H

#include "hip/cpu/fast/simd.h"

#ifdef FAST

struct fast_tile {
    const float *const *a; /* per segment: its row 0 */
    int64_t a_offset;      /* elements added to each */
    int64_t row_stride;    /* elements */
    int64_t depth;         /* k per segment */
    int segments;
    const float *b; /* packed: columns_stored floats per k */
    float *c;
    int64_t c_stride; /* elements */
    bool add;         /* add to c; else write it */
    /* Two rows of `depth` elements that the caller reads soon, asked for along the way; NULL: none.
     */
    const float *ahead[2];
};

/* vectors: 1 or 2 vectors of columns, which is also how b is packed. */
void FAST(tile)(int rows, int vectors, const struct fast_tile *tile);

#endif

#endif
