/*
 * Operations of tests/unit/wan_reference.h: double precision, one loop per formula. Tensors come
 * from a fixture by name; arrays that a function returns are freed by the caller.
 */
#ifndef SORA_TESTS_UNIT_WAN_REFERENCE_OPS_H
#define SORA_TESTS_UNIT_WAN_REFERENCE_OPS_H

#include "model/transformer.h"
#include "tests/unit/model_fixture.h"

struct wan_reference {
    struct fixture *fixture; /* borrowed */
    struct sora_transformer_config config;
    int text_rows;
};

static inline double *wan_new(size_t count)
{
    double *values = calloc(count, sizeof(double));
    if (!values)
        abort();
    return values;
}

static inline const float *wan_values(const struct wan_reference *r, const char *prefix,
                                      const char *suffix)
{
    char name[160];
    snprintf(name, sizeof(name), "%s%s", prefix, suffix);
    return fixture_find(r->fixture, name)->values;
}

/* [n,in] -> new [n,out]. */
static inline double *wan_linear(const struct wan_reference *r, const char *name, const double *x,
                                 int n, int in, int out)
{
    const float *weight = wan_values(r, name, ".weight"), *bias = wan_values(r, name, ".bias");
    double *y = wan_new((size_t)n * out);
    for (int i = 0; i < n; i++) {
        for (int o = 0; o < out; o++) {
            double sum = bias[o];
            for (int k = 0; k < in; k++)
                sum += x[(size_t)i * in + k] * weight[(size_t)o * in + k];
            y[(size_t)i * out + o] = sum;
        }
    }
    return y;
}

static inline void wan_gelu(double *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 0.5 * x[i] * (1 + tanh(0.7978845608028654 * (x[i] + 0.044715 * x[i] * x[i] * x[i])));
}

static inline void wan_silu(double *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] /= 1 + exp(-x[i]);
}

static inline void wan_rms(double *x, const float *weight, int n, int d, double eps)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int c = 0; c < d; c++)
            sum += x[i * d + c] * x[i * d + c];
        for (int c = 0; c < d; c++)
            x[i * d + c] *= weight[c] / sqrt(sum / d + eps);
    }
}

/* New layer_norm(x) * (scale_base + scale) + shift. */
static inline double *wan_layer_norm(const double *x, const double *scale, double scale_base,
                                     const double *shift, int n, int d, double eps)
{
    double *y = wan_new((size_t)n * d);
    for (int i = 0; i < n; i++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < d; c++)
            mean += x[i * d + c] / d;
        for (int c = 0; c < d; c++)
            variance += (x[i * d + c] - mean) * (x[i * d + c] - mean) / d;
        for (int c = 0; c < d; c++)
            y[i * d + c] =
                (x[i * d + c] - mean) / sqrt(variance + eps) * (scale_base + scale[c]) + shift[c];
    }
    return y;
}

/* Turns one token's heads by its position on three axes. */
static inline void wan_rope(const struct wan_reference *r, double *x, int rows, int columns, int n)
{
    int size = r->config.head_size, side = 2 * (size / 6);
    int dims[3] = {size - 2 * side, side, side};
    for (int i = 0; i < n; i++) {
        int position[3] = {i / (rows * columns), i / columns % rows, i % columns};
        for (int h = 0; h < r->config.heads; h++) {
            double *head = x + ((size_t)i * r->config.heads + h) * size;
            for (int axis = 0; axis < 3; head += dims[axis], axis++) {
                for (int p = 0; p < dims[axis] / 2; p++) {
                    double angle = position[axis] / pow(10000, 2.0 * p / dims[axis]);
                    double a = head[2 * p], b = head[2 * p + 1];
                    head[2 * p] = a * cos(angle) - b * sin(angle);
                    head[2 * p + 1] = a * sin(angle) + b * cos(angle);
                }
            }
        }
    }
}

static inline double *wan_attention(const struct wan_reference *r, const double *q, const double *k,
                                    const double *v, int n, int keys)
{
    int size = r->config.head_size, d = size * r->config.heads;
    double *out = wan_new((size_t)n * d), *score = wan_new((size_t)keys);
    for (int i = 0; i < n * r->config.heads; i++) {
        int row = i / r->config.heads, at = i % r->config.heads * size;
        double largest = -INFINITY, total = 0;
        for (int j = 0; j < keys; j++) {
            score[j] = 0;
            for (int c = 0; c < size; c++)
                score[j] += q[row * d + at + c] * k[j * d + at + c] / sqrt(size);
            largest = fmax(largest, score[j]);
        }
        for (int j = 0; j < keys; j++)
            total += score[j] = exp(score[j] - largest);
        for (int j = 0; j < keys; j++) {
            for (int c = 0; c < size; c++)
                out[row * d + at + c] += score[j] / total * v[j * d + at + c];
        }
    }
    free(score);
    return out;
}

#endif
