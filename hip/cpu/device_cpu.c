/*
 * The CPU device: choice of the instruction set, threads, scratch, buffers, streams and events.
 *
 * Every operation ends inside its call, so a stream has nothing to wait for, and an event that was
 * recorded has happened.
 */
#include "hip/cpu/internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD_SIZE_MAX 512

struct path_row {
    enum sora_cpu_path path;
    const char *name;
    const struct sora_device_ops *ops;
    bool (*available)(void);
};

static const struct path_row *path_find(enum sora_cpu_path path);

/* Large memory is offered to the kernel for huge pages: the products walk it in strides that miss
 * the address caches with small ones. */
void *sora_cpu_alloc(size_t size)
{
    const size_t huge = (size_t)2 << 20;
    size_t alignment = size >= huge / 2 ? huge : SORA_CPU_ALIGNMENT;
    if (size > SIZE_MAX - alignment)
        return NULL;
    size = (size + alignment - 1) / alignment * alignment;
    void *data = aligned_alloc(alignment, size ? size : alignment);
    if (data && alignment == huge)
        madvise(data, size, MADV_HUGEPAGE);
    return data;
}

/* ---- scratch ---- */

static int scratch_reserve(struct sora_cpu_scratch *scratch, size_t size)
{
    if (scratch->size >= size)
        return 0;
    free(scratch->data);
    *scratch = (struct sora_cpu_scratch){0};
    scratch->data = sora_cpu_alloc(size);
    if (!scratch->data)
        return SORA_E_MEMORY;
    scratch->size = size;
    return 0;
}

int sora_cpu_begin(struct sora_cpu_device *device, size_t thread_size, size_t shared_size)
{
    pthread_mutex_lock(&device->lock);
    int threads = sora_cpu_pool_threads(device->pool);
    int rc = scratch_reserve(&device->scratch[threads], shared_size);
    for (int i = 0; rc == 0 && i < threads; i++)
        rc = scratch_reserve(&device->scratch[i], thread_size);
    if (rc)
        pthread_mutex_unlock(&device->lock);
    return rc;
}

void sora_cpu_end(struct sora_cpu_device *device)
{
    pthread_mutex_unlock(&device->lock);
}

void *sora_cpu_thread_scratch(struct sora_cpu_device *device, int worker)
{
    return device->scratch[worker].data;
}

void *sora_cpu_shared_scratch(struct sora_cpu_device *device)
{
    return device->scratch[sora_cpu_pool_threads(device->pool)].data;
}

int sora_cpu_run(struct sora_cpu_device *device, size_t thread_size, int64_t count,
                 sora_cpu_task task, void *context)
{
    int rc = sora_cpu_begin(device, thread_size, 0);
    if (rc)
        return rc;
    sora_cpu_pool_run(device->pool, count, task, context);
    sora_cpu_end(device);
    return 0;
}

/* ---- buffers and packed weights ---- */

static int cpu_buffer_create(struct sora_device *device, size_t size,
                             struct sora_buffer **out_buffer)
{
    struct sora_cpu_buffer *buffer = calloc(1, sizeof(*buffer));
    unsigned char *data = buffer ? sora_cpu_alloc(size) : NULL;
    if (!data) {
        free(buffer);
        return SORA_E_MEMORY;
    }
    buffer->base = (struct sora_buffer){.device = device, .size = size};
    buffer->data = data;
    *out_buffer = &buffer->base;
    return 0;
}

static int cpu_buffer_import(struct sora_device *device, const void *data, size_t size,
                             struct sora_buffer **out_buffer)
{
    struct sora_cpu_buffer *buffer = calloc(1, sizeof(*buffer));
    if (!buffer)
        return SORA_E_MEMORY;
    buffer->base = (struct sora_buffer){.device = device, .size = size, .read_only = true};
    buffer->data = (unsigned char *)(uintptr_t)data; /* never written: read_only is checked */
    *out_buffer = &buffer->base;
    return 0;
}

static void cpu_buffer_destroy(struct sora_buffer *base)
{
    struct sora_cpu_buffer *buffer = (struct sora_cpu_buffer *)base;
    if (!base->read_only)
        free(buffer->data);
    free(buffer);
}

int sora_cpu_packed_alloc(struct sora_device *device, const struct sora_tensor *weight,
                          size_t count, struct sora_cpu_packed **out_packed)
{
    struct sora_cpu_packed *packed = calloc(1, sizeof(*packed));
    float *data = packed ? sora_cpu_alloc(count * sizeof(float)) : NULL;
    if (!data) {
        free(packed);
        return SORA_E_MEMORY;
    }
    int last = weight->rank - 1;
    packed->base = (struct sora_packed){
        .device = device,
        .out_channels = weight->shape[0],
        .in_channels = weight->shape[1],
        .kernel_t = weight->rank == 5 ? weight->shape[2] : 1,
        .kernel_h = weight->shape[last - 1],
        .kernel_w = weight->shape[last],
        .input_type = SORA_DTYPE_F32,
    };
    packed->data = data;
    *out_packed = packed;
    return 0;
}

