/* Rotary tables and the timestep sinusoid, against the formulas in double. */
#include "model/rope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_grid(const struct sora_rope_grid *grid)
{
    int half = grid->head_size / 2, side = grid->head_size / 6, time = half - 2 * side;
    int count = grid->frames * grid->rows * grid->columns;
    float *cosines = malloc((size_t)(count * half) * sizeof(float));
    float *sines = malloc((size_t)(count * half) * sizeof(float));
    sora_rope_tables(grid, cosines, sines);
    for (int n = 0; n < count; n++) {
        int x = n % grid->columns, y = n / grid->columns % grid->rows;
        int t = n / grid->columns / grid->rows;
        for (int i = 0; i < half; i++) {
            int position = i < time ? t : i < time + side ? y : x;
            int pairs = i < time ? time : side;
            int local = i < time ? i : (i - time) % side;
            double angle = position * pow(10000, -2.0 * local / (2 * pairs));
            assert_float_equal(cosines[n * half + i], cos(angle), 1e-7);
            assert_float_equal(sines[n * half + i], sin(angle), 1e-7);
        }
    }
    free(cosines);
    free(sines);
}

static void test_tables(void **state)
{
    (void)state;
    check_grid(&(struct sora_rope_grid){128, 5, 3, 4}); /* pairs 22, 21, 21 */
    check_grid(&(struct sora_rope_grid){40, 2, 7, 3});  /* pairs 8, 6, 6 */
    check_grid(&(struct sora_rope_grid){2, 4, 2, 2});   /* time alone */
    check_grid(&(struct sora_rope_grid){6, 1, 1, 9});
    check_grid(&(struct sora_rope_grid){64, 1, 1, 1});
    check_grid(&(struct sora_rope_grid){16, 3, 1, 1});
}

/* f32 angles of up to 1000 carry an error of up to 1000 * 2^-23 or so. */
static void test_sinusoid(void **state)
{
    (void)state;
    static const double steps[] = {0, 1, 58, 937, 999.5, 1000};
    static const int widths[] = {256, 64, 2};
    float values[256];
    for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
            int half = widths[w] / 2;
            sora_timestep_sinusoid(steps[s], widths[w], values);
            for (int j = 0; j < half; j++) {
                double angle = steps[s] * pow(10000, -(double)j / half);
                assert_float_equal(values[j], cos(angle), 2e-4);
                assert_float_equal(values[half + j], sin(angle), 2e-4);
            }
        }
    }
    assert_float_equal(values[0], cos(1000), 1e-7);
    assert_float_equal(values[1], sin(1000), 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_sinusoid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
