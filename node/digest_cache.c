/* Lines of "digest size time path" behind a first line with the version. */
#include "node/digest_cache.h"

#include "base/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define HEADER "sora-digests 1\n"
#define ENTRIES_MAX 8192
#define FILE_BYTES_MAX ((size_t)64 << 20)
#define SETTLED_S 2 /* since the last change */

struct entry {
    char *path; /* owned */
    int64_t modified_ns;
    struct sora_blob blob;
};

struct sora_digest_cache {
    char *path;
    struct entry *entries;
    int count, next; /* next: to be replaced when full */
    int misses;
    bool changed;
};

static struct entry *find(const struct sora_digest_cache *cache, const char *path)
{
    for (int i = 0; i < cache->count; i++) {
        if (strcmp(cache->entries[i].path, path) == 0)
            return &cache->entries[i];
    }
    return NULL;
}

/* Not to be kept is no error. */
static void keep(struct sora_digest_cache *cache, const char *path, int64_t modified_ns,
                 const struct sora_blob *blob)
{
    struct entry *entry = find(cache, path);
    if (!entry) {
        char *copy = strchr(path, '\n') ? NULL : strdup(path);
        if (!copy)
            return;
        if (cache->count < ENTRIES_MAX) {
            entry = &cache->entries[cache->count++];
        } else {
            entry = &cache->entries[cache->next++ % ENTRIES_MAX];
            free(entry->path);
        }
        entry->path = copy;
    }
    entry->modified_ns = modified_ns;
    entry->blob = *blob;
    cache->changed = true;
}

static void read_line(struct sora_digest_cache *cache, char *line)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    unsigned long long size;
    long long modified_ns;
    int path_at = 0;
    struct sora_blob blob;
    if (sscanf(line, "%64s %llu %lld %n", text, &size, &modified_ns, &path_at) != 3 ||
        line[path_at] != '/' || !sora_digest_parse(text, &blob.digest))
        return;
    blob.size = size;
    keep(cache, line + path_at, modified_ns, &blob);
}

static void read_file(struct sora_digest_cache *cache)
{
    struct sora_bytes bytes;
    if (sora_file_read(cache->path, FILE_BYTES_MAX, &bytes, NULL) != SORA_OK)
        return;
    char *text = (char *)bytes.data, *rest = NULL;
    if (text && strncmp(text, HEADER, strlen(HEADER)) == 0) {
        for (char *line = strtok_r(text + strlen(HEADER), "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest))
            read_line(cache, line);
    }
    sora_bytes_fini(&bytes);
    cache->changed = false;
}

int sora_digest_cache_create(const char *path, struct sora_digest_cache **out_cache)
{
    struct sora_digest_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return SORA_E_MEMORY;
    cache->path = strdup(path);
    cache->entries = calloc(ENTRIES_MAX, sizeof(*cache->entries));
    if (!cache->path || !cache->entries) {
        sora_digest_cache_destroy(&cache);
        return SORA_E_MEMORY;
    }
    read_file(cache);
    *out_cache = cache;
    return SORA_OK;
}

void sora_digest_cache_destroy(struct sora_digest_cache **cache)
{
    struct sora_digest_cache *gone = *cache;
    *cache = NULL;
    if (!gone)
        return;
    for (int i = 0; i < gone->count; i++)
        free(gone->entries[i].path);
    free(gone->entries);
    free(gone->path);
    free(gone);
}

static int64_t modified_ns(const struct stat *status)
{
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

int sora_digest_cache_get(struct sora_digest_cache *cache, const char *path,
                          struct sora_blob *out_blob, struct sora_fault *fault)
{
    struct stat before, after;
    if (lstat(path, &before) != 0)
        return sora_file_fault(fault, errno, "read", path);
    const struct entry *known = find(cache, path);
    if (known && S_ISREG(before.st_mode) && known->modified_ns == modified_ns(&before) &&
        known->blob.size == (uint64_t)before.st_size) {
        *out_blob = known->blob;
        return SORA_OK;
    }
    int rc = sora_blob_of_file(path, out_blob, fault);
    if (rc)
        return rc;
    cache->misses++;
    if (lstat(path, &after) != 0)
        return sora_file_fault(fault, errno, "read", path);
    if (modified_ns(&before) != modified_ns(&after) || out_blob->size != (uint64_t)after.st_size)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "%s changes while it is read; try again when it is complete", path);
    if (time(NULL) - after.st_mtime >= SETTLED_S)
        keep(cache, path, modified_ns(&after), out_blob);
    return SORA_OK;
}

int sora_digest_cache_save(struct sora_digest_cache *cache, struct sora_fault *fault)
{
    if (!cache->changed)
        return SORA_OK;
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, FILE_BYTES_MAX);
    int rc = sora_bytes_format(&bytes, HEADER);
    for (int i = 0; i < cache->count && rc == SORA_OK; i++) {
        const struct entry *entry = &cache->entries[i];
        char text[SORA_DIGEST_TEXT_SIZE];
        rc = sora_bytes_format(
            &bytes, "%s %llu %lld %s\n", sora_digest_text(&entry->blob.digest, text),
            (unsigned long long)entry->blob.size, (long long)entry->modified_ns, entry->path);
    }
    if (rc)
        sora_fault_set(fault, rc, "no room for the digests of %d files", cache->count);
    else
        rc = sora_file_write(cache->path, bytes.data, bytes.size, fault);
    sora_bytes_fini(&bytes);
    cache->changed = cache->changed && rc != SORA_OK;
    return rc;
}

int sora_digest_cache_misses(const struct sora_digest_cache *cache)
{
    return cache->misses;
}
