/*
 * The transformer's forward pass. Notation: x [N,d] is the residual stream (f32), N tokens
 * n = (t*H' + y)*W' + x; m the block's six modulation rows; LN without parameters unless said.
 *
 *   x  = patch(latents)                       columns of a patch: (channel, dt, dy, dx)
 *   per block:
 *     a = LN(x) * (1+m.scale_attention) + m.shift_attention
 *     q, k = rope(rms(to_q(a))), rope(rms(to_k(a)));  v = to_v(a)      rms over all heads
 *     x += m.gate_attention * to_out(softmax(q k^T / sqrt(D)) v)
 *     a = LN(x) with weight and bias, or x      (cross_attn_norm)
 *     x += to_out(softmax(rms(to_q(a)) K^T / sqrt(D) + key_bias) V)    K, V: the context
 *     a = LN(x) * (1+m.scale_ffn) + m.shift_ffn
 *     x += m.gate_ffn * ffn_out(gelu_tanh(ffn_in(a)))
 *   velocity = unpatch(head(LN(x) * (1+scale) + shift))   columns of a patch: (dt, dy, dx, channel)
 *
 * Every product carries its bias, activation, gate and residual sum as an epilogue.
 */
#include "model/transformer_parts.h"

#include <math.h>

/* One forward pass under way. */
struct pass {
    struct sora_transformer *transformer;
    struct sora_stream *stream;
    const struct sora_transformer_context *context;
    struct sora_tensor x;        /* [N,d]: residual stream */
    struct sora_tensor a;        /* [N,d]: normalised rows, then attention's output */
    struct sora_tensor columns;  /* the part under way: */
    struct sora_tensor q, k, v;  /*   [N,d] */
    struct sora_tensor hidden;   /*   [ffn_rows,f] */
    struct sora_tensor head_out; /*   [N,patch_out_width] */
};

static int take(struct pass *pass, int64_t rows, int64_t columns, struct sora_tensor *out_tensor)
{
    return sora_arena_take(&pass->transformer->arena, SORA_DTYPE_F32, SORA_SHAPE(rows, columns),
                           out_tensor);
}

/* Row `row` of the modulation as [d]. */
static struct sora_tensor modulation_row(const struct pass *pass, int64_t row)
{
    struct sora_tensor view = sora_tensor_slice(&pass->transformer->modulation, row, 1);
    return sora_tensor_reshape(&view, SORA_SHAPE(pass->transformer->width));
}

static struct sora_tensor by_head(const struct pass *pass, const struct sora_tensor *rows)
{
    const struct sora_transformer_config *config = &pass->transformer->config;
    return sora_tensor_reshape(rows, SORA_SHAPE(rows->shape[0], config->heads, config->head_size));
}

/* a = LN(x) * (1 + scale) + shift, both rows of the modulation. */
static int norm_modulated(struct pass *pass, int64_t shift_row, int64_t scale_row)
{
    const struct sora_layer_norm norm = {
        .in = pass->x,
        .out = pass->a,
        .scale = modulation_row(pass, scale_row),
        .shift = modulation_row(pass, shift_row),
        .eps = (float)pass->transformer->config.eps,
    };
    return sora_op_layer_norm(pass->stream, &norm);
}

/* rows = rms_norm(rows) * weight, in place. */
static int norm_heads(struct pass *pass, const struct sora_tensor *rows,
                      const struct sora_tensor *weight)
{
    const struct sora_rms_norm norm = {
        .in = *rows,
        .out = *rows,
        .weight = *weight,
        .kind = SORA_NORM_RMS,
        .eps = (float)pass->transformer->config.eps,
    };
    return sora_op_rms_norm(pass->stream, &norm);
}

/* rows = rms_norm(linear(from)), then turned by the rope tables when `turned`. */
static int project_heads(struct pass *pass, const struct sora_linear *linear,
                         const struct sora_tensor *weight, bool turned,
                         const struct sora_tensor *rows)
{
    int code = sora_linear_apply(pass->stream, linear, &pass->a, NULL, rows);
    if (!code)
        code = norm_heads(pass, rows, weight);
    if (!code && turned) {
        struct sora_tensor heads = by_head(pass, rows);
        code = sora_op_rope(pass->stream, &heads, &pass->transformer->rope_cos,
                            &pass->transformer->rope_sin);
    }
    return code;
}

