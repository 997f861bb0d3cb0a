/* Norms, rope and elementwise operations on the card. */
#include "hip/gpu/internal.h"

int sora_gpu_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params)
{
    const struct norm_args args = {
        .in = sora_gpu_data(&params->in),
        .out = sora_gpu_data(&params->out),
        .weight = sora_gpu_data(&params->weight),
        .bias = sora_gpu_data(&params->bias),
        .scale = sora_gpu_data(&params->scale),
        .shift = sora_gpu_data(&params->shift),
        .rows = params->in.shape[0],
        .channels = (int)params->in.shape[1],
        .weight_type = (int)params->weight.dtype,
        .bias_type = (int)params->bias.dtype,
        .eps = params->eps,
    };
    if (params->in.shape[1] > INT32_MAX)
        return SORA_E_UNSUPPORTED;
    return sora_gpu_launch_rows(stream, SORA_KERNEL_layer_norm, &args, args.rows);
}

int sora_gpu_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params)
{
    const struct norm_args args = {
        .in = sora_gpu_data(&params->in),
        .out = sora_gpu_data(&params->out),
        .weight = sora_gpu_data(&params->weight),
        .rows = params->in.shape[0],
        .channels = (int)params->in.shape[1],
        .weight_type = (int)params->weight.dtype,
        .l2 = params->kind == SORA_NORM_L2,
        .activation = (int)params->activation,
        .eps = params->eps,
    };
    if (params->in.shape[1] > INT32_MAX)
        return SORA_E_UNSUPPORTED;
    return sora_gpu_launch_rows(stream, SORA_KERNEL_rms_norm, &args, args.rows);
}

int sora_gpu_rope(struct sora_stream *stream, const struct sora_tensor *x,
                  const struct sora_tensor *cos_table, const struct sora_tensor *sin_table)
{
    const struct rope_args args = {
        .x = sora_gpu_data(x),
        .cos_table = sora_gpu_data(cos_table),
        .sin_table = sora_gpu_data(sin_table),
        .count = sora_tensor_count(x) / 2,
        .heads = (int)x->shape[1],
        .half = (int)(x->shape[2] / 2),
    };
    if (x->shape[1] > INT32_MAX || x->shape[2] > INT32_MAX)
        return SORA_E_UNSUPPORTED;
    return sora_gpu_launch_elements(stream, SORA_KERNEL_rope, &args, args.count);
}

int sora_gpu_activation(struct sora_stream *stream, enum sora_activation activation,
                        const struct sora_tensor *in, const struct sora_tensor *out)
{
    const struct activation_args args = {
        .in = sora_gpu_data(in),
        .out = sora_gpu_data(out),
        .count = sora_tensor_count(in),
        .activation = (int)activation,
    };
    return sora_gpu_launch_elements(stream, SORA_KERNEL_activation, &args, args.count);
}

int sora_gpu_combine(struct sora_stream *stream, const struct sora_combine *params)
{
    struct combine_args args = {
        .out = sora_gpu_data(&params->out),
        .count = sora_tensor_count(&params->out),
        .term_count = params->count,
    };
    for (int i = 0; i < params->count; i++) {
        args.terms[i] = sora_gpu_data(&params->terms[i]);
        args.coefficients[i] = params->coefficients[i];
    }
    return sora_gpu_launch_elements(stream, SORA_KERNEL_combine, &args, args.count);
}

int sora_gpu_affine(struct sora_stream *stream, const struct sora_tensor *in,
                    const struct sora_tensor *scale, const struct sora_tensor *shift,
                    const struct sora_tensor *out)
{
    const struct affine_args args = {
        .in = sora_gpu_data(in),
        .scale = sora_gpu_data(scale),
        .shift = sora_gpu_data(shift),
        .out = sora_gpu_data(out),
        .count = sora_tensor_count(in),
        .channels = (int)in->shape[in->rank - 1],
    };
    if (in->shape[in->rank - 1] > INT32_MAX)
        return SORA_E_UNSUPPORTED;
    return sora_gpu_launch_elements(stream, SORA_KERNEL_affine, &args, args.count);
}
