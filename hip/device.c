/*
 * The device's public functions: check every operand, then dispatch to the backend's table.
 *
 * Operands of an operation are listed in one array (hip/operands.h). The checks cost well under a
 * microsecond, so they stay on in release builds: a wrong shape must never reach a kernel.
 */
#include "hip/device.h"

#include "base/log.h"
#include "hip/device_ops.h"
#include "hip/operands.h"

#include <string.h>

static bool activation_valid(enum sora_activation activation)
{
    return (unsigned)activation <= SORA_ACTIVATION_GELU_ERF;
}

/* ---- products ---- */

int sora_op_matmul(struct sora_stream *stream, const struct sora_matmul *params)
{
    const struct sora_matmul *p = params;
    int64_t m = p->a.shape[0], k = p->a.shape[1], n = p->b.shape[0];
    const struct operand operands[] = {
        {"a", &p->a, TYPES_F32, 0, 2, {m, k}},
        {"b", &p->b, TYPES_FLOAT | TYPES_QUANTISED, 0, 2, {n, k}},
        {"b_scale", &p->b_scale, TYPES_F32, OPERAND_OPTIONAL, 1, {n}},
        {"bias", &p->bias, TYPES_FLOAT, OPERAND_OPTIONAL, 1, {n}},
        {"factor", &p->factor, TYPES_F32, OPERAND_OPTIONAL, 2, {m, n}},
        {"gate", &p->gate, TYPES_F32, OPERAND_OPTIONAL, 1, {n}},
        {"residual", &p->residual, TYPES_F32, OPERAND_OPTIONAL | OPERAND_SAME, 2, {m, n}},
        {"out", &p->out, TYPES_F32, OPERAND_OUT, 2, {m, n}},
    };
    int rc = CHECK(stream, "matmul", operands);
    if (rc)
        return rc;
    bool quantised = (TYPES_QUANTISED & 1u << p->b.dtype) != 0;
    if (sora_tensor_present(&p->b_scale) != quantised)
        return sora_device_reject("matmul", "b_scale", "belongs_to_i8_and_f8");
    if (!activation_valid(p->activation))
        return sora_device_reject("matmul", "activation", "range");
    return stream->device->ops->matmul(stream, params);
}

int sora_op_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                     const struct sora_tensor *out, const struct sora_tensor *scale)
{
    int64_t n = in->shape[0], k = in->shape[1];
    const struct operand operands[] = {
        {"in", in, TYPES_FLOAT, 0, 2, {n, k}},
        {"scale", scale, TYPES_F32, 0, 1, {n}},
        {"out", out, TYPES_QUANTISED, OPERAND_OUT, 2, {n, k}},
    };
    int rc = CHECK(stream, "quantize", operands);
    if (rc)
        return rc;
    if (k % 8)
        return sora_device_reject("quantize", "in", "columns_not_a_multiple_of_8");
    if (scale->buffer->read_only || sora_operands_overlap(scale, in) ||
        sora_operands_overlap(scale, out))
        return sora_device_reject("quantize", "scale", "overlap");
    return stream->device->ops->quantize(stream, in, out, scale);
}

int sora_op_attention(struct sora_stream *stream, const struct sora_attention *params)
{
    const struct sora_attention *p = params;
    int64_t queries = p->q.shape[0], heads = p->q.shape[1], size = p->q.shape[2];
    int64_t keys = p->k.shape[0];
    const struct operand operands[] = {
        {"q", &p->q, TYPES_F32, 0, 3, {queries, heads, size}},
        {"k", &p->k, TYPES_F32, 0, 3, {keys, heads, size}},
        {"v", &p->v, TYPES_F32, 0, 3, {keys, heads, size}},
        {"key_bias", &p->key_bias, TYPES_F32, OPERAND_OPTIONAL, 1, {keys}},
        {"position_bias",
         &p->position_bias,
         TYPES_F32,
         OPERAND_OPTIONAL,
         3,
         {heads, queries, keys}},
        {"out", &p->out, TYPES_F32, OPERAND_OUT, 3, {queries, heads, size}},
    };
    int rc = CHECK(stream, "attention", operands);
    if (rc)
        return rc;
    if (size > stream->device->head_size_max) {
        sora_log(SORA_LOG_ERROR, "attention head too large head_size=%lld limit=%lld",
                 (long long)size, (long long)stream->device->head_size_max);
        return SORA_E_UNSUPPORTED;
    }
    return stream->device->ops->attention(stream, params);
}

