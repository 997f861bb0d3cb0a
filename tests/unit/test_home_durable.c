/* The home in trouble: what is said rests on what is stored, whatever ends, stops or is lost. */
#include "tests/unit/home_people.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static bool all_stored(uint32_t step)
{
    bool all = true;
    for (int member = BROOK; member <= REED; member++) {
        for (int i = 0; i < TASKS_MAX; i++) {
            const struct task *task = &nodes[member].tasks[i];
            all = all && (!task->used || task->text || task->stored >= step);
        }
    }
    return all;
}

static void nothing_is_acknowledged_before_it_is_durable(void **state)
{
    (void)state;
    struct rlimit before, tight;
    begin_balloon();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    struct stat wal; /* blobs fit, the database's log does not grow */
    assert_int_equal(stat(scratch_path("home.db-wal"), &wal), 0);
    assert_true(wal.st_size > 40000);
    tight.rlim_cur = (rlim_t)wal.st_size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    each_shard(checkpoint, 2);
    assert_true(home->write_failed);
    assert_false(all_stored(1));
    struct order other = {.id = {9}, .prompt = "a sea", .frames = 41};
    refused(answer_to(submit(&other)), SORA_E_SPACE, "cannot store");
    refused(job_request(ANNA, FARM__MESSAGE__BODY_PAUSE, "01"), SORA_E_SPACE, "it was taken");
    refused(job_request(ANNA, FARM__MESSAGE__BODY_RESUME, "01"), SORA_E_SPACE, "free some space");
    now += SORA_TIME_SECOND / 2;
    run();
    assert_false(all_stored(1));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (int i = 0; i < 8 && home->write_failed; i++) {
        second();
        now += 5 * SORA_TIME_SECOND;
        run();
    }
    assert_false(home->write_failed);
    run();
    assert_true(all_stored(2));
    assert_int_equal(answer_to(submit(&other))->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
    assert_int_equal(job_request(ANNA, FARM__MESSAGE__BODY_PAUSE, "01")->body_case,
                     FARM__MESSAGE__BODY_ACK);
}

static void a_restart_in_the_middle_changes_nothing(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    second();
    uint32_t epochs[2] = {shard_of(BROOK)->epoch, shard_of(REED)->epoch};
    restart_home();
    second();
    second();
    assert_int_equal(each_shard(NULL, 0), 2);
    assert_int_equal(shard_of(BROOK)->epoch, epochs[0]);
    assert_int_equal(shard_of(REED)->epoch, epochs[1]);
    each_shard(checkpoint, 4);
    each_shard(piece, 0);
    restart_home(); /* in the middle of the assembly */
    second();
    each_shard(piece, 1);
    Farm__JobStatus *status = status_of("01");
    assert_int_equal(status->state, FARM__JOB_STATE__JOB_DONE);
    assert_int_equal(moved_text, 1);
    assert_int_equal(status->restarts, 0);
    assert_true(assemblies_begun >= 2);
    size_t lines = job_request(ANNA, FARM__MESSAGE__BODY_LOGS, "01")->logs_reply->n_lines;
    assert_true(lines >= 4);
    restart_home(); /* ended jobs stay listed, with their results, their log and where they ran */
    Farm__LogsReply *logs = job_request(ANNA, FARM__MESSAGE__BODY_LOGS, "01")->logs_reply;
    assert_int_equal(logs->n_lines, lines);
    assert_non_null(strstr(logs->lines[0], "submitted by anna"));
    assert_non_null(strstr(logs->lines[lines - 1], "done"));
    status = status_of("01");
    assert_int_equal(status->state, FARM__JOB_STATE__JOB_DONE);
    assert_string_equal(status->name, "Red balloon!");
    assert_int_equal(status->frames_total, 81);
    assert_int_equal(status->n_shards, 2);
    assert_string_equal(status->shards[0]->device, "cpu0");
    Farm__Message *fetched_video = job_request(ANNA, FARM__MESSAGE__BODY_FETCH, "01");
    assert_int_equal(fetched_video->body_case, FARM__MESSAGE__BODY_FETCH_REPLY);
}

static void a_lost_node_moves_its_shard(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    nodes[REED].silent = true;
    for (int i = 0; i < 20; i++)
        second();
    nodes[REED] = (struct node){.boot = 777};
    for (int i = 0; i < 4; i++)
        second();
    assert_int_equal(each_shard(NULL, 0), 1);
    assert_true(shard_of(BROOK)->states > 0); /* from the floor */
    assert_int_equal(shard_of(BROOK)->step, 2);
    Farm__JobStatus *status = status_of("01");
    assert_true(status->restarts >= 1);
    each_shard(checkpoint, 4);
    end_balloon();
}

/* What somebody removed under the home, and a node could not fetch. */
static void lose(const struct sora_digest *digest)
{
    char path[SORA_FILE_PATH_SIZE];
    assert_int_equal(sora_blob_store_path(blobs, digest, path, sizeof(path), NULL), SORA_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sora_blob_store_path(blobs, digest, path, sizeof(path), NULL),
                     SORA_E_NOT_FOUND);
}

static void lose_state(int32_t step)
{
    const struct home_take *take = &home->jobs[0]->takes[0];
    for (size_t i = 0; i < take->part_count; i++) {
        struct sora_digest digest = home_digest(&take->parts[i].row.blob);
        if (take->parts[i].row.step == step) {
            lose(&digest);
            return;
        }
    }
    fail_msg("no state of step %d", step);
}

/* Both shards again, from `step` on, after a node could not get what is lost. */
static void goes_back_to(uint32_t step, const char *words)
{
    shard_of(BROOK)->code = SORA_E_NOT_FOUND;
    for (int i = 0; i < 3; i++)
        second();
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_RUNNING);
    assert_int_equal(each_shard(NULL, 0), 2);
    assert_int_equal(shard_of(BROOK)->step, step);
    assert_int_equal(shard_of(REED)->step, step);
    Farm__LogsReply *logs = job_request(ANNA, FARM__MESSAGE__BODY_LOGS, "01")->logs_reply;
    bool found = false;
    for (size_t i = 0; i < logs->n_lines; i++)
        found = found || strstr(logs->lines[i], words);
    assert_true(found);
}

