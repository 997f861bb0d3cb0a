/*
 * Blob index: what a blob store knows of its blobs, by digest and in the order of use.
 *
 * Part of proto/blob_store.c. An entry exists while there is something to know: the object is here,
 * a file is lent, or somebody pinned it. One thread; nothing blocks.
 */
#ifndef SORA_PROTO_BLOB_INDEX_H
#define SORA_PROTO_BLOB_INDEX_H

#include "proto/blob_store.h"

/* Which file has a name just now: a file that is renamed over another differs in both. */
struct sora_file_identity {
    uint64_t inode;
    int64_t modified_ns;
};

struct sora_blob_entry {
    struct sora_digest digest;
    uint64_t size;
    bool here, verified; /* in objects/; content was checked by this process */
    struct sora_file_identity identity;
    char *lent_path; /* owned; NULL: none */
    uint64_t lent_size;
    int64_t lent_modified_ns;
    int pins;
    struct sora_blob_entry *chain, *older, *newer;
};

struct sora_blob_index {
    struct sora_blob_entry **buckets;
    size_t bucket_count, count; /* bucket_count: a power of two */
    struct sora_blob_entry *oldest, *newest;
};

/* Errors: MEMORY. */
int sora_blob_index_init(struct sora_blob_index *index);
/* Accepts all-zero structs. */
void sora_blob_index_fini(struct sora_blob_index *index);

struct sora_blob_entry *sora_blob_index_find(const struct sora_blob_index *index,
                                             const struct sora_digest *digest);
/* Finds or makes it, as the newest; NULL: out of memory. */
struct sora_blob_entry *sora_blob_index_add(struct sora_blob_index *index,
                                            const struct sora_digest *digest);
/* Was used just now. */
void sora_blob_index_touch(struct sora_blob_index *index, struct sora_blob_entry *entry);
/* Removes the entry when nothing is known of it any more. */
void sora_blob_index_tidy(struct sora_blob_index *index, struct sora_blob_entry *entry);

#endif
