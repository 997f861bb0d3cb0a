/* The colour solve against a dense solve, known gains, and long timelines. */
#include "media/colour_solve.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { PIXELS = 4000, DENSE = 12 };

static uint32_t noise_state;

static double noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (double)(noise_state >> 8) / (1 << 24);
}

/* Gaussian elimination with pivoting on the normal equations, built term by term from the sum. */
static void solve_dense(const double *n, const double *d, int count, double lambda, double *out)
{
    double a[DENSE][DENSE + 1] = {{0}};
    int size = count + 1;
    for (int k = 0; k < count; k++) {
        a[k][k] += n[k];
        a[k + 1][k + 1] += n[k];
        a[k][k + 1] -= n[k];
        a[k + 1][k] -= n[k];
        a[k][size] += n[k] * d[k];
        a[k + 1][size] -= n[k] * d[k];
    }
    for (int i = 0; i < size; i++)
        a[i][i] += lambda;
    for (int i = 0; i < size; i++) {
        int pivot = i;
        for (int r = i + 1; r < size; r++)
            pivot = fabs(a[r][i]) > fabs(a[pivot][i]) ? r : pivot;
        for (int c = 0; c <= size; c++) {
            double held = a[i][c];
            a[i][c] = a[pivot][c];
            a[pivot][c] = held;
        }
        for (int r = 0; r < size; r++) {
            double factor = r == i ? 0 : a[r][i] / a[i][i];
            for (int c = i; c <= size; c++)
                a[r][c] -= factor * a[i][c];
        }
    }
    for (int i = 0; i < size; i++)
        out[i] = a[i][size] / a[i][i];
}

static void thomas_equals_a_dense_solve(void **state)
{
    (void)state;
    noise_state = 7;
    for (int count = 0; count < DENSE; count++) {
        double n[DENSE], d[DENSE], dense[DENSE], fast[DENSE], scratch[DENSE];
        for (int k = 0; k < count; k++) {
            n[k] = k % 4 == 3 ? 0 : noise() * 10; /* an overlap may say nothing */
            d[k] = noise() - 0.5;
        }
        double lambda = 0.01 + noise();
        solve_dense(n, d, count, lambda, dense);
        sora_colour_tridiagonal(n, d, count, lambda, scratch, fast);
        for (int i = 0; i <= count; i++)
            assert_true(fabs(dense[i] - fast[i]) < 1e-12);
    }
}

/* Two windows' views of one random picture. */
static void view(double gain[2][3], double offset[2][3], struct sora_colour_moments *out_moments)
{
    static uint8_t left[PIXELS * 3], right[PIXELS * 3];
    for (int i = 0; i < PIXELS; i++) {
        for (int c = 0; c < 3; c++) {
            double y = 60 + 120 * noise();
            left[3 * i + c] = (uint8_t)lround(y * gain[0][c] + offset[0][c]);
            right[3 * i + c] = (uint8_t)lround(y * gain[1][c] + offset[1][c]);
        }
    }
    sora_colour_moments_add(out_moments, left, right, PIXELS);
}

static void known_gains_and_offsets_are_recovered(void **state)
{
    (void)state;
    enum { WINDOWS = 9 };
    double gain[WINDOWS][3], offset[WINDOWS][3];
    static struct sora_colour_moments moments[WINDOWS - 1];
    struct sora_colour_correction found[WINDOWS];
    noise_state = 3;
    for (int k = 0; k < WINDOWS; k++) {
        for (int c = 0; c < 3; c++) {
            gain[k][c] = 0.85 + 0.3 * noise();
            offset[k][c] = 20 * (noise() - 0.5);
        }
    }
    for (int k = 0; k + 1 < WINDOWS; k++)
        view(&gain[k], &offset[k], &moments[k]);
    const struct sora_colour_params params = {1e-7, 1e-7};
    assert_int_equal(sora_colour_solve(&params, moments, WINDOWS - 1, found, NULL), 0);
    /* Corrected windows agree with each other: one gain and one offset are free in all. */
    for (int c = 0; c < 3; c++) {
        double all_gain = found[0].gain[c] * gain[0][c];
        double all_offset = found[0].gain[c] * offset[0][c] + 255 * found[0].offset[c];
        for (int k = 1; k < WINDOWS; k++) {
            assert_true(fabs(found[k].gain[c] * gain[k][c] / all_gain - 1) < 0.004);
            double here = found[k].gain[c] * offset[k][c] + 255 * found[k].offset[c];
            assert_true(fabs(here - all_offset) < 0.5);
        }
    }
}