static void a_lost_checkpoint_is_made_again(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    lose_state(2);
    goes_back_to(0, "checkpoints of take 0 are gone from the disk of its home: on from its begin");
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    lose_state(4);
    goes_back_to(2, "on from step 2");
    assert_int_equal(moved_text, 1);
    const Farm__TextEncoded *text = (const Farm__TextEncoded *)home->jobs[0]->takes[0].text->any;
    struct sora_blob row;
    assert_true(sora_blob_get(text->rows[0], &row));
    lose(&row.digest);
    goes_back_to(2, "encoded texts of take 0 are gone");
    assert_int_equal(moved_text, 2);
    each_shard(checkpoint, 4);
    end_balloon();
}

static void a_lost_segment_is_made_again(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    each_shard(piece, 1);
    struct home_take *take = &home->jobs[0]->takes[0];
    assert_int_equal(take->piece_count, 2);
    struct sora_digest digest = home_digest(&take->pieces[1].row.blob);
    lose(&digest);
    each_shard(piece, 0); /* now the assembly comes to it */
    for (int i = 0; i < 3; i++)
        second();
    assert_int_equal(take->piece_count, 3);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_RUNNING);
    assert_int_equal(each_shard(NULL, 0), 2);
    assert_int_equal(shard_of(BROOK)->step, 2);
    each_shard(checkpoint, 4);
    end_balloon();
}

static void lost_while_the_home_was_down(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    lose_state(2);
    restart_home();
    for (int member = BROOK; member <= REED; member++)
        nodes[member] = (struct node){.boot = 700};
    for (int i = 0; i < 4; i++)
        second();
    assert_int_equal(each_shard(NULL, 0), 2);
    assert_int_equal(shard_of(BROOK)->step, 0);
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    end_balloon();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_acknowledged_before_it_is_durable),
        TEST(a_restart_in_the_middle_changes_nothing),
        TEST(a_lost_node_moves_its_shard),
        TEST(a_lost_checkpoint_is_made_again),
        TEST(a_lost_segment_is_made_again),
        TEST(lost_while_the_home_was_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
