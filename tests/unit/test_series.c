/* Median, Theil-Sen slope and the periodogram line on series with known answers. */
#include "media/series.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static double noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(*seed >> 8) / (1 << 24) - 0.5;
}

static void median_of_odd_even_and_none(void **state)
{
    (void)state;
    const double values[] = {5, 1, 4, 2};
    assert_true(sora_series_median(values, 3) == 4);
    assert_true(sora_series_median(values, 4) == 3);
    assert_true(isnan(sora_series_median(values, 0)));
}

static void slope_ignores_wild_values(void **state)
{
    (void)state;
    double values[60];
    uint32_t seed = 1;
    for (int i = 0; i < 60; i++)
        values[i] = 0.25 * i + 0.01 * noise(&seed);
    for (int i = 0; i < 12; i++)
        values[5 * i] = 1000;
    assert_true(fabs(sora_series_slope(values, 60) - 0.25) < 0.02);
    assert_true(isnan(sora_series_slope(values, 2)));
}

static void period_stands_out_of_noise(void **state)
{
    (void)state;
    double plain[240], beating[240];
    uint32_t seed = 7;
    for (int i = 0; i < 240; i++) {
        plain[i] = 10 + 0.05 * i + noise(&seed);
        beating[i] = plain[i] + 0.8 * sin(2 * M_PI * i / 20.3);
    }
    assert_true(sora_series_period_ratio(plain, 240, 20.3) < 3);
    assert_true(sora_series_period_ratio(beating, 240, 20.3) > 6);
    assert_true(sora_series_period_ratio(beating, 240, 33) < 3);
}

static void period_needs_enough_values_and_change(void **state)
{
    (void)state;
    double values[100] = {0};
    assert_true(isnan(sora_series_period_ratio(values, 50, 20)));
    assert_true(isnan(sora_series_period_ratio(values, 50, 2)));
    assert_true(isnan(sora_series_period_ratio(values, 50, NAN)));
    assert_true(fabs(sora_series_period_ratio(values, 100, 20) - 1) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(median_of_odd_even_and_none),
        cmocka_unit_test(slope_ignores_wild_values),
        cmocka_unit_test(period_stands_out_of_noise),
        cmocka_unit_test(period_needs_enough_values_and_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
