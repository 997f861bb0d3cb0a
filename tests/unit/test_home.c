/* The home and the people: submits, plans, requests, watching, who sees what. */
#include "tests/unit/home_people.h"

static void submit_is_answered_when_it_is_stored(void **state)
{
    (void)state;
    second();
    uint64_t id = ask(ANNA, &balloon, false, ANNA);
    assert_null(answer_to(id)); /* the manifest is on its way */
    while (home->job_count == 0)
        sora_tasks_step(blob_tasks);
    assert_true(home->dirty > home->durable);
    assert_null(answer_to(id)); /* not stored yet */
    run();
    Farm__Message *answer = answer_to(id);
    assert_non_null(answer);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
    assert_memory_equal(answer->submit_reply->job.data, balloon.id, 16);
    assert_int_equal(home->dirty, home->durable);
    Farm__JobStatus *status = status_of("0102");
    assert_string_equal(status->name, "Red balloon!");
    assert_string_equal(status->owner, "anna");
    assert_int_equal(status->frames_total, 81);
}

static void the_same_id_is_one_job(void **state)
{
    (void)state;
    second();
    uint64_t first = ask(ANNA, &balloon, false, ANNA), second_id = ask(ANNA, &balloon, false, ANNA);
    run();
    assert_null(answer_to(first)); /* whoever asked last */
    assert_int_equal(answer_to(second_id)->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
    uint64_t again = submit(&balloon);
    assert_int_equal(answer_to(again)->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
    assert_int_equal(home->job_count, 1);
    struct order other = balloon;
    other.prompt = "a red sea";
    refused(answer_to(submit(&other)), SORA_E_INVALID, "other content");
    other = balloon;
    other.id[15] = 1;
    refused(answer_to(submit(&other)), SORA_E_INVALID, "last two bytes");
    other = (struct order){.id = {9}, .prompt = "a sea", .frames = 41};
    uint64_t node = ask(BROOK, &other, false, BROOK);
    run();
    refused(answer_to(node), SORA_E_DENIED, "");
    assert_int_equal(home->job_count, 1);
}

static void unknown_words_and_models_are_said(void **state)
{
    (void)state;
    second();
    struct order other = balloon;
    other.model = "large";
    refused(answer_to(submit(&other)), SORA_E_NOT_FOUND,
            "no node has model 'large'; there are: tiny");
    struct order zebra = {.id = {5}, .prompt = "a red zebra", .frames = 80};
    Farm__Message *answer = answer_to(submit(&zebra));
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
    assert_int_equal(answer->submit_reply->n_notes, 2);
    assert_non_null(strstr(answer->submit_reply->notes[1], "'zebra' is new to tiny, which knows"));
}

static void a_submit_before_the_first_advert_waits(void **state)
{
    (void)state;
    uint64_t id = submit(&balloon);
    assert_null(answer_to(id)); /* no model is known yet */
    second();
    run();
    assert_int_equal(answer_to(id)->body_case, FARM__MESSAGE__BODY_SUBMIT_REPLY);
}

static void without_any_model_the_wait_ends(void **state)
{
    (void)state;
    struct order unnamed = balloon;
    unnamed.model = SORA_HOME_MODEL_DEFAULT;
    uint64_t named_id = submit(&balloon);
    unnamed.id[0] = 7;
    uint64_t unnamed_id = submit(&unnamed);
    now += 4 * SORA_TIME_SECOND;
    run();
    assert_null(answer_to(named_id));
    assert_true(sora_home_deadline(home) <= now + 2 * SORA_TIME_SECOND);
    now += 2 * SORA_TIME_SECOND;
    run();
    refused(answer_to(named_id), SORA_E_NOT_FOUND, "no node has model 'tiny', nor any other");
    refused(answer_to(unnamed_id), SORA_E_NOT_FOUND, "no node has model 'mini', nor any other");
}

static void a_job_without_a_model_gets_the_only_one(void **state)
{
    (void)state;
    struct order order = balloon;
    order.model = SORA_HOME_MODEL_DEFAULT;
    second();
    Farm__SubmitReply *reply = answer_to(submit(&order))->submit_reply;
    assert_string_equal(reply->notes[0], "model tiny is used, the only one of this farm");
    struct home_node *node = home->nodes[0];
    snprintf(node->models[1].name, sizeof(node->models[1].name), "large");
    node->models[1].digest[0] = 1;
    node->model_count = 2;
    order.id[0] = 8;
    refused(answer_to(submit(&order)), SORA_E_NOT_FOUND,
            "several: say --model NAME; there are: tiny");
    struct home_model model;
    snprintf(node->models[1].name, sizeof(node->models[1].name), "mini");
    assert_ptr_equal(home_choose_model(home, SORA_HOME_MODEL_DEFAULT, &model), node);
    assert_string_equal(model.name, "mini");
}

static void a_plan_stores_nothing(void **state)
{
    (void)state;
    second();
    second();
    uint64_t id = ask(ANNA, &balloon, true, ANNA);
    run();
    Farm__Message *answer = answer_to(id);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_PLAN_REPLY);
    Farm__PlanReply *plan = answer->plan_reply;
    assert_int_equal(plan->frames, 81);
    assert_int_equal(plan->latents, 21);
    assert_int_equal(plan->n_shards, 2);
    assert_string_equal(plan->shards[0]->device, "cpu0");
    assert_string_equal(plan->waiting, "");
    assert_true(plan->seconds > 0);
    assert_int_equal(home->job_count, 0);
    assert_int_equal(home->dirty, 0);
}

static uint64_t blob_bytes(const unsigned char bytes[SORA_DIGEST_SIZE])
{
    struct sora_digest digest;
    uint64_t size = 0;
    memcpy(digest.bytes, bytes, sizeof(digest.bytes));
    assert_true(sora_blob_store_have(blobs, &digest, &size));
    return size;
}

static void a_job_goes_through(void **state)
{
    (void)state;
    second();
    struct order order = balloon;
    order.latents = true;
    submit(&order);
    render_to_the_end();
    Farm__JobStatus *status = status_of("01");
    if (status->state != FARM__JOB_STATE__JOB_DONE)
        fail_msg("state %d: %s", status->state, status->reason);
    assert_true(status->progress == 1);
    assert_int_equal(moved_text, 1);
    assert_int_equal(last_begin.frame_count, 81);
    second(); /* nodes are told to let go */
    assert_int_equal(each_shard(NULL, 0), 0);
    Farm__Message *fetched_video = job_request(ANNA, FARM__MESSAGE__BODY_FETCH, "01");
    assert_int_equal(fetched_video->body_case, FARM__MESSAGE__BODY_FETCH_REPLY);
    assert_string_equal(fetched_video->fetch_reply->file_name, "Red-balloon.mp4");
    assert_int_equal(fetched_video->fetch_reply->size, 5);
    struct sora_digest digest;
    memcpy(digest.bytes, fetched_video->fetch_reply->digest.data, 32);
    assert_true(sora_blob_store_have(blobs, &digest, &(uint64_t){0}));
    assert_int_equal(sora_blob_store_bytes(blobs), blob_bytes(model_digest)); /* and no more */
    Farm__Message *logs = job_request(ANNA, FARM__MESSAGE__BODY_LOGS, "01");
    assert_true(logs->logs_reply->n_lines >= 4);
    refused(job_request(ANNA, FARM__MESSAGE__BODY_CANCEL, "01"), SORA_E_BUSY, "done");
    assert_int_equal(sora_home_open_jobs(home), 0);
}

static void cancel_pause_and_resume(void **state)
{
    (void)state;
    begin_balloon();
    Farm__Message *answer = job_request(ANNA, FARM__MESSAGE__BODY_PAUSE, "01");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_ACK);
    assert_true(shard_of(BROOK)->parked);
    each_shard(checkpoint, 2);
    second();
    second();
    Farm__JobStatus *status = status_of("01");
    assert_int_equal(status->state, FARM__JOB_STATE__JOB_PAUSED);
    assert_non_null(strstr(status->reason, "paused at step 2 of 4"));
    double progress = status->progress;
    assert_true(progress > 0.2);
    answer = job_request(ANNA, FARM__MESSAGE__BODY_RESUME, "01");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_ACK);
    assert_int_equal(start_shards(), 2);
    assert_true(shard_of(BROOK)->states > 0 && shard_of(REED)->states > 0);
    assert_true(status_of("01")->progress >= progress);
    answer = job_request(ANNA, FARM__MESSAGE__BODY_CANCEL, "01");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_ACK);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_CANCELLED);
    second();
    assert_int_equal(each_shard(NULL, 0), 0);
    assert_int_equal(job_request(ANNA, FARM__MESSAGE__BODY_CANCEL, "01")->body_case,
                     FARM__MESSAGE__BODY_ACK);
}

