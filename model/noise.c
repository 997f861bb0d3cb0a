/*
 * Mixing independent streams into a latent's noise.
 *
 * Sums run in double, in ascending latent order, from the float32 streams, so the bits do not
 * depend on which latents were asked before: the cache holds streams, never partial sums.
 */
#include "model/noise.h"

#include "base/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ELEMENTS 2048

/* One cached stream. `latent` is -1 while the place is empty. */
struct stream_slot {
    int64_t latent;
    float *values;
};

struct sora_noise {
    struct sora_noise_params params;
    struct stream_slot *slots; /* window_latents of them: latent u lies in slot u mod L */
    float *common;             /* the shot's common frame; NULL until first used */
};

static int params_check(const struct sora_noise_params *params, struct sora_fault *fault)
{
    int rc = sora_timeline_check(&params->timeline, fault);
    if (rc)
        return rc;
    if (!sora_noise_kind_name(params->kind))
        return sora_fault_set(fault, SORA_E_INVALID, "noise kind %d does not exist",
                              (int)params->kind);
    if (!(params->amplitude >= 0.0 && params->amplitude <= 1.0))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "noise amplitude %g is outside 0..1 (0 means the default, %g)",
                              params->amplitude, SORA_NOISE_AMPLITUDE);
    if (params->element_count < 1 || params->element_count > SORA_NOISE_ELEMENTS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a latent of %zu values is outside 1..%zu: change the size",
                              params->element_count, SORA_NOISE_ELEMENTS_MAX);
    return SORA_OK;
}

/* Follows the permutations of FREENOISE back to one of the first L latents. */
static int32_t freenoise_source(const struct sora_noise_params *params, int32_t latent)
{
    int32_t length = params->timeline.window_latents;
    int32_t stride = length - 1 - params->timeline.overlap_latents;
    int32_t order[1024];
    while (latent >= length) {
        int32_t block = (latent - length) / stride;
        int32_t place = (latent - length) % stride;
        struct sora_noise_key key = {params->seed, params->shot, (uint32_t)block};
        sora_noise_shuffle(&key, stride, order);
        latent = block * stride + order[place];
    }
    return latent;
}

struct sora_noise_mix sora_noise_mix(const struct sora_noise_params *params, int32_t latent)
{
    const struct sora_timeline_params *timeline = &params->timeline;
    SORA_ASSERT(latent >= 0 && latent < timeline->latent_count);
    struct sora_noise_mix mix = {.latent = latent, .own = 1.0};
    int32_t length = timeline->window_latents;
    if (timeline->latent_count <= length || params->kind == SORA_NOISE_IID)
        return mix;
    if (params->kind == SORA_NOISE_FREENOISE) {
        mix.latent = freenoise_source(params, latent);
        return mix;
    }
    double a = params->amplitude > 0.0 ? params->amplitude : SORA_NOISE_AMPLITUDE;
    mix.first = latent - length / 2;
    if (mix.first > timeline->latent_count - length)
        mix.first = timeline->latent_count - length;
    if (mix.first < 0)
        mix.first = 0;
    mix.end = mix.first + length;
    mix.window = -a / length;
    mix.common = sqrt((2.0 * a - a * a) / length);
    return mix;
}

int sora_noise_create(const struct sora_noise_params *params, struct sora_noise **out_noise,
                      struct sora_fault *fault)
{
    int rc = params_check(params, fault);
    if (rc)
        return rc;
    size_t count = (size_t)params->timeline.window_latents;
    struct sora_noise *noise = calloc(1, sizeof(*noise));
    struct stream_slot *slots = calloc(count, sizeof(*slots));
    if (!noise || !slots) {
        free(noise);
        free(slots);
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the noise of a shot");
    }
    for (size_t i = 0; i < count; i++)
        slots[i].latent = -1;
    noise->params = *params;
    noise->slots = slots;
    *out_noise = noise;
    return SORA_OK;
}

