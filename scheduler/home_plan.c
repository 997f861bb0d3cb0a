/* From what was submitted to what is rendered: the ask, the plan, and the farm's jobs. */
#include "base/bytes.h"
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESS_US_MAX 3600000000 /* an hour */
#define NAME_FROM_PROMPT 48
#define TEXTS_BYTES_MAX ((size_t)200 << 10) /* of one take: they travel in one message */

char *home_cut_text(const char *text, char *out, size_t size)
{
    size_t length = strnlen(text, size);
    if (length == size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    memmove(out, text, length);
    out[length] = 0;
    return out;
}

const Farm__JobSpec *home_spec(const struct home_job *job)
{
    return (const Farm__JobSpec *)job->spec->any;
}

const char *home_prompt(const struct home_job *job, int32_t shot)
{
    return home_spec(job)->shots[shot]->prompt;
}

const char *home_negative(const struct home_job *job, int32_t shot)
{
    const char *own = home_spec(job)->shots[shot]->negative;
    return *own || !job->facts.negative ? own : job->facts.negative;
}

/* Whoever named no model and did not get the usual one is told. */
static void note_model(struct home_job *job)
{
    const char *name = job->facts.name;
    if (strcmp(home_spec(job)->model, SORA_HOME_MODEL_DEFAULT) != 0 ||
        strcmp(name, HOME_MODEL_USUAL) == 0)
        return;
    sora_job_note(&job->notes, "model %.200s is used, the only one of this farm", name);
}

/* ---- the ask ---- */

static int parse_kinds(const Farm__JobSpec *spec, struct sora_job_ask *out,
                       struct sora_fault *fault)
{
    enum sora_solver_kind solver;
    enum sora_noise_kind noise;
    out->solver = out->noise_kind = -1;
    int rc = *spec->solver ? sora_solver_kind_parse(spec->solver, &solver, fault) : SORA_OK;
    if (rc == SORA_OK && *spec->solver)
        out->solver = (int)solver;
    if (rc == SORA_OK && *spec->noise)
        rc = sora_noise_kind_parse(spec->noise, &noise, fault);
    if (rc == SORA_OK && *spec->noise)
        out->noise_kind = (int)noise;
    return rc;
}

static double or_nan(double value)
{
    return value > 0 ? value : NAN;
}

static int make_ask(const Farm__JobSpec *spec, struct sora_job_ask_shot *shots,
                    struct sora_job_ask *out, struct sora_fault *fault)
{
    for (size_t i = 0; i < spec->n_shots; i++) {
        const Farm__Shot *shot = spec->shots[i];
        bool by_frames = shot->frames > 0;
        shots[i] = (struct sora_job_ask_shot){.prompt = shot->prompt,
                                              .negative = *shot->negative ? shot->negative : NULL,
                                              .seconds = by_frames ? 0 : shot->seconds,
                                              .frames = (int32_t)shot->frames,
                                              .seed = shot->seed,
                                              .cut = shot->cut || i == 0};
    }
    *out = (struct sora_job_ask){.shot_count = (int32_t)spec->n_shots,
                                 .shots = shots,
                                 .width = (int32_t)spec->width,
                                 .height = (int32_t)spec->height,
                                 .fps = spec->fps,
                                 .steps = (int32_t)spec->steps,
                                 .overlap = (int32_t)spec->overlap,
                                 .guidance = or_nan(spec->guidance),
                                 .shift = or_nan(spec->shift),
                                 .noise_share = or_nan(spec->noise_share)};
    return parse_kinds(spec, out, fault);
}

static int check_texts(const struct home_job *job, struct sora_fault *fault)
{
    for (int32_t t = 0; t < job->plan->take_count; t++) {
        const struct sora_job_take *take = &job->plan->takes[t];
        size_t bytes = 0;
        for (int32_t i = 0; i < take->text_count; i++) {
            int32_t shot = job->plan->texts[take->text_first + i].shot;
            bytes += strlen(home_prompt(job, shot));
            bytes += job->plan->guidance != 1 ? strlen(home_negative(job, shot)) : 0;
        }
        if (bytes > TEXTS_BYTES_MAX)
            return sora_fault_set(fault, SORA_E_LIMIT,
                                  "the texts of take %d have %zu bytes; the limit is %zu: shorten "
                                  "them or cut between shots",
                                  t, bytes, TEXTS_BYTES_MAX);
    }
    return SORA_OK;
}

void home_take_names(struct home_job *job)
{
    const Farm__JobSpec *spec = home_spec(job);
    home_cut_text(spec->name, job->name, sizeof(job->name));
    if (!*job->name) { /* the beginning of the prompt */
        char name[NAME_FROM_PROMPT];
        home_cut_text(home_prompt(job, 0), name, sizeof(name));
        for (char *at = name; *at; at++)
            *at = (unsigned char)*at < ' ' ? ' ' : *at;
        home_cut_text(name, job->name, sizeof(job->name));
    }
    home_result_name(job, job->file_name, sizeof(job->file_name));
    sora_hex(job->id.bytes, SORA_JOB_ID_SIZE, job->folder);
    job->priority = spec->priority;
}

int home_plan_job(struct home_job *job, struct sora_fault *fault)
{
    const Farm__JobSpec *spec = home_spec(job);
    home_take_names(job);
    job->wall_created_ms = job->wall_created_ms ? job->wall_created_ms : sora_clock_wall_ms();
    struct sora_job_ask_shot *shots = calloc(SORA_JOB_SHOTS_MAX, sizeof(*shots));
    struct sora_job_plan *plan = calloc(1, sizeof(*plan));
    struct sora_job_ask ask;
    int rc = shots && plan ? make_ask(spec, shots, &ask, fault)
                           : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a plan");
    if (rc == SORA_OK)
        rc = sora_job_plan_make(&ask, &job->facts, plan, &job->notes, fault);
    if (rc == SORA_OK) {
        note_model(job);
        sora_job_note_unknown_words(&job->notes, &job->facts, &ask);
    }
    free(shots);
    if (rc) {
        free(plan);
        return rc;
    }
    free(job->plan);
    job->plan = plan;
    job->frames_total = plan->frame_count;
    job->steps = plan->steps;
    job->model_key = home_model_key(job->model, plan->latent_width, plan->latent_height,
                                    plan->takes[0].timeline.window_latents);
    return check_texts(job, fault);
}

/* Threads of a CPU of the farm, on average. */
static double cpu_threads(const struct sora_home *home)
{
    double threads = 0;
    int count = 0;
    for (int n = 0; n < home->node_count; n++) {
        for (int d = 0; d < home->nodes[n]->device_count; d++) {
            const struct home_device *device = &home->nodes[n]->devices[d];
            threads += device->is_card ? 0 : device->threads;
            count += !device->is_card;
        }
    }
    return threads > count ? threads / count : 1;
}

static int64_t guess_us(double thread_s, double threads)
{
    double us = thread_s / threads * 1e6;
    return us < GUESS_US_MAX ? (int64_t)us + 1 : GUESS_US_MAX;
}

void home_farm_job(const struct sora_home *home, const struct home_job *job, int32_t take,
                   struct sora_farm_job *out)
{
    const struct sora_job_plan *plan = job->plan;
    int32_t every = home->params.checkpoint_steps;
    if (every <= 0)
        every = plan->steps / 4 > 2 ? plan->steps / 4 : 2;
    double threads = cpu_threads(home);
    *out = (struct sora_farm_job){
        .id = home_take_id(&job->id, take),
        .owner = home_number(job->owner.node),
        .priority = job->priority,
        .plan = {.timeline = plan->takes[take].timeline,
                 .steps = plan->steps,
                 .context_latents = job->facts.context_latents,
                 .memory_fixed_bytes = plan->weight_bytes + plan->activation_bytes,
                 .memory_card_bytes = plan->card_bytes,
                 .memory_text_bytes = plan->text_bytes,
                 .memory_int8_bytes = plan->card_int8_bytes,
                 .memory_latent_bytes = plan->state_latent_bytes,
                 .halo_latent_bytes = plan->halo_latent_bytes,
                 .window_us_guess = guess_us(plan->window_thread_s, threads),
                 .decode_us_guess = guess_us(plan->decode_thread_s, threads)},
        .model = job->model_key,
        .checkpoint_steps = every < plan->steps ? every : plan->steps,
        .needs_text = true};
}

/* ---- what `soractl plan` shows ---- */

#define PLAN_SHARDS_MAX 512
#define LATENTS_MAX 65536

struct plan_room {
    Farm__PlanShard shards[PLAN_SHARDS_MAX];
    Farm__PlanShard *pointers[PLAN_SHARDS_MAX];
    char devices[SORA_PLAN_DEVICES_MAX][SORA_PLAN_NAME_SIZE];
    const struct home_device *kinds[SORA_PLAN_DEVICES_MAX];
    char names[PLAN_SHARDS_MAX][2][SORA_PLAN_NAME_SIZE];
    char notes[SORA_JOB_NOTES_MAX][256], waiting[512];
    char *note_pointers[SORA_JOB_NOTES_MAX];
    struct sora_plan plan;
};

/* The devices in the order of the farm's own list, which plans name by index. */
static int list_devices(const struct sora_home *home, struct plan_room *room)
{
    int count = 0;
    struct sora_farm_node_view view;
    for (int32_t i = 0; sora_farm_node_at(home->farm, i, &view); i++) {
        const struct home_node *node = home_find_node(home, view.node);
        bool up = view.state == SORA_NODE_ONLINE || view.state == SORA_NODE_SUSPECTED;
        for (int k = 0; node && up && k < node->device_count; k++) {
            if (!node->offered[k] || count == SORA_PLAN_DEVICES_MAX)
                continue;
            room->kinds[count] = &node->devices[k];
            snprintf(room->devices[count++], SORA_PLAN_NAME_SIZE, "%.35s/%.23s", node->name,
                     node->devices[k].id);
        }
    }
    return count;
}

static void put_shard(const struct sora_farm_job *job, struct plan_room *room, int32_t take,
                      int index, int devices, Farm__PlanReply *reply)
{
    const struct sora_plan_shard *shard = &room->plan.shards[index];
    size_t at = reply->n_shards++;
    Farm__PlanShard *out = room->pointers[at] = &room->shards[at];
    farm__plan_shard__init(out);
    out->first = (uint32_t)shard->latents.first;
    out->end = (uint32_t)shard->latents.end;
    out->take = (uint32_t)take;
    out->seconds = (double)shard->cost_us / 1e6;
    const struct home_device *kind = shard->device < devices ? room->kinds[shard->device] : NULL;
    out->memory = home_memory_bytes(&job->plan, kind, shard->latents.end - shard->latents.first);
    if (shard->device >= devices)
        return;
    char name[SORA_PLAN_NAME_SIZE];
    memcpy(name, room->devices[shard->device], sizeof(name));
    char *slash = strrchr(name, '/');
    *slash = 0;
    home_cut_text(name, room->names[at][0], sizeof(room->names[at][0]));
    home_cut_text(slash + 1, room->names[at][1], sizeof(room->names[at][1]));
    out->node_name = room->names[at][0];
    out->device = room->names[at][1];
}

/* Takes that need the same devices go one after another. */
static void plan_take(struct sora_home *home, const struct home_job *job, struct plan_room *room,
                      int32_t take, int devices, Farm__PlanReply *reply)
{
    struct sora_farm_job farm_job;
    home_farm_job(home, job, take, &farm_job);
    struct sora_bytes words;
    sora_bytes_init(&words, 64 << 10);
    struct sora_fault fault = {0};
    int rc = sora_farm_plan(home->farm, &farm_job, &room->plan, &words, &fault);
    if (rc && !*room->waiting)
        home_cut_text(fault.text, room->waiting, sizeof(room->waiting));
    for (int i = 0; rc == SORA_OK && i < room->plan.shard_count; i++) {
        if (reply->n_shards < PLAN_SHARDS_MAX)
            put_shard(&farm_job, room, take, i, devices, reply);
        reply->halo_bytes +=
            (uint64_t)room->plan.shards[i].halo_bytes * (uint64_t)((job->steps + 1) / 2);
    }
    if (rc == SORA_OK)
        reply->seconds += (double)room->plan.finish_us / 1e6;
    const struct sora_job_take *planned = &job->plan->takes[take];
    reply->latents += (uint32_t)planned->timeline.latent_count;
    reply->windows += (uint32_t)sora_timeline_window_count(&planned->timeline, 0);
    sora_bytes_fini(&words);
}

static void fill_plan(const struct home_job *job, struct plan_room *room, Farm__PlanReply *reply)
{
    const struct sora_job_plan *plan = job->plan;
    reply->frames = (uint32_t)plan->frame_count;
    reply->window = (uint32_t)plan->takes[0].timeline.window_latents;
    reply->overlap = (uint32_t)plan->takes[0].timeline.overlap_latents;
    reply->width = (uint32_t)plan->width;
    reply->height = (uint32_t)plan->height;
    reply->steps = (uint32_t)plan->steps;
    reply->fps = plan->fps;
    reply->shards = room->pointers;
    reply->latents = reply->latents < LATENTS_MAX ? reply->latents : LATENTS_MAX;
    reply->windows = reply->windows < LATENTS_MAX ? reply->windows : LATENTS_MAX;
    for (int i = 0; i < job->notes.count; i++)
        room->note_pointers[i] =
            home_cut_text(job->notes.texts[i], room->notes[i], sizeof(room->notes[i]));
    reply->notes = room->note_pointers;
    reply->n_notes = (size_t)job->notes.count;
    reply->waiting = room->waiting;
}

void home_reply_plan(struct sora_home *home, struct home_reply *to, struct home_job *job)
{
    struct plan_room *room = calloc(1, sizeof(*room));
    struct sora_fault fault = {0};
    if (!room) {
        sora_fault_set(&fault, SORA_E_MEMORY, "not enough memory for a plan");
        home_refuse(home, to, &fault);
        return;
    }
    Farm__PlanReply reply = FARM__PLAN_REPLY__INIT;
    int devices = list_devices(home, room);
    for (int32_t t = 0; t < job->plan->take_count; t++)
        plan_take(home, job, room, t, devices, &reply);
    fill_plan(job, room, &reply);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_PLAN_REPLY;
    message.plan_reply = &reply;
    home_reply_message(home, home_reply_origin(to), &message);
    free(room);
}
