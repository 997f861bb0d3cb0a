/* The library part of assembling: overlaps of takes, order, files, what failure leaves. */
#include "media/assembly.h"

#include "base/files.h"
#include "base/timeline.h"
#include "media/frame_pipe.h"
#include "media/report.h"

#include "tests/unit/assembly_fixture.h"
#include "tests/unit/scratch.h"

/* ---- overlaps ---- */

static int32_t frame_of(int32_t latent)
{
    return latent == 0 ? 0 : 1 + 4 * (latent - 1);
}

/* The overlaps of base/timeline.h, latents as frames, are what the wire's numbers give. */
static void overlaps_are_those_of_the_timeline(void **state)
{
    (void)state;
    for (int latents = 1; latents < 60; latents++) {
        const struct sora_timeline_params timeline = {latents, 9, 3, false};
        int windows = sora_timeline_window_count(&timeline, 0);
        struct sora_assembly_begin begin = {.frame_count = 1 + 4 * (latents - 1),
                                            .window_frames = 33,
                                            .overlap_frames = 12,
                                            .stride_frames = 20};
        struct sora_report_overlap overlaps[64];
        assert_int_equal(sora_assembly_overlaps(&begin, overlaps, 64), windows - 1);
        for (int i = 0; i + 1 < windows; i++) {
            struct sora_window left = sora_timeline_window(&timeline, 0, i);
            struct sora_window right = sora_timeline_window(&timeline, 0, i + 1);
            assert_int_equal(overlaps[i].first, frame_of(right.payload_start));
            assert_int_equal(overlaps[i].end, frame_of(left.payload_end));
        }
    }
}

static void takes_have_windows_of_their_own(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = {.frame_count = 25 + 9 + 25,
                                              .window_frames = 17,
                                              .overlap_frames = 8,
                                              .stride_frames = 8,
                                              .cut_count = 2,
                                              .cuts = {25, 34}};
    struct sora_report_overlap overlaps[8];
    assert_int_equal(sora_assembly_overlaps(&begin, overlaps, 8), 2);
    assert_int_equal(overlaps[0].first, 9);
    assert_int_equal(overlaps[0].end, 17);
    assert_int_equal(overlaps[1].first, 34 + 9);
    assert_int_equal(overlaps[1].end, 34 + 17);
}

/* ---- the pipe ---- */

struct sums {
    int64_t count, expected_next;
    int fail_at;
};

static int sum(void *context, const uint8_t *frame, struct sora_fault *fault)
{
    struct sums *sums = context;
    if (frame[0] != (uint8_t)sums->expected_next++)
        return sora_fault_set(fault, SORA_E_INTERNAL, "out of order");
    if (++sums->count == sums->fail_at)
        return sora_fault_set(fault, SORA_E_SPACE, "full at %d", sums->fail_at);
    return 0;
}

static void pipe_gives_all_frames_in_order_to_all(void **state)
{
    (void)state;
    struct sums first = {0}, second = {0};
    const struct sora_frame_consumer consumers[] = {{sum, &first}, {sum, &second}};
    struct sora_frame_pipe *pipe = NULL;
    assert_int_equal(sora_frame_pipe_create(16, consumers, 2, &pipe, NULL), 0);
    for (int i = 0; i < 5000; i++) {
        uint8_t *frame = NULL;
        assert_int_equal(sora_frame_pipe_begin(pipe, &frame, NULL), 0);
        frame[0] = (uint8_t)i;
        sora_frame_pipe_commit(pipe);
    }
    assert_int_equal(sora_frame_pipe_drain(pipe, NULL), 0);
    assert_int_equal(sora_frame_pipe_taken(pipe, 0), 5000);
    assert_int_equal(first.count, 5000);
    assert_int_equal(second.count, 5000);
    sora_frame_pipe_destroy(&pipe);
    sora_frame_pipe_destroy(&pipe);
}

