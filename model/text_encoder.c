/*
 * UMT5 encoder over the real tokens of one prompt. Notation: x [n,d] residual stream (f32), RMS(x)
 * = x / sqrt(mean(x^2) + eps) * weight, H heads of d_kv.
 *
 *   x = embedding[ids]                                                   no scaling
 *   per block:
 *     a = RMS(x);  x += o(softmax(q(a) k(a)^T + bias) v(a))              no 1/sqrt(d_kv)
 *     a = RMS(x);  x += wo(gelu_tanh(wi_0(a)) * wi_1(a))
 *   out = RMS(x)
 *
 * with bias[h,i,j] = table[bucket(j - i), h], a table of its own in every block. The reference
 * masks padded keys and drops padded rows, so leaving them out gives the same rows.
 *
 * A device with memory of its own takes the weights with the first prompt, whole or, where they do
 * not fit, a block at a time and anew for every prompt. Of the embedding it takes the rows of the
 * prompt alone.
 */
#include "model/text_encoder.h"

#include "base/log.h"
#include "hip/arena.h"
#include "model/linear.h"
#include "model/text_encoder_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
    struct sora_tensor attention_norm, ffn_norm; /* [d] */
    struct sora_linear q, k, v;                  /* [H*d_kv,d] */
    struct sora_linear o;                        /* [d,H*d_kv] */
    struct sora_tensor bias_table;               /* [B,H] */
    struct sora_linear wi_0, wi_1, wo;           /* [f,d], [f,d], [d,f] */
};

struct sora_text_encoder {
    struct sora_text_config config;
    struct sora_text_encoder_plan plan;
    struct sora_device *device;         /* borrowed */
    struct sora_stream *stream;         /* owned */
    struct sora_checkpoint *checkpoint; /* owned */
    struct sora_weights *weights;       /* owned */
    struct sora_tensor embedding;       /* [V,d]; not present on a device that copies weights */
    const char *table_data;             /* its bytes in the file */
    struct sora_tensor final_norm;      /* [d] */
    struct block *blocks;               /* owned, config.layers of them */
    struct sora_arena arena;
    bool is_loaded;        /* all blocks are on the device */
    bool by_block;         /* they do not fit: each is there while it runs */
    int32_t *bucket_table; /* owned, [SORA_TEXT_TOKENS_MAX^2]: host side of the pass's buckets */
};

/* The tensors of one prompt of n tokens. */
struct pass {
    struct sora_text_encoder *encoder;
    int64_t n;
    struct sora_tensor ids;       /* [n] i32 */
    struct sora_tensor buckets;   /* [n*n] i32 */
    struct sora_buffer *rows;     /* owned: of the embedding, where it is not on the device */
    struct sora_tensor x, a;      /* [n,d] */
    struct sora_tensor q, k, v;   /* [n,H*d_kv]; attention's output goes to `attended` */
    struct sora_tensor attended;  /* [n,H*d_kv] */
    struct sora_tensor bias_rows; /* [n*n,H] */
    struct sora_tensor bias;      /* [H,n,n] */
    struct sora_tensor gate, ffn; /* [n,f]: lie where the attention's tensors lay */
};

/* ---- weights ---- */

static void load_block(struct sora_loader *loader, const struct sora_text_config *c, int index,
                       struct block *out)
{
    int64_t inner = (int64_t)c->heads * c->head_size;
    const struct sora_linear_shape in = {inner, c->width, true}, back = {c->width, inner, true};
    const struct sora_linear_shape up = {c->ffn_width, c->width, true};
    const struct sora_linear_shape down = {c->width, c->ffn_width, true};
    char attention[64], ffn[64];
    snprintf(attention, sizeof(attention), "encoder.block.%d.layer.0", index);
    snprintf(ffn, sizeof(ffn), "encoder.block.%d.layer.1", index);
    sora_loader_tensor(loader, &out->attention_norm, SORA_SHAPE(c->width), "%s.layer_norm.weight",
                       attention);
    sora_loader_linear(loader, &out->q, &in, "%s.SelfAttention.q", attention);
    sora_loader_linear(loader, &out->k, &in, "%s.SelfAttention.k", attention);
    sora_loader_linear(loader, &out->v, &in, "%s.SelfAttention.v", attention);
    sora_loader_linear(loader, &out->o, &back, "%s.SelfAttention.o", attention);
    sora_loader_tensor(loader, &out->bias_table, SORA_SHAPE(c->buckets.count, c->heads),
                       "%s.SelfAttention.relative_attention_bias.weight", attention);
    sora_loader_tensor(loader, &out->ffn_norm, SORA_SHAPE(c->width), "%s.layer_norm.weight", ffn);
    sora_loader_linear(loader, &out->wi_0, &up, "%s.DenseReluDense.wi_0", ffn);
    sora_loader_linear(loader, &out->wi_1, &up, "%s.DenseReluDense.wi_1", ffn);
    sora_loader_linear(loader, &out->wo, &down, "%s.DenseReluDense.wo", ffn);
}

