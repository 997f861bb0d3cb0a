/* The home's database: all rows come back, kills, full disk, other versions, damage. */
#include "base/files.h"
#include "scheduler/store.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define JOBS 12
#define TAKES_MAX 3 /* of a job */
#define SHARDS_MAX 6
#define ROWS 5 /* parts and pieces of a take */

static struct sora_store *store;
static int done_count, done_failed;
static struct sora_fault done_fault;

static void note_done(void *context, const struct sora_fault *fault)
{
    (void)context;
    done_count++;
    done_failed += fault->code != 0;
    if (fault->code != 0)
        done_fault = *fault;
}

static void open_store(void)
{
    struct sora_fault fault = {0};
    if (sora_store_open(scratch_path("home.db"), &store, &fault))
        fail_msg("%s", fault.text);
}

static int open_code(struct sora_fault *fault)
{
    *fault = (struct sora_fault){0};
    return sora_store_open(scratch_path("home.db"), &store, fault);
}

static struct sora_store_batch *begin(void)
{
    struct sora_store_batch *batch = NULL;
    assert_int_equal(sora_store_batch_create(store, &batch), SORA_OK);
    return batch;
}

static void commit(struct sora_store_batch *batch)
{
    assert_int_equal(sora_store_commit(store, &batch, note_done, NULL), SORA_OK);
    assert_null(batch);
}

static void wait_done(int count)
{
    while (done_count < count) {
        struct pollfd item = {.fd = sora_store_fd(store), .events = POLLIN};
        assert_int_equal(poll(&item, 1, 20000), 1);
        sora_store_step(store);
    }
}

/* Commits and waits; the code that came. */
static int commit_wait(struct sora_store_batch *batch)
{
    done_failed = 0;
    done_fault = (struct sora_fault){0};
    int before = done_count;
    commit(batch);
    wait_done(before + 1);
    return done_fault.code;
}

/* ---- random rows ---- */

static uint64_t seed_state;

static uint64_t any(void)
{
    seed_state += 0x9e3779b97f4a7c15u;
    uint64_t z = seed_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int32_t any32(void)
{
    return (int32_t)(uint32_t)any();
}

static void any_bytes(unsigned char *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)any();
}

struct model_take {
    bool used;
    struct sora_store_take row;
    struct sora_farm_shard_record shards[SHARDS_MAX];
    struct sora_store_part parts[ROWS];
    struct sora_store_piece pieces[ROWS];
    int part_count, piece_count;
    unsigned char prepared[64];
};
struct model_job {
    bool used;
    struct sora_store_job row;
    unsigned char envelope[100];
    char reason[40], folder[40];
    struct model_take takes[TAKES_MAX];
};
static struct model_job model[JOBS];

static void any_job(int index)
{
    struct model_job *job = &model[index];
    *job = (struct model_job){.used = true};
    struct sora_store_job *row = &job->row;
    any_bytes(row->id.bytes, 14);
    any_bytes(row->owner, 32);
    any_bytes(row->model, 32);
    any_bytes(job->envelope, sizeof(job->envelope));
    row->envelope = job->envelope;
    row->envelope_size = 1 + any() % 100;
    row->state = any32();
    row->wall_created_ms = (uint64_t)index * 10; /* the order in which they come back */
    row->wall_started_ms = any();
    row->wall_ended_ms = any();
    row->moves = any32();
    snprintf(job->reason, sizeof(job->reason), "reason '%llx'", (unsigned long long)any());
    snprintf(job->folder, sizeof(job->folder), "%s", any() % 2 ? "a \"folder\"; --" : "");
    row->reason = job->reason;
    row->result_folder = job->folder;
    row->device_classes = any() % 2 ? "cpu-avx512-1,sm_90-bf16-1" : "";
}

static void any_shards(struct model_take *take)
{
    for (int i = 0; i < take->row.record.shard_count; i++) {
        take->shards[i] = (struct sora_farm_shard_record){
            .latents = {any32(), any32()},
            .state = (enum sora_task_state)(any() % SORA_TASK_STATE_COUNT),
            .node = any(),
            .boot = any(),
            .epoch = any(),
            .version = any(),
            .device = any32(),
            .resume_step = any32(),
            .durable_step = any32(),
            .stored_step = any32(),
            .failures = any32(),
            .losses = any32(),
            .segment_done = any() % 2,
        };
    }
    take->row.shards = take->shards;
}

