/*
 * The store's owner side: the index, pins, eviction, and jobs for the thread. What touches the disk
 * is in proto/blob_files.c.
 *
 * Jobs run and are done in the order of posting, so the index follows the folder. Removal is the
 * one exception: it may unlink while a publish of the same digest is on its way; files are told
 * apart by their identity, and the newer one stays.
 */
#include "proto/blob_files.h"
#include "proto/blob_index.h"

#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LENT_MAX 65536

struct sora_blob_store {
    struct sora_blob_files files;
    struct sora_blob_index index;
    struct sora_tasks *tasks;
    uint64_t bytes, bytes_max;
    int lent_count;
    uint64_t serial;  /* of names in the incoming folder */
    struct job *jobs; /* handed to the thread, not done */
    bool closed;      /* freed with its last job */
};

struct job {
    struct sora_blob_store *store;
    struct job *before, *after; /* in store->jobs */
    sora_blob_done done;
    void *context;
    void *data; /* of a put; owned */
    size_t size;
    char *path; /* of an adopted file; owned */
    bool has_expected;
    struct sora_digest expected; /* of adopt_as, check and removal */
    struct sora_file_identity identity;
    struct sora_blob blob; /* what came of it */
    struct sora_fault fault;
};

static void free_store(struct sora_blob_store *store)
{
    sora_blob_files_close(&store->files);
    sora_blob_index_fini(&store->index);
    free(store);
}

static void free_job(struct job *job)
{
    struct sora_blob_store *store = job->store;
    free(job->data);
    free(job->path);
    *(job->before ? &job->before->after : &store->jobs) = job->after;
    if (job->after)
        job->after->before = job->before;
    free(job);
    if (store->closed && !store->jobs)
        free_store(store);
}

static struct job *make_job(struct sora_blob_store *store, sora_blob_done done, void *context)
{
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->store = store;
    job->done = done;
    job->context = context;
    job->after = store->jobs;
    if (store->jobs)
        store->jobs->before = job;
    store->jobs = job;
    return job;
}

/* Takes the job. */
static int post_job(struct job *job, void (*run)(void *), void (*done)(void *))
{
    struct sora_task task = {run, done, job};
    int rc = sora_tasks_post(job->store->tasks, &task);
    if (rc)
        free_job(job);
    return rc;
}

static void report(const struct job *job)
{
    if (job->done && !job->store->closed)
        job->done(job->context, &job->blob, &job->fault);
}

void sora_blob_store_forget(struct sora_blob_store *store, const void *context)
{
    for (struct job *job = store->jobs; job; job = job->after) {
        if (job->context == context)
            job->done = NULL;
    }
}

/* ---- eviction and removal ---- */

static void forget_object(struct sora_blob_store *store, struct sora_blob_entry *entry)
{
    store->bytes -= entry->size;
    entry->here = entry->verified = false;
    sora_blob_index_tidy(&store->index, entry);
}

static void run_remove(void *context)
{
    struct job *job = context;
    sora_blob_files_remove(&job->store->files, &job->expected, &job->identity);
}

static void done_remove(void *context)
{
    free_job(context);
}

static void remove_one(struct sora_blob_store *store, struct sora_blob_entry *entry)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    sora_log(SORA_LOG_DEBUG, "removed blob digest=%s bytes=%llu",
             sora_digest_text(&entry->digest, text), (unsigned long long)entry->size);
    struct sora_digest digest = entry->digest;
    struct sora_file_identity identity = entry->identity;
    forget_object(store, entry);
    struct job *job = make_job(store, NULL, NULL);
    if (job) {
        job->expected = digest;
        job->identity = identity;
    }
    if (!job || post_job(job, run_remove, done_remove) != SORA_OK)
        sora_blob_files_remove(&store->files, &digest, &identity); /* a short wait instead */
}

/* What was just stored stays: its owner may not have come to pin it. */
static void evict(struct sora_blob_store *store, const struct sora_blob_entry *spared)
{
    struct sora_blob_entry *entry = store->index.oldest;
    while (entry && store->bytes_max > 0 && store->bytes > store->bytes_max) {
        struct sora_blob_entry *newer = entry->newer;
        if (entry->here && entry->pins == 0 && entry != spared)
            remove_one(store, entry);
        entry = newer;
    }
}

/* ---- storing ---- */

static void run_put(void *context)
{
    struct job *job = context;
    if (sora_blob_files_put(&job->store->files, job->path, job->data, job->size, &job->fault) == 0)
        sora_blob_files_adopt(&job->store->files, job->path, NULL, &job->blob, &job->identity,
                              &job->fault);
}

static void run_adopt(void *context)
{
    struct job *job = context;
    sora_blob_files_adopt(&job->store->files, job->path, job->has_expected ? &job->expected : NULL,
                          &job->blob, &job->identity, &job->fault);
}

static struct sora_blob_entry *note_object(struct sora_blob_store *store,
                                           const struct sora_blob *blob,
                                           const struct sora_file_identity *identity)
{
    struct sora_blob_entry *entry = sora_blob_index_add(&store->index, &blob->digest);
    if (!entry)
        return NULL;
    store->bytes += blob->size - (entry->here ? entry->size : 0);
    entry->size = blob->size;
    entry->identity = *identity;
    entry->here = true;
    return entry;
}