static void cpu_packed_destroy(struct sora_packed *base)
{
    struct sora_cpu_packed *packed = (struct sora_cpu_packed *)base;
    free(packed->data);
    free(packed);
}

/* ---- streams and events ---- */

static int cpu_stream_create(struct sora_device *device, struct sora_stream **out_stream)
{
    struct sora_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return SORA_E_MEMORY;
    stream->device = device;
    *out_stream = stream;
    return 0;
}

static void cpu_stream_destroy(struct sora_stream *stream)
{
    free(stream);
}

static int cpu_stream_wait(struct sora_stream *stream)
{
    (void)stream;
    return 0;
}

static int cpu_event_create(struct sora_device *device, struct sora_event **out_event)
{
    struct sora_event *event = calloc(1, sizeof(*event));
    if (!event)
        return SORA_E_MEMORY;
    event->device = device;
    *out_event = event;
    return 0;
}

static void cpu_event_destroy(struct sora_event *event)
{
    free(event);
}

static int cpu_event_record(struct sora_event *event, struct sora_stream *stream)
{
    (void)event;
    (void)stream;
    return 0;
}

static int cpu_event_wait(struct sora_event *event)
{
    (void)event;
    return 0;
}

static int cpu_stream_wait_event(struct sora_stream *stream, struct sora_event *event)
{
    (void)stream;
    (void)event;
    return 0;
}

static int cpu_tensor_upload(struct sora_stream *stream, const struct sora_tensor *tensor,
                             const void *data)
{
    (void)stream;
    memcpy(sora_cpu_data(tensor), data, sora_tensor_size(tensor));
    return 0;
}

static int cpu_tensor_download(struct sora_stream *stream, const struct sora_tensor *tensor,
                               void *out_data)
{
    (void)stream;
    memcpy(out_data, sora_cpu_data(tensor), sora_tensor_size(tensor));
    return 0;
}

/* ---- the device ---- */

/* Value in bytes of a "Name:  123 kB" line of /proc/meminfo; 0 when it cannot be read. */
static uint64_t meminfo_read(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return 0;
    uint64_t bytes = 0;
    char line[256];
    size_t length = strlen(name);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            bytes = strtoull(line + length + 1, NULL, 10) * 1024;
            break;
        }
    }
    fclose(file);
    return bytes;
}

