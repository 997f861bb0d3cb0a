/*
 * The GPU device: making it, its buffers, and its table of operations.
 */
#include "hip/gpu/internal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- failures ---- */

/* Out of memory is an answer and not logged; what else fails on a card fails for good, so the first
 * line says it all. */
int sora_gpu_check(struct sora_gpu_device *device, const char *what, int status)
{
    if (status == SORA_GPU_STATUS_OK)
        return 0;
    int error = sora_gpu_error(status);
    if (error == SORA_E_MEMORY)
        return error;
    pthread_mutex_lock(&device->lock);
    bool first = !device->failed;
    device->failed = true;
    pthread_mutex_unlock(&device->lock);
    if (first)
        sora_log(SORA_LOG_ERROR, "card failed while=%s text=%s status=%d card=%s arch=%s pci=%s",
                 what, sora_gpu_error_text(device->runtime, status), status, device->card.name,
                 device->card.arch, device->card.pci);
    return error;
}

int sora_gpu_enter(struct sora_gpu_device *device)
{
    const struct sora_gpu_calls *calls = &device->runtime->calls;
    int status = calls->hip_set_device ? calls->hip_set_device(device->card.index)
                                       : calls->cuda_context_use(device->context);
    return sora_gpu_check(device, "selecting the card", status);
}

/* ---- buffers ---- */

void sora_gpu_release(struct sora_gpu_device *device, struct sora_gpu_block **block)
{
    if (!*block)
        return;
    sora_gpu_enter(device);
    pthread_mutex_lock(&device->lock);
    bool shared = device->stream_count > 1;
    pthread_mutex_unlock(&device->lock);
    if (shared)
        sora_gpu_check(device, "waiting for the card", device->runtime->calls.synchronize());
    sora_gpu_pool_give(device->pool, block);
}

static int buffer_make(struct sora_gpu_device *device, size_t size, bool read_only,
                       struct sora_gpu_buffer **out_buffer)
{
    struct sora_gpu_buffer *buffer = calloc(1, sizeof(*buffer));
    int error = buffer ? sora_gpu_enter(device) : SORA_E_MEMORY;
    if (!error)
        error = sora_gpu_pool_take(device->pool, size, &buffer->block);
    if (error) {
        free(buffer);
        return error;
    }
    buffer->base =
        (struct sora_buffer){.device = &device->base, .size = size, .read_only = read_only};
    *out_buffer = buffer;
    return 0;
}

static int buffer_create(struct sora_device *device, size_t size, struct sora_buffer **out_buffer)
{
    struct sora_gpu_buffer *buffer = NULL;
    int error = buffer_make((struct sora_gpu_device *)device, size, false, &buffer);
    if (!error)
        *out_buffer = &buffer->base;
    return error;
}

static void buffer_destroy(struct sora_buffer *base)
{
    struct sora_gpu_buffer *buffer = (struct sora_gpu_buffer *)base;
    sora_gpu_release((struct sora_gpu_device *)base->device, &buffer->block);
    free(buffer);
}

/* The device's own stream takes a block that the caller's stream may still use: that one is waited
 * for first. Imports happen while a model opens. */
static int buffer_import(struct sora_device *base, const void *data, size_t size,
                         struct sora_buffer **out_buffer)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base;
    struct sora_gpu_buffer *buffer = NULL;
    int error = buffer_make(device, size, true, &buffer);
    if (error)
        return error;
    pthread_mutex_lock(&device->import_lock);
    error = sora_gpu_check(device, "waiting for the card", device->runtime->calls.synchronize());
    if (!error)
        error = sora_gpu_copy_in(&device->own->base, buffer->block->memory, data, size);
    if (!error)
        error = sora_gpu_stream_wait(&device->own->base);
    pthread_mutex_unlock(&device->import_lock);
    if (error) {
        buffer_destroy(&buffer->base);
        return error;
    }
    *out_buffer = &buffer->base;
    return 0;
}

/* ---- the device ---- */

const char *sora_gpu_precision_name(enum sora_gpu_precision precision)
{
    static const char *const names[] = {"bf16", "f16", "f32", "int8", "fp8"};
    return (unsigned)precision < sizeof(names) / sizeof(names[0]) ? names[precision] : NULL;
}

