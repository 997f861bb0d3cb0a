/*
 * Batches and their thread. A batch is a list of operations whose rows were copied into its memory.
 * Every committed batch posts one task; the first task to run takes all batches that wait into one
 * transaction, so that one sync serves many. When that fails each is tried alone, so that one bad
 * batch does not take others along.
 */
#include "scheduler/store_sqlite.h"

#include "base/files.h"
#include "base/log.h"
#include "base/tasks.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 1024 /* committed and not done */

/* Memory of a batch, freed with it. */
struct chunk {
    struct chunk *next;
    alignas(max_align_t) unsigned char data[];
};

struct operation {
    struct operation *next;
    bool is_drop;
    enum store_table table;
    const void *row;
    enum store_drop drop;
    struct sora_job_id id;
    int32_t step;
};

struct sora_store_batch {
    struct sora_store *store;
    struct chunk *chunks;
    struct operation *first, **end;
    /* After commit. */
    struct sora_store_batch *next; /* waiting; under queue_lock */
    bool ran;                      /* the thread's */
    struct sora_fault fault;
    void (*done)(void *context, const struct sora_fault *fault);
    void *context;
};

struct sora_store {
    struct store_db db; /* under db_lock */
    char path[SORA_FILE_PATH_SIZE];
    struct sora_tasks *tasks;
    pthread_mutex_t db_lock, queue_lock;
    struct sora_store_batch *waiting, **waiting_end; /* under queue_lock */
};

/* ---- the thread ---- */

static int run_operations(struct store_db *db, const struct sora_store_batch *batch,
                          struct sora_fault *fault)
{
    int rc = SORA_OK;
    for (const struct operation *op = batch->first; op && rc == SORA_OK; op = op->next)
        rc = op->is_drop ? store_rows_drop(db, op->drop, &op->id, op->step, fault)
                         : store_rows_put(db, op->table, op->row, fault);
    return rc;
}

/* One transaction of all batches from `first` up to `end`. */
static int run_transaction(struct store_db *db, const struct sora_store_batch *first,
                           const struct sora_store_batch *end, struct sora_fault *fault)
{
    int rc = store_db_run(db, "BEGIN IMMEDIATE", fault);
    for (const struct sora_store_batch *batch = first; batch != end && rc == SORA_OK;
         batch = batch->next)
        rc = run_operations(db, batch, fault);
    if (rc == SORA_OK)
        rc = store_db_run(db, "COMMIT", fault);
    /* Some failures have ended it already. */
    if (rc && !sqlite3_get_autocommit(db->sqlite))
        store_db_run(db, "ROLLBACK", NULL);
    return rc;
}

static void run_waiting(void *context)
{
    struct sora_store_batch *mine = context;
    struct sora_store *store = mine->store;
    if (mine->ran)
        return; /* in an earlier one's transaction */
    pthread_mutex_lock(&store->queue_lock);
    struct sora_store_batch *first = store->waiting;
    store->waiting = NULL;
    store->waiting_end = &store->waiting;
    pthread_mutex_unlock(&store->queue_lock);

    pthread_mutex_lock(&store->db_lock);
    struct sora_fault fault = {0};
    int rc = run_transaction(&store->db, first, NULL, &fault);
    for (struct sora_store_batch *batch = first; batch; batch = batch->next) {
        if (rc && (batch != first || batch->next))
            run_transaction(&store->db, batch, batch->next, &batch->fault);
        else
            batch->fault = fault;
        batch->ran = true;
    }
    pthread_mutex_unlock(&store->db_lock);
}

/* ---- the owner ---- */

static void finish_batch(void *context)
{
    struct sora_store_batch *batch = context;
    if (batch->done)
        batch->done(batch->context, &batch->fault);
    else if (batch->fault.code != 0)
        sora_log(SORA_LOG_ERROR, "database write failed: %s", batch->fault.text);
    sora_store_batch_destroy(&batch);
}

