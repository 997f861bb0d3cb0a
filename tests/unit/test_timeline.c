/* Windows, weights, shares and shards against brute force, for every length that matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/timeline.h"

#include <math.h>
#include <string.h>

#define LATENTS_MAX 1201

static struct sora_timeline_params make(int32_t t, int32_t l, int32_t o)
{
    return (struct sora_timeline_params){
        .latent_count = t, .window_latents = l, .overlap_latents = o};
}

/* Windows of one step: where they start, that they ascend and overlap by at least O. */
static int check_windows(const struct sora_timeline_params *p, int32_t step,
                         struct sora_window *windows)
{
    int32_t count = sora_timeline_window_count(p, step);
    int32_t t = p->latent_count, l = p->window_latents;
    for (int32_t k = 0; k < count; k++) {
        struct sora_window w = windows[k] = sora_timeline_window(p, step, k);
        if (w.length != (t < l ? t : l) || w.payload_end != w.start + w.length)
            return 1;
        if (w.payload_start != w.start + (w.start > 0) || w.payload_end > t)
            return 2;
        if (k > 0 && w.start <= windows[k - 1].start)
            return 3;
        if (k > 0 && windows[k - 1].payload_end - w.payload_start < p->overlap_latents)
            return 4;
    }
    return windows[0].start != 0 || windows[count - 1].payload_end != t;
}

/* Every latent: covering() against the payloads, weights against the formula, shares against the
 * quotient and their sum against 1. */
static int check_latents(const struct sora_timeline_params *p, int32_t step,
                         const struct sora_window *windows, int32_t count)
{
    int32_t low = 0, high = 0;
    for (int32_t f = 0; f < p->latent_count; f++) {
        while (windows[low].payload_end <= f)
            low++;
        while (high < count && windows[high].payload_start <= f)
            high++;
        int32_t first, end;
        sora_timeline_covering(p, step, f, &first, &end);
        if (first != low || end != high || first >= end)
            return 1;
        float sum = 0.0f;
        double shares = 0.0;
        for (int32_t k = first; k < end; k++) {
            double up = windows[k].payload_start ? f - windows[k].payload_start + 1 : 1e9;
            double down =
                windows[k].payload_end < p->latent_count ? windows[k].payload_end - f : 1e9;
            double expected = fmin(1.0, fmin(up, down) / (p->overlap_latents + 1));
            float weight = sora_timeline_weight(p, step, k, f);
            if (fabs(weight - expected) > 1e-7 || weight <= 0.0f)
                return 2;
            sum += weight;
        }
        for (int32_t k = first; k < end; k++) {
            float share = sora_timeline_share(p, step, k, f);
            if (share != sora_timeline_weight(p, step, k, f) / sum)
                return 3;
            shares += share;
        }
        if (fabs(shares - 1.0) > 1e-6)
            return 4;
        if (end - first == 1 && sora_timeline_share(p, step, first, f) != 1.0f)
            return 5;
    }
    return 0;
}

static void sweep(int32_t l, int32_t overlap_max)
{
    static struct sora_window windows[LATENTS_MAX];
    for (int32_t o = 1; o <= overlap_max; o++) {
        for (int32_t t = 1; t <= LATENTS_MAX; t++) {
            struct sora_timeline_params p = make(t, l, o);
            assert_int_equal(sora_timeline_check(&p, NULL), SORA_OK);
            for (int32_t step = 0; step < 2; step++) {
                int failed = check_windows(&p, step, windows);
                int32_t count = sora_timeline_window_count(&p, step);
                if (!failed)
                    failed = 10 * check_latents(&p, step, windows, count);
                if (t <= l && (count != 1 || windows[0].length != t))
                    failed = 100;
                if (failed)
                    fail_msg("T %d L %d O %d step %d: check %d", t, l, o, step, failed);
            }
        }
    }
}

static void test_every_length_21(void **state)
{
    (void)state;
    sweep(21, 10);
}

static void test_every_length_9(void **state)
{
    (void)state;
    sweep(9, 5);
}

/* Extreme shapes: stride 1, smallest window, overlap larger than half a window. */
static void test_extreme_shapes(void **state)
{
    (void)state;
    static struct sora_window windows[256];
    for (int32_t l = 3; l <= 12; l++) {
        for (int32_t o = 1; o <= l - 2; o++) {
            for (int32_t t = 1; t <= 90; t++) {
                struct sora_timeline_params p = make(t, l, o);
                for (int32_t step = 0; step < 2; step++) {
                    assert_int_equal(check_windows(&p, step, windows), 0);
                    int32_t count = sora_timeline_window_count(&p, step);
                    assert_int_equal(check_latents(&p, step, windows, count), 0);
                }
            }
        }
    }
}

