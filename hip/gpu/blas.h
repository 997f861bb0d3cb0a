/*
 * Large matrix products by the vendor's own library: cuBLASLt or hipBLASLt, loaded at run time.
 *
 * Only this module knows the library's symbols and numbers. A product is exact in meaning: 16-bit
 * or fp8 operands, f32 sums, f32 results, optionally a bias per column; nothing else is asked of
 * it. For each shape the library's heuristic picks an algorithm once, within a hard bound of
 * workspace, and the choice is kept, so that one shape is always computed alike. What the library
 * does not take ends with UNSUPPORTED; the caller's kernels do it then.
 *
 * Ownership: the caller owns an instance and destroys it before the driver's context. Threads: any,
 * one at a time (a lock inside). Products are queued in the given stream and do not block; making
 * an instance may take a second. The library keeps its own code in the card's memory, which no
 * limit of ours counts.
 */
#ifndef SORA_HIP_GPU_BLAS_H
#define SORA_HIP_GPU_BLAS_H

#include "hip/gpu/runtime.h"
#include "hip/tensor.h"

struct sora_gpu_blas;

struct sora_gpu_blas_params {
    enum sora_gpu_vendor vendor; /* AMD or NVIDIA: whose names are looked up */
    const char *library;         /* NULL: the vendor's usual names; else this file only */
    size_t workspace_bytes;      /* no algorithm may need more */
    bool fnuz;                   /* the card's fp8 has the exponent's bias 8 */
};

/* What the environment variable SORA_GPU_BLAS asks for: false with "off"; the file that it names,
 * or NULL for the usual names. */
bool sora_gpu_blas_asked(const char **out_library);
/* The usual names of a vendor's library, best first, ended by NULL. */
const char *const *sora_gpu_blas_libraries(enum sora_gpu_vendor vendor);

/* Loads the library and opens it for the card that is current. Errors: NOT_FOUND (no library, a
 * symbol is missing, too old), DEVICE (it does not start), MEMORY; each with a sentence. */
int sora_gpu_blas_create(const struct sora_gpu_blas_params *params, struct sora_gpu_blas **out_blas,
                         struct sora_fault *fault);
void sora_gpu_blas_destroy(struct sora_gpu_blas **blas);

/* Name and version, as they belong into a device class: "cublaslt130100". Lives as long as it. */
const char *sora_gpu_blas_name(const struct sora_gpu_blas *blas);
/* The file that was loaded. */
const char *sora_gpu_blas_library(const struct sora_gpu_blas *blas);

/* out[m][n] = rows[m][k] weight[n][k]^T + bias[n], all 16-byte aligned, k a multiple of 8. With F8
 * (sora_op_quantize) n and k are multiples of 16 and there is no bias. */
struct sora_gpu_blas_product {
    enum sora_dtype dtype; /* of rows and weight: BF16, F16 or F8 */
    int m, n, k;
    const void *rows, *weight;
    const float *bias; /* optional */
    float *out;
    void *workspace; /* of the bound's size; in use until the product is done */
    void *stream;
};

/* Queues a product. UNSUPPORTED: the library has no algorithm for the shape, now and later. DEVICE:
 * it failed (with the sentence); nothing was queued, and it should not be asked again. */
int sora_gpu_blas_multiply(struct sora_gpu_blas *blas, const struct sora_gpu_blas_product *product,
                           struct sora_fault *fault);

#endif
