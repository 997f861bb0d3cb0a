/*
 * Children that serve, as a test drives them: `sora-worker serve`, the commands of
 * node/serve_wire.h and a job that shards are cut from. Whatever should not fail ends the test.
 * Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_SERVE_FIXTURE_H
#define SORA_TESTS_UNIT_SERVE_FIXTURE_H

#include "base/child.h"
#include "node/serve_wire.h"

#include "tests/unit/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#define SERVE_WAIT_MS 120000

struct serve_node {
    struct sora_child *child;
    struct sora_range owned;
    struct sora_serve_ready ready;
};

/* What all shards of a test have in common. */
struct serve_job {
    const char *model;
    struct sora_serve_shard shard; /* owned is set per node */
    struct sora_schedule *schedule;
    float *rows; /* of all texts */
    size_t rows_count;
    size_t elements; /* of a latent */
};

static inline void serve_send(struct serve_node *node, uint32_t kind, const void *head,
                              size_t head_size, const void *payload, size_t payload_size)
{
    const struct sora_frame frame = {kind, head, head_size, payload, payload_size};
    int error = sora_child_send(node->child, &frame);
    if (error) {
        struct sora_frame ignored;
        struct sora_fault fault = {0};
        while (sora_child_step(node->child, &ignored, &fault) > 0)
            ;
        fail_msg("command %u was not sent: %s %s", kind, sora_error_text(error), fault.text);
    }
}

/* The next answer, valid until the next. */
static inline struct sora_frame serve_answer(struct serve_node *node)
{
    for (;;) {
        struct sora_frame frame;
        struct sora_fault fault = {0};
        int rc = sora_child_step(node->child, &frame, &fault);
        if (rc > 0)
            return frame;
        if (rc < 0)
            fail_msg("the child ended: %s", fault.text);
        struct pollfd item;
        item.fd = sora_child_fd(node->child, &item.events);
        if (poll(&item, 1, SERVE_WAIT_MS) <= 0)
            fail_msg("no answer in %d ms", SERVE_WAIT_MS);
    }
}

static inline struct sora_frame serve_expect(struct serve_node *node, uint32_t kind)
{
    struct sora_frame frame = serve_answer(node);
    if (frame.kind == SORA_SERVE_FAILED && kind != SORA_SERVE_FAILED)
        fail_msg("command %u failed: %.*s", ((const struct sora_serve_failed *)frame.head)->command,
                 (int)frame.payload_size, (const char *)frame.payload);
    assert_int_equal(frame.kind, kind);
    return frame;
}

/* FAILED of `command` with `code` and a sentence that holds `words`. */
static inline void serve_expect_failed(struct serve_node *node, uint32_t command, int code,
                                       const char *words)
{
    struct sora_frame frame = serve_expect(node, SORA_SERVE_FAILED);
    const struct sora_serve_failed *failed = frame.head;
    char text[SORA_FAULT_TEXT_SIZE] = "";
    memcpy(text, frame.payload, frame.payload_size);
    if (failed->command != command || failed->code != code || !strstr(text, words))
        fail_msg("command %u failed with %s: '%s'; expected command %u with %s: '%s'",
                 failed->command, sora_error_name(failed->code), text, command,
                 sora_error_name(code), words);
}

/* `models`: the folder that may be read; the scratch folder may be written. */
static inline void serve_start_on(struct serve_node *node, const char *program, const char *models,
                                  const char *device, const char *memory)
{
    const char *const argv[] = {"sora-worker", "serve",  "--device", device,    "--threads",
                                "2",           "--read", models,     "--write", scratch_dir,
                                "--memory",    memory,   NULL};
    const struct sora_child_params params = {.program = program, .argv = argv};
    struct sora_fault fault = {0};
    *node = (struct serve_node){0};
    if (sora_child_create(&params, &node->child, &fault))
        fail_msg("%s", fault.text);
    struct sora_frame frame = serve_expect(node, SORA_SERVE_READY);
    assert_int_equal(frame.head_size, sizeof(node->ready));
    memcpy(&node->ready, frame.head, sizeof(node->ready));
}

static inline void serve_start(struct serve_node *node, const char *program, const char *models)
{
    serve_start_on(node, program, models, "cpu0", "0");
}

static inline void serve_kill(struct serve_node *node)
{
    sora_child_destroy(&node->child);
}

