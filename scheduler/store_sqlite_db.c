/*
 * The connection: opening with all that makes a commit durable, migrations, errors in our words.
 *
 * Exclusive locking mode keeps a second process out from the first read until close, and lets the
 * write-ahead log do without shared memory.
 */
#include "scheduler/store_sqlite.h"

#include "base/files.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID "0x736f7261" /* "sora", in the file's header */

/* Version n is made of migrations[0] to [n-1]. A released one is never changed. */
static const char *const migrations[SORA_STORE_VERSION] = {
    "PRAGMA application_id = " APPLICATION_ID ";"
    "CREATE TABLE job ("
    " id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),"
    " owner BLOB NOT NULL CHECK (length(owner) = 32),"
    " model BLOB NOT NULL CHECK (length(model) = 32),"
    " envelope BLOB, state INTEGER NOT NULL,"
    " wall_created_ms INTEGER NOT NULL, wall_started_ms INTEGER NOT NULL,"
    " wall_ended_ms INTEGER NOT NULL, moves INTEGER NOT NULL,"
    " reason TEXT NOT NULL, result_folder TEXT NOT NULL) STRICT;"
    "CREATE TABLE take ("
    " id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),"
    " job BLOB NOT NULL REFERENCES job (id) ON DELETE CASCADE,"
    " owner INTEGER NOT NULL, priority INTEGER NOT NULL,"
    " latent_count INTEGER NOT NULL, window_latents INTEGER NOT NULL,"
    " overlap_latents INTEGER NOT NULL, static_phase INTEGER NOT NULL,"
    " steps INTEGER NOT NULL, first_step INTEGER NOT NULL, context_latents INTEGER NOT NULL,"
    " memory_fixed_bytes INTEGER NOT NULL, memory_latent_bytes INTEGER NOT NULL,"
    " halo_latent_bytes INTEGER NOT NULL, window_us_guess INTEGER NOT NULL,"
    " plan_device_class INTEGER NOT NULL, model INTEGER NOT NULL,"
    " checkpoint_steps INTEGER NOT NULL, needs_text INTEGER NOT NULL,"
    " state INTEGER NOT NULL, sequence INTEGER NOT NULL, epoch_next INTEGER NOT NULL,"
    " device_class INTEGER NOT NULL, cut INTEGER NOT NULL, floor_step INTEGER NOT NULL,"
    " shard_count INTEGER NOT NULL, text_done INTEGER NOT NULL, pause_wanted INTEGER NOT NULL,"
    " reason TEXT NOT NULL, prepared BLOB) STRICT;"
    "CREATE INDEX take_job ON take (job);"
    "CREATE TABLE shard ("
    " take BLOB NOT NULL REFERENCES take (id) ON DELETE CASCADE, shard INTEGER NOT NULL,"
    " latent_first INTEGER NOT NULL, latent_end INTEGER NOT NULL, state INTEGER NOT NULL,"
    " node INTEGER NOT NULL, boot INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    " version INTEGER NOT NULL, device INTEGER NOT NULL, resume_step INTEGER NOT NULL,"
    " durable_step INTEGER NOT NULL, stored_step INTEGER NOT NULL, failures INTEGER NOT NULL,"
    " losses INTEGER NOT NULL, segment_done INTEGER NOT NULL,"
    " PRIMARY KEY (take, shard)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE part ("
    " take BLOB NOT NULL REFERENCES take (id) ON DELETE CASCADE, step INTEGER NOT NULL,"
    " latent_first INTEGER NOT NULL, cut INTEGER NOT NULL, latent_end INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " digest BLOB NOT NULL CHECK (length(digest) = 32), size INTEGER NOT NULL,"
    " PRIMARY KEY (take, step, latent_first, cut)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE piece ("
    " take BLOB NOT NULL REFERENCES take (id) ON DELETE CASCADE, shard INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, piece INTEGER NOT NULL, frame_first INTEGER NOT NULL,"
    " frame_count INTEGER NOT NULL, last INTEGER NOT NULL,"
    " digest BLOB NOT NULL CHECK (length(digest) = 32), size INTEGER NOT NULL,"
    " PRIMARY KEY (take, shard, epoch, piece)) STRICT, WITHOUT ROWID;",

    "CREATE TABLE line ("
    " job BLOB NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,"
    " text TEXT NOT NULL, PRIMARY KEY (job, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE ran ("
    " job BLOB NOT NULL REFERENCES job (id) ON DELETE CASCADE, take INTEGER NOT NULL,"
    " shard INTEGER NOT NULL, state INTEGER NOT NULL, step INTEGER NOT NULL,"
    " frames_done INTEGER NOT NULL, latent_first INTEGER NOT NULL,"
    " latent_end INTEGER NOT NULL, epoch INTEGER NOT NULL, node TEXT NOT NULL,"
    " device TEXT NOT NULL, PRIMARY KEY (job, take, shard)) STRICT, WITHOUT ROWID;",

    "ALTER TABLE job ADD COLUMN device_classes TEXT NOT NULL DEFAULT '';",
};

