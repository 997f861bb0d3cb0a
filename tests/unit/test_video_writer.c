/* Video files: colours, tags, frame counts, repeatability, and what failures leave behind. */
#include "media/video_writer.h"

#include "base/files.h"
#include "media/video_reader.h"

#include "tests/unit/scratch.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { WIDTH = 96, HEIGHT = 64, FRAME_SIZE = WIDTH * HEIGHT * 3 };

static void fill(uint8_t *rgb, uint8_t r, uint8_t g, uint8_t b)
{
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        rgb[3 * i] = r;
        rgb[3 * i + 1] = g;
        rgb[3 * i + 2] = b;
    }
}

/* A moving pattern with enough detail to give the encoder bytes to write. */
static void fill_pattern(uint8_t *rgb, int frame)
{
    uint32_t noise = 12345u + (uint32_t)frame;
    for (int i = 0; i < FRAME_SIZE; i++) {
        noise = noise * 1664525u + 1013904223u;
        rgb[i] = (uint8_t)(noise >> 24);
    }
}

static struct sora_video_writer_params params_for(const char *path)
{
    return (struct sora_video_writer_params){
        .path = path, .width = WIDTH, .height = HEIGHT, .fps = 16, .preset = "ultrafast"};
}

/* Every frame in one call or in two. */
static void write_pattern_in(const char *path, int frame_count, bool halves)
{
    struct sora_video_writer_params params = params_for(path);
    struct sora_fault fault = {0};
    struct sora_video_writer *writer = NULL;
    static uint8_t rgb[FRAME_SIZE];
    assert_int_equal(sora_video_writer_create(&params, &writer, &fault), SORA_OK);
    size_t size = sora_video_writer_converted_size(writer);
    uint8_t *converted =
        aligned_alloc(SORA_VIDEO_ALIGNMENT, size + -size % (size_t)SORA_VIDEO_ALIGNMENT);
    assert_non_null(converted);
    for (int i = 0; i < frame_count; i++) {
        fill_pattern(rgb, i);
        if (halves)
            sora_video_writer_convert(writer, rgb, converted);
        assert_int_equal(halves ? sora_video_writer_add_converted(writer, converted, &fault)
                                : sora_video_writer_add(writer, rgb, &fault),
                         SORA_OK);
    }
    assert_int_equal(sora_video_writer_finish(writer, &fault), SORA_OK);
    assert_int_equal(sora_video_writer_count(writer), frame_count);
    assert_string_equal(sora_video_writer_temporary(writer), "");
    sora_video_writer_destroy(&writer);
    assert_null(writer);
    free(converted);
}

static void write_pattern(const char *path, int frame_count)
{
    write_pattern_in(path, frame_count, false);
}

static void colours_survive_and_are_tagged(void **state)
{
    (void)state;
    static const uint8_t colours[][3] = {{255, 255, 255}, {0, 0, 0},     {255, 0, 0}, {0, 255, 0},
                                         {0, 0, 255},     {128, 64, 32}, {90, 90, 90}};
    const int count = sizeof(colours) / sizeof(colours[0]);
    const struct sora_video_tag tags[] = {{"seed", "42"}, {"model", "mini \xc3\xa9"}};
    struct sora_video_writer_params params = params_for(scratch_path("a:b.mp4"));
    params.tags = tags;
    params.tag_count = 2;
    params.crf = 1;
    struct sora_fault fault = {0};
    struct sora_video_writer *writer = NULL;
    static uint8_t rgb[FRAME_SIZE];
    assert_int_equal(sora_video_writer_create(&params, &writer, &fault), SORA_OK);
    for (int i = 0; i < count; i++) {
        fill(rgb, colours[i][0], colours[i][1], colours[i][2]);
        assert_int_equal(sora_video_writer_add(writer, rgb, &fault), SORA_OK);
    }
    assert_int_equal(sora_video_writer_finish(writer, &fault), SORA_OK);
    sora_video_writer_destroy(&writer);

    struct sora_video_reader *reader = NULL;
    assert_int_equal(sora_video_reader_open(params.path, &reader, &fault), SORA_OK);
    const struct sora_video_info *info = sora_video_reader_info(reader);
    assert_int_equal(info->width, WIDTH);
    assert_int_equal(info->height, HEIGHT);
    assert_int_equal(info->frame_count, count);
    assert_int_equal(info->fps, 16 * info->fps_divisor);
    assert_true(info->limited_range);
    assert_true(info->bt709);
    assert_string_equal(sora_video_reader_tag(reader, "seed"), "42");
    assert_string_equal(sora_video_reader_tag(reader, "model"), "mini \xc3\xa9");
    assert_null(sora_video_reader_tag(reader, "encoder"));
    bool got = false;
    for (int i = 0; i < count; i++) {
        assert_int_equal(sora_video_reader_next(reader, rgb, &got, &fault), SORA_OK);
        assert_true(got);
        const uint8_t *middle = rgb + 3 * (HEIGHT / 2 * WIDTH + WIDTH / 2);
        for (int c = 0; c < 3; c++)
            assert_in_range(middle[c] + 4 - colours[i][c], 0, 8);
    }
    assert_int_equal(sora_video_reader_next(reader, rgb, &got, &fault), SORA_OK);
    assert_false(got);
    sora_video_reader_destroy(&reader);
    assert_int_equal(scratch_entry_count(""), 1);
}