static size_t events_to(uint64_t id, Farm__JobState *out_last)
{
    size_t count = 0;
    for (size_t i = 0; i < sent_count; i++) {
        const Farm__Message *message = sent[i].message->farm;
        if (!sent[i].reply || sent[i].reply_to != id ||
            message->body_case != FARM__MESSAGE__BODY_EVENT ||
            message->event->kind != FARM__EVENT_KIND__EVENT_JOB)
            continue;
        *out_last = message->event->status->state;
        count++;
    }
    return count;
}

static void watching_ends_with_the_job(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    Farm__JobName name = FARM__JOB_NAME__INIT;
    char prefix[] = "0102";
    name.prefix = prefix;
    Farm__Watch watch = FARM__WATCH__INIT;
    watch.job = &name;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_WATCH;
    message.watch = &watch;
    uint64_t id = say(ANNA, &message);
    Farm__JobState last = FARM__JOB_STATE__JOB_DONE;
    assert_int_equal(events_to(id, &last), 1); /* how it stands */
    assert_int_equal(start_shards(), 2);
    size_t before = events_to(id, &last);
    assert_int_equal(last, FARM__JOB_STATE__JOB_RUNNING);
    for (int i = 0; i < 20; i++) { /* progress comes twice a second at most */
        const struct task *task = shard_of(BROOK);
        Farm__ShardProgress progress = FARM__SHARD_PROGRESS__INIT;
        progress.job = (ProtobufCBinaryData){16, (uint8_t *)task->job};
        progress.shard = task->shard;
        progress.epoch = task->epoch;
        progress.step = 1;
        progress.steps_per_s = 2;
        progress.state = FARM__SHARD_STATE__SHARD_RUNNING;
        message.body_case = FARM__MESSAGE__BODY_SHARD_PROGRESS;
        message.shard_progress = &progress;
        now += SORA_TIME_SECOND / 20;
        say(BROOK, &message);
    }
    size_t after = events_to(id, &last);
    assert_true(after > before && after <= before + 3);
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    each_shard(piece, 0);
    each_shard(piece, 1);
    events_to(id, &last);
    assert_int_equal(last, FARM__JOB_STATE__JOB_DONE);
    for (int i = 0; i < HOME_WATCHERS_MAX; i++)
        assert_false(home->watchers[i].used);
}

