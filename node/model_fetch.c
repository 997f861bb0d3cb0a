/*
 * Fetching a model: its manifest, then its files, a few at a time, each checked by the blob store,
 * then the layout. All blobs are pinned until they are linked into the model's folder; what has
 * come stays in the blob store when a fetch ends early.
 */
#include "node/model_store_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_UNDER_WAY 4

static const Farm__ModelManifest *manifest_of(const struct model_fetch *fetch)
{
    return (const Farm__ModelManifest *)fetch->message->any;
}

static struct sora_blob blob_of(const Farm__ModelFile *file)
{
    struct sora_blob blob = {.size = file->size};
    memcpy(blob.digest.bytes, file->digest.data, sizeof(blob.digest.bytes));
    return blob;
}

/* ---- beginning and end ---- */

static void pin_all(struct model_fetch *fetch, bool pin)
{
    if (fetch->pinned == pin || !fetch->message)
        return;
    const Farm__ModelManifest *manifest = manifest_of(fetch);
    fetch->pinned = pin;
    for (size_t i = 0; i < manifest->n_files; i++) {
        struct sora_blob blob = blob_of(manifest->files[i]);
        if (pin)
            sora_blob_store_pin(fetch->store->blobs, &blob.digest);
        else
            sora_blob_store_unpin(fetch->store->blobs, &blob.digest);
    }
}

void model_fetch_free(struct model_fetch *fetch)
{
    struct sora_model_store *store = fetch->store;
    sora_blob_transfer_forget(store->transfer, fetch);
    sora_blob_store_forget(store->blobs, fetch);
    pin_all(fetch, false);
    struct model_fetch **link = &store->fetches;
    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    store->fetch_count--;
    model_waiters_forget(&fetch->waiters, NULL);
    sora_message_destroy(&fetch->message);
    sora_bytes_fini(&fetch->manifest);
    free(fetch);
}

void model_fetch_end(struct model_fetch *fetch, const struct sora_fault *fault)
{
    fetch->ending = true;
    sora_blob_transfer_forget(fetch->store->transfer, fetch);
    sora_blob_store_forget(fetch->store->blobs, fetch);
    model_waiters_tell(fetch->store, &fetch->waiters, &fetch->digest, fault);
    model_fetch_free(fetch);
}

static void fail(struct model_fetch *fetch, int code, const char *what)
{
    struct sora_fault fault = {0};
    sora_fault_set(&fault, code, "%s: %s", what, sora_error_text(code));
    model_fetch_end(fetch, &fault);
}

/* ---- layout ---- */

static int add_source(struct model_work *work, struct model_fetch *fetch,
                      const Farm__ModelFile *file, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_blob blob = blob_of(file);
    int rc = sora_blob_store_path(fetch->store->blobs, &blob.digest, path, sizeof(path), fault);
    if (rc)
        return rc;
    struct sora_model_source *source = &work->sources[work->source_count++];
    source->path = strdup(file->path);
    source->source = strdup(path);
    return source->path && source->source
               ? SORA_OK
               : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to lay a model out");
}

static int fill_work(struct model_work *work, struct model_fetch *fetch, struct sora_fault *fault)
{
    const Farm__ModelManifest *manifest = manifest_of(fetch);
    work->digest = fetch->digest;
    work->sources = calloc(manifest->n_files, sizeof(*work->sources));
    if (!work->sources ||
        sora_bytes_append(&work->manifest, fetch->manifest.data, fetch->manifest.size))
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to lay a model out");
    int rc = SORA_OK;
    for (size_t i = 0; i < manifest->n_files && rc == SORA_OK; i++)
        rc = add_source(work, fetch, manifest->files[i], fault);
    return rc;
}

static void lay_out(struct model_fetch *fetch)
{
    char path[SORA_FILE_PATH_SIZE + SORA_DIGEST_TEXT_SIZE + 1], text[SORA_DIGEST_TEXT_SIZE];
    snprintf(path, sizeof(path), "%s/%s", fetch->store->directory,
             sora_digest_text(&fetch->digest, text));
    struct sora_fault fault = {0};
    struct model_work *work = model_work_make(fetch->store, MODEL_LAY_OUT, path);
    if (!work) {
        fail(fetch, SORA_E_MEMORY, "a fetched model cannot be laid out");
        return;
    }
    if (fill_work(work, fetch, &fault) != SORA_OK) {
        model_work_free(work);
        model_fetch_end(fetch, &fault);
        return;
    }
    fetch->ending = true;
    work->fetch = fetch;
    int rc = model_work_post(work);
    if (rc)
        fail(fetch, rc, "a fetched model cannot be laid out");
}