static int self_attention(struct pass *pass, int layer)
{
    const struct sora_transformer_attention *self = &pass->transformer->blocks[layer].self;
    int64_t row = (int64_t)layer * SORA_MODULATION_COUNT;
    int code = norm_modulated(pass, row + SORA_MODULATION_SHIFT_ATTENTION,
                              row + SORA_MODULATION_SCALE_ATTENTION);
    if (!code)
        code = project_heads(pass, &self->to_q, &self->norm_q, true, &pass->q);
    if (!code)
        code = project_heads(pass, &self->to_k, &self->norm_k, true, &pass->k);
    if (!code)
        code = sora_linear_apply(pass->stream, &self->to_v, &pass->a, NULL, &pass->v);
    if (code)
        return code;
    const struct sora_attention attention = {
        .q = by_head(pass, &pass->q),
        .k = by_head(pass, &pass->k),
        .v = by_head(pass, &pass->v),
        .out = by_head(pass, &pass->a),
        .scale = (float)(1.0 / sqrt(pass->transformer->config.head_size)),
    };
    code = sora_op_attention(pass->stream, &attention);
    const struct sora_linear_epilogue gated = {
        .gate = modulation_row(pass, row + SORA_MODULATION_GATE_ATTENTION),
        .residual = pass->x,
    };
    if (!code)
        code = sora_linear_apply(pass->stream, &self->to_out, &pass->a, &gated, &pass->x);
    return code;
}

static int cross_attention(struct pass *pass, int layer)
{
    const struct sora_transformer *transformer = pass->transformer;
    const struct sora_transformer_block *block = &transformer->blocks[layer];
    const struct sora_transformer_keys *keys = &pass->context->layers[layer];
    const struct sora_layer_norm norm = {
        .in = pass->x,
        .out = pass->a,
        .weight = block->cross_norm_weight,
        .bias = block->cross_norm_bias,
        .eps = (float)transformer->config.eps,
    };
    int code = transformer->config.cross_attn_norm ? sora_op_layer_norm(pass->stream, &norm)
                                                   : sora_op_copy(pass->stream, &pass->x, &pass->a);
    if (!code)
        code = project_heads(pass, &block->cross.to_q, &block->cross.norm_q, false, &pass->q);
    if (code)
        return code;
    const struct sora_attention attention = {
        .q = by_head(pass, &pass->q),
        .k = keys->text_keys,
        .v = keys->text_values,
        .key_bias = pass->context->key_bias,
        .out = by_head(pass, &pass->a),
        .scale = (float)(1.0 / sqrt(transformer->config.head_size)),
    };
    code = sora_op_attention(pass->stream, &attention);
    const struct sora_linear_epilogue summed = {.residual = pass->x};
    if (!code)
        code = sora_linear_apply(pass->stream, &block->cross.to_out, &pass->a, &summed, &pass->x);
    return code;
}

static int attend(struct pass *pass, int layer)
{
    struct sora_transformer *transformer = pass->transformer;
    size_t mark = sora_arena_mark(&transformer->arena);
    int64_t tokens = transformer->plan.tokens, width = transformer->width;
    int code = take(pass, tokens, width, &pass->q);
    if (!code)
        code = take(pass, tokens, width, &pass->k);
    if (!code)
        code = take(pass, tokens, width, &pass->v);
    if (!code)
        code = self_attention(pass, layer);
    if (!code)
        code = cross_attention(pass, layer);
    sora_arena_rewind(&transformer->arena, mark);
    return code;
}