static void pipe_stops_at_the_first_error(void **state)
{
    (void)state;
    struct sums first = {.fail_at = 100}, second = {0};
    const struct sora_frame_consumer consumers[] = {{sum, &first}, {sum, &second}};
    struct sora_frame_pipe *pipe = NULL;
    struct sora_fault fault = {0};
    uint8_t *frame = NULL;
    int rc = sora_frame_pipe_create(16, consumers, 2, &pipe, NULL);
    for (int i = 0; !rc && i < 100000; i++) {
        rc = sora_frame_pipe_begin(pipe, &frame, &fault);
        if (!rc) {
            frame[0] = (uint8_t)i;
            sora_frame_pipe_commit(pipe);
        }
    }
    assert_int_equal(rc, SORA_E_SPACE);
    assert_string_equal(fault.text, "full at 100");
    assert_int_equal(sora_frame_pipe_drain(pipe, NULL), SORA_E_SPACE);
    sora_frame_pipe_destroy(&pipe);
}

/* ---- assembling ---- */

static struct sora_assembly *make(const struct sora_assembly_begin *begin, struct sora_fault *fault)
{
    static const struct sora_video_tag tags[SORA_ASSEMBLY_TAGS_MAX] = {{"seed", "42"}};
    const struct sora_assembly_params params = {.begin = begin,
                                                .folder = scratch_dir,
                                                .file_name = "v.mp4",
                                                .title = "a title",
                                                .tags = tags};
    struct sora_assembly *assembly = NULL;
    (void)sora_assembly_create(&params, &assembly, fault);
    return assembly;
}

static int add(struct sora_assembly *assembly, int first, int skip, int count,
               struct sora_fault *fault)
{
    const struct sora_assembly_segment segment = {first, skip, count};
    return sora_assembly_segment(assembly, scratch_path("a.mkv"), &segment, fault);
}

static void segments_become_all_files(void **state)
{
    (void)state;
    struct sora_assembly_begin begin = assembly_begin(70);
    struct sora_assembly_progress progress;
    struct sora_bytes table, json;
    begin.cut_count = 1;
    begin.cuts[0] = 33;
    segment_write(scratch_path("a.mkv"), 0, 70);
    struct sora_assembly *assembly = make(&begin, NULL);
    assert_non_null(assembly);
    assert_int_equal(add(assembly, 0, 0, 40, NULL), 0);
    assert_int_equal(add(assembly, 40, 40, 30, NULL), 0);
    assert_int_equal(access(scratch_path("v.mp4"), F_OK), -1);
    sora_bytes_init(&table, 1 << 16);
    assert_int_equal(sora_assembly_finish(assembly, NULL, &table, NULL), 0);
    sora_assembly_get_progress(assembly, &progress);
    assert_int_equal(progress.frames_done, 70);
    assert_int_equal(progress.preview_frames, 70);
    sora_assembly_destroy(&assembly);
    assert_int_equal(video_check(scratch_path("v.mp4")), 70);
    assert_int_equal(video_check(scratch_path(SORA_ASSEMBLY_PREVIEW)), 70);
    assert_non_null(strstr((const char *)table.data, "hard cuts"));
    assert_int_equal(sora_file_read(scratch_path(SORA_ASSEMBLY_REPORT), 1 << 20, &json, NULL), 0);
    assert_non_null(strstr((const char *)json.data, "\"cuts\": [33]"));
    assert_int_equal(access(scratch_path(SORA_ASSEMBLY_CONTACT), F_OK), 0);
    assert_int_equal(scratch_entry_count(""), 5); /* and the segment */
    sora_bytes_fini(&json);
    sora_bytes_fini(&table);
}