/* A library's choice depends on how many processors it may use. */
static void write_class(struct sora_gpu_device *device, enum sora_gpu_precision precision,
                        char out_class[64])
{
    const char *library = sora_gpu_blas_class(device);
    int length = snprintf(out_class, 64, "%.20s-%s-%d", device->card.arch,
                          sora_gpu_precision_name(precision), SORA_GPU_KERNEL_VERSION);
    if (library)
        snprintf(out_class + length, 64 - (size_t)length, "-%s-%d", library,
                 device->card.processor_count);
}

static void device_caps(const struct sora_device *base, struct sora_device_caps *out_caps)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)(uintptr_t)base;
    struct sora_gpu_pool_use use;
    size_t unused = 0, total = 0;
    sora_gpu_pool_use(device->pool, &use);
    bool known = !sora_gpu_enter(device) && !device->runtime->calls.memory_info(&unused, &total);
    uint64_t limit = device->memory_limit ? device->memory_limit : device->card.memory_total;
    uint64_t left = limit > use.used_bytes ? limit - use.used_bytes : 0;
    uint64_t free_bytes = known ? unused + use.kept_bytes : 0;
    *out_caps = (struct sora_device_caps){
        .memory_total = limit,
        .memory_free = free_bytes < left ? free_bytes : left,
        .head_size_max = base->head_size_max,
    };
    out_caps->product_type = device->target.kind == GPU_SIMT
                                 ? SORA_DTYPE_F32
                                 : sora_gpu_product_type(device, SORA_DTYPE_F32);
    out_caps->matrix_type = device->precision == SORA_GPU_INT8  ? SORA_DTYPE_I8
                            : device->precision == SORA_GPU_FP8 ? SORA_DTYPE_F8
                                                                : SORA_DTYPE_NONE;
    snprintf(out_caps->name, sizeof(out_caps->name), "%.63s", device->card.name);
    write_class(device, device->precision, out_caps->device_class);
    write_class(device, SORA_GPU_INT8, out_caps->int8_class);
}

static void device_destroy(struct sora_device *base)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base;
    if (device->own)
        sora_gpu_stream_close(device->own);
    if (device->entered)
        sora_gpu_enter(device);
    sora_gpu_blas_destroy(&device->blas);
    sora_gpu_module_destroy(&device->module);
    sora_gpu_pool_destroy(&device->pool);
    if (device->entered)
        sora_gpu_card_leave(device->runtime, device->card.index, device->context);
    sora_gpu_runtime_destroy(&device->runtime);
    pthread_mutex_destroy(&device->import_lock);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

static const struct sora_device_ops gpu_ops = {
    .device_destroy = device_destroy,
    .device_caps = device_caps,
    .buffer_create = buffer_create,
    .buffer_import = buffer_import,
    .buffer_destroy = buffer_destroy,
    .stream_create = sora_gpu_stream_create,
    .stream_destroy = sora_gpu_stream_destroy,
    .stream_wait = sora_gpu_stream_wait,
    .event_create = sora_gpu_event_create,
    .event_destroy = sora_gpu_event_destroy,
    .event_record = sora_gpu_event_record,
    .event_wait = sora_gpu_event_wait,
    .stream_wait_event = sora_gpu_stream_wait_event,
    .tensor_upload = sora_gpu_tensor_upload,
    .tensor_download = sora_gpu_tensor_download,
    .copy = sora_gpu_copy,
    .fill = sora_gpu_fill,
    .convert = sora_gpu_convert,
    .matmul = sora_gpu_matmul,
    .quantize = sora_gpu_quantize,
    .attention = sora_gpu_attention,
    .packed_create = sora_gpu_packed_create,
    .packed_destroy = sora_gpu_packed_destroy,
    .conv3d = sora_gpu_conv3d,
    .layer_norm = sora_gpu_layer_norm,
    .rms_norm = sora_gpu_rms_norm,
    .rope = sora_gpu_rope,
    .activation = sora_gpu_activation,
    .combine = sora_gpu_combine,
    .affine = sora_gpu_affine,
    .gather_rows = sora_gpu_gather_rows,
    .permute = sora_gpu_permute,
    .to_rgb8 = sora_gpu_to_rgb8,
    .all_finite = sora_gpu_all_finite,
};

