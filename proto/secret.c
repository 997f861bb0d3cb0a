/* Secret files. */
#include "proto/secret.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_private(const char *path, int *out_fd, struct sora_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sora_file_fault(fault, errno, "read", path);
    struct stat status;
    int rc = SORA_OK;
    if (fstat(fd, &status) != 0)
        rc = sora_file_fault(fault, errno, "read", path);
    else if (!S_ISREG(status.st_mode))
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s is no file", path);
    else if (status.st_mode & 077)
        rc = sora_fault_set(fault, SORA_E_DENIED,
                            "%s may be used by others (mode %04o); run chmod 600 on it", path,
                            (unsigned)status.st_mode & 07777);
    else if (status.st_uid != geteuid())
        rc = sora_fault_set(fault, SORA_E_DENIED, "%s belongs to another user", path);
    if (rc)
        close(fd);
    else
        *out_fd = fd;
    return rc;
}

int sora_secret_read(const char *path, void *out_data, size_t size_max, size_t *out_size,
                     struct sora_fault *fault)
{
    int fd = -1, rc = open_private(path, &fd, fault);
    if (rc)
        return rc;
    size_t size = 0;
    ssize_t got = 1;
    while (size < size_max && got > 0) {
        got = read(fd, (char *)out_data + size, size_max - size);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            size += (size_t)got;
    }
    char more;
    if (got < 0)
        rc = sora_file_fault(fault, errno, "read", path);
    else if (size == size_max && read(fd, &more, 1) == 1)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s is longer than %zu bytes", path, size_max);
    else
        *out_size = size;
    close(fd);
    return rc;
}

static int write_all(int fd, const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t wrote = write(fd, data + done, size - done);
        if (wrote < 0 && errno != EINTR)
            return errno;
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

/* Gives the finished file its name unless that is taken; link(2) decides in one step. */
static int publish(const char *temporary, const char *path, bool replace, struct sora_fault *fault)
{
    if ((replace ? rename(temporary, path) : link(temporary, path)) != 0) {
        if (errno == EEXIST)
            return sora_fault_set(fault, SORA_E_BUSY, "%s exists already", path);
        return sora_file_fault(fault, errno, "create", path);
    }
    char folder[SORA_FILE_PATH_SIZE];
    snprintf(folder, sizeof(folder), "%s", path);
    int fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    return SORA_OK;
}

int sora_secret_write(const char *path, const void *data, size_t size, bool replace,
                      struct sora_fault *fault)
{
    char temporary[SORA_FILE_PATH_SIZE];
    int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof(temporary))
        return sora_fault_set(fault, SORA_E_LIMIT, "the path of a secret file is too long");
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    int error = fd < 0 ? errno : write_all(fd, data, size);
    if (fd >= 0 && close(fd) != 0 && error == 0)
        error = errno;
    int rc = error ? sora_file_fault(fault, error, "write", path)
                   : publish(temporary, path, replace, fault);
    if (fd >= 0 && (rc || !replace))
        unlink(temporary);
    return rc;
}
