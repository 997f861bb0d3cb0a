/* A hash table with chains, and a list through all its entries from the oldest use to the newest.
 */
#include "proto/blob_index.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 256

/* A digest is as good as random: its first bytes are the hash. */
static size_t bucket_of(const struct sora_blob_index *index, const struct sora_digest *digest)
{
    uint64_t hash;
    memcpy(&hash, digest->bytes, sizeof(hash));
    return (size_t)hash & (index->bucket_count - 1);
}

int sora_blob_index_init(struct sora_blob_index *index)
{
    *index = (struct sora_blob_index){.bucket_count = BUCKETS_FIRST};
    index->buckets = calloc(BUCKETS_FIRST, sizeof(struct sora_blob_entry *));
    return index->buckets ? SORA_OK : SORA_E_MEMORY;
}

void sora_blob_index_fini(struct sora_blob_index *index)
{
    struct sora_blob_entry *entry = index->oldest;
    while (entry) {
        struct sora_blob_entry *newer = entry->newer;
        free(entry->lent_path);
        free(entry);
        entry = newer;
    }
    free(index->buckets);
    *index = (struct sora_blob_index){0};
}

struct sora_blob_entry *sora_blob_index_find(const struct sora_blob_index *index,
                                             const struct sora_digest *digest)
{
    struct sora_blob_entry *entry = index->buckets[bucket_of(index, digest)];
    while (entry && !sora_digest_equal(&entry->digest, digest))
        entry = entry->chain;
    return entry;
}

/* ---- order of use ---- */

static void list_remove(struct sora_blob_index *index, struct sora_blob_entry *entry)
{
    *(entry->older ? &entry->older->newer : &index->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &index->newest) = entry->older;
    entry->older = entry->newer = NULL;
}

static void list_append(struct sora_blob_index *index, struct sora_blob_entry *entry)
{
    entry->older = index->newest;
    *(index->newest ? &index->newest->newer : &index->oldest) = entry;
    index->newest = entry;
}

void sora_blob_index_touch(struct sora_blob_index *index, struct sora_blob_entry *entry)
{
    if (index->newest == entry)
        return;
    list_remove(index, entry);
    list_append(index, entry);
}

/* ---- changes ---- */

/* Failing to grow only makes the chains longer. */
static void grow(struct sora_blob_index *index)
{
    struct sora_blob_entry **buckets = calloc(index->bucket_count * 2, sizeof(*buckets));
    if (!buckets)
        return;
    free(index->buckets);
    index->buckets = buckets;
    index->bucket_count *= 2;
    for (struct sora_blob_entry *entry = index->oldest; entry; entry = entry->newer) {
        struct sora_blob_entry **bucket = &buckets[bucket_of(index, &entry->digest)];
        entry->chain = *bucket;
        *bucket = entry;
    }
}

struct sora_blob_entry *sora_blob_index_add(struct sora_blob_index *index,
                                            const struct sora_digest *digest)
{
    struct sora_blob_entry *entry = sora_blob_index_find(index, digest);
    if (entry) {
        sora_blob_index_touch(index, entry);
        return entry;
    }
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    if (index->count >= index->bucket_count)
        grow(index);
    entry->digest = *digest;
    struct sora_blob_entry **bucket = &index->buckets[bucket_of(index, digest)];
    entry->chain = *bucket;
    *bucket = entry;
    list_append(index, entry);
    index->count++;
    return entry;
}

void sora_blob_index_tidy(struct sora_blob_index *index, struct sora_blob_entry *entry)
{
    if (entry->here || entry->lent_path || entry->pins > 0)
        return;
    struct sora_blob_entry **at = &index->buckets[bucket_of(index, &entry->digest)];
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    list_remove(index, entry);
    index->count--;
    free(entry);
}