static void names_are_looked_up_among_what_one_may_see(void **state)
{
    (void)state;
    second();
    struct order one = balloon, two = balloon;
    two.id[2] = 4;
    submit(&one);
    submit(&two);
    refused(job_request(ANNA, FARM__MESSAGE__BODY_STATUS, "0102"), SORA_E_INVALID,
            "several jobs begin with '0102'");
    refused(job_request(ANNA, FARM__MESSAGE__BODY_STATUS, "ff"), SORA_E_NOT_FOUND, "'ff'");
    assert_int_equal(status_of("010204")->job.data[2], 4);
    refused(job_request(MALLORY, FARM__MESSAGE__BODY_STATUS, "010204"), SORA_E_NOT_FOUND, "010204");
    refused(job_request(BROOK, FARM__MESSAGE__BODY_STATUS, "010204"), SORA_E_DENIED, "brook");
    Farm__List list = FARM__LIST__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LIST;
    message.list = &list;
    assert_int_equal(answer_to(say(ANNA, &message))->list_reply->n_jobs, 2);
    assert_int_equal(answer_to(say(MALLORY, &message))->list_reply->n_jobs, 0);
    home->params.local_root = members[MALLORY].identity.root; /* this machine's own users */
    assert_int_equal(answer_to(say(MALLORY, &message))->list_reply->n_jobs, 2);
}

static void a_private_job_stays_in_its_studio(void **state)
{
    (void)state;
    members[REED].identity.root[0] ^= 1; /* another studio's */
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 1);
    assert_int_equal(shard_of(BROOK)->end, 21);
    for (size_t i = 0; i < sent_count; i++)
        assert_true(sent[i].reply || sent[i].to != REED);
}

/* Of a node that does not hold the shard, of an epoch that is over, of a size that cannot be. */
static void wrong_results_are_ignored(void **state)
{
    (void)state;
    begin_balloon();
    struct task task = *shard_of(BROOK);
    checkpoint(REED, &task, 2);
    piece(REED, &task, 0);
    task.epoch += 7;
    checkpoint(BROOK, &task, 2);
    piece(BROOK, &task, 0);
    task = *shard_of(BROOK);
    task.end--; /* a latent is missing */
    checkpoint(BROOK, &task, 2);
    task = *shard_of(BROOK);
    task.first += 100; /* frames that the take does not have */
    task.end += 100;
    piece(BROOK, &task, 0);
    run();
    const struct home_take *take = &home->jobs[0]->takes[0];
    assert_int_equal(take->part_count, 0);
    assert_int_equal(take->piece_count, 0);
    assert_int_equal(shard_of(BROOK)->stored, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(submit_is_answered_when_it_is_stored),
        TEST(the_same_id_is_one_job),
        TEST(unknown_words_and_models_are_said),
        TEST(a_submit_before_the_first_advert_waits),
        TEST(without_any_model_the_wait_ends),
        TEST(a_job_without_a_model_gets_the_only_one),
        TEST(a_plan_stores_nothing),
        TEST(a_job_goes_through),
        TEST(cancel_pause_and_resume),
        TEST(watching_ends_with_the_job),
        TEST(names_are_looked_up_among_what_one_may_see),
        TEST(a_private_job_stays_in_its_studio),
        TEST(wrong_results_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
