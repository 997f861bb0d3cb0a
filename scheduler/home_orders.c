/* Offers and orders as messages: a lease to sign, the whole desired state of a task to send. */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdlib.h>
#include <string.h>

#define STATES_MAX 512
#define OFFER_LIFETIME_MS 60000

static ProtobufCBinaryData bytes_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)data};
}

/* ---- offers ---- */

uint64_t home_memory_bytes(const struct sora_plan_job *job, const struct home_device *device,
                           int32_t latents)
{
    struct sora_plan_device card = {.is_card = false};
    struct sora_farm_device facts;
    if (device) {
        home_device_facts(device, &facts);
        card.is_card = facts.is_card;
        card.is_int8 = facts.is_int8 || sora_farm_changes_to_int8(&facts, job);
    }
    return (uint64_t)sora_plan_memory_bytes(job, &card, latents);
}

static uint64_t memory_of(const struct sora_home *home, const struct home_take *take,
                          const struct home_device *device, int32_t shard)
{
    struct sora_farm_order order;
    int32_t latents = 0;
    if (shard == SORA_FARM_TEXT_TASK && !device->is_card)
        return 0; /* its weights are read in place */
    if (shard >= 0 && sora_farm_order_get(home->farm, &take->id, shard, &order) == SORA_OK)
        latents = order.latents.end - order.latents.first;
    struct sora_farm_job job;
    home_farm_job(home, take->job, take->index, &job);
    return home_memory_bytes(&job.plan, device, latents);
}

void home_send_offer(struct sora_home *home, struct home_take *take, const struct home_node *node,
                     const struct sora_farm_action *action)
{
    if (action->device >= node->device_count)
        return;
    Farm__LeaseBody body = FARM__LEASE_BODY__INIT;
    body.job = bytes_of(take->id.bytes, SORA_JOB_ID_SIZE);
    body.text = action->shard == SORA_FARM_TEXT_TASK;
    body.shard = body.text ? 0 : (uint32_t)action->shard;
    body.epoch = (uint32_t)action->epoch;
    body.home = bytes_of(home->params.post->self, SORA_NODE_ID_SIZE);
    body.node = bytes_of(node->id, SORA_NODE_ID_SIZE);
    body.device = (char *)node->devices[action->device].id;
    body.lease_ms = HOME_LEASE_MS;
    body.model = bytes_of(take->job->model, SORA_DIGEST_SIZE);
    body.memory = memory_of(home, take, &node->devices[action->device], action->shard);
    body.boot = action->boot;
    unsigned char packed[512];
    size_t size = farm__lease_body__get_packed_size(&body);
    SORA_ASSERT(size <= sizeof(packed));
    farm__lease_body__pack(&body, packed);
    struct sora_envelope envelope;
    struct sora_envelope_params params = {.key = home->params.sign,
                                          .certificate = home->params.certificate,
                                          .domain = SORA_DOMAIN_LEASE,
                                          .audience = node->id,
                                          .wall_expires_ms =
                                              sora_clock_wall_ms() + OFFER_LIFETIME_MS,
                                          .payload = packed,
                                          .payload_size = size};
    sora_envelope_seal(&params, &envelope);
    Farm__LeaseOffer offer = FARM__LEASE_OFFER__INIT;
    offer.lease = &envelope.wire;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LEASE_OFFER;
    message.lease_offer = &offer;
    home_send(home, node->id, &message);
}

/* ---- orders of shards ---- */

/* What a message points to while it is sent. */
struct order_room {
    Farm__ShardAssign assign;
    Farm__Timeline timeline;
    Farm__Neighbour neighbours[SORA_PLAN_NEIGHBOURS_MAX];
    Farm__Neighbour *neighbour_pointers[SORA_PLAN_NEIGHBOURS_MAX];
    Farm__ShardText texts[SORA_JOB_SHOTS_MAX];
    Farm__ShardText *text_pointers[SORA_JOB_SHOTS_MAX];
    Farm__StatePart states[STATES_MAX];
    Farm__StatePart *state_pointers[STATES_MAX];
    Farm__BlobName names[STATES_MAX];
};

static void put_timeline(const struct home_take *take, struct order_room *room)
{
    const struct sora_job_plan *plan = take->job->plan;
    const struct sora_timeline_params *from = &plan->takes[take->index].timeline;
    farm__timeline__init(&room->timeline);
    room->timeline.latents = (uint32_t)from->latent_count;
    room->timeline.window = (uint32_t)from->window_latents;
    room->timeline.overlap = (uint32_t)from->overlap_latents;
    room->timeline.static_phase = from->static_phase;
    room->timeline.channels = (uint32_t)plan->channels;
    room->timeline.width = (uint32_t)plan->latent_width;
    room->timeline.height = (uint32_t)plan->latent_height;
    room->assign.timeline = &room->timeline;
}