static void any_take(struct model_job *job, int index)
{
    struct model_take *take = &job->takes[index];
    take->used = true;
    struct sora_farm_job_record *record = &take->row.record;
    *record = (struct sora_farm_job_record){
        .job = {.id = job->row.id,
                .owner = any(),
                .priority = any32(),
                .plan = {.timeline = {any32(), any32(), any32(), any() % 2},
                         .steps = any32(),
                         .first_step = any32(),
                         .context_latents = any32(),
                         .memory_fixed_bytes = (int64_t)any(),
                         .memory_latent_bytes = (int64_t)any(),
                         .halo_latent_bytes = (int64_t)any(),
                         .window_us_guess = (int64_t)any(),
                         .device_class = any()},
                .model = any(),
                .checkpoint_steps = any32(),
                .needs_text = any() % 2},
        .state = (enum sora_job_state)(any() % SORA_JOB_STATE_COUNT),
        .sequence = any(),
        .epoch_next = any(),
        .device_class = any(),
        .cut = any(),
        .floor_step = any32(),
        .shard_count = (int32_t)(any() % (SHARDS_MAX + 1)),
        .text_done = any() % 2,
        .pause_wanted = any() % 2,
    };
    record->job.id.bytes[15] = (unsigned char)index;
    snprintf(record->reason, sizeof(record->reason), "r%llx", (unsigned long long)any());
    any_bytes(take->prepared, sizeof(take->prepared));
    take->row.prepared = take->prepared;
    take->row.prepared_size = 1 + any() % 64;
    any_shards(take);
}

static void any_blob(struct sora_store_blob *blob)
{
    any_bytes(blob->digest, sizeof(blob->digest));
    blob->size = any();
}

/* Parts and pieces in the order in which they are to come back. */
static void any_rows(struct model_take *take)
{
    struct sora_job_id id = take->row.record.job.id;
    take->part_count = take->piece_count = ROWS;
    for (int i = 0; i < ROWS; i++) {
        take->parts[i] = (struct sora_store_part){.take = id,
                                                  .step = i / 2,
                                                  .latents = {i, any32()},
                                                  .cut = any(),
                                                  .epoch = any(),
                                                  .shard = any32()};
        any_blob(&take->parts[i].blob);
        take->pieces[i] = (struct sora_store_piece){.take = id,
                                                    .shard = any32(),
                                                    .index = any32(),
                                                    .epoch = any(),
                                                    .frame_first = i * 7,
                                                    .frame_count = any32(),
                                                    .last = any() % 2};
        any_blob(&take->pieces[i].blob);
    }
}

static void put_take(struct sora_store_batch *batch, const struct model_take *take)
{
    assert_int_equal(sora_store_put_take(batch, &take->row), SORA_OK);
    for (int i = 0; i < take->part_count; i++)
        assert_int_equal(sora_store_put_part(batch, &take->parts[i]), SORA_OK);
    for (int i = 0; i < take->piece_count; i++)
        assert_int_equal(sora_store_put_piece(batch, &take->pieces[i]), SORA_OK);
}

static void put_job(struct sora_store_batch *batch, const struct model_job *job)
{
    assert_int_equal(sora_store_put_job(batch, &job->row), SORA_OK);
    for (int i = 0; i < TAKES_MAX; i++) {
        if (job->takes[i].used)
            put_take(batch, &job->takes[i]);
    }
}

static void fill_model(void)
{
    for (int i = 0; i < JOBS; i++) {
        any_job(i);
        for (int k = 0; k < 1 + i % TAKES_MAX; k++) {
            any_take(&model[i], k);
            any_rows(&model[i].takes[k]);
        }
        struct sora_store_batch *batch = begin();
        put_job(batch, &model[i]);
        assert_int_equal(commit_wait(batch), SORA_OK);
    }
}

/* ---- comparing ---- */

#define SAME(member) assert_true(a->member == b->member)

