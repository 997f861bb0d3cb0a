/* The home of the simulator: the real farm, a disk that survives, and the checks of its promises.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

static void step_farm(struct sim *sim, const struct sora_farm_event *event,
                      const struct sim_message *m);

/* ---- disk ---- */

static void store_job(struct sim *sim, int32_t index)
{
    struct sim_job *job = &sim->jobs[index];
    struct sora_farm_job_record before = job->record;
    SIM_CHECK(sim, sora_farm_export_job(sim->farm, &job->spec.id, &job->record) == SORA_OK,
              "job %d cannot be exported", index);
    SIM_CHECK(sim, !job->stored || job->record.epoch_next >= before.epoch_next,
              "job %d: epochs go back", index);
    job->stored = true;
    for (int32_t i = 0; i < job->record.shard_count; i++)
        sora_farm_export_shard(sim->farm, &job->spec.id, i, &job->shards[i]);
    if (job->record.cut == before.cut)
        return;
    /* A new cut: what lies past the floor is computed anew. */
    for (int32_t s = job->record.floor_step + 1; s <= job->spec.plan.steps; s++)
        memset(job->accepted[s], 0, sizeof(job->accepted[s]));
}

static void store_part(struct sim *sim, const struct sora_farm_action *a,
                       const struct sim_message *m)
{
    struct sim_job *job = &sim->jobs[m->job];
    SIM_CHECK(sim, m->kind == SIM_CHECKPOINT && m->step == a->step, "a part without its bytes");
    for (int32_t f = m->range.first; f < m->range.end; f++) {
        SIM_CHECK(sim, !job->accepted[a->step][f], "job %d: latent %d of step %d is accepted twice",
                  m->job, f, a->step);
        job->accepted[a->step][f] = a->epoch;
        job->parts[a->step][f] = m->values[f - m->range.first];
        SIM_CHECK(sim, job->parts[a->step][f] == job->reference[a->step][f],
                  "job %d: latent %d of step %d is wrong", m->job, f, a->step);
    }
}

static void prune_parts(struct sim *sim, const struct sora_farm_action *a)
{
    struct sim_job *job = &sim->jobs[sim_find_job(sim, &a->job)];
    for (int32_t s = 1; s < a->step; s++)
        memset(job->accepted[s], 0, sizeof(job->accepted[s]));
    for (int32_t f = 0; f < job->spec.plan.timeline.latent_count; f++)
        SIM_CHECK(sim, a->step == 0 || job->accepted[a->step][f],
                  "floor %d without a checkpoint of latent %d", a->step, f);
}

/* ---- actions ---- */

static void send_action(struct sim *sim, const struct sora_farm_action *a, enum sim_kind kind)
{
    struct sim_message *m = sim_message(sim, kind, SIM_HOME, (int32_t)a->node - 1);
    m->job = sim_find_job(sim, &a->job);
    m->shard = a->shard;
    m->step = a->step;
    m->device = a->device;
    m->epoch = a->epoch;
    m->sequence = a->sequence;
    m->boot = a->boot;
    if (kind == SIM_ORDER) {
        m->sent = calloc(1, sizeof(*m->sent));
        SIM_CHECK(sim, sora_farm_order_get(sim->farm, &a->job, a->shard, m->sent) == SORA_OK,
                  "an order that cannot be read");
    }
    sim_send(sim, m);
}

static void assemble(struct sim *sim, const struct sora_farm_action *a)
{
    struct sim_message *m = sim_message(sim, SIM_ASSEMBLED, SIM_HOME, SIM_HOME);
    m->life = sim->home_life;
    m->job = sim_find_job(sim, &a->job);
    sim_later(sim, m, SORA_TIME_SECOND);
}

