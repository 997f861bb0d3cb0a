/* Beats: what the node says of itself once a second, and to whom. */
#include "node/agent_calls.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEEDS_SHOWN ((int)(sizeof(((struct agent_advert *)0)->speeds[0]) / sizeof(Farm__Speed)))
#define MODELS_SHOWN ((int)(sizeof(((struct agent_advert *)0)->models) / sizeof(Farm__Model)))

/* ---- members ---- */

static struct agent_member *find_member(struct sora_agent *agent, const unsigned char *node)
{
    for (int i = 0; i < SORA_LINK_PEERS_MAX; i++) {
        struct agent_member *member = &agent->members[i];
        if (member->used && memcmp(member->node, node, SORA_NODE_ID_SIZE) == 0)
            return member;
    }
    return NULL;
}

void sora_agent_member(struct sora_agent *agent, const struct sora_identity *identity, bool up)
{
    struct agent_member *member = find_member(agent, identity->node);
    for (int i = 0; i < SORA_LINK_PEERS_MAX && !member && up; i++) {
        if (!agent->members[i].used)
            member = &agent->members[i];
    }
    if (!member) {
        if (up)
            sora_log(SORA_LOG_WARN, "no room for a member's beats limit=%d", SORA_LINK_PEERS_MAX);
        return;
    }
    *member = (struct agent_member){.used = up, .up = up, .roles = identity->roles};
    memcpy(member->node, identity->node, SORA_NODE_ID_SIZE);
}

void sora_agent_member_left(struct sora_agent *agent, const unsigned char node[SORA_NODE_ID_SIZE])
{
    struct agent_member *member = find_member(agent, node);
    if (member)
        *member = (struct agent_member){0};
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        struct agent_task *task = &agent->tasks[i];
        if (task->used && memcmp(task->home, node, SORA_NODE_ID_SIZE) == 0)
            agent_end_task(task);
    }
}

/* ---- the advert ---- */

static int minute_now(void)
{
    return sora_hours_minute((int64_t)(sora_clock_wall_ms() / 1000));
}

bool agent_device_offered(const struct agent_device *device)
{
    return sora_hours_open(&device->hours, minute_now());
}

static Farm__DeviceState device_state(const struct agent_device *device, char *text, size_t size)
{
    if (!agent_device_offered(device)) {
        int at = sora_hours_next(&device->hours, minute_now());
        snprintf(text, size, "off until %02d:%02d", at / 60, at % 60);
        return FARM__DEVICE_STATE__DEVICE_OFF;
    }
    if (device->ready)
        return device->task ? FARM__DEVICE_STATE__DEVICE_BUSY : FARM__DEVICE_STATE__DEVICE_READY;
    if (!device->failure[0])
        return FARM__DEVICE_STATE__DEVICE_STARTING;
    snprintf(text, size, "failed: %.180s", device->failure);
    return FARM__DEVICE_STATE__DEVICE_FAILED;
}

static void fill_speeds(struct sora_agent *agent, int index, Farm__Device *out)
{
    struct agent_advert *advert = &agent->advert;
    const struct agent_device *device = &agent->devices[index];
    const struct sora_speed *speed;
    for (int i = 0; (speed = sora_speeds_at(agent->speeds, i)) && (int)out->n_speeds < SPEEDS_SHOWN;
         i++) {
        if (strcmp(speed->key.device, device->config->id) != 0 ||
            speed->key.threads != device->config->threads)
            continue;
        Farm__Speed *wire = &advert->speeds[index][out->n_speeds];
        farm__speed__init(wire);
        wire->model = agent_bytes(speed->key.model.bytes, SORA_DIGEST_SIZE);
        wire->width = speed->key.width;
        wire->height = speed->key.height;
        wire->window = speed->key.window;
        wire->window_ms = speed->window_ms;
        wire->decode_ms = speed->decode_ms;
        advert->speed_lists[index][out->n_speeds++] = wire;
    }
    out->speeds = advert->speed_lists[index];
}

static void fill_device(struct sora_agent *agent, int index)
{
    struct agent_advert *advert = &agent->advert;
    struct agent_device *device = &agent->devices[index];
    struct sora_serve_ready *caps = &device->caps;
    Farm__Device *out = &advert->devices[index];
    farm__device__init(out);
    advert->device_list[index] = out;
    out->id = (char *)(uintptr_t)device->config->id;
    out->kind = caps->kind[0] ? caps->kind : (char *)(uintptr_t) "unknown";
    out->name = caps->name;
    out->arch = caps->arch;
    out->device_class = device->device_class;
    if (device->config->int8_too)
        out->int8_class = caps->int8_class;
    out->memory_total = caps->memory_total;
    out->memory_free = caps->memory_free;
    if (device->config->memory_max && device->config->memory_max < out->memory_free)
        out->memory_free = device->config->memory_max;
    out->threads = caps->threads > 0 ? (uint32_t)caps->threads : 0;
    advert->state_texts[index][0] = '\0';
    out->state =
        device_state(device, advert->state_texts[index], sizeof(advert->state_texts[index]));
    out->state_text = advert->state_texts[index];
    fill_speeds(agent, index, out);
}

