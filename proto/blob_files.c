/* The folder of a blob store: objects, incoming files, the lock. */
#include "proto/blob_files.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FETCH_PREFIX "fetch-"              /* partial fetches: proto/blob_transfer.c */
#define FETCH_AGE_S_MAX (7 * 24 * 60 * 60) /* one that nobody touched for so long is removed */

void sora_blob_files_path(const struct sora_blob_files *files, const struct sora_digest *digest,
                          char *out_path, size_t size)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    sora_digest_text(digest, text);
    int length = snprintf(out_path, size, "%s/%.2s/%s", files->objects, text, text);
    SORA_ASSERT(length > 0 && (size_t)length < size);
}

static int64_t modified_ns(const struct stat *status)
{
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

static struct sora_file_identity identity_of(const struct stat *status)
{
    return (struct sora_file_identity){
        .inode = (uint64_t)status->st_ino,
        .modified_ns = modified_ns(status),
    };
}

static bool same_file(const struct stat *status, const struct sora_file_identity *identity)
{
    struct sora_file_identity now = identity_of(status);
    return now.inode == identity->inode && now.modified_ns == identity->modified_ns;
}

/* A file that may not grow further has run out of space as well. */
static int write_fault(struct sora_fault *fault, int errno_value, const char *path)
{
    return sora_file_fault(fault, errno_value == EFBIG ? ENOSPC : errno_value, "write", path);
}

static int sync_folder(const char *path, struct sora_fault *fault)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems cannot sync a folder (EINVAL); they lose nothing else by that. */
    int rc = SORA_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        rc = write_fault(fault, errno, path);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- storing ---- */

static int write_all(int fd, const char *path, const unsigned char *data, size_t size,
                     struct sora_fault *fault)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return write_fault(fault, errno, path);
        data += written;
        size -= (size_t)written;
    }
    return SORA_OK;
}

int sora_blob_files_put(struct sora_blob_files *files, const char *path, const void *data,
                        size_t size, struct sora_fault *fault)
{
    (void)files;
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return write_fault(fault, errno, path);
    int rc = write_all(fd, path, data, size, fault);
    if (close(fd) != 0 && rc == SORA_OK)
        rc = write_fault(fault, errno, path);
    if (rc)
        unlink(path);
    return rc;
}

/* Read-only, for the owner alone, and on disk. */
static int settle(const char *path, struct sora_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return write_fault(fault, errno, path);
    int rc = SORA_OK;
    if (fchmod(fd, 0400) != 0 || fsync(fd) != 0)
        rc = write_fault(fault, errno, path);
    close(fd);
    return rc;
}

/* The folder of an object, made durable when it is new. */
static int make_folder(struct sora_blob_files *files, const char *folder, struct sora_fault *fault)
{
    if (mkdir(folder, 0700) == 0)
        return sync_folder(files->objects, fault);
    return errno == EEXIST ? SORA_OK : write_fault(fault, errno, folder);
}

static int move_in(struct sora_blob_files *files, const char *path,
                   const struct sora_digest *digest, struct sora_file_identity *out_identity,
                   struct sora_fault *fault)
{
    char target[SORA_FILE_PATH_SIZE + 80], folder[SORA_FILE_PATH_SIZE + 80];
    sora_blob_files_path(files, digest, target, sizeof(target));
    snprintf(folder, sizeof(folder), "%s", target);
    *strrchr(folder, '/') = 0;
    int rc = make_folder(files, folder, fault);
    if (rc)
        return rc;
    struct stat status;
    pthread_mutex_lock(&files->lock);
    if (rename(path, target) != 0 || stat(target, &status) != 0)
        rc = write_fault(fault, errno, target);
    pthread_mutex_unlock(&files->lock);
    if (rc == SORA_OK) {
        *out_identity = identity_of(&status);
        rc = sync_folder(folder, fault);
    }
    return rc;
}