/* False while an owner's id is not known: it has not beaten since this home started. */
static bool put_neighbours(const struct sora_home *home, const struct sora_farm_order *order,
                           struct order_room *room)
{
    static const unsigned char nobody[SORA_NODE_ID_SIZE];
    for (int32_t i = 0; i < order->link_count; i++) {
        const struct sora_farm_order_link *link = &order->links[i];
        const struct home_node *node = home_find_node(home, link->node);
        if (link->epoch && !node)
            return false;
        Farm__Neighbour *out = room->neighbour_pointers[i] = &room->neighbours[i];
        farm__neighbour__init(out);
        out->shard = (uint32_t)link->shard;
        out->first = (uint32_t)link->latents.first;
        out->end = (uint32_t)link->latents.end;
        out->epoch = (uint32_t)link->epoch;
        out->node = bytes_of(link->epoch ? node->id : nobody, SORA_NODE_ID_SIZE);
        out->resume_step = (uint32_t)link->resume_step;
    }
    room->assign.neighbours = room->neighbour_pointers;
    room->assign.n_neighbours = (size_t)order->link_count;
    return true;
}

static bool put_texts(const struct home_take *take, struct order_room *room)
{
    const struct sora_job_plan *plan = take->job->plan;
    const struct sora_job_take *planned = &plan->takes[take->index];
    const Farm__TextEncoded *text = take->text ? (const Farm__TextEncoded *)take->text->any : NULL;
    size_t count = (size_t)planned->text_count;
    bool negative = plan->guidance != 1;
    if (!text || text->n_rows != (negative ? 2 * count : count))
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct sora_job_text *from = &plan->texts[planned->text_first + (int32_t)i];
        Farm__ShardText *out = room->text_pointers[i] = &room->texts[i];
        farm__shard_text__init(out);
        out->first = (uint32_t)from->latents.first;
        out->end = (uint32_t)from->latents.end;
        out->prompt = text->rows[i];
        out->negative = negative ? text->rows[count + i] : NULL;
    }
    room->assign.texts = room->text_pointers;
    room->assign.n_texts = count;
    room->assign.schedule = text->schedule;
    return true;
}

/* Parts that cover the shard at its first step, and the decode context when sampling is over. Cuts
 * do not matter: the state of a latent is the same whoever computed it. Blobs before the floor may
 * be gone: their shard has read them. */
static bool put_states(const struct sora_home *home, const struct home_take *take,
                       const struct sora_farm_order *order, struct order_room *room)
{
    const struct sora_home *reader = order->resume_step < order->floor_step ? NULL : home;
    int32_t steps = take->job->plan->steps, at = order->latents.first;
    if (order->resume_step == 0)
        return true;
    if (order->resume_step == steps)
        at = at > take->job->facts.context_latents ? at - take->job->facts.context_latents : 0;
    size_t count = 0;
    while (at < order->latents.end) {
        const struct sora_store_part *part = home_find_part(reader, take, order->resume_step, at);
        if (!part || count == STATES_MAX)
            return false;
        Farm__StatePart *out = room->state_pointers[count] = &room->states[count];
        farm__state_part__init(out);
        farm__blob_name__init(&room->names[count]);
        out->first = (uint32_t)part->latents.first;
        out->end = (uint32_t)part->latents.end;
        out->state = &room->names[count];
        out->state->digest = bytes_of(part->blob.digest, SORA_DIGEST_SIZE);
        out->state->size = part->blob.size;
        at = part->latents.end;
        count++;
    }
    room->assign.states = room->state_pointers;
    room->assign.n_states = count;
    return true;
}

static void put_numbers(const struct home_take *take, const struct home_node *node,
                        const struct sora_farm_action *action, const struct sora_farm_order *order,
                        struct sora_farm_job *farm_job, Farm__ShardAssign *out)
{
    const struct sora_job_plan *plan = take->job->plan;
    out->job = bytes_of(take->id.bytes, SORA_JOB_ID_SIZE);
    out->shard = (uint32_t)order->shard;
    out->epoch = (uint32_t)order->epoch;
    out->first = (uint32_t)order->latents.first;
    out->end = (uint32_t)order->latents.end;
    out->seed = plan->takes[take->index].seed;
    out->shot = (uint32_t)take->index; /* as one device renders it: noise is keyed by the take */
    out->noise = (uint32_t)plan->noise_kind;
    out->noise_share = plan->noise_share;
    out->guidance = plan->guidance;
    out->model = bytes_of(take->job->model, SORA_DIGEST_SIZE);
    out->step = (uint32_t)order->resume_step;
    out->checkpoint_steps = (uint32_t)farm_job->checkpoint_steps;
    out->device = (char *)node->devices[order->device].id;
    out->fps = plan->fps;
    out->frame_width = (uint32_t)plan->width;
    out->frame_height = (uint32_t)plan->height;
    out->version = order->version;
    out->boot = action->boot;
    out->floor = (uint32_t)order->floor_step;
    out->park = order->park;
    out->shards = (uint32_t)order->shard_count;
    out->context_latents = (uint32_t)take->job->facts.context_latents;
}

