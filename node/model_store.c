/*
 * Models that are here, and the work that brings them in: a folder is read on the thread, its
 * manifest goes into the blob store, its files are lent, and then the model is in the table.
 * Fetching is in node/model_fetch.c.
 */
#include "node/model_store_parts.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- waiters ---- */

int model_waiter_add(struct model_waiter **list, sora_model_done done, void *context)
{
    struct model_waiter *waiter = calloc(1, sizeof(*waiter));
    if (!waiter)
        return SORA_E_MEMORY;
    waiter->done = done;
    waiter->context = context;
    while (*list)
        list = &(*list)->next;
    *list = waiter;
    return SORA_OK;
}

static struct model_waiter take_waiter(struct model_waiter **link)
{
    struct model_waiter taken = **link;
    free(*link);
    *link = taken.next;
    return taken;
}

void model_waiters_forget(struct model_waiter **list, const void *context)
{
    while (*list) {
        if (!context || (*list)->context == context)
            take_waiter(list);
        else
            list = &(*list)->next;
    }
}

void model_waiters_tell(struct sora_model_store *store, struct model_waiter **list,
                        const struct sora_digest *digest, const struct sora_fault *fault)
{
    while (*list) {
        struct model_waiter waiter = take_waiter(list);
        struct sora_model_entry entry;
        struct sora_fault missing = *fault;
        bool here = fault->code == 0 && sora_model_store_find(store, digest, &entry);
        if (!here)
            sora_fault_set(&missing, SORA_E_NOT_FOUND, "the model has been replaced meanwhile");
        if (waiter.done)
            waiter.done(waiter.context, here ? &entry : NULL, &missing);
    }
}

/* ---- the table ---- */

static struct model *find_model(const struct sora_model_store *store,
                                const struct sora_digest *digest)
{
    for (int i = 0; i < store->model_count; i++) {
        if (sora_digest_equal(&store->models[i]->digest, digest))
            return store->models[i];
    }
    return NULL;
}

static void free_model(struct model *model)
{
    free(model->path);
    sora_message_destroy(&model->manifest);
    free(model);
}

/* The models of a folder but that of `digest`, which may be NULL. */
static void drop_others(struct sora_model_store *store, const char *path,
                        const struct sora_digest *digest)
{
    for (int i = 0; i < store->model_count; i++) {
        struct model *model = store->models[i];
        if (strcmp(model->path, path) != 0 || (digest && sora_digest_equal(&model->digest, digest)))
            continue;
        sora_blob_store_unpin(store->blobs, &model->digest);
        free_model(model);
        store->models[i--] = store->models[--store->model_count];
    }
}

void sora_model_store_remove(struct sora_model_store *store, const char *path)
{
    drop_others(store, path, NULL);
}

