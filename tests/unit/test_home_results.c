/* The home and its results: assembly, previews, deletion. */
#include "tests/unit/home_people.h"

#include <sys/stat.h>

static void takes_are_assembled_in_order(void **state)
{
    (void)state;
    second();
    struct order order = {.id = {4}, .prompt = "a sea", .frames = 41, .shots = 3};
    submit(&order);
    for (int i = 0; i < 12 && status_of("04")->state != FARM__JOB_STATE__JOB_DONE; i++) {
        second();
        for (uint32_t step = 2; step <= STEPS; step += 2)
            each_shard(checkpoint, step);
        each_shard(piece, 1); /* the later piece first */
        each_shard(piece, 0);
    }
    Farm__JobStatus *status = status_of("04");
    assert_int_equal(status->state, FARM__JOB_STATE__JOB_DONE);
    assert_int_equal(status->takes, 3);
    assert_int_equal(last_begin.frame_count, 123);
    assert_int_equal(last_begin.cut_count, 2);
    assert_int_equal(last_begin.cuts[1], 82);
}

static void a_failed_assembly_says_why(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assembly_code = SORA_E_UNSUPPORTED;
    render_to_the_end();
    Farm__JobStatus *status = status_of("01");
    assert_int_equal(status->state, FARM__JOB_STATE__JOB_FAILED);
    assert_string_equal(status->reason, "the encoder broke");
    refused(job_request(ANNA, FARM__MESSAGE__BODY_FETCH, "01"), SORA_E_NOT_FOUND, "failed");
}

static void the_preview_can_be_fetched_while_it_grows(void **state)
{
    (void)state;
    begin_balloon();
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    each_shard(piece, 0);
    assert_int_equal(assemblies_begun, 1);
    assert_true(status_of("01")->preview);
    Farm__JobName name = FARM__JOB_NAME__INIT;
    char prefix[] = "01";
    name.prefix = prefix;
    Farm__Fetch fetch = FARM__FETCH__INIT;
    fetch.job = &name;
    fetch.kind = FARM__RESULT_KIND__RESULT_PREVIEW;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FETCH;
    message.fetch = &fetch;
    uint64_t id = say(ANNA, &message);
    run();
    refused(answer_to(id), SORA_E_BUSY, "no preview yet");
    char path[SORA_FILE_PATH_SIZE];
    unsigned char first[SORA_DIGEST_SIZE];
    for (uint64_t size = 3; size < 9; size += 5) {
        snprintf(path, sizeof(path), "%.1000s/%s/" SORA_ASSEMBLY_PREVIEW, scratch_path("results"),
                 home->jobs[0]->folder);
        assert_int_equal(sora_file_write(path, "preview!", size, NULL), 0);
        id = say(ANNA, &message);
        run();
        assert_int_equal(answer_to(id)->body_case, FARM__MESSAGE__BODY_FETCH_REPLY);
        assert_int_equal(answer_to(id)->fetch_reply->size, size);
        assert_string_equal(answer_to(id)->fetch_reply->file_name, "Red-balloon-preview.mkv");
        if (size == 3)
            memcpy(first, answer_to(id)->fetch_reply->digest.data, sizeof(first));
    }
    struct sora_digest older;
    memcpy(older.bytes, first, sizeof(first));
    assert_false(sora_blob_store_have(blobs, &older, &(uint64_t){0}));
    refused(job_request(ANNA, FARM__MESSAGE__BODY_FETCH, "01"), SORA_E_BUSY, "not done yet");
    refused(job_request(ANNA, FARM__MESSAGE__BODY_PAUSE, "01"), SORA_E_BUSY, "is finished instead");
}

/* What may pass, as a full disk, is tried again. */
static void an_assembly_begins_again(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assembly_code = SORA_E_SPACE;
    render_to_the_end();
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_ASSEMBLING);
    assembly_code = 0;
    now += 11 * SORA_TIME_SECOND;
    run();
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
    assert_int_equal(assemblies_begun, 2);
    assert_true(status_of("01")->n_shards > 0); /* where it ran is still said */
    assert_int_equal(status_of("01")->shards[0]->state, FARM__SHARD_STATE__SHARD_DONE);
    assert_string_equal(status_of("01")->shards[0]->device, "cpu0");
    assert_true(status_of("01")->shards[0]->node_name[0] != 0);
}

static char results[SORA_FILE_PATH_SIZE + 64]; /* of the only job */

static bool has_results(void)
{
    if (home->job_count == 1)
        snprintf(results, sizeof(results), "%s/%s", home->results, home->jobs[0]->folder);
    return access(results, F_OK) == 0;
}

static void deleting_removes_a_job_with_its_results(void **state)
{
    (void)state;
    begin_balloon();
    refused(job_request(ANNA, FARM__MESSAGE__BODY_ERASE, "01"), SORA_E_BUSY, "soractl cancel 01");
    render_to_the_end();
    refused(job_request(MALLORY, FARM__MESSAGE__BODY_ERASE, "01"), SORA_E_NOT_FOUND, "no job");
    assert_true(has_results());
    char link[SORA_FILE_PATH_SIZE + 80];
    snprintf(link, sizeof(link), "%s/link", results);
    assert_int_equal(mkdir(scratch_path("elsewhere"), 0700), 0);
    assert_int_equal(sora_file_write(scratch_path("elsewhere/kept"), "x", 1, NULL), SORA_OK);
    assert_int_equal(symlink(scratch_path("elsewhere"), link), 0);
    assert_int_equal(job_request(ANNA, FARM__MESSAGE__BODY_ERASE, "01")->body_case,
                     FARM__MESSAGE__BODY_ACK);
    assert_false(has_results());
    assert_int_equal(access(scratch_path("elsewhere/kept"), F_OK), 0);
    refused(job_request(ANNA, FARM__MESSAGE__BODY_STATUS, "01"), SORA_E_NOT_FOUND, "no job");
    restart_home();
    refused(job_request(ANNA, FARM__MESSAGE__BODY_STATUS, "01"), SORA_E_NOT_FOUND, "no job");
}

static void old_jobs_are_deleted_where_that_is_wanted(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    render_to_the_end();
    home->params.keep_ms = 3600000;
    now += 61 * SORA_TIME_SECOND;
    run();
    assert_true(has_results());
    home->jobs[0]->wall_ended_ms -= 3600001;
    now += 61 * SORA_TIME_SECOND;
    assert_true(sora_home_deadline(home) <= now);
    run();
    assert_false(has_results());
    assert_int_equal(home->job_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(takes_are_assembled_in_order),
        TEST(deleting_removes_a_job_with_its_results),
        TEST(old_jobs_are_deleted_where_that_is_wanted),
        TEST(a_failed_assembly_says_why),
        TEST(an_assembly_begins_again),
        TEST(the_preview_can_be_fetched_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