int sora_blob_files_adopt(struct sora_blob_files *files, const char *path,
                          const struct sora_digest *expected, struct sora_blob *out_blob,
                          struct sora_file_identity *out_identity, struct sora_fault *fault)
{
    int rc = sora_blob_of_file(path, out_blob, fault);
    if (rc == SORA_OK && expected && !sora_digest_equal(expected, &out_blob->digest)) {
        char is[SORA_DIGEST_TEXT_SIZE], wanted[SORA_DIGEST_TEXT_SIZE];
        rc = sora_fault_set(
            fault, SORA_E_FORMAT, "%llu bytes have the digest %.16s..., expected was %.16s...",
            (unsigned long long)out_blob->size, sora_digest_text(&out_blob->digest, is),
            sora_digest_text(expected, wanted));
    }
    if (rc == SORA_OK)
        rc = settle(path, fault);
    if (rc == SORA_OK)
        rc = move_in(files, path, &out_blob->digest, out_identity, fault);
    if (rc)
        unlink(path);
    return rc;
}

/* ---- checking and removing ---- */

int sora_blob_files_check(struct sora_blob_files *files, const struct sora_digest *digest,
                          const struct sora_file_identity *verified, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE + 80], text[SORA_DIGEST_TEXT_SIZE];
    sora_blob_files_path(files, digest, path, sizeof(path));
    sora_digest_text(digest, text);
    struct stat status;
    bool found = lstat(path, &status) == 0;
    if (!found && errno == ENOENT)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "blob %.16s... was removed", text);
    if (found && verified && same_file(&status, verified))
        return SORA_OK;
    struct sora_blob blob;
    int rc = sora_blob_of_file(path, &blob, fault);
    if (rc != SORA_OK && rc != SORA_E_INVALID)
        return rc;
    if (rc == SORA_OK && sora_digest_equal(&blob.digest, digest))
        return SORA_OK;
    struct sora_file_identity identity = identity_of(&status);
    sora_blob_files_remove(files, digest, &identity);
    return sora_fault_set(fault, SORA_E_NOT_FOUND, "blob %.16s... was damaged and is removed",
                          text);
}

void sora_blob_files_remove(struct sora_blob_files *files, const struct sora_digest *digest,
                            const struct sora_file_identity *identity)
{
    char path[SORA_FILE_PATH_SIZE + 80];
    sora_blob_files_path(files, digest, path, sizeof(path));
    struct stat status;
    pthread_mutex_lock(&files->lock);
    if (lstat(path, &status) == 0 && same_file(&status, identity))
        unlink(path);
    pthread_mutex_unlock(&files->lock);
}

/* ---- opening ---- */

static int take_lock(struct sora_blob_files *files, const char *directory, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE + 16];
    snprintf(path, sizeof(path), "%s/lock", directory);
    files->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (files->lock_fd < 0)
        return write_fault(fault, errno, path);
    if (flock(files->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return SORA_OK;
    if (errno != EWOULDBLOCK)
        return write_fault(fault, errno, path);
    return sora_fault_set(fault, SORA_E_BUSY,
                          "another process has the folder %s; end it or choose another folder",
                          directory);
}

int sora_blob_files_open(struct sora_blob_files *files, const char *directory,
                         struct sora_fault *fault)
{
    *files = (struct sora_blob_files){.lock_fd = -1};
    if (strlen(directory) > SORA_FILE_PATH_SIZE - 128)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the blob folder's path has %zu bytes; the limit is %d",
                              strlen(directory), SORA_FILE_PATH_SIZE - 128);
    snprintf(files->objects, sizeof(files->objects), "%s/objects", directory);
    snprintf(files->incoming, sizeof(files->incoming), "%s/incoming", directory);
    files->has_lock = pthread_mutex_init(&files->lock, NULL) == 0;
    if (!files->has_lock)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a lock");
    int rc = sora_file_make_dirs(files->objects, fault);
    if (rc == SORA_OK)
        rc = sora_file_make_dirs(files->incoming, fault);
    if (rc == SORA_OK)
        rc = take_lock(files, directory, fault);
    return rc;
}

