/*
 * Model store: the models that this node holds, by digest.
 *
 * A model's digest is that of its manifest (proto/farm.proto, ModelManifest): facts and the digests
 * of its files. Folders that the owner named are digested on the thread of `tasks` (cached by path,
 * size and time in `cache_path`); their files are lent to the blob store, so that other nodes can
 * fetch them. A model that is not here is fetched from a node that has it: manifest, then every
 * file, each verified, resumable, then laid out under `directory`/<digest>. Never from a URL.
 * Owned by the daemon's thread; nothing blocks but create. Models that were fetched earlier are
 * checked on the thread after create and appear then.
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

/* Makes the folder. Errors: those of base/files, MEMORY. Returns owned. */
int sora_model_store_create(const struct sora_model_store_params *params,
                            struct sora_model_store **out_store, struct sora_fault *fault);
void sora_model_store_destroy(struct sora_model_store **store);

/* Called once per add or fetch; `entry` is NULL when it failed. */
typedef void (*sora_model_done)(void *context, const struct sora_model_entry *entry,
                                const struct sora_fault *fault);

/* Reads and digests a folder. `done` may be NULL; its fault says what is no model and why. A folder
 * whose content changed replaces what it was before. Errors: FULL (64 models with those on their
 * way, or the tasks), MEMORY. */
int sora_model_store_add(struct sora_model_store *store, const char *path, sora_model_done done,
                         void *context);

/* Takes the model of that folder out of the table; the folder stays as it is, and work that has it
 * open goes on. One that is not in the table is fine. */
void sora_model_store_remove(struct sora_model_store *store, const char *path);

/* Gets a model from a member; one that is here already is done soon. Errors: FULL, MEMORY. */
int sora_model_store_fetch(struct sora_model_store *store, const struct sora_digest *digest,
                           const unsigned char node[SORA_NODE_ID_SIZE], sora_model_done done,
                           void *context);
/* No `done` with this context is called; a fetch that nobody waits for ends, and can go on later
 * from what has come. */
void sora_model_store_forget(struct sora_model_store *store, const void *context);
/* "mini: 3 of 14 files, 12.5 of 18.4 MB" of a running fetch into out_words; false when there is
 * none. */
bool sora_model_store_progress(const struct sora_model_store *store,
                               const struct sora_digest *digest, char *out_words, size_t size);

/* Whether folders are still being read; what they hold is not in the table yet. */
bool sora_model_store_reading(const struct sora_model_store *store);
bool sora_model_store_find(const struct sora_model_store *store, const struct sora_digest *digest,
                           struct sora_model_entry *out_entry);
/* `index` from 0 to count - 1. */
int sora_model_store_count(const struct sora_model_store *store);
void sora_model_store_at(const struct sora_model_store *store, int index,
                         struct sora_model_entry *out_entry);

#endif
