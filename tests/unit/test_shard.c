/* The shard machine alone: order of actions, parking, the kept log, leases, refusals. The exchange
 * between shards under faults is the simulator's (tests/sim). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/shard.h"

#include <string.h>

#define COUNT 128

static struct sora_shard_params make_params(void)
{
    return (struct sora_shard_params){.timeline = {20, 5, 1, false},
                                      .steps = 6,
                                      .owned = {0, 20},
                                      .epoch = 3,
                                      .checkpoint_steps = 2,
                                      .context_latents = 2,
                                      .latent_bytes = 10,
                                      .kept_bytes_max = 100000,
                                      .lease_until = 1000 * SORA_TIME_SECOND};
}

static struct sora_shard *make(const struct sora_shard_params *params)
{
    struct sora_shard *shard = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_shard_create(params, &shard, &fault), SORA_OK);
    return shard;
}

struct log {
    struct sora_shard_action items[COUNT];
    struct sora_shard_actions actions;
};

static int step(struct sora_shard *shard, sora_time now, struct sora_shard_event event,
                struct log *log)
{
    log->actions = (struct sora_shard_actions){.items = log->items, .capacity = COUNT};
    return sora_shard_step(shard, now, &event, &log->actions);
}

static const struct sora_shard_action *find(const struct log *log, enum sora_shard_action_kind kind)
{
    for (int32_t i = 0; i < log->actions.count; i++) {
        if (log->items[i].kind == kind)
            return &log->items[i];
    }
    return NULL;
}

/* Answers what the worker would, until nothing is left to do. Returns the updates made. */
static int32_t work(struct sora_shard *shard, struct log *log)
{
    int32_t updates = 0;
    for (int32_t i = 0; i < log->actions.count;) {
        struct sora_shard_action a = log->items[i];
        struct sora_shard_event event = {.step = a.step, .window = a.window};
        if (a.kind == SORA_SHARD_LOAD)
            event.kind = SORA_SHARD_LOADED;
        else if (a.kind == SORA_SHARD_RUN_WINDOW)
            event.kind = SORA_SHARD_WINDOW_DONE;
        else if (a.kind == SORA_SHARD_UPDATE)
            event.kind = SORA_SHARD_UPDATED;
        else if (a.kind == SORA_SHARD_TAKE_CHECKPOINT)
            event.kind = SORA_SHARD_CHECKPOINT_TAKEN;
        else if (a.kind == SORA_SHARD_DECODE)
            event.kind = SORA_SHARD_DECODED;
        else if (a.kind == SORA_SHARD_SEND_SEGMENT)
            event.kind = SORA_SHARD_SEGMENT_ACKED;
        else {
            i++;
            continue;
        }
        updates += a.kind == SORA_SHARD_UPDATE;
        struct log next;
        assert_int_equal(step(shard, 1, event, &next), SORA_OK);
        assert_false(next.actions.more);
        int32_t left = log->actions.count - i - 1;
        assert_true(i + left + next.actions.count <= COUNT);
        memmove(log->items + i, log->items + i + 1, (size_t)left * sizeof(*log->items));
        memcpy(log->items + i + left, next.items, (size_t)next.actions.count * sizeof(*log->items));
        log->actions.count = i + left + next.actions.count;
    }
    return updates;
}

static void one_shard_runs_to_the_end(void **state)
{
    (void)state;
    struct sora_shard_params params = make_params();
    struct sora_shard *shard = make(&params);
    struct log log;
    assert_int_equal(step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_TICK}, &log),
                     SORA_OK);
    assert_non_null(find(&log, SORA_SHARD_LOAD));
    assert_int_equal(work(shard, &log), 6);
    assert_int_equal(sora_shard_view(shard).state, SORA_SHARD_DONE);
    assert_non_null(find(&log, SORA_SHARD_SEND_CHECKPOINT));
    sora_shard_destroy(&shard);
    assert_null(shard);
}

static void parking_stops_at_the_next_checkpoint(void **state)
{
    (void)state;
    struct sora_shard_params params = make_params();
    struct sora_shard *shard = make(&params);
    struct log log;
    step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_TICK}, &log);
    struct log loaded;
    step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_LOADED}, &loaded);
    assert_non_null(find(&loaded, SORA_SHARD_RUN_WINDOW));
    step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_PARK}, &log);
    assert_int_equal(work(shard, &loaded), 2);
    assert_int_equal(sora_shard_view(shard).state, SORA_SHARD_PARKED);
    assert_int_equal(sora_shard_view(shard).step, 2);
    sora_shard_destroy(&shard);
}

