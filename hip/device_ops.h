/*
 * The table that a backend fills, and the heads of the objects that it makes.
 *
 * Only device.c and backends include this. device.c has checked every operand before a slot is
 * called: presence, element type, shape, bounds, alignment, same device, no forbidden overlap. A
 * backend's own objects begin with these heads. Threads, errors and blocking are those of device.h.
 * Every slot is required.
 */
#ifndef SORA_HIP_DEVICE_OPS_H
#define SORA_HIP_DEVICE_OPS_H

#include "hip/device.h"

struct sora_device {
    const struct sora_device_ops *ops;
    int64_t head_size_max;
};

struct sora_buffer {
    struct sora_device *device; /* kept */
    size_t size;
    bool read_only; /* imported: never an output */
};

struct sora_stream {
    struct sora_device *device; /* kept */
};

struct sora_event {
    struct sora_device *device; /* kept */
};

struct sora_packed {
    struct sora_device *device; /* kept */
    int64_t out_channels, in_channels;
    int64_t kernel_t, kernel_h, kernel_w;
    enum sora_dtype input_type;
};

struct sora_device_ops {
    void (*device_destroy)(struct sora_device *device);
    void (*device_caps)(const struct sora_device *device, struct sora_device_caps *out_caps);

    int (*buffer_create)(struct sora_device *device, size_t size, struct sora_buffer **out_buffer);
    int (*buffer_import)(struct sora_device *device, const void *data, size_t size,
                         struct sora_buffer **out_buffer);
    void (*buffer_destroy)(struct sora_buffer *buffer);

    int (*stream_create)(struct sora_device *device, struct sora_stream **out_stream);
    void (*stream_destroy)(struct sora_stream *stream);
    int (*stream_wait)(struct sora_stream *stream);
    int (*event_create)(struct sora_device *device, struct sora_event **out_event);
    void (*event_destroy)(struct sora_event *event);
    int (*event_record)(struct sora_event *event, struct sora_stream *stream);
    int (*event_wait)(struct sora_event *event);
    int (*stream_wait_event)(struct sora_stream *stream, struct sora_event *event);

    int (*tensor_upload)(struct sora_stream *stream, const struct sora_tensor *tensor,
                         const void *data);
    int (*tensor_download)(struct sora_stream *stream, const struct sora_tensor *tensor,
                           void *out_data);
    int (*copy)(struct sora_stream *stream, const struct sora_tensor *from,
                const struct sora_tensor *to);
    int (*fill)(struct sora_stream *stream, const struct sora_tensor *tensor, float value);
    int (*convert)(struct sora_stream *stream, const struct sora_tensor *from,
                   const struct sora_tensor *to);

    int (*matmul)(struct sora_stream *stream, const struct sora_matmul *params);
    int (*quantize)(struct sora_stream *stream, const struct sora_tensor *in,
                    const struct sora_tensor *out, const struct sora_tensor *scale);
    int (*attention)(struct sora_stream *stream, const struct sora_attention *params);
    /* `weight` has rank 4 or 5; the backend fills the head of what it returns. */
    int (*packed_create)(struct sora_device *device, const struct sora_tensor *weight,
                         struct sora_packed **out_packed);
    void (*packed_destroy)(struct sora_packed *packed);
    /* Strides and upsample are normalised to >= 1 here. */
    int (*conv3d)(struct sora_stream *stream, const struct sora_conv3d *params);

    int (*layer_norm)(struct sora_stream *stream, const struct sora_layer_norm *params);
    int (*rms_norm)(struct sora_stream *stream, const struct sora_rms_norm *params);
    int (*rope)(struct sora_stream *stream, const struct sora_tensor *x,
                const struct sora_tensor *cos_table, const struct sora_tensor *sin_table);

    int (*activation)(struct sora_stream *stream, enum sora_activation activation,
                      const struct sora_tensor *in, const struct sora_tensor *out);
    int (*combine)(struct sora_stream *stream, const struct sora_combine *params);
    int (*affine)(struct sora_stream *stream, const struct sora_tensor *in,
                  const struct sora_tensor *scale, const struct sora_tensor *shift,
                  const struct sora_tensor *out);
    int (*gather_rows)(struct sora_stream *stream, const struct sora_tensor *table,
                       const struct sora_tensor *ids, const struct sora_tensor *out);
    int (*permute)(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                   const struct sora_tensor *out);
    int (*to_rgb8)(struct sora_stream *stream, const struct sora_tensor *in,
                   const struct sora_tensor *out);
    int (*all_finite)(struct sora_stream *stream, const struct sora_tensor *tensor,
                      bool *out_finite);
};

/* device.c: logs which operand of a call is wrong and why. Returns SORA_E_INVALID. */
int sora_device_reject(const char *op, const char *operand, const char *reason);

#endif
