/*
 * Blob files: the folder of a blob store.
 *
 * Part of proto/blob_store.c. All of it blocks; put and adopt are called by the store's thread
 * only, the rest by it and the owner: a lock keeps renaming and removing apart. Names in the folder
 * are the store's own, so nothing here meets a path from outside.
 */
#ifndef SORA_PROTO_BLOB_FILES_H
#define SORA_PROTO_BLOB_FILES_H

#include "base/files.h"
#include "proto/blob_index.h"

#include <pthread.h>

struct sora_blob_files {
    char objects[SORA_FILE_PATH_SIZE], incoming[SORA_FILE_PATH_SIZE];
    int lock_fd; /* of DIR/lock, so that one process has the folder */
    pthread_mutex_t lock;
    bool has_lock;
};

/* Makes the folders. Errors: those of base/files, BUSY. */
int sora_blob_files_open(struct sora_blob_files *files, const char *directory,
                         struct sora_fault *fault);
void sora_blob_files_close(struct sora_blob_files *files);

/* Removes leftovers in the incoming folder, then reports all objects, those that were written first
 * at first; an error of `found` ends it. */
int sora_blob_files_scan(struct sora_blob_files *files,
                         int (*found)(void *context, const struct sora_blob *blob,
                                      const struct sora_file_identity *identity),
                         void *context, struct sora_fault *fault);

void sora_blob_files_path(const struct sora_blob_files *files, const struct sora_digest *digest,
                          char *out_path, size_t size);

/* Writes a file in the incoming folder. On error it is gone. */
int sora_blob_files_put(struct sora_blob_files *files, const char *path, const void *data,
                        size_t size, struct sora_fault *fault);

/* Digests the file, makes it durable and renames it to its place; `expected` may be NULL. On error
 * it is gone. Errors: FORMAT (not the expected content), SPACE, IO ... */
int sora_blob_files_adopt(struct sora_blob_files *files, const char *path,
                          const struct sora_digest *expected, struct sora_blob *out_blob,
                          struct sora_file_identity *out_identity, struct sora_fault *fault);

/* Whether the object is there and has the right content; one that has not is removed. A file that
 * is still `verified` (NULL: none) is not read again. Errors: NOT_FOUND, IO, DENIED, MEMORY. */
int sora_blob_files_check(struct sora_blob_files *files, const struct sora_digest *digest,
                          const struct sora_file_identity *verified, struct sora_fault *fault);

/* Removes an object when it is still that file. */
void sora_blob_files_remove(struct sora_blob_files *files, const struct sora_digest *digest,
                            const struct sora_file_identity *identity);

#endif
