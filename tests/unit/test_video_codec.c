/* Every codec with its containers and pixel formats, what is refused, and the preview. */
#include "media/video_writer.h"

#include "base/files.h"
#include "base/job_options.h"
#include "media/video_reader.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { WIDTH = 96, HEIGHT = 64, FRAME_SIZE = WIDTH * HEIGHT * 3, COUNT = 5 };

static const uint8_t colours[COUNT][3] = {
    {255, 255, 255}, {200, 30, 30}, {20, 160, 40}, {30, 40, 220}, {90, 90, 90}};

static void fill(uint8_t *rgb, const uint8_t colour[3])
{
    for (int i = 0; i < FRAME_SIZE; i++)
        rgb[i] = colour[i % 3];
}

static int write_video(const struct sora_video_writer_params *params, struct sora_fault *fault)
{
    static uint8_t rgb[FRAME_SIZE];
    struct sora_video_writer *writer = NULL;
    int rc = sora_video_writer_create(params, &writer, fault);
    for (int i = 0; !rc && i < COUNT; i++) {
        fill(rgb, colours[i]);
        rc = sora_video_writer_add(writer, rgb, fault);
    }
    if (!rc)
        rc = sora_video_writer_finish(writer, fault);
    sora_video_writer_destroy(&writer);
    return rc;
}

/* Decodes the file; each frame's middle must be the colour within `tolerance`. Returns how many. */
static int read_video(const char *path, int tolerance)
{
    static uint8_t rgb[FRAME_SIZE];
    struct sora_video_reader *reader = NULL;
    struct sora_fault fault = {0};
    if (sora_video_reader_open(path, &reader, &fault))
        fail_msg("%s", fault.text);
    assert_string_equal(sora_video_reader_tag(reader, "SEED"), "42");
    bool got = true;
    int count = 0;
    for (; count < 100; count++) {
        assert_int_equal(sora_video_reader_next(reader, rgb, &got, &fault), 0);
        if (!got)
            break;
        const uint8_t *middle = rgb + 3 * (HEIGHT / 2 * WIDTH + WIDTH / 2);
        for (int c = 0; c < 3; c++)
            assert_in_range(middle[c] + tolerance - colours[count % COUNT][c], 0, 2 * tolerance);
    }
    sora_video_reader_destroy(&reader);
    return count;
}

static struct sora_video_writer_params params_for(const char *path)
{
    static const struct sora_video_tag tags[] = {{"SEED", "42"}};
    return (struct sora_video_writer_params){
        .path = path, .width = WIDTH, .height = HEIGHT, .fps = 16, .tags = tags, .tag_count = 1};
}

struct combination {
    const char *codec, *format;
    enum sora_container container;
    int quality;
    int64_t bitrate;
    int tolerance;
};
static const struct combination combinations[] = {
    {"h264", "", SORA_CONTAINER_MP4, 0, 0, 6},
    {"h264", "yuv444p10le", SORA_CONTAINER_MKV, 10, 0, 5},
    {"h264", "yuv422p", SORA_CONTAINER_MOV, 0, 2000000, 8},
    {"h265", NULL, SORA_CONTAINER_MP4, 12, 0, 6},
    {"h265", "yuv420p10le", SORA_CONTAINER_MKV, 0, 2000000, 8},
    {"h265", "yuv444p", SORA_CONTAINER_MOV, 0, 0, 8},
    {"av1", NULL, SORA_CONTAINER_MP4, 20, 0, 8},
    {"av1", "yuv420p10le", SORA_CONTAINER_MKV, 0, 0, 8},
    {"av1", NULL, SORA_CONTAINER_MKV, 0, 2000000, 12},
    {"prores", NULL, SORA_CONTAINER_MOV, 0, 0, 4},
    {"prores", "yuv444p10le", SORA_CONTAINER_MKV, 5, 0, 4},
    {"prores", "yuv422p10le", SORA_CONTAINER_MOV, 1, 0, 6},
    {"ffv1", NULL, SORA_CONTAINER_MKV, 0, 0, 0},
    {"ffv1", "yuv444p10le", SORA_CONTAINER_MKV, 0, 0, 2},
    {"ffv1", "yuv420p", SORA_CONTAINER_MKV, 0, 0, 3},
};

