/*
 * The transformer once more, for tests: double precision, text padded to its full length, nothing
 * shared or fused. Tensors come from a fixture by name.
 */
#ifndef SORA_TESTS_UNIT_WAN_REFERENCE_H
#define SORA_TESTS_UNIT_WAN_REFERENCE_H

#include "tests/unit/wan_reference_ops.h"

/* x += gate * to_out(attention(...)); gate NULL means 1. Keys and values come from `from`. */
static inline void wan_attend(const struct wan_reference *r, const char *name, double *x,
                              const double *a, const double *from, const double *gate,
                              const int grid[3], int keys)
{
    int n = grid[0] * grid[1] * grid[2], d = r->config.heads * r->config.head_size;
    bool self = a == from;
    char part[3][96], out_name[96];
    double *qkv[3];
    for (int i = 0; i < 3; i++) {
        snprintf(part[i], sizeof(part[i]), "%s.to_%c", name, "qkv"[i]);
        qkv[i] = wan_linear(r, part[i], i == 0 ? a : from, i == 0 ? n : keys, d, d);
    }
    wan_rms(qkv[0], wan_values(r, name, ".norm_q.weight"), n, d, r->config.eps);
    wan_rms(qkv[1], wan_values(r, name, ".norm_k.weight"), keys, d, r->config.eps);
    if (self) {
        wan_rope(r, qkv[0], grid[1], grid[2], n);
        wan_rope(r, qkv[1], grid[1], grid[2], n);
    }
    double *o = wan_attention(r, qkv[0], qkv[1], qkv[2], n, keys);
    snprintf(out_name, sizeof(out_name), "%s.to_out.0", name);
    double *y = wan_linear(r, out_name, o, n, d, d);
    for (int i = 0; i < n * d; i++)
        x[i] += y[i] * (gate ? gate[i % d] : 1);
    for (int i = 0; i < 3; i++)
        free(qkv[i]);
    free(o);
    free(y);
}

static inline void wan_block(const struct wan_reference *r, int block, double *x,
                             const double *text, const double *six, const int grid[3])
{
    int n = grid[0] * grid[1] * grid[2], d = r->config.heads * r->config.head_size;
    double eps = r->config.eps;
    char name[96], part[128];
    snprintf(name, sizeof(name), "blocks.%d", block);
    const float *table = wan_values(r, name, ".scale_shift_table");
    double *m = wan_new((size_t)6 * d);
    for (int i = 0; i < 6 * d; i++)
        m[i] = table[i] + six[i];

    double *a = wan_layer_norm(x, m + d, 1, m, n, d, eps);
    snprintf(part, sizeof(part), "%s.attn1", name);
    wan_attend(r, part, x, a, a, m + 2 * d, grid, n);
    free(a);

    snprintf(part, sizeof(part), "%s.attn2", name);
    if (r->config.cross_attn_norm) {
        double *weight = wan_new((size_t)d), *bias = wan_new((size_t)d);
        for (int c = 0; c < d; c++) {
            weight[c] = wan_values(r, name, ".norm2.weight")[c];
            bias[c] = wan_values(r, name, ".norm2.bias")[c];
        }
        a = wan_layer_norm(x, weight, 0, bias, n, d, eps);
        free(weight);
        free(bias);
    } else {
        a = wan_new((size_t)n * d);
        memcpy(a, x, (size_t)n * d * sizeof(double));
    }
    wan_attend(r, part, x, a, text, NULL, grid, r->text_rows);
    free(a);

    a = wan_layer_norm(x, m + 4 * d, 1, m + 3 * d, n, d, eps);
    snprintf(part, sizeof(part), "%s.ffn.net.0.proj", name);
    double *hidden = wan_linear(r, part, a, n, d, r->config.ffn_width);
    wan_gelu(hidden, (size_t)n * r->config.ffn_width);
    snprintf(part, sizeof(part), "%s.ffn.net.2", name);
    double *y = wan_linear(r, part, hidden, n, r->config.ffn_width, d);
    for (int i = 0; i < n * d; i++)
        x[i] += y[i] * m[5 * d + i % d];
    free(a);
    free(hidden);
    free(y);
    free(m);
}

