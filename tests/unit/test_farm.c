/* The farm's tables: reasons, order of service, records. Faults are the simulator's (tests/sim). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/core/farm_records.h"

#include <string.h>

static struct sora_farm_action items[SORA_FARM_ACTIONS_MIN];
static struct sora_farm_actions actions = {.items = items, .capacity = SORA_FARM_ACTIONS_MIN};

static struct sora_farm_job make_job(unsigned char id)
{
    struct sora_farm_job job = {.model = 1, .checkpoint_steps = 2};
    memset(job.id.bytes, id, sizeof(job.id.bytes));
    job.plan = (struct sora_plan_job){.timeline = {20, 21, 5, false},
                                      .steps = 4,
                                      .memory_fixed_bytes = 6100000000,
                                      .halo_latent_bytes = 100};
    return job;
}

static struct sora_farm *make_farm(void)
{
    struct sora_farm_params params = {0};
    struct sora_farm *farm = NULL;
    assert_int_equal(sora_farm_create(&params, &farm), SORA_OK);
    return farm;
}

static int submit(struct sora_farm *farm, const struct sora_farm_job *job, struct sora_fault *fault)
{
    struct sora_farm_event event = {.kind = SORA_FARM_SUBMIT, .submit = job};
    return sora_farm_step(farm, 0, &event, &actions, fault);
}

static void beat(struct sora_farm *farm, sora_time now, int64_t memory)
{
    static uint64_t sequence;
    struct sora_farm_beat beat = {.boot = 5, .sequence = ++sequence, .device_count = 1};
    beat.devices[0] = (struct sora_farm_device){
        .name = "gpu0", .device_class = 1, .memory_free_bytes = memory, .offered = true};
    struct sora_farm_event event = {
        .kind = SORA_FARM_BEAT, .node = 9, .name = "brook", .beat = &beat};
    assert_int_equal(sora_farm_step(farm, now, &event, &actions, NULL), SORA_OK);
}

static const struct sora_farm_action *find(enum sora_farm_action_kind kind)
{
    for (int32_t i = 0; i < actions.count; i++) {
        if (items[i].kind == kind)
            return &items[i];
    }
    return NULL;
}

static void waiting_jobs_have_a_reason(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    assert_int_equal(items[0].kind, SORA_FARM_STORE_JOB);
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_string_equal(view.reason, "no device is connected");
    assert_int_equal(view.queue_place, 0);
    beat(farm, 1, 4000000000);
    sora_farm_job_view(farm, &job.id, &view);
    assert_string_equal(view.reason, "needs 6.1 GB, largest free is 4.0 GB on brook/gpu0");
    sora_farm_destroy(&farm);
}

static void priority_goes_first_and_silence_is_a_loss(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job low = make_job(1), high = make_job(2);
    high.priority = 5;
    submit(farm, &low, NULL);
    submit(farm, &high, NULL);
    beat(farm, 1, 8000000000);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_memory_equal(&offer->job, &high.id, sizeof(high.id));
    assert_int_equal(offer->epoch, 1);
    assert_int_equal(offer->boot, 5);
    static struct sora_farm_job_view view;
    sora_farm_job_view(farm, &low.id, &view);
    assert_string_equal(view.reason, "every device that could render it is busy");
    struct sora_farm_event grant = {.kind = SORA_FARM_GRANT, .node = 9, .job = high.id, .epoch = 1};
    assert_int_equal(sora_farm_step(farm, 2, &grant, &actions, NULL), SORA_OK);
    assert_non_null(find(SORA_FARM_ORDER));
    struct sora_farm_event tick = {.kind = SORA_FARM_TICK};
    struct sora_farm_node_view node;
    sora_farm_step(farm, 1 + 5 * SORA_TIME_SECOND, &tick, &actions, NULL);
    assert_true(sora_farm_node_at(farm, 0, &node));
    assert_int_equal(node.state, SORA_NODE_SUSPECTED);
    sora_farm_step(farm, 1 + 15 * SORA_TIME_SECOND, &tick, &actions, NULL);
    sora_farm_node_at(farm, 0, &node);
    assert_int_equal(node.state, SORA_NODE_LOST);
    sora_farm_job_view(farm, &high.id, &view);
    assert_int_equal(view.shards[0].epoch, 0);
    struct sora_farm_event late = {
        .kind = SORA_FARM_CHECKPOINT, .job = high.id, .epoch = 1, .step = 2};
    assert_int_equal(sora_farm_step(farm, 16 * SORA_TIME_SECOND, &late, &actions, NULL),
                     SORA_E_STALE);
    sora_farm_destroy(&farm);
}

static void bad_input_changes_nothing(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    job.plan.steps = 0;
    struct sora_fault fault = {0};
    assert_int_equal(submit(farm, &job, &fault), SORA_E_INVALID);
    assert_string_equal(fault.text, "0 steps are outside 1..1000");
    struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_E_NOT_FOUND);
    struct sora_farm_event cancel = {.kind = SORA_FARM_CANCEL, .job = job.id};
    assert_int_equal(sora_farm_step(farm, 0, &cancel, &actions, NULL), SORA_E_NOT_FOUND);
    job = make_job(1);
    submit(farm, &job, NULL);
    assert_int_equal(sora_farm_step(farm, 0, &cancel, &actions, NULL), SORA_OK);
    struct sora_farm_event resume = {.kind = SORA_FARM_RESUME, .job = job.id};
    fault = (struct sora_fault){0};
    assert_int_equal(sora_farm_step(farm, 0, &resume, &actions, &fault), SORA_E_BUSY);
    assert_string_equal(fault.text, "cannot resume a job that is cancelled");
    sora_farm_destroy(&farm);
}

static void stored_records_are_checked(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm(), *other = make_farm();
    struct sora_farm_job job = make_job(1);
    submit(farm, &job, NULL);
    static struct sora_farm_job_record record;
    assert_int_equal(sora_farm_export_job(farm, &job.id, &record), SORA_OK);
    assert_int_equal(sora_farm_import_job(other, 0, &record, NULL, NULL), SORA_OK);
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(other, &job.id, &view), SORA_OK);
    assert_int_equal(view.state, SORA_JOB_QUEUED);
    record.floor_step = 5;
    struct sora_fault fault = {0};
    assert_int_equal(sora_farm_import_job(other, 0, &record, NULL, &fault), SORA_E_INVALID);
    assert_string_equal(fault.text, "a stored job contradicts itself");
    sora_farm_destroy(&farm);
    sora_farm_destroy(&other);
}

static void beat_of(struct sora_farm *farm, uint64_t node, const char *name, int64_t window_us)
{
    struct sora_farm_beat beat = {.boot = 5, .sequence = node, .device_count = 1};
    beat.devices[0] = (struct sora_farm_device){
        .name = "gpu0", .device_class = 1, .memory_free_bytes = INT64_C(1) << 34, .offered = true};
    if (window_us) {
        beat.devices[0].speed_count = 1;
        beat.devices[0].speeds[0] = (struct sora_farm_speed){1, window_us, window_us / 2};
    }
    struct sora_farm_event event = {
        .kind = SORA_FARM_BEAT, .node = node, .name = name, .beat = &beat};
    assert_int_equal(sora_farm_step(farm, 1, &event, &actions, NULL), SORA_OK);
}

static void newcomers_get_work_beside_measured_devices(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    job.plan.timeline.latent_count = 200;
    beat_of(farm, 9, "brook", 20000);
    beat_of(farm, 10, "reed", 0);
    struct sora_plan plan;
    struct sora_bytes words;
    sora_bytes_init(&words, 65536);
    assert_int_equal(sora_farm_plan(farm, &job, &plan, &words, NULL), SORA_OK);
    assert_int_equal(plan.shard_count, 2);
    assert_true(plan.finish_us < 200 * 20000); /* and not at a second a window */
    sora_bytes_fini(&words);
    sora_farm_destroy(&farm);
}

