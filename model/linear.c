/* Linear layers and the loader: thin, so that the models read like their formulas. */
#include "model/linear.h"

#include <stdarg.h>
#include <stdio.h>

#define NAME_SIZE 160

static bool format_name(struct sora_loader *loader, char *out_name, const char *format,
                        va_list arguments)
{
    if (loader->code)
        return false;
    int length = vsnprintf(out_name, NAME_SIZE, format, arguments);
    SORA_ASSERT(length > 0 && length < NAME_SIZE);
    return true;
}

void sora_loader_tensor(struct sora_loader *loader, struct sora_tensor *out_tensor, int rank,
                        const int64_t *shape, const char *name, ...)
{
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    bool wanted = format_name(loader, full, name, arguments);
    va_end(arguments);
    if (wanted)
        loader->code =
            sora_weights_get(loader->weights, rank, shape, out_tensor, loader->fault, "%s", full);
}

void sora_loader_linear(struct sora_loader *loader, struct sora_linear *out_linear,
                        const struct sora_linear_shape *shape, const char *name, ...)
{
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    bool wanted = format_name(loader, full, name, arguments);
    va_end(arguments);
    if (!wanted)
        return;
    char name_of_weight[NAME_SIZE + sizeof(".weight")];
    snprintf(name_of_weight, sizeof(name_of_weight), "%s.weight", full);
    const struct sora_weight_ask ask = {
        .name = name_of_weight,
        .rank = 2,
        .shape = (const int64_t[]){shape->out, shape->in},
        .form = loader->form,
    };
    struct sora_weight weight = {0};
    loader->code = sora_weights_take(loader->weights, &ask, &weight, loader->fault);
    *out_linear = (struct sora_linear){.weight = weight.tensor, .scale = weight.scale};
    if (!shape->without_bias)
        sora_loader_tensor(loader, &out_linear->bias, SORA_SHAPE(shape->out), "%s.bias", full);
}

int sora_linear_apply(struct sora_stream *stream, const struct sora_linear *linear,
                      const struct sora_tensor *in, const struct sora_linear_epilogue *epilogue,
                      const struct sora_tensor *out)
{
    struct sora_matmul product = {
        .a = *in,
        .b = linear->weight,
        .b_scale = linear->scale,
        .bias = linear->bias,
        .out = *out,
    };
    if (epilogue) {
        product.activation = epilogue->activation;
        product.factor = epilogue->factor;
        product.gate = epilogue->gate;
        product.residual = epilogue->residual;
    }
    return sora_op_matmul(stream, &product);
}