static void do_action(struct sim *sim, const struct sora_farm_action *a,
                      const struct sim_message *m)
{
    static const enum sim_kind kinds[] = {
        [SORA_FARM_OFFER] = SIM_OFFER,
        [SORA_FARM_ORDER] = SIM_ORDER,
        [SORA_FARM_REVOKE] = SIM_REVOKE,
        [SORA_FARM_RENEW] = SIM_RENEW,
        [SORA_FARM_CHECKPOINT_ACK] = SIM_CHECKPOINT_ACK,
        [SORA_FARM_SEGMENT_ACK] = SIM_SEGMENT_ACK,
    };
    sim->digest = sim_mix(sim->digest, (uint64_t)a->kind * 31 + a->epoch * 1009 +
                                           (uint64_t)(a->shard + 2) * 17 + a->node);
    switch (a->kind) {
    case SORA_FARM_STORE_JOB:
        break; /* committed before */
    case SORA_FARM_STORE_PART:
        break;
    case SORA_FARM_PRUNE_PARTS:
        prune_parts(sim, a);
        break;
    case SORA_FARM_ASSEMBLE:
        assemble(sim, a);
        break;
    case SORA_FARM_SEGMENT_READY:
    case SORA_FARM_JOB_CHANGED:
    case SORA_FARM_NODE_CHANGED:
        break;
    default:
        send_action(sim, a, kinds[a->kind]);
    }
    (void)m;
}

/* The stores of a list first, together; then the rest, unless the home dies in between. */
static void do_actions(struct sim *sim, const struct sora_farm_actions *actions,
                       const struct sim_message *m)
{
    bool dies = sim->now < sim->faults_until && sim->faults && sim_random(sim, 20000) == 0;
    int32_t end = actions->count;
    if (dies)
        end = (int32_t)sim_random(sim, (uint64_t)actions->count + 1);
    for (int32_t i = 0; i < actions->count && !(dies && end == 0); i++) {
        const struct sora_farm_action *a = &actions->items[i];
        if (a->kind == SORA_FARM_STORE_PART)
            store_part(sim, a, m);
        if (a->kind == SORA_FARM_STORE_JOB)
            store_job(sim, sim_find_job(sim, &a->job));
    }
    for (int32_t i = 0; i < end; i++)
        do_action(sim, &actions->items[i], m);
    if (!dies)
        return;
    sim_home_kill(sim);
    sim_later(sim, sim_message(sim, SIM_HOME_START, SIM_HOME, SIM_HOME),
              (sora_time)sim_random(sim, 20) * SORA_TIME_SECOND);
}

static void arm(struct sim *sim)
{
    sora_time next = sora_farm_next_deadline(sim->farm);
    if (next >= sim->home_tick_at || next == INT64_MAX)
        return;
    struct sim_message *m = sim_message(sim, SIM_HOME_TICK, SIM_HOME, SIM_HOME);
    m->life = sim->home_life;
    sora_time delay = next > sim->now ? next - sim->now : SIM_MS;
    sim->home_tick_at = sim->now + delay;
    sim_later(sim, m, delay);
}

static void step_farm(struct sim *sim, const struct sora_farm_event *event,
                      const struct sim_message *m)
{
    struct sora_farm_action items[SORA_FARM_ACTIONS_MIN];
    struct sora_farm_actions actions = {.items = items, .capacity = SORA_FARM_ACTIONS_MIN};
    struct sora_fault fault = {0};
    int result = sora_farm_step(sim->farm, sim->now, event, &actions, &fault);
    if (sim->verbose && result)
        printf("%8.3f home: %s\n", (double)sim->now / 1e9, fault.text);
    SIM_CHECK(sim, result != SORA_E_FULL && result != SORA_E_INVALID, "home: %s", fault.text);
    while (result == SORA_OK) {
        do_actions(sim, &actions, m);
        if (!actions.more || !sim->farm)
            break;
        struct sora_farm_event tick = {.kind = SORA_FARM_TICK};
        result = sora_farm_step(sim->farm, sim->now, &tick, &actions, &fault);
    }
    if (sim->farm)
        arm(sim);
}

/* ---- events ---- */

static void take_segment(struct sim *sim, const struct sim_message *m)
{
    struct sim_job *job = &sim->jobs[m->job];
    for (int32_t f = m->range.first; f < m->range.end; f++)
        job->segment[f] = true;
}

