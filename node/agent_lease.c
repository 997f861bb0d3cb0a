/*
 * Leases: offers are granted or returned, renewed, revoked, and run out. Who holds a lease is
 * (home, job, epoch); offers may come twice and are answered the same way.
 */
#include "node/agent_calls.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LEASE_MS 15000u /* until the first renewal */
#define ENVELOPE_MS 60000u

struct agent_task *agent_find_task(struct sora_agent *agent, const unsigned char *home,
                                   ProtobufCBinaryData job, uint32_t epoch)
{
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        struct agent_task *task = &agent->tasks[i];
        if (task->used && task->epoch == epoch && job.len == SORA_JOB_ID_SIZE &&
            memcmp(task->job, job.data, SORA_JOB_ID_SIZE) == 0 &&
            memcmp(task->home, home, SORA_NODE_ID_SIZE) == 0)
            return task;
    }
    return NULL;
}

static bool has_ended(const struct sora_agent *agent, const unsigned char *home,
                      ProtobufCBinaryData job, uint32_t epoch)
{
    for (int i = 0; i < AGENT_ENDED_MAX; i++) {
        const struct agent_ended *ended = &agent->ended[i];
        if (ended->epoch == epoch && memcmp(ended->job, job.data, SORA_JOB_ID_SIZE) == 0 &&
            memcmp(ended->home, home, SORA_NODE_ID_SIZE) == 0)
            return true;
    }
    return false;
}

/* ---- the end of a task ---- */

void agent_fail_task(struct agent_task *task, int code, const char *text)
{
    if (task->fail || task->stopped)
        return;
    task->fail = code ? code : SORA_E_INTERNAL;
    snprintf(task->fail_text, sizeof(task->fail_text), "%s", text);
    task->agent->wake = true;
}

/* The report of a stopped task has its code only; the words go once, for the people. */
static void tell_why(const struct agent_task *task, int code, const char *text)
{
    Farm__LeaseReturn back = FARM__LEASE_RETURN__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    char reason[256];
    snprintf(reason, sizeof(reason), "%s", text);
    back.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    back.shard = task->shard;
    back.epoch = task->epoch;
    back.text = task->text;
    back.code = code;
    back.reason = reason;
    back.stopped = true;
    message.body_case = FARM__MESSAGE__BODY_LEASE_RETURN;
    message.lease_return = &back;
    const struct sora_post *post = task->agent->params.post;
    post->send(post->owner, task->home, &message, NULL, 0, NULL);
}

void agent_stop_task(struct agent_task *task, int code, const char *text)
{
    if (task->stopped)
        return;
    char job[9];
    enum sora_log_level level =
        code == SORA_OK || code == SORA_E_CANCELLED ? SORA_LOG_INFO : SORA_LOG_WARN;
    sora_log(level, "task stopped job=%s shard=%u epoch=%u device=%s code=%s reason=\"%s\"",
             agent_job_text(task, job), task->shard, task->epoch,
             task->device ? task->device->config->id : "-", code ? sora_error_name(code) : "OK",
             text);
    if (task->link_count > 0)
        sora_log(SORA_LOG_INFO,
                 "halos sent job=%s shard=%u epoch=%u even_bytes=%llu odd_bytes=%llu "
                 "final_bytes=%llu",
                 job, task->shard, task->epoch, (unsigned long long)task->halo_bytes[0],
                 (unsigned long long)task->halo_bytes[1], (unsigned long long)task->halo_bytes[2]);
    if (code == SORA_E_NUMERIC || code == SORA_E_SPACE || sora_error_of_input(code))
        tell_why(task, code, text);
    task->stopped = true;
    task->code = code;
    task->stopped_at = task->agent->now;
    struct agent_device *device = task->device;
    if (device)
        agent_device_release(device);
    if (device && task->file_missed)
        agent_device_restart(device, true); /* a folder that comes back can be read again */
    agent_load_fini(task);
    agent_result_fini(task);
    agent_halos_fini(task);
    agent_text_fini(task);
    sora_shard_destroy(&task->machine);
}

void agent_end_task(struct agent_task *task)
{
    struct sora_agent *agent = task->agent;
    agent_stop_task(task, SORA_OK, "over");
    struct agent_ended *ended = &agent->ended[agent->ended_next++ % AGENT_ENDED_MAX];
    memcpy(ended->home, task->home, sizeof(ended->home));
    memcpy(ended->job, task->job, sizeof(ended->job));
    ended->epoch = task->epoch;
    *task = (struct agent_task){.agent = agent};
}

