/*
 * A prompt's part of every forward pass: keys and values of the cross-attentions.
 *
 * The reference pads the text to text_rows zero rows before the text embedder and attends to all of
 * them. Equal rows have equal keys and values, so text_rows - count padded rows weigh as one key
 * whose score is raised by log(text_rows - count): the sum of n equal terms exp(s) is exp(s + log
 * n). Memory and time follow the real length of the prompt.
 */
#include "model/transformer_parts.h"

#include <math.h>
#include <stdlib.h>

#define TEXT_ROWS_MAX 65536

/* Scratch of one creation. */
struct work {
    struct sora_stream *stream;      /* owned */
    struct sora_arena arena;         /* owned */
    struct sora_tensor text;         /* [text_keys, text_width] */
    struct sora_tensor hidden, rows; /* [text_keys, d] */
};

static int work_init(struct work *work, const struct sora_transformer *transformer, int64_t keys)
{
    int64_t text_width = transformer->config.text_width, width = transformer->width;
    int code = sora_stream_create(transformer->device, &work->stream);
    if (!code)
        code = sora_arena_reserve(&work->arena, transformer->device,
                                  sora_arena_cost(SORA_DTYPE_F32, keys * text_width) +
                                      2 * sora_arena_cost(SORA_DTYPE_F32, keys * width));
    if (!code)
        code = sora_arena_take(&work->arena, SORA_DTYPE_F32, SORA_SHAPE(keys, text_width),
                               &work->text);
    if (!code)
        code =
            sora_arena_take(&work->arena, SORA_DTYPE_F32, SORA_SHAPE(keys, width), &work->hidden);
    if (!code)
        code = sora_arena_take(&work->arena, SORA_DTYPE_F32, SORA_SHAPE(keys, width), &work->rows);
    return code;
}

static void work_fini(struct work *work)
{
    sora_stream_destroy(&work->stream);
    sora_arena_fini(&work->arena);
}

/* Queues rows = L2(gelu_tanh(L1(text))) of the real rows and, last, of one zero row. */
static int embed(const struct sora_transformer *transformer, struct work *work, const float *rows,
                 int count)
{
    const struct sora_linear_epilogue gelu = {.activation = SORA_ACTIVATION_GELU_TANH};
    int64_t padded = work->text.shape[0] - count;
    int code = 0;
    if (count > 0) {
        struct sora_tensor real = sora_tensor_slice(&work->text, 0, count);
        code = sora_tensor_upload(work->stream, &real, rows);
    }
    if (!code && padded > 0) {
        struct sora_tensor zeros = sora_tensor_slice(&work->text, count, padded);
        code = sora_op_fill(work->stream, &zeros, 0.0f);
    }
    if (!code)
        code = sora_linear_apply(work->stream, &transformer->text_in, &work->text, &gelu,
                                 &work->hidden);
    if (!code)
        code = sora_linear_apply(work->stream, &transformer->text_out, &work->hidden, NULL,
                                 &work->rows);
    return code;
}

/* Queues one layer's keys, normalised, and values. */
static int project(const struct sora_transformer *transformer, int layer, const struct work *work,
                   struct sora_transformer_keys *keys)
{
    const struct sora_transformer_attention *cross = &transformer->blocks[layer].cross;
    struct sora_tensor k = sora_tensor_reshape(&keys->text_keys, 2, work->rows.shape);
    struct sora_tensor v = sora_tensor_reshape(&keys->text_values, 2, work->rows.shape);
    const struct sora_rms_norm norm = {
        .in = k,
        .out = k,
        .weight = cross->norm_k,
        .kind = SORA_NORM_RMS,
        .eps = (float)transformer->config.eps,
    };
    int code = sora_linear_apply(work->stream, &cross->to_k, &work->rows, NULL, &k);
    if (!code)
        code = sora_op_rms_norm(work->stream, &norm);
    if (!code)
        code = sora_linear_apply(work->stream, &cross->to_v, &work->rows, NULL, &v);
    return code;
}

