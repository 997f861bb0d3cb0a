/* Segments: lossless, repeatable, and what a hostile or damaged file gives. */
#include "media/segment.h"

#include "base/files.h"

#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { FRAME_SIZE_MAX = 128 * 128 * 3, FILE_SIZE_MAX = 1 << 24 };

/* Smooth parts and noise, so that both the predictor and the coder have work. */
static void fill(uint8_t *rgb, int width, int height, int frame)
{
    uint32_t noise = 99991u + (uint32_t)frame;
    for (int i = 0; i < width * height * 3; i++) {
        noise = noise * 1664525u + 1013904223u;
        int pixel = i / 3;
        rgb[i] = pixel % width < width / 2 ? (uint8_t)(pixel / width + frame + i % 3)
                                           : (uint8_t)(noise >> 24);
    }
}

static void write_segment(const char *path, int width, int height, int count, int threads)
{
    const struct sora_segment_params params = {
        .path = path, .width = width, .height = height, .fps = 16, .thread_count = threads};
    struct sora_segment_writer *writer = NULL;
    struct sora_fault fault = {0};
    static uint8_t rgb[FRAME_SIZE_MAX];
    assert_int_equal(sora_segment_writer_create(&params, &writer, &fault), 0);
    for (int i = 0; i < count; i++) {
        fill(rgb, width, height, i);
        assert_int_equal(sora_segment_writer_add(writer, rgb, &fault), 0);
    }
    assert_int_equal(sora_segment_writer_finish(writer, &fault), 0);
    sora_segment_writer_destroy(&writer);
    assert_null(writer);
}

/* Frames that could be read before the end or the error, which goes to *out_end; all of them must
 * be as written, from frame `skip` on, if `compared`. */
struct reading {
    int width, height, threads, skip;
    bool compared;
};

static int read_with(const char *path, const struct reading *how, int *out_end)
{
    const struct sora_segment_reader_params params = {
        .path = path, .width = how->width, .height = how->height, .thread_count = how->threads};
    struct sora_segment_reader *reader = NULL;
    static uint8_t rgb[FRAME_SIZE_MAX], expected[FRAME_SIZE_MAX];
    int count = 0;
    *out_end = sora_segment_reader_create(&params, &reader, NULL);
    if (*out_end)
        return 0;
    assert_int_equal(sora_segment_reader_skip(reader, how->skip, NULL), 0);
    for (; (*out_end = sora_segment_reader_next(reader, rgb, NULL)) == 1; count++) {
        fill(expected, how->width, how->height, how->skip + count);
        if (how->compared)
            assert_memory_equal(rgb, expected, (size_t)(how->width * how->height * 3));
        assert_int_equal(sora_segment_reader_skip(reader, 1, NULL), SORA_E_INVALID);
    }
    sora_segment_reader_close(&reader);
    return count;
}

static int read_segment(const char *path, int width, int height, int *out_end)
{
    const struct reading how = {width, height, 1, 0, true};
    return read_with(path, &how, out_end);
}

static void frames_come_back_bit_for_bit(void **state)
{
    (void)state;
    static const int sizes[][2] = {{96, 64}, {128, 128}, {33, 35}, {17, 90}, {8, 8}, {9, 100}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int end = -1;
        write_segment(scratch_path("a.mkv"), sizes[i][0], sizes[i][1], 5, 1);
        assert_int_equal(read_segment(scratch_path("a.mkv"), sizes[i][0], sizes[i][1], &end), 5);
        assert_int_equal(end, 0);
    }
}

/* One symbol a plane, and symbols that are all as frequent: the ends of what the coder meets. */
static void flat_and_noisy_frames_come_back(void **state)
{
    (void)state;
    enum { SIDE = 64, SIZE = SIDE * SIDE * 3, FRAMES = 4 };
    const struct sora_segment_params params = {
        .path = scratch_path("a.mkv"), .width = SIDE, .height = SIDE, .fps = 16};
    struct sora_segment_writer *writer = NULL;
    struct sora_segment_reader *reader = NULL;
    static uint8_t rgb[FRAMES][SIZE], back[SIZE];
    uint32_t noise = 5;
    for (int i = 0; i < SIZE; i++) {
        noise = noise * 1664525u + 1013904223u;
        rgb[1][i] = 255;
        rgb[2][i] = (uint8_t)(noise >> 24);
        rgb[3][i] = (uint8_t)(i == SIZE / 2);
    }
    assert_int_equal(sora_segment_writer_create(&params, &writer, NULL), 0);
    for (int i = 0; i < FRAMES; i++)
        assert_int_equal(sora_segment_writer_add(writer, rgb[i], NULL), 0);
    assert_int_equal(sora_segment_writer_finish(writer, NULL), 0);
    sora_segment_writer_destroy(&writer);
    assert_int_equal(sora_segment_reader_open(params.path, SIDE, SIDE, &reader, NULL), 0);
    for (int i = 0; i < FRAMES; i++) {
        assert_int_equal(sora_segment_reader_next(reader, back, NULL), 1);
        assert_memory_equal(back, rgb[i], SIZE);
    }
    assert_int_equal(sora_segment_reader_next(reader, back, NULL), 0);
    assert_int_equal(sora_segment_reader_next(reader, back, NULL), 0);
    sora_segment_reader_close(&reader);
}