static void done_store(void *context)
{
    struct job *job = context;
    struct sora_blob_store *store = job->store;
    if (job->fault.code == 0) {
        struct sora_blob_entry *entry = note_object(store, &job->blob, &job->identity);
        if (entry)
            entry->verified = true;
        else
            sora_fault_set(&job->fault, SORA_E_MEMORY, "not enough memory to note a blob");
    }
    report(job);
    if (!store->closed && job->fault.code == 0)
        evict(store, sora_blob_index_find(&store->index, &job->blob.digest));
    free_job(job);
}

int sora_blob_store_put(struct sora_blob_store *store, const void *data, size_t size,
                        sora_blob_done done, void *context)
{
    struct job *job = make_job(store, done, context);
    if (!job)
        return SORA_E_MEMORY;
    job->data = malloc(size > 0 ? size : 1);
    job->size = size;
    if (asprintf(&job->path, "%s/put-%llu", store->files.incoming,
                 (unsigned long long)store->serial++) < 0)
        job->path = NULL;
    if (!job->data || !job->path) {
        free_job(job);
        return SORA_E_MEMORY;
    }
    if (size > 0)
        memcpy(job->data, data, size);
    return post_job(job, run_put, done_store);
}

static int adopt(struct sora_blob_store *store, const char *path,
                 const struct sora_digest *expected, sora_blob_done done, void *context)
{
    size_t length = strlen(store->files.incoming);
    if (strncmp(path, store->files.incoming, length) != 0 || path[length] != '/' ||
        strchr(path + length + 1, '/'))
        return SORA_E_INVALID;
    struct job *job = make_job(store, done, context);
    if (!job)
        return SORA_E_MEMORY;
    job->path = strdup(path);
    job->has_expected = expected;
    if (expected)
        job->expected = *expected;
    if (!job->path) {
        free_job(job);
        return SORA_E_MEMORY;
    }
    return post_job(job, run_adopt, done_store);
}

int sora_blob_store_adopt(struct sora_blob_store *store, const char *path, sora_blob_done done,
                          void *context)
{
    return adopt(store, path, NULL, done, context);
}

int sora_blob_store_adopt_as(struct sora_blob_store *store, const char *path,
                             const struct sora_digest *expected, sora_blob_done done, void *context)
{
    return adopt(store, path, expected, done, context);
}

/* ---- lending ---- */

static int64_t modified_ns(const struct stat *status)
{
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

int sora_blob_store_lend(struct sora_blob_store *store, const struct sora_blob *blob,
                         const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return SORA_E_NOT_FOUND;
    if ((uint64_t)status.st_size != blob->size)
        return SORA_E_STALE;
    struct sora_blob_entry *known = sora_blob_index_find(&store->index, &blob->digest);
    bool is_new = !known || !known->lent_path;
    if (is_new && store->lent_count == LENT_MAX)
        return SORA_E_FULL;
    char *copy = strdup(path);
    struct sora_blob_entry *entry = copy ? sora_blob_index_add(&store->index, &blob->digest) : NULL;
    if (!entry) {
        free(copy);
        return SORA_E_MEMORY;
    }
    free(entry->lent_path);
    entry->lent_path = copy;
    entry->lent_size = blob->size;
    entry->lent_modified_ns = modified_ns(&status);
    store->lent_count += is_new;
    return SORA_OK;
}

/* Whether the lent file is still as it was; otherwise it is forgotten (the entry may go). */
static bool lent_holds(struct sora_blob_store *store, struct sora_blob_entry *entry)
{
    struct stat status;
    if (!entry->lent_path)
        return false;
    if (stat(entry->lent_path, &status) == 0 && S_ISREG(status.st_mode) &&
        (uint64_t)status.st_size == entry->lent_size &&
        modified_ns(&status) == entry->lent_modified_ns)
        return true;
    sora_log(SORA_LOG_WARN, "a lent file has changed and is not served path=%s", entry->lent_path);
    free(entry->lent_path);
    entry->lent_path = NULL;
    store->lent_count--;
    sora_blob_index_tidy(&store->index, entry);
    return false;
}

/* ---- reading ---- */

bool sora_blob_store_have(struct sora_blob_store *store, const struct sora_digest *digest,
                          uint64_t *out_size)
{
    struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    if (!entry || (!entry->here && !lent_holds(store, entry)))
        return false;
    *out_size = entry->here ? entry->size : entry->lent_size;
    return true;
}

static int say_missing(const struct sora_digest *digest, struct sora_fault *fault)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    return sora_fault_set(fault, SORA_E_NOT_FOUND, "blob %.16s... is not here",
                          sora_digest_text(digest, text));
}