void sora_blob_files_close(struct sora_blob_files *files)
{
    if (files->has_lock)
        pthread_mutex_destroy(&files->lock);
    if (files->lock_fd >= 0)
        close(files->lock_fd);
    files->lock_fd = -1;
    files->has_lock = false;
}

/* ---- looking at what is there ---- */

static bool is_partial_fetch(const char *name, const struct stat *status)
{
    struct sora_digest digest;
    size_t prefix = strlen(FETCH_PREFIX);
    return S_ISREG(status->st_mode) && strncmp(name, FETCH_PREFIX, prefix) == 0 &&
           sora_digest_parse(name + prefix, &digest) &&
           time(NULL) - status->st_mtime < FETCH_AGE_S_MAX;
}

static int clean_incoming(const struct sora_blob_files *files, struct sora_fault *fault)
{
    DIR *dir = opendir(files->incoming);
    if (!dir)
        return sora_file_fault(fault, errno, "read", files->incoming);
    for (struct dirent *item; (item = readdir(dir));) {
        struct stat status;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 ||
            fstatat(dirfd(dir), item->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            is_partial_fetch(item->d_name, &status))
            continue;
        if (unlinkat(dirfd(dir), item->d_name, 0) != 0)
            sora_log(SORA_LOG_WARN, "cannot remove a leftover folder=%s errno=%d", files->incoming,
                     errno);
    }
    closedir(dir);
    return SORA_OK;
}

struct found_object {
    struct sora_blob blob;
    struct sora_file_identity identity;
};

static int by_age(const void *a, const void *b)
{
    const struct found_object *left = a, *right = b;
    return (left->identity.modified_ns > right->identity.modified_ns) -
           (left->identity.modified_ns < right->identity.modified_ns);
}

/* Adds the objects of one folder, objects/ab. */
static int scan_folder(const char *folder, struct sora_bytes *found, struct sora_fault *fault)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? SORA_OK : sora_file_fault(fault, errno, "read", folder);
    int rc = SORA_OK;
    for (struct dirent *item; rc == SORA_OK && (item = readdir(dir));) {
        struct found_object object;
        struct stat status;
        if (!sora_digest_parse(item->d_name, &object.blob.digest) ||
            fstatat(dirfd(dir), item->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(status.st_mode))
            continue;
        object.blob.size = (uint64_t)status.st_size;
        object.identity = identity_of(&status);
        rc = sora_bytes_append(found, &object, sizeof(object));
        if (rc)
            sora_fault_set(fault, rc, "too many blobs in %s", folder);
    }
    closedir(dir);
    return rc;
}

int sora_blob_files_scan(struct sora_blob_files *files,
                         int (*found)(void *context, const struct sora_blob *blob,
                                      const struct sora_file_identity *identity),
                         void *context, struct sora_fault *fault)
{
    int rc = clean_incoming(files, fault);
    struct sora_bytes objects;
    sora_bytes_init(&objects, (size_t)1 << 32);
    for (int i = 0; i < 256 && rc == SORA_OK; i++) {
        char folder[SORA_FILE_PATH_SIZE + 8];
        snprintf(folder, sizeof(folder), "%s/%02x", files->objects, (unsigned)i);
        rc = scan_folder(folder, &objects, fault);
    }
    size_t count = objects.size / sizeof(struct found_object);
    struct found_object *items = (struct found_object *)(void *)objects.data;
    if (rc == SORA_OK && count > 0)
        qsort(items, count, sizeof(items[0]), by_age);
    for (size_t i = 0; i < count && rc == SORA_OK; i++) {
        rc = found(context, &items[i].blob, &items[i].identity);
        if (rc)
            sora_fault_set(fault, rc, "not enough memory to note a blob");
    }
    sora_bytes_fini(&objects);
    return rc;
}
