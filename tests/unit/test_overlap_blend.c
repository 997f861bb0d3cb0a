/* Blending: which frames come when, the ramp, and the colour solve before it. */
#include "media/overlap_blend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 40, HEIGHT = 30, BYTES = WIDTH * HEIGHT * 3 };

static void ramp_is_smooth_and_symmetric(void **state)
{
    (void)state;
    for (int count = 1; count < 40; count++) {
        float before = 0;
        for (int i = 0; i < count; i++) {
            float share = sora_overlap_blend_share(i, count);
            float mirrored = sora_overlap_blend_share(count - 1 - i, count);
            assert_true(share > before && share < 1);
            assert_true(fabsf(share + mirrored - 1) < 1e-6F);
            before = share;
        }
    }
    /* No corners: the first step is far below an even ramp's. */
    assert_true(sora_overlap_blend_share(0, 30) < 0.4F / 31);
}

static void fill(uint8_t *rgb, int value)
{
    memset(rgb, value, BYTES);
}

static void frames_come_once_and_in_order(void **state)
{
    (void)state;
    static const struct sora_blend_window windows[] = {{0, 10}, {7, 17}, {17, 20}, {18, 25}};
    const struct sora_overlap_blend_params params = {
        .width = WIDTH, .height = HEIGHT, .windows = windows, .window_count = 4};
    struct sora_overlap_blend *blend = NULL;
    static uint8_t rgb[BYTES], out[BYTES];
    int timeline = 0;
    assert_int_equal(sora_overlap_blend_create(&params, &blend, NULL), 0);
    for (int k = 0; k < 4; k++) {
        for (int frame = windows[k].first; frame < windows[k].end; frame++) {
            bool got = false;
            fill(rgb, 5 * frame + k); /* windows differ by one grey level */
            assert_int_equal(sora_overlap_blend_add(blend, rgb, out, &got, NULL), 0);
            bool later = k < 3 && frame >= windows[k + 1].first;
            assert_int_equal(got, !later);
            if (!got)
                continue;
            assert_int_equal(frame, timeline++);
            bool blended = k > 0 && frame < windows[k - 1].end;
            assert_in_range(out[0], 5 * frame + k - blended, 5 * frame + k);
        }
    }
    assert_int_equal(timeline, 25);
    bool got;
    assert_int_equal(sora_overlap_blend_add(blend, rgb, out, &got, NULL), SORA_E_INVALID);
    sora_overlap_blend_destroy(&blend);
    sora_overlap_blend_destroy(&blend);
}

/* What window k makes of frame `frame` of one scene: its own gain and offset. */
static void draw(uint8_t *rgb, int k, int frame)
{
    for (int i = 0; i < BYTES; i++) {
        double y = 120 + 50 * sin(0.05 * (i / 3 % WIDTH) * (1 + i % 3) + 0.1 * frame);
        double gain = k % 2 ? 1.12 : 0.94, offset = k % 3 * 6 - 6;
        rgb[i] = (uint8_t)lround(y * gain + offset);
    }
}

/* Largest mean change from frame to frame. */
static double largest_step(const struct sora_blend_window *windows, int count,
                           const struct sora_colour_correction *corrections)
{
    const struct sora_overlap_blend_params params = {.width = WIDTH,
                                                     .height = HEIGHT,
                                                     .windows = windows,
                                                     .window_count = count,
                                                     .corrections = corrections};
    struct sora_overlap_blend *blend = NULL;
    static uint8_t rgb[BYTES], out[BYTES], before[BYTES];
    double largest = 0;
    int timeline = 0;
    assert_int_equal(sora_overlap_blend_create(&params, &blend, NULL), 0);
    for (int k = 0; k < count; k++) {
        for (int frame = windows[k].first; frame < windows[k].end; frame++) {
            bool got = false;
            double sum = 0;
            draw(rgb, k, frame);
            assert_int_equal(sora_overlap_blend_add(blend, rgb, out, &got, NULL), 0);
            for (int i = 0; got && i < BYTES; i++)
                sum += out[i] - before[i];
            if (got && timeline++ > 0)
                largest = fmax(largest, fabs(sum) / BYTES);
            if (got)
                memcpy(before, out, BYTES);
        }
    }
    sora_overlap_blend_destroy(&blend);
    return largest;
}

static void solve_and_blend_hide_the_windows(void **state)
{
    (void)state;
    enum { WINDOWS = 6 };
    struct sora_blend_window windows[WINDOWS];
    static struct sora_colour_moments moments[WINDOWS - 1];
    struct sora_colour_correction corrections[WINDOWS];
    static uint8_t left[BYTES], right[BYTES];
    for (int k = 0; k < WINDOWS; k++)
        windows[k] = (struct sora_blend_window){20 * k, 20 * k + 24};
    for (int k = 0; k + 1 < WINDOWS; k++) {
        for (int frame = windows[k + 1].first; frame < windows[k].end; frame++) {
            draw(left, k, frame);
            draw(right, k + 1, frame);
            sora_colour_moments_add(&moments[k], left, right, WIDTH * HEIGHT);
        }
    }
    const struct sora_colour_params params = {1e-5, 1e-5};
    assert_int_equal(sora_colour_solve(&params, moments, WINDOWS - 1, corrections, NULL), 0);
    double raw = largest_step(windows, WINDOWS, NULL);
    double corrected = largest_step(windows, WINDOWS, corrections);
    static uint8_t one[BYTES], two[BYTES];
    double native = 0;
    for (int frame = 0; frame < 120; frame++) {
        double sum = 0;
        draw(one, 3, frame);
        draw(two, 3, frame + 1);
        for (int i = 0; i < BYTES; i++)
            sum += two[i] - one[i];
        native = fmax(native, fabs(sum) / BYTES);
    }
    assert_true(raw > 3 * native);
    assert_true(corrected < 1.3 * native);
}

static void bad_windows_are_refused(void **state)
{
    (void)state;
    static const struct sora_blend_window cases[][3] = {
        {{1, 10}, {8, 20}, {18, 30}}, {{0, 10}, {11, 20}, {18, 30}}, {{0, 10}, {8, 9}, {9, 30}},
        {{0, 10}, {5, 20}, {9, 30}},  {{0, 0}, {0, 20}, {18, 30}},   {{0, 10}, {0, 20}, {18, 30}},
    };
    struct sora_overlap_blend *blend = NULL;
    struct sora_overlap_blend_params params = {.width = WIDTH, .height = HEIGHT, .window_count = 3};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        params.windows = cases[i];
        assert_int_equal(sora_overlap_blend_create(&params, &blend, NULL), SORA_E_INVALID);
    }
    params.width = 0;
    assert_int_equal(sora_overlap_blend_create(&params, &blend, NULL), SORA_E_INVALID);
    params.width = WIDTH;
    params.window_count = 0;
    assert_int_equal(sora_overlap_blend_create(&params, &blend, NULL), SORA_E_INVALID);
    assert_null(blend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ramp_is_smooth_and_symmetric),
        cmocka_unit_test(frames_come_once_and_in_order),
        cmocka_unit_test(solve_and_blend_hide_the_windows),
        cmocka_unit_test(bad_windows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
