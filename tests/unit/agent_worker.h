/*
 * A worker for the agent's tests: speaks node/serve_wire.h like `sora-worker serve`, with the real
 * sampler around a small made-up model, so that a wrong or missing halo is refused or shows in the
 * result. A test program that is started with "serve" as its first argument becomes one.
 *
 * It misbehaves on demand: a file "die" in its writable folder ends it at the next window, "lie"
 * makes an answer too short, "slow" makes windows take 10 ms. Pieces of segments hold the final
 * latents as they are.
 */
#ifndef SORA_TESTS_UNIT_AGENT_WORKER_H
#define SORA_TESTS_UNIT_AGENT_WORKER_H

#include "base/child.h"
#include "hip/cpu/cpu.h"
#include "model/sampler.h"
#include "node/serve_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOY_TEXT_WIDTH 4

struct toy {
    size_t elements;
    float bias; /* from the text */
};

static inline float toy_noise(int32_t latent, size_t element)
{
    uint32_t x = (uint32_t)latent * 2654435761u + (uint32_t)element * 40503u + 77u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)(int32_t)x * 0x1p-30f;
}

static inline int toy_forward(void *context, struct sora_stream *stream,
                              const struct sora_denoiser_input *input,
                              const struct sora_tensor *out_velocity, struct sora_fault *fault)
{
    (void)fault;
    const struct toy *toy = context;
    size_t n = (size_t)input->latents.shape[0], e = toy->elements;
    float *x = malloc(2 * n * e * sizeof(float)), *v = x + n * e;
    SORA_ASSERT(x && sora_tensor_download(stream, &input->latents, x) == 0);
    for (size_t k = 0; k < n * e; k++) {
        float before = k >= e ? x[k - e] : 0.125f, after = k + e < n * e ? x[k + e] : -0.25f;
        v[k] = 0.5f * x[k] / (1.0f + x[k] * x[k]) - 0.2f * before + 0.1f * after + toy->bias +
               (float)input->timestep / 4000.0f + (input->conditional ? 0.05f : 0.0f);
    }
    int rc = sora_tensor_upload(stream, out_velocity, v);
    free(x);
    return rc;
}

static inline struct sora_sampler *toy_sampler(struct sora_device *device,
                                               const struct sora_serve_shard *shard,
                                               const struct sora_schedule *schedule,
                                               struct toy *toy)
{
    const struct sora_sampler_params params = {.timeline = shard->timeline,
                                               .shard = shard->owned,
                                               .channels = shard->channels,
                                               .height = shard->height,
                                               .width = shard->width,
                                               .guidance = shard->guidance,
                                               .schedule = schedule,
                                               .denoiser = {.forward = toy_forward, .model = toy}};
    struct sora_sampler *sampler = NULL;
    SORA_ASSERT(sora_sampler_create(device, &params, &sampler, NULL) == 0);
    toy->elements = sora_sampler_latent_elements(sampler);
    return sampler;
}

static inline void toy_make_noise(struct sora_sampler *sampler, struct sora_range range)
{
    size_t elements = sora_sampler_latent_elements(sampler);
    float *values = malloc(elements * sizeof(float));
    for (int32_t f = range.first; f < range.end; f++) {
        for (size_t i = 0; i < elements; i++)
            values[i] = toy_noise(f, i);
        SORA_ASSERT(sora_sampler_put_latent(sampler, f, values, NULL) == 0);
    }
    free(values);
}

/* ---- the process ---- */

struct toy_worker {
    struct sora_device *device;
    struct sora_sampler *sampler;
    struct sora_serve_shard shard;
    struct sora_schedule schedule;
    struct toy toy;
    float *finals; /* [timeline][elements] */
    bool *final_there;
    bool is_void;
    const char *folder;
};

static inline void toy_answer(uint32_t kind, const void *head, size_t head_size,
                              const void *payload, size_t payload_size)
{
    const struct sora_frame frame = {kind, head, head_size, payload, payload_size};
    if (sora_child_self_send(&frame))
        _exit(0);
}

static inline bool toy_asked(const struct toy_worker *w, const char *what)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", w->folder, what);
    return unlink(path) == 0;
}

static inline void toy_close(struct toy_worker *w)
{
    sora_sampler_destroy(&w->sampler);
    free(w->finals);
    free(w->final_there);
    w->finals = NULL;
    w->final_there = NULL;
}

