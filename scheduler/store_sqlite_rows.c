/* Rows and columns: one table of fields per kind of row, and the statements made from it. */
#include "scheduler/store_sqlite.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

#define SQL_SIZE_MAX 8192

#define FIELD(name, kind_, row, member)                                                            \
    {                                                                                              \
        .column = (name), .kind = (kind_), .offset = offsetof(struct row, member),                 \
        .size = sizeof(((struct row *)0)->member)                                                  \
    }
#define BLOB_FIELDS(row)                                                                           \
    FIELD("digest", STORE_BYTES, row, blob.digest), FIELD("size", STORE_INT64, row, blob.size)

/* The keys are the first fields. */
static const struct store_field job_fields[] = {
    FIELD("id", STORE_BYTES, sora_store_job, id),
    FIELD("owner", STORE_BYTES, sora_store_job, owner),
    FIELD("model", STORE_BYTES, sora_store_job, model),
    FIELD("envelope", STORE_BLOB, sora_store_job, envelope),
    FIELD("state", STORE_INT32, sora_store_job, state),
    FIELD("wall_created_ms", STORE_INT64, sora_store_job, wall_created_ms),
    FIELD("wall_started_ms", STORE_INT64, sora_store_job, wall_started_ms),
    FIELD("wall_ended_ms", STORE_INT64, sora_store_job, wall_ended_ms),
    FIELD("moves", STORE_INT32, sora_store_job, moves),
    FIELD("reason", STORE_TEXT, sora_store_job, reason),
    FIELD("result_folder", STORE_TEXT, sora_store_job, result_folder),
    FIELD("device_classes", STORE_TEXT, sora_store_job, device_classes),
};

#define RECORD(name, kind, member) FIELD(name, kind, store_row_take, take.record.member)
static const struct store_field take_fields[] = {
    RECORD("id", STORE_BYTES, job.id),
    FIELD("job", STORE_BYTES, store_row_take, job),
    RECORD("owner", STORE_INT64, job.owner),
    RECORD("priority", STORE_INT32, job.priority),
    RECORD("latent_count", STORE_INT32, job.plan.timeline.latent_count),
    RECORD("window_latents", STORE_INT32, job.plan.timeline.window_latents),
    RECORD("overlap_latents", STORE_INT32, job.plan.timeline.overlap_latents),
    RECORD("static_phase", STORE_BOOL, job.plan.timeline.static_phase),
    RECORD("steps", STORE_INT32, job.plan.steps),
    RECORD("first_step", STORE_INT32, job.plan.first_step),
    RECORD("context_latents", STORE_INT32, job.plan.context_latents),
    RECORD("memory_fixed_bytes", STORE_INT64, job.plan.memory_fixed_bytes),
    RECORD("memory_latent_bytes", STORE_INT64, job.plan.memory_latent_bytes),
    RECORD("halo_latent_bytes", STORE_INT64, job.plan.halo_latent_bytes),
    RECORD("window_us_guess", STORE_INT64, job.plan.window_us_guess),
    RECORD("plan_device_class", STORE_INT64, job.plan.device_class),
    RECORD("model", STORE_INT64, job.model),
    RECORD("checkpoint_steps", STORE_INT32, job.checkpoint_steps),
    RECORD("needs_text", STORE_BOOL, job.needs_text),
    RECORD("state", STORE_INT32, state),
    RECORD("sequence", STORE_INT64, sequence),
    RECORD("epoch_next", STORE_INT64, epoch_next),
    RECORD("device_class", STORE_INT64, device_class),
    RECORD("cut", STORE_INT64, cut),
    RECORD("floor_step", STORE_INT32, floor_step),
    RECORD("shard_count", STORE_INT32, shard_count),
    RECORD("text_done", STORE_BOOL, text_done),
    RECORD("pause_wanted", STORE_BOOL, pause_wanted),
    RECORD("reason", STORE_CHARS, reason),
    FIELD("prepared", STORE_BLOB, store_row_take, take.prepared),
};
#undef RECORD