void sim_home_message(struct sim *sim, const struct sim_message *m)
{
    static const enum sora_farm_event_kind kinds[] = {
        [SIM_BEAT] = SORA_FARM_BEAT,       [SIM_GRANT] = SORA_FARM_GRANT,
        [SIM_REFUSE] = SORA_FARM_REFUSE,   [SIM_CHECKPOINT] = SORA_FARM_CHECKPOINT,
        [SIM_SEGMENT] = SORA_FARM_SEGMENT, [SIM_TEXT] = SORA_FARM_TEXT_DONE,
        [SIM_HOME_TICK] = SORA_FARM_TICK,  [SIM_ASSEMBLED] = SORA_FARM_ASSEMBLED,
    };
    if (!sim->farm || (m->life && m->life != sim->home_life))
        return;
    if (m->kind == SIM_HOME_TICK)
        sim->home_tick_at = INT64_MAX;
    char name[8];
    snprintf(name, sizeof(name), "n%d", m->from);
    struct sora_farm_event event = {.kind = kinds[m->kind],
                                    .node = (uint64_t)(m->from + 1),
                                    .name = name,
                                    .shard = m->shard,
                                    .step = m->step,
                                    .code = SORA_E_BUSY,
                                    .epoch = m->epoch,
                                    .beat = m->beat};
    if (m->kind != SIM_HOME_TICK && m->kind != SIM_BEAT)
        event.job = sim->jobs[m->job].spec.id;
    if (m->kind == SIM_SEGMENT)
        take_segment(sim, m);
    step_farm(sim, &event, m);
}

void sim_home_start(struct sim *sim)
{
    if (sim->farm)
        return;
    struct sora_farm_params params = {
        .jobs_max = SIM_JOBS, .failures_max = 1000, .losses_max = 1000};
    SIM_CHECK(sim, sora_farm_create(&params, &sim->farm) == SORA_OK, "no farm");
    sim->home_life = ++sim->lives;
    sim->home_tick_at = INT64_MAX;
    for (int32_t i = 0; i < sim->job_count; i++) {
        struct sora_fault fault = {0};
        if (sim->jobs[i].stored)
            SIM_CHECK(sim,
                      sora_farm_import_job(sim->farm, sim->now, &sim->jobs[i].record,
                                           sim->jobs[i].shards, &fault) == SORA_OK,
                      "import: %s", fault.text);
    }
    struct sora_farm_event tick = {.kind = SORA_FARM_TICK};
    step_farm(sim, &tick, NULL);
}

void sim_home_kill(struct sim *sim)
{
    sora_farm_destroy(&sim->farm);
    sim->home_kills++;
}

void sim_home_submit(struct sim *sim, int32_t job)
{
    struct sora_farm_event event = {.kind = SORA_FARM_SUBMIT, .submit = &sim->jobs[job].spec};
    if (sim->farm)
        step_farm(sim, &event, NULL);
}

void sim_home_resume(struct sim *sim, int32_t job)
{
    struct sora_farm_event event = {.kind = SORA_FARM_RESUME, .job = sim->jobs[job].spec.id};
    step_farm(sim, &event, NULL);
}

/* A user who pauses, resumes, and now and then cancels. */
void sim_home_user(struct sim *sim)
{
    if (!sim->farm)
        return;
    int32_t job = (int32_t)sim_random(sim, (uint64_t)sim->job_count);
    static const enum sora_farm_event_kind kinds[] = {SORA_FARM_PAUSE, SORA_FARM_RESUME,
                                                      SORA_FARM_PRIORITY};
    struct sora_farm_event event = {.kind = kinds[sim_random(sim, 3)],
                                    .job = sim->jobs[job].spec.id,
                                    .step = (int32_t)sim_random(sim, 10)};
    if (sim_random(sim, 12) == 0)
        event.kind = SORA_FARM_CANCEL;
    step_farm(sim, &event, NULL);
}
