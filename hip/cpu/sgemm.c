/* The benchmarks' yardstick. */
#include "hip/cpu/sgemm.h"

#include "base/error.h"

#include <dnnl.h>

int sora_cpu_sgemm(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c)
{
    dnnl_status_t status = dnnl_sgemm('N', 'T', m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
    return status == dnnl_success ? 0 : SORA_E_DEVICE;
}
