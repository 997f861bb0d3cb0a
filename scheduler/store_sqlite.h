/*
 * The parts of scheduler/store_sqlite.c: connection, tables of columns, batches.
 *
 * A row is a C struct, and a table of fields says which of its members is which column; writing and
 * reading go through the same table, so that they cannot differ. The schema itself is the text of
 * the migrations, which never change once they were released.
 */
#ifndef SORA_SCHEDULER_STORE_SQLITE_H
#define SORA_SCHEDULER_STORE_SQLITE_H

#include "scheduler/store.h"

#include <sqlite3.h>

/* ---- rows ---- */

enum store_kind {
    STORE_INT32, /* int32_t and enums */
    STORE_INT64, /* int64_t and uint64_t (the same bits) */
    STORE_BOOL,
    STORE_BYTES, /* unsigned char[size] */
    STORE_CHARS, /* char[size] with its NUL */
    STORE_TEXT,  /* const char *, never NULL */
    STORE_BLOB,  /* struct { const void *; size_t }, NULL allowed: keeps the stored one */
};
struct store_field {
    const char *column;
    enum store_kind kind;
    size_t offset, size;
};

enum store_table {
    STORE_JOB,
    STORE_TAKE,
    STORE_SHARD,
    STORE_PART,
    STORE_PIECE,
    STORE_LINE,
    STORE_RAN,
    STORE_TABLE_COUNT
};

/* Rows with what a column needs and the interface's struct has not. */
struct store_row_take {
    struct sora_job_id job;
    struct sora_store_take take;
};
struct store_row_shard {
    struct sora_job_id take;
    int32_t shard;
    struct sora_farm_shard_record record;
};

enum store_drop {
    STORE_DROP_JOB,
    STORE_DROP_SHARDS,
    STORE_DROP_PARTS, /* and a step */
    STORE_DROP_PIECES,
    STORE_DROP_LINES, /* and a number */
    STORE_DROP_RAN,
    STORE_DROP_COUNT,
};

/* ---- the connection; used by one thread at a time ---- */

struct store_db {
    sqlite3 *sqlite;
    const char *path; /* borrowed, for sentences */
    sqlite3_stmt *puts[STORE_TABLE_COUNT], *gets[STORE_TABLE_COUNT], *drops[STORE_DROP_COUNT];
};

int store_db_open(struct store_db *db, const char *path, struct sora_fault *fault);
void store_db_close(struct store_db *db);

/* Runs statements without parameters. */
int store_db_run(struct store_db *db, const char *sql, struct sora_fault *fault);
int store_db_prepare(struct store_db *db, const char *sql, sqlite3_stmt **out_statement,
                     struct sora_fault *fault);
/* SQLite's last error in our words; `doing` as in "cannot DOING". */
int store_db_fault(struct store_db *db, const char *doing, struct sora_fault *fault);

/* store_sqlite_rows.c: makes the statements of all tables. */
int store_rows_prepare(struct store_db *db, struct sora_fault *fault);
int store_rows_put(struct store_db *db, enum store_table table, const void *row,
                   struct sora_fault *fault);
int store_rows_drop(struct store_db *db, enum store_drop drop, const struct sora_job_id *id,
                    int32_t step, struct sora_fault *fault);
int store_rows_load(struct store_db *db, const struct sora_store_visitor *visitor,
                    struct sora_fault *fault);

#endif
