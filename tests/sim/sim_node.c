/* A node of the simulator: leases, orders and beats around the real shard machine. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

static void step_machine(struct sim *sim, int32_t node, struct sim_task *task,
                         const struct sora_shard_event *event);

static void end_task(struct sim_node *node, struct sim_task *task)
{
    node->ended[node->ended_next++ % SIM_ENDED] = sim_mix((uint64_t)task->job, task->epoch);
    sora_shard_destroy(&task->machine);
    free(task->data);
    *task = (struct sim_task){0};
}

static struct sim_task *find_task(struct sim_node *node, int32_t job, uint64_t epoch)
{
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        struct sim_task *task = &node->tasks[i];
        if (task->used && task->job == job && task->epoch == epoch)
            return task;
    }
    return NULL;
}

static void stop_task(struct sim_task *task, int code)
{
    task->stopped = true;
    task->code = code;
}

/* ---- leases ---- */

/* The device's live task, if any. */
static struct sim_task *on_device(struct sim_node *node, int32_t device)
{
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        struct sim_task *task = &node->tasks[i];
        if (task->used && !task->stopped && task->device == device)
            return task;
    }
    return NULL;
}

static struct sim_task *take_task(struct sim *sim, struct sim_node *node,
                                  const struct sim_message *m)
{
    for (int32_t i = 0; i < SIM_ENDED; i++) {
        if (node->ended[i] == sim_mix((uint64_t)m->job, m->epoch))
            return NULL;
    }
    struct sim_task *held = on_device(node, m->device);
    if (held && held->job == m->job && held->epoch < m->epoch) {
        end_task(node, held);
        held = NULL;
    }
    for (int32_t i = 0; i < SIM_TASKS && !held; i++) {
        struct sim_task *task = &node->tasks[i];
        if (task->used)
            continue;
        *task = (struct sim_task){.used = true,
                                  .job = m->job,
                                  .shard = m->shard,
                                  .device = m->device,
                                  .epoch = m->epoch,
                                  .lease_until = sim->now + 15 * SORA_TIME_SECOND};
        return task;
    }
    return NULL;
}

static void answer(struct sim *sim, int32_t index, const struct sim_message *m, enum sim_kind kind)
{
    struct sim_message *sent = sim_message(sim, kind, index, SIM_HOME);
    sent->job = m->job;
    sent->shard = m->shard;
    sent->epoch = m->epoch;
    sim_send(sim, sent);
}

static void take_offer(struct sim *sim, int32_t index, const struct sim_message *m)
{
    struct sim_node *node = &sim->nodes[index];
    struct sim_task *task = find_task(node, m->job, m->epoch);
    if (m->boot != node->boot)
        return;
    if (!task && !node->draining)
        task = take_task(sim, node, m);
    answer(sim, index, m, task && !task->stopped ? SIM_GRANT : SIM_REFUSE);
}

/* ---- the worker ---- */

static void later_work(struct sim *sim, int32_t index, const struct sim_task *task,
                       enum sora_shard_event_kind work, const struct sora_shard_action *action,
                       sora_time delay)
{
    struct sim_message *m = sim_message(sim, SIM_WORK, index, index);
    m->life = sim->nodes[index].life;
    m->job = task->job;
    m->epoch = task->epoch;
    m->work = work;
    m->step = action->step;
    m->window = action->window;
    sim_later(sim, m, delay);
}