/* Hands in an event of a shard's owner, with the epoch that it has. */
static void of_shard(struct sora_farm *farm, const struct sora_farm_job *job, int32_t shard,
                     enum sora_farm_event_kind kind, int32_t step)
{
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job->id, &view), SORA_OK);
    struct sora_farm_event event = {.kind = kind,
                                    .job = job->id,
                                    .shard = shard,
                                    .step = step,
                                    .node = view.shards[shard].node,
                                    .epoch = view.shards[shard].epoch};
    assert_int_equal(sora_farm_step(farm, 2, &event, &actions, NULL), SORA_OK);
}

/* As many shards as devices, and one node is lost while it decodes: the other device has done its
 * part and takes the rest. */
static void a_shard_lost_while_decoding_gets_the_device_of_one_that_is_done(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    job.plan.timeline.latent_count = 60;
    job.plan.context_latents = 38;
    beat_of(farm, 9, "brook", 20000);
    beat_of(farm, 10, "reed", 20000);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.shard_count, 2);
    for (int32_t shard = 0; shard < 2; shard++)
        of_shard(farm, &job, shard, SORA_FARM_GRANT, 0);
    for (int32_t step = 2; step <= 4; step += 2)
        for (int32_t shard = 0; shard < 2; shard++)
            of_shard(farm, &job, shard, SORA_FARM_CHECKPOINT, step);
    of_shard(farm, &job, 0, SORA_FARM_SEGMENT, 0);
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    uint64_t left = view.shards[0].node;
    struct sora_farm_event gone = {.kind = SORA_FARM_NODE_LEFT, .node = view.shards[1].node};
    assert_int_equal(sora_farm_step(farm, 3, &gone, &actions, NULL), SORA_OK);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_int_equal(offer->shard, 1);
    assert_int_equal(offer->node, left);
    sora_farm_destroy(&farm);
}

