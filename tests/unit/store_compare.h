/* Whether a store holds exactly the random rows. */
#ifndef SORA_TESTS_UNIT_STORE_COMPARE_H
#define SORA_TESTS_UNIT_STORE_COMPARE_H

#include "tests/unit/store_rows.h"

#define SAME(member) assert_true(a->member == b->member)

static struct model_job *at_job;
static struct model_take *at_take;
static int at_part, at_piece, jobs_seen;

/* All of the job that was being read has come. */
static inline void job_is_complete(void)
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

static inline int see_job(void *context, const struct sora_store_job *b)
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

static inline void same_plan(const struct sora_plan_job *a, const struct sora_plan_job *b)
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

static inline void same_shard(const struct sora_farm_shard_record *a,
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

static inline int see_take(void *context, const struct sora_store_take *row)
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
static inline const struct sora_store_part *next_part(void)
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

static inline const struct sora_store_piece *next_piece(void)
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

static inline int see_part(void *context, const struct sora_store_part *b)
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

static inline int see_piece(void *context, const struct sora_store_piece *b)
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

static inline int no_line(void *context, const struct sora_store_line *line)
{
    (void)context, (void)line;
    return SORA_E_INTERNAL;
}

static inline int no_place(void *context, const struct sora_store_ran *ran)
{
    (void)context, (void)ran;
    return SORA_E_INTERNAL;
}

/* The database holds exactly the model. */
static inline void compare(void)
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

static inline int setup(void **state)
{
    seed_state = 20;
    done_count = done_failed = 0;
    memset(model, 0, sizeof(model));
    return scratch_setup(state);
}

#endif