int sora_store_open(const char *path, struct sora_store **out_store, struct sora_fault *fault)
{
    struct sora_store *store = calloc(1, sizeof(*store));
    if (!store)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the database");
    if (strlen(path) >= sizeof(store->path)) {
        free(store);
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the database's path has %zu bytes; the limit is %d", strlen(path),
                              SORA_FILE_PATH_SIZE - 1);
    }
    memcpy(store->path, path, strlen(path) + 1);
    store->waiting_end = &store->waiting;
    int rc = store_db_open(&store->db, store->path, fault);
    if (rc == SORA_OK)
        rc = sora_tasks_create("store", BATCHES_MAX, &store->tasks, fault);
    if (rc) {
        store_db_close(&store->db);
        free(store);
        return rc;
    }
    pthread_mutex_init(&store->db_lock, NULL);
    pthread_mutex_init(&store->queue_lock, NULL);
    *out_store = store;
    return SORA_OK;
}

void sora_store_close(struct sora_store **store)
{
    struct sora_store *gone = *store;
    *store = NULL;
    if (!gone)
        return;
    sora_tasks_destroy(&gone->tasks);
    store_db_close(&gone->db);
    pthread_mutex_destroy(&gone->db_lock);
    pthread_mutex_destroy(&gone->queue_lock);
    free(gone);
}

int sora_store_fd(const struct sora_store *store)
{
    return sora_tasks_fd(store->tasks);
}

int sora_store_step(struct sora_store *store)
{
    return sora_tasks_step(store->tasks);
}

int sora_store_load(struct sora_store *store, const struct sora_store_visitor *visitor,
                    struct sora_fault *fault)
{
    pthread_mutex_lock(&store->db_lock);
    int rc = store_rows_load(&store->db, visitor, fault);
    pthread_mutex_unlock(&store->db_lock);
    return rc;
}

/* ---- batches ---- */

int sora_store_batch_create(struct sora_store *store, struct sora_store_batch **out_batch)
{
    struct sora_store_batch *batch = calloc(1, sizeof(*batch));
    if (!batch)
        return SORA_E_MEMORY;
    batch->store = store;
    batch->end = &batch->first;
    *out_batch = batch;
    return SORA_OK;
}

void sora_store_batch_destroy(struct sora_store_batch **batch)
{
    struct sora_store_batch *gone = *batch;
    *batch = NULL;
    if (!gone)
        return;
    while (gone->chunks) {
        struct chunk *next = gone->chunks->next;
        free(gone->chunks);
        gone->chunks = next;
    }
    free(gone);
}

int sora_store_commit(struct sora_store *store, struct sora_store_batch **batch,
                      void (*done)(void *context, const struct sora_fault *fault), void *context)
{
    struct sora_store_batch *mine = *batch;
    SORA_ASSERT(mine->store == store);
    mine->done = done;
    mine->context = context;
    /* Before the task, which looks for it; the lock keeps an earlier task from taking it while it
     * may yet be refused. */
    pthread_mutex_lock(&store->queue_lock);
    struct sora_task task = {run_waiting, finish_batch, mine};
    int rc = sora_tasks_post(store->tasks, &task);
    if (rc == SORA_OK) {
        *store->waiting_end = mine;
        store->waiting_end = &mine->next;
        *batch = NULL;
    }
    pthread_mutex_unlock(&store->queue_lock);
    return rc;
}

/* ---- operations ---- */

static void *allocate(struct sora_store_batch *batch, size_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);
    if (!chunk)
        return NULL;
    chunk->next = batch->chunks;
    batch->chunks = chunk;
    return chunk->data;
}

static void *copy(struct sora_store_batch *batch, const void *data, size_t size)
{
    void *memory = allocate(batch, size);
    if (memory && size > 0)
        memcpy(memory, data, size);
    return memory;
}

static int add(struct sora_store_batch *batch, const struct operation *operation)
{
    struct operation *op = copy(batch, operation, sizeof(*operation));
    if (!op)
        return SORA_E_MEMORY;
    op->next = NULL;
    *batch->end = op;
    batch->end = &op->next;
    return SORA_OK;
}

static int add_put(struct sora_store_batch *batch, enum store_table table, const void *row,
                   size_t size)
{
    struct operation op = {.table = table, .row = copy(batch, row, size)};
    return op.row ? add(batch, &op) : SORA_E_MEMORY;
}