void agent_leases_step(struct sora_agent *agent)
{
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        struct agent_task *task = &agent->tasks[i];
        if (!task->used)
            continue;
        /* A machine knows its lease and stops itself. */
        bool over = task->stopped ? agent->now >= task->stopped_at + AGENT_FORGET_NS
                                  : !task->machine && agent->now >= task->lease_until;
        if (over)
            agent_end_task(task);
    }
}

/* ---- answers ---- */

struct answer {
    ProtobufCBinaryData job;
    uint32_t shard, epoch;
    bool text;
};

static void give_back(struct sora_agent *agent, const struct sora_origin *origin,
                      const struct answer *of, int code, const char *reason)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__LeaseReturn back = FARM__LEASE_RETURN__INIT;
    back.job = of->job;
    back.shard = of->shard;
    back.epoch = of->epoch;
    back.text = of->text;
    back.code = code;
    back.reason = (char *)(uintptr_t)reason;
    message.body_case = FARM__MESSAGE__BODY_LEASE_RETURN;
    message.lease_return = &back;
    const struct sora_post *post = agent->params.post;
    post->send(post->owner, origin->identity->node, &message, NULL, 0, NULL);
}

void agent_refuse_order(struct sora_agent *agent, const struct sora_origin *origin,
                        ProtobufCBinaryData job, uint32_t shard, uint32_t epoch, bool text)
{
    const struct answer of = {job, shard, epoch, text};
    give_back(agent, origin, &of, SORA_E_STALE, "no such lease is held here");
}

/* The same body, signed by this node. */
static void grant(struct sora_agent *agent, const struct sora_origin *origin,
                  const Farm__Envelope *offered, uint32_t lease_ms)
{
    const struct sora_envelope_params params = {
        .key = agent->params.sign,
        .certificate = agent->params.certificate,
        .domain = SORA_DOMAIN_LEASE,
        .audience = origin->identity->node,
        .wall_expires_ms = sora_clock_wall_ms() + (lease_ms > ENVELOPE_MS ? lease_ms : ENVELOPE_MS),
        .payload = offered->payload.data,
        .payload_size = offered->payload.len,
    };
    struct sora_envelope envelope;
    sora_envelope_seal(&params, &envelope);
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__LeaseGrant granted = FARM__LEASE_GRANT__INIT;
    granted.lease = &envelope.wire;
    granted.lease_ms = lease_ms;
    message.body_case = FARM__MESSAGE__BODY_LEASE_GRANT;
    message.lease_grant = &granted;
    const struct sora_post *post = agent->params.post;
    post->send(post->owner, origin->identity->node, &message, NULL, 0, NULL);
}

/* ---- models ---- */

static void model_done(void *context, const struct sora_model_entry *entry,
                       const struct sora_fault *fault)
{
    struct agent_fetch *fetch = context;
    if (entry) {
        *fetch = (struct agent_fetch){.agent = fetch->agent};
        return;
    }
    fetch->failed = true; /* said with the next offer */
    fetch->fault = *fault;
}

static struct agent_fetch *find_fetch(struct sora_agent *agent, const struct sora_digest *model)
{
    for (int i = 0; i < AGENT_FETCHES_MAX; i++) {
        struct agent_fetch *fetch = &agent->fetches[i];
        if (fetch->used && sora_digest_equal(&fetch->model, model))
            return fetch;
    }
    return NULL;
}

static int start_fetch(struct sora_agent *agent, const struct sora_digest *model,
                       const unsigned char *home, struct sora_fault *fault)
{
    for (int i = 0; i < AGENT_FETCHES_MAX; i++) {
        struct agent_fetch *fetch = &agent->fetches[i];
        if (fetch->used && !fetch->failed)
            continue;
        *fetch = (struct agent_fetch){.agent = agent, .used = true, .model = *model};
        memcpy(fetch->node, home, SORA_NODE_ID_SIZE);
        int rc = sora_model_store_fetch(agent->params.models, model, home, model_done, fetch);
        if (rc) {
            fetch->used = false;
            return sora_fault_set(fault, rc, "the model cannot be fetched now");
        }
        char text[SORA_DIGEST_TEXT_SIZE];
        sora_log(SORA_LOG_INFO, "fetching a model model=%.16s", sora_digest_text(model, text));
        return sora_fault_set(fault, SORA_E_BUSY, "fetching the model");
    }
    return sora_fault_set(fault, SORA_E_BUSY, "fetching %d other models", AGENT_FETCHES_MAX);
}