/* The owner of the job's only shard grants it, then reports that it stopped for `code`. */
static uint64_t fail_shard(struct sora_farm *farm, const struct sora_farm_job *job, int code)
{
    static struct sora_farm_job_view view;
    static uint64_t sequence = 100;
    of_shard(farm, job, 0, SORA_FARM_GRANT, 0);
    assert_int_equal(sora_farm_job_view(farm, &job->id, &view), SORA_OK);
    assert_int_equal(view.shards[0].state, SORA_TASK_ASSIGNED);
    uint64_t node = view.shards[0].node;
    struct sora_farm_beat beat = {
        .boot = 5, .sequence = ++sequence, .device_count = 1, .report_count = 1};
    beat.devices[0] = (struct sora_farm_device){
        .name = "gpu0", .device_class = 1, .memory_free_bytes = INT64_C(1) << 34, .offered = true};
    beat.reports[0] = (struct sora_farm_report){
        .job = job->id, .code = code, .epoch = view.shards[0].epoch, .work = SORA_WORK_STOPPED};
    struct sora_farm_event event = {.kind = SORA_FARM_BEAT, .node = node, .beat = &beat};
    assert_int_equal(sora_farm_step(farm, 3, &event, &actions, NULL), SORA_OK);
    return node;
}

/* What no retry can mend is not tried again. */
static void input_that_no_node_can_use_fails_the_job_at_once(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    beat_of(farm, 9, "brook", 0);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    fail_shard(farm, &job, SORA_E_FORMAT);
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.state, SORA_JOB_FAILED);
    assert_string_equal(view.reason, "shard 0 cannot be made on brook: malformed data");
    sora_farm_destroy(&farm);
}

static void a_full_disk_is_waited_for(void **state)
{
    (void)state;
    const struct sora_farm_params params = {.cool_ns = 2, .failures_max = 3};
    struct sora_farm *farm = NULL;
    assert_int_equal(sora_farm_create(&params, &farm), SORA_OK);
    struct sora_farm_job job = make_job(1);
    beat_of(farm, 9, "brook", 0);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    static struct sora_farm_job_view view;
    struct sora_farm_event tick = {.kind = SORA_FARM_TICK};
    for (int i = 0; i < 5; i++) {
        fail_shard(farm, &job, SORA_E_SPACE);
        sora_farm_step(farm, 4, &tick, &actions, NULL);
        assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
        assert_int_equal(view.state, SORA_JOB_RUNNING);
        assert_non_null(strstr(view.reason, "the disk of brook is full"));
        sora_farm_step(farm, 6 + SORA_TIME_SECOND, &tick, &actions, NULL);
        assert_non_null(find(SORA_FARM_OFFER));
    }
    of_shard(farm, &job, 0, SORA_FARM_GRANT, 0);
    sora_farm_job_view(farm, &job.id, &view);
    assert_string_equal(view.reason, "");
    sora_farm_destroy(&farm);
}

