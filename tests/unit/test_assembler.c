/*
 * The home's assembler with the real child: files and their content, every codec, hostile segments,
 * a child that is killed.
 */
#include "scheduler/assembler.h"

#include "base/clock.h"
#include "base/files.h"
#include "model/tensor_file.h"

#include "tests/unit/assembly_fixture.h"
#include "tests/unit/scratch.h"

#include <signal.h>

#define WAIT_SECONDS 60

static int folders_setup(void **state)
{
    if (scratch_setup(state))
        return -1;
    return sora_file_make_dirs(scratch_path("in"), NULL) ||
                   sora_file_make_dirs(scratch_path("out"), NULL)
               ? -1
               : 0;
}

static struct sora_assembler *make(const struct sora_assembly_begin *begin, const char *name)
{
    static const char *const tags[] = {"title", "a \xc3\xa9 title", "seed", "42"};
    struct sora_assembly_begin with_tags = *begin;
    with_tags.tag_count = 2;
    const struct sora_assembler_params params = {.program = SORA_WORKER,
                                                 .read_folder = scratch_path("in"),
                                                 .folder = scratch_path("out"),
                                                 .file_name = name,
                                                 .begin = &with_tags,
                                                 .title = "a title",
                                                 .tags = tags};
    struct sora_assembler *assembler = NULL;
    struct sora_fault fault = {0};
    if (sora_assembler_create(&params, &assembler, &fault))
        fail_msg("%s", fault.text);
    return assembler;
}

/* Waits for the next event. */
static struct sora_assembler_event next_event(struct sora_assembler *assembler)
{
    struct sora_assembler_event event = {0};
    sora_time end = sora_clock_now() + WAIT_SECONDS * SORA_TIME_SECOND;
    while (sora_assembler_step(assembler, &event) == 0) {
        struct pollfd item;
        sora_assembler_poll(assembler, &item);
        assert_true(item.fd >= 0);
        poll(&item, 1, 1000);
        assert_true(sora_clock_now() < end);
    }
    return event;
}

/* Skips progress. */
static struct sora_assembler_event last_event(struct sora_assembler *assembler)
{
    struct sora_assembler_event event;
    do {
        event = next_event(assembler);
    } while (event.kind == SORA_ASSEMBLER_PROGRESS);
    struct sora_assembler_event none;
    struct pollfd item;
    assert_int_equal(sora_assembler_step(assembler, &none), 0);
    sora_assembler_poll(assembler, &item);
    assert_int_equal(item.fd, -1);
    return event;
}

static int add(struct sora_assembler *assembler, const char *path, int first, int skip, int count)
{
    const struct sora_assembly_segment segment = {first, skip, count};
    return sora_assembler_segment(assembler, path, &segment);
}

static void check_latents(const char *path)
{
    struct sora_array array = {0};
    assert_int_equal(sora_array_read(path, "latents", &array, NULL), 0);
    assert_int_equal(array.rank, 4);
    const int64_t shape[] = {2, 9, 3, 4};
    assert_memory_equal(array.shape, shape, sizeof(shape));
    /* The value of element (latent, channel, place) is 100 latent + 50 channel + place. */
    for (int i = 0; i < 2 * 9 * 12; i++)
        assert_true(array.values[i] == (float)(100 * (i / 12 % 9) + 50 * (i / 108) + i % 12));
    sora_array_fini(&array);
}

static void write_latents(const char *path, int first, int count)
{
    static float values[16 * 24];
    for (int i = 0; i < count * 24; i++)
        values[i] = (float)(100 * (first + i / 24) + 50 * (i / 12 % 2) + i % 12);
    assert_int_equal(sora_file_write(path, values, (size_t)count * 24 * sizeof(float), NULL), 0);
}

static int add_latents(struct sora_assembler *assembler, const char *path, int take, int first,
                       int end, int skip)
{
    const struct sora_assembly_latents latents = {take, first, end, skip};
    return sora_assembler_latents(assembler, path, &latents);
}