/* Latents that the task needs in place to begin: from noise, or from the home's disk. */
static bool load(struct sim *sim, struct sim_task *task)
{
    struct sim_job *job = &sim->jobs[task->job];
    int32_t step = task->order.resume_step;
    struct sora_range range = task->order.latents;
    if (step == job->spec.plan.steps) {
        range.first -= job->spec.plan.context_latents;
        range.first = range.first < 0 ? 0 : range.first;
    }
    if (step > 0 && !sim->farm)
        return false;
    for (int32_t f = range.first; f < range.end; f++) {
        if (step > 0 && !job->accepted[step][f]) {
            stop_task(task, SORA_E_NOT_FOUND); /* fine for an order that is over */
            struct sora_farm_job_view view;
            sora_farm_job_view(sim->farm, &job->spec.id, &view);
            SIM_CHECK(sim,
                      task->shard >= view.shard_count ||
                          view.shards[task->shard].epoch != task->epoch,
                      "job %d shard %d epoch %d: latent %d of step %d is not on disk", task->job,
                      task->shard, (int)task->epoch, f, step);
            return true;
        }
        task->data->x[step][f] = step > 0 ? job->parts[step][f] : job->reference[0][f];
        task->data->has_x[step][f] = true;
    }
    return true;
}

static void run_window(struct sim *sim, struct sim_task *task, int32_t step, int32_t index)
{
    const struct sim_job *job = &sim->jobs[task->job];
    struct sora_window w = sora_timeline_window(&job->spec.plan.timeline, step, index);
    struct sim_data *data = task->data;
    for (int32_t f = w.start; f < w.start + w.length; f++)
        SIM_CHECK(sim, data->has_x[step][f],
                  "job %d shard %d: window %d of step %d is run without latent %d", task->job,
                  task->shard, index, step, f);
    for (int32_t f = w.start; f < w.start + w.length; f++) {
        data->p[step][index][f - w.start] =
            sim_predict((uint64_t)task->job, step, &w, &data->x[step][w.start], f);
        data->has_p[step][index][f - w.start] = true;
    }
}

static void update(struct sim *sim, struct sim_task *task, int32_t step)
{
    const struct sora_timeline_params *timeline = &sim->jobs[task->job].spec.plan.timeline;
    struct sim_data *data = task->data;
    for (int32_t f = task->order.latents.first; f < task->order.latents.end; f++) {
        uint64_t value = data->x[step][f];
        int32_t first, end;
        sora_timeline_covering(timeline, step, f, &first, &end);
        for (int32_t w = first; w < end; w++) {
            int32_t at = f - sora_timeline_window(timeline, step, w).start;
            SIM_CHECK(sim, data->has_p[step][w][at],
                      "job %d shard %d: step %d is fused without window %d of latent %d", task->job,
                      task->shard, step, w, f);
            value = sim_mix(value, data->p[step][w][at]);
        }
        data->x[step + 1][f] = value;
        data->has_x[step + 1][f] = true;
    }
    /* What is over and not in the log is gone. */
    for (int32_t f = 0; f < SIM_LATENTS; f++)
        data->has_x[step][f] = data->logged_x[step][f] || data->snapshot[step];
    for (int32_t w = 0; w < SIM_WINDOWS; w++)
        memcpy(data->has_p[step][w], data->logged_p[step][w], sizeof(data->has_p[step][w]));
}

/* ---- actions of the machine ---- */

static void log_halo(struct sim *sim, struct sim_task *task, const struct sora_shard_action *a)
{
    struct sim_data *data = task->data;
    for (int32_t f = a->range.first; f < a->range.end; f++) {
        if (a->halo != SORA_SHARD_PREDICTIONS) {
            SIM_CHECK(sim, data->has_x[a->step][f], "latent %d of step %d is logged too late", f,
                      a->step);
            data->logged_x[a->step][f] = true;
            continue;
        }
        const struct sora_timeline_params *timeline = &sim->jobs[task->job].spec.plan.timeline;
        int32_t at = f - sora_timeline_window(timeline, a->step, a->window).start;
        SIM_CHECK(sim, data->has_p[a->step][a->window][at],
                  "window %d of step %d is logged too "
                  "late",
                  a->window, a->step);
        data->logged_p[a->step][a->window][at] = true;
    }
}