/* What may be one node's own trouble is tried on each other node once. */
static void input_that_one_node_lacks_moves_the_work(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    beat_of(farm, 9, "brook", 0);
    beat_of(farm, 10, "reed", 0);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    uint64_t first = fail_shard(farm, &job, SORA_E_NOT_FOUND);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_true(offer->node != first);
    fail_shard(farm, &job, SORA_E_NOT_FOUND);
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.state, SORA_JOB_FAILED);
    assert_non_null(strstr(view.reason, "on any of 2 nodes; last: not found on "));
    sora_farm_destroy(&farm);
}

/* A node with a fast card (device 0) and a slow CPU (device 1), and what it says of its task. */
static void beat_both(struct sora_farm *farm, sora_time now, bool card_offered,
                      const struct sora_farm_report *report)
{
    static uint64_t sequence = 1000;
    struct sora_farm_beat beat = {.boot = 5, .sequence = ++sequence, .device_count = 2};
    beat.devices[0] = (struct sora_farm_device){.name = "gpu0",
                                                .device_class = 1,
                                                .is_card = true,
                                                .memory_free_bytes = INT64_C(1) << 34,
                                                .offered = card_offered};
    beat.devices[1] = (struct sora_farm_device){
        .name = "cpu0", .device_class = 2, .memory_free_bytes = INT64_C(1) << 34, .offered = true};
    if (report)
        beat.reports[beat.report_count++] = *report;
    struct sora_farm_event event = {
        .kind = SORA_FARM_BEAT, .node = 9, .name = "brook", .beat = &beat};
    assert_int_equal(sora_farm_step(farm, now, &event, &actions, NULL), SORA_OK);
}

/* The one shard of a job runs on the device that its offer named; its report that it stopped. */
static struct sora_farm_report run_until(struct sora_farm *farm, const struct sora_farm_job *job,
                                         int32_t device, int code)
{
    static struct sora_farm_job_view view;
    of_shard(farm, job, 0, SORA_FARM_GRANT, 0);
    assert_int_equal(sora_farm_job_view(farm, &job->id, &view), SORA_OK);
    assert_int_equal(view.shard_count, 1);
    assert_int_equal(view.shards[0].device, device);
    struct sora_farm_report report = {
        .epoch = view.shards[0].epoch, .code = code, .work = SORA_WORK_STOPPED};
    report.job = job->id;
    return report;
}

/* A card that may hold weights in int8 does for a job that it cannot hold otherwise, in the class
 * of its own that this has; what else takes its memory at the moment changes nothing. */
static void a_card_changes_to_int8_for_what_cannot_fit(void **state)
{
    (void)state;
    static const struct {
        int64_t card_bytes, free_bytes;
        uint64_t int8_class, planned;
    } cases[] = {
        {7000000000, 6000000000, 3, 3},
        {7000000000, 6000000000, 0, 0}, /* it may not */
        {5900000000, 6000000000, 3, 1},
        {5900000000, 5500000000, 3, 0}, /* it would fit, were there nobody else */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_farm *farm = make_farm();
        struct sora_farm_job job = make_job(1);
        struct sora_farm_beat beat = {.boot = 5, .sequence = 1, .device_count = 1};
        struct sora_farm_event event = {
            .kind = SORA_FARM_BEAT, .node = 9, .name = "brook", .beat = &beat};
        beat.devices[0] = (struct sora_farm_device){.name = "gpu0",
                                                    .device_class = 1,
                                                    .int8_class = cases[i].int8_class,
                                                    .is_card = true,
                                                    .memory_free_bytes = cases[i].free_bytes,
                                                    .memory_total_bytes = 6000000000,
                                                    .offered = true};
        job.plan.memory_card_bytes = cases[i].card_bytes;
        job.plan.memory_int8_bytes = 5000000000;
        assert_int_equal(sora_farm_step(farm, 1, &event, &actions, NULL), SORA_OK);
        static struct sora_plan plan;
        struct sora_bytes words;
        sora_bytes_init(&words, 4096);
        int result = sora_farm_plan(farm, &job, &plan, &words, NULL);
        sora_bytes_fini(&words);
        assert_int_equal(result, cases[i].planned ? SORA_OK : SORA_E_NOT_FOUND);
        assert_int_equal(result ? 0 : plan.device_class, cases[i].planned);
        sora_farm_destroy(&farm);
    }
}