const struct sora_gpu_card *sora_gpu_device_card(const struct sora_device *device)
{
    return device->ops == &gpu_ops ? &((const struct sora_gpu_device *)device)->card : NULL;
}

void sora_gpu_device_usage(const struct sora_device *base, struct sora_gpu_usage *out_usage)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)(uintptr_t)base;
    struct sora_gpu_pool_use use;
    SORA_ASSERT(sora_gpu_device_card(base) != NULL);
    sora_gpu_pool_use(device->pool, &use);
    *out_usage = (struct sora_gpu_usage){
        .memory_bytes = use.used_bytes,
        .memory_bytes_max = use.used_bytes_max,
        .launches = atomic_load_explicit(&device->launches, memory_order_relaxed),
        .copies = atomic_load_explicit(&device->copies, memory_order_relaxed),
    };
}

static int pool_make(struct sora_gpu_device *device, struct sora_fault *fault)
{
    const struct sora_gpu_pool_params params = {
        .runtime = device->runtime,
        .limit_bytes = device->memory_limit,
        .exact = device->card.vendor == SORA_GPU_EMULATOR,
    };
    if (sora_gpu_pool_create(&params, &device->pool))
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the device %s",
                              device->card.name);
    return 0;
}

/* What the kernels can do for the card's architecture. */
static int target_find(struct sora_gpu_device *device, struct sora_fault *fault)
{
    const struct sora_gpu_card *card = &device->card;
    if (sora_kernel_target_find(card->arch, &device->target))
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "%s: there are no kernels for %s; NVIDIA cards from sm_80 and AMD "
                              "cards from gfx900 on are supported",
                              card->name, card->arch);
    if (device->precision == SORA_GPU_FP8 && device->target.fp8 == SORA_GPU_FP8_NONE)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "%s: %s has no fp8, which NVIDIA cards from sm_89 on and gfx942, "
                              "gfx950 and gfx12 of AMD have; --precision int8 takes as little "
                              "memory",
                              card->name, card->arch);
    return 0;
}

/* In the order of what needs what; device_destroy takes a device that stopped anywhere. */
static int device_start(struct sora_gpu_device *device, const struct sora_gpu_params *params,
                        struct sora_fault *fault)
{
    const struct sora_gpu_runtime_params runtime = {params->vendor, params->library};
    int error = sora_gpu_runtime_create(&runtime, &device->runtime, fault);
    if (!error)
        error = sora_gpu_card_read(device->runtime, params->index, &device->card, fault);
    if (!error)
        error = sora_gpu_card_enter(device->runtime, params->index, &device->context, fault);
    if (error)
        return error;
    device->entered = true;
    error = pool_make(device, fault);
    const struct sora_gpu_module_params module = {
        .runtime = device->runtime,
        .card = &device->card,
        .cache_folder = params->cache_folder,
    };
    if (!error)
        error = target_find(device, fault);
    if (!error)
        error = sora_gpu_module_create(&module, &device->module, fault);
    if (!error) {
        error = sora_gpu_stream_open(device, &device->own);
        if (error)
            sora_fault_set(fault, error,
                           "%s: no memory for staging and scratch: close other "
                           "programs that use the card",
                           device->card.name);
    }
    if (!error)
        sora_gpu_blas_open(device);
    return error;
}

int sora_gpu_device_create(const struct sora_gpu_params *params, struct sora_device **out_device,
                           struct sora_fault *fault)
{
    if ((unsigned)params->precision > SORA_GPU_FP8)
        return sora_fault_set(fault, SORA_E_INVALID, "precision %d is outside 0..%d",
                              (int)params->precision, SORA_GPU_FP8);
    struct sora_gpu_device *device = calloc(1, sizeof(*device));
    if (!device)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a GPU device");
    device->base = (struct sora_device){.ops = &gpu_ops, .head_size_max = SORA_GPU_HEAD_SIZE_MAX};
    device->precision = params->precision;
    device->memory_limit = params->memory_limit;
    pthread_mutex_init(&device->lock, NULL);
    pthread_mutex_init(&device->import_lock, NULL);
    int error = device_start(device, params, fault);
    if (error) {
        device_destroy(&device->base);
        return error;
    }
    *out_device = &device->base;
    return 0;
}