int sora_packed_create(struct sora_device *device, const struct sora_tensor *weight,
                       struct sora_packed **out_packed)
{
    const struct sora_stream probe = {.device = device};
    const struct operand operands[] = {{"weight", weight, TYPES_FLOAT, 0, -1, {0}}};
    int rc = CHECK(&probe, "packed", operands);
    if (rc)
        return rc;
    if (weight->rank != 4 && weight->rank != 5)
        return sora_device_reject("packed", "weight", "rank");
    return device->ops->packed_create(device, weight, out_packed);
}

void sora_packed_destroy(struct sora_packed **packed)
{
    if (packed && *packed) {
        (*packed)->device->ops->packed_destroy(*packed);
        *packed = NULL;
    }
}

enum sora_dtype sora_packed_input_type(const struct sora_packed *packed)
{
    return packed->input_type;
}

/* Frames, rows or columns out of `size` (with padding) by a window of `kernel`; 0 when none fits.
 */
static int64_t window_count(int64_t size, int64_t kernel, int64_t stride)
{
    return size < kernel ? 0 : (size - kernel) / stride + 1;
}

static int conv_scalars_check(const struct sora_conv3d *p)
{
    const int64_t limit = 1 << 20;
    if (p->stride_t < 1 || p->stride_h < 1 || p->stride_w < 1 || p->stride_t > limit ||
        p->stride_h > limit || p->stride_w > limit)
        return sora_device_reject("conv3d", "stride", "range");
    if (p->pad_top < 0 || p->pad_bottom < 0 || p->pad_left < 0 || p->pad_right < 0 ||
        p->pad_top > limit || p->pad_bottom > limit || p->pad_left > limit || p->pad_right > limit)
        return sora_device_reject("conv3d", "pad", "range");
    if (p->upsample != 1 && p->upsample != 2)
        return sora_device_reject("conv3d", "upsample", "range");
    if (p->time_pad < 0 || p->time_pad >= p->weight->kernel_t)
        return sora_device_reject("conv3d", "time_pad", "range");
    if (sora_tensor_present(&p->history) && p->history.shape[0] > p->time_pad)
        return sora_device_reject("conv3d", "history", "longer_than_time_pad");
    return 0;
}

