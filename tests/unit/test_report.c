/* The consistency report on drawn videos whose answers are known: each defect raises its figure. */
#include "media/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 96, HEIGHT = 64, FPS = 16, PERIOD = 20, OVERLAP = 8, REPEAT_SECONDS_MIN = 6 };

/* What a drawn frame shows; all-zero is a grey frame. */
struct scene {
    double x, y;       /* shift of the texture, pixels */
    double gain;       /* contrast of the texture; 0 leaves it out */
    double fine;       /* contrast of the finest detail */
    double brightness; /* added to all channels */
    double red;        /* added to red, taken from blue */
};

static void draw(const struct scene *scene, uint8_t *out_rgb)
{
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            double u = x - scene->x, v = y - scene->y;
            double value = 128 + scene->brightness;
            value += scene->gain * (40 * sin(0.31 * u + 0.11 * v) + 30 * sin(0.17 * u - 0.29 * v) +
                                    25 * sin(0.071 * u + 0.43 * v));
            value += scene->fine * ((x + y) % 2 ? 6 : -6);
            uint8_t *pixel = out_rgb + 3 * (y * WIDTH + x);
            pixel[0] = (uint8_t)lround(fmin(255, fmax(0, value + scene->red)));
            pixel[1] = (uint8_t)lround(fmin(255, fmax(0, value)));
            pixel[2] = (uint8_t)lround(fmin(255, fmax(0, value - scene->red)));
        }
    }
}

typedef struct scene (*scene_of)(int frame);

/* Overlaps of OVERLAP frames every PERIOD frames; hard cuts. */
static struct sora_report *make_with_cuts(scene_of scene, int frame_count, double reference,
                                          const int32_t *cuts, int cut_count,
                                          struct sora_report_result *out_result)
{
    struct sora_report_overlap overlaps[256];
    int count = 0;
    for (int first = PERIOD; first + OVERLAP <= frame_count && count < 256; first += PERIOD)
        overlaps[count++] = (struct sora_report_overlap){first, first + OVERLAP};
    const struct sora_report_params params = {.width = WIDTH,
                                              .height = HEIGHT,
                                              .frame_count = frame_count,
                                              .fps = FPS,
                                              .overlaps = overlaps,
                                              .overlap_count = count,
                                              .repeat_seconds_min = REPEAT_SECONDS_MIN,
                                              .motion_reference = reference,
                                              .cuts = cuts,
                                              .cut_count = cut_count};
    struct sora_fault fault = {0};
    struct sora_report *report = NULL;
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    assert_int_equal(sora_report_create(&params, &report, &fault), SORA_OK);
    for (int i = 0; i < frame_count; i++) {
        struct scene now = scene(i);
        draw(&now, rgb);
        sora_report_add(report, rgb);
    }
    assert_int_equal(sora_report_finish(report, out_result, &fault), SORA_OK);
    assert_int_equal(out_result->frame_count, frame_count);
    assert_int_equal(out_result->seam_count, count);
    return report;
}

static struct sora_report *make(scene_of scene, int frame_count, double reference,
                                struct sora_report_result *out_result)
{
    return make_with_cuts(scene, frame_count, reference, NULL, 0, out_result);
}

/* ---- the videos ---- */

static struct scene frozen(int frame)
{
    (void)frame;
    return (struct scene){.gain = 1};
}

static struct scene panning(int frame)
{
    return (struct scene){.x = 1.5 * frame, .gain = 1};
}

/* A cut where the third overlap ends: 3*PERIOD+OVERLAP. */
static struct scene cut(int frame)
{
    struct scene scene = panning(frame);
    if (frame >= 3 * PERIOD + OVERLAP)
        scene.y = 30;
    return scene;
}

static struct scene flickering(int frame)
{
    struct scene scene = panning(frame);
    scene.brightness = 4 * sin(2 * M_PI * frame / PERIOD);
    return scene;
}

static struct scene reddening(int frame)
{
    struct scene scene = panning(frame);
    scene.red = 0.05 * frame;
    return scene;
}

static struct scene ghosting(int frame)
{
    struct scene scene = panning(frame);
    scene.fine = frame >= PERIOD && frame % PERIOD < OVERLAP ? 0 : 1;
    return scene;
}

/* A place that depends on the frame like noise does, slowly changing. */
static struct scene wandering(int frame)
{
    double t = frame / 6.0;
    return (struct scene){.x = 60 * sin(0.9 * t) + 45 * sin(0.37 * t * t / 8 + 1),
                          .y = 50 * sin(0.61 * t + 2) + 40 * sin(0.23 * t * t / 8),
                          .gain = 1};
}