/* Zeros, and log(pads) for the last key when it stands for pads rows. */
static int fill_bias(struct sora_transformer_context *context, const struct work *work, int pads)
{
    int code = sora_op_fill(work->stream, &context->key_bias, 0.0f);
    if (!code && pads > 0) {
        struct sora_tensor last = sora_tensor_slice(&context->key_bias, context->text_keys - 1, 1);
        code = sora_op_fill(work->stream, &last, (float)log(pads));
    }
    return code;
}

/* Memory for the bias and every layer's keys and values, in one buffer. */
static int context_allocate(struct sora_transformer_context *context,
                            const struct sora_transformer *transformer)
{
    const struct sora_transformer_config *config = &transformer->config;
    int64_t keys = context->text_keys;
    size_t each = sora_arena_cost(SORA_DTYPE_F32, keys * transformer->width);
    size_t bias = sora_arena_cost(SORA_DTYPE_F32, keys);
    context->layers = calloc((size_t)config->layers, sizeof(context->layers[0]));
    if (!context->layers)
        return SORA_E_MEMORY;
    int code = sora_buffer_create(transformer->device, bias + 2 * each * (size_t)config->layers,
                                  &context->buffer);
    if (code)
        return code;
    context->key_bias = sora_tensor_make(context->buffer, 0, SORA_DTYPE_F32, SORA_SHAPE(keys));
    for (int i = 0; i < config->layers; i++) {
        size_t offset = bias + 2 * each * (size_t)i;
        context->layers[i].text_keys =
            sora_tensor_make(context->buffer, offset, SORA_DTYPE_F32,
                             SORA_SHAPE(keys, config->heads, config->head_size));
        context->layers[i].text_values =
            sora_tensor_make(context->buffer, offset + each, SORA_DTYPE_F32,
                             SORA_SHAPE(keys, config->heads, config->head_size));
    }
    return 0;
}

static int context_compute(struct sora_transformer_context *context,
                           const struct sora_transformer *transformer, const float *rows, int count,
                           int text_rows)
{
    struct work work = {0};
    int code = work_init(&work, transformer, context->text_keys);
    if (!code)
        code = embed(transformer, &work, rows, count);
    for (int i = 0; i < transformer->config.layers && !code; i++)
        code = project(transformer, i, &work, &context->layers[i]);
    if (!code)
        code = fill_bias(context, &work, text_rows - count);
    if (work.stream) {
        int waited = sora_stream_wait(work.stream);
        code = code ? code : waited;
    }
    work_fini(&work);
    return code;
}

int sora_transformer_context_create(struct sora_transformer *transformer, const float *rows,
                                    int count, int text_rows,
                                    struct sora_transformer_context **out_context,
                                    struct sora_fault *fault)
{
    if (text_rows < 1 || text_rows > TEXT_ROWS_MAX || count < 0 || count > text_rows ||
        (count > 0 && !rows))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "transformer: %d text rows of %d, expected 0 to the padded length, "
                              "and that at most %d",
                              count, text_rows, TEXT_ROWS_MAX);
    struct sora_transformer_context *context = calloc(1, sizeof(*context));
    if (!context)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a prompt");
    context->transformer = transformer;
    context->text_keys = count + (count < text_rows ? 1 : 0);
    int code = sora_transformer_load(transformer, fault);
    if (!code)
        code = context_allocate(context, transformer);
    if (!code)
        code = context_compute(context, transformer, rows, count, text_rows);
    if (code) {
        sora_transformer_context_destroy(&context);
        return sora_fault_set(fault, code, "transformer: keys and values of %d text rows: %s",
                              count, sora_error_text(code));
    }
    *out_context = context;
    return 0;
}

void sora_transformer_context_destroy(struct sora_transformer_context **context)
{
    if (!*context)
        return;
    sora_buffer_destroy(&(*context)->buffer);
    free((*context)->layers);
    free(*context);
    *context = NULL;
}

int sora_transformer_context_keys(const struct sora_transformer_context *context)
{
    return context->text_keys;
}
