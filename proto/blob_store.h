/*
 * Blob store: files named by the BLAKE2b-256 of their content.
 *
 *   DIR/objects/ab/abcdef...   complete, read-only, verified when they were written
 *   DIR/incoming/              on their way; partial fetches survive a restart; other leftovers are
 *                              removed at open
 *
 * Publishing is fsync, rename, fsync of the folder, done on the thread of `tasks`; what is `done`
 * is durable. Reading verifies the digest, once per process as long as nobody touches the file: a
 * damaged blob is removed and counts as missing. Above its size limit the store removes what was
 * used least recently and is not pinned. Owned by one thread, which never waits for the disk except
 * in open and path.
 */
#ifndef SORA_PROTO_BLOB_STORE_H
#define SORA_PROTO_BLOB_STORE_H

#include "base/tasks.h"
#include "proto/message.h"

struct sora_digest {
    unsigned char bytes[SORA_DIGEST_SIZE];
};
#define SORA_DIGEST_TEXT_SIZE 65
const char *sora_digest_text(const struct sora_digest *digest, char out[SORA_DIGEST_TEXT_SIZE]);
bool sora_digest_equal(const struct sora_digest *a, const struct sora_digest *b);
void sora_digest_of(const void *data, size_t size, struct sora_digest *out_digest);
/* From 64 hexadecimal digits; false for anything else. */
bool sora_digest_parse(const char *text, struct sora_digest *out_digest);

struct sora_blob {
    struct sora_digest digest;
    uint64_t size;
};
/* A size for fetching alone: the node that is asked says it, at most 4 MiB. */
#define SORA_BLOB_SIZE_UNKNOWN UINT64_MAX
/* Between wire and ours; `put` borrows from `blob`. */
void sora_blob_put(const struct sora_blob *blob, Farm__BlobName *out_wire);
bool sora_blob_get(const Farm__BlobName *wire, struct sora_blob *out_blob); /* NULL: false */

/* Digest and size of a regular file, read to its end; symbolic links are not followed. Blocks; any
 * thread. Errors: NOT_FOUND, DENIED, INVALID (not a regular file), IO. */
int sora_blob_of_file(const char *path, struct sora_blob *out_blob, struct sora_fault *fault);

struct sora_blob_store;

struct sora_blob_store_params {
    const char *directory;    /* made when missing */
    uint64_t bytes_max;       /* 0: no limit */
    struct sora_tasks *tasks; /* keeps */
};

/* Errors: those of base/files; BUSY (another process has the folder). Returns owned. */
int sora_blob_store_open(const struct sora_blob_store_params *params,
                         struct sora_blob_store **out_store, struct sora_fault *fault);
/* No `done` is called afterwards; what was handed in is still stored. */
void sora_blob_store_close(struct sora_blob_store **store);

/* DIR/incoming, where workers may write files for adopt. Borrows the store. */
const char *sora_blob_store_incoming(const struct sora_blob_store *store);

/* Result of put and adopt: blob is valid when fault.code is 0. Called from sora_tasks_step. */
typedef void (*sora_blob_done)(void *context, const struct sora_blob *blob,
                               const struct sora_fault *fault);

/* Stores a copy of `data`. Errors: FULL, MEMORY; what goes wrong later comes in `done`. */
int sora_blob_store_put(struct sora_blob_store *store, const void *data, size_t size,
                        sora_blob_done done, void *context);

/* Takes over the file at `path`, in the incoming folder, whose writer has closed it; it is removed
 * when that fails later. Errors: INVALID (elsewhere), FULL, MEMORY; then the file is left alone. */
int sora_blob_store_adopt(struct sora_blob_store *store, const char *path, sora_blob_done done,
                          void *context);
/* The same; content other than `expected` is removed and reported as FORMAT. */
int sora_blob_store_adopt_as(struct sora_blob_store *store, const char *path,
                             const struct sora_digest *expected, sora_blob_done done,
                             void *context);

/* Makes a file outside the store, which its owner has digested, available under its digest without
 * a copy (a model's weights). It is served while size and modification time stay the same. Errors:
 * NOT_FOUND, STALE (the file has another size), FULL (65,536 are lent), MEMORY. */
int sora_blob_store_lend(struct sora_blob_store *store, const struct sora_blob *blob,
                         const char *path);

/* No `done` with this context is called any more; the work itself goes on. */
void sora_blob_store_forget(struct sora_blob_store *store, const void *context);

/* Whether it is there; its size. */
bool sora_blob_store_have(struct sora_blob_store *store, const struct sora_digest *digest,
                          uint64_t *out_size);

/* Its file, for reading. Checks the content when this process has not yet done so (blocks for as
 * long as that takes). Errors: NOT_FOUND (also after damage), IO. */
int sora_blob_store_path(struct sora_blob_store *store, const struct sora_digest *digest,
                         char *out_path, size_t size, struct sora_fault *fault);

/* Checks the content on the thread, so that path does not block; `done` with NOT_FOUND when it is
 * not there or damaged. Errors: FULL, MEMORY. */
int sora_blob_store_check(struct sora_blob_store *store, const struct sora_digest *digest,
                          sora_blob_done done, void *context);

/* Whether path would not read the content: it was checked, is lent, or is not there. */
bool sora_blob_store_checked(const struct sora_blob_store *store, const struct sora_digest *digest);

/* A pinned blob is not evicted; counted. What is not there may be pinned beforehand. */
void sora_blob_store_pin(struct sora_blob_store *store, const struct sora_digest *digest);
void sora_blob_store_unpin(struct sora_blob_store *store, const struct sora_digest *digest);
/* Unpins what nobody needs any more: when no one else has pinned it, its file is removed. What is
 * not pinned is left alone. */
void sora_blob_store_drop(struct sora_blob_store *store, const struct sora_digest *digest);

/* Bytes of complete blobs. */
uint64_t sora_blob_store_bytes(const struct sora_blob_store *store);

#endif