/* ---- files ---- */

static void more_files(struct model_fetch *fetch);
static void file_fetched(void *context, const struct sora_blob *blob,
                         const struct sora_fault *fault);

/* What was damaged counts as missing now, and the node has a good one. False when not even that can
 * be tried. */
static bool fetch_again(struct model_fetch *fetch, const struct sora_digest *digest)
{
    const Farm__ModelManifest *manifest = manifest_of(fetch);
    for (size_t i = 0; i < manifest->n_files && fetch->again < manifest->n_files; i++) {
        struct sora_blob blob = blob_of(manifest->files[i]);
        if (!sora_digest_equal(&blob.digest, digest))
            continue;
        fetch->again++;
        return sora_blob_transfer_fetch(fetch->store->transfer, fetch->node, &blob, file_fetched,
                                        fetch) == SORA_OK;
    }
    return false;
}

static void file_checked(void *context, const struct sora_blob *blob,
                         const struct sora_fault *fault)
{
    struct model_fetch *fetch = context;
    if (fault->code == SORA_E_NOT_FOUND && fetch_again(fetch, &blob->digest))
        return;
    if (fault->code != 0) {
        model_fetch_end(fetch, fault);
        return;
    }
    fetch->under_way--;
    fetch->have++;
    fetch->bytes_have += blob->size;
    more_files(fetch);
}

/* What lay here from an earlier process has not been read by this one. */
static void file_fetched(void *context, const struct sora_blob *blob,
                         const struct sora_fault *fault)
{
    struct model_fetch *fetch = context;
    if (fault->code != 0) {
        model_fetch_end(fetch, fault);
        return;
    }
    int rc = sora_blob_store_check(fetch->store->blobs, &blob->digest, file_checked, fetch);
    if (rc)
        fail(fetch, rc, "a model's file cannot be checked");
}

static void more_files(struct model_fetch *fetch)
{
    const Farm__ModelManifest *manifest = manifest_of(fetch);
    while (fetch->asked < manifest->n_files && fetch->under_way < FILES_UNDER_WAY) {
        struct sora_blob blob = blob_of(manifest->files[fetch->asked]);
        int rc = sora_blob_transfer_fetch(fetch->store->transfer, fetch->node, &blob, file_fetched,
                                          fetch);
        if (rc) {
            fail(fetch, rc, "a model's file cannot be fetched");
            return;
        }
        fetch->asked++;
        fetch->under_way++;
    }
    if (fetch->have == manifest->n_files)
        lay_out(fetch);
}

/* ---- the manifest ---- */

static int read_manifest(struct model_fetch *fetch, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    int rc = sora_blob_store_path(fetch->store->blobs, &fetch->digest, path, sizeof(path), fault);
    if (rc == SORA_OK)
        rc = sora_file_read(path, SORA_MODEL_MANIFEST_BYTES_MAX, &fetch->manifest, fault);
    if (rc == SORA_OK)
        rc = sora_model_manifest_unpack(fetch->manifest.data, fetch->manifest.size, &fetch->message,
                                        &fetch->facts, fault);
    return rc;
}

static int fetch_manifest(struct model_fetch *fetch);

static void manifest_checked(void *context, const struct sora_blob *blob,
                             const struct sora_fault *fault)
{
    struct model_fetch *fetch = context;
    struct sora_fault mine = *fault;
    (void)blob;
    if (mine.code == SORA_E_NOT_FOUND && fetch->again++ == 0 && fetch_manifest(fetch) == SORA_OK)
        return;
    fetch->again = 0;
    if (mine.code == 0)
        read_manifest(fetch, &mine);
    if (mine.code != 0) {
        model_fetch_end(fetch, &mine);
        return;
    }
    sora_log(SORA_LOG_INFO, "fetching model name=%s files=%zu bytes=%llu", fetch->facts.name,
             manifest_of(fetch)->n_files, (unsigned long long)fetch->facts.weight_bytes);
    pin_all(fetch, true);
    more_files(fetch);
}

