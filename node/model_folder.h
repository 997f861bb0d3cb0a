/*
 * Model folder: what of a folder is a model's, its manifest, and laying a fetched model out.
 *
 * Taken are ordinary files whose names end as a model's do, at most 8 folders deep; hidden names
 * are left out; a symbolic link is refused, because what it points at may be anywhere. Everything
 * blocks on the disk; any thread, one cache by one thread at a time.
 */
#ifndef SORA_NODE_MODEL_FOLDER_H
#define SORA_NODE_MODEL_FOLDER_H

#include "base/bytes.h"
#include "node/digest_cache.h"

/* Digests all files and appends the packed manifest. Errors: NOT_FOUND, FORMAT (no model), INVALID
 * (a link, a name that cannot be sent), LIMIT (1,024 files, depth), IO ... */
int sora_model_folder_scan(const char *path, struct sora_digest_cache *cache,
                           struct sora_bytes *manifest, struct sora_fault *fault);

/* Whether the folder of a fetched model holds what its manifest says; the manifest itself lies in
 * it as ".manifest" and is appended. Errors: NOT_FOUND, FORMAT (something differs), IO. */
int sora_model_folder_check(const char *path, const struct sora_digest *digest,
                            struct sora_digest_cache *cache, struct sora_bytes *manifest,
                            struct sora_fault *fault);

/* A file of a model and where its content is. */
struct sora_model_source {
    const char *path;   /* in the model's folder */
    const char *source; /* file to link, or to copy where links are not possible */
};

/* Makes `path`, which appears complete or not at all and replaces what was there; its parent must
 * exist. Errors: SPACE, DENIED, IO, LIMIT. */
int sora_model_folder_lay_out(const char *path, const struct sora_model_source *sources,
                              size_t count, const struct sora_bytes *manifest,
                              struct sora_fault *fault);

/* Removes a folder with all that is in it; what is missing is fine. */
void sora_model_folder_remove(const char *path);

#endif
