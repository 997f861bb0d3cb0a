/* The home's database: all rows come back, dropped ones do not, and batches are transactions. */
#include "base/files.h"
#include "tests/unit/store_compare.h"

/* ---- rows ---- */

static void rows_come_back(void **state)
{
    (void)state;
    open_store();
    fill_model();
    compare();
    reopen();
    compare();
    struct stat status;
    assert_int_equal(stat(scratch_path("home.db"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    sora_store_close(&store);
    assert_int_equal(scratch_entry_count(""), 1);
}

static void rows_are_replaced(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct sora_store_batch *batch = begin();
    for (int i = 0; i < JOBS; i += 2) {
        struct sora_job_id id = model[i].row.id;
        struct model_take kept = model[i].takes[0];
        any_job(i);
        model[i].row.id = id;
        any_take(&model[i], 0);
        memcpy(model[i].takes[0].parts, kept.parts, sizeof(kept.parts));
        memcpy(model[i].takes[0].pieces, kept.pieces, sizeof(kept.pieces));
        model[i].takes[0].part_count = model[i].takes[0].piece_count = ROWS;
        any_blob(&model[i].takes[0].parts[1].blob);
        any_blob(&model[i].takes[0].pieces[1].blob);
        put_job(batch, &model[i]);
    }
    /* The other takes of these jobs are still there. */
    assert_int_equal(commit_wait(batch), SORA_OK);
    for (int i = 0; i < JOBS; i += 2) {
        for (int k = 1; k < 1 + i % TAKES_MAX; k++) {
            batch = begin();
            any_take(&model[i], k);
            assert_int_equal(sora_store_drop_pieces(batch, &model[i].takes[k].row.record.job.id),
                             SORA_OK);
            assert_int_equal(
                sora_store_drop_parts(batch, &model[i].takes[k].row.record.job.id, 1000), SORA_OK);
            put_take(batch, &model[i].takes[k]);
            assert_int_equal(commit_wait(batch), SORA_OK);
        }
    }
    compare();
    reopen();
    compare();
    sora_store_close(&store);
}

static void prepared_is_kept_when_none_is_given(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct sora_store_take without = model[3].takes[0].row;
    without.prepared = NULL;
    without.prepared_size = 0;
    struct sora_store_batch *batch = begin();
    assert_int_equal(sora_store_put_take(batch, &without), SORA_OK);
    assert_int_equal(commit_wait(batch), SORA_OK);
    compare();
    sora_store_close(&store);
}

static void rows_are_dropped(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct model_take *take = &model[4].takes[0];
    struct sora_job_id id = take->row.record.job.id;
    struct sora_store_batch *batch = begin();
    assert_int_equal(sora_store_drop_parts(batch, &id, 2), SORA_OK);
    take->parts[0] = take->parts[4]; /* steps are 0 0 1 1 2 */
    take->part_count = 1;
    assert_int_equal(sora_store_drop_pieces(batch, &model[5].takes[1].row.record.job.id), SORA_OK);
    model[5].takes[1].piece_count = 0;
    assert_int_equal(sora_store_drop_job(batch, &model[8].row.id), SORA_OK);
    model[8] = (struct model_job){0};
    assert_int_equal(commit_wait(batch), SORA_OK);
    compare();
    reopen();
    compare();
    sora_store_close(&store);
}

static int lines_seen, places_seen;

static int see_line(void *context, const struct sora_store_line *b)
{
    const struct sora_job_id *job = context;
    char text[32];
    assert_memory_equal(job, &b->job, 16);
    assert_int_equal(b->number, 2 + lines_seen++);
    snprintf(text, sizeof(text), "line %d", b->number);
    assert_string_equal(b->text, text);
    return 0;
}

static int see_place(void *context, const struct sora_store_ran *b)
{
    assert_memory_equal(context, &b->job, 16);
    assert_int_equal(b->shard, places_seen++);
    assert_int_equal(b->state + b->step + b->frames_done, 3 + 4 + 17);
    assert_int_equal(b->latents.first * 100 + b->latents.end, 511);
    assert_int_equal(b->epoch, 7);
    assert_string_equal(b->node, "brook");
    assert_string_equal(b->device, "gpu0");
    return 0;
}

static int see_old_job(void *context, const struct sora_store_job *job)
{
    *(struct sora_job_id *)context = job->id;
    assert_string_equal(job->reason, "made by version 1");
    assert_int_equal(job->wall_ended_ms, 3000);
    return 0;
}

/* Version 1, of which a sample is kept, has neither. */
static void logs_and_places_come_back(void **state)
{
    (void)state;
    struct sora_bytes sample;
    assert_int_equal(
        sora_file_read(SORA_SOURCE_DIR "/tests/goldens/store/version1.db", 65536, &sample, NULL),
        SORA_OK);
    assert_int_equal(sora_file_write(scratch_path("home.db"), sample.data, sample.size, NULL),
                     SORA_OK);
    sora_bytes_fini(&sample);
    open_store();
    struct sora_job_id id = {{0}};
    struct sora_store_visitor visitor = {
        .job = see_old_job, .line = see_line, .ran = see_place, .context = &id};
    assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_OK);
    assert_int_equal(id.bytes[15], 1);
    struct sora_store_batch *batch = begin();
    for (int i = 0; i < 5; i++) {
        char text[32];
        snprintf(text, sizeof(text), "line %d", i);
        const struct sora_store_line line = {id, i, text};
        assert_int_equal(sora_store_put_line(batch, &line), SORA_OK);
    }
    assert_int_equal(sora_store_drop_lines(batch, &id, 2), SORA_OK);
    for (int i = 0; i < 2; i++) {
        const struct sora_store_ran ran = {id, 0, i, 3, 4, 17, {5, 11}, 7, "brook", "gpu0"};
        assert_int_equal(sora_store_put_ran(batch, &ran), SORA_OK);
    }
    assert_int_equal(commit_wait(batch), SORA_OK);
    reopen();
    lines_seen = places_seen = 0;
    assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_OK);
    assert_int_equal(lines_seen, 3);
    assert_int_equal(places_seen, 2);
    sora_store_close(&store);
}

static void forgotten_batches_change_nothing(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct sora_store_batch *batch = begin();
    assert_int_equal(sora_store_drop_job(batch, &model[0].row.id), SORA_OK);
    sora_store_batch_destroy(&batch);
    assert_null(batch);
    compare();
    sora_store_close(&store);
}

static int stop_at(void *context, const struct sora_store_job *job)
{
    (void)context;
    (void)job;
    return SORA_E_CANCELLED;
}

static void a_visitor_can_end_it(void **state)
{
    (void)state;
    open_store();
    fill_model();
    const struct sora_store_visitor visitor = {stop_at, see_take, see_part, see_piece,
                                               no_line, no_place, NULL};
    assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_E_CANCELLED);
    compare();
    sora_store_close(&store);
}

