/* Orders of the agent's tests: the cut of the job, what is sent to each shard, and waiting for it.
 */
#ifndef SORA_TESTS_UNIT_AGENT_ORDERS_H
#define SORA_TESTS_UNIT_AGENT_ORDERS_H

#include "tests/unit/agent_farm.h"

struct order {
    Farm__ShardAssign wire;
    Farm__Timeline timeline;
    Farm__Schedule schedule;
    Farm__Neighbour others[HOME_SHARDS], *other_list[HOME_SHARDS];
    Farm__ShardText text, *texts[1];
    Farm__BlobName rows, negative, states[HOME_SHARDS];
    Farm__StatePart parts[HOME_SHARDS], *part_list[HOME_SHARDS];
    float correctors[4 * HOME_STEPS_MAX], predictors[3 * HOME_STEPS_MAX];
};

static inline void order_schedule(const struct home *home, struct order *o)
{
    const struct sora_schedule *from = &home->schedule;
    size_t steps = (size_t)from->steps;
    farm__schedule__init(&o->schedule);
    for (size_t i = 0; i < steps; i++) {
        memcpy(&o->correctors[4 * i], from->rows[i].corrector, 4 * sizeof(float));
        memcpy(&o->predictors[3 * i], from->rows[i].predictor, 3 * sizeof(float));
    }
    o->schedule.solver = (uint32_t)from->solver;
    o->schedule.steps = (uint32_t)steps;
    o->schedule.n_sigmas = steps + 1;
    o->schedule.sigmas = (float *)(uintptr_t)from->sigmas;
    o->schedule.n_timesteps = steps;
    o->schedule.timesteps = (float *)(uintptr_t)from->timesteps;
    o->schedule.n_correctors = 4 * steps;
    o->schedule.correctors = o->correctors;
    o->schedule.n_predictors = 3 * steps;
    o->schedule.predictors = o->predictors;
}

/* Every other shard is a neighbour; those that have nothing to exchange do no harm. */
static inline void order_others(struct home *home, uint32_t k, struct order *o)
{
    for (uint32_t i = 0; i < home->shards; i++) {
        const struct home_shard *shard = &home->shard[i];
        farm__blob_name__init(&o->states[i]);
        farm__state_part__init(&o->parts[i]);
        sora_blob_put(&shard->states[home->shard[k].resume], &o->states[i]);
        o->parts[i].first = shard->first;
        o->parts[i].end = shard->end;
        o->parts[i].state = &o->states[i];
        o->part_list[i] = &o->parts[i];
        if (i == k)
            continue;
        size_t n = o->wire.n_neighbours++;
        Farm__Neighbour *other = &o->others[n];
        farm__neighbour__init(other);
        other->shard = i;
        other->first = shard->first;
        other->end = shard->end;
        other->epoch = shard->epoch;
        other->node = home_bytes(home->rig.nodes[shard->node].identity.node, SORA_NODE_ID_SIZE);
        other->resume_step = shard->resume;
        o->other_list[n] = other;
    }
    o->wire.neighbours = o->other_list;
    if (home->shard[k].resume > 0) {
        o->wire.states = o->part_list;
        o->wire.n_states = home->shards;
    }
}

static inline void order_fill(struct home *home, uint32_t k, struct order *o)
{
    struct home_shard *shard = &home->shard[k];
    const struct sora_serve_shard *job = &home->job;
    memset(o, 0, sizeof(*o));
    farm__shard_assign__init(&o->wire);
    farm__timeline__init(&o->timeline);
    farm__shard_text__init(&o->text);
    farm__blob_name__init(&o->rows);
    o->timeline.latents = (uint32_t)job->timeline.latent_count;
    o->timeline.window = (uint32_t)job->timeline.window_latents;
    o->timeline.overlap = (uint32_t)job->timeline.overlap_latents;
    o->timeline.channels = (uint32_t)job->channels;
    o->timeline.height = (uint32_t)job->height;
    o->timeline.width = (uint32_t)job->width;
    sora_blob_put(&home->rows, &o->rows);
    o->text.end = o->timeline.latents;
    farm__blob_name__init(&o->negative);
    sora_blob_put(&home->negative, &o->negative);
    o->text.prompt = &o->rows;
    o->text.negative = &o->negative;
    o->texts[0] = &o->text;
    order_schedule(home, o);
    o->wire.job = home_bytes(home->id, sizeof(home->id));
    o->wire.shard = k;
    o->wire.epoch = shard->epoch;
    o->wire.first = shard->first;
    o->wire.end = shard->end;
    o->wire.timeline = &o->timeline;
    o->wire.schedule = &o->schedule;
    o->wire.guidance = job->guidance;
    o->wire.model = home_bytes(rig_model.bytes, SORA_DIGEST_SIZE);
    o->wire.step = shard->resume;
    o->wire.checkpoint_steps = home->checkpoint_steps;
    o->wire.device = (char *)(uintptr_t) "cpu0";
    o->wire.fps = 16;
    o->wire.seed = 7;
    o->wire.noise_share = 0.5;
    o->wire.frame_width = 16 * o->timeline.width;
    o->wire.frame_height = 16 * o->timeline.height;
    o->wire.version = ++shard->version;
    o->wire.boot = RIG_BOOT + (unsigned)shard->node;
    o->wire.floor = home->floor;
    o->wire.park = home->park;
    o->wire.shards = home->shards;
    o->wire.texts = o->texts;
    o->wire.n_texts = 1;
    o->wire.context_latents = home->context;
    order_others(home, k, o);
}

