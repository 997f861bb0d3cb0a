/* Shared by the tests of the device: tensors with known contents, made and read in one line. Every
 * helper fails the running test when the device reports an error. */
#ifndef SORA_TESTS_CPU_FIXTURE_H
#define SORA_TESTS_CPU_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hip/cpu/cpu.h"
#include "hip/cpu/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FIXTURE_BUFFERS 64

struct fixture {
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_buffer *buffers[FIXTURE_BUFFERS];
    int buffer_count;
};

static inline void fixture_init(struct fixture *fixture, enum sora_cpu_path path, int threads)
{
    const struct sora_cpu_params params = {.thread_count = threads, .path = path};
    struct sora_fault fault = {0};
    *fixture = (struct fixture){0};
    assert_int_equal(sora_cpu_device_create(&params, &fixture->device, &fault), 0);
    assert_int_equal(sora_stream_create(fixture->device, &fixture->stream), 0);
}

static inline void fixture_clear(struct fixture *fixture)
{
    while (fixture->buffer_count > 0)
        sora_buffer_destroy(&fixture->buffers[--fixture->buffer_count]);
}

static inline void fixture_fini(struct fixture *fixture)
{
    fixture_clear(fixture);
    sora_stream_destroy(&fixture->stream);
    sora_device_destroy(&fixture->device);
}

static inline struct sora_tensor fixture_tensor(struct fixture *fixture, enum sora_dtype dtype,
                                                int rank, const int64_t *shape)
{
    struct sora_tensor tensor;
    assert_true(fixture->buffer_count < FIXTURE_BUFFERS);
    assert_int_equal(sora_tensor_create(fixture->device, dtype, rank, shape,
                                        &fixture->buffers[fixture->buffer_count], &tensor),
                     0);
    fixture->buffer_count++;
    return tensor;
}

/* A tensor of `dtype` with these f32 values, rounded to it. */
static inline struct sora_tensor fixture_values(struct fixture *fixture, enum sora_dtype dtype,
                                                int rank, const int64_t *shape, const float *values)
{
    struct sora_tensor tensor = fixture_tensor(fixture, dtype, rank, shape);
    int64_t count = sora_tensor_count(&tensor);
    void *data = malloc(sora_tensor_size(&tensor));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        sora_float_store(data, dtype, i, values[i]);
    assert_int_equal(sora_tensor_upload(fixture->stream, &tensor, data), 0);
    free(data);
    return tensor;
}

/* Uniform in [-scale, scale), from a 64-bit congruential generator: the same on every machine. */
static inline float random_value(uint64_t *state, float scale)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((float)(*state >> 40) * 0x1p-23f - 1.0f) * scale;
}

static inline struct sora_tensor fixture_random(struct fixture *fixture, enum sora_dtype dtype,
                                                int rank, const int64_t *shape, uint64_t seed,
                                                float scale)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    float *values = malloc((size_t)count * sizeof(float));
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++)
        values[i] = random_value(&seed, scale);
    struct sora_tensor tensor = fixture_values(fixture, dtype, rank, shape, values);
    free(values);
    return tensor;
}

/* The contents widened to f32; the caller frees. */
static inline float *fixture_read(struct fixture *fixture, const struct sora_tensor *tensor)
{
    int64_t count = sora_tensor_count(tensor);
    void *data = malloc(sora_tensor_size(tensor));
    float *values = malloc((size_t)count * sizeof(float));
    assert_non_null(data);
    assert_non_null(values);
    assert_int_equal(sora_tensor_download(fixture->stream, tensor, data), 0);
    for (int64_t i = 0; i < count; i++)
        values[i] = sora_float_load(data, tensor->dtype, i);
    free(data);
    return values;
}

#endif
