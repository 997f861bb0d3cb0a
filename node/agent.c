/*
 * The agent: its life, its loop and the dispatch of messages. What it does is in the other files:
 * leases, children (worker), shards, their loading, halos and results, texts, beats.
 */
#include "node/agent_calls.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKED_NS (SORA_TIME_SECOND / 200)
#define ABSENT_NS (SORA_TIME_SECOND / 5)
#define MODELS_NS (10 * SORA_TIME_SECOND)

/* ---- small things that all files use ---- */

ProtobufCBinaryData agent_bytes(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

const char *agent_job_text(const struct agent_task *task, char out[9])
{
    sora_hex(task->job, 4, out);
    return out;
}

int agent_send_home(struct agent_task *task, Farm__Message *message)
{
    const struct sora_post *post = task->agent->params.post;
    return post->send(post->owner, task->home, message, NULL, 0, NULL);
}

void agent_blocked(struct sora_agent *agent, int code)
{
    sora_time at = agent->now + (code == SORA_E_FULL ? BLOCKED_NS : ABSENT_NS);
    if (at < agent->blocked_until)
        agent->blocked_until = at;
}

/* ---- life ---- */

/* The folder of complete blobs lies beside that of incoming ones. */
static int find_objects(struct sora_agent *agent, struct sora_fault *fault)
{
    const char *incoming = sora_blob_store_incoming(agent->params.blobs);
    size_t length = strlen(incoming);
    while (length > 1 && incoming[length - 1] == '/')
        length--;
    while (length > 0 && incoming[length - 1] != '/')
        length--;
    int written =
        snprintf(agent->objects, sizeof(agent->objects), "%.*sobjects", (int)length, incoming);
    return written < (int)sizeof(agent->objects)
               ? SORA_OK
               : sora_fault_set(fault, SORA_E_LIMIT, "the path '%s' is too long", incoming);
}

int sora_agent_create(const struct sora_agent_params *params, struct sora_agent **out_agent,
                      struct sora_fault *fault)
{
    if (params->device_count < 0 || params->device_count > SORA_AGENT_DEVICES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%d devices; the limit is %d",
                              params->device_count, SORA_AGENT_DEVICES_MAX);
    struct sora_agent *agent = calloc(1, sizeof(*agent));
    if (!agent)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the node's agent");
    agent->params = *params;
    if (agent->params.kept_bytes_max <= 0)
        agent->params.kept_bytes_max = (int64_t)1 << 30;
    agent->blocked_until = AGENT_NEVER;
    agent->now = sora_clock_now();
    agent->models_until = agent->now + MODELS_NS;
    for (int i = 0; i < AGENT_TASKS_MAX; i++)
        agent->tasks[i].agent = agent;
    int rc = find_objects(agent, fault);
    if (rc == SORA_OK)
        rc = sora_speeds_create(params->speeds_path, &agent->speeds, fault);
    for (int i = 0; i < params->device_count && rc == SORA_OK; i++)
        rc = agent_device_init(agent, i, fault);
    if (rc) {
        sora_agent_destroy(&agent);
        return rc;
    }
    *out_agent = agent;
    return SORA_OK;
}

static void save_speeds(struct sora_agent *agent)
{
    struct sora_fault fault = {0};
    if (agent->speeds && sora_speeds_save(agent->speeds, &fault))
        sora_log(SORA_LOG_WARN, "measured speeds are not kept reason=\"%s\"", fault.text);
}

void sora_agent_destroy(struct sora_agent **out_agent)
{
    struct sora_agent *agent = *out_agent;
    if (!agent)
        return;
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        if (agent->tasks[i].used)
            agent_end_task(&agent->tasks[i]);
    }
    for (int i = 0; i < agent->params.device_count; i++)
        agent_device_fini(&agent->devices[i]);
    for (int i = 0; i < AGENT_FETCHES_MAX; i++)
        sora_model_store_forget(agent->params.models, &agent->fetches[i]);
    for (struct agent_adoption *a = agent->adoptions; a; a = a->next)
        a->agent = NULL; /* freed when its blob is published */
    save_speeds(agent);
    sora_speeds_destroy(&agent->speeds);
    free(agent);
    *out_agent = NULL;
}

/* ---- messages ---- */