int sora_op_conv3d(struct sora_stream *stream, const struct sora_conv3d *params)
{
    struct sora_conv3d p = *params;
    if (!stream || !p.weight || p.weight->device != stream->device)
        return sora_device_reject("conv3d", stream ? "weight" : "stream", "absent");
    p.stride_t = p.stride_t ? p.stride_t : 1;
    p.stride_h = p.stride_h ? p.stride_h : 1;
    p.stride_w = p.stride_w ? p.stride_w : 1;
    p.upsample = p.upsample ? p.upsample : 1;
    int rc = conv_scalars_check(&p);
    if (rc)
        return rc;
    int64_t frames = p.in.shape[0], height = p.in.shape[1], width = p.in.shape[2];
    int64_t channels = p.weight->in_channels, out_channels = p.weight->out_channels;
    int64_t history = p.history.shape[0];
    /* A size that is no size is refused below; bounding it here keeps the sums from overflowing. */
    const int64_t bound = (int64_t)1 << 40;
    if (frames < 1 || frames > bound || height < 1 || height > bound || width < 1 || width > bound)
        return sora_device_reject("conv3d", "in", "shape");
    int64_t out_frames = window_count(p.time_pad + frames, p.weight->kernel_t, p.stride_t);
    int64_t out_height = window_count(height * p.upsample + p.pad_top + p.pad_bottom,
                                      p.weight->kernel_h, p.stride_h);
    int64_t out_width =
        window_count(width * p.upsample + p.pad_left + p.pad_right, p.weight->kernel_w, p.stride_w);
    const struct operand operands[] = {
        {"in", &p.in, TYPES_F32, 0, 4, {frames, height, width, channels}},
        {"history",
         &p.history,
         TYPES_F32 | 1u << p.weight->input_type,
         OPERAND_OPTIONAL,
         4,
         {history, height, width, channels}},
        {"bias", &p.bias, TYPES_FLOAT, OPERAND_OPTIONAL, 1, {out_channels}},
        {"residual",
         &p.residual,
         TYPES_F32,
         OPERAND_OPTIONAL | OPERAND_SAME,
         4,
         {out_frames, out_height, out_width, out_channels}},
        {"out",
         &p.out,
         TYPES_F32,
         OPERAND_OUT,
         4,
         {out_frames, out_height, out_width, out_channels}},
    };
    rc = CHECK(stream, "conv3d", operands);
    return rc ? rc : stream->device->ops->conv3d(stream, &p);
}

/* ---- norms, rope ---- */

int sora_op_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params)
{
    const struct sora_layer_norm *p = params;
    int64_t n = p->in.shape[0], c = p->in.shape[1];
    const struct operand operands[] = {
        {"in", &p->in, TYPES_F32, OPERAND_SAME, 2, {n, c}},
        {"weight", &p->weight, TYPES_FLOAT, OPERAND_OPTIONAL, 1, {c}},
        {"bias", &p->bias, TYPES_FLOAT, OPERAND_OPTIONAL, 1, {c}},
        {"scale", &p->scale, TYPES_F32, OPERAND_OPTIONAL, 1, {c}},
        {"shift", &p->shift, TYPES_F32, OPERAND_OPTIONAL, 1, {c}},
        {"out", &p->out, TYPES_F32, OPERAND_OUT, 2, {n, c}},
    };
    int rc = CHECK(stream, "layer_norm", operands);
    if (rc)
        return rc;
    if (sora_tensor_present(&p->weight) != sora_tensor_present(&p->bias))
        return sora_device_reject("layer_norm", "weight_and_bias", "one_is_absent");
    if (sora_tensor_present(&p->scale) != sora_tensor_present(&p->shift))
        return sora_device_reject("layer_norm", "scale_and_shift", "one_is_absent");
    return stream->device->ops->layer_norm(stream, params);
}

int sora_op_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params)
{
    const struct sora_rms_norm *p = params;
    int64_t n = p->in.shape[0], c = p->in.shape[1];
    const struct operand operands[] = {
        {"in", &p->in, TYPES_F32, OPERAND_SAME, 2, {n, c}},
        {"weight", &p->weight, TYPES_FLOAT, 0, 1, {c}},
        {"out", &p->out, TYPES_F32, OPERAND_OUT, 2, {n, c}},
    };
    int rc = CHECK(stream, "rms_norm", operands);
    if (rc)
        return rc;
    if (p->kind != SORA_NORM_RMS && p->kind != SORA_NORM_L2)
        return sora_device_reject("rms_norm", "kind", "range");
    if (p->activation != SORA_ACTIVATION_NONE && p->activation != SORA_ACTIVATION_SILU)
        return sora_device_reject("rms_norm", "activation", "range");
    return stream->device->ops->rms_norm(stream, params);
}

