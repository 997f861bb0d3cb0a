/*
 * Store: what a home must not forget, in one database.
 *
 * Writes are collected in batches; a batch is one transaction and is durable when its `done` is
 * called. Reading happens at start only: afterwards the home keeps what it needs in memory. The
 * interface knows rows, not SQL, so that another database can stand behind it.
 *
 * scheduler/store_sqlite.c: one connection, owned by the thread of one sora_tasks of its own; WAL,
 * synchronous=FULL, integrity checked at open, schema version in user_version with migrations; a
 * database of a newer version is refused (UNSUPPORTED, with both versions and the way out). Several
 * batches that wait become one transaction. A failed write (disk full) is reported in `done`; what
 * was stored before stays readable. Ids and digests are blobs, times wall clock milliseconds.
 */
#ifndef SORA_SCHEDULER_STORE_H
#define SORA_SCHEDULER_STORE_H

#include "scheduler/core/farm_records.h"

#define SORA_STORE_VERSION 3
#define SORA_STORE_REASON_SIZE 512

struct sora_store_blob {
    unsigned char digest[32];
    uint64_t size; /* 0: none */
};

/* A job as submitted, and what became of it. `takes` are farm jobs of scheduler/core. */
struct sora_store_job {
    struct sora_job_id id;
    unsigned char owner[32]; /* node id of the submitter */
    unsigned char model[32]; /* digest */
    const void *envelope;    /* packed Farm__Envelope; borrowed */
    size_t envelope_size;
    int32_t state; /* enum sora_job_state when final, else -1 */
    uint64_t wall_created_ms, wall_started_ms, wall_ended_ms;
    int32_t moves;              /* shards that moved */
    const char *reason;         /* borrowed; "" for none */
    const char *device_classes; /* that got work of it, separated by commas; "" for none */
    const char *result_folder;  /* name under the home's results; "" until done */
};
/* A take: the core's record with its shards, and the text task's answer. */
struct sora_store_take {
    struct sora_farm_job_record record;
    const struct sora_farm_shard_record *shards; /* record.shard_count; borrowed */
    const void *prepared; /* packed Farm__TextEncoded, NULL before; borrowed */
    size_t prepared_size;
};
/* A checkpoint of latents [first, end) before `step`; with step == steps: final latents. */
struct sora_store_part {
    struct sora_job_id take;
    int32_t step;
    struct sora_range latents;
    uint64_t cut, epoch;
    int32_t shard;
    struct sora_store_blob blob;
};
/* A segment of frames [frame_first, frame_first + frame_count) of a take. */
struct sora_store_piece {
    struct sora_job_id take;
    int32_t shard, index;
    uint64_t epoch;
    int32_t frame_first, frame_count;
    bool last;
    struct sora_store_blob blob;
};
/* A line of a job's log. */
struct sora_store_line {
    struct sora_job_id job;
    int32_t number;   /* ascending */
    const char *text; /* borrowed */
};
/* Where a shard runs, or ran when the job is over, for people. */
struct sora_store_ran {
    struct sora_job_id job;
    int32_t take, shard, state, step, frames_done; /* state: Farm__ShardState */
    struct sora_range latents;
    uint64_t epoch;
    char node[64], device[65];
};

struct sora_store;

/* Opens or makes the database file. Blocks. Returns owned. Errors: UNSUPPORTED (newer), FORMAT
 * (damaged, with the way out), DENIED, BUSY (another process has it), SPACE, IO. */
int sora_store_open(const char *path, struct sora_store **out_store, struct sora_fault *fault);
/* Finishes all batches; blocks. */
void sora_store_close(struct sora_store **store);
int sora_store_fd(const struct sora_store *store); /* readable when step has something */
int sora_store_step(struct sora_store *store);

/* ---- writing: begin, puts and drops, commit ---- */

struct sora_store_batch;
int sora_store_batch_create(struct sora_store *store, struct sora_store_batch **out_batch);
void sora_store_batch_destroy(struct sora_store_batch **batch); /* not committed: forgotten */

/* Puts copy all they are given and replace the row of the same key (job: id; take: record.job.id;
 * part: take, step, latents.first, cut; piece: take, shard, epoch, index; line: job, number; ran:
 * job, take, shard). put_take with a NULL
 * `prepared` keeps the stored one. Errors: MEMORY. */
int sora_store_put_job(struct sora_store_batch *batch, const struct sora_store_job *job);
int sora_store_put_take(struct sora_store_batch *batch, const struct sora_store_take *take);
int sora_store_put_part(struct sora_store_batch *batch, const struct sora_store_part *part);
int sora_store_put_piece(struct sora_store_batch *batch, const struct sora_store_piece *piece);
int sora_store_put_line(struct sora_store_batch *batch, const struct sora_store_line *line);
int sora_store_put_ran(struct sora_store_batch *batch, const struct sora_store_ran *ran);
/* Parts of a take before `step`; pieces of a take; lines of a job before `number`;
 * where it ran; a job with all
 * that belongs to it. */
int sora_store_drop_parts(struct sora_store_batch *batch, const struct sora_job_id *take,
                          int32_t step);
int sora_store_drop_pieces(struct sora_store_batch *batch, const struct sora_job_id *take);
int sora_store_drop_lines(struct sora_store_batch *batch, const struct sora_job_id *job,
                          int32_t number);
int sora_store_drop_ran(struct sora_store_batch *batch, const struct sora_job_id *job);
int sora_store_drop_job(struct sora_store_batch *batch, const struct sora_job_id *job);

/* Takes the batch. `done` (may be NULL) comes from sora_store_step or close, in the order of
 * commits. A batch that cannot be (a take without its job, a part or piece without its take) fails
 * alone, with INVALID. Errors: FULL (1,024 are not done yet); then it stays the caller's. */
int sora_store_commit(struct sora_store *store, struct sora_store_batch **batch,
                      void (*done)(void *context, const struct sora_fault *fault), void *context);

/* ---- reading, at start ---- */

/* Calls back for every row: jobs by creation; after each job its takes ascending, then all parts of
 * them (by take, step, latent), then all pieces (by take, frame), then its lines and where it ran.
 * A callback that returns nonzero ends it with that code. Everything is borrowed. Blocks. */
struct sora_store_visitor {
    int (*job)(void *context, const struct sora_store_job *job);
    int (*take)(void *context, const struct sora_store_take *take);
    int (*part)(void *context, const struct sora_store_part *part);
    int (*piece)(void *context, const struct sora_store_piece *piece);
    int (*line)(void *context, const struct sora_store_line *line);
    int (*ran)(void *context, const struct sora_store_ran *ran);
    void *context;
};
int sora_store_load(struct sora_store *store, const struct sora_store_visitor *visitor,
                    struct sora_fault *fault);

#endif