/* Brings blocks [first,end) to the device. */
static int load_blocks(struct sora_text_encoder *encoder, int first, int end,
                       struct sora_fault *fault)
{
    struct sora_loader loader = {
        .weights = encoder->weights, .fault = fault, .form = SORA_WEIGHTS_OPERAND};
    for (int i = first; i < end; i++)
        load_block(&loader, &encoder->config, i, &encoder->blocks[i]);
    sora_weights_settle(encoder->weights);
    return loader.code;
}

static int load_final_norm(struct sora_text_encoder *encoder, struct sora_fault *fault)
{
    return sora_weights_get(encoder->weights, SORA_SHAPE(encoder->config.width),
                            &encoder->final_norm, fault, "encoder.final_layer_norm.weight");
}

/* ---- one pass ---- */

static int norm(struct pass *pass, const struct sora_tensor *weight)
{
    const struct sora_rms_norm params = {
        .in = pass->x,
        .out = pass->a,
        .weight = *weight,
        .kind = SORA_NORM_RMS,
        .eps = (float)pass->encoder->config.eps,
    };
    return sora_op_rms_norm(pass->encoder->stream, &params);
}

/* bias[h,i,j] = table[buckets[i,j],h]. */
static int gather_bias(struct pass *pass, const struct sora_tensor *table)
{
    static const int heads_first[] = {2, 0, 1};
    struct sora_stream *stream = pass->encoder->stream;
    int code = sora_op_gather_rows(stream, table, &pass->buckets, &pass->bias_rows);
    if (code)
        return code;
    struct sora_tensor pairs = sora_tensor_reshape(
        &pass->bias_rows, SORA_SHAPE(pass->n, pass->n, pass->encoder->config.heads));
    return sora_op_permute(stream, &pairs, heads_first, &pass->bias);
}

static struct sora_tensor by_head(const struct pass *pass, const struct sora_tensor *rows)
{
    const struct sora_text_config *config = &pass->encoder->config;
    return sora_tensor_reshape(rows, SORA_SHAPE(pass->n, config->heads, config->head_size));
}

static int attend(struct pass *pass, const struct block *block)
{
    struct sora_stream *stream = pass->encoder->stream;
    int code = norm(pass, &block->attention_norm);
    if (!code)
        code = sora_linear_apply(stream, &block->q, &pass->a, NULL, &pass->q);
    if (!code)
        code = sora_linear_apply(stream, &block->k, &pass->a, NULL, &pass->k);
    if (!code)
        code = sora_linear_apply(stream, &block->v, &pass->a, NULL, &pass->v);
    if (!code)
        code = gather_bias(pass, &block->bias_table);
    if (code)
        return code;
    const struct sora_attention attention = {
        .q = by_head(pass, &pass->q),
        .k = by_head(pass, &pass->k),
        .v = by_head(pass, &pass->v),
        .position_bias = pass->bias,
        .out = by_head(pass, &pass->attended),
        .scale = 1.0f,
    };
    const struct sora_linear_epilogue summed = {.residual = pass->x};
    code = sora_op_attention(stream, &attention);
    return code ? code : sora_linear_apply(stream, &block->o, &pass->attended, &summed, &pass->x);
}

static int feed_forward(struct pass *pass, const struct block *block)
{
    struct sora_stream *stream = pass->encoder->stream;
    const struct sora_linear_epilogue gelu = {.activation = SORA_ACTIVATION_GELU_TANH};
    const struct sora_linear_epilogue times_gate = {.factor = pass->gate};
    const struct sora_linear_epilogue summed = {.residual = pass->x};
    int code = norm(pass, &block->ffn_norm);
    if (!code)
        code = sora_linear_apply(stream, &block->wi_0, &pass->a, &gelu, &pass->gate);
    if (!code)
        code = sora_linear_apply(stream, &block->wi_1, &pass->a, &times_gate, &pass->ffn);
    if (!code)
        code = sora_linear_apply(stream, &block->wo, &pass->ffn, &summed, &pass->x);
    return code;
}