/* Lets it end by itself, as it does when its parent is gone: a sanitized child checks for leaks. */
static inline void serve_stop(struct serve_node *node)
{
    struct sora_frame frame;
    struct sora_fault fault = {0};
    struct pollfd item;
    int rc;
    item.fd = sora_child_fd(node->child, &item.events);
    assert_int_equal(shutdown(item.fd, SHUT_WR), 0);
    while ((rc = sora_child_step(node->child, &frame, &fault)) >= 0)
        assert_int_equal(poll(&item, 1, SERVE_WAIT_MS), 1);
    if (!strstr(fault.text, "status 0"))
        fail_msg("%s", fault.text);
    sora_child_destroy(&node->child);
}

static inline void serve_span(struct serve_node *node, uint32_t kind, struct sora_serve_span span,
                              const void *payload, size_t payload_size)
{
    serve_send(node, kind, &span, sizeof(span), payload, payload_size);
}

static inline void serve_path_span(struct serve_node *node, uint32_t kind,
                                   struct sora_serve_span span, const char *path)
{
    serve_span(node, kind, span, path, strlen(path));
}

static inline void serve_open(struct serve_node *node, const char *folder)
{
    serve_send(node, SORA_SERVE_OPEN, NULL, 0, folder, strlen(folder));
    serve_expect(node, SORA_SERVE_OPENED);
}

/* ---- the job ---- */

/* Appends the rows of `text` to the job's; returns their count. */
static inline int32_t serve_encode(struct serve_node *node, struct serve_job *job, const char *text)
{
    const struct sora_serve_number number = {77};
    serve_send(node, SORA_SERVE_TEXT, &number, sizeof(number), text, strlen(text));
    struct sora_frame frame = serve_expect(node, SORA_SERVE_ROWS);
    const struct sora_serve_rows *rows = frame.head;
    assert_int_equal(rows->value, 77);
    assert_int_equal(frame.payload_size, (size_t)rows->rows * (size_t)rows->width * sizeof(float));
    job->shard.text_width = rows->width;
    size_t count = frame.payload_size / sizeof(float);
    job->rows = realloc(job->rows, (job->rows_count + count) * sizeof(float));
    assert_non_null(job->rows);
    memcpy(job->rows + job->rows_count, frame.payload, frame.payload_size);
    job->rows_count += count;
    return rows->rows;
}

/* Adds a text for latents up to `end`. */
static inline void serve_add_text(struct serve_node *node, struct serve_job *job, int32_t end,
                                  const char *prompt, const char *negative)
{
    struct sora_serve_text_range *range = &job->shard.texts[job->shard.text_count];
    range->first = job->shard.text_count ? range[-1].end : 0;
    range->end = end;
    range->prompt_rows = serve_encode(node, job, prompt);
    range->negative_rows = negative ? serve_encode(node, job, negative) : 0;
    job->shard.text_count++;
}

static inline void serve_take_schedule(struct serve_node *node, struct serve_job *job,
                                       const struct sora_serve_schedule *asked)
{
    serve_send(node, SORA_SERVE_SCHEDULE, asked, sizeof(*asked), NULL, 0);
    struct sora_frame frame = serve_expect(node, SORA_SERVE_SCHEDULED);
    assert_int_equal(frame.payload_size, sizeof(*job->schedule));
    job->schedule = malloc(sizeof(*job->schedule));
    memcpy(job->schedule, frame.payload, sizeof(*job->schedule));
}

static inline void serve_job_fini(struct serve_job *job)
{
    free(job->schedule);
    free(job->rows);
}

static inline void serve_send_shard(struct serve_node *node, const struct serve_job *job,
                                    struct sora_range owned)
{
    struct sora_serve_shard shard = job->shard;
    shard.owned = node->owned = owned;
    size_t rows_size = job->rows_count * sizeof(float);
    unsigned char *payload = malloc(sizeof(*job->schedule) + rows_size);
    memcpy(payload, job->schedule, sizeof(*job->schedule));
    if (rows_size)
        memcpy(payload + sizeof(*job->schedule), job->rows, rows_size);
    serve_send(node, SORA_SERVE_SHARD, &shard, sizeof(shard), payload,
               sizeof(*job->schedule) + rows_size);
    free(payload);
}

static inline void serve_begin(struct serve_node *node, const struct serve_job *job,
                               struct sora_range owned)
{
    serve_send_shard(node, job, owned);
    serve_expect(node, SORA_SERVE_SHARD_OPENED);
}

static inline void serve_loaded(struct serve_node *node, int32_t step)
{
    serve_span(node, SORA_SERVE_LOADED, (struct sora_serve_span){.step = step}, NULL, 0);
    serve_expect(node, SORA_SERVE_IS_LOADED);
}

#endif
