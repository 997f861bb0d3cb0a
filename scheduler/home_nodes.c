/* Members that render: adverts become beats of the farm; who has which model. */
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SILENT_NS (20 * SORA_TIME_SECOND) /* adverts older than that name no model */
#define US_MAX ((int64_t)3600000000)
#define BYTES_MAX ((uint64_t)1 << 48)

struct home_node *home_find_node(const struct sora_home *home, uint64_t number)
{
    for (int i = 0; i < home->node_count; i++) {
        if (home->nodes[i]->number == number)
            return home->nodes[i];
    }
    return NULL;
}

static uint64_t digest64(const void *data, size_t size)
{
    unsigned char digest[32];
    sora_key_digest(data, size, digest);
    return home_number(digest);
}

uint64_t home_model_key(const unsigned char digest[SORA_DIGEST_SIZE], int32_t width, int32_t height,
                        int32_t window)
{
    unsigned char bytes[SORA_DIGEST_SIZE + 12];
    const int32_t numbers[] = {width, height, window};
    memcpy(bytes, digest, SORA_DIGEST_SIZE);
    for (int i = 0; i < 12; i++)
        bytes[SORA_DIGEST_SIZE + i] = (unsigned char)((uint32_t)numbers[i / 4] >> 8 * (i % 4));
    return digest64(bytes, sizeof(bytes));
}

/* Two ids with the same first 8 bytes do not come about by chance: the second is turned away. */
static struct home_node *take_place(struct sora_home *home, const struct sora_identity *identity)
{
    uint64_t number = home_number(identity->node);
    struct home_node *node = home_find_node(home, number);
    if (node)
        return memcmp(node->id, identity->node, sizeof(node->id)) == 0 ? node : NULL;
    if (home->node_count == HOME_NODES_MAX)
        return NULL;
    node = calloc(1, sizeof(*node));
    if (!node)
        return NULL;
    memcpy(node->id, identity->node, sizeof(node->id));
    node->number = number;
    home->nodes[home->node_count++] = node;
    return node;
}

/* ---- beats ---- */

static int64_t to_us(double ms)
{
    double us = ms * 1000;
    return us >= (double)US_MAX ? US_MAX : (int64_t)us;
}

static void take_device(const Farm__Device *wire, struct home_device *out)
{
    home_cut_text(wire->id, out->id, sizeof(out->id));
    home_cut_text(wire->device_class, out->class_text, sizeof(out->class_text));
    home_cut_text(wire->int8_class, out->int8_class_text, sizeof(out->int8_class_text));
    out->is_card = strcmp(wire->kind, "gpu") == 0;
    out->is_int8 = out->is_card && (strstr(out->class_text, "-int8-") != NULL ||
                                    strstr(out->class_text, "-fp8-") != NULL);
    out->memory_total = wire->memory_total < BYTES_MAX ? wire->memory_total : BYTES_MAX;
    out->threads = (int)(wire->threads < 1024 ? wire->threads : 1024);
    out->speed_count = 0;
    for (size_t i = 0; i < wire->n_speeds && i < HOME_SPEEDS_MAX; i++) {
        const Farm__Speed *speed = wire->speeds[i];
        out->speeds[out->speed_count++] = (struct home_speed){
            .key = home_model_key(speed->model.data, (int32_t)speed->width, (int32_t)speed->height,
                                  (int32_t)speed->window),
            .window_us = to_us(speed->window_ms),
            .decode_us = to_us(speed->decode_ms)};
    }
}

/* Sizes and models of open jobs, and whether a node of that studio may render all of them. */
struct wanted {
    uint64_t keys[HOME_TAKES_MAX];
    int count;
    bool allowed;
};

static void find_wanted(const struct sora_home *home, const unsigned char *root, struct wanted *out)
{
    out->count = 0;
    out->allowed = true;
    for (int i = 0; i < home->job_count; i++) {
        const struct home_job *job = home->jobs[i];
        if (!job->plan || job->final_state >= 0 || out->count == HOME_TAKES_MAX)
            continue;
        out->keys[out->count++] = job->model_key;
        out->allowed = out->allowed && home_allows(home, job, root);
    }
}

static bool is_wanted(const struct wanted *wanted, uint64_t key)
{
    bool found = false;
    for (int i = 0; i < wanted->count && !found; i++)
        found = wanted->keys[i] == key;
    return found;
}