static struct model_job *at_job;
static struct model_take *at_take;
static int at_part, at_piece, jobs_seen;

/* All of the job that was being read has come. */
static void job_is_complete(void)
{
    if (!at_job)
        return;
    for (struct model_take *take = at_job->takes; take < at_job->takes + TAKES_MAX; take++)
        assert_true(!take->used || take <= at_take);
    int parts = 0, pieces = 0;
    for (int i = 0; i < TAKES_MAX; i++) {
        parts += at_job->takes[i].part_count;
        pieces += at_job->takes[i].piece_count;
    }
    assert_int_equal(at_part, parts);
    assert_int_equal(at_piece, pieces);
}

static int see_job(void *context, const struct sora_store_job *b)
{
    (void)context;
    job_is_complete();
    at_job = at_job ? at_job + 1 : model;
    while (!at_job->used)
        at_job++;
    assert_true(at_job < model + JOBS);
    jobs_seen++;
    at_take = NULL;
    at_part = at_piece = 0;
    const struct sora_store_job *a = &at_job->row;
    assert_memory_equal(&a->id, &b->id, 16);
    assert_memory_equal(a->owner, b->owner, 32);
    assert_memory_equal(a->model, b->model, 32);
    SAME(envelope_size);
    assert_memory_equal(a->envelope, b->envelope, a->envelope_size);
    SAME(state);
    SAME(wall_created_ms);
    SAME(wall_started_ms);
    SAME(wall_ended_ms);
    SAME(moves);
    assert_string_equal(a->reason, b->reason);
    assert_string_equal(a->result_folder, b->result_folder);
    assert_string_equal(a->device_classes, b->device_classes);
    return 0;
}

static void same_plan(const struct sora_plan_job *a, const struct sora_plan_job *b)
{
    SAME(timeline.latent_count);
    SAME(timeline.window_latents);
    SAME(timeline.overlap_latents);
    SAME(timeline.static_phase);
    SAME(steps);
    SAME(first_step);
    SAME(context_latents);
    SAME(memory_fixed_bytes);
    SAME(memory_latent_bytes);
    SAME(halo_latent_bytes);
    SAME(window_us_guess);
    SAME(device_class);
}

static void same_shard(const struct sora_farm_shard_record *a,
                       const struct sora_farm_shard_record *b)
{
    SAME(latents.first);
    SAME(latents.end);
    SAME(state);
    SAME(node);
    SAME(boot);
    SAME(epoch);
    SAME(version);
    SAME(device);
    SAME(resume_step);
    SAME(durable_step);
    SAME(stored_step);
    SAME(failures);
    SAME(losses);
    SAME(segment_done);
}

static int see_take(void *context, const struct sora_store_take *row)
{
    (void)context;
    at_take = at_take ? at_take + 1 : at_job->takes;
    assert_true(at_take < at_job->takes + TAKES_MAX && at_take->used);
    const struct sora_farm_job_record *a = &at_take->row.record, *b = &row->record;
    assert_memory_equal(&a->job.id, &b->job.id, 16);
    SAME(job.owner);
    SAME(job.priority);
    same_plan(&a->job.plan, &b->job.plan);
    SAME(job.model);
    SAME(job.checkpoint_steps);
    SAME(job.needs_text);
    SAME(state);
    SAME(sequence);
    SAME(epoch_next);
    SAME(device_class);
    SAME(cut);
    SAME(floor_step);
    SAME(shard_count);
    SAME(text_done);
    SAME(pause_wanted);
    assert_string_equal(a->reason, b->reason);
    assert_int_equal(row->prepared_size, at_take->row.prepared_size);
    if (row->prepared_size > 0)
        assert_memory_equal(row->prepared, at_take->row.prepared, row->prepared_size);
    for (int i = 0; i < a->shard_count; i++)
        same_shard(&at_take->shards[i], &row->shards[i]);
    return 0;
}

/* The take that the next part (or piece) of the job belongs to. */
static const struct sora_store_part *next_part(void)
{
    int index = at_part++;
    for (int i = 0; i < TAKES_MAX; i++) {
        if (index < at_job->takes[i].part_count)
            return &at_job->takes[i].parts[index];
        index -= at_job->takes[i].part_count;
    }
    fail_msg("a part too many");
    return NULL;
}