/* x = embedding[ids], from the prompt's rows alone where the table is not on the device. */
static int embed(struct pass *pass, const int32_t *ids)
{
    struct sora_text_encoder *encoder = pass->encoder;
    struct sora_tensor table = encoder->embedding;
    int32_t own[SORA_TEXT_TOKENS_MAX];
    if (table.buffer) {
        int code = sora_tensor_upload(encoder->stream, &pass->ids, ids);
        return code ? code : sora_op_gather_rows(encoder->stream, &table, &pass->ids, &pass->x);
    }
    size_t size = (size_t)table.shape[1] * sora_dtype_size(table.dtype);
    char *rows = malloc((size_t)pass->n * size);
    if (!rows)
        return SORA_E_MEMORY;
    for (int i = 0; i < pass->n; i++) {
        memcpy(rows + (size_t)i * size, encoder->table_data + (size_t)ids[i] * size, size);
        own[i] = i;
    }
    int code = sora_buffer_import(encoder->device, rows, (size_t)pass->n * size, &pass->rows);
    free(rows);
    if (!code)
        code = sora_tensor_upload(encoder->stream, &pass->ids, own);
    if (code)
        return code;
    table = sora_tensor_make(pass->rows, 0, table.dtype, SORA_SHAPE(pass->n, table.shape[1]));
    return sora_op_gather_rows(encoder->stream, &table, &pass->ids, &pass->x);
}

static int run_block(struct pass *pass, int index, struct sora_fault *fault)
{
    struct sora_text_encoder *encoder = pass->encoder;
    int code = 0;
    if (encoder->by_block)
        code = load_blocks(encoder, index, index + 1, fault);
    if (!code)
        code = attend(pass, &encoder->blocks[index]);
    if (!code)
        code = feed_forward(pass, &encoder->blocks[index]);
    if (encoder->by_block) {
        int waited = sora_stream_wait(encoder->stream);
        sora_weights_unload(encoder->weights);
        code = code ? code : waited;
    }
    return code;
}

static int run(struct pass *pass, const int32_t *ids, struct sora_fault *fault)
{
    struct sora_text_encoder *encoder = pass->encoder;
    sora_relative_bucket_table(&encoder->config.buckets, (int)pass->n, encoder->bucket_table);
    int code = sora_tensor_upload(encoder->stream, &pass->buckets, encoder->bucket_table);
    if (!code)
        code = embed(pass, ids);
    for (int i = 0; i < encoder->config.layers && !code; i++)
        code = run_block(pass, i, fault);
    if (!code && encoder->by_block)
        code = load_final_norm(encoder, fault);
    return code ? code : norm(pass, &encoder->final_norm);
}

/* ---- memory of a pass ---- */

/* One tensor of a pass. `part` 0 lives throughout; parts 1 and 2 share their place. */
struct place {
    struct sora_tensor *tensor;
    enum sora_dtype dtype;
    int part, rank;
    int64_t shape[3];
};

enum { PLACE_COUNT = 12, PART_COUNT = 3 };

static void list_places(struct pass *pass, struct place out_places[PLACE_COUNT])
{
    const struct sora_text_config *c = &pass->encoder->config;
    int64_t n = pass->n, inner = (int64_t)c->heads * c->head_size;
    const struct place places[PLACE_COUNT] = {
        {&pass->ids, SORA_DTYPE_I32, 0, 1, {n}},
        {&pass->buckets, SORA_DTYPE_I32, 0, 1, {n * n}},
        {&pass->x, SORA_DTYPE_F32, 0, 2, {n, c->width}},
        {&pass->a, SORA_DTYPE_F32, 0, 2, {n, c->width}},
        {&pass->q, SORA_DTYPE_F32, 1, 2, {n, inner}},
        {&pass->k, SORA_DTYPE_F32, 1, 2, {n, inner}},
        {&pass->v, SORA_DTYPE_F32, 1, 2, {n, inner}},
        {&pass->attended, SORA_DTYPE_F32, 1, 2, {n, inner}},
        {&pass->bias_rows, SORA_DTYPE_F32, 1, 2, {n * n, c->heads}},
        {&pass->bias, SORA_DTYPE_F32, 1, 3, {c->heads, n, n}},
        {&pass->gate, SORA_DTYPE_F32, 2, 2, {n, c->ffn_width}},
        {&pass->ffn, SORA_DTYPE_F32, 2, 2, {n, c->ffn_width}},
    };
    memcpy(out_places, places, sizeof(places));
}

