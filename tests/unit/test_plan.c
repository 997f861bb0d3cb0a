/* The planner against exhaustive search, and its words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/core/plan.h"

#include <string.h>

static struct sora_plan_job make_job(int32_t latents)
{
    return (struct sora_plan_job){.timeline = {latents, 21, 5, false},
                                  .steps = 20,
                                  .context_latents = 8,
                                  .memory_fixed_bytes = 6000000000,
                                  .memory_latent_bytes = 1000000,
                                  .halo_latent_bytes = 200000};
}

static struct sora_plan_device make_device(const char *name, int64_t window_us)
{
    struct sora_plan_device device = {.device_class = 7,
                                      .memory_free_bytes = 8000000000,
                                      .window_us = window_us,
                                      .decode_us = 1000};
    memcpy(device.name, name, strlen(name));
    return device;
}

static int64_t search(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                      int32_t count, const struct sora_range *units, int32_t unit_count,
                      int32_t from, unsigned used)
{
    if (from == unit_count)
        return 0;
    int64_t best = INT64_MAX;
    for (int32_t d = 0; d < count; d++) {
        for (int32_t end = from + 1; !(used & 1u << d) && end <= unit_count; end++) {
            struct sora_range range = {units[from].first, units[end - 1].end};
            bool whole = range.first == 0 && range.end == job->timeline.latent_count;
            if ((!whole && range.end - range.first < sora_plan_shard_latents_min(&job->timeline)) ||
                !sora_plan_fits(job, &devices[d], range))
                continue;
            int64_t own = sora_plan_cost_us(job, &devices[d], range);
            int64_t rest = search(job, devices, count, units, unit_count, end, used | 1u << d);
            int64_t all = own > rest ? own : rest;
            best = all < best ? all : best;
        }
    }
    return best;
}

/* The program places devices in one order; the ends of a timeline make orders differ by one border,
 * so it may lose at most the halo of that border. */
static void plan_is_the_best_there_is(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(100);
    struct sora_range units[16];
    int32_t count = sora_timeline_window_count(&job.timeline, 0), at = 0;
    for (int32_t w = 1; w <= count; w++) {
        int32_t end = 100;
        if (w < count)
            end = (sora_timeline_window(&job.timeline, 0, w).payload_start +
                   sora_timeline_window(&job.timeline, 0, w - 1).payload_end) /
                  2;
        units[w - 1] = (struct sora_range){at, end};
        at = end;
    }
    for (int32_t round = 0; round < 40; round++) {
        struct sora_plan_device devices[3];
        for (int32_t d = 0; d < 3; d++)
            devices[d] = make_device("d", 100000 + (round * 7919 + d * 104729) % 900000);
        struct sora_plan plan;
        assert_int_equal(sora_plan_make(&job, devices, 3, &plan, NULL), SORA_OK);
        int64_t worst = 0;
        for (int32_t i = 0; i < plan.shard_count; i++)
            worst = plan.shards[i].cost_us > worst ? plan.shards[i].cost_us : worst;
        int64_t best = search(&job, devices, 3, units, count, 0, 0);
        assert_true(worst >= best);
        assert_true(worst <= best + best / 20 + 4000000);
    }
}

static void slow_devices_are_left_out(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(60);
    struct sora_plan_device devices[3] = {make_device("ash/cpu0", 1000000),
                                          make_device("brook/cpu0", 1000000),
                                          make_device("elm/cpu1", 90000000)};
    struct sora_plan plan;
    assert_int_equal(sora_plan_make(&job, devices, 3, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 2);
    assert_int_equal(plan.shards[0].latents.first, 0);
    assert_int_equal(plan.shards[0].latents.end, plan.shards[1].latents.first);
    assert_int_equal(plan.shards[1].latents.end, 60);
    assert_int_equal(plan.left_out[2], SORA_PLAN_TOO_SLOW);
    struct sora_bytes words;
    sora_bytes_init(&words, 4096);
    assert_int_equal(sora_plan_explain(&job, devices, 3, &plan, &words), SORA_OK);
    assert_non_null(
        strstr((char *)words.data, "60 latents in 4 windows of 21, 20 steps, 2 shards"));
    assert_non_null(strstr((char *)words.data, "left out: elm/cpu1, one window takes 1 min 30 s"));
    sora_bytes_fini(&words);
}

/* Two classes share a job that ends a tenth sooner for it, or that neither can hold alone. */
static void classes_are_mixed_for_a_tenth(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(60);
    struct sora_plan_device devices[2] = {make_device("a", 1000000), make_device("b", 900000)};
    devices[1].device_class = 9;
    struct sora_plan plan;
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 2);
    assert_int_equal(plan.device_class, 0);
    job.device_class = 7; /* it began there */
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 1);
    assert_int_equal(plan.device_class, 7);
    assert_int_equal(plan.left_out[1], SORA_PLAN_OTHER_CLASS);
    job.device_class = 0;
    devices[1].window_us = 20000; /* a card beside a CPU */
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 1);
    assert_int_equal(plan.device_class, 9);
    assert_int_equal(plan.left_out[0], SORA_PLAN_OTHER_CLASS);
    struct sora_bytes words;
    sora_bytes_init(&words, 4096);
    assert_int_equal(sora_plan_explain(&job, devices, 2, &plan, &words), SORA_OK);
    assert_non_null(strstr((char *)words.data, "a, another class of device, with which the job"));
    sora_bytes_fini(&words);
    job.memory_latent_bytes = 50000000; /* 40 latents each */
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.device_class, 0);
}