static void same_frames_give_the_same_bytes(void **state)
{
    (void)state;
    struct sora_bytes first, second;
    write_pattern(scratch_path("one.mp4"), 12);
    write_pattern(scratch_path("two.mp4"), 12);
    assert_int_equal(sora_file_read(scratch_path("one.mp4"), 1 << 24, &first, NULL), SORA_OK);
    assert_int_equal(sora_file_read(scratch_path("two.mp4"), 1 << 24, &second, NULL), SORA_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    /* faststart: the index comes before the pictures. */
    const unsigned char *moov = memmem(first.data, first.size, "moov", 4);
    const unsigned char *mdat = memmem(first.data, first.size, "mdat", 4);
    assert_non_null(moov);
    assert_true(moov < mdat);
    sora_bytes_fini(&first);
    sora_bytes_fini(&second);
}

static void halves_give_the_same_bytes(void **state)
{
    (void)state;
    struct sora_bytes first, second;
    write_pattern_in(scratch_path("a.mp4"), 9, false);
    write_pattern_in(scratch_path("b.mp4"), 9, true);
    assert_int_equal(sora_file_read(scratch_path("a.mp4"), 1 << 22, &first, NULL), SORA_OK);
    assert_int_equal(sora_file_read(scratch_path("b.mp4"), 1 << 22, &second, NULL), SORA_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    sora_bytes_fini(&first);
    sora_bytes_fini(&second);
}

static void bad_parameters_say_what_is_allowed(void **state)
{
    (void)state;
    const struct {
        int width, height, fps, crf;
        const char *codec, *says;
    } cases[] = {
        {95, 64, 16, 0, NULL, "width is 95; H.264 with 4:2:0 colour needs an even one: 94 or 96"},
        {96, 63, 16, 0, NULL, "height is 63"},
        {0, 64, 16, 0, NULL, "width is 0; it must be 2 to 16384"},
        {96, 1 << 20, 16, 0, NULL, "height is 1048576"},
        {96, 64, 0, 0, NULL, "frame rate is 0"},
        {96, 64, 16, 99, NULL, "crf is 99"},
        {96, 64, 16, 0, "nonsense", "no video encoder nonsense"},
        {96, 64, 16, 0, "aac", "no video encoder aac"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_video_writer_params params = params_for(scratch_path("x.mp4"));
        params.width = cases[i].width;
        params.height = cases[i].height;
        params.fps = cases[i].fps;
        params.crf = cases[i].crf;
        params.codec = cases[i].codec;
        struct sora_fault fault = {0};
        struct sora_video_writer *writer = NULL;
        assert_int_not_equal(sora_video_writer_create(&params, &writer, &fault), SORA_OK);
        assert_null(writer);
        assert_non_null(strstr(fault.text, cases[i].says));
    }
    assert_int_equal(scratch_entry_count(""), 0);
}

static void bad_places_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_video_writer *writer = NULL;
    struct sora_video_writer_params params = params_for(scratch_path("no/such/x.mp4"));
    assert_int_equal(sora_video_writer_create(&params, &writer, &fault), SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "no/such/x.mp4"));
    params.path = "/dev/null";
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), SORA_E_INVALID);
    params.path = "/proc/x.mp4";
    fault = (struct sora_fault){0};
    assert_int_not_equal(sora_video_writer_create(&params, &writer, &fault), SORA_OK);
    assert_non_null(strstr(fault.text, "/proc/x.mp4"));
}

static void abort_and_empty_finish_leave_nothing(void **state)
{
    (void)state;
    struct sora_video_writer_params params = params_for(scratch_path("x.mp4"));
    struct sora_video_writer *writer = NULL;
    static uint8_t rgb[FRAME_SIZE];
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), SORA_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(sora_video_writer_add(writer, rgb, NULL), SORA_OK);
    assert_int_equal(access(sora_video_writer_temporary(writer), F_OK), 0);
    sora_video_writer_destroy(&writer);
    assert_int_equal(scratch_entry_count(""), 0);
    assert_int_equal(sora_video_writer_create(&params, &writer, NULL), SORA_OK);
    assert_int_equal(sora_video_writer_finish(writer, NULL), SORA_E_INVALID);
    sora_video_writer_destroy(&writer);
    sora_video_writer_destroy(&writer);
    assert_int_equal(scratch_entry_count(""), 0);
}