static int add_drop(struct sora_store_batch *batch, enum store_drop drop,
                    const struct sora_job_id *id, int32_t step)
{
    struct operation op = {.is_drop = true, .drop = drop, .id = *id, .step = step};
    return add(batch, &op);
}

static char *copy_text(struct sora_store_batch *batch, const char *text)
{
    return text ? copy(batch, text, strlen(text) + 1) : copy(batch, "", 1);
}

int sora_store_put_job(struct sora_store_batch *batch, const struct sora_store_job *job)
{
    struct sora_store_job row = *job;
    row.reason = copy_text(batch, job->reason);
    row.result_folder = copy_text(batch, job->result_folder);
    row.device_classes = copy_text(batch, job->device_classes);
    if (job->envelope)
        row.envelope = copy(batch, job->envelope, job->envelope_size);
    if (!row.reason || !row.result_folder || !row.device_classes ||
        (job->envelope && !row.envelope))
        return SORA_E_MEMORY;
    return add_put(batch, STORE_JOB, &row, sizeof(row));
}

/* Takes are named by their job's id with an index in the last two bytes. */
static struct sora_job_id job_of(const struct sora_job_id *take)
{
    struct sora_job_id job = *take;
    job.bytes[14] = job.bytes[15] = 0;
    return job;
}

int sora_store_put_take(struct sora_store_batch *batch, const struct sora_store_take *take)
{
    struct store_row_take row = {.job = job_of(&take->record.job.id), .take = *take};
    row.take.shards = NULL;
    if (take->prepared)
        row.take.prepared = copy(batch, take->prepared, take->prepared_size);
    if (take->prepared && !row.take.prepared)
        return SORA_E_MEMORY;
    int rc = add_put(batch, STORE_TAKE, &row, sizeof(row));
    if (rc == SORA_OK)
        rc = add_drop(batch, STORE_DROP_SHARDS, &take->record.job.id, 0);
    for (int32_t i = 0; i < take->record.shard_count && rc == SORA_OK; i++) {
        struct store_row_shard shard = {take->record.job.id, i, take->shards[i]};
        rc = add_put(batch, STORE_SHARD, &shard, sizeof(shard));
    }
    return rc;
}

int sora_store_put_part(struct sora_store_batch *batch, const struct sora_store_part *part)
{
    return add_put(batch, STORE_PART, part, sizeof(*part));
}

int sora_store_put_piece(struct sora_store_batch *batch, const struct sora_store_piece *piece)
{
    return add_put(batch, STORE_PIECE, piece, sizeof(*piece));
}

int sora_store_put_line(struct sora_store_batch *batch, const struct sora_store_line *line)
{
    struct sora_store_line row = *line;
    row.text = copy(batch, line->text, strlen(line->text) + 1);
    return row.text ? add_put(batch, STORE_LINE, &row, sizeof(row)) : SORA_E_MEMORY;
}

int sora_store_put_ran(struct sora_store_batch *batch, const struct sora_store_ran *ran)
{
    return add_put(batch, STORE_RAN, ran, sizeof(*ran));
}

int sora_store_drop_parts(struct sora_store_batch *batch, const struct sora_job_id *take,
                          int32_t step)
{
    return add_drop(batch, STORE_DROP_PARTS, take, step);
}

int sora_store_drop_pieces(struct sora_store_batch *batch, const struct sora_job_id *take)
{
    return add_drop(batch, STORE_DROP_PIECES, take, 0);
}

int sora_store_drop_lines(struct sora_store_batch *batch, const struct sora_job_id *job,
                          int32_t number)
{
    return add_drop(batch, STORE_DROP_LINES, job, number);
}

int sora_store_drop_ran(struct sora_store_batch *batch, const struct sora_job_id *job)
{
    return add_drop(batch, STORE_DROP_RAN, job, 0);
}

int sora_store_drop_job(struct sora_store_batch *batch, const struct sora_job_id *job)
{
    return add_drop(batch, STORE_DROP_JOB, job, 0);
}
