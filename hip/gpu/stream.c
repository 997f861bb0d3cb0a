/*
 * Streams and events, and copies through pinned staging.
 *
 * An upload's bytes are free again when the call returns, so they are copied to a staging slot
 * first and go on from there while the caller prepares the next; the event behind a slot tells when
 * it may be filled anew. A download fills one slot while the other is read.
 */
#include "hip/gpu/internal.h"

#include <stdlib.h>
#include <string.h>

#define STREAM_NON_BLOCKING 1u
#define EVENT_NO_TIMING 2u

/* ---- life ---- */

static int staging_open(struct sora_gpu_device *device, struct sora_gpu_staging *slot)
{
    const struct sora_gpu_calls *calls = &device->runtime->calls;
    int status = calls->host_alloc(&slot->memory, SORA_GPU_STAGING_BYTES, 0);
    if (status)
        slot->memory = NULL;
    if (!status)
        status = calls->event_create(&slot->event, EVENT_NO_TIMING);
    return sora_gpu_check(device, "making a staging slot", status);
}

static void staging_close(struct sora_gpu_device *device, struct sora_gpu_staging *slot)
{
    const struct sora_gpu_calls *calls = &device->runtime->calls;
    if (slot->event)
        calls->event_destroy(slot->event);
    if (slot->memory)
        calls->host_free(slot->memory);
    *slot = (struct sora_gpu_staging){0};
}

void sora_gpu_stream_close(struct sora_gpu_stream *stream)
{
    struct sora_gpu_device *device = sora_gpu_device_of(&stream->base);
    sora_gpu_enter(device);
    if (stream->handle)
        device->runtime->calls.stream_synchronize(stream->handle);
    for (int i = 0; i < SORA_GPU_STAGING_SLOTS; i++)
        staging_close(device, &stream->staging[i]);
    sora_gpu_pool_give(device->pool, &stream->words);
    sora_gpu_pool_give(device->pool, &stream->scratch);
    if (stream->handle)
        device->runtime->calls.stream_destroy(stream->handle);
    free(stream);
}

int sora_gpu_stream_open(struct sora_gpu_device *device, struct sora_gpu_stream **out_stream)
{
    struct sora_gpu_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return SORA_E_MEMORY;
    stream->base.device = &device->base;
    int error = sora_gpu_enter(device);
    if (!error) {
        int status = device->runtime->calls.stream_create(&stream->handle, STREAM_NON_BLOCKING);
        if (status)
            stream->handle = NULL;
        error = sora_gpu_check(device, "making a stream", status);
    }
    for (int i = 0; i < SORA_GPU_STAGING_SLOTS && !error; i++)
        error = staging_open(device, &stream->staging[i]);
    if (!error)
        error = sora_gpu_pool_take(device->pool, SORA_GPU_WORDS_BYTES, &stream->words);
    if (error) {
        sora_gpu_stream_close(stream);
        return error;
    }
    *out_stream = stream;
    return 0;
}

/* Blocks given back so far may be in use by the streams that are there: from the second stream on,
 * the order of one stream no longer protects them. */
int sora_gpu_stream_create(struct sora_device *base, struct sora_stream **out_stream)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base;
    struct sora_gpu_stream *stream = NULL;
    int error = sora_gpu_enter(device);
    if (!error)
        error =
            sora_gpu_check(device, "waiting for the card", device->runtime->calls.synchronize());
    if (!error)
        error = sora_gpu_stream_open(device, &stream);
    if (error)
        return error;
    pthread_mutex_lock(&device->lock);
    device->stream_count++;
    pthread_mutex_unlock(&device->lock);
    *out_stream = &stream->base;
    return 0;
}

void sora_gpu_stream_destroy(struct sora_stream *stream)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    pthread_mutex_lock(&device->lock);
    device->stream_count--;
    pthread_mutex_unlock(&device->lock);
    sora_gpu_stream_close((struct sora_gpu_stream *)stream);
}

int sora_gpu_stream_wait(struct sora_stream *base)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    return sora_gpu_check(device, "waiting for a stream",
                          device->runtime->calls.stream_synchronize(stream->handle));
}

int sora_gpu_scratch(struct sora_stream *base, size_t size, void **out_memory)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    if (!stream->scratch || stream->scratch->size < size) {
        sora_gpu_release(device, &stream->scratch);
        int error = sora_gpu_pool_take(device->pool, size, &stream->scratch);
        if (error)
            return error;
    }
    *out_memory = stream->scratch->memory;
    return 0;
}

/* ---- events ---- */