/* ---- errors ---- */

/* The system's number for the last failure in the write-ahead log, which all writes go to. */
static int log_errno(sqlite3 *sqlite)
{
    sqlite3_file *log = NULL;
    int number = 0;
    if (sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
        log && log->pMethods)
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &number);
    return number;
}

/* A disk without space shows as FULL, or as an input or output error with the system's number. */
static int code_of(sqlite3 *sqlite)
{
    int extended = sqlite3_extended_errcode(sqlite), number = sqlite3_system_errno(sqlite);
    if (extended == SQLITE_IOERR_WRITE)
        number = log_errno(sqlite);
    switch (extended & 0xff) {
    case SQLITE_FULL:
        return SORA_E_SPACE;
    case SQLITE_IOERR:
        if (number == ENOSPC || number == EDQUOT || number == EFBIG)
            return SORA_E_SPACE;
        return extended == SQLITE_IOERR_NOMEM ? SORA_E_MEMORY : SORA_E_IO;
    case SQLITE_CANTOPEN:
        return number ? sora_error_from_errno(number) : SORA_E_IO;
    case SQLITE_NOMEM:
        return SORA_E_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SORA_E_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SORA_E_FORMAT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return SORA_E_DENIED;
    case SQLITE_TOOBIG:
        return SORA_E_LIMIT;
    case SQLITE_CONSTRAINT:
        return SORA_E_INVALID;
    default:
        return SORA_E_INTERNAL;
    }
}

static const char *way_out(int code)
{
    switch (code) {
    case SORA_E_SPACE:
        return "; free some space on that disk";
    case SORA_E_BUSY:
        return "; another process has it: end that one, or use another folder";
    case SORA_E_FORMAT:
        return "; move the file away and put a copy back, or start without it";
    case SORA_E_DENIED:
        return "; change its permissions, or use another folder";
    case SORA_E_NOT_FOUND:
        return "; check the folder";
    default:
        return "";
    }
}

int store_db_fault(struct store_db *db, const char *doing, struct sora_fault *fault)
{
    int code = code_of(db->sqlite);
    return sora_fault_set(fault, code, "cannot %s the database %s: %s%s", doing, db->path,
                          sqlite3_errmsg(db->sqlite), way_out(code));
}

/* ---- statements ---- */

int store_db_run(struct store_db *db, const char *sql, struct sora_fault *fault)
{
    if (sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_db_fault(db, "change", fault);
    return SORA_OK;
}

int store_db_prepare(struct store_db *db, const char *sql, sqlite3_stmt **out_statement,
                     struct sora_fault *fault)
{
    if (sqlite3_prepare_v3(db->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, out_statement, NULL) !=
        SQLITE_OK)
        return store_db_fault(db, "use", fault);
    return SORA_OK;
}

/* The first column of the first row, as text. */
static int ask(struct store_db *db, const char *sql, char *out_text, size_t size,
               struct sora_fault *fault)
{
    sqlite3_stmt *statement = NULL;
    int rc = store_db_prepare(db, sql, &statement, fault);
    if (rc == SORA_OK && sqlite3_step(statement) != SQLITE_ROW)
        rc = store_db_fault(db, "read", fault);
    if (rc == SORA_OK) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        snprintf(out_text, size, "%s", text ? text : "");
    }
    sqlite3_finalize(statement);
    return rc;
}

static int ask_number(struct store_db *db, const char *sql, long long *out_number,
                      struct sora_fault *fault)
{
    char text[64];
    int rc = ask(db, sql, text, sizeof(text), fault);
    if (rc == SORA_OK)
        sscanf(text, "%lld", out_number);
    return rc;
}

/* ---- opening ---- */

/* Readable by its owner alone; made beforehand, because SQLite would ask the umask. */
static int make_file(const char *path, struct sora_fault *fault)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? SORA_OK : sora_file_fault(fault, errno, "create", path);
    close(fd);
    return SORA_OK;
}