static void gaps_and_short_segments_are_refused(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = assembly_begin(30);
    struct sora_bytes table = {0};
    segment_write(scratch_path("a.mkv"), 0, 20);
    static const struct {
        int first, skip, count, code;
        const char *says;
    } cases[] = {
        {1, 0, 10, SORA_E_INVALID, "begins at frame 1 instead of 0"},
        {0, -1, 10, SORA_E_INVALID, "after -1"},
        {0, 0, 31, SORA_E_INVALID, "1 to 30 are wanted"},
        {0, 0, 21, SORA_E_FORMAT, "ends 1 frames too early"},
        {0, 21, 1, SORA_E_FORMAT, "ends after 20 frames"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_fault fault = {0};
        struct sora_assembly *assembly = make(&begin, NULL);
        assert_int_equal(add(assembly, cases[i].first, cases[i].skip, cases[i].count, &fault),
                         cases[i].code);
        assert_non_null(strstr(fault.text, cases[i].says));
        assert_int_equal(sora_assembly_finish(assembly, NULL, &table, NULL), SORA_E_INVALID);
        sora_assembly_destroy(&assembly);
        assert_int_equal(scratch_entry_count(""), 1);
    }
}

/* A report that cannot be written takes the finished video with it. */
static void failure_at_the_end_leaves_nothing(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = assembly_begin(20);
    struct sora_fault fault = {0};
    struct sora_bytes table;
    sora_bytes_init(&table, 1 << 16);
    segment_write(scratch_path("a.mkv"), 0, 20);
    assert_int_equal(sora_file_make_dirs(scratch_path(SORA_ASSEMBLY_REPORT), NULL), 0);
    struct sora_assembly *assembly = make(&begin, NULL);
    assert_int_equal(add(assembly, 0, 0, 20, NULL), 0);
    assert_int_equal(sora_assembly_finish(assembly, NULL, &table, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, SORA_ASSEMBLY_REPORT));
    sora_assembly_destroy(&assembly);
    assert_int_equal(scratch_entry_count(""), 2); /* the segment and what was in the way */
    sora_bytes_fini(&table);
}

static void bad_orders_are_refused(void **state)
{
    (void)state;
    const struct sora_assembly_begin good = assembly_begin(30);
    struct sora_assembly_begin bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].width = 7;
    bad[1].codec = 5;
    bad[2].frame_count = 0;
    bad[3].cut_count = 2;
    bad[4].stride_frames = 0;
    bad[5].codec = SORA_CODEC_FFV1; /* into .mp4 */
    for (int i = 0; i < 6; i++) {
        struct sora_fault fault = {0};
        assert_null(make(&bad[i], &fault));
        assert_int_equal(fault.code, SORA_E_INVALID);
    }
    assert_int_equal(scratch_entry_count(""), 0);
}

static void still_or_tiny_videos_need_no_report(void **state)
{
    (void)state;
    const struct sora_assembly_begin begin = assembly_begin(1);
    struct sora_bytes table;
    sora_bytes_init(&table, 1 << 16);
    segment_write(scratch_path("a.mkv"), 0, 1);
    struct sora_assembly *assembly = make(&begin, NULL);
    assert_int_equal(add(assembly, 0, 0, 1, NULL), 0);
    assert_int_equal(sora_assembly_finish(assembly, NULL, &table, NULL), 0);
    sora_assembly_destroy(&assembly);
    assert_int_equal(video_check(scratch_path("v.mp4")), 1);
    assert_int_equal(access(scratch_path(SORA_ASSEMBLY_REPORT), F_OK), -1);
    sora_bytes_fini(&table);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps_are_those_of_the_timeline),
        cmocka_unit_test(takes_have_windows_of_their_own),
        cmocka_unit_test(pipe_gives_all_frames_in_order_to_all),
        cmocka_unit_test(pipe_stops_at_the_first_error),
        SCRATCH_TEST(segments_become_all_files),
        SCRATCH_TEST(gaps_and_short_segments_are_refused),
        SCRATCH_TEST(failure_at_the_end_leaves_nothing),
        SCRATCH_TEST(bad_orders_are_refused),
        SCRATCH_TEST(still_or_tiny_videos_need_no_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
