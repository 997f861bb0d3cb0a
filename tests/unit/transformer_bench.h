/* A transformer on a device of its own, and its reference values: for the tests of the transformer
 * and of devices. Tests that use the reference values run in a scratch folder. */
#ifndef SORA_TESTS_TRANSFORMER_BENCH_H
#define SORA_TESTS_TRANSFORMER_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/transformer.h"
#include "tests/unit/golden_values.h"
#include "tests/unit/model_fixture.h"
#include "tests/unit/scratch.h"

#include <math.h>

/* ---- running a forward ---- */

/* A transformer on a device of its own. */
struct bench {
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_transformer *transformer;
};

/* The bench owns the device from here on. */
static inline void bench_open_on(struct bench *bench, const char *dir, struct sora_device *device)
{
    struct sora_fault fault = {0};
    *bench = (struct bench){.device = device};
    assert_int_equal(sora_stream_create(bench->device, &bench->stream), 0);
    int code = sora_transformer_open(dir, bench->device, &bench->transformer, &fault);
    if (code)
        fail_msg("%s", fault.text);
}

static inline void bench_close(struct bench *bench)
{
    sora_transformer_destroy(&bench->transformer);
    sora_stream_destroy(&bench->stream);
    sora_device_destroy(&bench->device);
}

/* One forward's input: latents frame-major, text rows [count,width] padded to text_rows. */
struct request {
    int frames, height, width;
    const float *latents;
    const float *text;
    int count, text_rows;
    double timestep;
};

static inline void predict(struct bench *bench, const struct request *request, float *out_velocity)
{
    const struct sora_transformer_config *config = sora_transformer_config(bench->transformer);
    struct sora_fault fault = {0};
    struct sora_buffer *buffers[2] = {NULL};
    struct sora_transformer_context *context = NULL;
    struct sora_transformer_input input = {.timestep = request->timestep};
    struct sora_tensor velocity;
    assert_int_equal(sora_tensor_create(bench->device, SORA_DTYPE_F32,
                                        SORA_SHAPE(request->frames, config->in_channels,
                                                   request->height, request->width),
                                        &buffers[0], &input.latents),
                     0);
    assert_int_equal(sora_tensor_create(bench->device, SORA_DTYPE_F32, 4, input.latents.shape,
                                        &buffers[1], &velocity),
                     0);
    assert_int_equal(sora_tensor_upload(bench->stream, &input.latents, request->latents), 0);
    assert_int_equal(sora_transformer_context_create(bench->transformer, request->text,
                                                     request->count, request->text_rows, &context,
                                                     &fault),
                     0);
    input.context = context;
    int code =
        sora_transformer_forward(bench->transformer, bench->stream, &input, &velocity, &fault);
    if (code)
        fail_msg("%s", fault.text);
    assert_int_equal(sora_tensor_download(bench->stream, &velocity, out_velocity), 0);
    sora_transformer_context_destroy(&context);
    sora_buffer_destroy(&buffers[0]);
    sora_buffer_destroy(&buffers[1]);
}

/* ---- reference values ---- */

/* New [T,C,HW] of [C,T,HW]. */
static inline float *frame_major(const float *from, int64_t channels, int64_t frames,
                                 int64_t pixels)
{
    float *to = malloc((size_t)(channels * frames * pixels) * sizeof(float));
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t t = 0; t < frames; t++)
            memcpy(to + (t * channels + c) * pixels, from + (c * frames + t) * pixels,
                   (size_t)pixels * sizeof(float));
    }
    return to;
}

static inline float *golden_video(const struct sora_checkpoint *values, const char *name,
                                  int64_t out_shape[4])
{
    const struct sora_checkpoint_entry *entry = golden_entry(values, name);
    assert_int_equal(entry->rank, 4);
    memcpy(out_shape, entry->shape, 4 * sizeof(out_shape[0]));
    float *channel_major = golden_copy(values, name);
    float *video = frame_major(channel_major, entry->shape[0], entry->shape[1],
                               entry->shape[2] * entry->shape[3]);
    free(channel_major);
    return video;
}

/* Relative L2 of the velocity of reference case `index` of a model of tests/goldens. */
static inline double golden_error(struct bench *bench, const char *model, int index)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/transformer_%d.safetensors", model, index);
    struct sora_checkpoint *values = golden_open(scratch_path("values"), path);
    const struct sora_checkpoint_entry *text = golden_entry(values, "text");
    int64_t shape[4], timestep;
    memcpy(&timestep, golden_entry(values, "timestep")->data, sizeof(timestep));
    float *latents = golden_video(values, "latents", shape);
    float *expected = golden_video(values, "velocity", shape);
    float *rows = golden_copy(values, "text");
    size_t count = (size_t)(shape[0] * shape[1] * shape[2] * shape[3]);
    float *velocity = malloc(count * sizeof(float));
    const struct request request = {
        .frames = (int)shape[1],
        .height = (int)shape[2],
        .width = (int)shape[3],
        .latents = latents,
        .text = rows,
        .count = (int)text->shape[0],
        .text_rows = 512,
        .timestep = (double)timestep,
    };
    predict(bench, &request, velocity);
    double error = relative_l2(velocity, expected, count);
    free(latents);
    free(expected);
    free(rows);
    free(velocity);
    sora_checkpoint_destroy(&values);
    return error;
}

#endif
