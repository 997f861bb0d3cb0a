/* The starting noise: variances, covariances of windows, addressability of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/philox.h"
#include "model/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct sora_noise_params make(enum sora_noise_kind kind, int32_t t, size_t elements)
{
    return (struct sora_noise_params){
        .timeline = {.latent_count = t, .window_latents = 21, .overlap_latents = 5},
        .kind = kind,
        .seed = 0x5eed,
        .shot = 2,
        .element_count = elements};
}

static float *all_latents(const struct sora_noise_params *params)
{
    struct sora_noise *noise = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_noise_create(params, &noise, &fault), SORA_OK);
    size_t n = params->element_count;
    float *values = malloc((size_t)params->timeline.latent_count * n * sizeof(float));
    assert_non_null(values);
    for (int32_t f = 0; f < params->timeline.latent_count; f++)
        sora_noise_latent(noise, f, values + (size_t)f * n);
    sora_noise_destroy(&noise);
    assert_null(noise);
    return values;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum / (double)n;
}

/* Per latent: variance 1 +- 0.01 and mean 0 on 1.2e5 samples (a standard error of 0.0041 and
 * 0.0029; the latents of FREENOISE are copies of 21). */
static void test_variance(void **state)
{
    (void)state;
    enum { N = 120000 };
    for (int kind = 0; kind < SORA_NOISE_KIND_COUNT; kind++) {
        struct sora_noise_params params = make((enum sora_noise_kind)kind, 30, N);
        float *values = all_latents(&params);
        double total = 0;
        for (int f = 0; f < 30; f++) {
            double mean = 0;
            for (int i = 0; i < N; i++)
                mean += (double)values[(size_t)f * N + (size_t)i] / N;
            double variance = dot(values + (size_t)f * N, values + (size_t)f * N, N);
            total += variance / 30;
            if (fabs(variance - 1) > 0.0125 || fabs(mean) > 0.0125)
                fail_msg("%s latent %d: mean %g variance %g", sora_noise_kind_name(kind), f, mean,
                         variance);
        }
        assert_true(fabs(total - 1) < 0.01);
        free(values);
    }
}

/* The covariance that the mixing coefficients give, and what is asked of it: unit variance exactly,
 * off-diagonal at most 0.05 within a window, 0.04 at lag L, window means correlated by 0.67 with
 * nominal energy 1/L (within 1.2). */
static double mix_covariance(const struct sora_noise_params *params, int32_t f, int32_t g)
{
    struct sora_noise_mix a = sora_noise_mix(params, f), b = sora_noise_mix(params, g);
    double sum = a.common * b.common;
    for (int32_t u = 0; u < params->timeline.latent_count; u++) {
        double x = (u == a.latent ? a.own : 0) + (u >= a.first && u < a.end ? a.window : 0);
        double y = (u == b.latent ? b.own : 0) + (u >= b.first && u < b.end ? b.window : 0);
        sum += x * y;
    }
    return sum;
}

static double window_mean_covariance(const struct sora_noise_params *params, int32_t s, int32_t t)
{
    double sum = 0;
    for (int32_t i = 0; i < 21; i++) {
        for (int32_t j = 0; j < 21; j++)
            sum += mix_covariance(params, s + i, t + j);
    }
    return sum / (21.0 * 21.0);
}

static void test_shared_mean_covariance(void **state)
{
    (void)state;
    struct sora_noise_params params = make(SORA_NOISE_SHARED_MEAN, 241, 1);
    for (int32_t f = 0; f < 241; f++) {
        assert_true(fabs(mix_covariance(&params, f, f) - 1) < 1e-14);
        for (int32_t g = f + 1; g < f + 21 && g < 241; g++)
            assert_true(fabs(mix_covariance(&params, f, g)) <= 0.05);
        /* Ten latents at each end have a window that is not centred. */
        bool centred = f >= 10 && f + 21 < 231;
        if (f + 21 < 241)
            assert_true(fabs(mix_covariance(&params, f, f + 21)) <= (centred ? 0.04 : 0.05));
    }
    double energy = window_mean_covariance(&params, 60, 60);
    assert_in_range((int)(energy * 21 * 100), 105, 120);
    double correlation = window_mean_covariance(&params, 60, 150) / energy;
    assert_true(fabs(correlation - 0.67) <= 0.03);
}

/* The generator draws what the coefficients say: sampled covariances against them. */
static void test_samples_follow_mix(void **state)
{
    (void)state;
    enum { N = 60000 };
    const int32_t pairs[][2] = {{0, 1}, {0, 20}, {0, 39}, {10, 31}, {18, 22}, {30, 39}, {5, 5}};
    for (int kind = 0; kind < SORA_NOISE_KIND_COUNT; kind++) {
        struct sora_noise_params params = make((enum sora_noise_kind)kind, 40, N);
        float *values = all_latents(&params);
        for (size_t p = 0; p < sizeof(pairs) / sizeof(pairs[0]); p++) {
            double sampled =
                dot(values + (size_t)pairs[p][0] * N, values + (size_t)pairs[p][1] * N, N);
            double expected = mix_covariance(&params, pairs[p][0], pairs[p][1]);
            assert_true(fabs(sampled - expected) < 5 * sqrt(2.0 / N));
        }
        free(values);
    }
}