static void fill_halo(struct sim *sim, struct sim_task *task, struct sim_message *m)
{
    struct sim_data *data = task->data;
    struct sim_job *job = &sim->jobs[task->job];
    for (int32_t f = m->range.first; f < m->range.end; f++) {
        int32_t k = m->value_count++;
        if (m->halo != SORA_SHARD_PREDICTIONS) {
            SIM_CHECK(sim, data->logged_x[m->step][f], "latent %d of step %d is not in the log", f,
                      m->step);
            m->values[k] = data->x[m->step][f];
            continue;
        }
        int32_t at = f - sora_timeline_window(&job->spec.plan.timeline, m->step, m->window).start;
        SIM_CHECK(sim, data->logged_p[m->step][m->window][at],
                  "window %d of step %d is not in the log", m->window, m->step);
        m->values[k] = data->p[m->step][m->window][at];
    }
    if (m->halo != SORA_SHARD_FINAL)
        job->halo_latents += m->value_count;
}

static void send_to_link(struct sim *sim, int32_t index, struct sim_task *task,
                         const struct sora_shard_action *a)
{
    const struct sora_farm_order_link *link = &task->order.links[a->link];
    if (link->epoch != a->epoch || link->epoch == 0)
        return; /* nobody owns it */
    struct sim_message *m = sim_message(sim, a->kind == SORA_SHARD_SEND_AT ? SIM_AT : SIM_HALO,
                                        index, (int32_t)link->node - 1);
    m->job = task->job;
    m->shard = task->shard;
    m->epoch = a->epoch;
    m->sender_epoch = task->epoch;
    m->halo = a->halo;
    m->step = a->step;
    m->window = a->window;
    m->range = a->range;
    m->again = a->again;
    m->have = a->have;
    if (m->kind == SIM_HALO)
        fill_halo(sim, task, m);
    sim_send(sim, m);
}

static void send_home(struct sim *sim, int32_t index, struct sim_task *task, enum sim_kind kind,
                      int32_t step)
{
    struct sim_message *m = sim_message(sim, kind, index, SIM_HOME);
    m->job = task->job;
    m->shard = task->shard;
    m->epoch = task->epoch;
    m->step = step;
    if (kind != SIM_TEXT)
        m->range = task->order.latents;
    for (int32_t f = m->range.first; kind == SIM_CHECKPOINT && f < m->range.end; f++) {
        SIM_CHECK(sim, task->data->has_x[step][f], "the copy of step %d is gone", step);
        m->values[m->value_count++] = task->data->x[step][f];
    }
    sim_send(sim, m);
}

static void prune(struct sim_task *task, int32_t step)
{
    struct sim_data *data = task->data;
    for (int32_t s = 0; s < step; s++) {
        memset(data->has_x[s], 0, sizeof(data->has_x[s]));
        memset(data->logged_x[s], 0, sizeof(data->logged_x[s]));
        memset(data->has_p[s], 0, sizeof(data->has_p[s]));
        memset(data->logged_p[s], 0, sizeof(data->logged_p[s]));
    }
}

static void start_load(struct sim *sim, int32_t index, struct sim_task *task,
                       const struct sora_shard_action *a)
{
    if (!load(sim, task))
        later_work(sim, index, task, SORA_SHARD_TICK, a, SORA_TIME_SECOND); /* ask again */
    else if (!task->stopped)
        later_work(sim, index, task, SORA_SHARD_LOADED, a, 20 * SIM_MS);
}