static void a_lease_ends_the_shard(void **state)
{
    (void)state;
    struct sora_shard_params params = make_params();
    params.lease_until = 100;
    struct sora_shard *shard = make(&params);
    struct log log;
    step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_LEASE, .until = 200}, &log);
    step(shard, 100, (struct sora_shard_event){.kind = SORA_SHARD_TICK}, &log);
    assert_null(find(&log, SORA_SHARD_STOP));
    assert_true(sora_shard_next_deadline(shard) <= 200);
    step(shard, 200, (struct sora_shard_event){.kind = SORA_SHARD_TICK}, &log);
    assert_int_equal(find(&log, SORA_SHARD_STOP)->code, SORA_E_TIMEOUT);
    assert_int_equal(step(shard, 201, (struct sora_shard_event){.kind = SORA_SHARD_PARK}, &log),
                     SORA_E_STALE);
    sora_shard_destroy(&shard);
}

static struct sora_shard_params make_left_half(void)
{
    struct sora_shard_params params = make_params();
    params.owned = (struct sora_range){0, 10};
    params.link_count = 1;
    params.links[0] = (struct sora_shard_link){.shard = 1, .owned = {10, 20}, .epoch = 4};
    return params;
}

static void halos_are_checked(void **state)
{
    (void)state;
    struct sora_shard_params params = make_left_half();
    struct sora_shard *shard = make(&params);
    struct log log;
    struct sora_range needs =
        sora_timeline_halo_latents(&params.timeline, 0, params.links[0].owned, params.owned);
    assert_true(needs.first < needs.end);
    struct sora_shard_event halo = {
        .kind = SORA_SHARD_HALO, .halo = SORA_SHARD_LATENTS, .epoch = 4, .range = needs};
    halo.epoch = 3;
    assert_int_equal(step(shard, 0, halo, &log), SORA_E_STALE);
    halo.epoch = 4;
    halo.range.end++;
    assert_int_equal(step(shard, 0, halo, &log), SORA_E_INVALID);
    halo.range = needs;
    halo.step = SORA_SHARD_AHEAD;
    assert_int_equal(step(shard, 0, halo, &log), SORA_E_INVALID);
    halo.step = 0;
    halo.link = 1;
    assert_int_equal(step(shard, 0, halo, &log), SORA_E_INVALID);
    halo.link = 0;
    assert_int_equal(step(shard, 0, halo, &log), SORA_OK);
    assert_non_null(find(&log, SORA_SHARD_KEEP_HALO));
    assert_int_equal(step(shard, 0, halo, &log), SORA_OK);
    assert_null(find(&log, SORA_SHARD_KEEP_HALO));
    sora_shard_destroy(&shard);
}

static void limits_are_said(void **state)
{
    (void)state;
    struct sora_shard_params params = make_left_half();
    params.kept_bytes_max = 10;
    struct sora_shard *shard = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_shard_create(&params, &shard, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "the limit is 10"));
    params = make_left_half();
    params.resume_step = 3;
    assert_int_equal(sora_shard_create(&params, &shard, NULL), SORA_E_INVALID);
    params = make_left_half();
    params.links[0].owned.first = 9;
    assert_int_equal(sora_shard_create(&params, &shard, NULL), SORA_E_INVALID);
    assert_null(shard);
    params = make_params();
    shard = make(&params);
    struct log log;
    log.actions = (struct sora_shard_actions){.items = log.items, .capacity = 1};
    struct sora_shard_event event = {.kind = SORA_SHARD_TICK};
    assert_int_equal(sora_shard_step(shard, 0, &event, &log.actions), SORA_E_FULL);
    assert_int_equal(step(shard, 0, (struct sora_shard_event){.kind = SORA_SHARD_UPDATED}, &log),
                     SORA_E_STALE);
    sora_shard_destroy(&shard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_shard_runs_to_the_end),
        cmocka_unit_test(parking_stops_at_the_next_checkpoint),
        cmocka_unit_test(a_lease_ends_the_shard),
        cmocka_unit_test(halos_are_checked),
        cmocka_unit_test(limits_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