static int check_version(struct store_db *db, long long *out_version, struct sora_fault *fault)
{
    long long version = 0, application = 0, tables = 0;
    int rc = ask_number(db, "PRAGMA user_version", &version, fault);
    if (rc == SORA_OK)
        rc = ask_number(db, "PRAGMA application_id", &application, fault);
    if (rc == SORA_OK)
        rc = ask_number(db, "SELECT count(*) FROM sqlite_schema", &tables, fault);
    if (rc)
        return rc;
    bool empty = tables == 0 && version == 0 && application == 0;
    if (!empty && application != strtoll(APPLICATION_ID, NULL, 16))
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s is a database of another program; choose another file", db->path);
    if (version > SORA_STORE_VERSION || version < 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "the database %s has version %lld, this program knows %d; use the "
                              "newer program that wrote it, or move the file away",
                              db->path, version, SORA_STORE_VERSION);
    *out_version = version;
    return SORA_OK;
}

static int migrate(struct store_db *db, long long version, struct sora_fault *fault)
{
    int rc = SORA_OK;
    for (long long next = version + 1; rc == SORA_OK && next <= SORA_STORE_VERSION; next++) {
        char mark[64];
        snprintf(mark, sizeof(mark), "PRAGMA user_version = %lld", next);
        rc = store_db_run(db, "BEGIN IMMEDIATE", fault);
        if (rc == SORA_OK)
            rc = store_db_run(db, migrations[next - 1], fault);
        if (rc == SORA_OK)
            rc = store_db_run(db, mark, fault);
        if (rc == SORA_OK)
            rc = store_db_run(db, "COMMIT", fault);
        if (rc)
            sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
        else
            sora_log(SORA_LOG_INFO, "database is at version=%lld", next);
    }
    return rc;
}

static int check_integrity(struct store_db *db, struct sora_fault *fault)
{
    char text[256];
    int rc = ask(db, "PRAGMA integrity_check(1)", text, sizeof(text), fault);
    if (rc == SORA_OK && strcmp(text, "ok") != 0)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "the database %s is damaged: %s%s", db->path,
                            text, way_out(SORA_E_FORMAT));
    return rc;
}

/* The version is looked at before anything is changed. */
static int prepare(struct store_db *db, struct sora_fault *fault)
{
    long long version = 0;
    int rc = store_db_run(db, "PRAGMA locking_mode = EXCLUSIVE", fault);
    if (rc == SORA_OK)
        rc = check_version(db, &version, fault);
    if (rc == SORA_OK)
        rc = store_db_run(db,
                          "BEGIN EXCLUSIVE; COMMIT; PRAGMA trusted_schema = OFF;"
                          "PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON",
                          fault);
    char mode[16] = "";
    if (rc == SORA_OK)
        rc = ask(db, "PRAGMA journal_mode = WAL", mode, sizeof(mode), fault);
    if (rc == SORA_OK && strcmp(mode, "wal") != 0)
        rc = sora_fault_set(fault, SORA_E_UNSUPPORTED,
                            "the disk of %s cannot hold a write-ahead log; use a local disk",
                            db->path);
    if (rc == SORA_OK)
        rc = store_db_run(db, "PRAGMA synchronous = FULL", fault);
    if (rc == SORA_OK)
        rc = check_integrity(db, fault);
    if (rc == SORA_OK)
        rc = migrate(db, version, fault);
    return rc;
}

int store_db_open(struct store_db *db, const char *path, struct sora_fault *fault)
{
    *db = (struct store_db){.path = path};
    int rc = make_file(path, fault);
    if (rc)
        return rc;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX;
    if (sqlite3_open_v2(path, &db->sqlite, flags, NULL) != SQLITE_OK)
        rc = db->sqlite ? store_db_fault(db, "open", fault)
                        : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for %s", path);
    if (rc == SORA_OK)
        rc = prepare(db, fault);
    if (rc == SORA_OK)
        rc = store_rows_prepare(db, fault);
    if (rc)
        store_db_close(db);
    return rc;
}

void store_db_close(struct store_db *db)
{
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        sqlite3_finalize(db->puts[i]);
        sqlite3_finalize(db->gets[i]);
    }
    for (int i = 0; i < STORE_DROP_COUNT; i++)
        sqlite3_finalize(db->drops[i]);
    if (sqlite3_close(db->sqlite) != SQLITE_OK)
        sora_log(SORA_LOG_ERROR, "database did not close path=%s", db->path);
    *db = (struct store_db){0};
}