/* The farm keeps 8 speeds a device: those of open jobs come first. */
static void put_speeds(const struct wanted *wanted, const struct home_device *device,
                       struct sora_farm_device *out)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < device->speed_count; i++) {
            const struct home_speed *speed = &device->speeds[i];
            if (is_wanted(wanted, speed->key) != (pass == 0) ||
                out->speed_count == SORA_FARM_SPEEDS_MAX)
                continue;
            out->speeds[out->speed_count++] = (struct sora_farm_speed){
                .model = speed->key, .window_us = speed->window_us, .decode_us = speed->decode_us};
        }
    }
}

static uint64_t text_digest(const char *text)
{
    return digest64(text, strlen(text));
}

void home_device_facts(const struct home_device *device, struct sora_farm_device *out)
{
    *out = (struct sora_farm_device){.device_class = text_digest(device->class_text),
                                     .is_card = device->is_card,
                                     .is_int8 = device->is_int8,
                                     .memory_total_bytes = (int64_t)device->memory_total};
    if (device->int8_class_text[0])
        out->int8_class = text_digest(device->int8_class_text);
}

static void put_device(const struct wanted *wanted, const Farm__Device *wire,
                       const struct home_device *device, struct sora_farm_device *out)
{
    home_device_facts(device, out);
    out->memory_free_bytes =
        (int64_t)(wire->memory_free < BYTES_MAX ? wire->memory_free : BYTES_MAX);
    out->offered = wanted->allowed && (wire->state == FARM__DEVICE_STATE__DEVICE_READY ||
                                       wire->state == FARM__DEVICE_STATE__DEVICE_BUSY);
    home_cut_text(device->id, out->name, sizeof(out->name));
    put_speeds(wanted, device, out);
}

static void put_report(const Farm__TaskReport *wire, struct sora_farm_report *out)
{
    static const enum sora_farm_work works[] = {
        [FARM__TASK_WORK__TASK_GRANTED] = SORA_WORK_GRANTED,
        [FARM__TASK_WORK__TASK_RUNNING] = SORA_WORK_RUNNING,
        [FARM__TASK_WORK__TASK_PARKED] = SORA_WORK_PARKED,
        [FARM__TASK_WORK__TASK_STOPPED] = SORA_WORK_STOPPED,
    };
    *out =
        (struct sora_farm_report){.shard = wire->text ? SORA_FARM_TEXT_TASK : (int32_t)wire->shard,
                                  .step = (int32_t)wire->step,
                                  .code = wire->code,
                                  .epoch = wire->epoch,
                                  .version = wire->version,
                                  .work = works[wire->work]};
    memcpy(out->job.bytes, wire->job.data, sizeof(out->job.bytes));
}

static void take_models(struct home_node *node, const Farm__Advert *advert)
{
    node->model_count = 0;
    for (size_t i = 0; i < advert->n_models && i < HOME_MODELS_MAX; i++) {
        struct home_model *model = &node->models[node->model_count++];
        memcpy(model->digest, advert->models[i]->digest.data, sizeof(model->digest));
        home_cut_text(advert->models[i]->name, model->name, sizeof(model->name));
    }
}

void home_take_advert(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Advert *advert)
{
    struct home_node *node = take_place(home, origin->identity);
    if (!node) {
        sora_log(SORA_LOG_WARN, "a node finds no place in the home's table limit=%d",
                 HOME_NODES_MAX);
        return;
    }
    home_cut_text(origin->identity->name, node->name, sizeof(node->name));
    memcpy(node->root, origin->identity->root, sizeof(node->root));
    node->heard = home->now;
    take_models(node, advert);
    struct wanted wanted;
    find_wanted(home, node->root, &wanted);
    struct sora_farm_beat beat = {
        .boot = advert->boot, .sequence = advert->sequence, .draining = advert->draining};
    node->device_count = 0;
    for (size_t i = 0; i < advert->n_devices && i < SORA_FARM_NODE_DEVICES_MAX; i++) {
        struct home_device *device = &node->devices[node->device_count++];
        take_device(advert->devices[i], device);
        struct sora_farm_device *told = &beat.devices[beat.device_count++];
        put_device(&wanted, advert->devices[i], device, told);
        node->offered[i] = told->offered;
    }
    for (size_t i = 0; i < advert->n_reports && i < SORA_FARM_REPORTS_MAX; i++)
        put_report(advert->reports[i], &beat.reports[beat.report_count++]);
    struct sora_farm_event event = {
        .kind = SORA_FARM_BEAT, .node = node->number, .name = node->name, .beat = &beat};
    if (!(origin->identity->roles & SORA_ROLE_NODE))
        return; /* not a renderer, but its models can be named */
    struct sora_fault fault = {0};
    home_look_at_stopped(home, node->number, &beat);
    int rc = home_farm_step(home, &event, &fault);
    if (rc && rc != SORA_E_STALE)
        sora_log(SORA_LOG_WARN, "a beat was not taken node=%s reason=\"%s\"", node->name,
                 fault.text);
}