/* OK when the model is here; else its fetch is begun or goes on. */
static int check_model(struct sora_agent *agent, const struct sora_digest *model,
                       const unsigned char *home, struct sora_fault *fault)
{
    struct sora_model_entry entry;
    if (sora_model_store_find(agent->params.models, model, &entry))
        return SORA_OK;
    if (memcmp(home, agent->params.post->self, SORA_NODE_ID_SIZE) == 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "the model is not here any more");
    struct agent_fetch *fetch = find_fetch(agent, model);
    if (!fetch)
        return start_fetch(agent, model, home, fault);
    if (!fetch->failed) {
        char words[200] = "the model";
        sora_model_store_progress(agent->params.models, model, words, sizeof(words));
        return sora_fault_set(fault, SORA_E_BUSY, "fetching %s", words);
    }
    *fault = fetch->fault;
    fetch->used = false; /* the next offer tries again */
    return fault->code ? fault->code : SORA_E_INTERNAL;
}

/* ---- offers ---- */

static struct agent_device *find_device(struct sora_agent *agent, const char *id)
{
    for (int i = 0; i < agent->params.device_count; i++) {
        if (strcmp(agent->devices[i].config->id, id) == 0)
            return &agent->devices[i];
    }
    return NULL;
}

/* An older lease of the same job on the device is over: its home would not offer it otherwise. */
static void end_older(struct agent_device *device, const Farm__LeaseBody *body)
{
    struct agent_task *held = device->task;
    if (held && held->epoch < body->epoch &&
        memcmp(held->job, body->job.data, SORA_JOB_ID_SIZE) == 0 &&
        memcmp(held->home, body->home.data, SORA_NODE_ID_SIZE) == 0)
        agent_end_task(held);
}

static int check_device(struct sora_agent *agent, const Farm__LeaseBody *body,
                        struct agent_device **out_device, struct sora_fault *fault)
{
    struct agent_device *device = find_device(agent, body->device);
    if (!device)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "no device is named '%.24s' here",
                              body->device);
    const char *id = device->config->id;
    if (agent->draining)
        return sora_fault_set(fault, SORA_E_BUSY, "the node is being drained");
    if (!agent_device_offered(device))
        return sora_fault_set(fault, SORA_E_BUSY, "%s is outside its hours %s", id,
                              device->config->hours);
    if (!device->ready)
        return sora_fault_set(fault, SORA_E_BUSY, "%s is starting", id);
    end_older(device, body);
    if (device->task)
        return sora_fault_set(fault, SORA_E_BUSY, "%s is busy", id);
    uint64_t limit = device->caps.memory_total;
    if (device->config->memory_max && device->config->memory_max < limit)
        limit = device->config->memory_max;
    if (body->memory > limit)
        return sora_fault_set(fault, SORA_E_LIMIT, "needs %llu MB, %s offers %llu MB",
                              (unsigned long long)(body->memory >> 20), id,
                              (unsigned long long)(limit >> 20));
    *out_device = device;
    return SORA_OK;
}

static int take_lease(struct sora_agent *agent, const Farm__LeaseBody *body,
                      struct sora_fault *fault)
{
    if (has_ended(agent, body->home.data, body->job, body->epoch))
        return sora_fault_set(fault, SORA_E_STALE, "this lease is over");
    struct agent_device *device = NULL;
    int rc = check_device(agent, body, &device, fault);
    struct sora_digest model;
    memcpy(model.bytes, body->model.data, SORA_DIGEST_SIZE);
    if (rc == SORA_OK)
        rc = check_model(agent, &model, body->home.data, fault);
    struct agent_task *task = NULL;
    for (int i = 0; i < AGENT_TASKS_MAX && rc == SORA_OK && !task; i++)
        task = agent->tasks[i].used ? NULL : &agent->tasks[i];
    if (rc == SORA_OK && !task)
        rc = sora_fault_set(fault, SORA_E_BUSY, "%d tasks are open here", AGENT_TASKS_MAX);
    if (rc)
        return rc;
    uint32_t first_ms = body->lease_ms < FIRST_LEASE_MS ? body->lease_ms : FIRST_LEASE_MS;
    *task = (struct agent_task){.agent = agent,
                                .used = true,
                                .text = body->text,
                                .serial = ++agent->serial,
                                .shard = body->shard,
                                .epoch = body->epoch,
                                .lease_ms = body->lease_ms,
                                .model = model,
                                .device = device,
                                .lease_until = agent->now + (sora_time)first_ms * 1000000};
    memcpy(task->home, body->home.data, SORA_NODE_ID_SIZE);
    memcpy(task->job, body->job.data, SORA_JOB_ID_SIZE);
    device->task = task;
    char job[9];
    sora_log(SORA_LOG_INFO, "lease granted job=%s %s=%u epoch=%u device=%s",
             agent_job_text(task, job), task->text ? "text" : "shard", task->shard, task->epoch,
             device->config->id);
    return SORA_OK;
}