static void do_action(struct sim *sim, int32_t index, struct sim_task *task,
                      const struct sora_shard_action *a)
{
    struct sim_node *node = &sim->nodes[index];
    sora_time window = node->window_us[task->device] * 1000;
    window += (sora_time)sim_random(sim, (uint64_t)window / 4);
    sim->digest = sim_mix(sim->digest, (uint64_t)a->kind * 1000003 + (uint64_t)a->step * 131 +
                                           (uint64_t)a->window + task->epoch * 7919);
    switch (a->kind) {
    case SORA_SHARD_LOAD:
        start_load(sim, index, task, a);
        break;
    case SORA_SHARD_RUN_WINDOW:
        later_work(sim, index, task, SORA_SHARD_WINDOW_DONE, a, window);
        break;
    case SORA_SHARD_UPDATE:
        later_work(sim, index, task, SORA_SHARD_UPDATED, a, SIM_MS);
        break;
    case SORA_SHARD_LOG_HALO:
        log_halo(sim, task, a);
        break;
    case SORA_SHARD_SEND_HALO:
    case SORA_SHARD_SEND_AT:
        send_to_link(sim, index, task, a);
        break;
    case SORA_SHARD_TAKE_CHECKPOINT:
        task->data->snapshot[a->step] = true;
        later_work(sim, index, task, SORA_SHARD_CHECKPOINT_TAKEN, a, SIM_MS);
        break;
    case SORA_SHARD_SEND_CHECKPOINT:
        send_home(sim, index, task, SIM_CHECKPOINT, a->step);
        break;
    case SORA_SHARD_DECODE:
        for (int32_t f = a->window; f < a->range.end; f++)
            SIM_CHECK(sim, task->data->has_x[sim->jobs[task->job].spec.plan.steps][f],
                      "latent %d is decoded and not there", f);
        later_work(sim, index, task, SORA_SHARD_DECODED, a, window);
        break;
    case SORA_SHARD_SEND_SEGMENT:
        send_home(sim, index, task, SIM_SEGMENT, 0);
        break;
    case SORA_SHARD_PRUNE:
        prune(task, a->step);
        break;
    case SORA_SHARD_STOP:
        stop_task(task, a->code);
        break;
    case SORA_SHARD_KEEP_HALO:
    case SORA_SHARD_PROGRESS:
        break;
    }
}

static void keep_halo(struct sim *sim, struct sim_task *task, const struct sim_message *m)
{
    const struct sora_timeline_params *timeline = &sim->jobs[task->job].spec.plan.timeline;
    for (int32_t f = m->range.first; f < m->range.end; f++) {
        uint64_t value = m->values[f - m->range.first];
        if (m->halo != SORA_SHARD_PREDICTIONS) {
            task->data->x[m->step][f] = value;
            task->data->has_x[m->step][f] = true;
            continue;
        }
        int32_t at = f - sora_timeline_window(timeline, m->step, m->window).start;
        task->data->p[m->step][m->window][at] = value;
        task->data->has_p[m->step][m->window][at] = true;
    }
}

/* One event through the machine; `m` is the halo that a KEEP_HALO refers to. */
static int pump(struct sim *sim, int32_t index, struct sim_task *task,
                const struct sora_shard_event *event, const struct sim_message *m)
{
    struct sora_shard_action items[SORA_SHARD_ACTIONS_MIN + 4];
    struct sora_shard_actions actions = {
        .items = items, .capacity = SORA_SHARD_ACTIONS_MIN + (int32_t)sim_random(sim, 5)};
    int result = sora_shard_step(task->machine, sim->now, event, &actions);
    while (result == SORA_OK) {
        for (int32_t i = 0; i < actions.count && task->used; i++) {
            if (items[i].kind == SORA_SHARD_KEEP_HALO)
                keep_halo(sim, task, m);
            else
                do_action(sim, index, task, &items[i]);
        }
        if (!actions.more)
            break;
        struct sora_shard_event tick = {.kind = SORA_SHARD_TICK};
        result = sora_shard_step(task->machine, sim->now, &tick, &actions);
    }
    return result;
}

static void step_machine(struct sim *sim, int32_t index, struct sim_task *task,
                         const struct sora_shard_event *event)
{
    int result = pump(sim, index, task, event, NULL);
    SIM_CHECK(sim, result == SORA_OK || result == SORA_E_STALE,
              "job %d shard %d epoch %d: event %d step %d gives %s", task->job, task->shard,
              (int)task->epoch, event->kind, event->step, sora_error_text(result));
}

/* ---- orders ---- */

