/*
 * Children: one `sora-worker serve` per device, started at once and kept. A child that ends, or
 * says what cannot be, is started again after a pause that doubles from 1 s to 60 s.
 */
#include "node/agent_calls.h"

#include "base/log.h"
#include "hip/gpu/gpu.h"
#include "node/card_claim.h"
#include "node/model_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MIN SORA_TIME_SECOND
#define PAUSE_MAX (60 * SORA_TIME_SECOND)
#define HEALTHY_NS (60 * SORA_TIME_SECOND) /* so long ready, and the pause begins anew */
#define START_NS (60 * SORA_TIME_SECOND)   /* for READY to come */
#define MEMORY_NS (3 * SORA_TIME_SECOND)
#define LOOK_NS (SORA_TIME_SECOND / 20)
#define FRAMES_PER_STEP 64
#define QUEUE_BYTES_MAX ((size_t)3 << 30) /* a shard's texts, and halos of two steps */

int agent_device_init(struct sora_agent *agent, int index, struct sora_fault *fault)
{
    struct agent_device *device = &agent->devices[index];
    *device = (struct agent_device){.agent = agent,
                                    .config = &agent->params.devices[index],
                                    .claim = -1,
                                    .pause = PAUSE_MIN,
                                    .start_at = agent->now};
    if (!memchr(device->config->id, 0, sizeof(device->config->id)) || !device->config->id[0])
        return sora_fault_set(fault, SORA_E_INVALID, "device %d has no name of 1 to %zu letters",
                              index, sizeof(device->config->id) - 1);
    return sora_hours_parse(device->config->hours, &device->hours, fault);
}

static void drop_child(struct agent_device *device)
{
    sora_child_destroy(&device->child);
    device->ready = false;
    device->closing = 0;
    for (int i = 0; i < device->read_count; i++)
        free(device->read_paths[i]);
    device->read_count = 0;
}

void agent_device_fini(struct agent_device *device)
{
    if (device->agent)
        drop_child(device);
    if (device->agent && device->claim >= 0)
        close(device->claim);
    free(device->wanted);
    device->wanted = NULL;
}

void agent_device_restart(struct agent_device *device, bool at_once)
{
    sora_time now = device->agent->now;
    if (device->ready && now - device->ready_at >= HEALTHY_NS)
        device->pause = PAUSE_MIN;
    drop_child(device);
    device->start_at = at_once ? now : now + device->pause;
    if (!at_once && device->pause < PAUSE_MAX)
        device->pause = 2 * device->pause < PAUSE_MAX ? 2 * device->pause : PAUSE_MAX;
    device->agent->wake |= at_once;
}

/* The child is of no use any more. */
static void child_failed(struct agent_device *device, const char *text)
{
    bool said = strcmp(device->failure, text) == 0; /* a card that is not there: once */
    snprintf(device->failure, sizeof(device->failure), "%s", text);
    agent_device_restart(device, false);
    sora_log(said ? SORA_LOG_DEBUG : SORA_LOG_ERROR,
             "worker failed device=%s reason=\"%s\" again_in_s=%d", device->config->id, text,
             (int)((device->start_at - device->agent->now) / SORA_TIME_SECOND));
    struct agent_task *task = device->task;
    if (!task)
        return;
    const struct sora_shard_event event = {.kind = SORA_SHARD_DEVICE_FAILED};
    if (task->machine)
        agent_drive(task, &event, NULL);
    else if (task->encode)
        agent_stop_task(task, SORA_E_DEVICE, "the worker failed");
}

/* ---- start ---- */

static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static void add_read(struct agent_device *device, const char *path)
{
    for (int i = 0; i < device->read_count; i++) {
        if (is_below(path, device->read_paths[i]))
            return;
    }
    if (device->read_count == AGENT_READ_MAX)
        return;
    char *copy = strdup(path);
    if (copy)
        device->read_paths[device->read_count++] = copy;
}

/* With what its links lead to. */
static void add_model(struct agent_device *device, const char *path)
{
    char reach[SORA_FILE_PATH_SIZE];
    bool found = sora_model_folder_reach(path, reach, NULL) == SORA_OK;
    add_read(device, found && is_below(path, reach) ? reach : path);
}

/* Models that are here and the complete blobs. */
static void fill_reads(struct agent_device *device)
{
    struct sora_agent *agent = device->agent;
    add_read(device, agent->objects);
    if (device->wanted)
        add_model(device, device->wanted);
    int count = sora_model_store_count(agent->params.models);
    for (int i = 0; i < count; i++) {
        struct sora_model_entry entry;
        sora_model_store_at(agent->params.models, i, &entry);
        add_model(device, entry.path);
    }
}

/* Of a child's command line, in pairs; NULL follows the last. */
struct arguments {
    const char *items[2 * (AGENT_READ_MAX + 8) + 1];
    int count;
};

static void add_pair(struct arguments *arguments, const char *first, const char *second)
{
    SORA_ASSERT(arguments->count + 2 < (int)(sizeof(arguments->items) / sizeof(char *)));
    arguments->items[arguments->count++] = first;
    arguments->items[arguments->count++] = second;
}