static int64_t place_count(const struct place *place)
{
    int64_t count = 1;
    for (int i = 0; i < place->rank; i++)
        count *= place->shape[i];
    return count;
}

static int pass_init(struct pass *pass)
{
    struct sora_arena *arena = &pass->encoder->arena;
    struct place places[PLACE_COUNT];
    size_t size[PART_COUNT] = {0};
    list_places(pass, places);
    for (int i = 0; i < PLACE_COUNT; i++)
        size[places[i].part] += sora_arena_cost(places[i].dtype, place_count(&places[i]));
    sora_arena_rewind(arena, 0);
    int code = sora_arena_reserve(arena, pass->encoder->device,
                                  size[0] + (size[1] > size[2] ? size[1] : size[2]));
    for (int i = 0; i < PLACE_COUNT && !code; i++) {
        if (i > 0 && places[i].part == 2 && places[i - 1].part == 1)
            sora_arena_rewind(arena, size[0]);
        code = sora_arena_take(arena, places[i].dtype, places[i].rank, places[i].shape,
                               places[i].tensor);
    }
    return code;
}

/* ---- public ---- */

static int check_ids(const struct sora_text_encoder *encoder, const int32_t *ids, int count,
                     struct sora_fault *fault)
{
    if (count < 1 || count > SORA_TEXT_TOKENS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "text encoder: %d tokens, expected 1 to %d",
                              count, SORA_TEXT_TOKENS_MAX);
    for (int i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= encoder->config.vocabulary_size)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "text encoder: token %d is %d, the vocabulary has %d; the "
                                  "tokenizer belongs to another model",
                                  i, ids[i], encoder->config.vocabulary_size);
    }
    return 0;
}

static int report_nonfinite(const struct sora_text_encoder *encoder, struct sora_fault *fault)
{
    const struct sora_checkpoint_entry *culprit =
        sora_checkpoint_find_nonfinite(encoder->checkpoint);
    if (culprit)
        return sora_fault_set(fault, SORA_E_NUMERIC,
                              "text encoder: tensor %s holds NaN or infinity; get the weights anew",
                              culprit->name);
    return sora_fault_set(fault, SORA_E_NUMERIC,
                          "text encoder: an embedding of this prompt is not a finite number");
}

/* All blocks, unless one at a time is decided on. */
static int load_whole(struct sora_text_encoder *encoder, struct sora_fault *fault)
{
    if (encoder->is_loaded || encoder->by_block)
        return 0;
    int code = load_blocks(encoder, 0, encoder->config.layers, fault);
    if (!code)
        code = load_final_norm(encoder, fault);
    encoder->is_loaded = !code;
    return code;
}

static int encode(struct sora_text_encoder *encoder, const int32_t *ids, int count, float *out_rows,
                  struct sora_fault *fault)
{
    struct pass pass = {.encoder = encoder, .n = count};
    bool finite = true;
    int code = load_whole(encoder, fault);
    if (!code)
        code = pass_init(&pass);
    if (!code)
        code = run(&pass, ids, fault);
    if (!code)
        code = sora_device_all_finite(encoder->stream, &pass.a, &finite);
    if (!code && finite)
        code = sora_tensor_download(encoder->stream, &pass.a, out_rows);
    if (!code && !finite)
        code = report_nonfinite(encoder, fault);
    int waited = sora_stream_wait(encoder->stream);
    sora_buffer_destroy(&pass.rows);
    return code ? code : waited;
}

/* The blocks one at a time from now on. */
static void give_up_whole(struct sora_text_encoder *encoder)
{
    sora_log(SORA_LOG_INFO, "memory is short: texts are encoded block by block blocks=%d",
             encoder->config.layers);
    sora_weights_unload(encoder->weights);
    sora_arena_rewind(&encoder->arena, 0);
    sora_arena_fini(&encoder->arena);
    encoder->is_loaded = false;
    encoder->by_block = true;
}

static bool has_room(const struct sora_text_encoder *encoder)
{
    struct sora_device_caps caps;
    sora_device_caps(encoder->device, &caps);
    return encoder->is_loaded || caps.memory_free >= sora_text_encoder_room(encoder);
}