/* e [d] and e0 [6,d]. */
static inline void wan_time(const struct wan_reference *r, double timestep, double **out_e,
                            double **out_six)
{
    int d = r->config.heads * r->config.head_size, freq = r->config.freq_width;
    double *s = wan_new((size_t)freq), *silu = wan_new((size_t)d);
    for (int j = 0; j < freq / 2; j++) {
        s[j] = cos(timestep * pow(10000, -2.0 * j / freq));
        s[freq / 2 + j] = sin(timestep * pow(10000, -2.0 * j / freq));
    }
    double *hidden = wan_linear(r, "condition_embedder.time_embedder.linear_1", s, 1, freq, d);
    wan_silu(hidden, (size_t)d);
    *out_e = wan_linear(r, "condition_embedder.time_embedder.linear_2", hidden, 1, d, d);
    memcpy(silu, *out_e, (size_t)d * sizeof(double));
    wan_silu(silu, (size_t)d);
    *out_six = wan_linear(r, "condition_embedder.time_proj", silu, 1, d, 6 * d);
    free(s);
    free(silu);
    free(hidden);
}

/* New [text_rows,d] of the padded text. */
static inline double *wan_text(const struct wan_reference *r, const float *rows, int count)
{
    int d = r->config.heads * r->config.head_size, width = r->config.text_width;
    double *padded = wan_new((size_t)r->text_rows * width);
    for (int i = 0; i < count * width; i++)
        padded[i] = rows[i];
    double *hidden =
        wan_linear(r, "condition_embedder.text_embedder.linear_1", padded, r->text_rows, width, d);
    wan_gelu(hidden, (size_t)r->text_rows * d);
    double *text =
        wan_linear(r, "condition_embedder.text_embedder.linear_2", hidden, r->text_rows, d, d);
    free(padded);
    free(hidden);
    return text;
}

/* Where element (channel, dt, dy, dx) of token n lies in frame-major [T,C,H,W]. */
static inline size_t wan_place(const struct wan_reference *r, const int grid[3], int n, int channel,
                               int channels, int within)
{
    const struct sora_transformer_config *c = &r->config;
    int t = n / (grid[1] * grid[2]) * c->patch_t + within / (c->patch_h * c->patch_w);
    int y = n / grid[2] % grid[1] * c->patch_h + within / c->patch_w % c->patch_h;
    int x = n % grid[2] * c->patch_w + within % c->patch_w;
    return (((size_t)t * channels + channel) * grid[1] * c->patch_h + y) * grid[2] * c->patch_w + x;
}

/* latents and velocity frame-major; grid in tokens (frames, rows, columns). */
static inline void wan_forward(const struct wan_reference *r, const float *latents,
                               const float *rows, int count, double timestep, const int grid[3],
                               float *velocity)
{
    const struct sora_transformer_config *c = &r->config;
    int n = grid[0] * grid[1] * grid[2], d = c->heads * c->head_size;
    int volume = c->patch_t * c->patch_h * c->patch_w;
    int in = c->in_channels * volume, out = c->out_channels * volume;
    double *columns = wan_new((size_t)n * in), *e, *six;
    for (int i = 0; i < n * in; i++)
        columns[i] =
            latents[wan_place(r, grid, i / in, i % in / volume, c->in_channels, i % volume)];
    double *x = wan_linear(r, "patch_embedding", columns, n, in, d);
    double *text = wan_text(r, rows, count);
    wan_time(r, timestep, &e, &six);
    for (int i = 0; i < c->layers; i++)
        wan_block(r, i, x, text, six, grid);
    const float *table = wan_values(r, "", "scale_shift_table");
    double *shift = wan_new((size_t)d), *scale = wan_new((size_t)d);
    for (int i = 0; i < d; i++) {
        shift[i] = table[i] + e[i];
        scale[i] = table[d + i] + e[i];
    }
    double *a = wan_layer_norm(x, scale, 1, shift, n, d, c->eps);
    double *y = wan_linear(r, "proj_out", a, n, d, out);
    for (int i = 0; i < n * out; i++)
        velocity[wan_place(r, grid, i / out, i % c->out_channels, c->out_channels,
                           i % out / c->out_channels)] = (float)y[i];
    double *owned[] = {columns, x, text, e, six, shift, scale, a, y};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
}

#endif