static inline int toy_open_shard(struct toy_worker *w, const struct sora_frame *frame)
{
    toy_close(w);
    memcpy(&w->shard, frame->head, sizeof(w->shard));
    memcpy(&w->schedule, frame->payload, sizeof(w->schedule));
    size_t rows = 0, latents = (size_t)w->shard.timeline.latent_count;
    for (int i = 0; i < w->shard.text_count; i++)
        rows += (size_t)(w->shard.texts[i].prompt_rows + w->shard.texts[i].negative_rows);
    if (w->shard.text_width != TOY_TEXT_WIDTH ||
        frame->payload_size != sizeof(w->schedule) + rows * TOY_TEXT_WIDTH * sizeof(float))
        return SORA_E_FORMAT;
    memcpy(&w->toy.bias, (const char *)frame->payload + sizeof(w->schedule), sizeof(float));
    w->sampler = toy_sampler(w->device, &w->shard, &w->schedule, &w->toy);
    w->finals = calloc(latents * w->toy.elements, sizeof(float));
    w->final_there = calloc(latents, sizeof(bool));
    toy_answer(SORA_SERVE_SHARD_OPENED, NULL, 0, NULL, 0);
    return 0;
}

static inline void toy_put_final(struct toy_worker *w, int32_t latent, const float *values)
{
    memcpy(w->finals + (size_t)latent * w->toy.elements, values, w->toy.elements * sizeof(float));
    w->final_there[latent] = true;
}

static inline int toy_load(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    memcpy(&span, frame->head, sizeof(span));
    char path[4096];
    snprintf(path, sizeof(path), "%.*s", (int)frame->payload_size, (const char *)frame->payload);
    bool final = span.step == w->schedule.steps;
    size_t count = final ? w->toy.elements : sora_sampler_state_elements(w->sampler);
    float *values = malloc(count * sizeof(float));
    FILE *file = fopen(path, "rb");
    int rc = file ? 0 : SORA_E_NOT_FOUND;
    for (int32_t f = span.first; f < span.end && rc == 0; f++) {
        if (fread(values, sizeof(float), count, file) != count)
            rc = SORA_E_FORMAT;
        else if (final)
            toy_put_final(w, f, values);
        else if (f >= w->shard.owned.first && f < w->shard.owned.end)
            rc = sora_sampler_put_state(w->sampler, span.step, f, values, NULL);
    }
    if (file)
        fclose(file);
    free(values);
    return rc;
}

static inline int toy_write_state(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    memcpy(&span, frame->head, sizeof(span));
    char path[4096];
    snprintf(path, sizeof(path), "%.*s", (int)frame->payload_size, (const char *)frame->payload);
    bool final = span.step == w->schedule.steps;
    size_t count = final ? w->toy.elements : sora_sampler_state_elements(w->sampler);
    float *values = malloc(count * sizeof(float));
    FILE *file = fopen(path, "wb");
    int rc = file ? 0 : SORA_E_IO;
    for (int32_t f = w->shard.owned.first; f < w->shard.owned.end && rc == 0; f++) {
        const float *from = values;
        if (final)
            from = w->finals + (size_t)f * count;
        else
            rc = sora_sampler_get_state(w->sampler, f, values, NULL);
        if (rc == 0 && fwrite(from, sizeof(float), count, file) != count)
            rc = SORA_E_IO;
    }
    if (file)
        fclose(file);
    free(values);
    toy_answer(SORA_SERVE_STATE_WRITTEN, &span, sizeof(span), frame->payload, frame->payload_size);
    return rc;
}

static inline int toy_put(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    memcpy(&span, frame->head, sizeof(span));
    const float *values = frame->payload;
    if (frame->payload_size != (size_t)(span.end - span.first) * w->toy.elements * sizeof(float))
        return SORA_E_FORMAT;
    int rc = 0;
    for (int32_t f = span.first; f < span.end && rc == 0; f++, values += w->toy.elements) {
        if (frame->kind == SORA_SERVE_PUT_FINAL)
            toy_put_final(w, f, values);
        else if (span.step != sora_sampler_step_index(w->sampler))
            rc = SORA_E_INVALID;
        else if (frame->kind == SORA_SERVE_PUT_LATENTS)
            rc = sora_sampler_put_latent(w->sampler, f, values, NULL);
        else
            rc = sora_sampler_put_prediction(w->sampler, span.window, f, values, NULL);
    }
    return rc;
}

static inline int toy_get(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    memcpy(&span, frame->head, sizeof(span));
    size_t e = w->toy.elements, count = (size_t)(span.end - span.first);
    float *values = malloc(count * e * sizeof(float));
    int rc = 0;
    for (int32_t f = span.first; f < span.end && rc == 0; f++) {
        float *at = values + (size_t)(f - span.first) * e;
        if (frame->kind == SORA_SERVE_GET_FINAL)
            memcpy(at, w->finals + (size_t)f * e, e * sizeof(float));
        else if (span.step != sora_sampler_step_index(w->sampler))
            rc = SORA_E_INVALID;
        else if (frame->kind == SORA_SERVE_GET_LATENTS)
            rc = sora_sampler_get_latent(w->sampler, f, at, NULL);
        else
            rc = sora_sampler_get_prediction(w->sampler, span.window, f, at, NULL);
    }
    size_t lie = toy_asked(w, "lie") ? 4 : 0;
    if (rc == 0)
        toy_answer(SORA_SERVE_VALUES, &span, sizeof(span), values, count * e * sizeof(float) - lie);
    free(values);
    return rc;
}

#endif
