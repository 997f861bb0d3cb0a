/*
 * Activation memory: how large the arena is for one shape, and its rope tables.
 *
 * Fixed for the whole pass: rope tables, the residual stream and one row buffer of the same size.
 * Above them, one at a time: patch columns; queries, keys and values; the feed-forward part's
 * hidden rows; the head's output. Hidden rows exist for as many tokens at a time as fit where the
 * queries, keys and values were, in equal pieces: long windows need no more memory for them, and
 * pieces follow from the shape alone, as the bits of a library's products do.
 */
#include "model/rope.h"
#include "model/transformer_parts.h"

#include <stdlib.h>

#define FFN_ROWS_MIN 2048 /* tokens at a time, or all of a shorter window */
#define FFN_ROWS_UNIT 128 /* pieces are multiples: a tile of products has no more rows */
#define TOKENS_MAX (INT64_C(1) << 31) /* keeps every size below 2^62 */

static size_t floats(int64_t count)
{
    return sora_arena_cost(SORA_DTYPE_F32, count);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

int64_t sora_transformer_config_ffn_rows(const struct sora_transformer_config *config,
                                         int64_t tokens)
{
    int64_t most = 3 * tokens * config->heads * config->head_size / config->ffn_width;
    most = most / FFN_ROWS_UNIT * FFN_ROWS_UNIT;
    most = most > FFN_ROWS_MIN ? most : FFN_ROWS_MIN;
    int64_t pieces = (tokens + most - 1) / most;
    int64_t rows = (tokens + pieces - 1) / pieces;
    rows = (rows + FFN_ROWS_UNIT - 1) / FFN_ROWS_UNIT * FFN_ROWS_UNIT;
    return rows < tokens ? rows : tokens;
}

/* size is SIZE_MAX and tokens 0 when the shape is beyond TOKENS_MAX or has no token. */
static struct sora_transformer_plan plan_make(const struct sora_transformer *transformer,
                                              int latents, int height, int width)
{
    const struct sora_transformer_config *config = &transformer->config;
    struct sora_transformer_plan plan = {
        .frames = latents / config->patch_t,
        .rows = height / config->patch_h,
        .columns = width / config->patch_w,
    };
    int64_t n = (int64_t)plan.frames * plan.rows;
    if (n < 1 || plan.columns < 1 || n > TOKENS_MAX / plan.columns) {
        plan.size = SIZE_MAX;
        return plan;
    }
    n *= plan.columns;
    plan.tokens = n;
    plan.ffn_rows = sora_transformer_config_ffn_rows(config, n);
    size_t part =
        larger(floats(n * transformer->patch_in_width), 3 * floats(n * transformer->width));
    part = larger(part, floats(plan.ffn_rows * config->ffn_width));
    part = larger(part, floats(n * transformer->patch_out_width));
    plan.size = 2 * floats(n * (config->head_size / 2)) + 2 * floats(n * transformer->width) + part;
    return plan;
}

size_t sora_transformer_activation_size(const struct sora_transformer *transformer, int latents,
                                        int height, int width)
{
    return plan_make(transformer, latents, height, width).size;
}

size_t sora_transformer_config_activation_size(const struct sora_transformer_config *config,
                                               int latents, int height, int width)
{
    const int64_t volume = (int64_t)config->patch_t * config->patch_h * config->patch_w;
    const struct sora_transformer sizes = {
        .config = *config,
        .width = (int64_t)config->heads * config->head_size,
        .patch_in_width = volume * config->in_channels,
        .patch_out_width = volume * config->out_channels,
    };
    return plan_make(&sizes, latents, height, width).size;
}

uint64_t sora_transformer_config_weight_size(const struct sora_transformer_config *config,
                                             enum sora_dtype type, bool quantised)
{
    uint64_t d = (uint64_t)config->heads * (uint64_t)config->head_size;
    uint64_t f = (uint64_t)config->ffn_width, layers = (uint64_t)config->layers;
    uint64_t volume = (uint64_t)config->patch_t * (uint64_t)config->patch_h;
    volume *= (uint64_t)config->patch_w;
    uint64_t each = type == SORA_DTYPE_F32 ? 4 : 2;
    uint64_t matrices = (8 * d * d + 2 * d * f) * (quantised ? 1 : each);
    uint64_t vectors =
        (27 * d + f + (quantised ? 9 * d + f : 0)) * sizeof(float); /* tables: twice */
    uint64_t patch = (uint64_t)config->in_channels * volume * d * sizeof(float);
    uint64_t edges = (uint64_t)config->out_channels * volume + 8 * d;
    edges = (edges + (uint64_t)config->freq_width + (uint64_t)config->text_width) * d * each;
    uint64_t state = (layers * SORA_MODULATION_COUNT + 32) * d * sizeof(float);
    return layers * (matrices + vectors) + patch + edges + state;
}

uint64_t sora_transformer_weight_size(const struct sora_transformer *transformer)
{
    const struct sora_transformer_config *config = &transformer->config;
    struct sora_device_caps caps;
    sora_device_caps(transformer->device, &caps);
    uint64_t bytes = sora_transformer_config_weight_size(config, caps.product_type,
                                                         caps.matrix_type != SORA_DTYPE_NONE);
    /* In f32 what is stored in 16 bits stays so; beside the weights there is the modulation. */
    uint64_t rows = 2 * ((uint64_t)config->layers * SORA_MODULATION_COUNT + 16);
    uint64_t stored = sora_checkpoint_size(transformer->checkpoint) +
                      rows * (uint64_t)transformer->width * sizeof(float);
    return bytes < stored ? bytes : stored;
}

static int upload_rope(struct sora_transformer *transformer, struct sora_stream *stream)
{
    const struct sora_transformer_plan *plan = &transformer->plan;
    const struct sora_rope_grid grid = {
        .head_size = transformer->config.head_size,
        .frames = plan->frames,
        .rows = plan->rows,
        .columns = plan->columns,
    };
    int64_t pairs = grid.head_size / 2;
    int code = sora_arena_take(&transformer->arena, SORA_DTYPE_F32, SORA_SHAPE(plan->tokens, pairs),
                               &transformer->rope_cos);
    if (!code)
        code = sora_arena_take(&transformer->arena, SORA_DTYPE_F32, SORA_SHAPE(plan->tokens, pairs),
                               &transformer->rope_sin);
    if (code)
        return code;
    size_t count = (size_t)(plan->tokens * pairs);
    float *host = malloc(2 * count * sizeof(float));
    if (!host)
        return SORA_E_MEMORY;
    sora_rope_tables(&grid, host, host + count);
    code = sora_tensor_upload(stream, &transformer->rope_cos, host);
    if (!code)
        code = sora_tensor_upload(stream, &transformer->rope_sin, host + count);
    free(host);
    return code;
}

int sora_transformer_plan_set(struct sora_transformer *transformer, struct sora_stream *stream,
                              int latents, int height, int width, struct sora_fault *fault)
{
    struct sora_transformer_plan plan = plan_make(transformer, latents, height, width);
    const struct sora_transformer_plan *old = &transformer->plan;
    if (plan.size == SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "transformer: %dx%dx%d latents are more than %lld tokens", latents,
                              height, width, (long long)TOKENS_MAX);
    if (old->tokens == plan.tokens && old->frames == plan.frames && old->rows == plan.rows)
        return 0;
    transformer->plan.tokens = 0;
    /* Work of the last shape may still read the arena. */
    int code = sora_stream_wait(stream);
    sora_arena_rewind(&transformer->arena, 0);
    if (!code)
        code = sora_arena_reserve(&transformer->arena, transformer->device, plan.size);
    if (!code) {
        transformer->plan = plan;
        code = upload_rope(transformer, stream);
    }
    if (code) {
        transformer->plan.tokens = 0;
        return sora_fault_set(fault, code,
                              "transformer: %zu MiB for the activations of %dx%dx%d latents: %s",
                              plan.size >> 20, latents, height, width, sora_error_text(code));
    }
    transformer->rope_mark = sora_arena_mark(&transformer->arena);
    return 0;
}
