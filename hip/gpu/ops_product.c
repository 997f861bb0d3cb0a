/*
 * Products, attention and convolutions on the card.
 *
 * A weight of 16 bits is multiplied as what it is, activations being rounded to its type; one of 32
 * bits takes the device's precision, and so do activations with weights of int8; with fp8 they are
 * bf16, which holds all of its values, or fp8 in the large products of a vendor's library. With
 * precision F32 nothing is rounded. Large products round their activations once, in scratch,
 * instead of in every column of tiles: the bits are the same.
 */
#include "hip/gpu/internal.h"

#include <stdlib.h>

/* From how many rows and columns on a pass over the activations pays. */
#define HALF_ROWS_MIN 512
#define HALF_COLUMNS_MIN 512

static bool fits_int(int64_t a, int64_t b, int64_t c)
{
    return a <= INT32_MAX && b <= INT32_MAX && c <= INT32_MAX;
}

enum sora_dtype sora_gpu_product_type(const struct sora_gpu_device *device, enum sora_dtype dtype)
{
    if (device->precision == SORA_GPU_F32)
        return SORA_DTYPE_F32;
    if (dtype == SORA_DTYPE_F16 || dtype == SORA_DTYPE_BF16)
        return dtype;
    return device->precision == SORA_GPU_F16 && dtype != SORA_DTYPE_F8 ? SORA_DTYPE_F16
                                                                       : SORA_DTYPE_BF16;
}

/* ---- matmul ---- */

/* Rounds the activations into scratch where that pays; no memory for it is no error. */
static int round_rows(struct sora_stream *stream, enum sora_dtype type, struct gemm_args *args,
                      bool *out_done)
{
    int64_t count = (int64_t)args->m * args->k;
    void *scratch = NULL;
    *out_done = false;
    if (args->m < HALF_ROWS_MIN || args->n < HALF_COLUMNS_MIN || args->k % 8 ||
        (uintptr_t)args->b % 16)
        return 0;
    int error = sora_gpu_scratch(stream, (size_t)count * 2, &scratch);
    if (error)
        return error == SORA_E_MEMORY ? 0 : error;
    const struct convert_args convert = {.in = args->a,
                                         .out = scratch,
                                         .count = count,
                                         .in_type = KERNEL_F32,
                                         .out_type = (int)type};
    error = sora_gpu_launch_elements(stream, SORA_KERNEL_convert, &convert, count);
    if (error)
        return error;
    args->a = scratch;
    *out_done = true;
    return 0;
}

static enum sora_plan_weight weight_kind(enum sora_dtype dtype)
{
    return dtype == SORA_DTYPE_F32  ? SORA_PLAN_WEIGHT_F32
           : dtype == SORA_DTYPE_I8 ? SORA_PLAN_WEIGHT_INT8
           : dtype == SORA_DTYPE_F8 ? SORA_PLAN_WEIGHT_FP8
                                    : SORA_PLAN_WEIGHT_HALF;
}

static int matmul_run(struct sora_stream *stream, enum sora_dtype weight, struct gemm_args *args)
{
    const struct sora_gpu_device *device = sora_gpu_device_of(stream);
    enum sora_dtype type = sora_gpu_product_type(device, weight);
    bool is_half = false;
    int error = 0;
    if (type != SORA_DTYPE_F32 && (type == weight || weight == SORA_DTYPE_F8))
        error = sora_gpu_blas_matmul(stream, weight, args);
    if (error || args->m == 0)
        return error;
    if (type == weight && type != SORA_DTYPE_F32)
        error = round_rows(stream, type, args, &is_half);
    struct sora_launch_plan plan;
    if (!error)
        error = sora_plan_gemm(&device->target, type, is_half, weight_kind(weight), args, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, args);
}

int sora_gpu_matmul(struct sora_stream *stream, const struct sora_matmul *params)
{
    int64_t m = params->a.shape[0], k = params->a.shape[1], n = params->b.shape[0];
    struct gemm_args args = {
        .a = sora_gpu_data(&params->a),
        .b = sora_gpu_data(&params->b),
        .b_scale = sora_gpu_data(&params->b_scale),
        .bias = sora_gpu_data(&params->bias),
        .factor = sora_gpu_data(&params->factor),
        .gate = sora_gpu_data(&params->gate),
        .residual = sora_gpu_data(&params->residual),
        .out = sora_gpu_data(&params->out),
        .m = (int)m,
        .n = (int)n,
        .k = (int)k,
        .a_stride = (int)k,
        .b_stride = (int)k,
        .b_type = (int)params->b.dtype,
        .bias_type = (int)params->bias.dtype,
        .activation = (int)params->activation,
    };
    return fits_int(m, k, n) ? matmul_run(stream, params->b.dtype, &args) : SORA_E_UNSUPPORTED;
}