static void fill_models(struct sora_agent *agent)
{
    struct agent_advert *advert = &agent->advert;
    int count = sora_model_store_count(agent->params.models);
    count = count < MODELS_SHOWN ? count : MODELS_SHOWN;
    for (int i = 0; i < count; i++) {
        struct sora_model_entry entry;
        sora_model_store_at(agent->params.models, i, &entry);
        Farm__Model *out = &advert->models[i];
        farm__model__init(out);
        advert->model_digests[i] = entry.digest;
        out->digest = agent_bytes(advert->model_digests[i].bytes, SORA_DIGEST_SIZE);
        out->name = (char *)(uintptr_t)entry.name;
        out->size = entry.size;
        advert->model_list[i] = out;
    }
    advert->advert.models = advert->model_list;
    advert->advert.n_models = (size_t)count;
}

static uint32_t own_roles(const struct sora_agent *agent)
{
    struct sora_identity identity;
    if (!agent->params.certificate ||
        sora_certificate_read(agent->params.certificate, &identity, NULL))
        return 0;
    return identity.roles;
}

void agent_fill_advert(struct sora_agent *agent)
{
    Farm__Advert *advert = &agent->advert.advert;
    farm__advert__init(advert);
    for (int i = 0; i < agent->params.device_count; i++)
        fill_device(agent, i);
    advert->devices = agent->advert.device_list;
    advert->n_devices = (size_t)agent->params.device_count;
    fill_models(agent);
    advert->roles = own_roles(agent);
    double load = 0;
    advert->load = getloadavg(&load, 1) == 1 && load >= 0 ? load : 0;
    advert->draining = agent->draining;
    advert->sequence = agent->sequence;
    advert->boot = agent->params.boot;
}

/* ---- reports ---- */

static void fill_report(const struct agent_task *task, Farm__TaskReport *out)
{
    farm__task_report__init(out);
    out->job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    out->shard = task->shard;
    out->text = task->text;
    out->epoch = task->epoch;
    out->version = task->version;
    out->work = FARM__TASK_WORK__TASK_GRANTED;
    if (task->encode)
        out->work = FARM__TASK_WORK__TASK_RUNNING;
    if (task->machine) {
        struct sora_shard_view view = sora_shard_view(task->machine);
        out->step = (uint32_t)view.step;
        out->work = view.state == SORA_SHARD_PARKED ? FARM__TASK_WORK__TASK_PARKED
                                                    : FARM__TASK_WORK__TASK_RUNNING;
    }
    if (task->stopped) {
        out->work = FARM__TASK_WORK__TASK_STOPPED;
        out->code = task->code;
    }
}

static void send_beat(struct sora_agent *agent, const unsigned char *node)
{
    struct agent_advert *advert = &agent->advert;
    size_t count = 0;
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        const struct agent_task *task = &agent->tasks[i];
        if (!task->used || memcmp(task->home, node, SORA_NODE_ID_SIZE) != 0)
            continue;
        fill_report(task, &advert->reports[count]);
        advert->report_list[count] = &advert->reports[count];
        count++;
    }
    advert->advert.reports = advert->report_list;
    advert->advert.n_reports = count;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_ADVERT;
    message.advert = &advert->advert;
    const struct sora_post *post = agent->params.post;
    struct sora_fault fault = {0};
    int rc = post->send(post->owner, node, &message, NULL, 0, &fault);
    if (rc && rc != SORA_E_FULL && rc != SORA_E_NOT_FOUND)
        sora_log(SORA_LOG_WARN, "a beat was not sent node=%s reason=\"%s\"",
                 post->name(post->owner, node), fault.text);
}

void agent_beat(struct sora_agent *agent)
{
    const unsigned char *self = agent->params.post->self;
    agent->sequence++;
    agent->sent_at[agent->sequence % AGENT_BEATS_MAX] = agent->now;
    agent_fill_advert(agent);
    if (agent->advert.advert.roles & SORA_ROLE_SCHEDULER)
        send_beat(agent, self);
    for (int i = 0; i < SORA_LINK_PEERS_MAX; i++) {
        const struct agent_member *member = &agent->members[i];
        if (member->used && (member->roles & SORA_ROLE_SCHEDULER) &&
            memcmp(member->node, self, SORA_NODE_ID_SIZE) != 0)
            send_beat(agent, member->node);
    }
    farm__advert__init(&agent->advert.advert); /* what it borrowed may change */
}

bool agent_beat_time(const struct sora_agent *agent, uint64_t sequence, sora_time *out_at)
{
    if (sequence == 0 || sequence > agent->sequence ||
        agent->sequence - sequence >= AGENT_BEATS_MAX)
        return false;
    *out_at = agent->sent_at[sequence % AGENT_BEATS_MAX];
    return true;
}