static int lend_files(struct sora_model_store *store, const struct model *model,
                      struct sora_fault *fault)
{
    const Farm__ModelManifest *manifest = (const Farm__ModelManifest *)model->manifest->any;
    for (size_t i = 0; i < manifest->n_files; i++) {
        const Farm__ModelFile *file = manifest->files[i];
        char path[SORA_FILE_PATH_SIZE + 260], real[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", model->path, file->path);
        struct sora_blob blob = {.size = file->size};
        memcpy(blob.digest.bytes, file->digest.data, sizeof(blob.digest.bytes));
        int rc = sora_blob_store_lend(store->blobs, &blob, realpath(path, real) ? real : path);
        if (rc)
            return sora_fault_set(fault, rc, "%s cannot be offered to others: %s", path,
                                  sora_error_text(rc));
    }
    return SORA_OK;
}

static int make_model(const struct model_work *work, struct model **out_model,
                      struct sora_fault *fault)
{
    struct model *model = calloc(1, sizeof(*model));
    char *path = strdup(work->path);
    int rc = model && path ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    if (rc == SORA_OK)
        rc = sora_model_manifest_unpack(work->manifest.data, work->manifest.size, &model->manifest,
                                        &model->facts, fault);
    if (rc) {
        free(path);
        free(model);
        return rc;
    }
    model->digest = work->digest;
    model->path = path;
    *out_model = model;
    return SORA_OK;
}

static int add_model(struct sora_model_store *store, const struct model_work *work,
                     struct sora_fault *fault)
{
    drop_others(store, work->path, &work->digest); /* a folder that was another model before */
    struct model *model = NULL;
    int rc = make_model(work, &model, fault);
    if (rc == SORA_OK)
        rc = lend_files(store, model, fault);
    if (rc == SORA_OK && !find_model(store, &work->digest)) {
        if (store->model_count == MODELS_MAX) {
            rc = sora_fault_set(fault, SORA_E_FULL, "%d models are here; that is the limit",
                                MODELS_MAX);
        } else {
            char text[SORA_DIGEST_TEXT_SIZE];
            sora_blob_store_pin(store->blobs, &model->digest);
            store->models[store->model_count++] = model;
            sora_log(SORA_LOG_INFO, "model is here name=%s digest=%.16s bytes=%llu",
                     model->facts.name, sora_digest_text(&model->digest, text),
                     (unsigned long long)model->facts.weight_bytes);
            return SORA_OK;
        }
    }
    if (model)
        free_model(model);
    return rc;
}

static void fill_entry(const struct model *model, struct sora_model_entry *out_entry)
{
    *out_entry = (struct sora_model_entry){
        .digest = model->digest,
        .name = model->facts.name,
        .path = model->path,
        .size = model->facts.weight_bytes,
        .facts = model->facts,
    };
}

bool sora_model_store_find(const struct sora_model_store *store, const struct sora_digest *digest,
                           struct sora_model_entry *out_entry)
{
    const struct model *model = find_model(store, digest);
    if (model)
        fill_entry(model, out_entry);
    return model != NULL;
}

bool sora_model_store_reading(const struct sora_model_store *store)
{
    bool reading = false;
    for (const struct model_work *work = store->works; work; work = work->next)
        reading |= work->kind == MODEL_SCAN || work->kind == MODEL_CHECK;
    return reading;
}

int sora_model_store_count(const struct sora_model_store *store)
{
    return store->model_count;
}

void sora_model_store_at(const struct sora_model_store *store, int index,
                         struct sora_model_entry *out_entry)
{
    SORA_ASSERT(index >= 0 && index < store->model_count);
    fill_entry(store->models[index], out_entry);
}

/* ---- work: on the thread, then the manifest, then the table ---- */

static void free_store(struct sora_model_store *store)
{
    sora_digest_cache_destroy(&store->cache);
    free(store);
}

struct model_work *model_work_make(struct sora_model_store *store, enum model_work_kind kind,
                                   const char *path)
{
    struct model_work *work = strlen(path) < SORA_FILE_PATH_SIZE ? calloc(1, sizeof(*work)) : NULL;
    if (!work)
        return NULL;
    work->store = store;
    work->kind = kind;
    memcpy(work->path, path, strlen(path) + 1);
    sora_bytes_init(&work->manifest, SORA_MODEL_MANIFEST_BYTES_MAX);
    work->next = store->works;
    store->works = work;
    store->work_count++;
    return work;
}

void model_work_free(struct model_work *work)
{
    struct sora_model_store *store = work->store;
    struct model_work **link = &store->works;
    while (*link != work)
        link = &(*link)->next;
    *link = work->next;
    store->work_count--;
    if (!store->closed) /* later the blob store may be gone */
        sora_blob_store_forget(store->blobs, work);
    model_waiters_forget(&work->waiters, NULL);
    for (size_t i = 0; i < work->source_count; i++) {
        free((char *)(uintptr_t)work->sources[i].path);
        free((char *)(uintptr_t)work->sources[i].source);
    }
    free(work->sources);
    sora_bytes_fini(&work->manifest);
    free(work);
}

/* On the thread: nothing of the store but the cache. */
static void run_work(void *context)
{
    struct model_work *work = context;
    struct sora_digest_cache *cache = work->store->cache;
    char real[PATH_MAX];
    switch (work->kind) {
    case MODEL_SCAN:
        if (!realpath(work->path, real))
            sora_file_fault(&work->fault, errno, "read", work->path);
        else
            snprintf(work->path, sizeof(work->path), "%s", real);
        if (work->fault.code == 0)
            sora_model_folder_scan(work->path, cache, &work->manifest, &work->fault);
        if (work->fault.code == 0)
            sora_digest_of(work->manifest.data, work->manifest.size, &work->digest);
        break;
    case MODEL_CHECK:
        sora_model_folder_check(work->path, &work->digest, cache, &work->manifest, &work->fault);
        break;
    case MODEL_LAY_OUT:
        sora_model_folder_lay_out(work->path, work->sources, work->source_count, &work->manifest,
                                  &work->fault);
        break;
    case MODEL_ANSWER:
        return;
    }
    struct sora_fault fault = {0};
    if (sora_digest_cache_save(cache, &fault) != SORA_OK)
        sora_log(SORA_LOG_WARN, "digests are not kept: %s", fault.text);
}

static void end_work(struct model_work *work)
{
    struct model_fetch *fetch = work->fetch;
    if (work->fault.code != 0 && work->kind == MODEL_CHECK)
        sora_log(SORA_LOG_WARN, "a fetched model is left out: %s", work->fault.text);
    work->fetch = NULL;
    model_waiters_tell(work->store, &work->waiters, &work->digest, &work->fault);
    if (fetch)
        model_fetch_end(fetch, &work->fault);
    model_work_free(work);
}

static void done_manifest(void *context, const struct sora_blob *blob,
                          const struct sora_fault *fault)
{
    struct model_work *work = context;
    (void)blob;
    work->fault = *fault;
    if (fault->code == 0)
        add_model(work->store, work, &work->fault);
    end_work(work);
}

static void done_work(void *context)
{
    struct model_work *work = context;
    struct sora_model_store *store = work->store;
    work->on_thread = false;
    if (store->closed) {
        model_work_free(work);
        if (!store->works)
            free_store(store);
        return;
    }
    int rc = SORA_OK;
    if (work->fault.code == 0 && work->kind != MODEL_ANSWER) {
        rc = sora_blob_store_put(store->blobs, work->manifest.data, work->manifest.size,
                                 done_manifest, work);
        if (rc == SORA_OK)
            return; /* done_manifest goes on */
        sora_fault_set(&work->fault, rc, "a manifest cannot be stored: %s", sora_error_text(rc));
    }
    end_work(work);
}

int model_work_post(struct model_work *work)
{
    struct sora_task task = {run_work, done_work, work};
    int rc = sora_tasks_post(work->store->tasks, &task);
    work->on_thread = rc == SORA_OK;
    if (rc)
        model_work_free(work);
    return rc;
}

int sora_model_store_add(struct sora_model_store *store, const char *path, sora_model_done done,
                         void *context)
{
    if (store->model_count + store->work_count >= MODELS_MAX)
        return SORA_E_FULL;
    struct model_work *work = model_work_make(store, MODEL_SCAN, path);
    if (!work)
        return SORA_E_MEMORY;
    int rc = model_waiter_add(&work->waiters, done, context);
    if (rc) {
        model_work_free(work);
        return rc;
    }
    return model_work_post(work);
}

/* ---- opening and closing ---- */

static void load_fetched(struct sora_model_store *store)
{
    DIR *dir = opendir(store->directory);
    for (struct dirent *item; dir && (item = readdir(dir));) {
        char path[SORA_FILE_PATH_SIZE + 300];
        struct sora_digest digest;
        snprintf(path, sizeof(path), "%s/%s", store->directory, item->d_name);
        if (strncmp(item->d_name, ".part-", 6) == 0)
            sora_model_folder_remove(path);
        if (!sora_digest_parse(item->d_name, &digest))
            continue;
        struct model_work *work = model_work_make(store, MODEL_CHECK, path);
        if (work)
            work->digest = digest;
        if (!work || model_work_post(work) != SORA_OK)
            sora_log(SORA_LOG_WARN, "too many fetched models; one is left out");
    }
    if (dir)
        closedir(dir);
}

int sora_model_store_create(const struct sora_model_store_params *params,
                            struct sora_model_store **out_store, struct sora_fault *fault)
{
    /* Room for a digest and the longest name in a manifest. */
    if (strlen(params->directory) + 400 > SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the path of the models' folder has %zu bytes; the limit is %d",
                              strlen(params->directory), SORA_FILE_PATH_SIZE - 400);
    int rc = sora_file_make_dirs(params->directory, fault);
    if (rc)
        return rc;
    struct sora_model_store *store = calloc(1, sizeof(*store));
    if (!store || sora_digest_cache_create(params->cache_path, &store->cache)) {
        free(store);
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the model store");
    }
    store->blobs = params->blobs;
    store->transfer = params->transfer;
    store->tasks = params->tasks;
    snprintf(store->directory, sizeof(store->directory), "%s", params->directory);
    load_fetched(store);
    *out_store = store;
    return SORA_OK;
}

void sora_model_store_forget(struct sora_model_store *store, const void *context)
{
    for (struct model_work *work = store->works; work; work = work->next)
        model_waiters_forget(&work->waiters, context);
    for (struct model_fetch *fetch = store->fetches, *next; fetch; fetch = next) {
        next = fetch->next;
        model_waiters_forget(&fetch->waiters, context);
        if (!fetch->waiters && !fetch->ending)
            model_fetch_free(fetch);
    }
}

void sora_model_store_destroy(struct sora_model_store **store)
{
    struct sora_model_store *gone = *store;
    *store = NULL;
    if (!gone)
        return;
    while (gone->fetches)
        model_fetch_free(gone->fetches);
    for (struct model_work *work = gone->works, *next; work; work = next) {
        next = work->next;
        work->fetch = NULL;
        if (!work->on_thread)
            model_work_free(work);
    }
    for (int i = 0; i < gone->model_count; i++) {
        sora_blob_store_unpin(gone->blobs, &gone->models[i]->digest);
        free_model(gone->models[i]);
    }
    gone->model_count = 0;
    gone->closed = true;
    if (!gone->works)
        free_store(gone);
}