/* Unmeasured, a card goes before a CPU. A result that is no number is computed once more by another
 * device, of whatever class, and then the job is over. */
static void no_number_is_tried_elsewhere_once(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    static struct sora_farm_job_view view;
    beat_both(farm, 1, true, NULL);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    struct sora_farm_report report = run_until(farm, &job, 0, SORA_E_NUMERIC);
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.job.plan.device_class, 1);
    beat_both(farm, 3, true, &report);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_int_equal(offer->device, 1);
    report = run_until(farm, &job, 1, SORA_E_NUMERIC);
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.job.plan.device_class, 0);
    beat_both(farm, 4, true, &report);
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_int_equal(view.state, SORA_JOB_FAILED);
    assert_non_null(strstr(view.reason, "failed 2 times"));
    sora_farm_destroy(&farm);
}

/* A card that is lost has a minute to come back; then the CPU goes on. */
static void a_lost_class_is_waited_for(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    beat_both(farm, 1, true, NULL);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    struct sora_farm_report report = run_until(farm, &job, 0, SORA_E_DEVICE);
    sora_time now = 3;
    beat_both(farm, now, false, &report);
    for (int second = 0; second < 59; second++) {
        now += SORA_TIME_SECOND;
        beat_both(farm, now, false, NULL);
        assert_null(find(SORA_FARM_OFFER));
    }
    static struct sora_farm_job_view view;
    assert_int_equal(sora_farm_job_view(farm, &job.id, &view), SORA_OK);
    assert_non_null(strstr(view.reason, "lost its device"));
    beat_both(farm, now + 2 * SORA_TIME_SECOND, false, NULL);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_int_equal(offer->device, 1);
    sora_farm_destroy(&farm);
}

/* A device without room for the text encoder can take a shard; the texts go where there is room. */
static void texts_are_encoded_where_there_is_room(void **state)
{
    (void)state;
    struct sora_farm *farm = make_farm();
    struct sora_farm_job job = make_job(1);
    job.needs_text = true;
    job.plan.memory_text_bytes = INT64_C(11000000000);
    beat(farm, 1, 7000000000); /* brook, 9 */
    beat_of(farm, 10, "reed", 0);
    assert_int_equal(submit(farm, &job, NULL), SORA_OK);
    const struct sora_farm_action *offer = find(SORA_FARM_OFFER);
    assert_non_null(offer);
    assert_int_equal(offer->shard, SORA_FARM_TEXT_TASK);
    assert_int_equal(offer->node, 10);
    struct sora_farm_event gone = {.kind = SORA_FARM_NODE_LEFT, .node = 10};
    assert_int_equal(sora_farm_step(farm, 3, &gone, &actions, NULL), SORA_OK);
    offer = find(SORA_FARM_OFFER); /* brook alone reads them from its disk */
    assert_non_null(offer);
    assert_int_equal(offer->node, 9);
    sora_farm_destroy(&farm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_jobs_have_a_reason),
        cmocka_unit_test(priority_goes_first_and_silence_is_a_loss),
        cmocka_unit_test(bad_input_changes_nothing),
        cmocka_unit_test(stored_records_are_checked),
        cmocka_unit_test(newcomers_get_work_beside_measured_devices),
        cmocka_unit_test(a_card_changes_to_int8_for_what_cannot_fit),
        cmocka_unit_test(no_number_is_tried_elsewhere_once),
        cmocka_unit_test(a_lost_class_is_waited_for),
        cmocka_unit_test(a_shard_lost_while_decoding_gets_the_device_of_one_that_is_done),
        cmocka_unit_test(input_that_no_node_can_use_fails_the_job_at_once),
        cmocka_unit_test(a_full_disk_is_waited_for),
        cmocka_unit_test(input_that_one_node_lacks_moves_the_work),
        cmocka_unit_test(texts_are_encoded_where_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