#define RECORD(name, kind, member) FIELD(name, kind, store_row_shard, record.member)
static const struct store_field shard_fields[] = {
    FIELD("take", STORE_BYTES, store_row_shard, take),
    FIELD("shard", STORE_INT32, store_row_shard, shard),
    RECORD("latent_first", STORE_INT32, latents.first),
    RECORD("latent_end", STORE_INT32, latents.end),
    RECORD("state", STORE_INT32, state),
    RECORD("node", STORE_INT64, node),
    RECORD("boot", STORE_INT64, boot),
    RECORD("epoch", STORE_INT64, epoch),
    RECORD("version", STORE_INT64, version),
    RECORD("device", STORE_INT32, device),
    RECORD("resume_step", STORE_INT32, resume_step),
    RECORD("durable_step", STORE_INT32, durable_step),
    RECORD("stored_step", STORE_INT32, stored_step),
    RECORD("failures", STORE_INT32, failures),
    RECORD("losses", STORE_INT32, losses),
    RECORD("segment_done", STORE_BOOL, segment_done),
};
#undef RECORD

static const struct store_field part_fields[] = {
    FIELD("take", STORE_BYTES, sora_store_part, take),
    FIELD("step", STORE_INT32, sora_store_part, step),
    FIELD("latent_first", STORE_INT32, sora_store_part, latents.first),
    FIELD("cut", STORE_INT64, sora_store_part, cut),
    FIELD("latent_end", STORE_INT32, sora_store_part, latents.end),
    FIELD("epoch", STORE_INT64, sora_store_part, epoch),
    FIELD("shard", STORE_INT32, sora_store_part, shard),
    BLOB_FIELDS(sora_store_part),
};

static const struct store_field piece_fields[] = {
    FIELD("take", STORE_BYTES, sora_store_piece, take),
    FIELD("shard", STORE_INT32, sora_store_piece, shard),
    FIELD("epoch", STORE_INT64, sora_store_piece, epoch),
    FIELD("piece", STORE_INT32, sora_store_piece, index),
    FIELD("frame_first", STORE_INT32, sora_store_piece, frame_first),
    FIELD("frame_count", STORE_INT32, sora_store_piece, frame_count),
    FIELD("last", STORE_BOOL, sora_store_piece, last),
    BLOB_FIELDS(sora_store_piece),
};

static const struct store_field line_fields[] = {
    FIELD("job", STORE_BYTES, sora_store_line, job),
    FIELD("number", STORE_INT32, sora_store_line, number),
    FIELD("text", STORE_TEXT, sora_store_line, text),
};

static const struct store_field ran_fields[] = {
    FIELD("job", STORE_BYTES, sora_store_ran, job),
    FIELD("take", STORE_INT32, sora_store_ran, take),
    FIELD("shard", STORE_INT32, sora_store_ran, shard),
    FIELD("state", STORE_INT32, sora_store_ran, state),
    FIELD("step", STORE_INT32, sora_store_ran, step),
    FIELD("frames_done", STORE_INT32, sora_store_ran, frames_done),
    FIELD("latent_first", STORE_INT32, sora_store_ran, latents.first),
    FIELD("latent_end", STORE_INT32, sora_store_ran, latents.end),
    FIELD("epoch", STORE_INT64, sora_store_ran, epoch),
    FIELD("node", STORE_CHARS, sora_store_ran, node),
    FIELD("device", STORE_CHARS, sora_store_ran, device),
};

/* STORE_BLOB reads pointer and size as neighbours. */
struct blob_member {
    const void *data;
    size_t size;
};
_Static_assert(offsetof(struct sora_store_job, envelope_size) ==
                   offsetof(struct sora_store_job, envelope) + offsetof(struct blob_member, size),
               "envelope and its size are neighbours");
_Static_assert(offsetof(struct sora_store_take, prepared_size) ==
                   offsetof(struct sora_store_take, prepared) + offsetof(struct blob_member, size),
               "prepared and its size are neighbours");
_Static_assert(sizeof(enum sora_job_state) == sizeof(int32_t), "enums are read as int32");

#define TABLE(name_, fields_, keys_, order_)                                                       \
    {                                                                                              \
        .name = (name_), .fields = (fields_), .count = sizeof(fields_) / sizeof((fields_)[0]),     \
        .keys = (keys_), .order = (order_)                                                         \
    }
static const struct table {
    const char *name;
    const struct store_field *fields;
    int count, keys;
    const char *order; /* behind FROM */
} tables[STORE_TABLE_COUNT] = {
    [STORE_JOB] = TABLE("job", job_fields, 1, "ORDER BY wall_created_ms, id"),
    [STORE_TAKE] = TABLE("take", take_fields, 1, "WHERE job = ?1 ORDER BY id"),
    [STORE_SHARD] = TABLE("shard", shard_fields, 2, "WHERE take = ?1 ORDER BY shard"),
    [STORE_PART] = TABLE("part", part_fields, 4,
                         "WHERE take IN (SELECT id FROM take WHERE job = ?1)"
                         " ORDER BY take, step, latent_first, cut"),
    [STORE_PIECE] = TABLE("piece", piece_fields, 4,
                          "WHERE take IN (SELECT id FROM take WHERE job = ?1)"
                          " ORDER BY take, frame_first, shard, epoch, piece"),
    [STORE_LINE] = TABLE("line", line_fields, 2, "WHERE job = ?1 ORDER BY number"),
    [STORE_RAN] = TABLE("ran", ran_fields, 3, "WHERE job = ?1 ORDER BY take, shard"),
};

