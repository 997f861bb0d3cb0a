/*
 * What the CPU backend's files share: its objects, scratch memory and the plain operations.
 *
 * Operands have been checked by device.c. An operation runs to its end inside the call. Operations
 * of several streams of one device take turns (`lock`), because scratch is shared.
 */
#ifndef SORA_HIP_CPU_INTERNAL_H
#define SORA_HIP_CPU_INTERNAL_H

#include "hip/cpu/cpu.h"
#include "hip/cpu/pool.h"
#include "hip/device_ops.h"

#include <pthread.h>

#define SORA_CPU_ALIGNMENT 64
#define SORA_CPU_THREADS_MAX 256
/* Part of the device class: raise it whenever a fast path's results change in any bit. */
#define SORA_CPU_KERNEL_VERSION 1

struct sora_cpu_scratch {
    void *data; /* owned */
    size_t size;
};

struct sora_cpu_device {
    struct sora_device base;
    enum sora_cpu_path path; /* never AUTO */
    char processor[64];
    struct sora_cpu_pool *pool;       /* owned */
    pthread_mutex_t lock;             /* held by the operation that runs */
    struct sora_cpu_scratch *scratch; /* one per thread, then one shared */
};

struct sora_cpu_buffer {
    struct sora_buffer base;
    unsigned char *data; /* owned, or kept when read_only */
};

struct sora_cpu_packed {
    struct sora_packed base;
    float *data; /* owned; layout of the device's path */
};

static inline struct sora_cpu_device *sora_cpu_of(const struct sora_stream *stream)
{
    return (struct sora_cpu_device *)stream->device;
}

/* The view's first byte; NULL for an absent operand. */
static inline void *sora_cpu_data(const struct sora_tensor *tensor)
{
    if (!tensor->buffer)
        return NULL;
    return ((struct sora_cpu_buffer *)tensor->buffer)->data + tensor->offset;
}

/* Pieces of at most `piece` in `count`. */
static inline int64_t sora_cpu_pieces(int64_t count, int64_t piece)
{
    return (count + piece - 1) / piece;
}

static inline int64_t sora_cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t sora_cpu_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Begins an operation: takes the lock and makes room for `thread_size` bytes of scratch per thread
 * and `shared_size` shared bytes (either may be 0; 64-byte aligned, contents undefined). On failure
 * (MEMORY) the lock is not held. */
int sora_cpu_begin(struct sora_cpu_device *device, size_t thread_size, size_t shared_size);
void sora_cpu_end(struct sora_cpu_device *device);
void *sora_cpu_thread_scratch(struct sora_cpu_device *device, int worker);
void *sora_cpu_shared_scratch(struct sora_cpu_device *device);

/* Begins with `thread_size` scratch bytes, runs the tasks and ends. */
int sora_cpu_run(struct sora_cpu_device *device, size_t thread_size, int64_t count,
                 sora_cpu_task task, void *context);

/* 64-byte aligned memory of at least `size` bytes, to be freed with free(); NULL when there is
 * none. */
void *sora_cpu_alloc(size_t size);

/* A packed weight object with `count` floats of uninitialised data; the head is filled from the
 * weight's shape. */
int sora_cpu_packed_alloc(struct sora_device *device, const struct sora_tensor *weight,
                          size_t count, struct sora_cpu_packed **out_packed);

/* ---- plain operations, plain_*.c ---- */
int sora_plain_copy(struct sora_stream *stream, const struct sora_tensor *from,
                    const struct sora_tensor *to);
int sora_plain_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value);
int sora_plain_convert(struct sora_stream *stream, const struct sora_tensor *from,
                       const struct sora_tensor *to);
int sora_plain_matmul(struct sora_stream *stream, const struct sora_matmul *params);
int sora_plain_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                        const struct sora_tensor *out, const struct sora_tensor *scale);
int sora_plain_attention(struct sora_stream *stream, const struct sora_attention *params);
int sora_plain_packed_create(struct sora_device *device, const struct sora_tensor *weight,
                             struct sora_packed **out_packed);
int sora_plain_conv3d(struct sora_stream *stream, const struct sora_conv3d *params);
int sora_plain_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params);
int sora_plain_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params);
int sora_plain_rope(struct sora_stream *stream, const struct sora_tensor *x,
                    const struct sora_tensor *cos_table, const struct sora_tensor *sin_table);
int sora_plain_activation(struct sora_stream *stream, enum sora_activation activation,
                          const struct sora_tensor *in, const struct sora_tensor *out);
int sora_plain_combine(struct sora_stream *stream, const struct sora_combine *params);
int sora_plain_affine(struct sora_stream *stream, const struct sora_tensor *in,
                      const struct sora_tensor *scale, const struct sora_tensor *shift,
                      const struct sora_tensor *out);
int sora_plain_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                           const struct sora_tensor *ids, const struct sora_tensor *out);
int sora_plain_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                       const struct sora_tensor *out);
int sora_plain_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                       const struct sora_tensor *out);
int sora_plain_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                          bool *out_finite);

/* One value through an activation, with libm. */
float sora_plain_activate(enum sora_activation activation, float x);

/* ---- fast operations, folder fast/, compiled once per instruction set ---- */
#define SORA_CPU_FAST_DECLARE(set)                                                                 \
    int sora_##set##_convert(struct sora_stream *stream, const struct sora_tensor *from,           \
                             const struct sora_tensor *to);                                        \
    int sora_##set##_matmul(struct sora_stream *stream, const struct sora_matmul *params);         \
    int sora_##set##_attention(struct sora_stream *stream, const struct sora_attention *params);   \
    int sora_##set##_packed_create(struct sora_device *device, const struct sora_tensor *weight,   \
                                   struct sora_packed **out_packed);                               \
    int sora_##set##_conv3d(struct sora_stream *stream, const struct sora_conv3d *params);         \
    int sora_##set##_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params); \
    int sora_##set##_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params);     \
    int sora_##set##_rope(struct sora_stream *stream, const struct sora_tensor *x,                 \
                          const struct sora_tensor *cos_table,                                     \
                          const struct sora_tensor *sin_table);                                    \
    int sora_##set##_activation(struct sora_stream *stream, enum sora_activation activation,       \
                                const struct sora_tensor *in, const struct sora_tensor *out);      \
    int sora_##set##_combine(struct sora_stream *stream, const struct sora_combine *params);       \
    int sora_##set##_affine(struct sora_stream *stream, const struct sora_tensor *in,              \
                            const struct sora_tensor *scale, const struct sora_tensor *shift,      \
                            const struct sora_tensor *out);                                        \
    int sora_##set##_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,             \
                             const struct sora_tensor *out);                                       \
    int sora_##set##_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,      \
                                bool *out_finite);

SORA_CPU_FAST_DECLARE(avx2)
SORA_CPU_FAST_DECLARE(avx512)

#endif
