/*
 * Submits and plans that wait: for their model's manifest, up to 10 s when it must come from a
 * node, and before that up to 5 s when no model at all is known, as after the start.
 */
#include "scheduler/home_parts.h"

#include <string.h>

#define MANIFEST_NS (10 * SORA_TIME_SECOND)
#define MODELS_NS (5 * SORA_TIME_SECOND)
#define MANIFEST_BYTES_MAX SORA_MESSAGE_BYTES_MAX

/* ---- the manifest ---- */

int home_read_manifest(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    struct sora_digest digest;
    memcpy(digest.bytes, job->model, sizeof(digest.bytes));
    uint64_t size;
    if (!sora_blob_store_have(home->params.blobs, &digest, &size))
        return SORA_E_NOT_FOUND;
    char path[SORA_FILE_PATH_SIZE];
    struct sora_bytes bytes = {0};
    int rc = sora_blob_store_path(home->params.blobs, &digest, path, sizeof(path), fault);
    if (rc == SORA_OK)
        rc = sora_file_read(path, MANIFEST_BYTES_MAX, &bytes, fault);
    if (rc == SORA_OK)
        rc = sora_model_manifest_unpack(bytes.data, bytes.size, &job->manifest, &job->facts, fault);
    sora_bytes_fini(&bytes);
    if (rc == SORA_OK)
        sora_blob_store_pin(home->params.blobs, &digest);
    return rc;
}

/* ---- waiting for manifests ---- */

static void drop_ask(struct home_ask *ask)
{
    sora_bytes_fini(&ask->envelope);
    sora_message_destroy(&ask->spec);
    *ask = (struct home_ask){.used = false};
}

static void go_on(struct sora_home *home, struct home_ask *ask)
{
    home_do_ask(home, ask);
    drop_ask(ask);
}

static void manifest_came(void *context, const struct sora_blob *blob,
                          const struct sora_fault *fault)
{
    struct home_ask *ask = context;
    struct sora_home *home = ask->home;
    (void)blob;
    home_wake(home);
    if (fault->code == SORA_OK) {
        go_on(home, ask);
    } else {
        home_refuse(home, &ask->reply, fault);
        drop_ask(ask);
    }
    home_settle(home);
}

static int refuse_model(struct sora_home *home, const char *name, struct sora_fault *fault)
{
    struct sora_bytes known;
    sora_bytes_init(&known, 300);
    home_list_models(home, &known);
    bool unnamed = strcmp(name, SORA_HOME_MODEL_DEFAULT) == 0;
    int rc;
    if (known.size == 0)
        rc = sora_fault_set(fault, SORA_E_NOT_FOUND,
                            "no node has model '%s', nor any other: add one with `soractl models "
                            "add FOLDER`, or wait until a node with it is connected",
                            unnamed ? HOME_MODEL_USUAL : name);
    else if (unnamed)
        rc = sora_fault_set(fault, SORA_E_NOT_FOUND,
                            "no model is named and this farm has several: say --model NAME; there "
                            "are: %s",
                            (const char *)known.data);
    else
        rc = sora_fault_set(fault, SORA_E_NOT_FOUND, "no node has model '%s'; there are: %s", name,
                            (const char *)known.data);
    sora_bytes_fini(&known);
    return rc;
}

/* Fetches the manifest, or goes on at once when it is here. */
static int find_manifest(struct sora_home *home, struct home_ask *ask, struct sora_fault *fault)
{
    const Farm__JobSpec *spec = (const Farm__JobSpec *)ask->spec->any;
    const struct home_node *node = home_choose_model(home, spec->model, &ask->model);
    if (!node && !home_knows_models(home)) {
        ask->no_models = true;
        ask->until = home->now + MODELS_NS;
        return SORA_OK;
    }
    if (!node)
        return refuse_model(home, spec->model, fault);
    struct sora_blob blob = {.size = SORA_BLOB_SIZE_UNKNOWN};
    uint64_t size;
    memcpy(blob.digest.bytes, ask->model.digest, sizeof(blob.digest.bytes));
    if (sora_blob_store_have(home->params.blobs, &blob.digest, &size)) {
        go_on(home, ask);
        return SORA_OK;
    }
    ask->until = home->now + MANIFEST_NS;
    int rc = sora_blob_transfer_fetch(home->params.transfer, node->id, &blob, manifest_came, ask);
    return rc ? sora_fault_set(fault, rc, "too many transfers are under way: try again") : SORA_OK;
}

/* Whose time is over: the models or the manifest did not come. */
static void give_up(struct sora_home *home, struct home_ask *ask)
{
    struct sora_fault fault = {0};
    if (ask->no_models)
        refuse_model(home, ((const Farm__JobSpec *)ask->spec->any)->model, &fault);
    else
        sora_fault_set(&fault, SORA_E_TIMEOUT,
                       "what model %s can do did not arrive within 10 s: try again",
                       ask->model.name);
    sora_blob_transfer_forget(home->params.transfer, ask);
    home_refuse(home, &ask->reply, &fault);
    drop_ask(ask);
}

void home_watch_asks(struct sora_home *home)
{
    for (int i = 0; i < HOME_ASKS_MAX; i++) {
        struct home_ask *ask = &home->asks[i];
        struct sora_fault fault = {0};
        if (!ask->used)
            continue;
        if (ask->no_models && home_knows_models(home)) {
            ask->no_models = false;
            if (find_manifest(home, ask, &fault)) {
                home_refuse(home, &ask->reply, &fault);
                drop_ask(ask);
            }
        } else if (home->now >= ask->until) {
            give_up(home, ask);
        }
    }
}

struct home_ask *home_find_ask(struct sora_home *home, const Farm__JobSpec *spec)
{
    for (int i = 0; i < HOME_ASKS_MAX; i++) {
        struct home_ask *ask = &home->asks[i];
        if (ask->used && !ask->plan_only && ask->spec &&
            memcmp(((const Farm__JobSpec *)ask->spec->any)->job.data, spec->job.data,
                   SORA_JOB_ID_SIZE) == 0)
            return ask;
    }
    return NULL;
}

int home_begin_ask(struct sora_home *home, const struct sora_origin *origin,
                   const struct sora_identity *signer, struct sora_message **spec,
                   struct sora_bytes *envelope, struct sora_fault *fault)
{
    struct home_ask *ask = NULL;
    for (int i = 0; i < HOME_ASKS_MAX && !ask; i++)
        ask = home->asks[i].used ? NULL : &home->asks[i];
    if (!ask)
        return sora_fault_set(fault, SORA_E_FULL, "%d requests wait already: try again in a moment",
                              HOME_ASKS_MAX);
    *ask = (struct home_ask){.home = home, .used = true, .plan_only = envelope == NULL};
    home_reply_keep(origin, &ask->reply);
    ask->signer = *signer;
    ask->spec = *spec;
    *spec = NULL;
    if (envelope) {
        ask->envelope = *envelope;
        *envelope = (struct sora_bytes){0};
    }
    int rc = find_manifest(home, ask, fault);
    if (rc)
        drop_ask(ask);
    return rc;
}