static void begin_shard(struct sim *sim, int32_t index, struct sim_task *task)
{
    const struct sora_farm_job *spec = &sim->jobs[task->job].spec;
    struct sora_shard_params params = {.timeline = spec->plan.timeline,
                                       .steps = spec->plan.steps,
                                       .owned = task->order.latents,
                                       .epoch = task->epoch,
                                       .resume_step = task->order.resume_step,
                                       .checkpoint_steps = spec->checkpoint_steps,
                                       .context_latents = spec->plan.context_latents,
                                       .latent_bytes = 1,
                                       .kept_bytes_max =
                                           4 * SIM_WINDOW * (spec->checkpoint_steps + 2) * 4,
                                       .lease_until = task->lease_until,
                                       .link_count = task->order.link_count};
    for (int32_t i = 0; i < params.link_count; i++) {
        const struct sora_farm_order_link *link = &task->order.links[i];
        params.links[i] = (struct sora_shard_link){
            .shard = link->shard, .owned = link->latents, .epoch = link->epoch};
    }
    struct sora_fault fault = {0};
    int result = sora_shard_create(&params, &task->machine, &fault);
    SIM_CHECK(sim, result == SORA_OK, "shard machine: %s", fault.text);
    task->data = calloc(1, sizeof(*task->data));
    struct sora_shard_event tick = {.kind = SORA_SHARD_TICK};
    step_machine(sim, index, task, &tick);
}

static void follow_order(struct sim *sim, int32_t index, struct sim_task *task)
{
    const struct sora_farm_order *order = &task->order;
    struct sora_shard_event event = {.kind = SORA_SHARD_FLOOR, .step = order->floor_step};
    step_machine(sim, index, task, &event);
    for (int32_t i = 0; i < order->link_count && !task->stopped; i++) {
        event = (struct sora_shard_event){.kind = SORA_SHARD_NEIGHBOUR,
                                          .link = i,
                                          .epoch = order->links[i].epoch,
                                          .step = order->links[i].resume_step};
        if (event.epoch)
            step_machine(sim, index, task, &event);
    }
    event = (struct sora_shard_event){.kind = SORA_SHARD_PARK};
    if (order->park && !task->stopped)
        step_machine(sim, index, task, &event);
}

static void take_order(struct sim *sim, int32_t index, const struct sim_message *m)
{
    struct sim_node *node = &sim->nodes[index];
    struct sim_task *task = find_task(node, m->job, m->epoch);
    if (m->boot != node->boot)
        return;
    if (!task)
        task = take_task(sim, node, m);
    if (!task)
        answer(sim, index, m, SIM_REFUSE);
    if (!task || task->stopped)
        return;
    if (m->shard == SORA_FARM_TEXT_TASK) {
        if (task->text)
            return;
        task->text = true;
        struct sim_message *done = sim_message(sim, SIM_TEXT_WORK, index, index);
        done->life = node->life;
        done->job = task->job;
        done->epoch = task->epoch;
        sim_later(sim, done, SORA_TIME_SECOND);
        return;
    }
    if (m->sent->version <= task->version)
        return;
    task->version = m->sent->version;
    task->order = *m->sent;
    if (!task->machine)
        begin_shard(sim, index, task);
    if (task->order.floor_step > task->order.resume_step || task->version > 1)
        follow_order(sim, index, task);
}

/* ---- what arrives ---- */

static void take_halo(struct sim *sim, int32_t index, const struct sim_message *m)
{
    struct sim_task *task = find_task(&sim->nodes[index], m->job, m->epoch);
    if (!task || task->stopped || !task->machine)
        return;
    struct sora_shard_event event = {.kind = m->kind == SIM_AT ? SORA_SHARD_AT : SORA_SHARD_HALO,
                                     .halo = m->halo,
                                     .link = sora_shard_find_link(task->machine, m->shard),
                                     .epoch = m->sender_epoch,
                                     .step = m->step,
                                     .window = m->window,
                                     .range = m->range,
                                     .again = m->again,
                                     .have = m->have};
    if (event.link < 0)
        return;
    pump(sim, index, task, &event, m);
}

