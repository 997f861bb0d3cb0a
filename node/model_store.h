/*
 * Model store: the models that this node holds, by digest.
 *
 * A model's digest is that of its manifest (proto/farm.proto, ModelManifest): facts and the digests
 * of its files. Folders that the owner named are digested on the thread of `tasks` (cached by path,
 * size and time in `cache_path`); their files are lent to the blob store, so that other nodes can
 * fetch them. A model that is not here is fetched from a node that has it: manifest, then every
 * file, each verified, resumable, then laid out under `directory`/<digest>. Never from a URL.
 * Owned by the daemon's thread; nothing blocks.
 */
#ifndef SORA_NODE_MODEL_STORE_H
#define SORA_NODE_MODEL_STORE_H

#include "base/job_plan.h"
#include "proto/blob_transfer.h"

struct sora_model_store;

struct sora_model_store_params {
    struct sora_blob_store *blobs; /* keeps, as all pointers */
    struct sora_blob_transfer *transfer;
    struct sora_tasks *tasks;
    const char *directory;  /* fetched models */
    const char *cache_path; /* of digests */
};

/* One model here. Strings are borrowed until the store changes. */
struct sora_model_entry {
    struct sora_digest digest;
    const char *name, *path;
    uint64_t size;
    struct sora_model_facts facts;
};

int sora_model_store_create(const struct sora_model_store_params *params,
                            struct sora_model_store **out_store, struct sora_fault *fault);
void sora_model_store_destroy(struct sora_model_store **store);

/* Called once per add or fetch; `entry` is NULL when it failed. */
typedef void (*sora_model_done)(void *context, const struct sora_model_entry *entry,
                                const struct sora_fault *fault);

/* Reads and digests a folder. `done` may be NULL. Errors: FULL. */
int sora_model_store_add(struct sora_model_store *store, const char *path, sora_model_done done,
                         void *context);

/* Gets a model from a member. */
int sora_model_store_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                           const unsigned char node[SORA_NODE_ID_SIZE], sora_model_done done,
                           void *context);
void sora_model_store_forget(struct sora_model_store *store, const void *context);

bool sora_model_store_find(const struct sora_model_store *store, const struct sora_digest *digest,
                           struct sora_model_entry *out_entry);
int sora_model_store_count(const struct sora_model_store *store);
void sora_model_store_at(const struct sora_model_store *store, int index,
                         struct sora_model_entry *out_entry);

#endif
