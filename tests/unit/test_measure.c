/* Luma, sharpness, colour and block motion of single frames with known answers. */
#include "media/measure.h"
#include "media/motion.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 192, HEIGHT = 112 };

/* A smooth, irregular texture, sampled at any place. */
static double texture(double x, double y)
{
    return 128 + 40 * sin(0.31 * x + 0.11 * y) + 40 * sin(0.17 * x - 0.29 * y + 1) +
           30 * sin(0.07 * x + 0.43 * y + 2);
}

static void fill_texture(uint8_t *luma, double dx, double dy)
{
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++)
            luma[y * WIDTH + x] = (uint8_t)lround(texture(x - dx, y - dy));
    }
}

static void luma_follows_bt709(void **state)
{
    (void)state;
    static const uint8_t rgb[] = {255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255};
    static const uint8_t expected[] = {255, 0, 54, 182, 18};
    uint8_t luma[5];
    sora_measure_luma(rgb, 5, luma);
    assert_memory_equal(luma, expected, 5);
}

static void difference_is_the_mean(void **state)
{
    (void)state;
    static const uint8_t a[] = {0, 10, 255, 4}, b[] = {2, 10, 0, 5};
    assert_true(sora_measure_difference(a, b, 4) == 258.0 / 4);
    assert_true(sora_measure_difference(a, a, 4) == 0);
}

static void sharpness_falls_with_blur(void **state)
{
    (void)state;
    static uint8_t board[WIDTH * HEIGHT], flat[WIDTH * HEIGHT], rough[WIDTH * HEIGHT];
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        board[i] = (i % WIDTH + i / WIDTH) % 2 ? 100 : 110;
    uint32_t seed = 11;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        seed = seed * 1664525u + 1013904223u;
        rough[i] = (uint8_t)(seed >> 24);
    }
    /* Every inner pixel of the board gives +-40, half of each. */
    assert_true(fabs(sora_measure_sharpness(board, WIDTH, HEIGHT) - 1600) < 1e-6);
    assert_true(sora_measure_sharpness(flat, WIDTH, HEIGHT) == 0);
    double sharp = sora_measure_sharpness(rough, WIDTH, HEIGHT);
    static uint8_t blurred[WIDTH * HEIGHT];
    memcpy(blurred, rough, sizeof(rough));
    for (int i = 1; i < WIDTH * HEIGHT - 1; i++)
        blurred[i] = (uint8_t)((rough[i - 1] + 2 * rough[i] + rough[i + 1]) / 4);
    assert_true(sora_measure_sharpness(blurred, WIDTH, HEIGHT) < 0.5 * sharp);
    assert_true(sora_measure_sharpness(rough, 2, 2) == 0);
}

static void colour_is_cie_lab(void **state)
{
    (void)state;
    static const struct {
        uint8_t rgb[3];
        double lab[3];
    } cases[] = {
        {{255, 255, 255}, {100, 0, 0}},       {{0, 0, 0}, {0, 0, 0}},
        {{255, 0, 0}, {53.24, 80.09, 67.20}}, {{0, 0, 255}, {32.30, 79.19, -107.86}},
        {{119, 119, 119}, {50.03, 0, 0}},
    };
    static uint8_t rgb[WIDTH * HEIGHT * 3], luma[WIDTH * HEIGHT];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int p = 0; p < WIDTH * HEIGHT; p++)
            memcpy(rgb + 3 * p, cases[i].rgb, 3);
        sora_measure_luma(rgb, WIDTH * HEIGHT, luma);
        struct sora_measure_small small;
        sora_measure_shrink(rgb, luma, WIDTH, HEIGHT, &small);
        assert_true(fabs(small.lightness - cases[i].lab[0]) < 0.05);
        assert_true(fabs(small.a - cases[i].lab[1]) < 0.05);
        assert_true(fabs(small.b - cases[i].lab[2]) < 0.05);
        assert_true(small.contrast < 1e-3);
        assert_true(small.luma[7] == luma[0]);
    }
}