/* Everything about who says what to whom. */
static int open_offer(const struct sora_agent *agent, const struct sora_origin *origin,
                      const Farm__LeaseOffer *offer, struct sora_message **out_body,
                      struct sora_fault *fault)
{
    const unsigned char *self = agent->params.post->self, *sender = origin->identity->node;
    const Farm__Envelope *wire = offer->lease;
    const struct sora_envelope_expect expect = {.trust = agent->params.trust,
                                                .domain = SORA_DOMAIN_LEASE,
                                                .node = self,
                                                .roles = SORA_ROLE_SCHEDULER,
                                                .wall_now_ms = sora_clock_wall_ms()};
    struct sora_identity signer;
    struct sora_message *message = NULL;
    int rc = sora_envelope_open(wire, &expect, &signer, fault);
    if (rc == SORA_OK && wire->audience.len != SORA_NODE_ID_SIZE)
        rc = sora_fault_set(fault, SORA_E_DENIED, "a lease is for one node");
    if (rc == SORA_OK)
        rc = sora_message_decode_as(&farm__lease_body__descriptor, wire->payload.data,
                                    wire->payload.len, true, &message, fault);
    if (rc)
        return rc;
    const Farm__LeaseBody *body = (const Farm__LeaseBody *)message->any;
    if (memcmp(signer.node, sender, SORA_NODE_ID_SIZE) != 0 ||
        memcmp(body->home.data, sender, SORA_NODE_ID_SIZE) != 0 ||
        memcmp(body->node.data, self, SORA_NODE_ID_SIZE) != 0) {
        sora_message_destroy(&message);
        return sora_fault_set(fault, SORA_E_DENIED, "the lease names another home or node");
    }
    *out_body = message;
    return SORA_OK;
}

void agent_take_offer(struct sora_agent *agent, const struct sora_origin *origin,
                      const Farm__LeaseOffer *offer)
{
    struct sora_fault fault = {0};
    struct sora_message *message = NULL;
    if (open_offer(agent, origin, offer, &message, &fault)) {
        sora_log(SORA_LOG_WARN, "an offer is refused home=%s reason=\"%s\"", origin->identity->name,
                 fault.text);
        sora_post_refuse(agent->params.post, origin, &fault);
        return;
    }
    const Farm__LeaseBody *body = (const Farm__LeaseBody *)message->any;
    if (body->boot == agent->params.boot) {
        struct agent_task *task =
            agent_find_task(agent, origin->identity->node, body->job, body->epoch);
        int rc = SORA_OK;
        if (!task)
            rc = take_lease(agent, body, &fault);
        else if (task->stopped)
            rc = sora_fault_set(&fault, task->code ? task->code : SORA_E_STALE,
                                "the task has stopped");
        const struct answer of = {body->job, body->shard, body->epoch, body->text};
        if (rc)
            give_back(agent, origin, &of, rc, fault.text);
        else
            grant(agent, origin, offer->lease, body->lease_ms);
    }
    sora_message_destroy(&message);
}

/* ---- renewed and revoked ---- */

void agent_take_renew(struct sora_agent *agent, const struct sora_origin *origin,
                      const Farm__LeaseRenew *renew)
{
    sora_time sent_at;
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, renew->job, renew->epoch);
    if (!task || task->stopped || !agent_beat_time(agent, renew->sequence, &sent_at))
        return;
    sora_time until = sent_at + (sora_time)renew->lease_ms * 1000000;
    if (until <= task->lease_until)
        return;
    task->lease_until = until;
    const struct sora_shard_event event = {.kind = SORA_SHARD_LEASE, .until = until};
    if (task->machine)
        agent_drive(task, &event, NULL);
}

void agent_take_revoke(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__LeaseRevoke *revoke)
{
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, revoke->job, revoke->epoch);
    if (task)
        agent_end_task(task);
}
