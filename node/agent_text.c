/*
 * Text tasks: the child encodes each text of a take and computes the schedule's numbers; the rows
 * become blobs, and the home is told until it revokes the task.
 */
#include "node/agent_calls.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 4096
#define WIDTH_MAX 65536

/* ---- the order ---- */

static Farm__TextEncode *copy_encode(const Farm__TextEncode *encode)
{
    size_t size = farm__text_encode__get_packed_size(encode);
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return NULL;
    farm__text_encode__pack(encode, bytes);
    Farm__TextEncode *copy = farm__text_encode__unpack(NULL, size, bytes);
    free(bytes);
    return copy;
}

static int begin(struct agent_task *task, const Farm__TextEncode *encode, struct sora_fault *fault)
{
    if (strcmp(encode->device, task->device->config->id) != 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the order names another device than the lease");
    if (memcmp(encode->model.data, task->model.bytes, SORA_DIGEST_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the order names another model than the lease");
    if (encode->n_texts == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "the order names no text");
    task->rows = calloc(encode->n_texts, sizeof(*task->rows));
    task->schedule = calloc(1, sizeof(*task->schedule));
    Farm__TextEncode *copy = task->rows && task->schedule ? copy_encode(encode) : NULL;
    if (!copy)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for %zu texts", encode->n_texts);
    task->encode = copy;
    task->agent->wake = true;
    char job[9];
    sora_log(SORA_LOG_INFO, "texts begin job=%s epoch=%u texts=%zu device=%s",
             agent_job_text(task, job), task->epoch, encode->n_texts, task->device->config->id);
    return SORA_OK;
}

void agent_take_encode(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__TextEncode *encode)
{
    if (encode->boot != agent->params.boot)
        return;
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, encode->job, encode->epoch);
    if (!task || !task->text) {
        agent_refuse_order(agent, origin, encode->job, 0, encode->epoch, true);
        return;
    }
    if (task->stopped || task->fail)
        return;
    if (encode->version > task->version)
        task->version = encode->version;
    struct sora_fault fault = {0};
    int rc = task->encode ? SORA_OK : begin(task, encode, &fault);
    if (rc)
        agent_stop_task(task, rc, fault.text);
}

/* ---- the child ---- */

static void send_commands(struct agent_task *task)
{
    const Farm__TextEncode *encode = task->encode;
    struct sora_model_entry model;
    if (!sora_model_store_find(task->agent->params.models, &task->model, &model)) {
        agent_fail_task(task, SORA_E_NOT_FOUND, "the model is not here any more");
        return;
    }
    if (!agent_device_can(task->device, model.path))
        return;
    task->encode_sent = true;
    agent_open_model(task->device, &model);
    for (size_t i = 0; i < encode->n_texts; i++) {
        const struct sora_serve_number number = {(int64_t)i};
        agent_command(task->device, SORA_SERVE_TEXT, &number, sizeof(number), encode->texts[i],
                      strlen(encode->texts[i]));
    }
    const struct sora_serve_schedule schedule = {
        .solver = (int32_t)encode->solver, .steps = (int32_t)encode->steps, .shift = encode->shift};
    agent_command(task->device, SORA_SERVE_SCHEDULE, &schedule, sizeof(schedule), NULL, 0);
}

static bool take_rows(struct agent_task *task, const struct sora_frame *frame)
{
    struct sora_serve_rows head;
    if (frame->head_size != sizeof(head))
        return false;
    memcpy(&head, frame->head, sizeof(head));
    if (head.value < 0 || head.value >= (int64_t)task->encode->n_texts || head.rows < 1 ||
        head.rows > ROWS_MAX || head.width < 1 || head.width > WIDTH_MAX ||
        frame->payload_size != (size_t)head.rows * (size_t)head.width * sizeof(float))
        return false;
    struct agent_rows *rows = &task->rows[head.value];
    if (rows->got)
        return false;
    rows->values = malloc(frame->payload_size);
    if (!rows->values) {
        agent_fail_task(task, SORA_E_MEMORY, "no memory for rows of text");
        return true;
    }
    memcpy(rows->values, frame->payload, frame->payload_size);
    rows->size = frame->payload_size;
    rows->got = true;
    return true;
}

static bool take_schedule(struct agent_task *task, const struct sora_frame *frame)
{
    if (frame->payload_size != sizeof(*task->schedule) || task->scheduled)
        return false;
    memcpy(task->schedule, frame->payload, sizeof(*task->schedule));
    struct sora_fault fault = {0};
    task->scheduled = true;
    return sora_schedule_check(task->schedule, &fault) == SORA_OK &&
           task->schedule->steps == (int32_t)task->encode->steps;
}

bool agent_text_answer(struct agent_task *task, const struct sora_frame *frame)
{
    if (!task->encode_sent)
        return false;
    task->agent->wake = true;
    if (frame->kind == SORA_SERVE_ROWS)
        return take_rows(task, frame);
    return frame->kind == SORA_SERVE_SCHEDULED && take_schedule(task, frame);
}

/* ---- the answer ---- */

static void fill_schedule(const struct sora_schedule *from, float *coefficients,
                          Farm__Schedule *out)
{
    size_t steps = (size_t)from->steps;
    farm__schedule__init(out);
    out->solver = (uint32_t)from->solver;
    out->steps = (uint32_t)from->steps;
    out->n_sigmas = steps + 1;
    out->sigmas = (float *)(uintptr_t)from->sigmas;
    out->n_timesteps = steps;
    out->timesteps = (float *)(uintptr_t)from->timesteps;
    out->n_correctors = 4 * steps;
    out->correctors = coefficients;
    out->n_predictors = 3 * steps;
    out->predictors = coefficients + 4 * steps;
    for (size_t i = 0; i < steps; i++) {
        memcpy(&out->correctors[4 * i], from->rows[i].corrector, 4 * sizeof(float));
        memcpy(&out->predictors[3 * i], from->rows[i].predictor, 3 * sizeof(float));
    }
}

static void send_encoded(struct agent_task *task)
{
    size_t count = task->encode->n_texts;
    float *coefficients = malloc(7 * (size_t)task->schedule->steps * sizeof(float));
    Farm__BlobName *names = malloc(count * sizeof(*names));
    Farm__BlobName **list = malloc(count * sizeof(*list));
    if (coefficients && names && list) {
        Farm__Message message = FARM__MESSAGE__INIT;
        Farm__TextEncoded encoded = FARM__TEXT_ENCODED__INIT;
        Farm__Schedule schedule;
        fill_schedule(task->schedule, coefficients, &schedule);
        for (size_t i = 0; i < count; i++) {
            farm__blob_name__init(&names[i]);
            sora_blob_put(&task->rows[i].blob, &names[i]);
            list[i] = &names[i];
        }
        encoded.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
        encoded.epoch = task->epoch;
        encoded.rows = list;
        encoded.n_rows = count;
        encoded.schedule = &schedule;
        message.body_case = FARM__MESSAGE__BODY_TEXT_ENCODED;
        message.text_encoded = &encoded;
        agent_send_home(task, &message);
    }
    free(list);
    free(names);
    free(coefficients);
}

/* Stores what has come. Returns whether all is stored. */
static bool store_rows(struct agent_task *task)
{
    bool all = task->scheduled;
    for (size_t i = 0; i < task->encode->n_texts && !task->fail; i++) {
        struct agent_rows *rows = &task->rows[i];
        all = all && rows->ready;
        if (!rows->got || rows->putting)
            continue;
        int rc = agent_adopt(task, AGENT_ADOPT_ROWS, (int)i, NULL, rows->values, rows->size);
        if (rc == SORA_E_FULL) {
            agent_blocked(task->agent, rc);
        } else if (rc) {
            agent_fail_task(task, rc, "rows of text cannot be stored");
        } else {
            rows->putting = true;
            free(rows->values);
            rows->values = NULL;
        }
    }
    return all;
}

void agent_text_step(struct agent_task *task)
{
    if (!task->encode_sent)
        send_commands(task);
    if (task->fail || !store_rows(task) || task->agent->now < task->text_at)
        return;
    task->text_at = task->agent->now + AGENT_REPEAT_NS;
    send_encoded(task);
}

sora_time agent_text_deadline(const struct agent_task *task)
{
    return task->text_at > 0 && task->text_at < task->lease_until ? task->text_at
                                                                  : task->lease_until;
}

void agent_text_fini(struct agent_task *task)
{
    for (size_t i = 0; task->encode && task->rows && i < task->encode->n_texts; i++) {
        free(task->rows[i].values);
        if (task->rows[i].ready)
            sora_blob_store_drop(task->agent->params.blobs, &task->rows[i].blob.digest);
    }
    free(task->rows);
    task->rows = NULL;
    free(task->schedule);
    task->schedule = NULL;
    if (task->encode)
        farm__text_encode__free_unpacked(task->encode, NULL);
    task->encode = NULL;
}
