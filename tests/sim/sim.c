/*
 * The simulator's world: time, network, faults, the runs. See sim.h.
 *
 *   sora-sim [--seeds FIRST COUNT] [--verbose]
 */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define RUN_LIMIT (4000 * SORA_TIME_SECOND)

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2));
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t below)
{
    sim->random += 0x9e3779b97f4a7c15ull;
    uint64_t value = sim_mix(sim->random, sim->seed);
    return below ? value % below : 0;
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    fprintf(stderr,
            "seed %llu at %.3f s: %s\nreplay: sora-sim --seeds %llu 1 --verbose (version %s)\n",
            (unsigned long long)sim->seed, (double)sim->now / 1e9, text,
            (unsigned long long)sim->seed, SORA_VERSION);
    exit(1);
}

int32_t sim_find_job(const struct sim *sim, const struct sora_job_id *id)
{
    for (int32_t i = 0; i < sim->job_count; i++) {
        if (memcmp(&sim->jobs[i].spec.id, id, sizeof(*id)) == 0)
            return i;
    }
    sim_fail(sim, "an unknown job");
}

uint64_t sim_predict(uint64_t job_seed, int32_t step, const struct sora_window *window,
                     const uint64_t *inputs, int32_t latent)
{
    uint64_t value = sim_mix(job_seed, (uint64_t)step * 1000 + (uint64_t)window->start);
    for (int32_t i = 0; i < window->length; i++)
        value = sim_mix(value, inputs[i]);
    return sim_mix(value, (uint64_t)latent);
}

/* ---- messages: a heap by time ---- */

static bool goes_before(const struct sim_message *a, const struct sim_message *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void push(struct sim *sim, struct sim_message *m)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity ? 2 * sim->heap_capacity : 1024;
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof(struct sim_message *));
    }
    size_t at = sim->heap_count++;
    m->order = sim->order++;
    while (at > 0 && goes_before(m, sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = m;
}

static struct sim_message *pop(struct sim *sim)
{
    struct sim_message *first = sim->heap[0], *last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->heap_count)
            break;
        if (child + 1 < sim->heap_count && goes_before(sim->heap[child + 1], sim->heap[child]))
            child++;
        if (!goes_before(sim->heap[child], last))
            break;
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return first;
}

struct sim_message *sim_message(struct sim *sim, enum sim_kind kind, int32_t from, int32_t to)
{
    (void)sim;
    struct sim_message *m = calloc(1, sizeof(*m));
    m->kind = kind;
    m->from = from;
    m->to = to;
    return m;
}

static void free_message(struct sim_message *m)
{
    free(m->beat);
    free(m->sent);
    free(m);
}

static struct sim_message *copy_message(const struct sim_message *m)
{
    struct sim_message *copy = malloc(sizeof(*copy));
    *copy = *m;
    if (m->beat) {
        copy->beat = malloc(sizeof(*m->beat));
        *copy->beat = *m->beat;
    }
    if (m->sent) {
        copy->sent = malloc(sizeof(*m->sent));
        *copy->sent = *m->sent;
    }
    return copy;
}

void sim_later(struct sim *sim, struct sim_message *m, sora_time delay)
{
    m->at = sim->now + delay;
    push(sim, m);
}

void sim_send(struct sim *sim, struct sim_message *m)
{
    bool faulty = sim->faults && sim->now < sim->faults_until;
    if (faulty && sim_random(sim, 1000) < sim->twice) {
        struct sim_message *copy = copy_message(m);
        sim_later(sim, copy, SIM_MS + (sora_time)sim_random(sim, (uint64_t)sim->delay_ns * 4));
    }
    if (faulty && sim_random(sim, 1000) < sim->loss) {
        sim->lost_messages++;
        free_message(m);
        return;
    }
    sim_later(sim, m, SIM_MS + (sora_time)sim_random(sim, (uint64_t)sim->delay_ns));
}

/* ---- set-up ---- */

static void compute_reference(struct sim_job *job, uint64_t index)
{
    const struct sora_timeline_params *timeline = &job->spec.plan.timeline;
    for (int32_t f = 0; f < timeline->latent_count; f++)
        job->reference[0][f] = sim_mix(index + 77, (uint64_t)f);
    for (int32_t s = 0; s < job->spec.plan.steps; s++) {
        memcpy(job->reference[s + 1], job->reference[s], sizeof(job->reference[s]));
        int32_t count = sora_timeline_window_count(timeline, s);
        for (int32_t k = 0; k < count; k++) {
            struct sora_window w = sora_timeline_window(timeline, s, k);
            for (int32_t f = w.payload_start; f < w.payload_end; f++)
                job->reference[s + 1][f] =
                    sim_mix(job->reference[s + 1][f],
                            sim_predict(index, s, &w, &job->reference[s][w.start], f));
        }
    }
}

