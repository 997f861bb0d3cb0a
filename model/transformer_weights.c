/* The transformer's tensors, by the names of the diffusers layout. */
#include "model/transformer_parts.h"

#include <stdlib.h>

static void load_attention(struct sora_loader *loader, int64_t width, int block, const char *name,
                           struct sora_transformer_attention *out)
{
    const struct sora_linear_shape square = {.out = width, .in = width};
    sora_loader_linear(loader, &out->to_q, &square, "blocks.%d.%s.to_q", block, name);
    sora_loader_linear(loader, &out->to_k, &square, "blocks.%d.%s.to_k", block, name);
    sora_loader_linear(loader, &out->to_v, &square, "blocks.%d.%s.to_v", block, name);
    sora_loader_linear(loader, &out->to_out, &square, "blocks.%d.%s.to_out.0", block, name);
    sora_loader_tensor(loader, &out->norm_q, SORA_SHAPE(width), "blocks.%d.%s.norm_q.weight", block,
                       name);
    sora_loader_tensor(loader, &out->norm_k, SORA_SHAPE(width), "blocks.%d.%s.norm_k.weight", block,
                       name);
}

static void load_block(struct sora_loader *loader, const struct sora_transformer *transformer,
                       int block, struct sora_transformer_block *out)
{
    int64_t width = transformer->width, ffn = transformer->config.ffn_width;
    load_attention(loader, width, block, "attn1", &out->self);
    load_attention(loader, width, block, "attn2", &out->cross);
    if (transformer->config.cross_attn_norm) {
        sora_loader_tensor(loader, &out->cross_norm_weight, SORA_SHAPE(width),
                           "blocks.%d.norm2.weight", block);
        sora_loader_tensor(loader, &out->cross_norm_bias, SORA_SHAPE(width), "blocks.%d.norm2.bias",
                           block);
    }
    const struct sora_linear_shape in = {.out = ffn, .in = width}, out_shape = {width, ffn, false};
    sora_loader_linear(loader, &out->ffn_in, &in, "blocks.%d.ffn.net.0.proj", block);
    sora_loader_linear(loader, &out->ffn_out, &out_shape, "blocks.%d.ffn.net.2", block);
}

/* A convolution whose stride is its kernel is a linear layer over patches: the stored
 * [d,in,pt,ph,pw] read as [d, in*pt*ph*pw]. */
static void load_patch(struct sora_loader *loader, struct sora_transformer *transformer)
{
    const struct sora_transformer_config *config = &transformer->config;
    int64_t width = transformer->width;
    sora_loader_tensor(
        loader, &transformer->patch.weight,
        SORA_SHAPE(width, config->in_channels, config->patch_t, config->patch_h, config->patch_w),
        "patch_embedding.weight");
    sora_loader_tensor(loader, &transformer->patch.bias, SORA_SHAPE(width), "patch_embedding.bias");
    if (!loader->code)
        transformer->patch.weight = sora_tensor_reshape(
            &transformer->patch.weight, SORA_SHAPE(width, transformer->patch_in_width));
}

static void load_embedders(struct sora_loader *loader, struct sora_transformer *transformer)
{
    const struct sora_transformer_config *config = &transformer->config;
    int64_t width = transformer->width;
    const struct {
        struct sora_linear *out;
        struct sora_linear_shape shape;
        const char *name;
    } linears[] = {
        {&transformer->time_in, {width, config->freq_width, false}, "time_embedder.linear_1"},
        {&transformer->time_out, {width, width, false}, "time_embedder.linear_2"},
        {&transformer->time_project, {SORA_MODULATION_COUNT * width, width, false}, "time_proj"},
        {&transformer->text_in, {width, config->text_width, false}, "text_embedder.linear_1"},
        {&transformer->text_out, {width, width, false}, "text_embedder.linear_2"},
    };
    for (size_t i = 0; i < sizeof(linears) / sizeof(linears[0]); i++)
        sora_loader_linear(loader, linears[i].out, &linears[i].shape, "condition_embedder.%s",
                           linears[i].name);
}

/* Widens every scale_shift_table into `tables`: modulation is computed in f32 whatever the stored
 * type. */
static void load_tables(struct sora_loader *loader, struct sora_transformer *transformer,
                        struct sora_stream *stream)
{
    int64_t width = transformer->width;
    int layers = transformer->config.layers;
    for (int i = 0; i <= layers && !loader->code; i++) {
        struct sora_tensor stored = {0};
        int64_t rows = i < layers ? SORA_MODULATION_COUNT : SORA_MODULATION_HEAD_COUNT;
        if (i < layers)
            sora_loader_tensor(loader, &stored, SORA_SHAPE(1, rows, width),
                               "blocks.%d.scale_shift_table", i);
        else
            sora_loader_tensor(loader, &stored, SORA_SHAPE(1, rows, width), "scale_shift_table");
        if (loader->code)
            return;
        if (!sora_tensor_present(&stored))
            continue;
        stored = sora_tensor_reshape(&stored, SORA_SHAPE(rows, width));
        struct sora_tensor wide =
            sora_tensor_slice(&transformer->tables, (int64_t)i * SORA_MODULATION_COUNT, rows);
        loader->code = sora_op_convert(stream, &stored, &wide);
    }
}

int sora_transformer_tables_load(struct sora_transformer *transformer, struct sora_fault *fault)
{
    struct sora_loader loader = {.weights = transformer->weights, .fault = fault};
    struct sora_stream *stream = NULL;
    int code = sora_stream_create(transformer->device, &stream);
    if (!code) {
        load_tables(&loader, transformer, stream);
        int waited = sora_stream_wait(stream);
        code = loader.code ? loader.code : waited;
    }
    sora_stream_destroy(&stream);
    return code ? sora_fault_set(fault, code, "transformer: reading the modulation tables: %s",
                                 sora_error_text(code))
                : 0;
}

int sora_transformer_weights_load(struct sora_transformer *transformer, struct sora_fault *fault)
{
    struct sora_loader loader = {
        .weights = transformer->weights, .fault = fault, .form = SORA_WEIGHTS_OPERAND};
    int layers = transformer->config.layers;
    if (!transformer->blocks)
        transformer->blocks = calloc((size_t)layers, sizeof(transformer->blocks[0]));
    if (!transformer->blocks)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for %d transformer blocks", layers);
    load_patch(&loader, transformer);
    load_embedders(&loader, transformer);
    loader.form = transformer->form;
    for (int i = 0; i < layers; i++)
        load_block(&loader, transformer, i, &transformer->blocks[i]);
    loader.form = SORA_WEIGHTS_OPERAND;
    const struct sora_linear_shape head = {transformer->patch_out_width, transformer->width, false};
    sora_loader_linear(&loader, &transformer->head, &head, "proj_out");
    return loader.code;
}