static const char *const drop_sql[STORE_DROP_COUNT] = {
    [STORE_DROP_JOB] = "DELETE FROM job WHERE id = ?1",
    [STORE_DROP_SHARDS] = "DELETE FROM shard WHERE take = ?1",
    [STORE_DROP_PARTS] = "DELETE FROM part WHERE take = ?1 AND step < ?2",
    [STORE_DROP_PIECES] = "DELETE FROM piece WHERE take = ?1",
    [STORE_DROP_LINES] = "DELETE FROM line WHERE job = ?1 AND number < ?2",
    [STORE_DROP_RAN] = "DELETE FROM ran WHERE job = ?1",
};

/* ---- statements ---- */

static void put_columns(const struct table *table, int first, int end, struct sora_bytes *sql)
{
    for (int i = first; i < end; i++)
        sora_bytes_format(sql, "%s%s", i > first ? "," : "", table->fields[i].column);
}

/* "INSERT INTO t(...) VALUES(?,...) ON CONFLICT(keys) DO UPDATE SET c=excluded.c,...": an update in
 * place, because replacing a row would take all that refers to it along. */
static void put_sql(const struct table *table, struct sora_bytes *sql)
{
    sora_bytes_format(sql, "INSERT INTO %s(", table->name);
    put_columns(table, 0, table->count, sql);
    sora_bytes_format(sql, ") VALUES(");
    for (int i = 0; i < table->count; i++)
        sora_bytes_format(sql, "%s?", i > 0 ? "," : "");
    sora_bytes_format(sql, ") ON CONFLICT(");
    put_columns(table, 0, table->keys, sql);
    sora_bytes_format(sql, ") DO UPDATE SET ");
    for (int i = table->keys; i < table->count; i++) {
        const char *column = table->fields[i].column;
        const char *comma = i > table->keys ? "," : "";
        if (table->fields[i].kind == STORE_BLOB)
            sora_bytes_format(sql, "%s%s=coalesce(excluded.%s,%s.%s)", comma, column, column,
                              table->name, column);
        else
            sora_bytes_format(sql, "%s%s=excluded.%s", comma, column, column);
    }
}

static void get_sql(const struct table *table, struct sora_bytes *sql)
{
    sora_bytes_format(sql, "SELECT ");
    put_columns(table, 0, table->count, sql);
    sora_bytes_format(sql, " FROM %s %s", table->name, table->order);
}

static int prepare_table(struct store_db *db, enum store_table table, struct sora_bytes *sql,
                         struct sora_fault *fault)
{
    sora_bytes_clear(sql);
    int rc = sora_bytes_reserve(sql, SQL_SIZE_MAX);
    if (rc)
        return sora_fault_set(fault, rc, "not enough memory for the database");
    put_sql(&tables[table], sql);
    rc = store_db_prepare(db, (const char *)sql->data, &db->puts[table], fault);
    sora_bytes_clear(sql);
    get_sql(&tables[table], sql);
    if (rc == SORA_OK)
        rc = store_db_prepare(db, (const char *)sql->data, &db->gets[table], fault);
    return rc;
}

int store_rows_prepare(struct store_db *db, struct sora_fault *fault)
{
    struct sora_bytes sql;
    sora_bytes_init(&sql, SQL_SIZE_MAX);
    int rc = SORA_OK;
    for (int i = 0; i < STORE_TABLE_COUNT && rc == SORA_OK; i++)
        rc = prepare_table(db, (enum store_table)i, &sql, fault);
    for (int i = 0; i < STORE_DROP_COUNT && rc == SORA_OK; i++)
        rc = store_db_prepare(db, drop_sql[i], &db->drops[i], fault);
    sora_bytes_fini(&sql);
    return rc;
}

/* ---- writing ---- */

