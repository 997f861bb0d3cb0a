/*
 * Loading: what a shard needs before its first step. Text rows and states are blobs of the home;
 * when all are here, the child is told to open the model and the shard and to read the states.
 */
#include "node/agent_calls.h"

#include "base/files.h"
#include "base/log.h"
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_AT_ONCE 8
#define ROWS_MAX 4096
#define STATE_VALUES_MAX 16 /* of one latent's elements: solver state */

/* ---- what is needed ---- */

static int add_need(struct agent_task *task, const Farm__BlobName *name, struct sora_fault *fault)
{
    struct agent_need *need = &task->needs[task->need_count];
    if (!sora_blob_get(name, &need->blob))
        return sora_fault_set(fault, SORA_E_FORMAT, "the order lacks a blob");
    for (int i = 0; i < task->need_count; i++) {
        if (sora_digest_equal(&task->needs[i].blob.digest, &need->blob.digest))
            return SORA_OK;
    }
    need->task = task;
    need->state = AGENT_NEED_TODO;
    task->need_count++;
    sora_blob_store_pin(task->agent->params.blobs, &need->blob.digest);
    return SORA_OK;
}

/* The first latent from `at` on of which there is no state. */
static uint32_t covered_until(const Farm__ShardAssign *order, uint32_t at)
{
    for (bool found = true; at < order->end && found;) {
        found = false;
        for (size_t i = 0; i < order->n_states; i++) {
            const Farm__StatePart *part = order->states[i];
            if (part->first > at || part->end <= at)
                continue;
            at = part->end;
            found = true;
        }
    }
    return at;
}

/* States must cover the shard, and for decoding what it reads. */
static int check_states(const struct agent_task *task, struct sora_fault *fault)
{
    const Farm__ShardAssign *order = task->order;
    bool final = order->step == order->schedule->steps;
    uint32_t context = final ? order->context_latents : 0;
    uint32_t until = covered_until(order, order->first > context ? order->first - context : 0);
    if (order->step > 0 && until < order->end)
        return sora_fault_set(fault, SORA_E_INVALID, "no state of latent %u at step %u", until,
                              order->step);
    for (size_t i = 0; i < order->n_states; i++) {
        const Farm__StatePart *part = order->states[i];
        uint64_t once = (uint64_t)(part->end - part->first) * task->latent_bytes;
        uint64_t size = part->state ? part->state->size : 0;
        if (size == 0 || size % once != 0 || size / once > (final ? 1 : STATE_VALUES_MAX))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "the state of latents %u-%u has %llu bytes", part->first,
                                  part->end, (unsigned long long)size);
    }
    return SORA_OK;
}

int agent_load_init(struct agent_task *task, struct sora_fault *fault)
{
    const Farm__ShardAssign *order = task->order;
    int rc = check_states(task, fault);
    if (rc)
        return rc;
    if (order->n_texts == 0 || order->n_texts > SORA_SERVE_TEXTS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%zu texts; 1 to %d are possible",
                              order->n_texts, SORA_SERVE_TEXTS_MAX);
    task->needs = calloc(2 * order->n_texts + order->n_states, sizeof(*task->needs));
    if (!task->needs)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a shard's needs");
    for (size_t i = 0; i < order->n_texts && rc == SORA_OK; i++) {
        const Farm__ShardText *text = order->texts[i];
        if (order->guidance > 1 && !text->negative)
            rc = sora_fault_set(fault, SORA_E_INVALID, "guidance %g needs negative texts",
                                order->guidance);
        if (rc == SORA_OK)
            rc = add_need(task, text->prompt, fault);
        if (rc == SORA_OK && text->negative)
            rc = add_need(task, text->negative, fault);
    }
    for (size_t i = 0; i < order->n_states && order->step > 0 && rc == SORA_OK; i++)
        rc = add_need(task, order->states[i]->state, fault);
    return rc;
}

void agent_load_fini(struct agent_task *task)
{
    for (int i = 0; i < task->need_count; i++) {
        sora_blob_transfer_forget(task->agent->params.transfer, &task->needs[i]);
        sora_blob_store_drop(task->agent->params.blobs, &task->needs[i].blob.digest);
    }
    free(task->needs);
    task->needs = NULL;
    task->need_count = 0;
    if (task->order)
        farm__shard_assign__free_unpacked(task->order, NULL);
    task->order = NULL;
}

/* ---- fetching ---- */

