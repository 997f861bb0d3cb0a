/* Contact sheets: which frames are shown, where, the times under them, the title's cut. */
#include "media/contact_sheet.h"

#include "base/files.h"
#include "media/font.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { WIDTH = 64, HEIGHT = 36 };

struct image {
    struct sora_bytes bytes;
    int width, height;
    const uint8_t *rgb;
};

static struct image read_ppm(const char *path)
{
    struct image image = {0};
    int head = 0;
    assert_int_equal(sora_file_read(path, 1 << 26, &image.bytes, NULL), SORA_OK);
    assert_int_equal(
        sscanf((char *)image.bytes.data, "P6 %d %d 255%n", &image.width, &image.height, &head), 2);
    image.rgb = image.bytes.data + head + 1;
    return image;
}

static const uint8_t *pixel(const struct image *image, int x, int y)
{
    return image->rgb + 3 * (y * image->width + x);
}

/* Frame i is a plane of colour (i, 255-i, 100), so that each picture tells its frame. */
static struct image make_sheet(const struct sora_contact_sheet_params *params, int frames_given,
                               int *out_count)
{
    struct sora_fault fault = {0};
    struct sora_contact_sheet *sheet = NULL;
    assert_int_equal(sora_contact_sheet_create(params, &sheet, &fault), SORA_OK);
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    for (int i = 0; i < frames_given; i++) {
        for (int p = 0; p < WIDTH * HEIGHT; p++) {
            rgb[3 * p] = (uint8_t)i;
            rgb[3 * p + 1] = (uint8_t)(255 - i);
            rgb[3 * p + 2] = 100;
        }
        sora_contact_sheet_add(sheet, rgb);
    }
    *out_count = sora_contact_sheet_count(sheet);
    const char *path = scratch_path("sheet.ppm");
    assert_int_equal(sora_contact_sheet_write(sheet, path, &fault), SORA_OK);
    sora_contact_sheet_destroy(&sheet);
    assert_null(sheet);
    return read_ppm(path);
}

static const struct sora_contact_sheet_params ten_seconds = {.width = WIDTH,
                                                             .height = HEIGHT,
                                                             .frame_count = 161,
                                                             .fps = 16,
                                                             .title = "a red balloon",
                                                             .picture_width = 96};

static void pictures_are_the_frames_of_whole_seconds(void **state)
{
    (void)state;
    int count, found = 0;
    struct image image = make_sheet(&ten_seconds, 161, &count);
    assert_int_equal(count, 11); /* 0 s to 10 s */
    /* Along every row of the sheet, runs of one frame's colour are pictures; they ascend. */
    int seen[256] = {0}, last = -1;
    for (int y = 0; y < image.height; y++) {
        for (int x = 0; x < image.width; x++) {
            const uint8_t *p = pixel(&image, x, y);
            if (p[0] + p[1] != 255 || p[2] != 100)
                continue;
            if (!seen[p[0]]++) {
                assert_true(p[0] > last);
                assert_int_equal(p[0] % 16, 0);
                last = p[0];
                found++;
            }
        }
    }
    assert_int_equal(found, 11);
    for (int i = 0; i <= 160; i += 16)
        assert_int_equal(seen[i], 96 * 54);
    sora_bytes_fini(&image.bytes);
}

static void missing_frames_stay_dark(void **state)
{
    (void)state;
    int count, lit = 0;
    struct image image = make_sheet(&ten_seconds, 20, &count);
    for (int i = 0; i < image.width * image.height; i++)
        lit += image.rgb[3 * i] + image.rgb[3 * i + 1] == 255 && image.rgb[3 * i + 2] == 100;
    assert_int_equal(lit, 2 * 96 * 54);
    sora_bytes_fini(&image.bytes);
}