static void every_codec_keeps_frames_colours_and_tags(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(combinations) / sizeof(combinations[0]); i++) {
        const struct combination *row = &combinations[i];
        struct sora_video_writer_params params = params_for(scratch_path("v"));
        struct sora_bytes first, second;
        params.codec = row->codec;
        params.pixel_format = row->format;
        params.container = row->container;
        params.crf = row->quality;
        params.bitrate = row->bitrate;
        params.preview_path = scratch_path("p");
        for (int repeat = 0; repeat < 2; repeat++) {
            struct sora_fault fault = {0};
            params.path = repeat ? scratch_path("w") : scratch_path("v");
            if (write_video(&params, &fault))
                fail_msg("%s %s: %s", row->codec, row->format, fault.text);
        }
        assert_int_equal(read_video(scratch_path("v"), row->tolerance), COUNT);
        assert_int_equal(read_video(scratch_path("p"), row->tolerance), COUNT);
        assert_int_equal(sora_file_read(scratch_path("v"), 1 << 24, &first, NULL), 0);
        assert_int_equal(sora_file_read(scratch_path("w"), 1 << 24, &second, NULL), 0);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        sora_bytes_fini(&first);
        sora_bytes_fini(&second);
    }
}

static void what_a_codec_does_not_take_is_named(void **state)
{
    (void)state;
    static const struct {
        struct combination row;
        int width, height;
        const char *says;
    } cases[] = {
        {{"vp8", NULL, SORA_CONTAINER_MP4, 0, 0, 0},
         96,
         64,
         "choose one of h264, h265, av1, prores"},
        {{"h264", "rgb24", SORA_CONTAINER_MP4, 0, 0, 0}, 96, 64, "choose one of yuv420p, yuv422p"},
        {{"h264", "nonsense", SORA_CONTAINER_MP4, 0, 0, 0}, 96, 64, "no pixel format nonsense"},
        {{"av1", "yuv444p", SORA_CONTAINER_MP4, 0, 0, 0}, 96, 64, "yuv420p, yuv420p10le"},
        {{"prores", NULL, SORA_CONTAINER_MP4, 0, 0, 0}, 96, 64, "ProRes does not go into an .mp4"},
        {{"ffv1", NULL, SORA_CONTAINER_MP4, 0, 0, 0}, 96, 64, "choose mkv"},
        {{"ffv1", NULL, SORA_CONTAINER_MKV, 10, 0, 0}, 96, 64, "lossless"},
        {{"prores", NULL, SORA_CONTAINER_MOV, 7, 0, 0},
         96,
         64,
         "profile is 7; with ProRes it must be 1"},
        {{"prores", NULL, SORA_CONTAINER_MOV, 0, 1000000, 0}, 96, 64, "no bitrate to choose"},
        {{"av1", NULL, SORA_CONTAINER_MP4, 64, 0, 0},
         96,
         64,
         "crf is 64; with AV1 it must be 1 to 63"},
        {{"h264", NULL, SORA_CONTAINER_MP4, -1, 0, 0}, 96, 64, "crf is -1"},
        {{"h265", NULL, SORA_CONTAINER_MP4, 20, 1000000, 0}, 96, 64, "choose one"},
        {{"h265", NULL, SORA_CONTAINER_MP4, 0, 5, 0}, 96, 64, "bitrate is 5 bit/s"},
        {{"h264", "yuv422p", SORA_CONTAINER_MP4, 0, 0, 0},
         95,
         63,
         "4:2:2 colour needs an even one"},
        {{"av1", NULL, SORA_CONTAINER_MP4, 0, 0, 0}, 96, 32, "AV1 needs at least 64"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_video_writer_params params = params_for(NULL);
        struct sora_fault fault = {0};
        params.width = cases[i].width;
        params.height = cases[i].height;
        params.codec = cases[i].row.codec;
        params.pixel_format = cases[i].row.format;
        params.container = cases[i].row.container;
        params.crf = cases[i].row.quality;
        params.bitrate = cases[i].row.bitrate;
        assert_int_not_equal(sora_video_writer_check(&params, &fault), 0);
        if (!strstr(fault.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", fault.text, cases[i].says);
    }
    struct sora_video_writer_params odd = params_for(NULL);
    odd.width = 95;
    odd.pixel_format = "yuv444p";
    assert_int_equal(sora_video_writer_check(&odd, NULL), 0);
}

/* base/job_options.c has these rules too, for a daemon that links no libav. */
static void takers_of_jobs_know_the_same_rules(void **state)
{
    (void)state;
    static const char *const formats[] = {"",        "yuv420p",     "yuv422p",     "yuv444p",
                                          "bgr0",    "yuv420p10le", "yuv422p10le", "yuv444p10le",
                                          "yuva420p"};
    static const int qualities[] = {-1, 0, 1, 6, 7, 51, 52, 63, 64};
    static const int64_t rates[] = {0, 9999, 10000, SORA_BITRATE_MAX, SORA_BITRATE_MAX + 1};
    for (unsigned i = 0; i < SORA_CODEC_COUNT * 3 * 9 * 9 * 5; i++) {
        enum sora_codec codec = (enum sora_codec)(i % SORA_CODEC_COUNT);
        enum sora_container container = (enum sora_container)(i / 5 % 3), chosen;
        struct sora_video_writer_params params = params_for(NULL);
        params.codec = sora_codec_name(codec);
        params.container = container;
        params.pixel_format = formats[i / 15 % 9];
        params.crf = qualities[i / 135 % 9];
        params.bitrate = rates[i / 1215];
        int wanted = sora_video_writer_check(&params, NULL);
        int found = sora_codec_check(codec, params.crf, params.bitrate, params.pixel_format, NULL);
        if (!found)
            found = sora_codec_container(codec, (int)container, &chosen, NULL);
        if ((wanted == 0) != (found == 0))
            fail_msg("%s in %s, %s, quality %d, %lld bit/s: %d here, %d where jobs are taken",
                     params.codec, sora_container_name(container), params.pixel_format, params.crf,
                     (long long)params.bitrate, wanted, found);
    }
}

/* At any moment the preview holds at least as many frames as it says, and it grows. */
static void preview_can_be_read_while_it_grows(void **state)
{
    (void)state;
    static uint8_t rgb[FRAME_SIZE];
    struct sora_video_writer_params params = params_for(scratch_path("v.mp4"));
    params.preview_path = scratch_path("preview.mkv");
    params.preset = "ultrafast";
    struct sora_video_writer *writer = NULL;
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), 0);
    int64_t before = -1;
    for (int i = 0; i < 200; i++) {
        fill(rgb, colours[i % COUNT]);
        assert_int_equal(sora_video_writer_add(writer, rgb, NULL), 0);
        int64_t count = sora_video_writer_preview_count(writer);
        assert_true(count >= before);
        if (count > before && count > 0)
            assert_true(read_video(scratch_path("preview.mkv"), 40) >= count % 100);
        before = count;
    }
    assert_true(before >= 100);
    assert_int_equal(access(scratch_path("v.mp4"), F_OK), -1);
    assert_int_equal(sora_video_writer_finish(writer, NULL), 0);
    assert_int_equal(sora_video_writer_preview_count(writer), 200);
    sora_video_writer_destroy(&writer);
    assert_int_equal(scratch_entry_count(""), 2);
}

static void abort_removes_the_preview(void **state)
{
    (void)state;
    static uint8_t rgb[FRAME_SIZE];
    struct sora_video_writer_params params = params_for(scratch_path("v.mp4"));
    params.preview_path = scratch_path("preview.mkv");
    struct sora_video_writer *writer = NULL;
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), 0);
    assert_int_equal(sora_video_writer_add(writer, rgb, NULL), 0);
    assert_int_equal(access(scratch_path("preview.mkv"), F_OK), 0);
    sora_video_writer_destroy(&writer);
    assert_int_equal(scratch_entry_count(""), 0);
    params.preview_path = scratch_path("no/such/preview.mkv");
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), SORA_E_NOT_FOUND);
    assert_int_equal(scratch_entry_count(""), 0);
}

/* x265 3.5 loses a few strings of each encoder; the sanitizer's hook of this name says so. */
const char *__lsan_default_suppressions(void) __attribute__((visibility("default")));
const char *__lsan_default_suppressions(void)
{
    return "leak:libx265";
}

int main(void)
{
    setenv("SVT_LOG", "1", 0); /* the AV1 encoder talks otherwise */
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(every_codec_keeps_frames_colours_and_tags),
        SCRATCH_TEST(what_a_codec_does_not_take_is_named),
        cmocka_unit_test(takers_of_jobs_know_the_same_rules),
        SCRATCH_TEST(preview_can_be_read_while_it_grows),
        SCRATCH_TEST(abort_removes_the_preview),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
