/* Shared by the files of the GPU backend; see gpu.h. */
#ifndef SORA_HIP_GPU_INTERNAL_H
#define SORA_HIP_GPU_INTERNAL_H

#include "hip/device_ops.h"
#include "hip/gpu/blas.h"
#include "hip/gpu/gpu.h"
#include "hip/gpu/launch_plan.h"
#include "hip/gpu/module.h"
#include "hip/gpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>

/* Counts in the device class: raised by any change of a kernel's rounding. */
#define SORA_GPU_KERNEL_VERSION 2
#define SORA_GPU_HEAD_SIZE_MAX 512

struct sora_gpu_device {
    struct sora_device base;
    struct sora_gpu_runtime *runtime; /* owned */
    struct sora_gpu_card card;
    void *context; /* CUDA's; NULL for HIP */
    bool entered;
    enum sora_gpu_precision precision;
    uint64_t memory_limit;
    struct sora_gpu_pool *pool;     /* owned */
    struct sora_gpu_module *module; /* owned */
    struct sora_gpu_blas *blas;     /* owned; NULL without the vendor's library of products */
    struct sora_kernel_target target;
    pthread_mutex_t import_lock; /* of the device's own stream */
    struct sora_gpu_stream *own; /* for imports and packing; idle between calls */
    atomic_llong launches, copies;
    pthread_mutex_t lock; /* of what follows */
    int stream_count;     /* the caller's */
    bool failed;          /* a failure was logged */
    bool blas_used;       /* until the library fails */
};

struct sora_gpu_buffer {
    struct sora_buffer base;
    struct sora_gpu_block *block;
};

struct sora_gpu_packed {
    struct sora_packed base;
    struct sora_gpu_block *block; /* [out][taps][channels] of `dtype` */
    enum sora_dtype dtype;        /* also the input_type of `base` */
    int64_t channels;             /* in_channels rounded up to a multiple of 8 */
};

/* Pinned host memory between the caller's bytes and the card. */
struct sora_gpu_staging {
    void *memory;
    void *event; /* recorded behind the last copy that uses it */
    bool busy;
};

#define SORA_GPU_STAGING_SLOTS 2
#define SORA_GPU_STAGING_BYTES ((size_t)2 << 20)
/* Words at the head of the scratch that kernels report through. */
#define SORA_GPU_WORDS_BYTES 256

struct sora_gpu_stream {
    struct sora_stream base;
    void *handle;
    struct sora_gpu_staging staging[SORA_GPU_STAGING_SLOTS];
    int next;                       /* slot */
    struct sora_gpu_block *words;   /* SORA_GPU_WORDS_BYTES */
    struct sora_gpu_block *scratch; /* grows; used in stream order */
};

struct sora_gpu_event {
    struct sora_event base;
    void *handle;
};

static inline struct sora_gpu_device *sora_gpu_device_of(const struct sora_stream *stream)
{
    return (struct sora_gpu_device *)stream->device;
}

/* The device address of a view; NULL for an absent one. */
static inline void *sora_gpu_data(const struct sora_tensor *tensor)
{
    if (!tensor->buffer)
        return NULL;
    return (char *)((const struct sora_gpu_buffer *)tensor->buffer)->block->memory + tensor->offset;
}

static inline void sora_gpu_count_copy(struct sora_gpu_device *device)
{
    atomic_fetch_add_explicit(&device->copies, 1, memory_order_relaxed);
}

/* device.c: the code for a status; logs the first failure of a device that is not MEMORY. */
int sora_gpu_check(struct sora_gpu_device *device, const char *what, int status);
/* Makes the device's card current for this thread. */
int sora_gpu_enter(struct sora_gpu_device *device);
/* Gives a block back; waits for the card when other streams may still use it. */
void sora_gpu_release(struct sora_gpu_device *device, struct sora_gpu_block **block);

