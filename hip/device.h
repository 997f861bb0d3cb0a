/*
 * The compute device: one table of operations on tensors in device memory.
 *
 * A device is created by its backend (hip/cpu/cpu.h; GPUs later) and used through the functions
 * below, which check every operand (presence, type, shape, bounds) and then dispatch to the
 * backend's table (device_ops.h). Model code holds no host pointers into device memory: bytes go in
 * and out by upload and download.
 *
 * Ownership: the caller owns devices, streams, events, buffers and packed weights and destroys them
 * before the device. Threads: one thread at a time per stream; buffer creation is thread-safe.
 * Blocking: operations are queued on a stream and may complete later; only the *_wait functions,
 * upload, download and sora_device_all_finite wait. Errors: INVALID for operands that do not fit
 * together (our own mistake, named in the log), MEMORY, DEVICE, UNSUPPORTED. An operation writes
 * its output only; outputs never overlap inputs unless a comment allows it.
 *
 * Numerics: activations and accumulation are f32. Weights may be f32, f16 or bf16 and are widened
 * exactly. For one backend class (device.h: sora_device_class) the result of an operation depends
 * on its operands and shapes alone: not on thread count, stream or what else runs.
 */
#ifndef SORA_HIP_DEVICE_H
#define SORA_HIP_DEVICE_H

#include "base/error.h"
#include "hip/tensor.h"

struct sora_device;
struct sora_stream;
struct sora_event;
struct sora_packed; /* weights in the layout that the backend's conv3d wants */

/* Abilities are numbers, not backend checks. */
struct sora_device_caps {
    char name[64];                /* for people: "AMD EPYC, 2 threads" */
    char device_class[64];        /* results are bit-equal within one class: "cpu-avx512-1" */
    char int8_class[64];          /* the class of this card with int8 weights; "" on a CPU */
    int thread_count;             /* host threads in use; 0 for a GPU */
    uint64_t memory_total;        /* bytes */
    uint64_t memory_free;         /* bytes, at the time of the call */
    bool host_memory;             /* imported host memory is used in place */
    int64_t head_size_max;        /* largest attention head */
    enum sora_dtype product_type; /* products round f32 operands to it; F32: not all of them */
    enum sora_dtype matrix_type;  /* models are to keep their large matrices in it: I8 or F8; NONE:
                                     as they come */
};

void sora_device_destroy(struct sora_device **device);
void sora_device_caps(const struct sora_device *device, struct sora_device_caps *out_caps);

/* ---- memory ---- */

/* Returns owned, uninitialised memory of `size` bytes (>= 1), aligned to 64. */
int sora_buffer_create(struct sora_device *device, size_t size, struct sora_buffer **out_buffer);

/* Returns an owned buffer with the bytes of [data, data+size). A host_memory device keeps `data`
 * (it must outlive the buffer and may be read-only: such a buffer is never an output); other
 * devices copy it. */
int sora_buffer_import(struct sora_device *device, const void *data, size_t size,
                       struct sora_buffer **out_buffer);
void sora_buffer_destroy(struct sora_buffer **buffer);
size_t sora_buffer_size(const struct sora_buffer *buffer);

/* Convenience: a new buffer of just the tensor's size. *out_tensor borrows *out_buffer. */
int sora_tensor_create(struct sora_device *device, enum sora_dtype dtype, int rank,
                       const int64_t *shape, struct sora_buffer **out_buffer,
                       struct sora_tensor *out_tensor);

/* ---- streams and events ---- */

int sora_stream_create(struct sora_device *device, struct sora_stream **out_stream);
void sora_stream_destroy(struct sora_stream **stream);
/* Waits until all work queued on the stream is done; returns the first error of that work. */
int sora_stream_wait(struct sora_stream *stream);
struct sora_device *sora_stream_device(const struct sora_stream *stream);

int sora_event_create(struct sora_device *device, struct sora_event **out_event);
void sora_event_destroy(struct sora_event **event);
int sora_event_record(struct sora_event *event, struct sora_stream *stream);
int sora_event_wait(struct sora_event *event); /* host waits */
int sora_stream_wait_event(struct sora_stream *stream, struct sora_event *event);

/* ---- copies ---- */