static int feed_forward(struct pass *pass, int layer)
{
    const struct sora_transformer *transformer = pass->transformer;
    const struct sora_transformer_block *block = &transformer->blocks[layer];
    int64_t row = (int64_t)layer * SORA_MODULATION_COUNT;
    const struct sora_linear_epilogue gelu = {.activation = SORA_ACTIVATION_GELU_TANH};
    int code =
        norm_modulated(pass, row + SORA_MODULATION_SHIFT_FFN, row + SORA_MODULATION_SCALE_FFN);
    for (int64_t first = 0; first < transformer->plan.tokens && !code;
         first += transformer->plan.ffn_rows) {
        int64_t count = transformer->plan.tokens - first;
        count = count < transformer->plan.ffn_rows ? count : transformer->plan.ffn_rows;
        struct sora_tensor a = sora_tensor_slice(&pass->a, first, count);
        struct sora_tensor x = sora_tensor_slice(&pass->x, first, count);
        struct sora_tensor hidden = sora_tensor_slice(&pass->hidden, 0, count);
        const struct sora_linear_epilogue gated = {
            .gate = modulation_row(pass, row + SORA_MODULATION_GATE_FFN),
            .residual = x,
        };
        code = sora_linear_apply(pass->stream, &block->ffn_in, &a, &gelu, &hidden);
        if (!code)
            code = sora_linear_apply(pass->stream, &block->ffn_out, &hidden, &gated, &x);
    }
    return code;
}

static int run_block(struct pass *pass, int layer)
{
    struct sora_transformer *transformer = pass->transformer;
    int code = attend(pass, layer);
    size_t mark = sora_arena_mark(&transformer->arena);
    if (!code)
        code = take(pass, transformer->plan.ffn_rows, transformer->config.ffn_width, &pass->hidden);
    if (!code)
        code = feed_forward(pass, layer);
    sora_arena_rewind(&transformer->arena, mark);
    return code;
}

/* x = patch(latents): [T,C,H,W] seen as [T',pt,C,H',ph,W',pw] becomes rows [T',H',W'] of
 * (C,pt,ph,pw). */
static int patch_in(struct pass *pass, const struct sora_tensor *latents)
{
    static const int order[] = {0, 3, 5, 2, 1, 4, 6};
    struct sora_transformer *transformer = pass->transformer;
    const struct sora_transformer_config *c = &transformer->config;
    const struct sora_transformer_plan *plan = &transformer->plan;
    size_t mark = sora_arena_mark(&transformer->arena);
    int code = take(pass, plan->tokens, transformer->patch_in_width, &pass->columns);
    if (code)
        return code;
    struct sora_tensor from =
        sora_tensor_reshape(latents, SORA_SHAPE(plan->frames, c->patch_t, c->in_channels,
                                                plan->rows, c->patch_h, plan->columns, c->patch_w));
    struct sora_tensor to = sora_tensor_reshape(
        &pass->columns, SORA_SHAPE(plan->frames, plan->rows, plan->columns, c->in_channels,
                                   c->patch_t, c->patch_h, c->patch_w));
    code = sora_op_permute(pass->stream, &from, order, &to);
    if (!code)
        code = sora_linear_apply(pass->stream, &transformer->patch, &pass->columns, NULL, &pass->x);
    sora_arena_rewind(&transformer->arena, mark);
    return code;
}

/* velocity = unpatch(head(...)): rows [T',H',W'] of (pt,ph,pw,C) become [T',pt,C,H',ph,W',pw]. */
static int patch_out(struct pass *pass, const struct sora_tensor *velocity)
{
    static const int order[] = {0, 3, 6, 1, 4, 2, 5};
    struct sora_transformer *transformer = pass->transformer;
    const struct sora_transformer_config *c = &transformer->config;
    const struct sora_transformer_plan *plan = &transformer->plan;
    int64_t row = (int64_t)c->layers * SORA_MODULATION_COUNT;
    size_t mark = sora_arena_mark(&transformer->arena);
    int code = take(pass, plan->tokens, transformer->patch_out_width, &pass->head_out);
    if (!code)
        code = norm_modulated(pass, row + SORA_MODULATION_HEAD_SHIFT,
                              row + SORA_MODULATION_HEAD_SCALE);
    if (!code)
        code = sora_linear_apply(pass->stream, &transformer->head, &pass->a, NULL, &pass->head_out);
    if (!code) {
        struct sora_tensor from = sora_tensor_reshape(
            &pass->head_out, SORA_SHAPE(plan->frames, plan->rows, plan->columns, c->patch_t,
                                        c->patch_h, c->patch_w, c->out_channels));
        struct sora_tensor to = sora_tensor_reshape(
            velocity, SORA_SHAPE(plan->frames, c->patch_t, c->out_channels, plan->rows, c->patch_h,
                                 plan->columns, c->patch_w));
        code = sora_op_permute(pass->stream, &from, order, &to);
    }
    sora_arena_rewind(&transformer->arena, mark);
    return code;
}

