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

/* Whether the frame is the `at`-th or a later one that was written: a damaged container may hide
 * whole frames, never show others. */
static int find_frame(const uint8_t *rgb, int width, int height, int at)
{
    static uint8_t expected[FRAME_SIZE_MAX];
    for (int i = at; i < at + 8; i++) {
        fill(expected, width, height, i);
        if (memcmp(rgb, expected, (size_t)(width * height * 3)) == 0)
            return i;
    }
    fail_msg("frame %d differs from all that were written", at);
    return -1;
}

/* Frames that could be read before the end or the error, which goes to *out_end. */
static int read_segment(const char *path, int width, int height, int *out_end)
{
    struct sora_segment_reader *reader = NULL;
    static uint8_t rgb[FRAME_SIZE_MAX];
    int count = 0, next = 0;
    *out_end = sora_segment_reader_open(path, width, height, &reader, NULL);
    if (*out_end)
        return 0;
    for (; (*out_end = sora_segment_reader_next(reader, rgb, NULL)) == 1; count++)
        next = find_frame(rgb, width, height, next) + 1;
    sora_segment_reader_close(&reader);
    return count;
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
    /* A frame is whole or refused (read_segment compares): no bit of the pictures may change
     * unseen. */
    int refused = 0;
    for (size_t at = 0; at < whole.size; at += 1 + whole.size / 400) {
        whole.data[at] ^= 0x10;
        assert_int_equal(sora_file_write(scratch_path("x.mkv"), whole.data, whole.size, NULL), 0);
        (void)read_segment(scratch_path("x.mkv"), 64, 64, &end);
        refused += end != 0;
        whole.data[at] ^= 0x10;
    }
    assert_true(refused > 300);
    sora_bytes_fini(&whole);
}

static void another_codec_in_matroska_is_refused(void **state)
{
    (void)state;
    struct sora_bytes whole;
    struct sora_fault fault = {0};
    write_segment(scratch_path("a.mkv"), 64, 64, 1, 1);
    assert_int_equal(sora_file_read(scratch_path("a.mkv"), FILE_SIZE_MAX, &whole, NULL), 0);
    unsigned char *name = memmem(whole.data, whole.size, "FFV1", 4);
    assert_non_null(name);
    memcpy(name, "MJPG", 4);
    assert_int_equal(open_content(whole.data, whole.size, &fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "no segment"));
    sora_bytes_fini(&whole);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(frames_come_back_bit_for_bit),
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