/* 200 windows whose overlaps each seem 2 grey levels too dark: a chain would end 400 levels off. */
static void long_timelines_do_not_drift(void **state)
{
    (void)state;
    enum { WINDOWS = 200 };
    static struct sora_colour_moments moments[WINDOWS - 1];
    static struct sora_colour_correction found[WINDOWS];
    noise_state = 11;
    memset(moments, 0, sizeof(moments));
    double gain[2][3] = {{1, 1, 1}, {1, 1, 1}}, offset[2][3] = {{0, 0, 0}, {2, 2, 2}};
    for (int k = 0; k + 1 < WINDOWS; k++)
        view(gain, offset, &moments[k]);
    const struct sora_colour_params params = {0, 0.05};
    assert_int_equal(sora_colour_solve(&params, moments, WINDOWS - 1, found, NULL), 0);
    for (int k = 0; k < WINDOWS; k++) {
        for (int c = 0; c < 3; c++) {
            assert_true(fabs(found[k].gain[c] - 1) < 0.02);
            assert_true(fabs(255 * found[k].offset[c]) < 10);
            if (k > 40 && k < WINDOWS - 40)
                assert_true(fabs(255 * found[k].offset[c]) < 0.5);
        }
    }
}

static void nothing_to_say_changes_nothing(void **state)
{
    (void)state;
    static struct sora_colour_moments moments[2];
    struct sora_colour_correction found[3];
    const struct sora_colour_params params = {0};
    static uint8_t black[PIXELS * 3], flat[PIXELS * 3], other[PIXELS * 3];
    memset(flat, 100, sizeof(flat));
    memset(other, 100, sizeof(other));
    sora_colour_moments_add(&moments[0], black, flat, PIXELS); /* does not count */
    sora_colour_moments_add(&moments[1], flat, other, PIXELS); /* flat and equal */
    assert_true(moments[0].count[0] == 0);
    assert_int_equal(sora_colour_solve(&params, moments, 2, found, NULL), 0);
    for (int k = 0; k < 3; k++) {
        assert_true(found[k].gain[1] == 1);
        assert_true(fabs(found[k].offset[1]) < 1e-12);
    }
    assert_int_equal(sora_colour_solve(&params, NULL, 0, found, NULL), 0);
    assert_true(found[0].gain[0] == 1 && found[0].offset[0] == 0);
}

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    struct sora_colour_correction found[1];
    const struct sora_colour_params negative = {-1, 0}, not_a_number = {0, NAN}, good = {0};
    assert_int_equal(sora_colour_solve(&negative, NULL, 0, found, NULL), SORA_E_INVALID);
    assert_int_equal(sora_colour_solve(&not_a_number, NULL, 0, found, NULL), SORA_E_INVALID);
    assert_int_equal(sora_colour_solve(&good, NULL, -1, found, NULL), SORA_E_INVALID);
    assert_int_equal(sora_colour_solve(&good, NULL, SORA_COLOUR_WINDOWS_MAX, found, NULL),
                     SORA_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thomas_equals_a_dense_solve),
        cmocka_unit_test(known_gains_and_offsets_are_recovered),
        cmocka_unit_test(long_timelines_do_not_drift),
        cmocka_unit_test(nothing_to_say_changes_nothing),
        cmocka_unit_test(bad_parameters_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
