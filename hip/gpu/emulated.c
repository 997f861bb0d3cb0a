/*
 * The emulator's driver calls. Function handles are entries of a module's table.
 */
#include "hip/gpu/emulated.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_TOTAL ((uint64_t)16 << 30)
#define HEAD_BYTES 256 /* in front of a block: its size, and the alignment of what follows */
#define STATUS_INVALID 1
#define STATUS_LOST 719

static struct {
    pthread_mutex_t lock;
    struct sora_emulated_controls controls;
    struct sora_emulated_counts counts;
    struct sora_emulator *emulator; /* made at the first launch, kept */
    struct sora_fault fault;        /* of the last launch that failed */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int current;

void sora_emulated_set(const struct sora_emulated_controls *controls)
{
    pthread_mutex_lock(&state.lock);
    state.controls = controls ? *controls : (struct sora_emulated_controls){0};
    state.counts.allocations = 0;
    state.counts.work = 0;
    state.fault = (struct sora_fault){0};
    pthread_mutex_unlock(&state.lock);
}

void sora_emulated_count(struct sora_emulated_counts *out_counts)
{
    pthread_mutex_lock(&state.lock);
    *out_counts = state.counts;
    pthread_mutex_unlock(&state.lock);
}

/* ---- with the lock held ---- */

static uint64_t memory_total(void)
{
    return state.controls.memory_total ? state.controls.memory_total : MEMORY_TOTAL;
}

static uint64_t memory_left(void)
{
    uint64_t held = state.counts.live_bytes, others = 0;
    FILE *file = state.controls.others[0] ? fopen(state.controls.others, "r") : NULL;
    if (file && fscanf(file, "%9" SCNu64, &others) == 1)
        held += others << 20;
    if (file)
        fclose(file);
    return memory_total() > held ? memory_total() - held : 0;
}

static int lost(void)
{
    bool is_lost = state.controls.lost_at && state.counts.work >= state.controls.lost_at;
    return is_lost ? STATUS_LOST : SORA_GPU_STATUS_OK;
}

static int allocate(void **memory, size_t size)
{
    if (lost())
        return STATUS_LOST;
    if (++state.counts.allocations == state.controls.memory_at || size > memory_left())
        return SORA_GPU_STATUS_MEMORY;
    /* No more than was asked for, so that a sanitizer sees what runs over the end. */
    void *block = NULL;
    if (posix_memalign(&block, HEAD_BYTES, HEAD_BYTES + size))
        return SORA_GPU_STATUS_MEMORY;
    memcpy(block, &size, sizeof(size));
    *memory = (char *)block + HEAD_BYTES;
    memset(*memory, 0xff, size);
    state.counts.live_allocations++;
    state.counts.live_bytes += size;
    return SORA_GPU_STATUS_OK;
}

static void release(void *memory)
{
    size_t size;
    void *block = (char *)memory - HEAD_BYTES;
    memcpy(&size, block, sizeof(size));
    state.counts.live_allocations--;
    state.counts.live_bytes -= size;
    free(block);
}

static int handle_make(void **handle, int64_t *live)
{
    if (lost())
        return STATUS_LOST;
    if (++state.counts.allocations == state.controls.memory_at)
        return SORA_GPU_STATUS_MEMORY;
    *handle = malloc(1);
    *live += *handle != NULL;
    return *handle ? SORA_GPU_STATUS_OK : SORA_GPU_STATUS_MEMORY;
}

static void handle_free(void *handle, int64_t *live)
{
    free(handle);
    --*live;
}

/* ---- the calls ---- */

#define LOCKED(expression)                                                                         \
    pthread_mutex_lock(&state.lock);                                                               \
    int status = (expression);                                                                     \
    pthread_mutex_unlock(&state.lock);                                                             \
    return status

static int call_init(unsigned flags)
{
    return flags ? STATUS_INVALID : SORA_GPU_STATUS_OK;
}

static int call_driver_version(int *version)
{
    *version = 0;
    return SORA_GPU_STATUS_OK;
}

static const char *call_error_text(int code)
{
    static _Thread_local char text[SORA_FAULT_TEXT_SIZE];
    if (code == SORA_GPU_STATUS_MEMORY)
        return "out of memory";
    pthread_mutex_lock(&state.lock);
    snprintf(text, sizeof(text), "%s", state.fault.code ? state.fault.text : "the card was lost");
    pthread_mutex_unlock(&state.lock);
    return text;
}

static int call_device_count(int *count)
{
    *count = SORA_EMULATOR_MODULES;
    return SORA_GPU_STATUS_OK;
}

static int call_device_get(int *device, int index)
{
    *device = index;
    return index >= 0 && index < SORA_EMULATOR_MODULES ? SORA_GPU_STATUS_OK : STATUS_INVALID;
}

static int call_device_name(char *name, int size, int device)
{
    snprintf(name, (size_t)size, "%s", sora_emulator_module_get(device)->arch);
    return SORA_GPU_STATUS_OK;
}

static int call_device_pci(char *id, int size, int device)
{
    (void)device;
    snprintf(id, (size_t)size, "%s", "");
    return SORA_GPU_STATUS_OK;
}

static int call_device_attribute(int *value, int attribute, int device)
{
    switch (attribute) { /* hipDeviceAttribute_t, as in hip/gpu/card.c */
    case 87:
        *value = sora_emulator_module_get(device)->wave;
        return SORA_GPU_STATUS_OK;
    case 63:
        *value = 1;
        return SORA_GPU_STATUS_OK;
    case 74:
        *value = SORA_EMULATOR_SHARED_MAX;
        return SORA_GPU_STATUS_OK;
    case 56:
        *value = SORA_EMULATOR_THREADS_MAX;
        return SORA_GPU_STATUS_OK;
    default:
        return STATUS_INVALID;
    }
}

static int call_device_memory(size_t *bytes, int device)
{
    (void)device;
    *bytes = memory_total();
    return SORA_GPU_STATUS_OK;
}

static int call_set_device(int device)
{
    current = device;
    LOCKED(lost());
}

static int call_synchronize(void)
{
    LOCKED(lost());
}

static int call_memory_info(size_t *free_bytes, size_t *total)
{
    pthread_mutex_lock(&state.lock);
    *total = memory_total();
    *free_bytes = memory_left();
    int status = lost();
    pthread_mutex_unlock(&state.lock);
    return status;
}

static int call_memory_alloc(void **memory, size_t size)
{
    LOCKED(allocate(memory, size));
}

static int call_host_alloc(void **memory, size_t size, unsigned flags)
{
    (void)flags;
    LOCKED(allocate(memory, size));
}

static int call_memory_free(void *memory)
{
    pthread_mutex_lock(&state.lock);
    release(memory);
    int status = lost();
    pthread_mutex_unlock(&state.lock);
    return status;
}

static int work(void)
{
    state.counts.work++;
    return lost();
}

static int copy(void *to, const void *from, size_t size)
{
    pthread_mutex_lock(&state.lock);
    int status = work();
    pthread_mutex_unlock(&state.lock);
    if (!status)
        memmove(to, from, size);
    return status;
}

static int call_copy_in(void *to, const void *from, size_t size, void *stream)
{
    return stream ? copy(to, from, size) : STATUS_INVALID;
}

static int call_copy_out(void *to, void *from, size_t size, void *stream)
{
    return stream ? copy(to, from, size) : STATUS_INVALID;
}

static int call_fill_words(void *memory, int word, size_t count, void *stream)
{
    int status = stream ? copy(memory, &word, count ? sizeof(word) : 0) : STATUS_INVALID;
    for (size_t i = 1; !status && i < count; i++)
        memcpy((char *)memory + i * sizeof(word), &word, sizeof(word));
    return status;
}

static int call_stream_create(void **stream, unsigned flags)
{
    (void)flags;
    LOCKED(handle_make(stream, &state.counts.live_streams));
}

static int call_stream_destroy(void *stream)
{
    pthread_mutex_lock(&state.lock);
    handle_free(stream, &state.counts.live_streams);
    pthread_mutex_unlock(&state.lock);
    return SORA_GPU_STATUS_OK;
}

static int call_stream_synchronize(void *stream)
{
    LOCKED(stream ? lost() : STATUS_INVALID);
}

static int call_stream_wait_event(void *stream, void *event, unsigned flags)
{
    (void)flags;
    LOCKED(stream && event ? lost() : STATUS_INVALID);
}

static int call_event_create(void **event, unsigned flags)
{
    (void)flags;
    LOCKED(handle_make(event, &state.counts.live_events));
}

static int call_event_destroy(void *event)
{
    pthread_mutex_lock(&state.lock);
    handle_free(event, &state.counts.live_events);
    pthread_mutex_unlock(&state.lock);
    return SORA_GPU_STATUS_OK;
}

static int call_event_record(void *event, void *stream)
{
    LOCKED(stream && event ? lost() : STATUS_INVALID);
}

static int call_event_synchronize(void *event)
{
    LOCKED(event ? lost() : STATUS_INVALID);
}

/* The current card's kernels; there is no image. */
static int call_module_load(void **module, const void *image)
{
    (void)image;
    *module = (void *)(uintptr_t)sora_emulator_module_get(current);
    LOCKED(lost());
}

static int call_module_unload(void *module)
{
    (void)module;
    return SORA_GPU_STATUS_OK;
}

static int call_module_function(void **function, void *handle, const char *name)
{
    const struct sora_emulator_module *module = handle;
    for (int i = 0; i < module->function_count; i++) {
        if (strcmp(module->functions[i].name, name) == 0) {
            *function = (void *)(uintptr_t)&module->functions[i];
            return SORA_GPU_STATUS_OK;
        }
    }
    return SORA_GPU_STATUS_NOT_FOUND;
}

static int run(const struct sora_emulator_launch *launch)
{
    int status = work();
    if (status)
        return status;
    if (!state.emulator && sora_emulator_create(&state.emulator))
        return SORA_GPU_STATUS_MEMORY;
    struct sora_fault fault = {0};
    int error = sora_emulator_launch(state.emulator, launch, &fault);
    if (!error)
        return SORA_GPU_STATUS_OK;
    if (error == SORA_E_MEMORY)
        return SORA_GPU_STATUS_MEMORY;
    state.fault = fault;
    return STATUS_LOST;
}

/* Arguments come as hip/gpu/launch.c packs them: pointer, buffer, size, pointer to the size. */
static int call_launch(void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                       unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                       void *stream, void **arguments, void **extra)
{
    const struct sora_emulator_function *function = handle;
    if (!stream || arguments || block_y != 1 || block_z != 1)
        return STATUS_INVALID;
    const struct sora_emulator_launch launch = {
        .name = function->name,
        .kernel = function->kernel,
        .grid = {grid_x, grid_y, grid_z},
        .threads = (int)block_x,
        .wave = sora_emulator_module_get(current)->wave,
        .shared_size = shared_bytes,
        .args = extra[1],
        .args_size = *(const size_t *)extra[3],
        .order = state.controls.order,
        .seed = state.controls.seed,
    };
    LOCKED(run(&launch));
}

void sora_emulated_open(struct sora_gpu_runtime *runtime)
{
    snprintf(runtime->library, sizeof(runtime->library), "the emulator");
    runtime->device_count = SORA_EMULATOR_MODULES;
    runtime->calls = (struct sora_gpu_calls){
        .init = call_init,
        .driver_version = call_driver_version,
        .hip_error_text = call_error_text,
        .device_count = call_device_count,
        .device_get = call_device_get,
        .device_name = call_device_name,
        .device_attribute = call_device_attribute,
        .device_memory = call_device_memory,
        .device_pci = call_device_pci,
        .hip_set_device = call_set_device,
        .synchronize = call_synchronize,
        .memory_info = call_memory_info,
        .memory_alloc = call_memory_alloc,
        .memory_free = call_memory_free,
        .host_alloc = call_host_alloc,
        .host_free = call_memory_free,
        .copy_in = call_copy_in,
        .copy_out = call_copy_out,
        .copy_within = call_copy_out,
        .fill_words = call_fill_words,
        .stream_create = call_stream_create,
        .stream_destroy = call_stream_destroy,
        .stream_synchronize = call_stream_synchronize,
        .stream_wait_event = call_stream_wait_event,
        .event_create = call_event_create,
        .event_destroy = call_event_destroy,
        .event_record = call_event_record,
        .event_synchronize = call_event_synchronize,
        .module_load = call_module_load,
        .module_unload = call_module_unload,
        .module_function = call_module_function,
        .launch = call_launch,
    };
}

int sora_emulated_index(const char *arch)
{
    for (int i = 0; i < SORA_EMULATOR_MODULES; i++) {
        if (strcmp(sora_emulator_module_get(i)->arch, arch) == 0)
            return i;
    }
    return -1;
}