static void take_work(struct sim *sim, int32_t index, const struct sim_message *m)
{
    struct sim_task *task = find_task(&sim->nodes[index], m->job, m->epoch);
    if (!task || task->stopped)
        return;
    struct sora_shard_event event = {.kind = m->work, .step = m->step, .window = m->window};
    struct sora_shard_action again = {.step = m->step};
    if (m->work == SORA_SHARD_TICK)
        start_load(sim, index, task, &again);
    else if (m->work == SORA_SHARD_WINDOW_DONE && sim->now < sim->faults_until &&
             sim_random(sim, 400) == 0)
        event.kind = SORA_SHARD_DEVICE_FAILED;
    else if (m->work == SORA_SHARD_WINDOW_DONE)
        run_window(sim, task, m->step, m->window);
    else if (m->work == SORA_SHARD_UPDATED)
        update(sim, task, m->step);
    if (m->work != SORA_SHARD_TICK)
        step_machine(sim, index, task, &event);
}

static void take_home_word(struct sim *sim, int32_t index, const struct sim_message *m)
{
    struct sim_node *node = &sim->nodes[index];
    struct sim_task *task = find_task(node, m->job, m->epoch);
    if (!task)
        return;
    if (m->kind == SIM_REVOKE) {
        end_task(node, task);
        return;
    }
    struct sora_shard_event event = {.step = m->step};
    if (m->kind == SIM_RENEW) {
        sora_time until = node->sent_at[m->sequence % 64] + 60 * SORA_TIME_SECOND;
        task->lease_until = until > task->lease_until ? until : task->lease_until;
        event.kind = SORA_SHARD_LEASE;
        event.until = task->lease_until;
    } else {
        event.kind =
            m->kind == SIM_SEGMENT_ACK ? SORA_SHARD_SEGMENT_ACKED : SORA_SHARD_CHECKPOINT_ACKED;
    }
    if (task->machine && !task->stopped)
        step_machine(sim, index, task, &event);
}

/* ---- beats ---- */

static void fill_reports(const struct sim *sim, const struct sim_node *node,
                         struct sora_farm_beat *beat)
{
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        const struct sim_task *task = &node->tasks[i];
        if (!task->used)
            continue;
        struct sora_farm_report *report = &beat->reports[beat->report_count++];
        *report = (struct sora_farm_report){.job = sim->jobs[task->job].spec.id,
                                            .shard = task->shard,
                                            .code = task->code,
                                            .epoch = task->epoch,
                                            .version = task->version,
                                            .work = SORA_WORK_GRANTED};
        if (task->text)
            report->work = SORA_WORK_RUNNING;
        if (task->text)
            report->version = UINT64_MAX;
        if (task->machine) {
            struct sora_shard_view view = sora_shard_view(task->machine);
            report->step = view.step;
            report->work = view.state == SORA_SHARD_PARKED ? SORA_WORK_PARKED : SORA_WORK_RUNNING;
        }
        if (task->stopped)
            report->work = SORA_WORK_STOPPED;
    }
}

static void send_beat(struct sim *sim, int32_t index)
{
    struct sim_node *node = &sim->nodes[index];
    struct sim_message *m = sim_message(sim, SIM_BEAT, index, SIM_HOME);
    m->beat = calloc(1, sizeof(*m->beat));
    m->beat->boot = node->boot;
    m->beat->sequence = ++node->sequence;
    m->beat->draining = node->draining;
    m->beat->device_count = node->device_count;
    node->sent_at[node->sequence % 64] = sim->now;
    for (int32_t i = 0; i < node->device_count; i++) {
        struct sora_farm_device *device = &m->beat->devices[i];
        snprintf(device->name, sizeof(device->name), "cpu%d", i);
        device->device_class = node->device_class;
        device->memory_free_bytes = 1000000000;
        device->offered = true;
        device->speed_count = 1;
        device->speeds[0] = (struct sora_farm_speed){1, node->window_us[i], 1000};
    }
    fill_reports(sim, node, m->beat);
    sim_send(sim, m);
    struct sim_message *next = sim_message(sim, SIM_BEAT_TICK, index, index);
    next->life = node->life;
    sim_later(sim, next, SORA_TIME_SECOND);
}

