/* oneDNN's matrix product, the yardstick of the benchmarks: the device's own product needs no f32
 * copy of 16-bit weights and gives the same bits with any thread count, which dnnl_sgemm does not
 * promise. Blocks; uses OpenMP's threads. */
#ifndef SORA_HIP_CPU_SGEMM_H
#define SORA_HIP_CPU_SGEMM_H

#include <stdint.h>

/* c[m,n] = a[m,k] b[n,k]^T, row-major f32. Errors: DEVICE. */
int sora_cpu_sgemm(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c);

#endif