/* Writes the same text beside and compares the pixels: stamps are where and what they should be. */
static void stamps_stand_under_their_pictures(void **state)
{
    (void)state;
    int count;
    struct image image = make_sheet(&ten_seconds, 161, &count);
    uint8_t drawn[9 * 2 * 72 * 3] = {0};
    struct sora_canvas canvas = {drawn, 72, 18};
    struct sora_font_place place = {.scale = 2, .colour = {160, 168, 180}};
    sora_font_draw(&canvas, &place, "0:05.0");
    int matches = 0;
    for (int y = 0; y + 18 <= image.height; y++) {
        for (int x = 0; x + 72 <= image.width; x++) {
            bool same = true;
            for (int i = 0; same && i < 18 * 72; i++) {
                bool ink = drawn[3 * i] == 160;
                same = (pixel(&image, x + i % 72, y + i / 72)[0] == 160) == ink;
            }
            if (!same)
                continue;
            matches++;
            assert_int_equal(pixel(&image, x, y - 7)[0], 80); /* frame 80 is right above */
        }
    }
    assert_int_equal(matches, 1);
    sora_bytes_fini(&image.bytes);
}

static void intervals_are_round_and_bounded(void **state)
{
    (void)state;
    static const struct {
        int64_t frame_count;
        int max, count;
        double interval;
    } cases[] = {
        {1, 0, 1, 0.1},
        {160, 0, 10, 1},
        {161, 0, 11, 1},
        {192, 0, 12, 1},
        {193, 0, 7, 2},
        {960, 0, 12, 5},
        {960, 60, 60, 1},
        {9600, 0, 10, 60},
        {160, 1, 1, 10},
        {5760000, 0, 12, 32400},
        {16 * 3600 * 3, 0, 12, 900},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_contact_sheet_params params = ten_seconds;
        params.frame_count = cases[i].frame_count;
        params.picture_count_max = cases[i].max;
        struct sora_contact_sheet *sheet = NULL;
        assert_int_equal(sora_contact_sheet_create(&params, &sheet, NULL), SORA_OK);
        assert_true(sora_contact_sheet_interval(sheet) == cases[i].interval);
        assert_int_equal(sora_contact_sheet_count(sheet), cases[i].count);
        sora_contact_sheet_destroy(&sheet);
    }
}

static void stamps_have_minutes_and_hours(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0:00.0"},      {5, "0:05.0"},       {59.96, "1:00.0"},
                 {754.5, "12:34.5"}, {3723, "1:02:03.0"}, {0.06, "0:00.1"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[SORA_CONTACT_STAMP_SIZE];
        sora_contact_stamp(cases[i].seconds, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void titles_are_cut_to_the_width(void **state)
{
    (void)state;
    char title[4000];
    for (size_t i = 0; i + 1 < sizeof(title); i++)
        title[i] = "\xc3\xa9"[i % 2]; /* two bytes a character */
    title[sizeof(title) - 2] = 'x';
    title[sizeof(title) - 1] = 0;
    struct sora_contact_sheet_params params = ten_seconds;
    params.title = title;
    int count;
    struct image image = make_sheet(&params, 0, &count);
    for (int y = 0; y < image.height; y++) {
        for (int x = image.width - 16; x < image.width; x++)
            assert_int_equal(pixel(&image, x, y)[0], 22); /* the margin stays free */
    }
    sora_bytes_fini(&image.bytes);
    assert_int_equal(sora_font_width("a\xc3\xa9z", 2), 3 * 12);
    assert_int_equal(sora_font_fit("a\xc3\xa9z", 1, 13), 3);
    assert_int_equal(sora_font_fit("abc", 1, -5), 0);
}

static void bad_parameters_are_named(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_contact_sheet *sheet = NULL;
    struct sora_contact_sheet_params params = ten_seconds;
    params.frame_count = 0;
    assert_int_equal(sora_contact_sheet_create(&params, &sheet, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "frame count is 0"));
    params = ten_seconds;
    params.height = 16384;
    params.picture_width = 1024;
    fault = (struct sora_fault){0};
    assert_int_equal(sora_contact_sheet_create(&params, &sheet, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "fewer or smaller"));
    assert_null(sheet);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(pictures_are_the_frames_of_whole_seconds),
        SCRATCH_TEST(missing_frames_stay_dark),
        SCRATCH_TEST(stamps_stand_under_their_pictures),
        cmocka_unit_test(intervals_are_round_and_bounded),
        cmocka_unit_test(stamps_have_minutes_and_hours),
        SCRATCH_TEST(titles_are_cut_to_the_width),
        cmocka_unit_test(bad_parameters_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