static void pieces_become_the_finished_files(void **state)
{
    (void)state;
    struct sora_assembly_begin begin = assembly_begin(33);
    begin.cut_count = 1;
    begin.cuts[0] = 17;
    segment_write(scratch_path("in/a"), 0, 13);
    segment_write(scratch_path("in/b"), 10, 23);
    write_latents(scratch_path("in/la"), 0, 5);
    write_latents(scratch_path("in/lb"), 3, 6); /* 3 and 4 again */
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    assert_int_equal(add(assembler, scratch_path("in/a"), 0, 0, 13), 0);
    assert_int_equal(add_latents(assembler, scratch_path("in/la"), 0, 0, 5, 0), 0);
    assert_int_equal(add(assembler, scratch_path("in/b"), 13, 3, 20), 0);
    assert_int_equal(add_latents(assembler, scratch_path("in/lb"), 1, 0, 4, 2), 0);
    assert_int_equal(add_latents(assembler, scratch_path("in/lb"), 1, 4, 4, 2), SORA_E_INVALID);
    assert_int_equal(sora_assembler_finish(assembler, "cpu-avx2-1,sm_90-bf16-1"), 0);
    struct sora_assembler_event event = next_event(assembler);
    assert_int_equal(event.kind, SORA_ASSEMBLER_PROGRESS);
    event = last_event(assembler);
    assert_string_equal(event.kind == SORA_ASSEMBLER_DONE ? "" : event.text, "");
    assert_int_equal(event.progress.frames_done, 33);
    assert_non_null(strstr(event.text, "seam_median"));
    sora_assembler_destroy(&assembler);
    assert_int_equal(scratch_entry_count("out"), 5);
    assert_int_equal(video_check(scratch_path("out/v.mp4")), 33);
    assert_int_equal(video_check(scratch_path("out/" SORA_ASSEMBLY_PREVIEW)), 33);
    check_latents(scratch_path("out/" SORA_ASSEMBLY_LATENTS_FILE));
    struct sora_bytes report;
    assert_int_equal(
        sora_file_read(scratch_path("out/" SORA_ASSEMBLY_REPORT), 1 << 20, &report, NULL), 0);
    assert_non_null(strstr((char *)report.data, "\"devices\": [\"cpu-avx2-1\", \"sm_90-bf16-1\"]"));
    sora_bytes_fini(&report);
    struct sora_video_reader *reader = NULL;
    assert_int_equal(sora_video_reader_open(scratch_path("out/v.mp4"), &reader, NULL), 0);
    assert_string_equal(sora_video_reader_tag(reader, "title"), "a \xc3\xa9 title");
    assert_string_equal(sora_video_reader_tag(reader, "seed"), "42");
    sora_video_reader_destroy(&reader);
}

static void every_codec_can_be_chosen(void **state)
{
    (void)state;
    static const struct {
        int codec, container;
        const char *name;
    } cases[] = {
        {SORA_CODEC_H264, SORA_CONTAINER_MKV, "h264.mkv"},
        {SORA_CODEC_H265, SORA_CONTAINER_MP4, "h265.mp4"},
        {SORA_CODEC_AV1, SORA_CONTAINER_MP4, "av1.mp4"},
        {SORA_CODEC_PRORES, SORA_CONTAINER_MOV, "prores.mov"},
        {SORA_CODEC_PRORES, SORA_CONTAINER_MKV, "prores.mkv"},
        {SORA_CODEC_FFV1, SORA_CONTAINER_MKV, "ffv1.mkv"},
    };
    segment_write(scratch_path("in/a"), 0, 20);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_assembly_begin begin = assembly_begin(20);
        char path[64];
        begin.codec = cases[i].codec;
        begin.container = cases[i].container;
        struct sora_assembler *assembler = make(&begin, cases[i].name);
        assert_int_equal(add(assembler, scratch_path("in/a"), 0, 0, 20), 0);
        assert_int_equal(sora_assembler_finish(assembler, "cpu-avx2-1,sm_90-bf16-1"), 0);
        struct sora_assembler_event event = last_event(assembler);
        if (event.kind != SORA_ASSEMBLER_DONE)
            fail_msg("%s: %s", cases[i].name, event.text);
        sora_assembler_destroy(&assembler);
        snprintf(path, sizeof(path), "out/%s", cases[i].name);
        assert_int_equal(video_check(scratch_path(path)), 20);
        assert_int_equal(video_check(scratch_path("out/" SORA_ASSEMBLY_PREVIEW)), 20);
    }
}

/* The preview holds what progress says, before the end is there. */
static void preview_plays_while_it_grows(void **state)
{
    (void)state;
    struct sora_assembly_begin begin = assembly_begin(240);
    segment_write(scratch_path("in/a"), 0, 150);
    segment_write(scratch_path("in/b"), 150, 90);
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    assert_int_equal(add(assembler, scratch_path("in/a"), 0, 0, 150), 0);
    struct sora_assembler_event event = next_event(assembler);
    assert_int_equal(event.kind, SORA_ASSEMBLER_PROGRESS);
    assert_true(event.progress.preview_frames > 0 && event.progress.preview_frames < 150);
    int playable = event.progress.preview_frames;
    assert_true(video_check_first(scratch_path("out/" SORA_ASSEMBLY_PREVIEW), playable) >=
                playable);
    assert_int_equal(access(scratch_path("out/v.mp4"), F_OK), -1);
    assert_int_equal(add(assembler, scratch_path("in/b"), 150, 0, 90), 0);
    assert_int_equal(sora_assembler_finish(assembler, "cpu-avx2-1,sm_90-bf16-1"), 0);
    event = last_event(assembler);
    assert_int_equal(event.kind, SORA_ASSEMBLER_DONE);
    assert_int_equal(event.progress.preview_frames, 240);
    sora_assembler_destroy(&assembler);
    assert_int_equal(video_check(scratch_path("out/v.mp4")), 240);
}

