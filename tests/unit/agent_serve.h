/* The loop of the worker of agent_worker.h. */
#ifndef SORA_TESTS_UNIT_AGENT_SERVE_H
#define SORA_TESTS_UNIT_AGENT_SERVE_H

#include "tests/unit/agent_worker.h"

static inline int toy_run(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    memcpy(&span, frame->head, sizeof(span));
    if (toy_asked(w, "die"))
        _exit(3);
    char slow[4096];
    snprintf(slow, sizeof(slow), "%s/slow", w->folder);
    if (access(slow, F_OK) == 0)
        usleep(10000);
    if (frame->kind == SORA_SERVE_RUN) {
        int rc = sora_sampler_predict(w->sampler, span.window, NULL);
        span.microseconds = 1500;
        if (rc == 0)
            toy_answer(SORA_SERVE_RAN, &span, sizeof(span), NULL, 0);
        return rc;
    }
    int rc = sora_sampler_fuse(w->sampler, NULL);
    if (rc == 0)
        rc = sora_sampler_update(w->sampler, NULL);
    if (rc)
        return rc;
    for (int32_t f = w->shard.owned.first;
         span.step + 1 == w->schedule.steps && f < w->shard.owned.end; f++) {
        w->final_there[f] = true;
        rc = sora_sampler_get_latent(w->sampler, f, w->finals + (size_t)f * w->toy.elements, NULL);
    }
    toy_answer(SORA_SERVE_UPDATED, &span, sizeof(span), NULL, 0);
    return rc;
}

static inline int toy_decode(struct toy_worker *w, const struct sora_frame *frame)
{
    struct sora_serve_decode decode;
    memcpy(&decode, frame->head, sizeof(decode));
    for (int32_t f = decode.context_first; f < decode.owned.end; f++) {
        if (!w->final_there[f])
            return SORA_E_INVALID;
    }
    int32_t index = 0;
    for (int32_t f = decode.owned.first; f < decode.owned.end; f += decode.piece_latents) {
        int32_t end = f + decode.piece_latents;
        end = end < decode.owned.end ? end : decode.owned.end;
        char path[4096];
        int length = snprintf(path, sizeof(path), "%.*s-%06d.mkv", (int)frame->payload_size,
                              (const char *)frame->payload, f);
        FILE *file = fopen(path, "wb");
        if (!file)
            return SORA_E_IO;
        fwrite(w->finals + (size_t)f * w->toy.elements, sizeof(float),
               (size_t)(end - f) * w->toy.elements, file);
        fclose(file);
        const struct sora_serve_piece piece = {index++, f, end - f, end == decode.owned.end};
        toy_answer(SORA_SERVE_PIECE, &piece, sizeof(piece), path, (size_t)length);
    }
    const struct sora_serve_span span = {.microseconds = 4000};
    toy_answer(SORA_SERVE_DECODED, &span, sizeof(span), NULL, 0);
    return 0;
}

static inline int toy_text(const struct sora_frame *frame)
{
    const struct sora_serve_number *number = frame->head;
    float rows[2 * TOY_TEXT_WIDTH];
    for (int i = 0; i < 2 * TOY_TEXT_WIDTH; i++)
        rows[i] = (float)frame->payload_size + (float)i;
    const struct sora_serve_rows head = {number->value, 2, TOY_TEXT_WIDTH};
    toy_answer(SORA_SERVE_ROWS, &head, sizeof(head), rows, sizeof(rows));
    return 0;
}

static inline int toy_schedule(const struct sora_frame *frame)
{
    const struct sora_serve_schedule *asked = frame->head;
    const struct sora_schedule_params params = {(enum sora_solver_kind)asked->solver, asked->steps,
                                                asked->shift};
    static struct sora_schedule schedule;
    int rc = sora_schedule_init(&params, &schedule, NULL);
    if (rc == 0)
        toy_answer(SORA_SERVE_SCHEDULED, NULL, 0, &schedule, sizeof(schedule));
    return rc;
}

static inline int toy_command(struct toy_worker *w, const struct sora_frame *frame)
{
    static const struct sora_serve_opened opened = {"toy", 1};
    if (!w->sampler && frame->kind > SORA_SERVE_SHARD)
        return SORA_E_INVALID;
    switch (frame->kind) {
    case SORA_SERVE_OPEN:
        toy_answer(SORA_SERVE_OPENED, &opened, sizeof(opened), NULL, 0);
        return 0;
    case SORA_SERVE_TEXT:
        return toy_text(frame);
    case SORA_SERVE_SCHEDULE:
        return toy_schedule(frame);
    case SORA_SERVE_SHARD:
        return toy_open_shard(w, frame);
    case SORA_SERVE_LOAD:
        return toy_load(w, frame);
    case SORA_SERVE_LOADED:
        if (((const struct sora_serve_span *)frame->head)->step == 0)
            toy_make_noise(w->sampler, w->shard.owned);
        toy_answer(SORA_SERVE_IS_LOADED, frame->head, frame->head_size, NULL, 0);
        return 0;
    case SORA_SERVE_RUN:
    case SORA_SERVE_UPDATE:
        return toy_run(w, frame);
    case SORA_SERVE_STATE:
        return toy_write_state(w, frame);
    case SORA_SERVE_DECODE:
        return toy_decode(w, frame);
    case SORA_SERVE_PUT_LATENTS:
    case SORA_SERVE_PUT_PREDICTIONS:
    case SORA_SERVE_PUT_FINAL:
        return toy_put(w, frame);
    default:
        return toy_get(w, frame);
    }
}

static inline int toy_serve(int argc, char **argv)
{
    static struct toy_worker w;
    const struct sora_cpu_params cpu = {.thread_count = 1};
    struct sora_serve_ready ready = {.kind = "cpu",
                                     .name = "toy",
                                     .arch = "none",
                                     .device_class = "toy\x01\xff",
                                     .memory_total = 1 << 20,
                                     .memory_free = 1 << 19,
                                     .threads = 1};
    struct sora_frame frame;
    for (int i = 1; i + 1 < argc; i++)
        w.folder = strcmp(argv[i], "--write") == 0 ? argv[i + 1] : w.folder;
    SORA_ASSERT(sora_cpu_device_create(&cpu, &w.device, NULL) == 0);
    toy_answer(SORA_SERVE_READY, &ready, sizeof(ready), NULL, 0);
    while (sora_child_self_receive(&frame, NULL) == 1) {
        if (frame.kind == SORA_SERVE_CLOSE) {
            toy_close(&w);
            w.is_void = false;
            toy_answer(SORA_SERVE_CLOSED, NULL, 0, NULL, 0);
            continue;
        }
        int rc = w.is_void ? 0 : toy_command(&w, &frame);
        const struct sora_serve_failed failed = {frame.kind, rc};
        if (rc) {
            w.is_void = true;
            toy_answer(SORA_SERVE_FAILED, &failed, sizeof(failed), "the toy failed", 14);
        }
    }
    toy_close(&w);
    sora_device_destroy(&w.device);
    return 0;
}

#endif