static void make_job(struct sim *sim, int32_t index)
{
    struct sim_job *job = &sim->jobs[index];
    struct sora_farm_job *spec = &job->spec;
    memset(spec->id.bytes, index + 1, sizeof(spec->id.bytes));
    int32_t length = 5 + (int32_t)sim_random(sim, SIM_WINDOW - 4);
    int32_t overlap = 1 + (int32_t)sim_random(sim, (uint64_t)length - 4);
    int32_t steps = 1 + (int32_t)sim_random(sim, SIM_STEPS);
    spec->owner = sim_random(sim, 2);
    spec->priority = (int32_t)sim_random(sim, 3);
    spec->model = 1;
    spec->checkpoint_steps = 1 + (int32_t)sim_random(sim, (uint64_t)steps);
    spec->needs_text = sim_random(sim, 2);
    spec->plan = (struct sora_plan_job){
        .timeline = {.latent_count = 1 + (int32_t)sim_random(sim, SIM_LATENTS),
                     .window_latents = length,
                     .overlap_latents = overlap},
        .steps = steps,
        .context_latents = (int32_t)sim_random(sim, 9),
        .memory_fixed_bytes = 1000,
        .memory_latent_bytes = 10,
        .halo_latent_bytes = 1};
    compute_reference(job, (uint64_t)index);
}

static void schedule_faults(struct sim *sim)
{
    for (int32_t i = 0; i < (int32_t)sim_random(sim, 8); i++) {
        int32_t node = (int32_t)sim_random(sim, (uint64_t)sim->node_count);
        sora_time at = (sora_time)sim_random(sim, (uint64_t)sim->faults_until);
        static const enum sim_kind kinds[] = {SIM_KILL, SIM_KILL, SIM_DRAIN};
        sim_later(sim, sim_message(sim, kinds[sim_random(sim, 3)], node, node), at);
        sora_time down = (sora_time)sim_random(sim, 40) * SORA_TIME_SECOND;
        sim_later(sim, sim_message(sim, SIM_START, node, node), at + down);
    }
    for (int32_t i = 0; i < (int32_t)sim_random(sim, 3); i++) {
        sora_time at = (sora_time)sim_random(sim, (uint64_t)sim->faults_until);
        sora_time down = (sora_time)sim_random(sim, 90) * SORA_TIME_SECOND;
        sim_later(sim, sim_message(sim, SIM_HOME_KILL, SIM_HOME, SIM_HOME), at);
        sim_later(sim, sim_message(sim, SIM_HOME_START, SIM_HOME, SIM_HOME), at + down);
    }
    for (int32_t i = 0; i < (int32_t)sim_random(sim, 6); i++)
        sim_later(sim, sim_message(sim, SIM_USER, SIM_HOME, SIM_HOME),
                  (sora_time)sim_random(sim, (uint64_t)sim->faults_until));
}

static void set_up(struct sim *sim, uint64_t seed, bool verbose)
{
    *sim = (struct sim){.seed = seed, .verbose = verbose, .home_tick_at = INT64_MAX};
    sim->random = seed;
    sim->faults = seed % 5 != 0; /* every fifth run counts bytes on a perfect network */
    sim->faults_until = sim->faults ? 120 * SORA_TIME_SECOND : 0;
    sim->loss = (uint32_t)sim_random(sim, 200);
    sim->twice = (uint32_t)sim_random(sim, 100);
    sim->delay_ns = (1 + (sora_time)sim_random(sim, 200)) * SIM_MS;
    sim->node_count = 1 + (int32_t)sim_random(sim, SIM_NODES);
    sim->job_count = 1 + (int32_t)sim_random(sim, SIM_JOBS);
    sim->jobs = calloc(SIM_JOBS, sizeof(*sim->jobs));
    for (int32_t i = 0; i < sim->job_count; i++)
        make_job(sim, i);
    sim_home_start(sim);
    for (int32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->device_count = 1 + (int32_t)sim_random(sim, SIM_DEVICES);
        node->device_class = 1 + (sim_random(sim, 8) == 0);
        for (int32_t k = 0; k < node->device_count; k++)
            node->window_us[k] = 50000 + (int64_t)sim_random(sim, 400000);
        sim_node_start(sim, i);
    }
    if (sim->faults)
        schedule_faults(sim);
}