int sora_op_rope(struct sora_stream *stream, const struct sora_tensor *x,
                 const struct sora_tensor *cos_table, const struct sora_tensor *sin_table)
{
    int64_t n = x->shape[0], heads = x->shape[1], size = x->shape[2];
    const struct operand operands[] = {
        {"cos", cos_table, TYPES_F32, 0, 2, {n, size / 2}},
        {"sin", sin_table, TYPES_F32, 0, 2, {n, size / 2}},
        {"x", x, TYPES_F32, OPERAND_OUT, 3, {n, heads, size}},
    };
    int rc = CHECK(stream, "rope", operands);
    if (rc)
        return rc;
    if (size % 2)
        return sora_device_reject("rope", "x", "odd_head_size");
    return stream->device->ops->rope(stream, x, cos_table, sin_table);
}

/* ---- elementwise and layout ---- */

/* An operand of the shape of `like`. */
static struct operand operand_like(const char *name, const struct sora_tensor *tensor,
                                   unsigned types, int flags, const struct sora_tensor *like)
{
    struct operand operand = {name, tensor, types, flags, like->rank, {0}};
    memcpy(operand.shape, like->shape, sizeof(operand.shape));
    return operand;
}

int sora_op_activation(struct sora_stream *stream, enum sora_activation activation,
                       const struct sora_tensor *in, const struct sora_tensor *out)
{
    const struct operand operands[] = {
        operand_like("in", in, TYPES_F32, OPERAND_SAME, in),
        operand_like("out", out, TYPES_F32, OPERAND_OUT, in),
    };
    int rc = CHECK(stream, "activation", operands);
    if (rc)
        return rc;
    if (!activation_valid(activation))
        return sora_device_reject("activation", "activation", "range");
    return stream->device->ops->activation(stream, activation, in, out);
}

int sora_op_combine(struct sora_stream *stream, const struct sora_combine *params)
{
    static const char *const names[SORA_COMBINE_MAX] = {"term0", "term1", "term2", "term3"};
    if (params->count < 1 || params->count > SORA_COMBINE_MAX)
        return sora_device_reject("combine", "count", "range");
    struct operand operands[SORA_COMBINE_MAX + 1];
    for (int i = 0; i < params->count; i++)
        operands[i] =
            operand_like(names[i], &params->terms[i], TYPES_F32, OPERAND_SAME, &params->terms[0]);
    operands[params->count] =
        operand_like("out", &params->out, TYPES_F32, OPERAND_OUT, &params->terms[0]);
    int rc = sora_operands_check(stream, "combine", operands, params->count + 1);
    return rc ? rc : stream->device->ops->combine(stream, params);
}

int sora_op_affine(struct sora_stream *stream, const struct sora_tensor *in,
                   const struct sora_tensor *scale, const struct sora_tensor *shift,
                   const struct sora_tensor *out)
{
    int64_t channels =
        in->rank >= 1 && in->rank <= SORA_TENSOR_RANK_MAX ? in->shape[in->rank - 1] : 0;
    const struct operand operands[] = {
        operand_like("in", in, TYPES_F32, OPERAND_SAME, in),
        {"scale", scale, TYPES_F32, 0, 1, {channels}},
        {"shift", shift, TYPES_F32, 0, 1, {channels}},
        operand_like("out", out, TYPES_F32, OPERAND_OUT, in),
    };
    int rc = CHECK(stream, "affine", operands);
    return rc ? rc : stream->device->ops->affine(stream, in, scale, shift, out);
}

int sora_op_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                        const struct sora_tensor *ids, const struct sora_tensor *out)
{
    int64_t rows = table->shape[0], channels = table->shape[1], count = ids->shape[0];
    const struct operand operands[] = {
        {"table", table, TYPES_FLOAT, 0, 2, {rows, channels}},
        {"ids", ids, TYPE_BIT(I32), 0, 1, {count}},
        {"out", out, TYPES_F32, OPERAND_OUT, 2, {count, channels}},
    };
    int rc = CHECK(stream, "gather_rows", operands);
    return rc ? rc : stream->device->ops->gather_rows(stream, table, ids, out);
}

