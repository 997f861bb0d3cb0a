/*
 * Digest cache: digests of large files, kept by path, size and modification time, so that a model
 * of many gigabytes is not read at every start.
 *
 * A file that changed less than two seconds ago is digested but not kept: it may change again
 * within one tick of its clock. One thread at a time; everything blocks on the disk.
 */
#ifndef SORA_NODE_DIGEST_CACHE_H
#define SORA_NODE_DIGEST_CACHE_H

#include "proto/blob_store.h"

struct sora_digest_cache;

/* Reads the cache file; one that is missing or damaged is an empty cache. Errors: MEMORY. Returns
 * owned. */
int sora_digest_cache_create(const char *path, struct sora_digest_cache **out_cache);
void sora_digest_cache_destroy(struct sora_digest_cache **cache);

/* Digest and size of an ordinary file. Errors: those of sora_blob_of_file; BUSY (it changes while
 * it is read). */
int sora_digest_cache_get(struct sora_digest_cache *cache, const char *path,
                          struct sora_blob *out_blob, struct sora_fault *fault);

/* Writes the cache file when something was added. Errors: those of sora_file_write. */
int sora_digest_cache_save(struct sora_digest_cache *cache, struct sora_fault *fault);

/* Files that were read since it was made, for tests. */
int sora_digest_cache_misses(const struct sora_digest_cache *cache);

#endif