/* Sampled frames L apart share nothing (0.04) but with FREENOISE, where some are equal. */
static void test_freenoise_is_a_permutation(void **state)
{
    (void)state;
    enum { N = 8 };
    struct sora_noise_params params = make(SORA_NOISE_FREENOISE, 200, N);
    float *values = all_latents(&params);
    /* Block b of S = 15 latents from 21 + 15 b on repeats latents [15 b, 15 b + 15), reordered. */
    int moved = 0;
    for (int f = 21; f + 15 <= 200; f += 15) {
        unsigned seen = 0;
        for (int i = 0; i < 15; i++) {
            for (int j = 0; j < 15; j++) {
                if (memcmp(values + (f + i) * N, values + (f - 21 + j) * N, sizeof(float) * N) ==
                    0) {
                    seen |= 1u << j;
                    moved += i != j;
                }
            }
        }
        assert_int_equal(seen, (1u << 15) - 1);
    }
    assert_true(moved > 100);
    free(values);
}

static void test_single_window_is_plain(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_NOISE_KIND_COUNT; kind++) {
        struct sora_noise_params params = make((enum sora_noise_kind)kind, 21, 300);
        float *values = all_latents(&params), expected[300];
        for (uint32_t f = 0; f < 21; f++) {
            struct sora_noise_key key = {params.seed, params.shot, f};
            sora_noise_normal(&key, 0, 300, expected);
            assert_memory_equal(values + f * 300, expected, sizeof(expected));
        }
        free(values);
    }
}

/* Any latent alone, in any order, in a fresh or a used instance, gives the same bits, across the
 * inner chunks (2,048 elements). */
static void test_addressable(void **state)
{
    (void)state;
    enum { N = 5000, T = 70 };
    float *alone = malloc(N * sizeof(float));
    assert_non_null(alone);
    for (int kind = 0; kind < SORA_NOISE_KIND_COUNT; kind++) {
        struct sora_noise_params params = make((enum sora_noise_kind)kind, T, N);
        float *values = all_latents(&params);
        struct sora_noise *walker = NULL;
        assert_int_equal(sora_noise_create(&params, &walker, NULL), SORA_OK);
        for (int i = 0; i < T; i += 3) {
            int32_t f = (i * 29) % T;
            sora_noise_latent(walker, f, alone);
            assert_memory_equal(alone, values + (size_t)f * N, N * sizeof(float));
            struct sora_noise *fresh = NULL;
            assert_int_equal(sora_noise_create(&params, &fresh, NULL), SORA_OK);
            sora_noise_latent(fresh, f, alone);
            assert_memory_equal(alone, values + (size_t)f * N, N * sizeof(float));
            sora_noise_destroy(&fresh);
        }
        sora_noise_destroy(&walker);
        free(values);
    }
    free(alone);
}

static void test_amplitude(void **state)
{
    (void)state;
    struct sora_noise_params half = make(SORA_NOISE_SHARED_MEAN, 60, 50);
    struct sora_noise_params same = half, full = half;
    same.amplitude = 0.5;
    full.amplitude = 1.0;
    float *a = all_latents(&half), *b = all_latents(&same), *c = all_latents(&full);
    assert_memory_equal(a, b, 60 * 50 * sizeof(float));
    assert_memory_not_equal(a, c, 60 * 50 * sizeof(float));
    free(a);
    free(b);
    free(c);
}

static void test_refusals(void **state)
{
    (void)state;
    struct sora_noise *noise = NULL;
    struct sora_noise_params bad[4];
    for (int i = 0; i < 4; i++)
        bad[i] = make(SORA_NOISE_SHARED_MEAN, 60, 50);
    bad[0].amplitude = 1.5;
    bad[1].amplitude = NAN;
    bad[2].element_count = 0;
    bad[3].timeline.overlap_latents = 40;
    for (int i = 0; i < 4; i++) {
        struct sora_fault fault = {0};
        assert_int_equal(sora_noise_create(&bad[i], &noise, &fault), SORA_E_INVALID);
        assert_true(strlen(fault.text) > 10);
    }
    enum sora_noise_kind kind;
    struct sora_fault fault = {0};
    assert_int_equal(sora_noise_kind_parse("pink", &kind, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "pink"));
    for (int i = 0; i < SORA_NOISE_KIND_COUNT; i++) {
        assert_int_equal(sora_noise_kind_parse(sora_noise_kind_name(i), &kind, NULL), SORA_OK);
        assert_int_equal((int)kind, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variance),
        cmocka_unit_test(test_shared_mean_covariance),
        cmocka_unit_test(test_samples_follow_mix),
        cmocka_unit_test(test_freenoise_is_a_permutation),
        cmocka_unit_test(test_single_window_is_plain),
        cmocka_unit_test(test_addressable),
        cmocka_unit_test(test_amplitude),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
