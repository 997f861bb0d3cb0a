/*
 * Argument structs of the kernels, one by value per launch, shared by host and device code: plain
 * types, pointers to device memory, no padding that compilers could disagree on (the sizes are
 * asserted). README.md lists which kernel takes which; hip/gpu/launch_plan.h checks them and gives
 * grid and shared sizes.
 *
 * Unless said otherwise matrices are row-major, sizes count elements, optional pointers are NULL
 * when absent, and 16-bit elements are of the kernel's type (…_bf16 or …_f16).
 */
#ifndef SORA_HIP_KERNELS_ARGS_H
#define SORA_HIP_KERNELS_ARGS_H

#ifdef __cplusplus
#define KERNEL_ARGS_SIZE(type, bytes)                                                              \
    static_assert(sizeof(struct type) == (bytes), "host and device must agree on " #type)
#else
#define KERNEL_ARGS_SIZE(type, bytes)                                                              \
    _Static_assert(sizeof(struct type) == (bytes), "host and device must agree on " #type)
#endif

/* Element types of runtime-typed operands: SORA_DTYPE_* of hip/tensor.h. */
#define KERNEL_F32 1
#define KERNEL_F16 2
#define KERNEL_BF16 3
#define KERNEL_I8 6 /* weights with b_scale: of gemm_f32, and from quantize_rows */
#define KERNEL_F8 7

/* Activations: SORA_ACTIVATION_* of hip/device.h. */
#define KERNEL_NONE 0
#define KERNEL_SILU 1
#define KERNEL_GELU_TANH 2
#define KERNEL_GELU_ERF 3

/* out[m,n] = residual + gate * (activation(a[m,k] b[n,k]^T * b_scale + bias) * factor).
 * A row of a or b begins 16-byte aligned when its `vector` flag is 1: the pointer is, and the
 * stride is a multiple of 8. Otherwise any alignment of the element is fine, and slower. */
struct gemm_args {
    const void *a;         /* [m][a_stride] */
    const void *b;         /* [n][b_stride] */
    const float *a_scale;  /* [m]: of sums, the kernel `epilogue` only; else NULL */
    const float *b_scale;  /* [n]: int8 and fp8 weights only, else NULL */
    const void *bias;      /* [n] of bias_type, optional */
    const float *factor;   /* [m][n], optional */
    const float *gate;     /* [n], optional */
    const float *residual; /* [m][n], optional; may be `out` */
    float *out;            /* [m][n] */
    int m, n, k;           /* >= 1 */
    int a_stride, b_stride;
    int a_vector, b_vector;
    int b_type;     /* KERNEL_*: gemm_f32 and conv_f32 only */
    int bias_type;  /* KERNEL_* */
    int activation; /* KERNEL_NONE.. */
    int out_vector; /* 1: n % 4 == 0, and out, factor and residual are 16-byte aligned */
    int reserved;   /* 0 */
};
KERNEL_ARGS_SIZE(gemm_args, 120);

/* A convolution's past frames: f32, or 16-bit of the kernel's type (not on SIMT, nor in conv_f32,
 * which round nothing); VECTOR when in_channels is a multiple of 8 and they are 16-byte aligned. */
#define KERNEL_HISTORY_F32 0
#define KERNEL_HISTORY_HALF 1
#define KERNEL_HISTORY_VECTOR 2

/* A convolution as a product: m counts output pixels, n output channels, k = taps * channels, and a
 * is the f32 input [frames][height][width][in_channels]. Weights are [n][taps][channels], taps in
 * the order t, y, x and channels = in_channels rounded up to a multiple of 8 (pack_conv). */
struct conv_args {
    struct gemm_args product; /* a_stride unused; a_vector: in_channels % 4 == 0, 16-byte aligned */
    const void *history;      /* [history_frames][height][width][in_channels], optional */
    int history_frames, time_pad;
    int height, width, in_channels, channels; /* of the input */
    int kernel_h, kernel_w;
    int stride_t, stride_h, stride_w;
    int pad_top, pad_left;
    int upsample; /* 1 or 2 */
    int out_height, out_width;
    int history_type; /* KERNEL_HISTORY_* */
    int reserved;     /* 0 */
};
KERNEL_ARGS_SIZE(conv_args, 200);

/* out[i,h,:] = sum_j softmax_j(scale q[i,h,:].k[j,h,:] + key_bias[j] + position_bias[h,i,j])
 * v[j,h,:]. attention_<type>_<size>: q, k, v are 16-bit [rows][heads][size], columns from head_size
 * on are zeros (pad_rows). attention_f32: f32 [rows][heads][head_size]. */
struct attention_args {
    const void *q, *k, *v;
    const float *key_bias;      /* [keys], optional; minus infinity masks a key */
    const float *position_bias; /* [heads][queries][keys], optional */
    float *out;                 /* [queries][heads][head_size] */
    int queries, keys, heads, head_size;
    float scale;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(attention_args, 72);

/* layer_norm: ((x - mean) / sqrt(variance + eps)) * weight + bias, then * (1 + scale) + shift.
 * rms_norm: x / sqrt(mean(x^2) + eps) * weight, or with l2: x / max(|x|, eps) * sqrt(channels) *
 * weight; then the activation. */
struct norm_args {
    const float *in;            /* [rows][channels] */
    float *out;                 /* may be `in` */
    const void *weight, *bias;  /* [channels] of weight_type, bias_type; optional */
    const float *scale, *shift; /* [channels], optional, together */
    long long rows;
    int channels;
    int weight_type, bias_type;
    int l2;
    int activation; /* KERNEL_NONE or KERNEL_SILU */
    float eps;
};
KERNEL_ARGS_SIZE(norm_args, 80);

/* Elementwise kernels take `count` elements, any number from 1. */
struct fill_args {
    float *out;
    long long count;
    float value;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(fill_args, 24);

struct convert_args {
    const void *in;
    void *out;
    long long count;
    int in_type, out_type; /* KERNEL_* */
};
KERNEL_ARGS_SIZE(convert_args, 32);

/* Rows of f32 to rows of 16 bits with another stride; zeros from `columns` on. */
struct pad_rows_args {
    const float *in; /* [rows][columns] */
    void *out;       /* [rows][out_stride] of out_type */
    long long rows;
    int columns, out_stride;
    int out_type; /* KERNEL_F16 or KERNEL_BF16 */
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(pad_rows_args, 40);

struct activation_args {
    const float *in;
    float *out; /* may be `in` */
    long long count;
    int activation;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(activation_args, 32);

/* out = coefficients[0] terms[0] + ... in this order, each product and sum rounded. */
struct combine_args {
    const float *terms[4];
    float *out; /* may be a term */
    long long count;
    float coefficients[4];
    int term_count; /* 1..4 */
    int reserved;   /* 0 */
};
KERNEL_ARGS_SIZE(combine_args, 72);

/* out[i] = in[i] * scale[i % channels] + shift[i % channels]. */
struct affine_args {
    const float *in, *scale, *shift;
    float *out; /* may be `in` */
    long long count;
    int channels;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(affine_args, 48);

/* In place on pairs: x [rows][heads][2 * half], tables [rows][half]; count = rows * heads * half.
 */
struct rope_args {
    float *x;
    const float *cos_table, *sin_table;
    long long count;
    int heads, half;
};
KERNEL_ARGS_SIZE(rope_args, 40);

/* out[i,:] = table[ids[i],:]; an id outside [0, table_rows) gives zeros and sets *fault to 1. */
struct gather_args {
    const void *table; /* [table_rows][channels] of table_type */
    const int *ids;
    float *out;
    unsigned *fault; /* never written otherwise */
    long long count; /* ids * channels */
    int table_rows, channels;
    int table_type;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(gather_args, 56);

/* out in row-major order of `shape`; element with coordinates c is in[sum c[i] * stride[i]]. */
struct permute_args {
    const void *in;
    void *out;
    long long count;
    long long shape[8], stride[8]; /* of the output's dimensions, from 0 to rank-1 */
    int rank;                      /* 1..8 */
    int element_size;              /* 1, 2 or 4 bytes */
};
KERNEL_ARGS_SIZE(permute_args, 160);

/* Bytes round((clamp(x, -1, 1) + 1) * 127.5), to nearest even; NaN gives 0. */
struct rgb8_args {
    const float *in;
    unsigned char *out;
    long long count;
};
KERNEL_ARGS_SIZE(rgb8_args, 24);

/* *found becomes 1 when an element is infinite or NaN; never written otherwise. */
struct finite_args {
    const float *in;
    unsigned *found;
    long long count;
};
KERNEL_ARGS_SIZE(finite_args, 24);

/* Weights [out_channels][in_channels][taps] to [out_channels][taps][channels], zeros in the
 * channels from in_channels on. One launch handles count = out_channels * taps * channels. */
struct pack_conv_args {
    const void *in;
    void *out;
    long long count;
    int in_type, out_type; /* KERNEL_* */
    int in_channels, taps, channels;
    int reserved; /* 0 */
};
KERNEL_ARGS_SIZE(pack_conv_args, 48);

/* Quantised rows: scale[row] = max |in[row,:]| / 127 (int8) or 448 (fp8), out = in / scale rounded
 * to nearest even, and never the codes 0x80, 0x7f and 0xff of fp8. */
struct quantize_args {
    const void *in; /* [rows][columns] of in_type */
    void *out;      /* [rows][out_stride] of out_type, 4-byte aligned, zeros from `columns` on */
    float *scale;   /* [rows] */
    int rows, columns;
    int out_stride;        /* a multiple of 8 */
    int in_type, out_type; /* KERNEL_*; KERNEL_I8 or KERNEL_F8 */
    int reserved;          /* 0 */
};
KERNEL_ARGS_SIZE(quantize_args, 48);

#endif