/* Host to device; `data` holds sora_tensor_size(tensor) bytes and may be reused on return. */
int sora_tensor_upload(struct sora_stream *stream, const struct sora_tensor *tensor,
                       const void *data);
/* Device to host after all earlier work of the stream. */
int sora_tensor_download(struct sora_stream *stream, const struct sora_tensor *tensor,
                         void *out_data);
/* Same shape and dtype; may be different places of one buffer, not overlapping. */
int sora_op_copy(struct sora_stream *stream, const struct sora_tensor *from,
                 const struct sora_tensor *to);
int sora_op_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value);
/* Same shape, any of f32/f16/bf16 to any; round to nearest even. */
int sora_op_convert(struct sora_stream *stream, const struct sora_tensor *from,
                    const struct sora_tensor *to);

/* ---- products ---- */

enum sora_activation {
    SORA_ACTIVATION_NONE = 0,
    SORA_ACTIVATION_SILU,
    SORA_ACTIVATION_GELU_TANH, /* 0.5x(1+tanh(sqrt(2/pi)(x+0.044715x^3))) */
    SORA_ACTIVATION_GELU_ERF,
};

/* out[M,N] = residual + gate * ( activation(a[M,K] b[N,K]^T + bias) * factor ). */
struct sora_matmul {
    struct sora_tensor a; /* [M,K] f32 */
    struct sora_tensor b; /* [N,K] f32, f16, bf16, i8 or f8: a Linear layer's weight */
    struct sora_tensor
        b_scale;               /* [N] f32, with i8 and f8: row n of the weight is b[n,:] times it */
    struct sora_tensor bias;   /* [N] f32/f16/bf16, optional */
    struct sora_tensor factor; /* [M,N] f32, optional: elementwise, after the activation */
    struct sora_tensor gate;   /* [N] f32, optional: per column */
    struct sora_tensor residual; /* [M,N] f32, optional; may be the same view as out */
    struct sora_tensor out;      /* [M,N] f32 */
    enum sora_activation activation;
};
int sora_op_matmul(struct sora_stream *stream, const struct sora_matmul *params);

/* Weights to int8 or fp8 with a scale per row: scale[n] = max_k |in[n,k]| / L, out = in / scale to
 * nearest even. int8: L = 127, an element is off by half a scale at most. fp8: L = 448, it is off
 * by 1/16 of itself at most, below scale / 64 by scale / 1024; neither -0 nor NaN is ever written,
 * so the codes are valid in AMD's format of bias 8 (fnuz) too, where they mean half. in [N,K]
 * f32/f16/bf16, K a multiple of 8; out [N,K] i8 or f8; scale [N] f32. A row of zeros has scale 0.
 */
int sora_op_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                     const struct sora_tensor *out, const struct sora_tensor *scale);

/* out[i,h,:] = sum_j softmax_j(scale * q[i,h,:]·k[j,h,:] + key_bias[j] + position_bias[h,i,j])
 * v[j,h,:], with an online softmax: the score matrix is never held. */
struct sora_attention {
    struct sora_tensor q;             /* [Nq,H,D] f32 */
    struct sora_tensor k, v;          /* [Nk,H,D] f32 */
    struct sora_tensor key_bias;      /* [Nk] f32, optional; -INFINITY masks a key */
    struct sora_tensor position_bias; /* [H,Nq,Nk] f32, optional */
    struct sora_tensor out;           /* [Nq,H,D] f32 */
    float scale;
};
int sora_op_attention(struct sora_stream *stream, const struct sora_attention *params);

/* Packs a convolution weight [O,I,kt,kh,kw] (or [O,I,kh,kw], taken as kt = 1) of f32/f16/bf16 for
 * sora_op_conv3d. Returns owned; `weight` is not needed afterwards. */
int sora_packed_create(struct sora_device *device, const struct sora_tensor *weight,
                       struct sora_packed **out_packed);
void sora_packed_destroy(struct sora_packed **packed);
/* The type that a convolution rounds its input to; F32: it does not. Input frames that are kept for
 * later may be kept in it. */
enum sora_dtype sora_packed_input_type(const struct sora_packed *packed);

