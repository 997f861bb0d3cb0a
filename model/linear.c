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
    *out_linear = (struct sora_linear){0};
    sora_loader_tensor(loader, &out_linear->weight, SORA_SHAPE(shape->out, shape->in), "%s.weight",
                       full);
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
