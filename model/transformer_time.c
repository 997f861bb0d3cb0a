/*
 * The timestep's part of a forward pass: sinusoid, two-layer embedding e, its projection e0, and
 * every block's modulation rows
 *
 *   e = L2(silu(L1(sinusoid(t)))), e0 = time_proj(silu(e))
 *   block: table[6,d] + e0[6,d];  head: table[2,d] + e in both rows
 *
 * All of it is shared by the conditional and the unconditional forward of a step, so it is kept
 * until the timestep changes.
 */
#include "model/rope.h"
#include "model/transformer_parts.h"

static int embed(struct sora_transformer *transformer, struct sora_stream *stream, double timestep)
{
    const struct sora_linear_epilogue silu = {.activation = SORA_ACTIVATION_SILU};
    sora_timestep_sinusoid(timestep, transformer->config.freq_width, transformer->sinusoid_host);
    int code = sora_tensor_upload(stream, &transformer->sinusoid, transformer->sinusoid_host);
    if (!code)
        code = sora_linear_apply(stream, &transformer->time_in, &transformer->sinusoid, &silu,
                                 &transformer->time_hidden);
    if (!code)
        code = sora_linear_apply(stream, &transformer->time_out, &transformer->time_hidden, NULL,
                                 &transformer->time_embedded);
    if (!code)
        code = sora_op_activation(stream, SORA_ACTIVATION_SILU, &transformer->time_embedded,
                                  &transformer->time_hidden);
    if (!code)
        code = sora_linear_apply(stream, &transformer->time_project, &transformer->time_hidden,
                                 NULL, &transformer->time_six);
    return code;
}

/* modulation rows [first, first+count) = the same rows of the tables + `addend` [count,d]. */
static int add_rows(struct sora_transformer *transformer, struct sora_stream *stream, int64_t first,
                    int64_t count, const struct sora_tensor *addend)
{
    const struct sora_combine sum = {
        .count = 2,
        .coefficients = {1.0f, 1.0f},
        .terms = {sora_tensor_slice(&transformer->tables, first, count), *addend},
        .out = sora_tensor_slice(&transformer->modulation, first, count),
    };
    return sora_op_combine(stream, &sum);
}

static int modulate(struct sora_transformer *transformer, struct sora_stream *stream)
{
    int layers = transformer->config.layers;
    struct sora_tensor six = sora_tensor_reshape(
        &transformer->time_six, SORA_SHAPE(SORA_MODULATION_COUNT, transformer->width));
    for (int i = 0; i < layers; i++) {
        int code = add_rows(transformer, stream, (int64_t)i * SORA_MODULATION_COUNT,
                            SORA_MODULATION_COUNT, &six);
        if (code)
            return code;
    }
    for (int i = 0; i < SORA_MODULATION_HEAD_COUNT; i++) {
        int code = add_rows(transformer, stream, (int64_t)layers * SORA_MODULATION_COUNT + i, 1,
                            &transformer->time_embedded);
        if (code)
            return code;
    }
    return 0;
}

int sora_transformer_time_set(struct sora_transformer *transformer, struct sora_stream *stream,
                              double timestep)
{
    if (transformer->timestep_known && transformer->timestep == timestep)
        return 0;
    transformer->timestep_known = false;
    int code = embed(transformer, stream, timestep);
    if (!code)
        code = modulate(transformer, stream);
    if (code)
        return code;
    transformer->timestep = timestep;
    transformer->timestep_known = true;
    return 0;
}