static struct scene looping(int frame)
{
    return wandering(frame % (FPS * 9));
}

/* ---- the tests ---- */

static void frozen_video_does_not_count(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(frozen, 120, 0, &result);
    assert_true(result.motion == 0);
    assert_true(result.frozen == 1);
    assert_false(result.moving);
    assert_true(isnan(result.motion_ratio));
    assert_true(result.seam_median == 1 && result.seam_max == 1);
    assert_true(result.drift == 0 && result.colour_spread < 1e-9);
    assert_true(result.flicker < 1.01);
    assert_true(result.sharpness_overlap == 1);
    sora_report_destroy(&report);
}

static void smooth_motion_has_no_seams(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(panning, 160, 1.5, &result);
    assert_true(fabs(result.motion - 1.5) < 0.1);
    assert_true(fabs(result.motion_ratio - 1) < 0.07);
    assert_true(result.moving);
    assert_true(result.seam_max < 1.15);
    assert_true(result.seam_chance < 1.15);
    assert_true(result.seam_compensated_max < 1.3);
    assert_true(fabs(result.sharpness_overlap - 1) < 0.05);
    sora_report_destroy(&report);
    report = make(panning, 160, 2.5, &result);
    assert_false(result.moving);
    sora_report_destroy(&report);
}

/* The seam need not be at the overlap's middle to be found. */
static void cut_is_the_worst_seam(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(cut, 160, 0, &result);
    assert_true(result.seam_max > 4);
    assert_true(result.seam_median < 1.2);
    assert_true(result.seam_middle_max < 1.2);
    assert_true(result.seam_compensated_max > 2);
    for (int i = 0; i < result.seam_count; i++) {
        bool here = i == 2; /* the overlap [60,68) */
        assert_true((result.seams[i].ratio > 2.5) == here);
        if (here)
            assert_int_equal(result.seams[i].frame, 3 * PERIOD + OVERLAP);
    }
    sora_report_destroy(&report);
}

static struct scene cut_to_red(int frame)
{
    struct scene scene = panning(frame);
    scene.y = frame >= 208 ? 30 : 0;
    scene.red = frame >= 208 ? 60 : 0;
    return scene;
}

/* A cut that was asked for is listed, and is neither a seam, nor motion, nor a drift of colour. */
static void hard_cuts_do_not_count(void **state)
{
    (void)state;
    const int32_t cuts[] = {208};
    struct sora_report_result result;
    struct sora_report *report = make(cut_to_red, 400, 0, &result);
    assert_true(result.seam_max > 3 && result.drift > 5 && result.colour_spread > 5);
    sora_report_destroy(&report);
    report = make_with_cuts(cut_to_red, 400, 0, cuts, 1, &result);
    assert_true(result.seam_max < 1.3 && result.drift < 2 && result.colour_spread < 2);
    assert_int_equal(result.cut_count, 1);
    assert_int_equal(result.cuts[0], cuts[0]);
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 1 << 16);
    assert_int_equal(sora_report_json(&result, &bytes), 0);
    assert_non_null(strstr((const char *)bytes.data, "\"cuts\": [208]"));
    sora_bytes_fini(&bytes);
    sora_report_destroy(&report);
}

static void flicker_with_the_window_period_stands_out(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(panning, 320, 0, &result);
    assert_true(result.flicker_luma < 4);
    sora_report_destroy(&report);
    report = make(flickering, 320, 0, &result);
    assert_true(result.flicker_luma > 10);
    assert_true(result.flicker >= result.flicker_luma);
    sora_report_destroy(&report);
}

static void colour_drift_is_measured_per_minute(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(panning, 320, 0, &result);
    assert_true(result.drift < 1.5);
    sora_report_destroy(&report);
    report = make(reddening, 320, 0, &result);
    /* Grey (128,128,128) becomes (144,128,112) in 20 s: 3 * (1.01, 3.39, 10.92) in a minute. */
    assert_true(fabs(result.drift_lightness - 3.02) < 0.5);
    assert_true(fabs(result.drift_a - 10.17) < 0.5);
    assert_true(fabs(result.drift_b - 32.76) < 1);
    assert_true(fabs(result.drift - 34.4) < 1);
    assert_true(fabs(result.drift_chroma - 34.3) < 1);
    assert_true(result.colour_spread > 5);
    sora_report_destroy(&report);
}

static void ghosting_lowers_sharpness_in_overlaps(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(ghosting, 160, 0, &result);
    assert_true(result.sharpness_overlap < 0.5);
    assert_true(result.flicker_sharpness > 6);
    sora_report_destroy(&report);
}