static void threads_and_skipping_lose_no_frame(void **state)
{
    (void)state;
    write_segment(scratch_path("a.mkv"), 96, 64, 9, 1);
    for (int threads = 0; threads <= 5; threads++) {
        for (int skip = 0; skip <= 9; skip += 3) {
            const struct reading how = {96, 64, threads, skip, true};
            int end = -1;
            assert_int_equal(read_with(scratch_path("a.mkv"), &how, &end), 9 - skip);
            assert_int_equal(end, 0);
        }
    }
    struct sora_segment_reader *reader = NULL;
    assert_int_equal(sora_segment_reader_open(scratch_path("a.mkv"), 96, 64, &reader, NULL), 0);
    assert_int_equal(sora_segment_reader_skip(reader, 10, NULL), SORA_E_FORMAT);
    sora_segment_reader_close(&reader);
}

static void threads_and_repetition_change_no_byte(void **state)
{
    (void)state;
    struct sora_bytes first, other;
    write_segment(scratch_path("1.mkv"), 128, 96, 7, 1);
    assert_int_equal(sora_file_read(scratch_path("1.mkv"), FILE_SIZE_MAX, &first, NULL), 0);
    for (int threads = 0; threads <= 4; threads += 2) {
        write_segment(scratch_path("2.mkv"), 128, 96, 7, threads);
        assert_int_equal(sora_file_read(scratch_path("2.mkv"), FILE_SIZE_MAX, &other, NULL), 0);
        assert_int_equal(first.size, other.size);
        assert_memory_equal(first.data, other.data, first.size);
        sora_bytes_fini(&other);
    }
    sora_bytes_fini(&first);
}

static void unfinished_leaves_nothing(void **state)
{
    (void)state;
    const struct sora_segment_params params = {
        .path = scratch_path("x.mkv"), .width = 64, .height = 64, .fps = 16};
    struct sora_segment_writer *writer = NULL;
    static uint8_t rgb[FRAME_SIZE_MAX];
    assert_int_equal(sora_segment_writer_create(&params, &writer, NULL), 0);
    assert_int_equal(sora_segment_writer_finish(writer, NULL), SORA_E_INVALID);
    assert_int_equal(sora_segment_writer_add(writer, rgb, NULL), 0);
    sora_segment_writer_destroy(&writer);
    sora_segment_writer_destroy(&writer);
    assert_int_equal(scratch_entry_count(""), 0);
}

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    static const struct {
        int width, height, fps, threads;
        int code;
    } cases[] = {
        {7, 64, 16, 1, SORA_E_INVALID},     {64, -1, 16, 1, SORA_E_INVALID},
        {20000, 64, 16, 1, SORA_E_INVALID}, {64, 64, 0, 1, SORA_E_INVALID},
        {64, 64, 16, 999, SORA_E_INVALID},  {16384, 16384, 16, 1, SORA_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct sora_segment_params params = {.path = scratch_path("x.mkv"),
                                                   .width = cases[i].width,
                                                   .height = cases[i].height,
                                                   .fps = cases[i].fps,
                                                   .thread_count = cases[i].threads};
        struct sora_segment_writer *writer = NULL;
        assert_int_equal(sora_segment_writer_create(&params, &writer, NULL), cases[i].code);
        assert_null(writer);
    }
    assert_int_equal(scratch_entry_count(""), 0);
}