static void manifest_fetched(void *context, const struct sora_blob *blob,
                             const struct sora_fault *fault)
{
    struct model_fetch *fetch = context;
    if (fault->code != 0) {
        model_fetch_end(fetch, fault);
        return;
    }
    int rc = sora_blob_store_check(fetch->store->blobs, &blob->digest, manifest_checked, fetch);
    if (rc)
        fail(fetch, rc, "a model's manifest cannot be checked");
}

static int fetch_manifest(struct model_fetch *fetch)
{
    struct sora_blob blob = {fetch->digest, SORA_BLOB_SIZE_UNKNOWN};
    return sora_blob_transfer_fetch(fetch->store->transfer, fetch->node, &blob, manifest_fetched,
                                    fetch);
}

/* ---- the store's calls ---- */

static struct model_fetch *find_fetch(const struct sora_model_store *store,
                                      const struct sora_digest *digest)
{
    struct model_fetch *fetch = store->fetches;
    while (fetch && !sora_digest_equal(&fetch->digest, digest))
        fetch = fetch->next;
    return fetch;
}

static int answer_here(struct sora_model_store *store, const struct sora_digest *digest,
                       sora_model_done done, void *context)
{
    struct model_work *work = model_work_make(store, MODEL_ANSWER, "");
    if (!work)
        return SORA_E_MEMORY;
    work->digest = *digest;
    int rc = model_waiter_add(&work->waiters, done, context);
    if (rc) {
        model_work_free(work);
        return rc;
    }
    return model_work_post(work);
}

static int start_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                       const unsigned char node[SORA_NODE_ID_SIZE], struct model_fetch **out_fetch)
{
    struct model_fetch *fetch = store->fetch_count < FETCHES_MAX ? calloc(1, sizeof(*fetch)) : NULL;
    if (!fetch)
        return store->fetch_count < FETCHES_MAX ? SORA_E_MEMORY : SORA_E_FULL;
    fetch->store = store;
    fetch->digest = *digest;
    memcpy(fetch->node, node, sizeof(fetch->node));
    fetch->next = store->fetches;
    store->fetches = fetch;
    store->fetch_count++;
    int rc = fetch_manifest(fetch);
    if (rc)
        model_fetch_free(fetch);
    else
        *out_fetch = fetch;
    return rc;
}

int sora_model_store_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                           const unsigned char node[SORA_NODE_ID_SIZE], sora_model_done done,
                           void *context)
{
    struct sora_model_entry entry;
    if (sora_model_store_find(store, digest, &entry))
        return answer_here(store, digest, done, context);
    struct model_fetch *fetch = find_fetch(store, digest);
    int rc = fetch ? SORA_OK : start_fetch(store, digest, node, &fetch);
    if (rc)
        return rc;
    rc = model_waiter_add(&fetch->waiters, done, context);
    if (rc && !fetch->waiters && !fetch->ending)
        model_fetch_free(fetch);
    return rc;
}

bool sora_model_store_progress(const struct sora_model_store *store,
                               const struct sora_digest *digest, char *out_words, size_t size)
{
    const struct model_fetch *fetch = find_fetch(store, digest);
    if (!fetch)
        return false;
    if (!fetch->message) {
        snprintf(out_words, size, "the model's manifest");
        return true;
    }
    const Farm__ModelManifest *manifest = manifest_of(fetch);
    uint64_t bytes = fetch->bytes_have;
    /* Those under way are among the last that were asked for. */
    for (size_t i = 0; i < fetch->asked; i++) {
        struct sora_blob blob = blob_of(manifest->files[i]);
        bytes += sora_blob_transfer_received(store->transfer, &blob.digest);
    }
    snprintf(out_words, size, "%s: %zu of %zu files, %.1f of %.1f MB", fetch->facts.name,
             fetch->have, manifest->n_files, (double)bytes / 1e6,
             (double)fetch->facts.weight_bytes / 1e6);
    return true;
}