static void test_wan_example(void **state)
{
    (void)state;
    /* 241 latents, L 21, O 5: 16 windows at stride 15; odd steps shift by 7 and need one more. */
    struct sora_timeline_params p = make(241, 21, 5);
    assert_int_equal(sora_timeline_window_count(&p, 0), 16);
    assert_int_equal(sora_timeline_window_count(&p, 1), 17);
    assert_int_equal(sora_timeline_window(&p, 0, 1).start, 15);
    assert_int_equal(sora_timeline_window(&p, 1, 1).start, 7);
    assert_int_equal(sora_timeline_window(&p, 1, 2).start, 22);
    assert_int_equal(sora_timeline_window(&p, 0, 15).start, 220);
    assert_int_equal(sora_timeline_window(&p, 1, 16).start, 220);
    p.static_phase = true;
    assert_int_equal(sora_timeline_window(&p, 1, 1).start, 15);
    /* Ramp 1/6 .. 5/6 where windows 0 and 1 overlap: latents 16..20. */
    for (int32_t i = 0; i < 5; i++)
        assert_true(sora_timeline_weight(&p, 0, 1, 16 + i) == (float)(i + 1) / 6.0f);
}

static void test_refusals(void **state)
{
    (void)state;
    struct sora_timeline_params bad[] = {
        make(0, 21, 5),  make(SORA_TIMELINE_LATENTS_MAX + 1, 21, 5),
        make(50, 2, 1),  make(50, 1025, 5),
        make(50, 21, 0), make(50, 21, 20),
        make(-5, 21, 5), make(50, 21, INT32_MIN)};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sora_fault fault = {0};
        assert_int_equal(sora_timeline_check(&bad[i], &fault), SORA_E_INVALID);
        assert_true(strlen(fault.text) > 20);
    }
    struct sora_timeline_params longest = make(SORA_TIMELINE_LATENTS_MAX, 1024, 1022);
    assert_int_equal(sora_timeline_check(&longest, NULL), SORA_OK);
    assert_int_equal(sora_timeline_window_count(&longest, 1), 65536 - 1024 + 1);
}

static bool in_range(struct sora_range range, int32_t value)
{
    return value >= range.first && value < range.end;
}

/* Every window has one runner, and the halos bring each reader what it lacks, nothing else. */
static void check_shards(const struct sora_timeline_params *p, int32_t step,
                         const struct sora_range *shards, int count)
{
    int32_t windows = sora_timeline_window_count(p, step), run = 0;
    for (int s = 0; s < count; s++) {
        struct sora_range own = sora_timeline_shard_windows(p, step, shards[s]);
        assert_int_equal(own.first, run);
        run = own.end;
        struct sora_range inputs = sora_timeline_shard_inputs(p, step, shards[s]);
        for (int32_t f = 0; f < p->latent_count; f++) {
            bool read = false;
            for (int32_t k = own.first; k < own.end; k++) {
                struct sora_window w = sora_timeline_window(p, step, k);
                read |= f >= w.start && f < w.start + w.length;
            }
            assert_int_equal(in_range(inputs, f), read);
            for (int o = 0; o < count; o++) {
                struct sora_range halo = sora_timeline_halo_latents(p, step, shards[o], shards[s]);
                assert_int_equal(in_range(halo, f), read && in_range(shards[o], f));
            }
        }
        struct sora_range covering = sora_timeline_shard_covering(p, step, shards[s]);
        for (int32_t k = 0; k < windows; k++) {
            struct sora_range halo = sora_timeline_halo_predictions(p, step, k, shards[s]);
            assert_int_equal(in_range(covering, k), halo.end > halo.first);
        }
    }
    assert_int_equal(run, windows);
}

static void test_shards(void **state)
{
    (void)state;
    struct sora_range two[] = {{0, 40}, {40, 121}};
    struct sora_range uneven[] = {{0, 3}, {3, 60}, {60, 61}, {61, 100}, {100, 121}};
    struct sora_range whole[] = {{0, 121}};
    for (int32_t o = 1; o <= 10; o += 3) {
        struct sora_timeline_params p = make(121, 21, o);
        for (int32_t step = 0; step < 2; step++) {
            check_shards(&p, step, two, 2);
            check_shards(&p, step, uneven, 5);
            check_shards(&p, step, whole, 1);
        }
    }
}

/* A border between two windows of the even steps costs 2 O latents both ways and the throwaway:
 * within 1.1 times 2 O at O = 5. */
static void test_halo_cost(void **state)
{
    (void)state;
    struct sora_timeline_params p = make(241, 21, 5);
    struct sora_range left = {0, 108}, right = {108, 241};
    int32_t count = 0;
    struct sora_range a = sora_timeline_halo_latents(&p, 0, left, right);
    struct sora_range b = sora_timeline_halo_latents(&p, 0, right, left);
    count += a.end - a.first + b.end - b.first;
    for (int32_t k = 0; k < sora_timeline_window_count(&p, 0); k++) {
        struct sora_range own = sora_timeline_shard_windows(&p, 0, left);
        struct sora_range halo =
            sora_timeline_halo_predictions(&p, 0, k, k < own.end ? right : left);
        count += halo.end - halo.first;
    }
    assert_int_equal(count, 2 * 5 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length_21), cmocka_unit_test(test_every_length_9),
        cmocka_unit_test(test_extreme_shapes),  cmocka_unit_test(test_wan_example),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_halo_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