static inline void order(struct home *home, uint32_t k)
{
    struct order o;
    order_fill(home, k, &o);
    home_send(home, home->shard[k].node, FARM__MESSAGE__BODY_SHARD_ASSIGN, &o.wire);
}

static inline void raise_floor(struct home *home)
{
    uint32_t floor = UINT32_MAX;
    for (uint32_t k = 0; k < home->shards; k++)
        floor = home->shard[k].checkpoint < floor ? home->shard[k].checkpoint : floor;
    if (floor == home->floor)
        return;
    home->floor = floor;
    for (uint32_t k = 0; k < home->shards; k++)
        order(home, k);
}

static inline void cut(struct home *home, uint32_t shards)
{
    uint32_t latents = (uint32_t)home->job.timeline.latent_count;
    home->shards = shards;
    for (uint32_t k = 0; k < shards; k++) {
        home->shard[k].node = (int)(k + 1);
        home->shard[k].epoch = k + 1;
        home->shard[k].first = latents * k / shards;
        home->shard[k].end = latents * (k + 1) / shards;
    }
}

static inline void end_lease(struct home *home, uint32_t k)
{
    Farm__LeaseRevoke wire = FARM__LEASE_REVOKE__INIT;
    wire.job = home_bytes(home->id, sizeof(home->id));
    wire.shard = k;
    wire.epoch = home->shard[k].epoch;
    wire.reason = (char *)(uintptr_t) "over";
    home_send(home, home->shard[k].node, FARM__MESSAGE__BODY_LEASE_REVOKE, &wire);
}

static inline bool all_are_ready(const struct home *home)
{
    bool all = true;
    for (int i = 1; i < home->rig.node_count; i++) {
        const Farm__Device *device = sora_agent_advert(home->rig.nodes[i].agent)->devices[0];
        all = all && (device->state == FARM__DEVICE_STATE__DEVICE_READY ||
                      device->state == FARM__DEVICE_STATE__DEVICE_BUSY);
    }
    return all;
}

static inline bool all_granted(const struct home *home)
{
    bool all = true;
    for (uint32_t k = 0; k < home->shards; k++)
        all = all && home->shard[k].granted;
    return all;
}

static inline bool all_complete(const struct home *home)
{
    raise_floor((struct home *)(uintptr_t)home);
    bool all = true;
    for (uint32_t k = 0; k < home->shards; k++)
        all = all && home->shard[k].complete;
    return all;
}

static inline struct home *ready_farm(const struct farm_params *params)
{
    struct home *home = farm_create(params);
    SORA_ASSERT(farm_until(home, all_are_ready));
    farm_for(home, 2);
    return home;
}

static inline void lease_all(struct home *home)
{
    sora_time end = sora_clock_now() + 20 * SORA_TIME_SECOND;
    while (!all_granted(home) && sora_clock_now() < end) {
        for (uint32_t k = 0; k < home->shards; k++) {
            if (!home->shard[k].granted)
                home_offer(home, k);
        }
        farm_for(home, 2);
    }
    SORA_ASSERT(all_granted(home));
}

static inline void order_all(struct home *home)
{
    for (uint32_t k = 0; k < home->shards; k++)
        order(home, k);
}

#endif
