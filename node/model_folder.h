/*
 * Model folder: what of a folder is a model's, its manifest, and laying a fetched model out.
 *
 * Taken are ordinary files whose names end as a model's do, at most 8 folders deep; hidden names
 * are left out. A symbolic link to a file is followed when that lies below the folder, or, as in
 * the cache of the Hugging Face hub, below the repository's folder:
 * models--ORG--NAME/snapshots/REVISION has links to models--ORG--NAME/blobs. Other links are
 * refused, because what they point at may be anything. Everything blocks on the disk; any thread,
 * one cache by one thread at a time.
 */
#ifndef SORA_NODE_MODEL_FOLDER_H
#define SORA_NODE_MODEL_FOLDER_H

#include "base/bytes.h"
#include "base/files.h"
#include "node/digest_cache.h"

/* The folder below which the links of a model's folder may lead: itself, or its repository.
 * Errors: NOT_FOUND, DENIED. */
int sora_model_folder_reach(const char *path, char out_path[SORA_FILE_PATH_SIZE],
                            struct sora_fault *fault);
/* Refuses a folder with a link that leads elsewhere. Errors: INVALID, NOT_FOUND, LIMIT. */
int sora_model_folder_check_links(const char *path, struct sora_fault *fault);

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