static void full_disk_is_an_error(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {.rlim_cur = 20000, .rlim_max = before.rlim_max};
    const struct sora_segment_params params = {
        .path = scratch_path("x.mkv"), .width = 128, .height = 128, .fps = 16};
    struct sora_segment_writer *writer = NULL;
    struct sora_fault fault = {0};
    static uint8_t rgb[FRAME_SIZE_MAX];
    fill(rgb, 128, 128, 0);
    assert_int_equal(sora_segment_writer_create(&params, &writer, &fault), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = 0;
    for (int i = 0; !rc && i < 20; i++)
        rc = sora_segment_writer_add(writer, rgb, &fault);
    if (!rc)
        rc = sora_segment_writer_finish(writer, &fault);
    sora_segment_writer_destroy(&writer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, SORA_E_IO);
    assert_non_null(strstr(fault.text, "x.mkv: File too large"));
    assert_int_equal(scratch_entry_count(""), 0);
}

/* ---- reading what others sent ---- */

static int open_content(const void *content, size_t size, struct sora_fault *fault)
{
    struct sora_segment_reader *reader = NULL;
    assert_int_equal(sora_file_write(scratch_path("x.mkv"), content, size, NULL), 0);
    int rc = sora_segment_reader_open(scratch_path("x.mkv"), 64, 64, &reader, fault);
    sora_segment_reader_close(&reader);
    return rc;
}

static void what_is_no_segment_is_refused(void **state)
{
    (void)state;
    static const char *const contents[] = {
        "",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "....ftypisom................",
        "\x1a\x45\xdf\xa3............",
    };
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        struct sora_fault fault = {0};
        assert_int_equal(open_content(contents[i], strlen(contents[i]), &fault), SORA_E_FORMAT);
        assert_non_null(strstr(fault.text, "x.mkv"));
    }
    struct sora_segment_reader *reader = NULL;
    assert_int_equal(sora_segment_reader_open(scratch_path("none"), 64, 64, &reader, NULL),
                     SORA_E_NOT_FOUND);
    assert_int_equal(sora_segment_reader_open(scratch_dir, 64, 64, &reader, NULL), SORA_E_INVALID);
    assert_int_equal(sora_segment_reader_open(scratch_path("none"), 0, 64, &reader, NULL),
                     SORA_E_LIMIT);
    assert_null(reader);
}

static void another_size_is_refused(void **state)
{
    (void)state;
    struct sora_segment_reader *reader = NULL;
    struct sora_fault fault = {0};
    write_segment(scratch_path("a.mkv"), 96, 64, 2, 1);
    assert_int_equal(sora_segment_reader_open(scratch_path("a.mkv"), 64, 96, &reader, &fault),
                     SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "96x64 instead of 64x96"));
    assert_null(reader);
}

static void truncated_and_flipped_files_are_survived(void **state)
{
    (void)state;
    struct sora_bytes whole;
    int end = 0;
    write_segment(scratch_path("a.mkv"), 64, 64, 4, 1);
    assert_int_equal(sora_file_read(scratch_path("a.mkv"), FILE_SIZE_MAX, &whole, NULL), 0);
    for (size_t cut = 1; cut < 40; cut++) {
        assert_int_equal(
            sora_file_write(scratch_path("x.mkv"), whole.data, whole.size * cut / 40, NULL), 0);
        assert_true(read_segment(scratch_path("x.mkv"), 64, 64, &end) < 4);
    }
    /* What a flipped bit does to a picture is the blob's digest to find; here it may only never do
     * anything else. */
    int refused = 0;
    for (size_t at = 0; at < whole.size; at += 1 + whole.size / 400) {
        const struct reading how = {64, 64, 1 + (int)at % 3, 0, false};
        whole.data[at] ^= 0x10;
        assert_int_equal(sora_file_write(scratch_path("x.mkv"), whole.data, whole.size, NULL), 0);
        assert_in_range(read_with(scratch_path("x.mkv"), &how, &end), 0, 4);
        refused += end != 0;
        whole.data[at] ^= 0x10;
    }
    assert_true(refused > 10);
    sora_bytes_fini(&whole);
}

static void another_codec_in_matroska_is_refused(void **state)
{
    (void)state;
    struct sora_bytes whole;
    struct sora_fault fault = {0};
    write_segment(scratch_path("a.mkv"), 64, 64, 1, 1);
    assert_int_equal(sora_file_read(scratch_path("a.mkv"), FILE_SIZE_MAX, &whole, NULL), 0);
    unsigned char *name = memmem(whole.data, whole.size, "ULRG", 4);
    assert_non_null(name);
    memcpy(name, "MJPG", 4);
    assert_int_equal(open_content(whole.data, whole.size, &fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "no segment"));
    /* UT Video of another kind of pixels, of as many planes and of more. */
    for (int i = 0; i < 2; i++) {
        const struct reading how = {64, 64, 1, 0, false};
        int end = 0;
        memcpy(name, i ? "ULRA" : "ULY4", 4);
        assert_int_equal(open_content(whole.data, whole.size, &fault), SORA_OK);
        assert_int_equal(read_with(scratch_path("x.mkv"), &how, &end), 0);
        assert_int_equal(end, SORA_E_FORMAT);
    }
    sora_bytes_fini(&whole);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(frames_come_back_bit_for_bit),
        SCRATCH_TEST(flat_and_noisy_frames_come_back),
        SCRATCH_TEST(threads_and_skipping_lose_no_frame),
        SCRATCH_TEST(threads_and_repetition_change_no_byte),
        SCRATCH_TEST(unfinished_leaves_nothing),
        SCRATCH_TEST(bad_parameters_are_refused),
        SCRATCH_TEST(full_disk_is_an_error),
        SCRATCH_TEST(what_is_no_segment_is_refused),
        SCRATCH_TEST(another_size_is_refused),
        SCRATCH_TEST(truncated_and_flipped_files_are_survived),
        SCRATCH_TEST(another_codec_in_matroska_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
