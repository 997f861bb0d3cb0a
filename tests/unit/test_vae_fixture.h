/*
 * Fixtures of the VAE tests: reference tensors of tests/goldens, runs of whole clips.
 * Single-threaded tests only; every failure ends the test.
 */
#ifndef SORA_TESTS_UNIT_TEST_VAE_FIXTURE_H
#define SORA_TESTS_UNIT_TEST_VAE_FIXTURE_H

#include "base/philox.h"
#include "hip/cpu/cpu.h"
#include "model/checkpoint.h"
#include "model/vae.h"
#include "tests/unit/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#ifndef SORA_SOURCE_DIR /* given by the build; tests run from the root without it */
#define SORA_SOURCE_DIR "."
#endif

static inline struct sora_device *fixture_device(int threads, enum sora_cpu_path path)
{
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = threads, .path = path};
    if (sora_cpu_device_create(&params, &device, &fault))
        fail_msg("%s", fault.text);
    return device;
}

static inline const char *fixture_model_dir(const char *model)
{
    static char dir[1024];
    snprintf(dir, sizeof(dir), SORA_SOURCE_DIR "/tests/goldens/models/%s/vae", model);
    return dir;
}

static inline struct sora_vae *fixture_open(const char *model, struct sora_device *device)
{
    struct sora_vae *vae = NULL;
    struct sora_fault fault = {0};
    if (sora_vae_open(fixture_model_dir(model), device, &vae, &fault))
        fail_msg("%s", fault.text);
    return vae;
}

/* Opens values/<model>/<name>_<index>.safetensors, NULL when there is none. */
static inline struct sora_checkpoint *fixture_values(const char *model, const char *name, int index)
{
    char from[1024], dir[1100], link_path[1200];
    snprintf(from, sizeof(from), SORA_SOURCE_DIR "/tests/goldens/values/%s/%s_%d.safetensors",
             model, name, index);
    if (access(from, R_OK) != 0)
        return NULL;
    snprintf(dir, sizeof(dir), "%s/%s_%s_%d", scratch_dir, model, name, index);
    snprintf(link_path, sizeof(link_path), "%s/model.safetensors", dir);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_int_equal(symlink(from, link_path), 0);
    struct sora_checkpoint *values = NULL;
    struct sora_fault fault = {0};
    if (sora_checkpoint_open(dir, &values, &fault))
        fail_msg("%s", fault.text);
    return values;
}

/* A tensor [C,T,H,W] of f32. */
static inline const struct sora_checkpoint_entry *
fixture_video(const struct sora_checkpoint *values, const char *name)
{
    const struct sora_checkpoint_entry *entry = sora_checkpoint_find(values, name);
    assert_non_null(entry);
    assert_int_equal(entry->dtype, SORA_DTYPE_F32);
    assert_int_equal(entry->rank, 4);
    return entry;
}

/* Copies [C,T,H,W] to [T,H,W,C] (channels_last) or [T,C,H,W]. Returns owned memory. */
static inline float *fixture_frames(const struct sora_checkpoint_entry *entry, bool channels_last)
{
    int64_t c = entry->shape[0], t = entry->shape[1], plane = entry->shape[2] * entry->shape[3];
    const float *from = entry->data;
    float *to = malloc((size_t)(c * t * plane) * sizeof(float));
    assert_non_null(to);
    for (int64_t i = 0; i < c * t * plane; i++) {
        int64_t pixel = i % plane, frame = i / plane % t, channel = i / plane / t;
        int64_t place = channels_last ? (frame * plane + pixel) * c + channel
                                      : (frame * c + channel) * plane + pixel;
        to[place] = from[i];
    }
    return to;
}

static inline double fixture_error(const float *values, const float *expected, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)values[i] - expected[i]) * ((double)values[i] - expected[i]);
        norm += (double)expected[i] * expected[i];
    }
    return sqrt(difference / norm);
}

/* Standard normal values of stream `seed`. Returns owned memory. */
static inline float *fixture_noise(uint64_t seed, int64_t elements)
{
    float *values = malloc((size_t)elements * sizeof(float));
    assert_non_null(values);
    sora_noise_normal(&(struct sora_noise_key){.seed = seed}, 0, (size_t)elements, values);
    return values;
}

/* Decodes `count` latents and returns all frames [1+factor*(count-1),H,W,3], owned. */
static inline float *fixture_decode(struct sora_vae *vae, int height, int width,
                                    const float *latents, int count)
{
    const struct sora_vae_config *config = sora_vae_config(vae);
    int64_t latent = (int64_t)config->channels * height * width;
    int64_t frame = (int64_t)height * width * config->spatial_factor * config->spatial_factor * 3;
    int64_t frames = 1 + (int64_t)config->temporal_factor * (count - 1);
    float *video = malloc((size_t)(frames * frame) * sizeof(float));
    assert_non_null(video);
    struct sora_vae_decoder *decoder = NULL;
    struct sora_fault fault = {0};
    if (sora_vae_decoder_create(vae, height, width, &decoder, &fault))
        fail_msg("%s", fault.text);
    float *out = video;
    for (int i = 0; i < count; i++) {
        int made = 0;
        if (sora_vae_decoder_next(decoder, latents + i * latent, out, NULL, &made, &fault))
            fail_msg("%s", fault.text);
        assert_int_equal(made, i ? config->temporal_factor : 1);
        out += made * frame;
    }
    sora_vae_decoder_destroy(&decoder);
    return video;
}

#endif