/* After a check on either thread. Damaged files are removed already. */
static void note_checked(struct sora_blob_store *store, const struct sora_digest *digest,
                         const struct sora_file_identity *identity, int code)
{
    struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    if (!entry || !entry->here || entry->identity.inode != identity->inode ||
        entry->identity.modified_ns != identity->modified_ns)
        return;
    if (code == SORA_OK) {
        entry->verified = true;
        sora_blob_index_touch(&store->index, entry);
    } else if (code == SORA_E_NOT_FOUND) {
        char text[SORA_DIGEST_TEXT_SIZE];
        sora_log(SORA_LOG_WARN, "a damaged or lost blob counts as missing digest=%s",
                 sora_digest_text(digest, text));
        forget_object(store, entry);
    }
}

int sora_blob_store_path(struct sora_blob_store *store, const struct sora_digest *digest,
                         char *out_path, size_t size, struct sora_fault *fault)
{
    struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    if (entry && entry->here) {
        struct sora_file_identity identity = entry->identity;
        int rc =
            sora_blob_files_check(&store->files, digest, entry->verified ? &identity : NULL, fault);
        note_checked(store, digest, &identity, rc);
        if (rc)
            return rc;
        sora_blob_files_path(&store->files, digest, out_path, size);
        return SORA_OK;
    }
    if (!entry || !lent_holds(store, entry))
        return say_missing(digest, fault);
    if (strlen(entry->lent_path) >= size)
        return sora_fault_set(fault, SORA_E_LIMIT, "the path of a blob has %zu bytes, room is %zu",
                              strlen(entry->lent_path), size);
    snprintf(out_path, size, "%s", entry->lent_path);
    return SORA_OK;
}

static void run_check(void *context)
{
    struct job *job = context;
    if (job->fault.code == 0 && job->identity.inode != 0)
        sora_blob_files_check(&job->store->files, &job->expected, NULL, &job->fault);
}

static void done_check(void *context)
{
    struct job *job = context;
    if (job->identity.inode != 0)
        note_checked(job->store, &job->expected, &job->identity, job->fault.code);
    report(job);
    free_job(job);
}

bool sora_blob_store_checked(const struct sora_blob_store *store, const struct sora_digest *digest)
{
    const struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    return !entry || !entry->here || entry->verified;
}

int sora_blob_store_check(struct sora_blob_store *store, const struct sora_digest *digest,
                          sora_blob_done done, void *context)
{
    struct job *job = make_job(store, done, context);
    if (!job)
        return SORA_E_MEMORY;
    job->expected = job->blob.digest = *digest;
    if (!sora_blob_store_have(store, digest, &job->blob.size)) {
        say_missing(digest, &job->fault);
    } else {
        const struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
        if (entry->here && !entry->verified)
            job->identity = entry->identity;
    }
    return post_job(job, run_check, done_check);
}

/* ---- pins ---- */

void sora_blob_store_pin(struct sora_blob_store *store, const struct sora_digest *digest)
{
    struct sora_blob_entry *entry = sora_blob_index_add(&store->index, digest);
    if (entry)
        entry->pins++;
    else
        sora_log(SORA_LOG_ERROR, "not enough memory to pin a blob");
}

void sora_blob_store_unpin(struct sora_blob_store *store, const struct sora_digest *digest)
{
    struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    if (!entry || entry->pins == 0)
        return;
    entry->pins--;
    sora_blob_index_tidy(&store->index, entry);
    evict(store, NULL);
}

void sora_blob_store_drop(struct sora_blob_store *store, const struct sora_digest *digest)
{
    struct sora_blob_entry *entry = sora_blob_index_find(&store->index, digest);
    if (!entry || entry->pins == 0)
        return;
    entry->pins--;
    if (entry->pins == 0 && entry->here)
        remove_one(store, entry);
    else
        sora_blob_index_tidy(&store->index, entry);
}

uint64_t sora_blob_store_bytes(const struct sora_blob_store *store)
{
    return store->bytes;
}

/* ---- opening ---- */

const char *sora_blob_store_incoming(const struct sora_blob_store *store)
{
    return store->files.incoming;
}

/* Called for each object, oldest first. */
static int note_found(void *context, const struct sora_blob *blob,
                      const struct sora_file_identity *identity)
{
    return note_object(context, blob, identity) ? SORA_OK : SORA_E_MEMORY;
}

int sora_blob_store_open(const struct sora_blob_store_params *params,
                         struct sora_blob_store **out_store, struct sora_fault *fault)
{
    SORA_ASSERT(sodium_init() >= 0);
    struct sora_blob_store *store = calloc(1, sizeof(*store));
    if (!store || sora_blob_index_init(&store->index)) {
        free(store);
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the blob store");
    }
    store->tasks = params->tasks;
    store->bytes_max = params->bytes_max;
    int rc = sora_blob_files_open(&store->files, params->directory, fault);
    if (rc == SORA_OK)
        rc = sora_blob_files_scan(&store->files, note_found, store, fault);
    if (rc) {
        free_store(store);
        return rc;
    }
    evict(store, NULL);
    *out_store = store;
    return SORA_OK;
}

void sora_blob_store_close(struct sora_blob_store **store)
{
    struct sora_blob_store *gone = *store;
    *store = NULL;
    if (!gone)
        return;
    gone->closed = true;
    if (!gone->jobs)
        free_store(gone);
}