/* stream.c */
int sora_gpu_stream_create(struct sora_device *device, struct sora_stream **out_stream);
void sora_gpu_stream_destroy(struct sora_stream *stream);
int sora_gpu_stream_wait(struct sora_stream *stream);
int sora_gpu_event_create(struct sora_device *device, struct sora_event **out_event);
void sora_gpu_event_destroy(struct sora_event *event);
int sora_gpu_event_record(struct sora_event *event, struct sora_stream *stream);
int sora_gpu_event_wait(struct sora_event *event);
int sora_gpu_stream_wait_event(struct sora_stream *stream, struct sora_event *event);
int sora_gpu_copy_in(struct sora_stream *stream, void *to, const void *data, size_t size);
int sora_gpu_copy_out(struct sora_stream *stream, void *out_data, void *from, size_t size);
/* At least `size` bytes that stay valid until the next call for this stream. Errors: MEMORY. */
int sora_gpu_scratch(struct sora_stream *stream, size_t size, void **out_memory);
/* The same without the lists that count the caller's streams. */
int sora_gpu_stream_open(struct sora_gpu_device *device, struct sora_gpu_stream **out_stream);
void sora_gpu_stream_close(struct sora_gpu_stream *stream);

/* launch.c: queues a planned kernel; the others plan it first. `args` is the kernel's struct. */
int sora_gpu_launch(struct sora_stream *stream, const struct sora_launch_plan *plan,
                    const void *args);
int sora_gpu_launch_elements(struct sora_stream *stream, enum sora_kernel kernel, const void *args,
                             int64_t count);
int sora_gpu_launch_rows(struct sora_stream *stream, enum sora_kernel kernel, const void *args,
                         int64_t rows);

/* ops_blas.c: opens the library where there is one and nothing forbids it; logs which it is. */
void sora_gpu_blas_open(struct sora_gpu_device *device);
/* The library's part of the device class; NULL while products are our own. */
const char *sora_gpu_blas_class(struct sora_gpu_device *device);
/* Does as many rows of a product as the library takes, from the first on; *args is what is left
 * (m = 0: nothing). `type` is that of the weights. Errors: MEMORY (scratch), DEVICE. */
int sora_gpu_blas_matmul(struct sora_stream *stream, enum sora_dtype type, struct gemm_args *args);

/* ops_layout.c, ops_row.c, ops_product.c: the slots of hip/device_ops.h. */
int sora_gpu_tensor_upload(struct sora_stream *stream, const struct sora_tensor *tensor,
                           const void *data);
int sora_gpu_tensor_download(struct sora_stream *stream, const struct sora_tensor *tensor,
                             void *out_data);
int sora_gpu_copy(struct sora_stream *stream, const struct sora_tensor *from,
                  const struct sora_tensor *to);
int sora_gpu_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value);
int sora_gpu_convert(struct sora_stream *stream, const struct sora_tensor *from,
                     const struct sora_tensor *to);
int sora_gpu_matmul(struct sora_stream *stream, const struct sora_matmul *params);
int sora_gpu_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                      const struct sora_tensor *out, const struct sora_tensor *scale);
/* The type in which a product with weights of `dtype` is done. */
enum sora_dtype sora_gpu_product_type(const struct sora_gpu_device *device, enum sora_dtype dtype);
int sora_gpu_attention(struct sora_stream *stream, const struct sora_attention *params);
int sora_gpu_packed_create(struct sora_device *device, const struct sora_tensor *weight,
                           struct sora_packed **out_packed);
void sora_gpu_packed_destroy(struct sora_packed *packed);
int sora_gpu_conv3d(struct sora_stream *stream, const struct sora_conv3d *params);
int sora_gpu_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params);
int sora_gpu_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params);
int sora_gpu_rope(struct sora_stream *stream, const struct sora_tensor *x,
                  const struct sora_tensor *cos_table, const struct sora_tensor *sin_table);
int sora_gpu_activation(struct sora_stream *stream, enum sora_activation activation,
                        const struct sora_tensor *in, const struct sora_tensor *out);
int sora_gpu_combine(struct sora_stream *stream, const struct sora_combine *params);
int sora_gpu_affine(struct sora_stream *stream, const struct sora_tensor *in,
                    const struct sora_tensor *scale, const struct sora_tensor *shift,
                    const struct sora_tensor *out);
int sora_gpu_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                         const struct sora_tensor *ids, const struct sora_tensor *out);
int sora_gpu_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                     const struct sora_tensor *out);
int sora_gpu_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                     const struct sora_tensor *out);
int sora_gpu_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                        bool *out_finite);

#endif
