/*
 * The loop of a home's tests: time, beats, checkpoints and pieces. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_HOME_LOOP_H
#define SORA_TESTS_UNIT_HOME_LOOP_H

#include "tests/unit/home_nodes.h"

#include <poll.h>

static inline bool deliver(void)
{
    bool any = false;
    for (size_t i = 0; i < sent_count; i++) {
        if (sent[i].taken)
            continue;
        sent[i].taken = any = true;
        if (!sent[i].reply && !nodes[sent[i].to].silent)
            node_take(sent[i].to, sent[i].message->farm);
    }
    return any;
}

static inline bool missing_fetches(void)
{
    bool any = false;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (!calls[i].used || !calls[i].missing)
            continue;
        struct sora_fault fault = {.code = SORA_E_NOT_FOUND, .text = "nobody has it"};
        struct sora_blob blob = {.size = 0};
        call_done(&calls[i], &blob, &fault);
        any = true;
    }
    return any;
}

/* Until nothing moves any more. */
static inline void run(void)
{
    for (int idle = 0; idle < 2;) {
        bool work = deliver() || missing_fetches();
        work = sora_tasks_step(blob_tasks) > 0 || work;
        sora_home_step(home, now);
        bool busy = home->commit || sora_tasks_pending(blob_tasks) > 0 ||
                    sora_tasks_pending(home->tasks) > 0;
        if (busy && !work) {
            struct pollfd items[SORA_HOME_POLL_MAX + 1];
            size_t count = sora_home_poll(home, items);
            assert_true(count < SORA_HOME_POLL_MAX);
            items[count++] = (struct pollfd){.fd = sora_tasks_fd(blob_tasks), .events = POLLIN};
            assert_true(poll(items, count, 20000) > 0);
        }
        idle = work || busy ? 0 : idle + 1;
    }
}

static inline void beat(int member)
{
    Farm__Device device = FARM__DEVICE__INIT;
    Farm__Speed speed = FARM__SPEED__INIT;
    Farm__Model model = FARM__MODEL__INIT;
    Farm__Device *devices[] = {&device};
    Farm__Speed *speeds[] = {&speed};
    Farm__Model *models[] = {&model};
    Farm__TaskReport reports[TASKS_MAX], *pointers[TASKS_MAX];
    char id[] = "cpu0", kind[] = "cpu", class[] = "cpu-test-1", name[] = "tiny";
    device.id = id;
    device.kind = kind;
    device.device_class = class;
    device.memory_free = 8000000000;
    device.state = FARM__DEVICE_STATE__DEVICE_READY;
    device.speeds = speeds;
    device.n_speeds = 1;
    speed.model = (ProtobufCBinaryData){SORA_DIGEST_SIZE, model_digest};
    speed.width = 8;
    speed.height = 4;
    speed.window = 5;
    speed.window_ms = 1000;
    speed.decode_ms = 100;
    model.digest = speed.model;
    model.name = name;
    Farm__Advert advert = FARM__ADVERT__INIT;
    advert.devices = devices;
    advert.n_devices = 1;
    advert.models = models;
    advert.n_models = 1;
    advert.roles = members[member].identity.roles;
    advert.boot = nodes[member].boot;
    advert.sequence = ++nodes[member].sequence;
    advert.reports = pointers;
    for (int i = 0; i < TASKS_MAX; i++) {
        const struct task *task = &nodes[member].tasks[i];
        if (!task->used)
            continue;
        Farm__TaskReport *report = pointers[advert.n_reports] = &reports[advert.n_reports];
        farm__task_report__init(report);
        report->job = (ProtobufCBinaryData){16, (uint8_t *)task->job};
        report->shard = task->shard;
        report->text = task->text;
        report->epoch = task->epoch;
        report->version = task->version;
        report->step = task->step;
        report->code = task->code;
        report->work = task->code       ? FARM__TASK_WORK__TASK_STOPPED
                       : !task->running ? FARM__TASK_WORK__TASK_GRANTED
                       : task->parked   ? FARM__TASK_WORK__TASK_PARKED
                                        : FARM__TASK_WORK__TASK_RUNNING;
        advert.n_reports++;
    }
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_ADVERT;
    message.advert = &advert;
    say(member, &message);
}

static inline void second(void)
{
    now += SORA_TIME_SECOND;
    for (int i = BROOK; i <= REED; i++) {
        if (!nodes[i].silent)
            beat(i);
    }
    run();
}

static inline void checkpoint(int member, struct task *task, uint32_t step)
{
    size_t size = (task->end - task->first) * LATENT_BYTES;
    unsigned char *state = malloc(size);
    memset(state, (int)(step * 16 + task->shard), size);
    struct sora_blob blob = hold_blob(state, size);
    free(state);
    Farm__BlobName name = FARM__BLOB_NAME__INIT;
    sora_blob_put(&blob, &name);
    Farm__Checkpoint wire = FARM__CHECKPOINT__INIT;
    wire.job = (ProtobufCBinaryData){16, task->job};
    wire.shard = task->shard;
    wire.epoch = task->epoch;
    wire.step = step;
    wire.state = &name;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_CHECKPOINT;
    message.checkpoint = &wire;
    task->step = step;
    say(member, &message);
}

static inline uint32_t frame_of(uint32_t latent)
{
    return latent == 0 ? 0 : 4 * (latent - 1) + 1;
}

/* Two pieces a shard. */
static inline void piece(int member, struct task *task, uint32_t index)
{
    uint32_t first = frame_of(task->first), end = frame_of(task->end);
    uint32_t middle = first + (end - first) / 2;
    char content[64];
    int size = snprintf(content, sizeof(content), "piece %u of shard %u epoch %u", index,
                        task->shard, task->epoch);
    struct sora_blob blob = hold_blob(content, (size_t)size);
    Farm__BlobName name = FARM__BLOB_NAME__INIT;
    sora_blob_put(&blob, &name);
    Farm__Segment wire = FARM__SEGMENT__INIT;
    wire.job = (ProtobufCBinaryData){16, task->job};
    wire.shard = task->shard;
    wire.epoch = task->epoch;
    wire.index = index;
    wire.frame_first = index ? middle : first;
    wire.frame_count = index ? end - middle : middle - first;
    wire.video = &name;
    wire.last = index == 1;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_SEGMENT;
    message.segment = &wire;
    say(member, &message);
}

typedef void (*task_work)(int member, struct task *task, uint32_t number);

static inline int each_shard(task_work work, uint32_t number)
{
    int count = 0;
    for (int member = BROOK; member <= REED; member++) {
        for (int i = 0; i < TASKS_MAX; i++) {
            struct task *task = &nodes[member].tasks[i];
            if (!task->used || task->text || !task->running || nodes[member].silent)
                continue;
            count++;
            if (work)
                work(member, task, number);
        }
    }
    run();
    return count;
}

/* The shard that a node holds. */
static inline struct task *shard_of(int member)
{
    for (int i = 0; i < TASKS_MAX; i++) {
        struct task *task = &nodes[member].tasks[i];
        if (task->used && !task->text && task->running)
            return task;
    }
    fail_msg("%s holds no shard", members[member].identity.name);
    return NULL;
}

#endif