int sora_op_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                    const struct sora_tensor *out)
{
    struct operand target = operand_like("out", out, 1u << (out->dtype & 31), OPERAND_OUT, in);
    unsigned seen = 0;
    for (int i = 0; i < in->rank && i < SORA_TENSOR_RANK_MAX; i++) {
        if (order[i] < 0 || order[i] >= in->rank || (seen & (1u << order[i])))
            return sora_device_reject("permute", "order", "no_permutation");
        seen |= 1u << order[i];
        target.shape[i] = in->shape[order[i]];
    }
    const struct operand operands[] = {operand_like("in", in, TYPES_ANY, 0, in), target};
    int rc = CHECK(stream, "permute", operands);
    if (rc)
        return rc;
    if (in->dtype != out->dtype)
        return sora_device_reject("permute", "out", "dtype");
    return stream->device->ops->permute(stream, in, order, out);
}

int sora_op_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                    const struct sora_tensor *out)
{
    const struct operand operands[] = {
        operand_like("in", in, TYPES_F32, 0, in),
        operand_like("out", out, TYPE_BIT(U8), OPERAND_OUT, in),
    };
    int rc = CHECK(stream, "to_rgb8", operands);
    return rc ? rc : stream->device->ops->to_rgb8(stream, in, out);
}

int sora_device_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                           bool *out_finite)
{
    const struct operand operands[] = {operand_like("tensor", tensor, TYPES_F32, 0, tensor)};
    int rc = CHECK(stream, "all_finite", operands);
    return rc ? rc : stream->device->ops->all_finite(stream, tensor, out_finite);
}

/* ---- copies ---- */

int sora_tensor_upload(struct sora_stream *stream, const struct sora_tensor *tensor,
                       const void *data)
{
    const struct operand operands[] = {
        operand_like("tensor", tensor, TYPES_ANY, OPERAND_OUT, tensor)};
    int rc = CHECK(stream, "upload", operands);
    if (rc)
        return rc;
    return data ? stream->device->ops->tensor_upload(stream, tensor, data)
                : sora_device_reject("upload", "data", "absent");
}

int sora_tensor_download(struct sora_stream *stream, const struct sora_tensor *tensor,
                         void *out_data)
{
    const struct operand operands[] = {operand_like("tensor", tensor, TYPES_ANY, 0, tensor)};
    int rc = CHECK(stream, "download", operands);
    if (rc)
        return rc;
    return out_data ? stream->device->ops->tensor_download(stream, tensor, out_data)
                    : sora_device_reject("download", "data", "absent");
}

int sora_op_copy(struct sora_stream *stream, const struct sora_tensor *from,
                 const struct sora_tensor *to)
{
    const struct operand operands[] = {
        operand_like("from", from, TYPES_ANY, 0, from),
        operand_like("to", to, TYPES_ANY, OPERAND_OUT, from),
    };
    int rc = CHECK(stream, "copy", operands);
    if (rc)
        return rc;
    if (from->dtype != to->dtype)
        return sora_device_reject("copy", "to", "dtype");
    return stream->device->ops->copy(stream, from, to);
}

int sora_op_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value)
{
    const struct operand operands[] = {
        operand_like("tensor", tensor, TYPES_F32, OPERAND_OUT, tensor)};
    int rc = CHECK(stream, "fill", operands);
    return rc ? rc : stream->device->ops->fill(stream, tensor, value);
}

int sora_op_convert(struct sora_stream *stream, const struct sora_tensor *from,
                    const struct sora_tensor *to)
{
    const struct operand operands[] = {
        operand_like("from", from, TYPES_FLOAT, 0, from),
        operand_like("to", to, TYPES_FLOAT, OPERAND_OUT, from),
    };
    int rc = CHECK(stream, "convert", operands);
    return rc ? rc : stream->device->ops->convert(stream, from, to);
}