/* Deadlines of the machines; a real node arms a timer, here a fine tick does. */
static void tick(struct sim *sim, int32_t index)
{
    struct sim_node *node = &sim->nodes[index];
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        struct sim_task *task = &node->tasks[i];
        struct sora_shard_event event = {.kind = SORA_SHARD_TICK};
        if (task->used && task->machine && !task->stopped &&
            sim->now >= sora_shard_next_deadline(task->machine))
            step_machine(sim, index, task, &event);
        else if (task->used && !task->machine && sim->now >= task->lease_until)
            end_task(node, task);
    }
    struct sim_message *next = sim_message(sim, SIM_NODE_TICK, index, index);
    next->life = node->life;
    sim_later(sim, next, 100 * SIM_MS);
}

void sim_node_check(struct sim *sim, int32_t index)
{
    struct sim_node *node = &sim->nodes[index];
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        struct sim_task *task = &node->tasks[i];
        if (!task->used || !task->machine)
            continue;
        struct sora_shard_view view = sora_shard_view(task->machine);
        SIM_CHECK(sim,
                  view.state == SORA_SHARD_STOPPED || sim->now <= view.lease_until + 200 * SIM_MS,
                  "node %d holds a lease past its end", index);
        for (int32_t k = 0; k < i; k++)
            SIM_CHECK(sim,
                      !node->tasks[k].used || node->tasks[k].stopped || task->stopped ||
                          node->tasks[k].device != task->device,
                      "node %d runs two tasks on device %d", index, task->device);
    }
}

void sim_node_message(struct sim *sim, const struct sim_message *m)
{
    struct sim_node *node = &sim->nodes[m->to];
    if (!node->up || (m->life && m->life != node->life))
        return;
    struct sim_task *task;
    switch (m->kind) {
    case SIM_OFFER:
        take_offer(sim, m->to, m);
        break;
    case SIM_ORDER:
        take_order(sim, m->to, m);
        break;
    case SIM_HALO:
    case SIM_AT:
        take_halo(sim, m->to, m);
        break;
    case SIM_WORK:
        take_work(sim, m->to, m);
        break;
    case SIM_TEXT_WORK:
        task = find_task(node, m->job, m->epoch);
        if (task) {
            send_home(sim, m->to, task, SIM_TEXT, 0);
            struct sim_message *again = sim_message(sim, SIM_TEXT_WORK, m->to, m->to);
            again->life = m->life;
            again->job = m->job;
            again->epoch = m->epoch;
            sim_later(sim, again, 2 * SORA_TIME_SECOND);
        }
        break;
    case SIM_BEAT_TICK:
        send_beat(sim, m->to);
        break;
    case SIM_NODE_TICK:
        tick(sim, m->to);
        break;
    default:
        take_home_word(sim, m->to, m);
    }
}

void sim_node_start(struct sim *sim, int32_t index)
{
    struct sim_node *node = &sim->nodes[index];
    if (node->up)
        return;
    node->up = true;
    node->draining = false;
    node->life = ++sim->lives;
    node->boot = ++sim->boots;
    node->sequence = 0;
    memset(node->ended, 0, sizeof(node->ended));
    tick(sim, index);
    send_beat(sim, index);
}

void sim_node_kill(struct sim *sim, int32_t index)
{
    struct sim_node *node = &sim->nodes[index];
    for (int32_t i = 0; i < SIM_TASKS; i++) {
        if (node->tasks[i].used)
            end_task(node, &node->tasks[i]);
    }
    node->up = false;
    sim->kills++;
}
