/* Random jobs with takes, shards, parts and pieces: what a store is given, and must give back. */
#ifndef SORA_TESTS_UNIT_STORE_ROWS_H
#define SORA_TESTS_UNIT_STORE_ROWS_H

#include "tests/unit/store_fixture.h"

#define JOBS 12
#define TAKES_MAX 3 /* of a job */
#define SHARDS_MAX 6
#define ROWS 5 /* parts and pieces of a take */

static uint64_t seed_state;

static inline uint64_t any(void)
{
    seed_state += 0x9e3779b97f4a7c15u;
    uint64_t z = seed_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline int32_t any32(void)
{
    return (int32_t)(uint32_t)any();
}

static inline void any_bytes(unsigned char *out, size_t size)
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

static inline void any_job(int index)
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

static inline void any_shards(struct model_take *take)
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

static inline void any_take(struct model_job *job, int index)
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

static inline void any_blob(struct sora_store_blob *blob)
{
    any_bytes(blob->digest, sizeof(blob->digest));
    blob->size = any();
}

/* Parts and pieces in the order in which they are to come back. */
static inline void any_rows(struct model_take *take)
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

static inline void put_take(struct sora_store_batch *batch, const struct model_take *take)
{
    assert_int_equal(sora_store_put_take(batch, &take->row), SORA_OK);
    for (int i = 0; i < take->part_count; i++)
        assert_int_equal(sora_store_put_part(batch, &take->parts[i]), SORA_OK);
    for (int i = 0; i < take->piece_count; i++)
        assert_int_equal(sora_store_put_piece(batch, &take->pieces[i]), SORA_OK);
}

static inline void put_job(struct sora_store_batch *batch, const struct model_job *job)
{
    assert_int_equal(sora_store_put_job(batch, &job->row), SORA_OK);
    for (int i = 0; i < TAKES_MAX; i++) {
        if (job->takes[i].used)
            put_take(batch, &job->takes[i]);
    }
}

static inline void fill_model(void)
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

#endif
