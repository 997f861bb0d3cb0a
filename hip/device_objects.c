/* Devices, buffers, streams and events: each call goes to the backend's table. */
#include "hip/device.h"

#include "hip/device_ops.h"

void sora_device_destroy(struct sora_device **device)
{
    if (device && *device) {
        (*device)->ops->device_destroy(*device);
        *device = NULL;
    }
}

void sora_device_caps(const struct sora_device *device, struct sora_device_caps *out_caps)
{
    device->ops->device_caps(device, out_caps);
}

int sora_buffer_create(struct sora_device *device, size_t size, struct sora_buffer **out_buffer)
{
    if (size < 1)
        return sora_device_reject("buffer_create", "size", "zero");
    return device->ops->buffer_create(device, size, out_buffer);
}

int sora_buffer_import(struct sora_device *device, const void *data, size_t size,
                       struct sora_buffer **out_buffer)
{
    if (!data || size < 1)
        return sora_device_reject("buffer_import", data ? "size" : "data",
                                  data ? "zero" : "absent");
    return device->ops->buffer_import(device, data, size, out_buffer);
}

void sora_buffer_destroy(struct sora_buffer **buffer)
{
    if (buffer && *buffer) {
        (*buffer)->device->ops->buffer_destroy(*buffer);
        *buffer = NULL;
    }
}

size_t sora_buffer_size(const struct sora_buffer *buffer)
{
    return buffer->size;
}

int sora_tensor_create(struct sora_device *device, enum sora_dtype dtype, int rank,
                       const int64_t *shape, struct sora_buffer **out_buffer,
                       struct sora_tensor *out_tensor)
{
    struct sora_tensor tensor = sora_tensor_make(NULL, 0, dtype, rank, shape);
    int rc = sora_buffer_create(device, sora_tensor_size(&tensor), &tensor.buffer);
    if (rc)
        return rc;
    *out_buffer = tensor.buffer;
    *out_tensor = tensor;
    return 0;
}

int sora_stream_create(struct sora_device *device, struct sora_stream **out_stream)
{
    return device->ops->stream_create(device, out_stream);
}

void sora_stream_destroy(struct sora_stream **stream)
{
    if (stream && *stream) {
        (*stream)->device->ops->stream_destroy(*stream);
        *stream = NULL;
    }
}

int sora_stream_wait(struct sora_stream *stream)
{
    return stream->device->ops->stream_wait(stream);
}

struct sora_device *sora_stream_device(const struct sora_stream *stream)
{
    return stream->device;
}

int sora_event_create(struct sora_device *device, struct sora_event **out_event)
{
    return device->ops->event_create(device, out_event);
}

void sora_event_destroy(struct sora_event **event)
{
    if (event && *event) {
        (*event)->device->ops->event_destroy(*event);
        *event = NULL;
    }
}

int sora_event_record(struct sora_event *event, struct sora_stream *stream)
{
    if (event->device != stream->device)
        return sora_device_reject("event_record", "event", "other_device");
    return event->device->ops->event_record(event, stream);
}

int sora_event_wait(struct sora_event *event)
{
    return event->device->ops->event_wait(event);
}

int sora_stream_wait_event(struct sora_stream *stream, struct sora_event *event)
{
    if (event->device != stream->device)
        return sora_device_reject("stream_wait_event", "event", "other_device");
    return stream->device->ops->stream_wait_event(stream, event);
}
