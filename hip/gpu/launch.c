/* From a plan to a queued kernel. */
#include "hip/gpu/internal.h"

int sora_gpu_launch(struct sora_stream *base, const struct sora_launch_plan *plan, const void *args)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    atomic_fetch_add_explicit(&device->launches, 1, memory_order_relaxed);
    return sora_gpu_check(device, sora_kernel_name(plan->kernel),
                          sora_gpu_module_launch(device->module, stream->handle, plan, args));
}

int sora_gpu_launch_elements(struct sora_stream *stream, enum sora_kernel kernel, const void *args,
                             int64_t count)
{
    struct sora_launch_plan plan;
    int error = sora_plan_elements(kernel, count, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, args);
}

int sora_gpu_launch_rows(struct sora_stream *stream, enum sora_kernel kernel, const void *args,
                         int64_t rows)
{
    struct sora_launch_plan plan;
    int error = sora_plan_rows(&sora_gpu_device_of(stream)->target, kernel, rows, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, args);
}