int sora_gpu_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                      const struct sora_tensor *out, const struct sora_tensor *scale)
{
    const struct quantize_args args = {
        .in = sora_gpu_data(in),
        .out = sora_gpu_data(out),
        .scale = sora_gpu_data(scale),
        .rows = (int)in->shape[0],
        .columns = (int)in->shape[1],
        .out_stride = (int)in->shape[1],
        .in_type = (int)in->dtype,
        .out_type = (int)out->dtype,
    };
    if (!fits_int(in->shape[0], in->shape[1], 0))
        return SORA_E_UNSUPPORTED;
    return sora_gpu_launch_rows(stream, SORA_KERNEL_quantize_rows, &args, args.rows);
}

/* ---- attention ---- */

/* One operand in 16 bits with padded heads, at `*memory`, which moves on. */
static int pad_operand(struct sora_stream *stream, const struct sora_tensor *tensor, int stride,
                       enum sora_dtype type, char **memory, const void **out_data)
{
    const struct pad_rows_args args = {
        .in = sora_gpu_data(tensor),
        .out = *memory,
        .rows = tensor->shape[0] * tensor->shape[1],
        .columns = (int)tensor->shape[2],
        .out_stride = stride,
        .out_type = (int)type,
    };
    int64_t count = (int64_t)args.rows * stride;
    *out_data = *memory;
    *memory += count * 2;
    return sora_gpu_launch_elements(stream, SORA_KERNEL_pad_rows, &args, count);
}

static int attention_pad(struct sora_stream *stream, const struct sora_attention *params,
                         enum sora_dtype type, struct attention_args *args)
{
    int stride = sora_plan_head_stride(args->head_size);
    int64_t rows = (params->q.shape[0] + 2 * params->k.shape[0]) * args->heads;
    void *scratch = NULL;
    int error = sora_gpu_scratch(stream, (size_t)rows * (size_t)stride * 2, &scratch);
    char *memory = scratch;
    if (!error)
        error = pad_operand(stream, &params->q, stride, type, &memory, &args->q);
    if (!error)
        error = pad_operand(stream, &params->k, stride, type, &memory, &args->k);
    if (!error)
        error = pad_operand(stream, &params->v, stride, type, &memory, &args->v);
    return error;
}

int sora_gpu_attention(struct sora_stream *stream, const struct sora_attention *params)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    int64_t queries = params->q.shape[0], keys = params->k.shape[0], heads = params->q.shape[1];
    struct attention_args args = {
        .q = sora_gpu_data(&params->q),
        .k = sora_gpu_data(&params->k),
        .v = sora_gpu_data(&params->v),
        .key_bias = sora_gpu_data(&params->key_bias),
        .position_bias = sora_gpu_data(&params->position_bias),
        .out = sora_gpu_data(&params->out),
        .queries = (int)queries,
        .keys = (int)keys,
        .heads = (int)heads,
        .head_size = (int)params->q.shape[2],
        .scale = params->scale,
    };
    enum sora_dtype type = sora_gpu_product_type(device, SORA_DTYPE_F32);
    struct sora_launch_plan plan;
    if (!fits_int(queries, keys, heads))
        return SORA_E_UNSUPPORTED;
    if (!sora_plan_head_stride(args.head_size))
        type = SORA_DTYPE_F32;
    int error = type == SORA_DTYPE_F32 ? 0 : attention_pad(stream, params, type, &args);
    if (!error)
        error = sora_plan_attention(&device->target, type, &args, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, &args);
}

/* ---- convolution ---- */

void sora_gpu_packed_destroy(struct sora_packed *base)
{
    struct sora_gpu_packed *packed = (struct sora_gpu_packed *)base;
    sora_gpu_release((struct sora_gpu_device *)base->device, &packed->block);
    free(packed);
}

static int64_t packed_taps(const struct sora_packed *packed)
{
    return packed->kernel_t * packed->kernel_h * packed->kernel_w;
}