/* Adds frames and finishes; returns the first error. */
static int write_until_error(const char *path, struct sora_fault *fault)
{
    struct sora_video_writer_params params = params_for(path);
    struct sora_video_writer *writer = NULL;
    static uint8_t rgb[FRAME_SIZE];
    int rc = sora_video_writer_create(&params, &writer, fault);
    for (int i = 0; !rc && i < 40; i++) {
        fill_pattern(rgb, i);
        rc = sora_video_writer_add(writer, rgb, fault);
    }
    if (!rc)
        rc = sora_video_writer_finish(writer, fault);
    sora_video_writer_destroy(&writer);
    return rc;
}

static void write_failure_is_reported_and_cleaned_up(void **state)
{
    (void)state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    /* The limit is hit by the first packets, in the middle, and by the index at the end. */
    static const rlim_t limits[] = {100, 20000, 200000};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct sora_fault fault = {0};
        small = before;
        small.rlim_cur = limits[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int rc = write_until_error(scratch_path("x.mp4"), &fault);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(rc, SORA_E_IO);
        assert_non_null(strstr(fault.text, "x.mp4: File too large"));
        assert_int_equal(scratch_entry_count(""), 0);
    }
}

/* In a child with its own mounts: a file system of 64 KiB. 77 means that mounting is not allowed.
 */
static int full_disk_child(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", scratch_dir, "tmpfs", 0, "size=65536") != 0)
        return 77;
    struct sora_fault fault = {0};
    int rc = write_until_error(scratch_path("x.mp4"), &fault);
    if (rc != SORA_E_SPACE || !strstr(fault.text, "No space left on device; free some space"))
        return 1;
    return scratch_entry_count("") == 0 ? 0 : 2;
}

static void full_disk_is_reported_and_cleaned_up(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(full_disk_child());
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: mounting a small file system needs root\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void reader_refuses_what_is_not_video(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        int code;
    } cases[] = {
        {"", SORA_E_FORMAT},
        {"ffconcat version 1.0\nfile /etc/passwd\n", SORA_E_FORMAT},
        {"#EXTM3U\n#EXT-X-TARGETDURATION:1\n", SORA_E_FORMAT},
        {"....ftypisom................", SORA_E_FORMAT},
        {"\x1a\x45\xdf\xa3............", SORA_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_fault fault = {0};
        struct sora_video_reader *reader = NULL;
        const char *path = scratch_path("x.mp4");
        assert_int_equal(sora_file_write(path, cases[i].content, strlen(cases[i].content), NULL),
                         0);
        int rc = sora_video_reader_open(path, &reader, &fault);
        assert_int_equal(rc, cases[i].code);
        assert_null(reader);
        assert_non_null(strstr(fault.text, "x.mp4"));
    }
    struct sora_video_reader *reader = NULL;
    assert_int_equal(sora_video_reader_open(scratch_path("none"), &reader, NULL), SORA_E_NOT_FOUND);
    assert_int_equal(sora_video_reader_open(scratch_dir, &reader, NULL), SORA_E_INVALID);
}

/* Cut anywhere, the reader ends with an error or fewer frames, never with a crash. */
static void reader_survives_truncation(void **state)
{
    (void)state;
    struct sora_bytes whole;
    write_pattern(scratch_path("x.mp4"), 6);
    assert_int_equal(sora_file_read(scratch_path("x.mp4"), 1 << 24, &whole, NULL), SORA_OK);
    static uint8_t rgb[FRAME_SIZE];
    for (size_t cut = 1; cut < 12; cut++) {
        const char *path = scratch_path("cut.mp4");
        assert_int_equal(sora_file_write(path, whole.data, whole.size * cut / 12, NULL), SORA_OK);
        struct sora_video_reader *reader = NULL;
        int count = 0;
        bool got = true;
        if (sora_video_reader_open(path, &reader, NULL))
            continue;
        while (!sora_video_reader_next(reader, rgb, &got, NULL) && got)
            count++;
        assert_true(count <= 6);
        sora_video_reader_destroy(&reader);
    }
    sora_bytes_fini(&whole);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(colours_survive_and_are_tagged),
        SCRATCH_TEST(same_frames_give_the_same_bytes),
        SCRATCH_TEST(halves_give_the_same_bytes),
        SCRATCH_TEST(bad_parameters_say_what_is_allowed),
        SCRATCH_TEST(bad_places_are_refused),
        SCRATCH_TEST(abort_and_empty_finish_leave_nothing),
        SCRATCH_TEST(write_failure_is_reported_and_cleaned_up),
        SCRATCH_TEST(full_disk_is_reported_and_cleaned_up),
        SCRATCH_TEST(reader_refuses_what_is_not_video),
        SCRATCH_TEST(reader_survives_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