/* ---- the run ---- */

/* Submits what is not on disk yet; after the faults everything is up, resumed, and must finish. */
static void heal(struct sim *sim)
{
    for (int32_t i = 0; i < sim->job_count; i++) {
        if (!sim->jobs[i].stored && sim->farm)
            sim_home_submit(sim, i);
    }
    if (sim->now < sim->faults_until)
        return;
    sim_home_start(sim);
    for (int32_t i = 0; i < sim->node_count; i++) {
        if (sim->nodes[i].draining)
            sim_node_kill(sim, i);
        sim_node_start(sim, i);
    }
    for (int32_t i = 0; i < sim->job_count; i++) {
        struct sora_farm_job_view view;
        if (sora_farm_job_view(sim->farm, &sim->jobs[i].spec.id, &view) == SORA_OK &&
            view.state == SORA_JOB_PAUSED)
            sim_home_resume(sim, i);
    }
}

static bool all_over(const struct sim *sim)
{
    for (int32_t i = 0; i < sim->job_count; i++) {
        struct sora_farm_job_view view;
        if (!sim->farm || sora_farm_job_view(sim->farm, &sim->jobs[i].spec.id, &view) != SORA_OK ||
            (view.state != SORA_JOB_DONE && view.state != SORA_JOB_CANCELLED &&
             view.state != SORA_JOB_FAILED))
            return false;
    }
    return true;
}

static void dispatch(struct sim *sim, const struct sim_message *m)
{
    switch (m->kind) {
    case SIM_KILL:
        sim_node_kill(sim, m->to);
        break;
    case SIM_START:
        sim_node_start(sim, m->to);
        break;
    case SIM_DRAIN:
        sim->nodes[m->to].draining = true;
        break;
    case SIM_HOME_KILL:
        sim_home_kill(sim);
        break;
    case SIM_HOME_START:
        sim_home_start(sim);
        break;
    case SIM_USER:
        sim_home_user(sim);
        break;
    default:
        if (m->to == SIM_HOME)
            sim_home_message(sim, m);
        else
            sim_node_message(sim, m);
    }
}

static void explain_stuck(const struct sim *sim)
{
    for (int32_t i = 0; i < sim->job_count && sim->farm; i++) {
        struct sora_farm_job_view view;
        if (sora_farm_job_view(sim->farm, &sim->jobs[i].spec.id, &view))
            continue;
        fprintf(stderr, "job %d: %s, floor %d of %d, class %d: %s\n", i,
                sora_job_state_text(view.state), view.floor_step, view.job.plan.steps,
                (int)view.job.plan.device_class, view.reason);
        for (int32_t k = 0; k < view.shard_count; k++)
            fprintf(stderr, "  shard %d [%d,%d): %s, node %d epoch %d step %d durable %d%s\n", k,
                    view.shards[k].latents.first, view.shards[k].latents.end,
                    sora_task_state_text(view.shards[k].state), (int)view.shards[k].node - 1,
                    (int)view.shards[k].epoch, view.shards[k].step, view.shards[k].durable_step,
                    view.shards[k].segment_done ? " segment" : "");
    }
    for (int32_t i = 0; i < sim->node_count; i++) {
        for (int32_t k = 0; k < SIM_TASKS; k++) {
            const struct sim_task *task = &sim->nodes[i].tasks[k];
            if (!task->used)
                continue;
            fprintf(stderr, "  node %d: job %d shard %d epoch %d%s%s", i, task->job, task->shard,
                    (int)task->epoch, task->stopped ? " stopped" : "",
                    task->machine ? "" : " without machine\n");
            if (!task->machine)
                continue;
            struct sora_shard_view view = sora_shard_view(task->machine);
            fprintf(stderr, " %s step %d windows %d/%d floor %d kept %d waits %d\n",
                    sora_shard_state_text(view.state), view.step, view.windows_done,
                    view.windows_count, view.floor_step, (int)view.kept_bytes, view.waits);
        }
    }
}

