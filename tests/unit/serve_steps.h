/*
 * The steps of several serving children, each with a shard of one timeline, and the exchange of
 * halos between them through the test.
 */
#ifndef SORA_TESTS_UNIT_SERVE_STEPS_H
#define SORA_TESTS_UNIT_SERVE_STEPS_H

#include "tests/unit/serve_fixture.h"

/* Asks `from` with `get` and gives the answer to `to` with `put`. */
static inline void serve_move(struct serve_node *from, struct serve_node *to, uint32_t get,
                              uint32_t put, struct sora_serve_span span)
{
    if (span.end <= span.first)
        return;
    span.token = 0x1234567890;
    serve_span(from, get, span, NULL, 0);
    struct sora_frame frame = serve_expect(from, SORA_SERVE_VALUES);
    const struct sora_serve_span *answer = frame.head;
    assert_int_equal(answer->token, span.token);
    assert_int_equal(answer->first, span.first);
    assert_int_equal(answer->end, span.end);
    serve_span(to, put, span, frame.payload, frame.payload_size);
}

static inline void serve_run_windows(struct serve_node *node, const struct serve_job *job,
                                     int32_t step)
{
    struct sora_range windows =
        sora_timeline_shard_windows(&job->shard.timeline, step, node->owned);
    for (int32_t window = windows.first; window < windows.end; window++) {
        serve_span(node, SORA_SERVE_RUN, (struct sora_serve_span){.step = step, .window = window},
                   NULL, 0);
        struct sora_frame frame = serve_expect(node, SORA_SERVE_RAN);
        const struct sora_serve_span *ran = frame.head;
        assert_int_equal(ran->window, window);
        assert_true(ran->microseconds >= 0);
    }
}

/* All predictions of `from`'s windows that `to` fuses. */
static inline void serve_move_predictions(struct serve_node *from, struct serve_node *to,
                                          const struct serve_job *job, int32_t step)
{
    const struct sora_timeline_params *timeline = &job->shard.timeline;
    struct sora_range windows = sora_timeline_shard_windows(timeline, step, from->owned);
    for (int32_t window = windows.first; window < windows.end; window++) {
        struct sora_range range = sora_timeline_halo_predictions(timeline, step, window, to->owned);
        serve_move(from, to, SORA_SERVE_GET_PREDICTIONS, SORA_SERVE_PUT_PREDICTIONS,
                   (struct sora_serve_span){
                       .step = step, .window = window, .first = range.first, .end = range.end});
    }
}

/* One step of all shards of the timeline. */
static inline void serve_step(struct serve_node *nodes, int count, const struct serve_job *job,
                              int32_t step)
{
    for (int i = 0; i < count * count; i++) {
        struct serve_node *from = &nodes[i / count], *to = &nodes[i % count];
        struct sora_range range = {0, 0};
        if (from != to)
            range = sora_timeline_halo_latents(&job->shard.timeline, step, from->owned, to->owned);
        serve_move(from, to, SORA_SERVE_GET_LATENTS, SORA_SERVE_PUT_LATENTS,
                   (struct sora_serve_span){.step = step, .first = range.first, .end = range.end});
    }
    for (int i = 0; i < count; i++)
        serve_run_windows(&nodes[i], job, step);
    for (int i = 0; i < count * count; i++) {
        if (i / count != i % count)
            serve_move_predictions(&nodes[i / count], &nodes[i % count], job, step);
    }
    for (int i = 0; i < count; i++)
        serve_span(&nodes[i], SORA_SERVE_UPDATE, (struct sora_serve_span){.step = step}, NULL, 0);
    for (int i = 0; i < count; i++)
        serve_expect(&nodes[i], SORA_SERVE_UPDATED);
}

/* Final latents of all shards, [T,C,H,W]; owned by the caller. */
static inline float *serve_collect(struct serve_node *nodes, int count, const struct serve_job *job)
{
    float *values =
        malloc((size_t)job->shard.timeline.latent_count * job->elements * sizeof(float));
    for (int i = 0; i < count; i++) {
        struct sora_range owned = nodes[i].owned;
        serve_span(&nodes[i], SORA_SERVE_GET_FINAL,
                   (struct sora_serve_span){.first = owned.first, .end = owned.end}, NULL, 0);
        struct sora_frame frame = serve_expect(&nodes[i], SORA_SERVE_VALUES);
        size_t size = (size_t)(owned.end - owned.first) * job->elements * sizeof(float);
        assert_int_equal(frame.payload_size, size);
        memcpy(values + (size_t)owned.first * job->elements, frame.payload, size);
    }
    return values;
}

/* Every step of the job on nodes that have loaded; the final latents, owned by the caller. */
static inline float *serve_sample(struct serve_node *nodes, int count, const struct serve_job *job)
{
    for (int32_t step = 0; step < job->schedule->steps; step++)
        serve_step(nodes, count, job, step);
    return serve_collect(nodes, count, job);
}

#endif