static const struct sora_store_piece *next_piece(void)
{
    int index = at_piece++;
    for (int i = 0; i < TAKES_MAX; i++) {
        if (index < at_job->takes[i].piece_count)
            return &at_job->takes[i].pieces[index];
        index -= at_job->takes[i].piece_count;
    }
    fail_msg("a piece too many");
    return NULL;
}

static int see_part(void *context, const struct sora_store_part *b)
{
    (void)context;
    const struct sora_store_part *a = next_part();
    assert_memory_equal(&a->take, &b->take, 16);
    SAME(step);
    SAME(latents.first);
    SAME(latents.end);
    SAME(cut);
    SAME(epoch);
    SAME(shard);
    SAME(blob.size);
    assert_memory_equal(a->blob.digest, b->blob.digest, 32);
    return 0;
}

static int see_piece(void *context, const struct sora_store_piece *b)
{
    (void)context;
    const struct sora_store_piece *a = next_piece();
    assert_memory_equal(&a->take, &b->take, 16);
    SAME(shard);
    SAME(index);
    SAME(epoch);
    SAME(frame_first);
    SAME(frame_count);
    SAME(last);
    SAME(blob.size);
    assert_memory_equal(a->blob.digest, b->blob.digest, 32);
    return 0;
}

static int no_line(void *context, const struct sora_store_line *line)
{
    (void)context, (void)line;
    return SORA_E_INTERNAL;
}

static int no_place(void *context, const struct sora_store_ran *ran)
{
    (void)context, (void)ran;
    return SORA_E_INTERNAL;
}

/* The database holds exactly the model. */
static void compare(void)
{
    const struct sora_store_visitor visitor = {see_job, see_take, see_part, see_piece,
                                               no_line, no_place, NULL};
    struct sora_fault fault = {0};
    at_job = NULL;
    jobs_seen = 0;
    int rc = sora_store_load(store, &visitor, &fault);
    if (rc)
        fail_msg("%s", fault.text);
    job_is_complete();
    int jobs = 0;
    for (int i = 0; i < JOBS; i++)
        jobs += model[i].used;
    assert_int_equal(jobs_seen, jobs);
}

static void reopen(void)
{
    sora_store_close(&store);
    open_store();
}

static int setup(void **state)
{
    seed_state = 20;
    done_count = done_failed = 0;
    memset(model, 0, sizeof(model));
    return scratch_setup(state);
}

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

/* ---- trouble ---- */

static void a_full_disk_is_reported_and_passes(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){200000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    static unsigned char large[400000];
    struct sora_store_job job = model[0].row;
    any_bytes(job.id.bytes, 14);
    job.envelope = large;
    job.envelope_size = sizeof(large);
    struct sora_store_batch *batch = begin();
    assert_int_equal(sora_store_put_job(batch, &job), SORA_OK);
    int rc = commit_wait(batch);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(rc, SORA_E_SPACE);
    assert_non_null(strstr(done_fault.text, "free some space"));
    compare();
    reopen();
    compare();
    batch = begin();
    assert_int_equal(sora_store_put_job(batch, &job), SORA_OK);
    assert_int_equal(commit_wait(batch), SORA_OK);
    sora_store_close(&store);
}

static void patch(long offset, const void *bytes, size_t size)
{
    int fd = open(scratch_path("home.db"), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
    close(fd);
}

static void other_versions_and_programs_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault;
    open_store();
    fill_model();
    sora_store_close(&store);
    patch(60, "\0\0\0\011", 4); /* user_version, SQLite's file format 1.3 */
    assert_int_equal(open_code(&fault), SORA_E_UNSUPPORTED);
    assert_non_null(strstr(fault.text, "version 9"));
    assert_non_null(strstr(fault.text, "this program knows 3"));
    assert_null(store);
    patch(60, "\0\0\0\003", 4);
    patch(68, "\0\0\0\001", 4); /* application_id */
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    patch(68, "sora", 4);
    open_store();
    compare();
    sora_store_close(&store);
}