/* A card need not hold the text encoder; each kind is told what it lacks. */
static void cards_need_less_memory(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(60);
    job.memory_fixed_bytes = 30000000000;
    job.memory_card_bytes = 7000000000;
    struct sora_plan_device devices[2] = {make_device("ash/cpu0", 1), make_device("ash/gpu0", 1)};
    devices[1].is_card = true;
    devices[1].device_class = 9;
    devices[0].memory_free_bytes = 24000000000;
    struct sora_plan plan;
    struct sora_fault fault = {0};
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shards[0].device, 1);
    devices[1].memory_free_bytes = 6000000000;
    job.memory_int8_bytes = 5000000000; /* of a card that holds weights so, and of no other */
    devices[1].is_int8 = true;
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shards[0].device, 1);
    devices[1].is_int8 = false;
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, &fault), SORA_E_NOT_FOUND);
    assert_string_equal(fault.text, "a CPU needs 30.0 GB, largest free is 24.0 GB on ash/cpu0; a "
                                    "card needs 7.0 GB, largest free is 6.0 GB on ash/gpu0");
}

static void waiting_has_a_reason_in_words(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(60);
    job.memory_fixed_bytes = 6090000000;
    struct sora_plan_device devices[2] = {make_device("ash/cpu0", 1), make_device("brook/gpu0", 1)};
    devices[0].memory_free_bytes = 1000000000;
    devices[1].memory_free_bytes = 4000000000;
    struct sora_plan plan;
    struct sora_fault fault = {0};
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, &fault), SORA_E_NOT_FOUND);
    assert_string_equal(fault.text, "needs 6.1 GB, largest free is 4.0 GB on brook/gpu0");
    fault = (struct sora_fault){0};
    job.memory_latent_bytes = 50000000; /* 60 latents: 3 GB; the smallest shard fits */
    devices[1].memory_free_bytes = 7000000000;
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "needs 9.0 GB on one device, or more devices"));
    fault = (struct sora_fault){0};
    assert_int_equal(sora_plan_make(&job, devices, 0, &plan, &fault), SORA_E_NOT_FOUND);
    job.steps = 0;
    fault = (struct sora_fault){0};
    assert_int_equal(sora_plan_make(&job, devices, 2, &plan, &fault), SORA_E_INVALID);
}

static void memory_shares_a_job(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(100);
    job.memory_latent_bytes = 50000000;
    struct sora_plan_device devices[3];
    for (int32_t i = 0; i < 3; i++) {
        devices[i] = make_device("d", i == 0 ? 1000 : 10000000);
        devices[i].memory_free_bytes = 8100000000; /* 42 latents each */
    }
    struct sora_plan plan;
    assert_int_equal(sora_plan_make(&job, devices, 3, &plan, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 3);
    for (int32_t i = 0; i < 3; i++)
        assert_true(sora_plan_fits(&job, &devices[plan.shards[i].device], plan.shards[i].latents));
}

static void the_longest_timeline_is_planned(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(SORA_TIMELINE_LATENTS_MAX);
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    for (int32_t i = 0; i < SORA_PLAN_DEVICES_MAX; i++) {
        devices[i] = make_device("d", 3600000000);
        devices[i].memory_free_bytes = (int64_t)1 << 48;
    }
    struct sora_plan plan;
    assert_int_equal(sora_plan_make(&job, devices, SORA_PLAN_DEVICES_MAX, &plan, NULL), SORA_OK);
    assert_true(plan.shard_count > 50);
    assert_true(plan.finish_us > 0);
}

/* What was never measured is guessed from the job, a card as many times faster. */
static void unmeasured_devices_are_guessed_by_the_job(void **state)
{
    (void)state;
    struct sora_plan_job job = make_job(20);
    struct sora_plan_device cpu = make_device("cpu", 0), card = cpu;
    cpu.decode_us = card.decode_us = 0;
    card.is_card = true;
    const struct sora_range all = {0, job.timeline.latent_count};
    job.window_us_guess = 200000;
    job.decode_us_guess = 0;
    int64_t windows_us = sora_plan_cost_us(&job, &cpu, all);
    job.decode_us_guess = 30000;
    assert_int_equal(sora_plan_cost_us(&job, &cpu, all) - windows_us, 20 * 30000);
    assert_in_range(sora_plan_cost_us(&job, &card, all), windows_us / 25, windows_us / 15);
    cpu.window_us = 5000; /* measured, but nothing decoded yet */
    assert_int_equal(sora_plan_cost_us(&job, &cpu, all), windows_us / 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_the_best_there_is),
        cmocka_unit_test(slow_devices_are_left_out),
        cmocka_unit_test(classes_are_mixed_for_a_tenth),
        cmocka_unit_test(cards_need_less_memory),
        cmocka_unit_test(waiting_has_a_reason_in_words),
        cmocka_unit_test(memory_shares_a_job),
        cmocka_unit_test(unmeasured_devices_are_guessed_by_the_job),
        cmocka_unit_test(the_longest_timeline_is_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