/* Convolution of channels-last video, causal in time.
 *
 * The input sequence in time is [zeros..., history frames, input frames]: `time_pad` counts the
 * frames of history and zeros in front (history fills from the right; zeros when it is shorter).
 * Output frames: (time_pad + T - kt) / stride_t + 1. In space, zeros are added by pad_*, and when
 * `upsample` is 2 every input pixel is first doubled both ways (nearest), without being stored. */
struct sora_conv3d {
    struct sora_tensor in;      /* [T,H,W,I] f32 */
    struct sora_tensor history; /* [Th,H,W,I] f32 or the weight's input type, optional,
                                   Th <= time_pad */
    const struct sora_packed *weight;
    struct sora_tensor bias;          /* [O] f32/f16/bf16, optional */
    struct sora_tensor residual;      /* [T',H',W',O] f32, optional; may be the same view as out */
    struct sora_tensor out;           /* [T',H',W',O] f32 */
    int time_pad;                     /* 0..kt-1 */
    int stride_t, stride_h, stride_w; /* 0 means 1 */
    int pad_top, pad_bottom, pad_left, pad_right;
    int upsample; /* 0 or 1: none; 2 */
};
int sora_op_conv3d(struct sora_stream *stream, const struct sora_conv3d *params);

/* ---- norms, rope ---- */

/* out = layer_norm(x over the last dimension, eps) * weight + bias, then * (1+scale) + shift. */
struct sora_layer_norm {
    struct sora_tensor in, out;      /* [N,C] f32; may be the same view */
    struct sora_tensor weight, bias; /* [C] f32/f16/bf16, optional, together */
    struct sora_tensor scale, shift; /* [C] f32, optional, together */
    float eps;
};
int sora_op_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params);

enum sora_norm_kind {
    SORA_NORM_RMS, /* x / sqrt(mean(x^2) + eps) * weight */
    SORA_NORM_L2,  /* x / max(|x|_2, eps) * sqrt(C) * weight */
};
struct sora_rms_norm {
    struct sora_tensor in, out; /* [N,C] f32; may be the same view */
    struct sora_tensor weight;  /* [C] f32/f16/bf16 */
    enum sora_norm_kind kind;
    enum sora_activation activation; /* NONE or SILU, applied last */
    float eps;
};
int sora_op_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params);

/* In place on x [N,H,D] f32, interleaved pairs: (a,b) -> (a cos - b sin, a sin + b cos) with cos
 * and sin [N,D/2] f32. */
int sora_op_rope(struct sora_stream *stream, const struct sora_tensor *x,
                 const struct sora_tensor *cos_table, const struct sora_tensor *sin_table);

/* ---- elementwise and layout ---- */

int sora_op_activation(struct sora_stream *stream, enum sora_activation activation,
                       const struct sora_tensor *in, const struct sora_tensor *out);

#define SORA_COMBINE_MAX 4
/* out = c0 x0 + c1 x1 + ... in this order, f32, one rounding per product and per sum. 1 to 4 terms
 * of one shape; out may be the same view as a term. */
struct sora_combine {
    int count;
    float coefficients[SORA_COMBINE_MAX];
    struct sora_tensor terms[SORA_COMBINE_MAX];
    struct sora_tensor out;
};
int sora_op_combine(struct sora_stream *stream, const struct sora_combine *params);

/* out[n,c] = in[n,c] * scale[c] + shift[c] over the last dimension, f32; may be the same view. */
int sora_op_affine(struct sora_stream *stream, const struct sora_tensor *in,
                   const struct sora_tensor *scale, const struct sora_tensor *shift,
                   const struct sora_tensor *out);

/* out[i,:] = table[ids[i],:] widened to f32. table [V,C] f32/f16/bf16, ids [n] i32 in [0,V). */
int sora_op_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                        const struct sora_tensor *ids, const struct sora_tensor *out);

/* out = in with dimensions reordered: out.shape[i] = in.shape[order[i]]. Rank <= 8, any dtype. */
int sora_op_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                    const struct sora_tensor *out);

/* RGB bytes from [-1,1]: round((clamp(x)+1)*127.5) to nearest even; shapes equal, f32 to u8. */
int sora_op_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                    const struct sora_tensor *out);

/* Waits; *out_finite tells whether every element of the f32 tensor is finite. */
int sora_device_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                           bool *out_finite);

#endif