int sora_gpu_event_create(struct sora_device *base, struct sora_event **out_event)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base;
    struct sora_gpu_event *event = calloc(1, sizeof(*event));
    int error = event ? sora_gpu_enter(device) : SORA_E_MEMORY;
    if (!error)
        error =
            sora_gpu_check(device, "making an event",
                           device->runtime->calls.event_create(&event->handle, EVENT_NO_TIMING));
    if (error) {
        free(event);
        return error;
    }
    event->base.device = base;
    *out_event = &event->base;
    return 0;
}

void sora_gpu_event_destroy(struct sora_event *base)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base->device;
    sora_gpu_enter(device);
    device->runtime->calls.event_destroy(((struct sora_gpu_event *)base)->handle);
    free(base);
}

int sora_gpu_event_record(struct sora_event *event, struct sora_stream *stream)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    return sora_gpu_check(
        device, "recording an event",
        device->runtime->calls.event_record(((struct sora_gpu_event *)event)->handle,
                                            ((struct sora_gpu_stream *)stream)->handle));
}

int sora_gpu_event_wait(struct sora_event *event)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)event->device;
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    return sora_gpu_check(
        device, "waiting for an event",
        device->runtime->calls.event_synchronize(((struct sora_gpu_event *)event)->handle));
}

int sora_gpu_stream_wait_event(struct sora_stream *stream, struct sora_event *event)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    return sora_gpu_check(
        device, "making a stream wait",
        device->runtime->calls.stream_wait_event(((struct sora_gpu_stream *)stream)->handle,
                                                 ((struct sora_gpu_event *)event)->handle, 0));
}

/* ---- staging ---- */

static int slot_wait(struct sora_gpu_device *device, struct sora_gpu_staging *slot)
{
    if (!slot->busy)
        return 0;
    slot->busy = false;
    return sora_gpu_check(device, "waiting for a copy",
                          device->runtime->calls.event_synchronize(slot->event));
}

static int slot_mark(struct sora_gpu_device *device, struct sora_gpu_stream *stream,
                     struct sora_gpu_staging *slot)
{
    slot->busy = true;
    return sora_gpu_check(device, "recording a copy",
                          device->runtime->calls.event_record(slot->event, stream->handle));
}

static struct sora_gpu_staging *slot_next(struct sora_gpu_stream *stream)
{
    struct sora_gpu_staging *slot = &stream->staging[stream->next];
    stream->next = (stream->next + 1) % SORA_GPU_STAGING_SLOTS;
    return slot;
}

static size_t piece(size_t left)
{
    return left < SORA_GPU_STAGING_BYTES ? left : SORA_GPU_STAGING_BYTES;
}

int sora_gpu_copy_in(struct sora_stream *base, void *to, const void *data, size_t size)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    int error = sora_gpu_enter(device);
    for (size_t done = 0, count; !error && done < size; done += count) {
        struct sora_gpu_staging *slot = slot_next(stream);
        count = piece(size - done);
        error = slot_wait(device, slot);
        if (error)
            break;
        memcpy(slot->memory, (const char *)data + done, count);
        sora_gpu_count_copy(device);
        error = sora_gpu_check(
            device, "copying to the card",
            device->runtime->calls.copy_in((char *)to + done, slot->memory, count, stream->handle));
        if (!error)
            error = slot_mark(device, stream, slot);
    }
    return error;
}

/* A download's piece that is on its way. */
struct arrival {
    struct sora_gpu_staging *slot;
    char *to;
    size_t size;
};

static int arrival_take(struct sora_gpu_device *device, struct arrival *arrival)
{
    if (!arrival->slot)
        return 0;
    int error = slot_wait(device, arrival->slot);
    if (!error)
        memcpy(arrival->to, arrival->slot->memory, arrival->size);
    arrival->slot = NULL;
    return error;
}

int sora_gpu_copy_out(struct sora_stream *base, void *out_data, void *from, size_t size)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    struct arrival before = {.slot = NULL};
    int error = sora_gpu_enter(device);
    for (size_t done = 0, count; !error && done < size; done += count) {
        struct sora_gpu_staging *slot = slot_next(stream);
        count = piece(size - done);
        error = slot_wait(device, slot);
        sora_gpu_count_copy(device);
        if (!error)
            error = sora_gpu_check(device, "copying from the card",
                                   device->runtime->calls.copy_out(
                                       slot->memory, (char *)from + done, count, stream->handle));
        if (!error)
            error = slot_mark(device, stream, slot);
        if (!error)
            error = arrival_take(device, &before);
        before = (struct arrival){slot, (char *)out_data + done, count};
    }
    return error ? error : arrival_take(device, &before);
}