static int start_child(struct agent_device *device, struct sora_fault *fault)
{
    struct sora_agent *agent = device->agent;
    struct arguments arguments = {.count = 0};
    char threads[16], memory[32];
    bool is_card = sora_gpu_name_is(device->config->id);
    fill_reads(device);
    snprintf(threads, sizeof(threads), "%d", device->config->threads);
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)device->config->memory_max);
    add_pair(&arguments, agent->params.worker_program, "serve");
    add_pair(&arguments, "--device", device->config->id);
    add_pair(&arguments, "--threads", threads);
    if (device->config->memory_max)
        add_pair(&arguments, "--memory", memory);
    if (is_card && (device->in_int8 || device->config->precision[0]))
        add_pair(&arguments, "--precision", device->in_int8 ? "int8" : device->config->precision);
    if (is_card && agent->params.cache_path)
        add_pair(&arguments, "--cache", agent->params.cache_path);
    for (int i = 0; i < device->read_count; i++)
        add_pair(&arguments, "--read", device->read_paths[i]);
    add_pair(&arguments, "--write", sora_blob_store_incoming(agent->params.blobs));
    const struct sora_child_params params = {.program = agent->params.worker_program,
                                             .argv = arguments.items,
                                             .queue_bytes_max = QUEUE_BYTES_MAX};
    return sora_child_create(&params, &device->child, fault);
}

static void try_start(struct agent_device *device)
{
    struct sora_fault fault = {0};
    int rc = SORA_OK;
    if (device->config->card[0] && device->claim < 0)
        rc = sora_card_claim(device->config->card, &device->claim, &fault);
    if (rc || start_child(device, &fault)) {
        child_failed(device, fault.text);
        return;
    }
    device->ready_at = device->agent->now + START_NS; /* the latest */
    sora_log(device->failure[0] ? SORA_LOG_DEBUG : SORA_LOG_INFO, "worker started device=%s pid=%d",
             device->config->id, (int)sora_child_pid(device->child));
}

/* What the child says of itself goes into adverts, so it is made fit for them. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        *c = *c < 0x20 || *c > 0x7e ? '?' : *c;
}

static bool take_ready(struct agent_device *device, const struct sora_frame *frame)
{
    struct sora_serve_ready *caps = &device->caps;
    if (frame->head_size != sizeof(*caps) || device->ready)
        return false;
    memcpy(caps, frame->head, sizeof(*caps));
    clean(caps->kind, sizeof(caps->kind));
    clean(caps->name, sizeof(caps->name));
    clean(caps->arch, sizeof(caps->arch));
    clean(caps->device_class, sizeof(caps->device_class));
    clean(caps->int8_class, sizeof(caps->int8_class));
    clean(caps->sandbox, sizeof(caps->sandbox));
    if (!device->in_int8)
        snprintf(device->device_class, sizeof(device->device_class), "%s", caps->device_class);
    device->ready = true;
    device->ready_at = device->agent->now;
    device->memory_at = device->agent->now + MEMORY_NS;
    device->memory_asked = false;
    device->failure[0] = '\0';
    device->agent->wake = true;
    sora_log(SORA_LOG_INFO, "worker ready device=%s class=\"%s\" memory_mb=%llu sandbox=\"%s\"",
             device->config->id, caps->device_class, (unsigned long long)(caps->memory_free >> 20),
             caps->sandbox);
    return true;
}

/* ---- frames ---- */

static bool take_failed(struct agent_device *device, const struct sora_frame *frame)
{
    struct sora_serve_failed failed;
    if (frame->head_size != sizeof(failed))
        return false;
    memcpy(&failed, frame->head, sizeof(failed));
    if (device->ready && (device->closing > 0 || !device->task))
        return true;
    char text[256];
    snprintf(text, sizeof(text), "%.*s",
             (int)(frame->payload_size < 250 ? frame->payload_size : 250),
             frame->payload_size ? (const char *)frame->payload : "");
    clean(text, sizeof(text));
    if (!device->ready) {
        child_failed(device, text);
        return true;
    }
    device->task->decoding = false; /* whatever it was at */
    device->task->file_missed = failed.code == SORA_E_NOT_FOUND || failed.code == SORA_E_DENIED;
    agent_fail_task(device->task, failed.code < 0 ? failed.code : SORA_E_INTERNAL, text);
    return true;
}

static bool take_memory(struct agent_device *device, const struct sora_frame *frame)
{
    struct sora_serve_number bytes;
    if (!device->memory_asked || frame->head_size != sizeof(bytes))
        return false;
    memcpy(&bytes, frame->head, sizeof(bytes));
    device->memory_asked = false;
    device->caps.memory_free = bytes.value > 0 ? (uint64_t)bytes.value : 0;
    return true;
}