static void motion_is_found_to_a_fraction_of_a_pixel(void **state)
{
    (void)state;
    static const double shifts[][2] = {{0, 0}, {3, 0}, {-2, 5}, {0.3, 0}, {1.5, -0.5}, {-6.25, 4}};
    static uint8_t before[WIDTH * HEIGHT], after[WIDTH * HEIGHT];
    fill_texture(before, 0, 0);
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        fill_texture(after, shifts[i][0], shifts[i][1]);
        struct sora_motion motion =
            sora_motion_estimate(before, after, WIDTH, HEIGHT, sora_motion_reach(WIDTH, HEIGHT));
        double expected = hypot(shifts[i][0], shifts[i][1]);
        double still = sora_measure_difference(before, after, WIDTH * HEIGHT);
        assert_true(fabs(motion.speed - expected) < 0.02 + 0.12 * expected);
        assert_true(motion.residual <= still);
        if (expected >= 3)
            assert_true(motion.residual < still / 3);
    }
}

/* Every place compared, in the same order and with the same price of a shift, without any shortcut.
 */
static double plain_residual(const uint8_t *previous, const uint8_t *next, int width, int height,
                             int reach)
{
    double total = 0;
    int blocks = 0;
    for (int y = 0; y + 16 <= height; y += 16) {
        for (int x = 0; x + 16 <= width; x += 16, blocks++) {
            int best = -1, best_cost = 0;
            for (int place = -1; place < (2 * reach + 1) * (2 * reach + 1); place++) {
                int dx = place < 0 ? 0 : place % (2 * reach + 1) - reach;
                int dy = place < 0 ? 0 : place / (2 * reach + 1) - reach;
                int from_x = x - dx, from_y = y - dy, sum = 0;
                if (from_x < 0 || from_y < 0 || from_x + 16 > width || from_y + 16 > height)
                    continue;
                for (int i = 0; i < 256; i++)
                    sum += abs(next[(y + i / 16) * width + x + i % 16] -
                               previous[(from_y + i / 16) * width + from_x + i % 16]);
                int cost = sum + 24 * (abs(dx) + abs(dy));
                if (best < 0 || cost < best_cost) {
                    best = sum;
                    best_cost = cost;
                }
            }
            total += best;
        }
    }
    return total / (blocks * 256);
}

static void shortcuts_change_no_match(void **state)
{
    (void)state;
    enum { WIDE = 83, HIGH = 51 };
    static uint8_t before[WIDE * HIGH], after[WIDE * HIGH];
    uint32_t noise = 5;
    for (int round = 0; round < 12; round++) {
        int grain = round % 4 * 20 + 1;
        for (int i = 0; i < WIDE * HIGH; i++) {
            noise = noise * 1664525u + 1013904223u;
            before[i] = (uint8_t)(100 + i % WIDE + (int)(noise >> 8) % grain);
            noise = noise * 1664525u + 1013904223u;
            int from = i + 3 + 2 * WIDE;
            after[i] = (uint8_t)((from < WIDE * HIGH ? 100 + from % WIDE : 128) +
                                 (int)(noise >> 8) % grain);
        }
        struct sora_motion motion = sora_motion_estimate(before, after, WIDE, HIGH, 6);
        assert_true(motion.residual == plain_residual(before, after, WIDE, HIGH, 6));
    }
}

static void noise_on_a_flat_frame_is_not_motion(void **state)
{
    (void)state;
    static uint8_t before[WIDTH * HEIGHT], after[WIDTH * HEIGHT];
    uint32_t seed = 3;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        seed = seed * 1664525u + 1013904223u;
        before[i] = (uint8_t)(100 + (seed >> 30));
        after[i] = (uint8_t)(100 + (seed >> 20) % 4);
    }
    struct sora_motion motion = sora_motion_estimate(before, after, WIDTH, HEIGHT, 8);
    assert_true(motion.speed < 0.5);
    assert_true(motion.residual > 0.5);
    motion = sora_motion_estimate(before, before, WIDTH, HEIGHT, 8);
    assert_true(motion.speed == 0);
    assert_true(motion.residual == 0);
}

static void reach_follows_the_frame_size(void **state)
{
    (void)state;
    assert_int_equal(sora_motion_reach(256, 144), 16);
    assert_int_equal(sora_motion_reach(64, 200), 8);
    assert_int_equal(sora_motion_reach(16, 16), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(luma_follows_bt709),
        cmocka_unit_test(difference_is_the_mean),
        cmocka_unit_test(sharpness_falls_with_blur),
        cmocka_unit_test(colour_is_cie_lab),
        cmocka_unit_test(motion_is_found_to_a_fraction_of_a_pixel),
        cmocka_unit_test(shortcuts_change_no_match),
        cmocka_unit_test(noise_on_a_flat_frame_is_not_motion),
        cmocka_unit_test(reach_follows_the_frame_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