static void need_done(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct agent_need *need = context;
    struct agent_task *task = need->task;
    (void)blob;
    task->agent->wake = true;
    if (!fault || fault->code == SORA_OK) {
        need->state = AGENT_NEED_HERE;
        return;
    }
    need->state = AGENT_NEED_TODO;
    task->fetch_at = task->agent->now + AGENT_REPEAT_NS;
    if (!sora_error_retry(fault->code))
        agent_fail_task(task, fault->code, fault->text);
}

/* Asks for what is not here yet. Returns how much that is. */
static int fetch_needs(struct agent_task *task)
{
    struct sora_agent *agent = task->agent;
    int missing = 0, asked = 0;
    for (int i = 0; i < task->need_count; i++)
        asked += task->needs[i].state == AGENT_NEED_ASKED;
    for (int i = 0; i < task->need_count; i++) {
        struct agent_need *need = &task->needs[i];
        uint64_t size;
        if (need->state == AGENT_NEED_TODO &&
            sora_blob_store_have(agent->params.blobs, &need->blob.digest, &size))
            need->state = AGENT_NEED_HERE;
        missing += need->state != AGENT_NEED_HERE;
        if (need->state != AGENT_NEED_TODO || asked >= ASKED_AT_ONCE || agent->now < task->fetch_at)
            continue;
        need->state = AGENT_NEED_ASKED;
        int rc = sora_blob_transfer_fetch(agent->params.transfer, task->home, &need->blob,
                                          need_done, need);
        asked += rc == SORA_OK;
        if (rc == SORA_OK)
            continue;
        need->state = AGENT_NEED_TODO;
        task->fetch_at = agent->now + AGENT_REPEAT_NS;
    }
    return missing;
}

/* ---- the child ---- */

int agent_schedule_get(const Farm__Schedule *wire, struct sora_schedule *out_schedule,
                       struct sora_fault *fault)
{
    struct sora_schedule *out = out_schedule;
    memset(out, 0, sizeof(*out));
    if (wire->steps < 1 || wire->steps > SORA_STEPS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "a schedule of %u steps", wire->steps);
    out->solver = (enum sora_solver_kind)wire->solver;
    out->steps = (int32_t)wire->steps;
    memcpy(out->sigmas, wire->sigmas, wire->n_sigmas * sizeof(float));
    memcpy(out->timesteps, wire->timesteps, wire->n_timesteps * sizeof(float));
    for (uint32_t i = 0; i < wire->steps; i++) {
        memcpy(out->rows[i].corrector, &wire->correctors[4 * i], sizeof(out->rows[i].corrector));
        memcpy(out->rows[i].predictor, &wire->predictors[3 * i], sizeof(out->rows[i].predictor));
    }
    return sora_schedule_check(out, fault);
}

/* Values of a row of text, which the model says. */
static int text_width(const struct sora_model_entry *model, int64_t *out_width,
                      struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_config *config = NULL;
    const struct sora_config_int key = {"text_dim", 4096, 1, 65536};
    snprintf(path, sizeof(path), "%s/transformer/config.json", model->path);
    int rc = sora_config_open(path, &config, fault);
    if (rc == SORA_OK)
        rc = sora_config_get_int(config, &key, out_width, fault);
    sora_config_destroy(&config);
    return rc;
}

static int blob_path(const struct agent_task *task, const Farm__BlobName *name, char *out_path,
                     struct sora_blob *out_blob, struct sora_fault *fault)
{
    if (!sora_blob_get(name, out_blob))
        return sora_fault_set(fault, SORA_E_FORMAT, "the order lacks a blob");
    return sora_blob_store_path(task->agent->params.blobs, &out_blob->digest, out_path,
                                SORA_FILE_PATH_SIZE, fault);
}

/* Appends a text's rows; `out_rows` is how many. */
static int add_rows(const struct agent_task *task, const Farm__BlobName *name, int64_t width,
                    struct sora_bytes *payload, int32_t *out_rows, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_blob blob;
    struct sora_bytes content = {0};
    size_t row = (size_t)width * sizeof(float);
    int rc = blob_path(task, name, path, &blob, fault);
    if (rc == SORA_OK)
        rc = sora_file_read(path, row * ROWS_MAX, &content, fault);
    if (rc == SORA_OK && content.size % row != 0)
        rc = sora_fault_set(fault, SORA_E_INVALID,
                            "rows of text are %zu bytes; the model wants rows of %lld values",
                            content.size, (long long)width);
    if (rc == SORA_OK) {
        *out_rows = (int32_t)(content.size / row);
        if (sora_bytes_append(payload, content.data, content.size))
            rc = sora_fault_set(fault, SORA_E_LIMIT, "the texts of a shard are over 1 GiB");
    }
    sora_bytes_fini(&content);
    return rc;
}