static int pack(struct sora_gpu_device *device, const struct sora_tensor *weight,
                struct sora_gpu_packed *packed)
{
    const struct pack_conv_args args = {
        .in = sora_gpu_data(weight),
        .out = packed->block->memory,
        .count = packed->base.out_channels * packed_taps(&packed->base) * packed->channels,
        .in_type = (int)weight->dtype,
        .out_type = (int)packed->dtype,
        .in_channels = (int)packed->base.in_channels,
        .taps = (int)packed_taps(&packed->base),
        .channels = (int)packed->channels,
    };
    struct sora_stream *own = &device->own->base;
    pthread_mutex_lock(&device->import_lock);
    int error =
        sora_gpu_check(device, "waiting for the card", device->runtime->calls.synchronize());
    if (!error)
        error = sora_gpu_launch_elements(own, SORA_KERNEL_pack_conv, &args, args.count);
    if (!error)
        error = sora_gpu_stream_wait(own);
    pthread_mutex_unlock(&device->import_lock);
    return error;
}

static void packed_describe(struct sora_device *base, const struct sora_tensor *weight,
                            struct sora_gpu_packed *packed)
{
    const struct sora_gpu_device *device = (const struct sora_gpu_device *)base;
    int last = weight->rank - 1;
    packed->base = (struct sora_packed){
        .device = base,
        .out_channels = weight->shape[0],
        .in_channels = weight->shape[1],
        .kernel_t = weight->rank == 5 ? weight->shape[2] : 1,
        .kernel_h = weight->shape[last - 1],
        .kernel_w = weight->shape[last],
    };
    packed->dtype = sora_gpu_product_type(device, weight->dtype);
    packed->base.input_type = device->target.kind == GPU_SIMT ? SORA_DTYPE_F32 : packed->dtype;
}

int sora_gpu_packed_create(struct sora_device *base, const struct sora_tensor *weight,
                           struct sora_packed **out_packed)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)base;
    struct sora_gpu_packed *packed = calloc(1, sizeof(*packed));
    if (!packed)
        return SORA_E_MEMORY;
    packed_describe(base, weight, packed);
    int64_t taps = packed_taps(&packed->base);
    int error = sora_gpu_enter(device);
    if (!error && !fits_int(taps * (weight->shape[1] + 8), weight->shape[0], 0))
        error = SORA_E_UNSUPPORTED;
    if (!error) {
        packed->channels = sora_plan_conv_channels((int)weight->shape[1]);
        int64_t count = weight->shape[0] * taps * packed->channels;
        error = sora_gpu_pool_take(device->pool, (size_t)count * sora_dtype_size(packed->dtype),
                                   &packed->block);
    }
    if (!error)
        error = pack(device, weight, packed);
    if (error) {
        sora_gpu_packed_destroy(&packed->base);
        return error;
    }
    *out_packed = &packed->base;
    return 0;
}

/* What the plan leaves to the caller. */
static struct conv_args conv_describe(const struct sora_conv3d *params)
{
    const struct sora_gpu_packed *packed = (const struct sora_gpu_packed *)params->weight;
    const int64_t *in = params->in.shape;
    return (struct conv_args){
        .product = {.a = sora_gpu_data(&params->in),
                    .b = packed->block->memory,
                    .bias = sora_gpu_data(&params->bias),
                    .residual = sora_gpu_data(&params->residual),
                    .out = sora_gpu_data(&params->out),
                    .n = (int)params->out.shape[3],
                    .bias_type = (int)params->bias.dtype},
        .history = sora_gpu_data(&params->history),
        .history_type = params->history.dtype == SORA_DTYPE_F32 || !params->history.buffer
                            ? KERNEL_HISTORY_F32
                            : KERNEL_HISTORY_HALF,
        .history_frames = (int)params->history.shape[0],
        .time_pad = params->time_pad,
        .height = (int)in[1],
        .width = (int)in[2],
        .in_channels = (int)in[3],
        .kernel_h = (int)params->weight->kernel_h,
        .kernel_w = (int)params->weight->kernel_w,
        .stride_t = params->stride_t,
        .stride_h = params->stride_h,
        .stride_w = params->stride_w,
        .pad_top = params->pad_top,
        .pad_left = params->pad_left,
        .upsample = params->upsample,
        .out_height = (int)params->out.shape[1],
        .out_width = (int)params->out.shape[2],
    };
}

int sora_gpu_conv3d(struct sora_stream *stream, const struct sora_conv3d *params)
{
    const struct sora_gpu_packed *packed = (const struct sora_gpu_packed *)params->weight;
    const int64_t *out = params->out.shape, *in = params->in.shape;
    if (!fits_int(out[0], out[1], out[2]) || !fits_int(in[0], in[1], in[2]) ||
        !fits_int(in[3], out[3], in[0]))
        return SORA_E_UNSUPPORTED;
    struct conv_args args = conv_describe(params);
    struct sora_launch_plan plan;
    int error = sora_plan_conv(&sora_gpu_device_of(stream)->target, packed->dtype, (int)out[0],
                               (int)packed_taps(params->weight), &args, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, &args);
}
