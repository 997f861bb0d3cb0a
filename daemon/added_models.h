/*
 * Added models: the folders that the local user added by `soractl models add`, remembered in the
 * state as "models.added", one path from the root a line.
 *
 * Owned by the daemon; its thread; only load blocks. Whoever changes the list writes it by a keep.
 */
#ifndef SORA_DAEMON_ADDED_MODELS_H
#define SORA_DAEMON_ADDED_MODELS_H

#include "daemon/keep.h"

#define SORA_ADDED_MODELS_MAX 64 /* as many as a node holds */

struct sora_added_models {
    char *paths[SORA_ADDED_MODELS_MAX]; /* owned */
    int count;
};

/* A file that is not there is an empty list. Errors: FORMAT, with the way out; those of
 * base/files; MEMORY. */
int sora_added_models_load(const struct sora_state *state, struct sora_added_models *out_added,
                           struct sora_fault *fault);
void sora_added_models_fini(struct sora_added_models *added);

bool sora_added_models_has(const struct sora_added_models *added, const char *path);
/* A path that is in the list already is fine. Errors: FULL, MEMORY. */
int sora_added_models_put(struct sora_added_models *added, const char *path);
void sora_added_models_drop(struct sora_added_models *added, const char *path);

/* Adds the file as it is now. Errors: MEMORY, FULL. */
int sora_added_models_keep(const struct sora_added_models *added, struct sora_keep *keep);

#endif