static void check_results(const struct sim *sim)
{
    for (int32_t i = 0; i < sim->job_count; i++) {
        const struct sim_job *job = &sim->jobs[i];
        struct sora_farm_job_view view;
        sora_farm_job_view(sim->farm, &job->spec.id, &view);
        if (view.state == SORA_JOB_CANCELLED)
            continue;
        SIM_CHECK(sim, view.state == SORA_JOB_DONE, "job %d: %s, %s", i,
                  sora_job_state_text(view.state), view.reason);
        int32_t steps = job->spec.plan.steps;
        for (int32_t f = 0; f < job->spec.plan.timeline.latent_count; f++)
            SIM_CHECK(sim,
                      job->accepted[steps][f] && job->segment[f] &&
                          job->parts[steps][f] == job->reference[steps][f],
                      "job %d: latent %d is not as one device computes it", i, f);
        if (sim->faults)
            continue;
        int64_t planned = 0;
        for (int32_t a = 0; a < view.shard_count; a++) {
            for (int32_t b = 0; b < view.shard_count; b++) {
                struct sora_range from = view.shards[a].latents, to = view.shards[b].latents;
                for (int32_t s = 0; s < steps && a != b; s++) {
                    const struct sora_timeline_params *t = &job->spec.plan.timeline;
                    struct sora_range r = sora_timeline_halo_latents(t, s, from, to);
                    planned += r.end - r.first;
                    struct sora_range w = sora_timeline_shard_windows(t, s, from);
                    for (int32_t k = w.first; k < w.end; k++) {
                        r = sora_timeline_halo_predictions(t, s, k, to);
                        planned += r.end - r.first;
                    }
                }
            }
        }
        SIM_CHECK(sim, job->halo_latents == planned, "job %d: %d halo latents, planned are %d", i,
                  (int)job->halo_latents, (int)planned);
    }
}

static void tear_down(struct sim *sim)
{
    uint64_t kills = sim->kills;
    for (int32_t i = 0; i < sim->node_count; i++)
        sim_node_kill(sim, i);
    sim->kills = kills;
    sora_farm_destroy(&sim->farm);
    while (sim->heap_count > 0)
        free_message(pop(sim));
    free(sim->heap);
    free(sim->jobs);
}

static uint64_t run_seed(uint64_t seed, bool verbose, struct sim *totals)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    set_up(sim, seed, verbose);
    sora_time heal_at = 0;
    while (!(sim->now >= sim->faults_until && all_over(sim))) {
        struct sim_message *m = pop(sim);
        sim->now = m->at;
        sim->events++;
        dispatch(sim, m);
        free_message(m);
        if (sim->now >= heal_at) {
            heal(sim);
            heal_at = sim->now + SORA_TIME_SECOND;
        }
        for (int32_t i = 0; i < sim->node_count; i++)
            sim_node_check(sim, i);
        if (sim->now > RUN_LIMIT) {
            explain_stuck(sim);
            sim_fail(sim, "the jobs do not finish");
        }
    }
    check_results(sim);
    totals->events += sim->events;
    totals->kills += sim->kills;
    totals->home_kills += sim->home_kills;
    totals->lost_messages += sim->lost_messages;
    totals->now += sim->now;
    uint64_t digest = sim->digest;
    tear_down(sim);
    free(sim);
    return digest;
}

int main(int count, char **arguments)
{
    uint64_t first = 0, seeds = 200;
    bool verbose = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--seeds") == 0 && i + 2 < count) {
            first = strtoull(arguments[i + 1], NULL, 10);
            seeds = strtoull(arguments[i + 2], NULL, 10);
            i += 2;
        } else if (strcmp(arguments[i], "--verbose") == 0) {
            verbose = true;
        } else {
            fprintf(stderr, "usage: sora-sim [--seeds FIRST COUNT] [--verbose]\n");
            return 2;
        }
    }
    struct sim totals = {0};
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t digest = run_seed(seed, verbose, &totals);
        if (seed % 20 == 0 && run_seed(seed, verbose, &totals) != digest) {
            fprintf(stderr, "seed %llu: two runs differ\n", (unsigned long long)seed);
            return 1;
        }
    }
    printf("%llu seeds: %llu events, %.0f s of virtual time, %llu nodes and %llu homes killed, "
           "%llu messages lost\n",
           (unsigned long long)seeds, (unsigned long long)totals.events, (double)totals.now / 1e9,
           (unsigned long long)totals.kills, (unsigned long long)totals.home_kills,
           (unsigned long long)totals.lost_messages);
    return 0;
}
