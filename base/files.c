/*
 * Whole files in and out. Writing goes through a part: a file with a temporary name in the target's
 * folder, so that the final rename stays on one file system and is atomic.
 */
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_PIECE 65536 /* bytes asked for when the size is not known */
#define NAME_TRIES 100   /* temporary names tried before giving up */

static const char *way_out(int code)
{
    switch (code) {
    case SORA_E_NOT_FOUND:
        return "; check the path";
    case SORA_E_DENIED:
        return "; choose a place that you may use, or change its permissions";
    case SORA_E_SPACE:
        return "; free some space or choose another disk";
    default:
        return "";
    }
}

int sora_file_fault(struct sora_fault *fault, int errno_value, const char *verb, const char *path)
{
    int code = sora_error_from_errno(errno_value);
    char text[128];
    const char *reason = strerror_r(errno_value, text, sizeof(text));
    return sora_fault_set(fault, code, "cannot %s %s: %s%s", verb, path, reason, way_out(code));
}

/* ---- reading ---- */

static int read_all(int fd, struct sora_bytes *bytes, size_t expected, const char *path,
                    struct sora_fault *fault)
{
    for (;;) {
        size_t room = bytes->size_max - bytes->size;
        size_t piece = expected > bytes->size ? expected - bytes->size : READ_PIECE;
        if (piece > room)
            piece = room;
        if (sora_bytes_reserve(bytes, piece))
            return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to read %s", path);
        /* One byte more than allowed tells a file of exactly size_max from a longer one. */
        unsigned char beyond;
        void *to = piece > 0 ? (void *)(bytes->data + bytes->size) : &beyond;
        ssize_t got = read(fd, to, piece > 0 ? piece : 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sora_file_fault(fault, errno, "read", path);
        if (got == 0)
            return SORA_OK;
        if (piece == 0)
            return sora_fault_set(fault, SORA_E_LIMIT, "%s is longer than the limit of %zu bytes",
                                  path, bytes->size_max);
        sora_bytes_commit(bytes, (size_t)got);
    }
}

int sora_file_read(const char *path, size_t size_max, struct sora_bytes *out_bytes,
                   struct sora_fault *fault)
{
    sora_bytes_init(out_bytes, size_max);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sora_file_fault(fault, errno, "read", path);
    struct stat status;
    int rc;
    if (fstat(fd, &status) != 0)
        rc = sora_file_fault(fault, errno, "read", path);
    else if (S_ISDIR(status.st_mode))
        rc = sora_fault_set(fault, SORA_E_INVALID, "%s is a folder; name a file", path);
    else if (S_ISREG(status.st_mode) && (uint64_t)status.st_size > size_max)
        rc = sora_fault_set(fault, SORA_E_LIMIT, "%s has %lld bytes; the limit is %zu", path,
                            (long long)status.st_size, size_max);
    else
        rc = read_all(fd, out_bytes, S_ISREG(status.st_mode) ? (size_t)status.st_size : 0, path,
                      fault);
    close(fd);
    if (rc)
        sora_bytes_fini(out_bytes);
    return rc;
}

/* ---- writing ---- */

int sora_file_write(const char *path, const void *data, size_t size, struct sora_fault *fault)
{
    struct sora_file_part part;
    int rc = sora_file_part_open(path, &part, fault);
    if (rc)
        return rc;
    rc = sora_file_part_write(&part, data, size, fault);
    if (rc)
        sora_file_part_discard(&part);
    else
        rc = sora_file_part_publish(&part, fault);
    return rc;
}

static int check_target(const char *path, struct sora_fault *fault)
{
    size_t length = strlen(path);
    if (length == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "the output path is empty; name a file");
    if (length >= SORA_FILE_PATH_SIZE - 64)
        return sora_fault_set(fault, SORA_E_LIMIT, "the output path has %zu bytes; the limit is %d",
                              length, SORA_FILE_PATH_SIZE - 65);
    struct stat status;
    bool exists = stat(path, &status) == 0;
    if (path[length - 1] == '/' || (exists && S_ISDIR(status.st_mode)))
        return sora_fault_set(fault, SORA_E_INVALID, "%s is a folder; name a file", path);
    if (exists && !S_ISREG(status.st_mode))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%s is a device, pipe or socket; name an ordinary file", path);
    return SORA_OK;
}

static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path + 1) : 0;
}