static int add_texts(const struct agent_task *task, struct sora_serve_shard *shard,
                     struct sora_bytes *payload, struct sora_fault *fault)
{
    const Farm__ShardAssign *order = task->order;
    int rc = SORA_OK;
    for (size_t i = 0; i < order->n_texts && rc == SORA_OK; i++) {
        const Farm__ShardText *text = order->texts[i];
        struct sora_serve_text_range *range = &shard->texts[i];
        *range = (struct sora_serve_text_range){.first = (int32_t)text->first,
                                                .end = (int32_t)text->end};
        rc = add_rows(task, text->prompt, shard->text_width, payload, &range->prompt_rows, fault);
        if (rc == SORA_OK && order->guidance > 1)
            rc = add_rows(task, text->negative, shard->text_width, payload, &range->negative_rows,
                          fault);
    }
    return rc;
}

static void fill_shard(const struct agent_task *task, int64_t width, struct sora_serve_shard *out)
{
    const Farm__ShardAssign *order = task->order;
    const Farm__Timeline *timeline = order->timeline;
    *out = (struct sora_serve_shard){
        .timeline = {.latent_count = (int32_t)timeline->latents,
                     .window_latents = (int32_t)timeline->window,
                     .overlap_latents = (int32_t)timeline->overlap,
                     .static_phase = timeline->static_phase},
        .owned = {(int32_t)order->first, (int32_t)order->end},
        .channels = (int32_t)timeline->channels,
        .height = (int32_t)timeline->height,
        .width = (int32_t)timeline->width,
        .noise_kind = (int32_t)order->noise,
        .noise_share = order->noise_share,
        .guidance = order->guidance,
        .seed = order->seed,
        .shot = (int32_t)order->shot,
        .text_count = (int32_t)order->n_texts,
        .text_width = (int32_t)width,
    };
}

static int send_shard(struct agent_task *task, const struct sora_model_entry *model,
                      struct sora_fault *fault)
{
    struct sora_serve_shard *shard = calloc(1, sizeof(*shard));
    struct sora_schedule *schedule = calloc(1, sizeof(*schedule));
    struct sora_bytes payload;
    sora_bytes_init(&payload, SORA_CHILD_PAYLOAD_MAX);
    int64_t width = 0;
    int rc = shard && schedule ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "no memory");
    if (rc == SORA_OK)
        rc = text_width(model, &width, fault);
    if (rc == SORA_OK)
        rc = agent_schedule_get(task->order->schedule, schedule, fault);
    if (rc == SORA_OK && sora_bytes_append(&payload, schedule, sizeof(*schedule)))
        rc = sora_fault_set(fault, SORA_E_MEMORY, "no memory");
    if (rc == SORA_OK) {
        fill_shard(task, width, shard);
        rc = add_texts(task, shard, &payload, fault);
    }
    if (rc == SORA_OK)
        agent_command(task->device, SORA_SERVE_SHARD, shard, sizeof(*shard), payload.data,
                      payload.size);
    sora_bytes_fini(&payload);
    free(schedule);
    free(shard);
    return rc;
}

static int send_states(struct agent_task *task, struct sora_fault *fault)
{
    const Farm__ShardAssign *order = task->order;
    struct sora_serve_span span = {.step = (int32_t)order->step};
    for (size_t i = 0; i < order->n_states && order->step > 0; i++) {
        char path[SORA_FILE_PATH_SIZE];
        struct sora_blob blob;
        int rc = blob_path(task, order->states[i]->state, path, &blob, fault);
        if (rc)
            return rc;
        span.first = (int32_t)order->states[i]->first;
        span.end = (int32_t)order->states[i]->end;
        agent_span(task->device, SORA_SERVE_LOAD, &span, path, strlen(path));
    }
    span.first = span.end = 0;
    agent_span(task->device, SORA_SERVE_LOADED, &span, NULL, 0);
    return SORA_OK;
}

void agent_load_step(struct agent_task *task)
{
    if (fetch_needs(task) > 0)
        return;
    struct sora_model_entry model;
    struct sora_fault fault = {0};
    if (!sora_model_store_find(task->agent->params.models, &task->model, &model)) {
        agent_fail_task(task, SORA_E_NOT_FOUND, "the model is not here any more");
        return;
    }
    if (!agent_device_can(task->device, model.path) ||
        !agent_device_renders_as(task->device, task->order->device_class))
        return; /* READY wakes */
    task->load = AGENT_LOAD_CHILD;
    agent_open_model(task->device, &model);
    int rc = send_shard(task, &model, &fault);
    if (rc == SORA_OK)
        rc = send_states(task, &fault);
    if (rc)
        agent_fail_task(task, rc, fault.text);
}
