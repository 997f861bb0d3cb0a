/* Names of devices. */
#include "node/device_open.h"

#include "hip/cpu/cpu.h"
#include "hip/gpu/gpu.h"

#include <string.h>

int sora_device_open(const struct sora_device_open_params *params, struct sora_device **out_device,
                     struct sora_fault *fault)
{
    const char *name = params->name ? params->name : "cpu0";
    if (strncmp(name, "cpu", 3) == 0) {
        const struct sora_cpu_params cpu = {.thread_count = params->threads};
        return sora_cpu_device_create(&cpu, out_device, fault);
    }
    if (!sora_gpu_name_is(name))
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "there is no device %.32s: use cpu0, or gpu0 for the first card "
                              "('sora-worker devices' lists them)",
                              name);
    struct sora_gpu_params gpu = {
        .memory_limit = params->memory_bytes,
        .precision = (enum sora_gpu_precision)params->precision,
        .cache_folder = params->cache_folder,
    };
    int error = sora_gpu_name_resolve(name, &gpu, fault);
    return error ? error : sora_gpu_device_create(&gpu, out_device, fault);
}