static void damage_is_found_at_open(void **state)
{
    (void)state;
    struct sora_fault fault;
    open_store();
    fill_model();
    sora_store_close(&store);
    static char noise[6000];
    memset(noise, 0x5a, sizeof(noise));
    patch(3 * 4096 + 8, noise, sizeof(noise));
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "move the file away"));
    patch(0, noise, sizeof(noise));
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    assert_int_equal(sora_store_open(scratch_path("no/home.db"), &store, &fault), SORA_E_NOT_FOUND);
}

/* ---- kill -9 ---- */

static int child_pipe;

static void tell_parent(void *context, const struct sora_fault *fault)
{
    uint32_t index = (uint32_t)(uintptr_t)context;
    if (fault->code != 0 || write(child_pipe, &index, sizeof(index)) < 0)
        _exit(3);
}

/* Batch `index`: a job with a take of two shards, in every tenth place dropping an older one. */
static void number_batch(struct sora_store_batch *batch, uint32_t index)
{
    seed_state = 1000 + index;
    any_job(0);
    model[0].row.wall_created_ms = index;
    memcpy(model[0].row.id.bytes, &index, sizeof(index));
    any_take(&model[0], 0);
    model[0].takes[0].row.record.shard_count = 2;
    any_rows(&model[0].takes[0]);
    put_job(batch, &model[0]);
}

_Noreturn static void child_writes_for_ever(uint32_t index)
{
    open_store();
    for (;; index++) {
        struct sora_store_batch *batch = begin();
        number_batch(batch, index);
        while (sora_store_commit(store, &batch, tell_parent, (void *)(uintptr_t)index) ==
               SORA_E_FULL)
            sora_store_step(store);
        sora_store_step(store);
    }
}

struct found {
    uint32_t jobs, takes, parts, pieces, highest;
};

static int count_job(void *context, const struct sora_store_job *job)
{
    struct found *found = context;
    assert_int_equal(job->wall_created_ms, found->jobs); /* none is missing in between */
    found->highest = found->jobs++;
    return 0;
}
static int count_take(void *context, const struct sora_store_take *take)
{
    ((struct found *)context)->takes += (uint32_t)take->record.shard_count / 2;
    return 0;
}
static int count_part(void *context, const struct sora_store_part *part)
{
    (void)part;
    ((struct found *)context)->parts++;
    return 0;
}
static int count_piece(void *context, const struct sora_store_piece *piece)
{
    (void)piece;
    ((struct found *)context)->pieces++;
    return 0;
}

/* Lets a child write from `next` on and kills it after some batches; the last one that was done. */
static uint32_t run_and_kill(uint32_t next, int wanted)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_pipe = ends[1];
        child_writes_for_ever(next);
    }
    close(ends[1]);
    uint32_t index = 0, last = 0;
    for (int count = 1; read(ends[0], &index, sizeof(index)) == sizeof(index); count++) {
        last = index;
        if (count == wanted) {
            struct sora_fault fault;
            assert_int_equal(open_code(&fault), SORA_E_BUSY); /* the child has it */
            assert_non_null(strstr(fault.text, "another process"));
            kill(child, SIGKILL);
        }
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ends[0]);
    return last;
}

static void being_killed_loses_nothing_that_was_done(void **state)
{
    (void)state;
    uint32_t next = 0;
    for (int round = 0; round < 6; round++) {
        uint32_t last = run_and_kill(next, 5 + round * 17);
        open_store(); /* checks the integrity */
        struct found found = {0};
        const struct sora_store_visitor visitor = {.job = count_job,
                                                   .take = count_take,
                                                   .part = count_part,
                                                   .piece = count_piece,
                                                   .context = &found};
        assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_OK);
        assert_true(found.highest >= last);
        assert_int_equal(found.takes, found.jobs);
        assert_int_equal(found.parts, found.jobs * ROWS);
        assert_int_equal(found.pieces, found.jobs * ROWS);
        next = found.jobs;
        sora_store_close(&store);
    }
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
        TEST(a_full_disk_is_reported_and_passes),
        TEST(other_versions_and_programs_are_refused),
        TEST(damage_is_found_at_open),
        TEST(being_killed_loses_nothing_that_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