static bool take_frame(struct agent_device *device, const struct sora_frame *frame)
{
    if (frame->kind == SORA_SERVE_READY)
        return take_ready(device, frame);
    if (frame->kind == SORA_SERVE_FAILED)
        return take_failed(device, frame); /* maybe in place of READY */
    if (!device->ready)
        return false;
    if (frame->kind == SORA_SERVE_MEMORY_IS)
        return take_memory(device, frame);
    if (frame->kind == SORA_SERVE_CLOSED) {
        bool expected = device->closing > 0;
        device->closing -= expected;
        return expected;
    }
    struct agent_task *task = device->task;
    if (device->closing > 0 || !task || task->fail || frame->kind == SORA_SERVE_OPENED)
        return true; /* of a task that is over */
    if (task->encode)
        return agent_text_answer(task, frame);
    return task->machine ? agent_shard_answer(task, frame) : true;
}

static void read_child(struct agent_device *device)
{
    struct sora_frame frame;
    struct sora_fault fault = {0};
    int rc = 1;
    for (int i = 0; i < FRAMES_PER_STEP; i++) {
        rc = sora_child_step(device->child, &frame, &fault);
        if (rc != 1)
            break;
        unsigned kind = frame.kind;
        if (!take_frame(device, &frame)) {
            snprintf(fault.text, sizeof(fault.text), "it said what cannot be (frame %u)", kind);
            rc = SORA_E_FORMAT;
            break;
        }
        if (!device->child)
            return; /* it was started anew */
    }
    if (rc < 0)
        child_failed(device, fault.text);
    else if (rc == 1)
        device->agent->wake = true;
}

/* A child reads only what was named at its start: the first one waits for the models, within
 * limits, so that it need not be started anew for the first job. */
static bool models_come(const struct agent_device *device)
{
    const struct sora_agent *agent = device->agent;
    return agent->now < agent->models_until && sora_model_store_reading(agent->params.models);
}

/* Other programs take and give back memory of a card while it idles. One that works for us is not
 * asked: nothing else is offered it, and it would answer late. */
static void ask_memory(struct agent_device *device)
{
    sora_time now = device->agent->now;
    if (device->task || device->closing > 0 || device->memory_asked || now < device->memory_at ||
        !sora_gpu_name_is(device->config->id))
        return;
    device->memory_at = now + MEMORY_NS;
    device->memory_asked = true;
    agent_command(device, SORA_SERVE_MEMORY, NULL, 0, NULL, 0);
}

void agent_device_step(struct agent_device *device)
{
    sora_time now = device->agent->now;
    if (!device->child && now >= device->start_at && models_come(device))
        device->start_at = now + LOOK_NS;
    else if (!device->child && now >= device->start_at)
        try_start(device);
    if (device->child)
        read_child(device);
    if (device->child && !device->ready && now >= device->ready_at)
        child_failed(device, "it did not start within 60 s");
    if (device->child && device->ready)
        ask_memory(device);
}

/* ---- commands ---- */

void agent_command(struct agent_device *device, enum sora_serve_command command, const void *head,
                   size_t head_size, const void *payload, size_t payload_size)
{
    if (device->task && device->task->fail)
        return; /* it is to be stopped */
    const struct sora_frame frame = {.kind = command,
                                     .head = head,
                                     .head_size = head_size,
                                     .payload = payload,
                                     .payload_size = payload_size};
    int rc = device->child ? sora_child_send(device->child, &frame) : SORA_E_IO;
    if (rc == SORA_OK || rc == SORA_E_IO)
        return; /* the child's end is told by its step */
    if (device->task)
        agent_fail_task(device->task, rc, "a command to the worker is too long or too much");
}

void agent_span(struct agent_device *device, enum sora_serve_command command,
                const struct sora_serve_span *span, const void *payload, size_t payload_size)
{
    agent_command(device, command, span, sizeof(*span), payload, payload_size);
}

void agent_open_model(struct agent_device *device, const struct sora_model_entry *model)
{
    agent_command(device, SORA_SERVE_OPEN, NULL, 0, model->path, strlen(model->path));
}

bool agent_device_can(struct agent_device *device, const char *path)
{
    if (!device->ready)
        return false;
    for (int i = 0; i < device->read_count; i++) {
        if (is_below(path, device->read_paths[i]))
            return true;
    }
    sora_log(SORA_LOG_INFO, "worker is started anew to read a new model device=%s",
             device->config->id);
    free(device->wanted);
    device->wanted = strdup(path);
    agent_device_restart(device, true);
    return false;
}

bool agent_device_renders_as(struct agent_device *device, const char *device_class)
{
    bool in_int8 = device->config->int8_too && strcmp(device_class, device->caps.int8_class) == 0;
    if (in_int8 == device->in_int8)
        return true;
    sora_log(SORA_LOG_INFO, "worker is started anew for %s weights device=%s",
             in_int8 ? "int8" : "its usual", device->config->id);
    device->in_int8 = in_int8;
    agent_device_restart(device, true);
    return false;
}

void agent_device_release(struct agent_device *device)
{
    struct agent_task *task = device->task;
    device->task = NULL;
    task->device = NULL;
    bool began = task->load >= AGENT_LOAD_CHILD || task->encode_sent;
    if (!device->child || !began)
        return;
    if (task->decoding && !task->decoded) {
        agent_device_restart(device, true); /* decoding may take long and cannot be broken off */
        return;
    }
    agent_command(device, SORA_SERVE_CLOSE, NULL, 0, NULL, 0);
    device->closing++;
}