void sora_home_member_left(struct sora_home *home, const unsigned char id[SORA_NODE_ID_SIZE])
{
    uint64_t number = home_number(id);
    struct sora_farm_event event = {.kind = SORA_FARM_NODE_LEFT, .node = number};
    home->now = sora_clock_now();
    home_farm_step(home, &event, NULL);
    for (int i = 0; i < home->node_count; i++) {
        if (memcmp(home->nodes[i]->id, id, SORA_NODE_ID_SIZE) != 0)
            continue;
        free(home->nodes[i]);
        home->nodes[i] = home->nodes[--home->node_count];
        break;
    }
    home_settle(home);
}

/* ---- models ---- */

static bool is_digest(const char *name, unsigned char out[SORA_DIGEST_SIZE])
{
    if (strlen(name) != 2 * SORA_DIGEST_SIZE)
        return false;
    for (int i = 0; i < SORA_DIGEST_SIZE; i++) {
        unsigned value;
        char pair[3] = {name[2 * i], name[2 * i + 1], 0};
        if (strspn(pair, "0123456789abcdefABCDEF") != 2 || sscanf(pair, "%2x", &value) != 1)
            return false;
        out[i] = (unsigned char)value;
    }
    return true;
}

static const struct home_model *model_of(const struct home_node *node, const char *name,
                                         const unsigned char *digest)
{
    for (int i = 0; i < node->model_count; i++) {
        const struct home_model *model = &node->models[i];
        if (digest ? memcmp(model->digest, digest, SORA_DIGEST_SIZE) == 0
                   : strcmp(model->name, name) == 0)
            return model;
    }
    return NULL;
}

struct home_node *home_find_model(struct sora_home *home, const char *name,
                                  struct home_model *out_model)
{
    unsigned char bytes[SORA_DIGEST_SIZE];
    const unsigned char *digest = is_digest(name, bytes) ? bytes : NULL;
    struct home_node *found = NULL;
    for (int i = 0; i < home->node_count; i++) {
        struct home_node *node = home->nodes[i];
        const struct home_model *model = model_of(node, name, digest);
        bool self = memcmp(node->id, home->params.post->self, sizeof(node->id)) == 0;
        if (!model || home->now - node->heard > SILENT_NS || (found && !self))
            continue;
        found = node;
        *out_model = *model;
    }
    return found;
}

bool home_knows_models(const struct sora_home *home)
{
    for (int i = 0; i < home->node_count; i++) {
        const struct home_node *node = home->nodes[i];
        if (node->model_count > 0 && home->now - node->heard <= SILENT_NS)
            return true;
    }
    return false;
}

/* The model that all nodes mean which have any; NULL: none or several. */
static struct home_node *find_only_model(struct sora_home *home, struct home_model *out_model)
{
    const struct home_model *only = NULL;
    for (int i = 0; i < home->node_count; i++) {
        const struct home_node *node = home->nodes[i];
        for (int k = 0; k < node->model_count && home->now - node->heard <= SILENT_NS; k++) {
            const struct home_model *model = &node->models[k];
            if (only && memcmp(only->digest, model->digest, SORA_DIGEST_SIZE) != 0)
                return NULL;
            only = model;
        }
    }
    return only ? home_find_model(home, only->name, out_model) : NULL;
}

struct home_node *home_choose_model(struct sora_home *home, const char *name,
                                    struct home_model *out_model)
{
    struct home_node *node = home_find_model(home, name, out_model);
    if (node || strcmp(name, SORA_HOME_MODEL_DEFAULT) != 0)
        return node;
    node = home_find_model(home, HOME_MODEL_USUAL, out_model);
    return node ? node : find_only_model(home, out_model);
}

void home_list_models(struct sora_home *home, struct sora_bytes *out)
{
    for (int i = 0; i < home->node_count; i++) {
        const struct home_node *node = home->nodes[i];
        for (int k = 0; k < node->model_count && home->now - node->heard <= SILENT_NS; k++)
            sora_bytes_format(out, "%s%s on %s", out->size ? ", " : "", node->models[k].name,
                              node->name);
    }
}