static void processor_read(char *out_name, size_t size)
{
    snprintf(out_name, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return;
    char line[256];
    while (fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out_name, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
}

static void cpu_device_caps(const struct sora_device *base, struct sora_device_caps *out_caps)
{
    const struct sora_cpu_device *device = (const struct sora_cpu_device *)base;
    int threads = sora_cpu_pool_threads(device->pool);
    *out_caps = (struct sora_device_caps){
        .thread_count = threads,
        .memory_total = meminfo_read("MemTotal"),
        .memory_free = meminfo_read("MemAvailable"),
        .host_memory = true,
        .head_size_max = base->head_size_max,
        .product_type = SORA_DTYPE_F32,
    };
    snprintf(out_caps->name, sizeof(out_caps->name), "%.40s, %d thread%s", device->processor,
             threads, threads == 1 ? "" : "s");
    snprintf(out_caps->device_class, sizeof(out_caps->device_class), "cpu-%s-%d",
             path_find(device->path)->name, SORA_CPU_KERNEL_VERSION);
}

static void cpu_device_destroy(struct sora_device *base)
{
    struct sora_cpu_device *device = (struct sora_cpu_device *)base;
    int threads = device->pool ? sora_cpu_pool_threads(device->pool) : 0;
    sora_cpu_pool_destroy(&device->pool);
    for (int i = 0; device->scratch && i < threads + 1; i++)
        free(device->scratch[i].data);
    free(device->scratch);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

static int threads_default(void)
{
    cpu_set_t set;
    int count = 0;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = CPU_COUNT(&set);
    if (count < 1)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return (int)sora_cpu_min(sora_cpu_max(count, 1), SORA_CPU_THREADS_MAX);
}

int sora_cpu_device_create(const struct sora_cpu_params *params, struct sora_device **out_device,
                           struct sora_fault *fault)
{
    const struct sora_cpu_params defaults = {0};
    params = params ? params : &defaults;
    if (params->thread_count < 0 || params->thread_count > SORA_CPU_THREADS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "threads: %d is outside 0..%d; 0 means all cores of this process",
                              params->thread_count, SORA_CPU_THREADS_MAX);
    const struct path_row *row = path_find(params->path);
    if (!row)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "this processor or build lacks the requested instruction set (path "
                              "%d); use the automatic choice",
                              (int)params->path);
    struct sora_cpu_device *device = calloc(1, sizeof(*device));
    if (!device)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the CPU device");
    device->base = (struct sora_device){.ops = row->ops, .head_size_max = HEAD_SIZE_MAX};
    device->path = row->path;
    processor_read(device->processor, sizeof(device->processor));
    pthread_mutex_init(&device->lock, NULL);
    int threads = params->thread_count ? params->thread_count : threads_default();
    int rc = sora_cpu_pool_create(threads, &device->pool);
    if (rc == 0) {
        device->scratch = calloc((size_t)threads + 1, sizeof(*device->scratch));
        rc = device->scratch ? 0 : SORA_E_MEMORY;
    }
    if (rc) {
        cpu_device_destroy(&device->base);
        return sora_fault_set(fault, rc, "the CPU device could not start %d threads", threads);
    }
    *out_device = &device->base;
    return 0;
}

/* Slots that are the same for every path. */
#define COMMON_SLOTS                                                                               \
    .device_destroy = cpu_device_destroy, .device_caps = cpu_device_caps,                          \
    .buffer_create = cpu_buffer_create, .buffer_import = cpu_buffer_import,                        \
    .buffer_destroy = cpu_buffer_destroy, .stream_create = cpu_stream_create,                      \
    .stream_destroy = cpu_stream_destroy, .stream_wait = cpu_stream_wait,                          \
    .event_create = cpu_event_create, .event_destroy = cpu_event_destroy,                          \
    .event_record = cpu_event_record, .event_wait = cpu_event_wait,                                \
    .stream_wait_event = cpu_stream_wait_event, .tensor_upload = cpu_tensor_upload,                \
    .tensor_download = cpu_tensor_download, .packed_destroy = cpu_packed_destroy,                  \
    .copy = sora_plain_copy, .fill = sora_plain_fill, .quantize = sora_plain_quantize,             \
    .gather_rows = sora_plain_gather_rows

static const struct sora_device_ops ops_plain = {
    COMMON_SLOTS,
    .convert = sora_plain_convert,
    .matmul = sora_plain_matmul,
    .attention = sora_plain_attention,
    .packed_create = sora_plain_packed_create,
    .conv3d = sora_plain_conv3d,
    .layer_norm = sora_plain_layer_norm,
    .rms_norm = sora_plain_rms_norm,
    .rope = sora_plain_rope,
    .activation = sora_plain_activation,
    .combine = sora_plain_combine,
    .affine = sora_plain_affine,
    .permute = sora_plain_permute,
    .to_rgb8 = sora_plain_to_rgb8,
    .all_finite = sora_plain_all_finite,
};

#if SORA_CPU_X86

#define FAST_SLOTS(set)                                                                            \
    COMMON_SLOTS, .convert = sora_##set##_convert, .matmul = sora_##set##_matmul,                  \
                  .attention = sora_##set##_attention,                                             \
                  .packed_create = sora_##set##_packed_create, .conv3d = sora_##set##_conv3d,      \
                  .layer_norm = sora_##set##_layer_norm, .rms_norm = sora_##set##_rms_norm,        \
                  .rope = sora_##set##_rope, .activation = sora_##set##_activation,                \
                  .combine = sora_##set##_combine, .affine = sora_##set##_affine,                  \
                  .permute = sora_plain_permute, .to_rgb8 = sora_##set##_to_rgb8,                  \
                  .all_finite = sora_##set##_all_finite

static const struct sora_device_ops ops_avx2 = {FAST_SLOTS(avx2)};
static const struct sora_device_ops ops_avx512 = {FAST_SLOTS(avx512)};

/* Every processor with AVX2 has F16C too; clang 14 cannot be asked for it. */
static bool avx2_available(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool avx512_available(void)
{
    return avx2_available() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

#endif

static bool always_available(void)
{
    return true;
}

/* Best first. */
static const struct path_row path_rows[] = {
#if SORA_CPU_X86
    {SORA_CPU_PATH_AVX512, "avx512", &ops_avx512, avx512_available},
    {SORA_CPU_PATH_AVX2, "avx2", &ops_avx2, avx2_available},
#endif
    {SORA_CPU_PATH_PLAIN, "plain", &ops_plain, always_available},
};

static const struct path_row *path_find(enum sora_cpu_path path)
{
    for (size_t i = 0; i < sizeof(path_rows) / sizeof(path_rows[0]); i++) {
        if ((path == SORA_CPU_PATH_AUTO || path == path_rows[i].path) && path_rows[i].available())
            return &path_rows[i];
    }
    return NULL;
}
