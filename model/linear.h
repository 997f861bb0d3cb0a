/*
 * Linear layers of a checkpoint, and a loader that reads many tensors with one error check.
 *
 * A linear is a pair of views that borrow a `struct sora_weights`; copying it is free. Applying one
 * queues a single matrix product with its epilogue. Same threads and blocking as hip/device.h.
 */
#ifndef SORA_MODEL_LINEAR_H
#define SORA_MODEL_LINEAR_H

#include "model/checkpoint.h"

/* y = x weight^T + bias. */
struct sora_linear {
    struct sora_tensor weight; /* [out,in] in the loader's form */
    struct sora_tensor scale;  /* [out] of an int8 or fp8 weight, or absent */
    struct sora_tensor bias;   /* [out], or absent */
};

/* Reads tensors one after the other. The first error stays in `code` (and, as a sentence, in
 * `fault`); every later call does nothing, so callers look at `code` once. */
struct sora_loader {
    struct sora_weights *weights; /* borrowed */
    struct sora_fault *fault;
    int code;
    enum sora_weights_form form; /* of linears' weights */
};

/* The tensor NAME (printf format) of exactly this shape. */
void sora_loader_tensor(struct sora_loader *loader, struct sora_tensor *out_tensor, int rank,
                        const int64_t *shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

struct sora_linear_shape {
    int64_t out, in;
    bool without_bias;
};

/* The tensors NAME.weight and, unless without_bias, NAME.bias (printf format). */
void sora_loader_linear(struct sora_loader *loader, struct sora_linear *out_linear,
                        const struct sora_linear_shape *shape, const char *name, ...)
    __attribute__((format(printf, 4, 5)));

/* What follows the product, see struct sora_matmul. All-zero: nothing. */
struct sora_linear_epilogue {
    enum sora_activation activation;
    struct sora_tensor factor, gate, residual;
};

/* Queues out[N,out] = residual + gate * (activation(in[N,in] weight^T + bias) * factor). NULL
 * epilogue means none. Errors: those of sora_op_matmul. */
int sora_linear_apply(struct sora_stream *stream, const struct sora_linear *linear,
                      const struct sora_tensor *in, const struct sora_linear_epilogue *epilogue,
                      const struct sora_tensor *out);

#endif
