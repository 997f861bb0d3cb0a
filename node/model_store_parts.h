/* The parts of node/model_store.c: models that are here, work for the thread, fetches. */
#ifndef SORA_NODE_MODEL_STORE_PARTS_H
#define SORA_NODE_MODEL_STORE_PARTS_H

#include "base/bytes.h"
#include "base/files.h"
#include "node/digest_cache.h"
#include "node/model_folder.h"
#include "node/model_store.h"
#include "proto/model_manifest.h"

#define MODELS_MAX 64 /* with those on their way */
#define FETCHES_MAX 8

struct model_waiter {
    struct model_waiter *next;
    sora_model_done done;
    void *context;
};

struct model {
    struct sora_digest digest;
    char *path;                    /* owned */
    struct sora_message *manifest; /* owned; holds the texts of the facts */
    struct sora_model_facts facts;
};

enum model_work_kind {
    MODEL_SCAN,    /* a folder of the owner's */
    MODEL_CHECK,   /* a folder that was fetched earlier */
    MODEL_LAY_OUT, /* a fetch that is complete */
    MODEL_ANSWER,  /* only the callback: the model is here */
};

/* First on the thread of tasks, then its manifest goes to the blob store. */
struct model_work {
    struct model_work *next;
    struct sora_model_store *store;
    enum model_work_kind kind;
    bool on_thread;
    char path[SORA_FILE_PATH_SIZE];
    struct sora_digest digest;
    struct sora_bytes manifest;
    struct model_waiter *waiters;
    struct model_fetch *fetch; /* of MODEL_LAY_OUT; its waiters are told */
    struct sora_model_source *sources;
    size_t source_count;
    struct sora_fault fault;
};

struct model_fetch {
    struct model_fetch *next;
    struct sora_model_store *store;
    struct sora_digest digest;
    unsigned char node[SORA_NODE_ID_SIZE];
    struct model_waiter *waiters;
    struct sora_bytes manifest;
    struct sora_message *message; /* NULL until the manifest is here */
    struct sora_model_facts facts;
    size_t asked, have, under_way; /* files */
    uint64_t bytes_have;
    size_t again;        /* blobs that lay here damaged and are fetched once more */
    bool pinned, ending; /* all its blobs; no longer to be cancelled */
};

struct sora_model_store {
    struct sora_blob_store *blobs;
    struct sora_blob_transfer *transfer;
    struct sora_tasks *tasks;
    char directory[SORA_FILE_PATH_SIZE];
    struct sora_digest_cache *cache; /* the thread's */
    struct model *models[MODELS_MAX];
    int model_count, work_count, fetch_count;
    struct model_work *works;
    struct model_fetch *fetches;
    bool closed; /* freed with the last work on the thread */
};

/* ---- model_store.c ---- */

int model_waiter_add(struct model_waiter **list, sora_model_done done, void *context);
void model_waiters_forget(struct model_waiter **list, const void *context);
/* Tells all, one by one, and empties the list; `fault` of no error means that the model is here. */
void model_waiters_tell(struct sora_model_store *store, struct model_waiter **list,
                        const struct sora_digest *digest, const struct sora_fault *fault);
struct model_work *model_work_make(struct sora_model_store *store, enum model_work_kind kind,
                                   const char *path);
/* Takes the work. Errors: FULL. */
int model_work_post(struct model_work *work);
void model_work_free(struct model_work *work);

/* ---- model_fetch.c ---- */

/* The layout ended, with that fault: tells the waiters and is gone. */
void model_fetch_end(struct model_fetch *fetch, const struct sora_fault *fault);
/* Frees without telling anybody; pins and callbacks are taken back. */
void model_fetch_free(struct model_fetch *fetch);

#endif