static bool take_work_message(struct sora_agent *agent, const struct sora_origin *origin,
                              const Farm__Message *message, const void *payload,
                              size_t payload_size)
{
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_SHARD_ASSIGN:
        agent_take_assign(agent, origin, message->shard_assign);
        return true;
    case FARM__MESSAGE__BODY_TEXT_ENCODE:
        agent_take_encode(agent, origin, message->text_encode);
        return true;
    case FARM__MESSAGE__BODY_HALO:
        agent_take_halo(agent, origin, message->halo, payload, payload_size);
        return true;
    case FARM__MESSAGE__BODY_HALO_AT:
        agent_take_halo_at(agent, origin, message->halo_at);
        return true;
    case FARM__MESSAGE__BODY_CHECKPOINT_STORED:
        agent_take_checkpoint_stored(agent, origin, message->checkpoint_stored);
        return true;
    case FARM__MESSAGE__BODY_SEGMENT_STORED:
        agent_take_segment_stored(agent, origin, message->segment_stored);
        return true;
    default:
        return false;
    }
}

bool sora_agent_message(struct sora_agent *agent, const struct sora_origin *origin,
                        const Farm__Message *message, const void *payload, size_t payload_size,
                        sora_time now)
{
    agent->now = now;
    if (!origin->identity)
        return false;
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_LEASE_OFFER:
        agent_take_offer(agent, origin, message->lease_offer);
        return true;
    case FARM__MESSAGE__BODY_LEASE_RENEW:
        agent_take_renew(agent, origin, message->lease_renew);
        return true;
    case FARM__MESSAGE__BODY_LEASE_REVOKE:
        agent_take_revoke(agent, origin, message->lease_revoke);
        return true;
    default:
        return take_work_message(agent, origin, message, payload, payload_size);
    }
}

/* ---- the loop ---- */

size_t sora_agent_poll(const struct sora_agent *agent, struct pollfd *out_items)
{
    size_t count = 0;
    for (int i = 0; i < agent->params.device_count; i++) {
        const struct agent_device *device = &agent->devices[i];
        if (!device->child)
            continue;
        struct pollfd item = {.fd = -1};
        item.fd = sora_child_fd(device->child, &item.events);
        out_items[count++] = item;
    }
    return count;
}

static void earlier(sora_time *next, sora_time at)
{
    if (at < *next)
        *next = at;
}

static sora_time task_deadline(const struct agent_task *task)
{
    if (task->stopped)
        return task->stopped_at + AGENT_FORGET_NS;
    if (task->fail)
        return 0;
    if (task->encode)
        return agent_text_deadline(task);
    return task->machine ? agent_shard_deadline(task) : task->lease_until;
}

sora_time sora_agent_deadline(const struct sora_agent *agent)
{
    if (agent->wake)
        return agent->now;
    sora_time next = agent->beat_at;
    earlier(&next, agent->blocked_until);
    for (int i = 0; i < agent->params.device_count; i++) {
        if (!agent->devices[i].child)
            earlier(&next, agent->devices[i].start_at);
    }
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        if (agent->tasks[i].used)
            earlier(&next, task_deadline(&agent->tasks[i]));
    }
    return next;
}

static void step_task(struct agent_task *task)
{
    if (task->fail && !task->stopped)
        agent_stop_task(task, task->fail, task->fail_text);
    if (task->stopped)
        return;
    if (task->encode)
        agent_text_step(task);
    else if (task->machine)
        agent_shard_step(task);
    if (task->used && task->fail && !task->stopped)
        agent_stop_task(task, task->fail, task->fail_text);
}

void sora_agent_step(struct sora_agent *agent, sora_time now)
{
    agent->now = now;
    agent->wake = false;
    agent->blocked_until = AGENT_NEVER;
    for (int i = 0; i < agent->params.device_count; i++)
        agent_device_step(&agent->devices[i]);
    agent_leases_step(agent);
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        if (agent->tasks[i].used)
            step_task(&agent->tasks[i]);
    }
    if (now >= agent->beat_at) {
        agent_beat(agent);
        agent->beat_at = now + SORA_TIME_SECOND;
        save_speeds(agent);
    }
}

/* ---- drain ---- */

void sora_agent_drain(struct sora_agent *agent)
{
    if (!agent->draining)
        sora_log(SORA_LOG_INFO, "no new work is taken tasks=%d", sora_agent_tasks(agent));
    agent->draining = true;
    agent->beat_at = agent->now; /* the homes should know at once */
}

int sora_agent_tasks(const struct sora_agent *agent)
{
    int count = 0;
    for (int i = 0; i < AGENT_TASKS_MAX; i++)
        count += agent->tasks[i].used && !agent->tasks[i].stopped;
    return count;
}

const char *sora_agent_sandbox(const struct sora_agent *agent, int device)
{
    SORA_ASSERT(device >= 0 && device < agent->params.device_count);
    return agent->devices[device].ready ? agent->devices[device].caps.sandbox : "";
}

const Farm__Advert *sora_agent_advert(struct sora_agent *agent)
{
    agent_fill_advert(agent);
    return &agent->advert.advert;
}
