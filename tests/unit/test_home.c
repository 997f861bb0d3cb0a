/* The home: what is said rests on what is stored, jobs go through, restarts change nothing. */
#include "base/clock.h"
#include "tests/unit/home_assembler.h"
#include "tests/unit/home_loop.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- what people say ---- */

static const struct sora_model_facts facts = {.name = "tiny",
                                              .window = 5,
                                              .overlap = 2,
                                              .channels = 16,
                                              .temporal_factor = 4,
                                              .spatial_factor = 8,
                                              .multiple_width = 16,
                                              .multiple_height = 16,
                                              .width = 64,
                                              .height = 32,
                                              .fps = 12,
                                              .steps = STEPS,
                                              .guidance = 3,
                                              .shift = 3,
                                              .solver = SORA_SOLVER_UNIPC,
                                              .noise_share = 0.5,
                                              .context_latents = 4,
                                              .hidden = 64,
                                              .ffn = 128,
                                              .layers = 2,
                                              .decode_pixel_bytes = 500,
                                              .negative = "grey",
                                              .knows = "balloons and the sea",
                                              .words = "a red balloon over the sea"};

static int open_world(void **state)
{
    static const struct sora_model_file file = {"weights", {1}, 1000};
    struct sora_bytes bytes;
    struct sora_fault fault = {0};
    home_open(state);
    sora_bytes_init(&bytes, 1 << 20);
    if (sora_model_manifest_pack("tiny", &facts, &file, 1, &bytes, &fault))
        fail_msg("%s", fault.text);
    struct sora_blob blob = hold_blob(bytes.data, bytes.size);
    memcpy(model_digest, blob.digest.bytes, sizeof(model_digest));
    sora_bytes_fini(&bytes);
    memset(nodes, 0, sizeof(nodes));
    for (int i = 0; i < MEMBERS; i++)
        nodes[i].boot = 100 + (uint64_t)i;
    assemblies_begun = assembly_code = moved_text = 0;
    return 0;
}

struct order {
    unsigned char id[16];
    const char *prompt, *name, *model;
    uint32_t frames, shots;
    bool latents;
};

static uint64_t ask(int member, const struct order *order, bool plan, int signer)
{
    char model[40], empty[] = "";
    snprintf(model, sizeof(model), "%s", order->model ? order->model : "tiny");
    Farm__Shot shots[4], *pointers[4];
    Farm__Output output = FARM__OUTPUT__INIT;
    output.container = output.codec = output.pixel_format = empty;
    output.preview = true;
    output.latents = order->latents;
    Farm__JobSpec spec = FARM__JOB_SPEC__INIT;
    spec.job = (ProtobufCBinaryData){16, (uint8_t *)order->id};
    spec.name = order->name ? (char *)order->name : empty;
    spec.model = model;
    spec.solver = spec.noise = empty;
    spec.shots = pointers;
    spec.n_shots = order->shots ? order->shots : 1;
    spec.output = &output;
    for (size_t i = 0; i < spec.n_shots; i++) {
        farm__shot__init(pointers[i] = &shots[i]);
        shots[i].prompt = (char *)order->prompt;
        shots[i].negative = empty;
        shots[i].frames = order->frames;
        shots[i].cut = true;
        shots[i].seed = 7 + i;
    }
    Farm__Message message = FARM__MESSAGE__INIT;
    if (plan) {
        Farm__Plan wire = FARM__PLAN__INIT;
        wire.spec = &spec;
        message.body_case = FARM__MESSAGE__BODY_PLAN;
        message.plan = &wire;
        return say(member, &message);
    }
    unsigned char packed[4096];
    struct sora_envelope envelope;
    const struct sora_envelope_params params = {.key = members[signer].sign,
                                                .certificate = &members[signer].certificate,
                                                .domain = SORA_DOMAIN_SUBMIT,
                                                .audience = members[OAK].identity.node,
                                                .wall_expires_ms = sora_clock_wall_ms() + 60000,
                                                .payload = packed,
                                                .payload_size =
                                                    farm__job_spec__pack(&spec, packed)};
    sora_envelope_seal(&params, &envelope);
    Farm__Submit submit = FARM__SUBMIT__INIT;
    submit.spec = &envelope.wire;
    message.body_case = FARM__MESSAGE__BODY_SUBMIT;
    message.submit = &submit;
    return say(member, &message);
}

static const struct order balloon = {
    .id = {1, 2, 3}, .prompt = "a red balloon", .name = "Red balloon!", .frames = 81};