int sora_text_encoder_encode(struct sora_text_encoder *encoder, const int32_t *ids, int count,
                             float *out_rows, struct sora_fault *fault)
{
    int code = check_ids(encoder, ids, count, fault);
    if (code)
        return code;
    struct sora_fault first = {0};
    bool may_shrink = sora_weights_are_copies(encoder->weights) && !encoder->by_block;
    if (may_shrink && !has_room(encoder))
        code = SORA_E_MEMORY;
    else
        code = encode(encoder, ids, count, out_rows, &first);
    if (code == SORA_E_MEMORY && may_shrink) {
        first = (struct sora_fault){0};
        give_up_whole(encoder);
        code = encode(encoder, ids, count, out_rows, &first);
    }
    if (!code)
        return 0;
    if (first.text[0])
        return sora_fault_set(fault, code, "%s", first.text);
    return sora_fault_set(fault, code, "text encoder: %d tokens: %s", count, sora_error_text(code));
}

uint64_t sora_text_encoder_room(const struct sora_text_encoder *encoder)
{
    return encoder->plan.weights + encoder->plan.activations;
}

int sora_text_encoder_width(const struct sora_text_encoder *encoder)
{
    return encoder->config.width;
}

int sora_text_encoder_vocabulary_size(const struct sora_text_encoder *encoder)
{
    return encoder->config.vocabulary_size;
}

/* ---- opening ---- */

/* Where the device copies weights this is a check of their shapes. */
static int find_weights(struct sora_text_encoder *encoder, struct sora_fault *fault)
{
    static const char tied[] = "encoder.embed_tokens.weight", shared[] = "shared.weight";
    const struct sora_text_config *config = &encoder->config;
    encoder->blocks = calloc((size_t)config->layers, sizeof(encoder->blocks[0]));
    encoder->bucket_table = malloc(sizeof(int32_t) * SORA_TEXT_TOKENS_MAX * SORA_TEXT_TOKENS_MAX);
    if (!encoder->blocks || !encoder->bucket_table)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a text encoder");
    bool has_shared = sora_checkpoint_find(encoder->checkpoint, shared);
    bool has_tied = sora_checkpoint_find(encoder->checkpoint, tied);
    const char *name = has_tied && !has_shared ? tied : shared;
    sora_weights_check_only(encoder->weights, true);
    int code =
        sora_weights_get(encoder->weights, SORA_SHAPE(config->vocabulary_size, config->width),
                         &encoder->embedding, fault, "%s", name);
    if (!code)
        code = load_blocks(encoder, 0, config->layers, fault);
    if (!code)
        code = load_final_norm(encoder, fault);
    if (!code)
        encoder->table_data = sora_checkpoint_find(encoder->checkpoint, name)->data;
    sora_weights_check_only(encoder->weights, false);
    encoder->is_loaded = !sora_weights_are_copies(encoder->weights);
    return code;
}

static int open_parts(struct sora_text_encoder *encoder, const char *dir, struct sora_fault *fault)
{
    int code = sora_text_config_read(dir, &encoder->config, fault);
    if (code)
        return code;
    struct sora_device_caps caps;
    sora_device_caps(encoder->device, &caps);
    code = sora_text_encoder_plan_read(dir, caps.product_type, &encoder->plan, fault);
    if (code)
        return code;
    if (encoder->config.head_size > caps.head_size_max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "text encoder: d_kv is %d; this device takes up to %lld",
                              encoder->config.head_size, (long long)caps.head_size_max);
    code = sora_checkpoint_open(dir, &encoder->checkpoint, fault);
    if (!code)
        code = sora_weights_create(encoder->checkpoint, encoder->device, &encoder->weights, fault);
    if (!code)
        code = find_weights(encoder, fault);
    if (code)
        return code;
    code = sora_stream_create(encoder->device, &encoder->stream);
    return code ? sora_fault_set(fault, code, "text encoder: %s", sora_error_text(code)) : 0;
}

int sora_text_encoder_open(const char *dir, struct sora_device *device,
                           struct sora_text_encoder **out_encoder, struct sora_fault *fault)
{
    struct sora_text_encoder *encoder = calloc(1, sizeof(*encoder));
    if (!encoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a text encoder");
    encoder->device = device;
    int code = open_parts(encoder, dir, fault);
    if (code) {
        sora_text_encoder_destroy(&encoder);
        return code;
    }
    *out_encoder = encoder;
    return 0;
}

void sora_text_encoder_destroy(struct sora_text_encoder **encoder)
{
    struct sora_text_encoder *e = *encoder;
    if (!e)
        return;
    sora_stream_destroy(&e->stream);
    sora_arena_fini(&e->arena);
    free(e->bucket_table);
    free(e->blocks);
    sora_weights_destroy(&e->weights);
    sora_checkpoint_destroy(&e->checkpoint);
    free(e);
    *encoder = NULL;
}
