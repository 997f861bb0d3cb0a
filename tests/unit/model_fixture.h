/*
 * A model component with random weights for tests: a list of named tensors, kept as float and
 * written as one safetensors file. Everything follows from the seed. Allocation failures end the
 * test.
 */
#ifndef SORA_TESTS_UNIT_MODEL_FIXTURE_H
#define SORA_TESTS_UNIT_MODEL_FIXTURE_H

#include "hip/tensor.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIXTURE_TENSORS_MAX 256

struct fixture_tensor {
    char name[128];
    int rank;
    int64_t shape[5];
    size_t count;
    float *values; /* after rounding to the stored type */
};

struct fixture {
    enum sora_dtype dtype; /* F32, F16 or BF16 */
    uint64_t seed;
    int count;
    struct fixture_tensor tensors[FIXTURE_TENSORS_MAX];
};

static inline float fixture_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)((double)(*state >> 40) / (double)(1 << 23) - 1.0);
}

/* The stored bits of x, truncating: any rounding will do for random weights. */
static inline uint16_t fixture_half_bits(enum sora_dtype dtype, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if (dtype == SORA_DTYPE_BF16)
        return (uint16_t)(bits >> 16);
    int exponent = (int)(bits >> 23 & 255) - 127 + 15;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    return exponent <= 0 ? sign : (uint16_t)(sign | exponent << 10 | (bits >> 13 & 0x3ff));
}

static inline float fixture_half_value(enum sora_dtype dtype, uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    if (dtype == SORA_DTYPE_F16) {
        bits = (uint32_t)(half & 0x8000) << 16;
        if (half & 0x7fff)
            bits |= ((uint32_t)(half >> 10 & 31) - 15 + 127) << 23 | (uint32_t)(half & 0x3ff) << 13;
    }
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Adds a tensor of values offset + scale * uniform(-1,1). */
static inline void fixture_add(struct fixture *fixture, float offset, float scale, int rank,
                               const int64_t *shape, const char *format, ...)
{
    struct fixture_tensor *tensor = &fixture->tensors[fixture->count++];
    if (fixture->count > FIXTURE_TENSORS_MAX)
        abort();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tensor->name, sizeof(tensor->name), format, arguments);
    va_end(arguments);
    tensor->rank = rank;
    tensor->count = 1;
    for (int i = 0; i < rank; i++) {
        tensor->shape[i] = shape[i];
        tensor->count *= (size_t)shape[i];
    }
    tensor->values = malloc(tensor->count * sizeof(float));
    uint64_t state = fixture->seed;
    for (const char *c = tensor->name; *c; c++)
        state = state * 1099511628211u + (unsigned char)*c;
    for (size_t i = 0; i < tensor->count; i++) {
        float x = offset + scale * fixture_random(&state);
        if (fixture->dtype != SORA_DTYPE_F32)
            x = fixture_half_value(fixture->dtype, fixture_half_bits(fixture->dtype, x));
        tensor->values[i] = x;
    }
}

/* Adds NAME.weight [out,in], scaled by 1/sqrt(in), and with a bias NAME.bias [out]. */
static inline void fixture_add_linear(struct fixture *fixture, int64_t out, int64_t in, bool bias,
                                      const char *name)
{
    fixture_add(fixture, 0, 1.7f / sqrtf((float)in), SORA_SHAPE(out, in), "%s.weight", name);
    if (bias)
        fixture_add(fixture, 0, 0.2f, SORA_SHAPE(out), "%s.bias", name);
}

static inline struct fixture_tensor *fixture_find(struct fixture *fixture, const char *name)
{
    for (int i = 0; i < fixture->count; i++) {
        if (strcmp(fixture->tensors[i].name, name) == 0)
            return &fixture->tensors[i];
    }
    fprintf(stderr, "fixture has no tensor %s\n", name);
    abort();
}

/* The header's JSON, with tensors in order. */
static inline size_t fixture_header(const struct fixture *fixture, char *text, size_t size)
{
    static const char *const types[] = {"", "F32", "F16", "BF16"};
    size_t length = 0, offset = 0, element = sora_dtype_size(fixture->dtype);
    for (int i = 0; i < fixture->count; i++) {
        const struct fixture_tensor *tensor = &fixture->tensors[i];
        length +=
            (size_t)snprintf(text + length, size - length, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                             i ? "," : "{", tensor->name, types[fixture->dtype]);
        for (int d = 0; d < tensor->rank; d++)
            length += (size_t)snprintf(text + length, size - length, "%s%lld", d ? "," : "",
                                       (long long)tensor->shape[d]);
        length += (size_t)snprintf(text + length, size - length, "],\"data_offsets\":[%zu,%zu]}",
                                   offset, offset + tensor->count * element);
        offset += tensor->count * element;
    }
    text[length++] = '}';
    while (length % 8)
        text[length++] = ' ';
    return length;
}

static inline void fixture_write(const struct fixture *fixture, const char *path)
{
    static char text[1 << 16];
    uint64_t length = fixture_header(fixture, text, sizeof(text) - 16);
    FILE *file = fopen(path, "wb");
    if (!file)
        abort();
    fwrite(&length, 8, 1, file);
    fwrite(text, 1, length, file);
    for (int i = 0; i < fixture->count; i++) {
        const struct fixture_tensor *tensor = &fixture->tensors[i];
        for (size_t k = 0; k < tensor->count; k++) {
            uint16_t half = fixture_half_bits(fixture->dtype, tensor->values[k]);
            if (fixture->dtype == SORA_DTYPE_F32)
                fwrite(&tensor->values[k], 4, 1, file);
            else
                fwrite(&half, 2, 1, file);
        }
    }
    if (fclose(file))
        abort();
}

static inline void fixture_write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        abort();
}

static inline void fixture_fini(struct fixture *fixture)
{
    for (int i = 0; i < fixture->count; i++)
        free(fixture->tensors[i].values);
    fixture->count = 0;
}

/* |a - b| / |b| over all elements. */
static inline double relative_l2(const float *a, const float *b, size_t count)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return sqrt(difference / size);
}

#endif