int sora_file_part_open(const char *path, struct sora_file_part *out_part, struct sora_fault *fault)
{
    static atomic_uint serial;
    int rc = check_target(path, fault);
    if (rc)
        return rc;
    struct sora_file_part part = {.fd = -1};
    snprintf(part.path, sizeof(part.path), "%s", path);
    for (int i = 0; i < NAME_TRIES; i++) {
        snprintf(part.temporary, sizeof(part.temporary), "%.*s.sora-part-%ld-%u",
                 folder_length(path), path, (long)getpid(), atomic_fetch_add(&serial, 1));
        part.fd = open(part.temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (part.fd >= 0) {
            *out_part = part;
            return SORA_OK;
        }
        if (errno != EEXIST)
            break;
    }
    return sora_file_fault(fault, errno, "create", path);
}

int sora_file_part_write(struct sora_file_part *part, const void *data, size_t size,
                         struct sora_fault *fault)
{
    const unsigned char *from = data;
    while (size > 0) {
        ssize_t written = write(part->fd, from, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return sora_file_fault(fault, errno, "write", part->path);
        from += written;
        size -= (size_t)written;
    }
    return SORA_OK;
}

/* Makes the rename itself durable; some file systems do not offer it, which loses nothing else. */
static void sync_folder(const char *path)
{
    char folder[SORA_FILE_PATH_SIZE];
    int length = folder_length(path);
    snprintf(folder, sizeof(folder), "%.*s", length > 0 ? length : 1, length > 0 ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

int sora_file_part_publish(struct sora_file_part *part, struct sora_fault *fault)
{
    int errno_first = fsync(part->fd) != 0 ? errno : 0;
    int closed = close(part->fd);
    part->fd = -1;
    if (!errno_first && closed != 0)
        errno_first = errno;
    if (!errno_first && rename(part->temporary, part->path) != 0)
        errno_first = errno;
    if (errno_first) {
        sora_file_part_discard(part);
        return sora_file_fault(fault, errno_first, "write", part->path);
    }
    part->temporary[0] = 0;
    sync_folder(part->path);
    return SORA_OK;
}

void sora_file_part_discard(struct sora_file_part *part)
{
    if (part->temporary[0] == 0)
        return;
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
    unlink(part->temporary);
    part->temporary[0] = 0;
}

/* ---- folders ---- */

static int make_dir(const char *path, struct sora_fault *fault)
{
    if (mkdir(path, 0777) == 0)
        return SORA_OK;
    int errno_value = errno;
    struct stat status;
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return SORA_OK;
        return sora_fault_set(fault, SORA_E_INVALID,
                              "cannot create folder %s: a file has that name", path);
    }
    return sora_file_fault(fault, errno_value, "create folder", path);
}

int sora_file_make_dirs(const char *path, struct sora_fault *fault)
{
    char part[SORA_FILE_PATH_SIZE];
    size_t length = strlen(path);
    if (length == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "the folder's path is empty; name a folder");
    if (length >= sizeof(part))
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the folder's path has %zu bytes; the limit is %zu", length,
                              sizeof(part) - 1);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if ((part[i] != '/' && part[i] != 0) || part[i - 1] == '/')
            continue;
        char kept = part[i];
        part[i] = 0;
        int rc = make_dir(part, fault);
        part[i] = kept;
        if (rc)
            return rc;
    }
    return SORA_OK;
}

/* ---- removing ---- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

int sora_file_remove_tree(const char *path, struct sora_fault *fault)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 || errno == ENOENT)
        return SORA_OK;
    return sora_file_fault(fault, errno, "remove", path);
}