/* ---- transactions ---- */

/* While the rows are read, the thread cannot run: what is committed meanwhile becomes one
 * transaction. */
static int commit_while_reading(void *context, const struct sora_store_job *job)
{
    (void)context;
    (void)job;
    for (int i = 0; i < JOBS; i++) {
        struct sora_store_batch *batch = begin();
        if (i == 0) {
            any_job(i);
            put_job(batch, &model[i]);
        } else if (i % 4 == 2) { /* a take without its job */
            struct model_job stray = {0};
            any_bytes(stray.row.id.bytes, 14);
            any_take(&stray, 0);
            assert_int_equal(sora_store_put_take(batch, &stray.takes[0].row), SORA_OK);
        } else {
            any_job(i);
            put_job(batch, &model[i]);
        }
        commit(batch);
    }
    return SORA_E_CANCELLED;
}

static void a_bad_batch_fails_alone(void **state)
{
    (void)state;
    open_store();
    struct sora_store_batch *batch = begin();
    any_job(0);
    put_job(batch, &model[0]);
    assert_int_equal(commit_wait(batch), SORA_OK);
    batch = begin();
    assert_int_equal(sora_store_drop_job(batch, &model[0].row.id), SORA_OK);
    const struct sora_store_visitor visitor = {.job = commit_while_reading};
    int before = done_count;
    done_failed = 0;
    struct sora_job_id first = model[0].row.id;
    assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_E_CANCELLED);
    wait_done(before + JOBS);
    assert_int_equal(done_failed, 3);
    assert_int_equal(done_fault.code, SORA_E_INVALID);
    assert_int_equal(commit_wait(batch), SORA_OK);
    assert_true(memcmp(&first, &model[0].row.id, 16) != 0);
    compare();
    sora_store_close(&store);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    open_store();
    int committed = 0;
    struct sora_store_batch *batch = begin();
    while (sora_store_commit(store, &batch, note_done, NULL) == SORA_OK) {
        committed++;
        batch = begin();
        assert_true(committed <= 1024);
    }
    assert_non_null(batch); /* still the caller's */
    assert_int_equal(committed, 1024);
    wait_done(committed);
    assert_int_equal(commit_wait(batch), SORA_OK);
    sora_store_close(&store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_come_back),
        TEST(rows_are_replaced),
        TEST(prepared_is_kept_when_none_is_given),
        TEST(rows_are_dropped),
        TEST(logs_and_places_come_back),
        TEST(forgotten_batches_change_nothing),
        TEST(a_visitor_can_end_it),
        TEST(a_bad_batch_fails_alone),
        TEST(the_queue_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