/* The class in which the device is to render the job. */
static const char *class_of(const struct home_device *device, const struct sora_farm_job *job)
{
    struct sora_farm_device facts;
    home_device_facts(device, &facts);
    return sora_farm_changes_to_int8(&facts, &job->plan) ? device->int8_class_text
                                                         : device->class_text;
}

/* For the report; a class that finds no room is left out. */
static void note_class(struct sora_home *home, struct home_job *job, const char *device_class)
{
    size_t length = strlen(job->device_classes), size = strlen(device_class);
    for (const char *at = job->device_classes; *at; at += strcspn(at, ","), at += *at == ',') {
        if (strncmp(at, device_class, size) == 0 && (at[size] == ',' || !at[size]))
            return;
    }
    if (size == 0 || length + size + 2 > sizeof(job->device_classes))
        return;
    snprintf(job->device_classes + length, sizeof(job->device_classes) - length, "%s%s",
             length ? "," : "", device_class);
    home_touch(home, job, &job->ticket);
}

/* The job was cut anew since: what the order names may be gone. */
static bool is_old(const struct sora_home *home, const struct sora_farm_order *order)
{
    struct sora_farm_order now;
    return sora_farm_order_get(home->farm, &order->job, order->shard, &now) != SORA_OK ||
           now.epoch != order->epoch;
}

void home_send_order(struct sora_home *home, struct home_take *take, const struct home_node *node,
                     const struct sora_farm_action *action, const struct sora_farm_order *order)
{
    struct sora_farm_job farm_job;
    struct order_room *room = calloc(1, sizeof(*room));
    if (!room || order->device >= node->device_count) {
        free(room);
        return; /* said again by the farm */
    }
    home_farm_job(home, take->job, take->index, &farm_job);
    farm__shard_assign__init(&room->assign);
    room->assign.device_class = (char *)class_of(&node->devices[order->device], &farm_job);
    note_class(home, take->job, room->assign.device_class);
    put_numbers(take, node, action, order, &farm_job, &room->assign);
    put_timeline(take, room);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_SHARD_ASSIGN;
    message.shard_assign = &room->assign;
    if (!put_neighbours(home, order, room))
        sora_log(SORA_LOG_DEBUG, "an order waits for a neighbour's first beat shard=%d",
                 order->shard);
    else if (put_texts(take, room) && put_states(home, take, order, room))
        home_send(home, node->id, &message);
    else if (!home_go_back(home, take) && !is_old(home, order))
        sora_log(SORA_LOG_ERROR, "an order lacks its text or checkpoints shard=%d step=%d",
                 order->shard, order->resume_step);
    free(room);
}

/* ---- orders of texts ---- */

void home_send_text_order(struct sora_home *home, struct home_take *take,
                          const struct home_node *node, const struct sora_farm_action *action,
                          const struct sora_farm_order *order)
{
    struct home_job *job = take->job;
    const struct sora_job_take *planned = &job->plan->takes[take->index];
    char *texts[2 * SORA_JOB_SHOTS_MAX];
    size_t count = (size_t)planned->text_count;
    if (order->device >= node->device_count)
        return;
    note_class(home, job, node->devices[order->device].class_text);
    for (size_t i = 0; i < count; i++) {
        int32_t shot = job->plan->texts[planned->text_first + (int32_t)i].shot;
        texts[i] = (char *)home_prompt(job, shot);
        texts[count + i] = (char *)home_negative(job, shot);
    }
    Farm__TextEncode encode = FARM__TEXT_ENCODE__INIT;
    encode.job = bytes_of(take->id.bytes, SORA_JOB_ID_SIZE);
    encode.model = bytes_of(job->model, SORA_DIGEST_SIZE);
    encode.texts = texts;
    encode.n_texts = job->plan->guidance != 1 ? 2 * count : count;
    encode.epoch = (uint32_t)order->epoch;
    encode.version = order->version;
    encode.boot = action->boot;
    encode.device = (char *)node->devices[order->device].id;
    encode.solver = (uint32_t)job->plan->solver;
    encode.steps = (uint32_t)job->plan->steps;
    encode.shift = job->plan->shift;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_TEXT_ENCODE;
    message.text_encode = &encode;
    home_send(home, node->id, &message);
}