static uint64_t submit(const struct order *order)
{
    uint64_t id = ask(ANNA, order, false, ANNA);
    run();
    return id;
}

static Farm__Message *job_request(int member, Farm__Message__BodyCase kind, const char *prefix)
{
    Farm__JobName name = FARM__JOB_NAME__INIT;
    name.prefix = (char *)prefix;
    Farm__Status status = FARM__STATUS__INIT;
    Farm__Cancel cancel = FARM__CANCEL__INIT;
    Farm__Pause pause = FARM__PAUSE__INIT;
    Farm__Resume resume = FARM__RESUME__INIT;
    Farm__Erase erase = FARM__ERASE__INIT;
    Farm__Watch watch = FARM__WATCH__INIT;
    Farm__Fetch fetch = FARM__FETCH__INIT;
    Farm__Logs logs = FARM__LOGS__INIT;
    erase.job = status.job = cancel.job = pause.job = resume.job = watch.job = fetch.job =
        logs.job = &name;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = kind;
    switch (kind) {
    case FARM__MESSAGE__BODY_STATUS:
        message.status = &status;
        break;
    case FARM__MESSAGE__BODY_CANCEL:
        message.cancel = &cancel;
        break;
    case FARM__MESSAGE__BODY_PAUSE:
        message.pause = &pause;
        break;
    case FARM__MESSAGE__BODY_RESUME:
        message.resume = &resume;
        break;
    case FARM__MESSAGE__BODY_ERASE:
        message.erase = &erase;
        break;
    case FARM__MESSAGE__BODY_WATCH:
        message.watch = &watch;
        break;
    case FARM__MESSAGE__BODY_FETCH:
        message.fetch = &fetch;
        break;
    default:
        message.logs = &logs;
    }
    uint64_t id = say(member, &message);
    run();
    Farm__Message *answer = answer_to(id);
    assert_non_null(answer);
    return answer;
}

static Farm__JobStatus *status_of(const char *prefix)
{
    Farm__Message *answer = job_request(ANNA, FARM__MESSAGE__BODY_STATUS, prefix);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_STATUS_REPLY);
    return answer->status_reply->job;
}

static void refused(const Farm__Message *answer, int code, const char *words)
{
    assert_non_null(answer);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(answer->refusal->code, code);
    if (!strstr(answer->refusal->text, words))
        fail_msg("'%s' lacks '%s'", answer->refusal->text, words);
}

/* Beats until shards run; how many. */
static int start_shards(void)
{
    int count = 0;
    for (int i = 0; i < 6 && count == 0; i++) {
        second();
        count = each_shard(NULL, 0);
    }
    assert_true(count > 0);
    return count;
}

/* ---- tests ---- */

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

static void render_to_the_end(void)
{
    assert_int_equal(start_shards(), 2);
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    each_shard(piece, 0);
    each_shard(piece, 1);
    run();
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
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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

static void restart_home(void)
{
    sora_home_destroy(&home);
    stores_close();
    stores_open();
    home_start();
}

static void a_restart_in_the_middle_changes_nothing(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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

static void a_lost_node_moves_its_shard(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    each_shard(piece, 0);
    each_shard(piece, 1);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
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
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    each_shard(piece, 0);
    each_shard(piece, 1);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
}

static void a_lost_segment_is_made_again(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    each_shard(piece, 0);
    each_shard(piece, 1);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
}

static void lost_while_the_home_was_down(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    each_shard(piece, 0);
    each_shard(piece, 1);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
}

static void cancel_pause_and_resume(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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

static void the_preview_can_be_fetched_while_it_grows(void **state)
{
    (void)state;
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, home_close)

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
        TEST(takes_are_assembled_in_order),
        TEST(nothing_is_acknowledged_before_it_is_durable),
        TEST(a_restart_in_the_middle_changes_nothing),
        TEST(deleting_removes_a_job_with_its_results),
        TEST(old_jobs_are_deleted_where_that_is_wanted),
        TEST(a_lost_node_moves_its_shard),
        TEST(a_lost_checkpoint_is_made_again),
        TEST(a_lost_segment_is_made_again),
        TEST(lost_while_the_home_was_down),
        TEST(cancel_pause_and_resume),
        TEST(watching_ends_with_the_job),
        TEST(names_are_looked_up_among_what_one_may_see),
        TEST(a_failed_assembly_says_why),
        TEST(an_assembly_begins_again),
        TEST(a_private_job_stays_in_its_studio),
        TEST(wrong_results_are_ignored),
        TEST(the_preview_can_be_fetched_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