void sora_noise_destroy(struct sora_noise **noise)
{
    if (!*noise)
        return;
    for (int32_t i = 0; i < (*noise)->params.timeline.window_latents; i++)
        free((*noise)->slots[i].values);
    free((*noise)->slots);
    free((*noise)->common);
    free(*noise);
    *noise = NULL;
}

static struct sora_noise_key stream_key(const struct sora_noise *noise, uint32_t latent)
{
    return (struct sora_noise_key){noise->params.seed, noise->params.shot, latent};
}

/* The stream of latent `u`, or NULL when there is no memory to keep it. */
static const float *stream_get(struct sora_noise *noise, int32_t u)
{
    struct stream_slot *slot = &noise->slots[u % noise->params.timeline.window_latents];
    if (slot->latent == u)
        return slot->values;
    size_t count = noise->params.element_count;
    if (!slot->values)
        slot->values = malloc(count * sizeof(float));
    if (!slot->values)
        return NULL;
    struct sora_noise_key key = stream_key(noise, (uint32_t)u);
    sora_noise_normal(&key, 0, count, slot->values);
    slot->latent = u;
    return slot->values;
}

/* Elements [first, first+count) of a stream: from the cache, else made afresh in `scratch`. */
static const float *stream_chunk(const struct sora_noise *noise, int32_t u, size_t first,
                                 size_t count, float *scratch)
{
    const struct stream_slot *slot = &noise->slots[u % noise->params.timeline.window_latents];
    if (slot->latent == u)
        return slot->values + first;
    struct sora_noise_key key = stream_key(noise, (uint32_t)u);
    sora_noise_normal(&key, first, count, scratch);
    return scratch;
}

static void mix_chunk(const struct sora_noise *noise, const struct sora_noise_mix *mix,
                      size_t first, size_t count, float *out)
{
    float scratch[CHUNK_ELEMENTS];
    double sum[CHUNK_ELEMENTS] = {0};
    for (int32_t u = mix->first; u < mix->end; u++) {
        const float *xi = stream_chunk(noise, u, first, count, scratch);
        for (size_t i = 0; i < count; i++)
            sum[i] += (double)xi[i];
    }
    const float *xi = stream_chunk(noise, mix->latent, first, count, scratch);
    for (size_t i = 0; i < count; i++)
        sum[i] = mix->own * (double)xi[i] + mix->window * sum[i];
    const float *common = noise->common ? noise->common + first : scratch;
    if (!noise->common) {
        struct sora_noise_key key = stream_key(noise, SORA_NOISE_COMMON);
        sora_noise_normal(&key, first, count, scratch);
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(sum[i] + mix->common * (double)common[i]);
}

/* Keeps the streams that walking the timeline asks again. Without memory they are made afresh, with
 * the same bits. */
static void keep_streams(struct sora_noise *noise, const struct sora_noise_mix *mix)
{
    for (int32_t u = mix->first; u < mix->end; u++)
        (void)stream_get(noise, u);
    size_t count = noise->params.element_count;
    if (!noise->common) {
        noise->common = malloc(count * sizeof(float));
        struct sora_noise_key key = stream_key(noise, SORA_NOISE_COMMON);
        if (noise->common)
            sora_noise_normal(&key, 0, count, noise->common);
    }
}

void sora_noise_latent(struct sora_noise *noise, int32_t latent, float *out_values)
{
    struct sora_noise_mix mix = sora_noise_mix(&noise->params, latent);
    size_t total = noise->params.element_count;
    if (mix.first == mix.end) {
        struct sora_noise_key key = stream_key(noise, (uint32_t)mix.latent);
        sora_noise_normal(&key, 0, total, out_values);
        return;
    }
    keep_streams(noise, &mix);
    for (size_t first = 0; first < total; first += CHUNK_ELEMENTS) {
        size_t count = total - first < CHUNK_ELEMENTS ? total - first : CHUNK_ELEMENTS;
        mix_chunk(noise, &mix, first, count, out_values + first);
    }
}