static int run(struct pass *pass, const struct sora_transformer_input *input,
               const struct sora_tensor *velocity)
{
    struct sora_transformer *transformer = pass->transformer;
    sora_arena_rewind(&transformer->arena, transformer->rope_mark);
    int code = sora_transformer_time_set(transformer, pass->stream, input->timestep);
    if (!code)
        code = take(pass, transformer->plan.tokens, transformer->width, &pass->x);
    if (!code)
        code = take(pass, transformer->plan.tokens, transformer->width, &pass->a);
    if (!code)
        code = patch_in(pass, &input->latents);
    for (int i = 0; i < transformer->config.layers && !code; i++)
        code = run_block(pass, i);
    if (!code)
        code = patch_out(pass, velocity);
    return code;
}

static bool divides(int64_t part, int64_t whole, int64_t count_max)
{
    return whole % part == 0 && whole / part <= count_max;
}

static int check_input(const struct sora_transformer *transformer,
                       const struct sora_transformer_input *input,
                       const struct sora_tensor *velocity, struct sora_fault *fault)
{
    const struct sora_transformer_config *c = &transformer->config;
    const struct sora_tensor *in = &input->latents;
    if (!sora_tensor_present(in) || in->dtype != SORA_DTYPE_F32 || in->rank != 4 ||
        in->shape[1] != c->in_channels)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "transformer: latents must be [T,%d,H,W] of f32", c->in_channels);
    if (!sora_tensor_present(velocity) || velocity->dtype != SORA_DTYPE_F32 ||
        velocity->rank != 4 || velocity->shape[0] != in->shape[0] ||
        velocity->shape[1] != c->out_channels || velocity->shape[2] != in->shape[2] ||
        velocity->shape[3] != in->shape[3])
        return sora_fault_set(fault, SORA_E_INVALID,
                              "transformer: the velocity must be [T,%d,H,W] of the latents' T, H "
                              "and W, f32",
                              c->out_channels);
    if (!divides(c->patch_t, in->shape[0], c->rope_positions) ||
        !divides(c->patch_h, in->shape[2], c->rope_positions) ||
        !divides(c->patch_w, in->shape[3], c->rope_positions))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "transformer: latents of %lldx%lldx%lld are not multiples of the "
                              "patch %dx%dx%d, or hold more than %d patches on one axis",
                              (long long)in->shape[0], (long long)in->shape[2],
                              (long long)in->shape[3], c->patch_t, c->patch_h, c->patch_w,
                              c->rope_positions);
    if (!(input->timestep >= 0.0 && input->timestep <= 1000.0))
        return sora_fault_set(fault, SORA_E_INVALID, "transformer: timestep %g, expected 0 to 1000",
                              input->timestep);
    if (!input->context || input->context->transformer != transformer)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "transformer: the prompt was prepared for another model");
    return 0;
}

int sora_transformer_forward(struct sora_transformer *transformer, struct sora_stream *stream,
                             const struct sora_transformer_input *input,
                             const struct sora_tensor *out_velocity, struct sora_fault *fault)
{
    int code = check_input(transformer, input, out_velocity, fault);
    if (!code)
        code = sora_transformer_load(transformer, fault);
    if (code)
        return code;
    const int64_t *shape = input->latents.shape;
    code = sora_transformer_plan_set(transformer, stream, (int)shape[0], (int)shape[2],
                                     (int)shape[3], fault);
    if (code)
        return code;
    struct pass pass = {
        .transformer = transformer,
        .stream = stream,
        .context = input->context,
    };
    code = run(&pass, input, out_velocity);
    return code ? sora_fault_set(fault, code, "transformer: %s", sora_error_text(code)) : 0;
}