static int bind_field(sqlite3_stmt *statement, int column, const struct store_field *field,
                      const void *row)
{
    const unsigned char *at = (const unsigned char *)row + field->offset;
    int32_t small;
    int64_t large;
    struct blob_member blob;
    const char *text;
    switch (field->kind) {
    case STORE_INT32:
        memcpy(&small, at, sizeof(small));
        return sqlite3_bind_int(statement, column, small);
    case STORE_INT64:
        memcpy(&large, at, sizeof(large));
        return sqlite3_bind_int64(statement, column, large);
    case STORE_BOOL:
        return sqlite3_bind_int(statement, column, *(const bool *)at);
    case STORE_BYTES:
        return sqlite3_bind_blob64(statement, column, at, field->size, SQLITE_STATIC);
    case STORE_CHARS:
        return sqlite3_bind_text(statement, column, (const char *)at,
                                 (int)strnlen((const char *)at, field->size), SQLITE_STATIC);
    case STORE_TEXT:
        memcpy(&text, at, sizeof(text));
        return sqlite3_bind_text(statement, column, text, -1, SQLITE_STATIC);
    case STORE_BLOB:
        memcpy(&blob, at, sizeof(blob));
        return sqlite3_bind_blob64(statement, column, blob.data, blob.size, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

/* Runs to its end and is ready for the next use. */
static int finish(struct store_db *db, sqlite3_stmt *statement, int bound, struct sora_fault *fault)
{
    int rc = SORA_OK;
    if (bound != SQLITE_OK || sqlite3_step(statement) != SQLITE_DONE)
        rc = store_db_fault(db, "write to", fault);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

int store_rows_put(struct store_db *db, enum store_table table, const void *row,
                   struct sora_fault *fault)
{
    sqlite3_stmt *statement = db->puts[table];
    int bound = SQLITE_OK;
    for (int i = 0; i < tables[table].count && bound == SQLITE_OK; i++)
        bound = bind_field(statement, i + 1, &tables[table].fields[i], row);
    return finish(db, statement, bound, fault);
}

int store_rows_drop(struct store_db *db, enum store_drop drop, const struct sora_job_id *id,
                    int32_t step, struct sora_fault *fault)
{
    sqlite3_stmt *statement = db->drops[drop];
    int bound = sqlite3_bind_blob(statement, 1, id->bytes, sizeof(id->bytes), SQLITE_STATIC);
    if (bound == SQLITE_OK && (drop == STORE_DROP_PARTS || drop == STORE_DROP_LINES))
        bound = sqlite3_bind_int(statement, 2, step);
    return finish(db, statement, bound, fault);
}

/* ---- reading ---- */

/* Fixed sizes must be what they were; texts and blobs stay valid until the next row. */
static bool read_field(sqlite3_stmt *statement, int column, const struct store_field *field,
                       void *row)
{
    unsigned char *at = (unsigned char *)row + field->offset;
    int64_t number = sqlite3_column_int64(statement, column);
    int32_t small = (int32_t)number;
    const void *data = NULL;
    switch (field->kind) {
    case STORE_INT32:
        memcpy(at, &small, sizeof(small));
        return number == small;
    case STORE_INT64:
        memcpy(at, &number, sizeof(number));
        return true;
    case STORE_BOOL:
        *(bool *)at = number != 0;
        return number == 0 || number == 1;
    case STORE_CHARS:
        data = sqlite3_column_text(statement, column);
        snprintf((char *)at, field->size, "%s", data ? (const char *)data : "");
        return data != NULL;
    case STORE_TEXT:
        data = sqlite3_column_text(statement, column);
        memcpy(at, &data, sizeof(data));
        return data != NULL;
    case STORE_BYTES:
    case STORE_BLOB:
        data = sqlite3_column_blob(statement, column);
        break;
    }
    size_t size = (size_t)sqlite3_column_bytes(statement, column);
    if (field->kind == STORE_BLOB) {
        struct blob_member blob = {data, size};
        memcpy(at, &blob, sizeof(blob));
        return true;
    }
    if (size != field->size)
        return false;
    memcpy(at, data, size);
    return true;
}

static int read_row(struct store_db *db, enum store_table table, void *row,
                    struct sora_fault *fault)
{
    for (int i = 0; i < tables[table].count; i++) {
        const struct store_field *field = &tables[table].fields[i];
        if (!read_field(db->gets[table], i, field, row))
            return sora_fault_set(fault, SORA_E_FORMAT,
                                  "the database %s holds an odd value in column %s of %s; move "
                                  "the file away and put a copy back, or start without it",
                                  db->path, field->column, tables[table].name);
    }
    return SORA_OK;
}

/* The next row of a table; false at its end and on error. */
static bool next_row(struct store_db *db, enum store_table table, void *row, int *rc,
                     struct sora_fault *fault)
{
    if (*rc)
        return false;
    int stepped = sqlite3_step(db->gets[table]);
    if (stepped == SQLITE_DONE)
        return false;
    *rc =
        stepped == SQLITE_ROW ? read_row(db, table, row, fault) : store_db_fault(db, "read", fault);
    return *rc == SORA_OK;
}

/* `id` must stay until the rows were read. */
static void begin_rows(struct store_db *db, enum store_table table, const struct sora_job_id *id)
{
    sqlite3_reset(db->gets[table]);
    if (id)
        sqlite3_bind_blob(db->gets[table], 1, id->bytes, sizeof(id->bytes), SQLITE_STATIC);
}

static int load_shards(struct store_db *db, const struct sora_job_id *take,
                       struct sora_farm_shard_record *shards, int32_t count,
                       struct sora_fault *fault)
{
    struct store_row_shard row;
    int rc = SORA_OK;
    int32_t found = 0;
    begin_rows(db, STORE_SHARD, take);
    while (next_row(db, STORE_SHARD, &row, &rc, fault)) {
        if (row.shard == found && found < count)
            shards[found++] = row.record;
        else
            rc = SORA_E_FORMAT;
    }
    if (rc == SORA_E_FORMAT || (rc == SORA_OK && found != count))
        rc = sora_fault_set(fault, SORA_E_FORMAT,
                            "the database %s has %d of %d shards of a take; move the file away and "
                            "put a copy back, or start without it",
                            db->path, (int)found, (int)count);
    return rc;
}

static int load_takes(struct store_db *db, const struct sora_job_id *job,
                      const struct sora_store_visitor *visitor, struct sora_fault *fault)
{
    static const struct store_row_take nothing;
    struct store_row_take row = nothing;
    struct sora_farm_shard_record shards[SORA_PLAN_SHARDS_MAX];
    int rc = SORA_OK;
    begin_rows(db, STORE_TAKE, job);
    while (next_row(db, STORE_TAKE, &row, &rc, fault)) {
        int32_t count = row.take.record.shard_count;
        if (count < 0 || count > SORA_PLAN_SHARDS_MAX)
            rc = sora_fault_set(fault, SORA_E_FORMAT,
                                "the database %s has a take of %d shards; the limit is %d",
                                db->path, (int)count, SORA_PLAN_SHARDS_MAX);
        else
            rc = load_shards(db, &row.take.record.job.id, shards, count, fault);
        row.take.shards = shards;
        if (rc == SORA_OK)
            rc = visitor->take(visitor->context, &row.take);
    }
    return rc;
}

static int load_job(struct store_db *db, const struct sora_store_job *job,
                    const struct sora_store_visitor *visitor, struct sora_fault *fault)
{
    int rc = visitor->job(visitor->context, job);
    if (rc == SORA_OK)
        rc = load_takes(db, &job->id, visitor, fault);
    struct sora_store_part part = {0};
    begin_rows(db, STORE_PART, &job->id);
    while (next_row(db, STORE_PART, &part, &rc, fault))
        rc = visitor->part(visitor->context, &part);
    struct sora_store_piece piece = {0};
    begin_rows(db, STORE_PIECE, &job->id);
    while (next_row(db, STORE_PIECE, &piece, &rc, fault))
        rc = visitor->piece(visitor->context, &piece);
    struct sora_store_line line = {0};
    begin_rows(db, STORE_LINE, &job->id);
    while (next_row(db, STORE_LINE, &line, &rc, fault))
        rc = visitor->line(visitor->context, &line);
    struct sora_store_ran ran = {0};
    begin_rows(db, STORE_RAN, &job->id);
    while (next_row(db, STORE_RAN, &ran, &rc, fault))
        rc = visitor->ran(visitor->context, &ran);
    return rc;
}

int store_rows_load(struct store_db *db, const struct sora_store_visitor *visitor,
                    struct sora_fault *fault)
{
    struct sora_store_job job = {0};
    int rc = SORA_OK;
    begin_rows(db, STORE_JOB, NULL);
    while (next_row(db, STORE_JOB, &job, &rc, fault))
        rc = load_job(db, &job, visitor, fault);
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        sqlite3_reset(db->gets[i]);
        sqlite3_clear_bindings(db->gets[i]);
    }
    return rc;
}