static void loops_are_found_with_their_length(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(wandering, FPS * 20, 0, &result);
    double without = result.repeat_peak;
    assert_true(without < 0.5);
    sora_report_destroy(&report);
    report = make(looping, FPS * 20, 0, &result);
    assert_true(result.repeat_peak > without + 0.3);
    assert_true(fabs(result.repeat_seconds - 9) < 0.1);
    sora_report_destroy(&report);
}

static void short_video_gives_what_it_can(void **state)
{
    (void)state;
    struct sora_report_result result;
    struct sora_report *report = make(panning, 9, 0, &result);
    assert_true(result.motion > 1);
    assert_true(isnan(result.seam_max) && isnan(result.flicker) && isnan(result.drift));
    assert_true(isnan(result.sharpness_overlap) && isnan(result.repeat_peak));
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 1 << 16);
    assert_int_equal(sora_report_json(&result, &bytes), SORA_OK);
    assert_non_null(strstr((char *)bytes.data, "\"frames\": 9,"));
    assert_non_null(strstr((char *)bytes.data, "\"drift\": null,"));
    assert_non_null(strstr((char *)bytes.data, "\"seams\": [],\n  \"cuts\": []\n}"));
    assert_null(strstr((char *)bytes.data, "nan"));
    sora_bytes_fini(&bytes);
    sora_report_destroy(&report);
}

static void json_and_table_hold_the_figures(void **state)
{
    (void)state;
    const struct sora_report_seam seams[] = {{21, 1.25, 1.5}, {41, 3, NAN}};
    struct sora_report_result result = {.frame_count = 161,
                                        .seconds = 10,
                                        .motion = 1.5,
                                        .moving = true,
                                        .seam_median = 1.25,
                                        .drift = NAN,
                                        .seams = seams,
                                        .seam_count = 2};
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 1 << 16);
    assert_int_equal(sora_report_json(&result, &bytes), SORA_OK);
    const char *json = (const char *)bytes.data;
    assert_non_null(strstr(json, "\"moving\": true"));
    assert_non_null(strstr(json, "\"motion\": 1.5,"));
    assert_non_null(strstr(json, "\"seam_median\": 1.25,"));
    assert_non_null(
        strstr(json, "{\"frame\": 21, \"ratio\": 1.25, \"ratio_compensated\": 1.5},\n"));
    assert_non_null(strstr(json, "{\"frame\": 41, \"ratio\": 3, \"ratio_compensated\": null}\n"));
    sora_bytes_clear(&bytes);
    result.moving = false;
    assert_int_equal(sora_report_text(&result, &bytes), SORA_OK);
    assert_non_null(strstr((char *)bytes.data, "no other figure counts"));
    sora_bytes_fini(&bytes);
    sora_bytes_init(&bytes, 50);
    assert_int_equal(sora_report_json(&result, &bytes), SORA_E_FULL);
    assert_int_equal(sora_report_text(&result, &bytes), SORA_E_FULL);
    sora_bytes_fini(&bytes);
}

static void bad_parameters_are_named(void **state)
{
    (void)state;
    const struct sora_report_overlap outside = {5, 12};
    struct sora_report_params params = {.width = WIDTH,
                                        .height = HEIGHT,
                                        .frame_count = 10,
                                        .fps = FPS,
                                        .overlaps = &outside,
                                        .overlap_count = 1};
    struct sora_fault fault = {0};
    struct sora_report *report = NULL;
    assert_int_equal(sora_report_create(&params, &report, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "overlap 0 is frames 5 to 12 of 10"));
    params.overlap_count = 0;
    params.width = 8;
    fault = (struct sora_fault){0};
    assert_int_equal(sora_report_create(&params, &report, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "width is 8"));
    params.width = WIDTH;
    assert_int_equal(sora_report_create(&params, &report, NULL), SORA_OK);
    struct sora_report_result result;
    assert_int_equal(sora_report_finish(report, &result, NULL), SORA_E_INVALID);
    sora_report_destroy(&report);
    sora_report_destroy(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_video_does_not_count),
        cmocka_unit_test(smooth_motion_has_no_seams),
        cmocka_unit_test(cut_is_the_worst_seam),
        cmocka_unit_test(hard_cuts_do_not_count),
        cmocka_unit_test(flicker_with_the_window_period_stands_out),
        cmocka_unit_test(colour_drift_is_measured_per_minute),
        cmocka_unit_test(ghosting_lowers_sharpness_in_overlaps),
        cmocka_unit_test(loops_are_found_with_their_length),
        cmocka_unit_test(short_video_gives_what_it_can),
        cmocka_unit_test(json_and_table_hold_the_figures),
        cmocka_unit_test(bad_parameters_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