static void check_failure(const char *path, int skip, int count, int code, const char *says)
{
    const struct sora_assembly_begin begin = assembly_begin(20);
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    assert_int_equal(add(assembler, path, 0, skip, count), 0);
    (void)sora_assembler_finish(assembler, "cpu-avx2-1,sm_90-bf16-1");
    struct sora_assembler_event event = last_event(assembler);
    assert_int_equal(event.kind, SORA_ASSEMBLER_FAILED);
    if (event.code != code || !strstr(event.text, says))
        fail_msg("%d '%s' instead of %d '%s'", event.code, event.text, code, says);
    assert_int_equal(add(assembler, path, 0, 0, 1), SORA_E_IO);
    sora_assembler_destroy(&assembler);
    assert_int_equal(scratch_entry_count("out"), 0);
}

static void hostile_segments_fail_the_job_only(void **state)
{
    (void)state;
    struct sora_bytes whole;
    const char *path = scratch_path("in/x");
    char bad[1024];
    snprintf(bad, sizeof(bad), "%s", path);
    segment_write(scratch_path("in/a"), 0, 20);
    assert_int_equal(sora_file_read(scratch_path("in/a"), 1 << 22, &whole, NULL), 0);
    assert_int_equal(sora_file_write(bad, "ffconcat version 1.0\nfile /etc/passwd\n", 38, NULL), 0);
    check_failure(bad, 0, 20, SORA_E_FORMAT, "no Matroska file");
    assert_int_equal(sora_file_write(bad, whole.data, whole.size / 2, NULL), 0);
    check_failure(bad, 0, 20, SORA_E_FORMAT, "/in/x");
    unsigned char *codec = memmem(whole.data, whole.size, "ULRG", 4);
    assert_non_null(codec);
    memcpy(codec, "MJPG", 4);
    assert_int_equal(sora_file_write(bad, whole.data, whole.size, NULL), 0);
    check_failure(bad, 0, 20, SORA_E_FORMAT, "no segment");
    sora_bytes_fini(&whole);
    check_failure(scratch_path("in/a"), 1, 20, SORA_E_FORMAT, "too early");
    check_failure(scratch_path("in/none"), 0, 20, SORA_E_NOT_FOUND, "in/none");
}

static void what_the_codec_refuses_is_told(void **state)
{
    (void)state;
    struct sora_assembly_begin begin = assembly_begin(20);
    begin.codec = SORA_CODEC_FFV1;
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    struct sora_assembler_event event = last_event(assembler);
    assert_int_equal(event.code, SORA_E_INVALID);
    assert_non_null(strstr(event.text, "FFV1 does not go into an .mp4 file; choose mkv"));
    sora_assembler_destroy(&assembler);
    assert_int_equal(scratch_entry_count("out"), 0);
}

/* The only child of this process. */
static pid_t find_child(void)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof(text), file))
        text[0] = 0;
    if (file)
        fclose(file);
    return (pid_t)atoi(text);
}

static void killed_child_leaves_nothing(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = assembly_begin(40);
    segment_write(scratch_path("in/a"), 0, 20);
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    assert_int_equal(add(assembler, scratch_path("in/a"), 0, 0, 20), 0);
    assert_int_equal(next_event(assembler).kind, SORA_ASSEMBLER_PROGRESS);
    assert_true(scratch_entry_count("out") >= 2);
    pid_t child = find_child();
    if (child <= 0)
        skip();
    kill(child, SIGKILL);
    struct sora_assembler_event event = last_event(assembler);
    assert_int_equal(event.kind, SORA_ASSEMBLER_FAILED);
    assert_non_null(strstr(event.text, "signal 9"));
    assert_int_equal(access(scratch_path("out/v.mp4"), F_OK), -1);
    sora_assembler_destroy(&assembler);
    assert_int_equal(scratch_entry_count("out"), 0);
}

static void destroying_ends_the_child_and_cleans_up(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = assembly_begin(40);
    segment_write(scratch_path("in/a"), 0, 20);
    struct sora_assembler *assembler = make(&begin, "v.mp4");
    assert_int_equal(add(assembler, scratch_path("in/a"), 0, 0, 20), 0);
    assert_int_equal(next_event(assembler).kind, SORA_ASSEMBLER_PROGRESS);
    sora_assembler_destroy(&assembler);
    sora_assembler_destroy(&assembler);
    assert_int_equal(find_child(), 0);
    assert_int_equal(scratch_entry_count("out"), 0);
}

int main(void)
{
#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, folders_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(pieces_become_the_finished_files),
        FOLDER_TEST(every_codec_can_be_chosen),
        FOLDER_TEST(preview_plays_while_it_grows),
        FOLDER_TEST(hostile_segments_fail_the_job_only),
        FOLDER_TEST(what_the_codec_refuses_is_told),
        FOLDER_TEST(killed_child_leaves_nothing),
        FOLDER_TEST(destroying_ends_the_child_and_cleans_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
