/*
 * Landlock: which files the process may open (Documentation/userspace-api/landlock.rst of Linux).
 *
 * Numbers and structs of the kernel's interface are written out here, because the build machine's
 * kernel headers may be older than the kernel that runs. What an older kernel does not know is left
 * out by its ABI number.
 */
#include "base/files.h"
#include "node/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_RULESET_VERSION 1
#define RULE_PATH_BENEATH 1

/* LANDLOCK_ACCESS_FS_* */
#define WRITE_FILE (UINT64_C(1) << 1)
#define READ_FILE (UINT64_C(1) << 2)
#define READ_DIR (UINT64_C(1) << 3)
#define REMOVE_FILE (UINT64_C(1) << 5)
#define MAKE_REGULAR (UINT64_C(1) << 8)
#define ALL_OF_ABI_1 ((UINT64_C(1) << 13) - 1)
#define REFER (UINT64_C(1) << 13)        /* ABI 2 */
#define TRUNCATE (UINT64_C(1) << 14)     /* ABI 3 */
#define IOCTL_DEVICE (UINT64_C(1) << 15) /* ABI 5 */

#define READING (READ_FILE | READ_DIR)
#define WRITING (READING | WRITE_FILE | REMOVE_FILE | MAKE_REGULAR | TRUNCATE)
#define DRIVING (READ_FILE | READ_DIR | WRITE_FILE | IOCTL_DEVICE)
/* The rights that a file itself can have. */
#define ON_FILES (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEVICE)

/* LANDLOCK_ACCESS_NET_{BIND,CONNECT}_TCP, ABI 4; LANDLOCK_SCOPE_{ABSTRACT_UNIX_SOCKET,SIGNAL}, 6 */
#define TCP_ALL UINT64_C(3)
#define SCOPE_ALL UINT64_C(3)

struct ruleset_attributes {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

struct __attribute__((packed)) path_attributes {
    uint64_t allowed_access;
    int32_t parent_fd;
};

/* What every program of this kind reads: libraries, locales and character sets, CPU and memory
 * counts (glibc, the CPU device). /proc/self alone: other processes' entries hold their secrets. */
static const char *const system_readable[] = {
    "/usr",       "/lib",         "/lib64",        "/etc/ld.so.cache", "/etc/localtime",
    "/proc/self", "/proc/stat",   "/proc/meminfo", "/proc/cpuinfo",    "/sys/devices/system",
    "/dev/null",  "/dev/urandom", "/proc/sys/vm",
};

/* The drivers' device files, and where they look for cards and settings. NVIDIA's cards have a
 * file each, by number. */
static const char *const card_devices[] = {
    "/dev/kfd",         "/dev/dri", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
    "/dev/nvidia-caps", "/dev/shm"};
#define NVIDIA_CARDS_MAX 16
static const char *const card_readable[] = {
    "/opt/rocm",   "/opt/amdgpu",  "/sys/class/kfd", "/sys/class/drm",
    "/sys/bus",    "/sys/devices", "/sys/module",    "/proc/driver/nvidia",
    "/etc/OpenCL", "/etc/nvidia",  "/proc/devices",  "/proc/modules",
};

/* Bytes of struct ruleset_attributes that the kernel's ABI knows. */
static size_t attributes_size(long abi)
{
    return abi >= 6 ? 24 : (abi >= 4 ? 16 : 8);
}

static uint64_t rights_of_abi(long abi)
{
    uint64_t rights = ALL_OF_ABI_1;
    rights |= abi >= 2 ? REFER : 0;
    rights |= abi >= 3 ? TRUNCATE : 0;
    return rights | (abi >= 5 ? IOCTL_DEVICE : 0);
}

static int allow(int ruleset, const char *path, uint64_t rights, struct sora_fault *fault)
{
    struct stat status;
    struct path_attributes rule = {.allowed_access = rights,
                                   .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return sora_file_fault(fault, errno, "use", path);
    if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
        rule.allowed_access &= ON_FILES;
    long rc = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    int code = errno;
    close(rule.parent_fd);
    return rc ? sora_file_fault(fault, code, "make accessible", path) : 0;
}

/* The folder of a file, if it is not the root. */
static void allow_folder(int ruleset, char *path)
{
    char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash == path)
        return;
    *slash = '\0';
    allow(ruleset, path, READING, NULL);
}

/* The folders where a library was found and where it lies: it reads what is beside it (code for
 * products, headers of a compiler) and loads more from there, whenever it likes. */
static int add_library_rules(struct dl_phdr_info *info, size_t size, void *ruleset)
{
    (void)size;
    char *real = realpath(info->dlpi_name, NULL), *found = strdup(info->dlpi_name);
    if (real)
        allow_folder(*(int *)ruleset, real);
    if (real && found)
        allow_folder(*(int *)ruleset, found);
    free(real);
    free(found);
    return 0;
}

/* What a machine lacks of these is left out. */
static void add_card_rules(int ruleset, uint64_t rights)
{
    char path[32];
    for (size_t i = 0; i < sizeof(card_devices) / sizeof(card_devices[0]); i++)
        allow(ruleset, card_devices[i], DRIVING & rights, NULL);
    for (int i = 0; i < NVIDIA_CARDS_MAX; i++) {
        snprintf(path, sizeof(path), "/dev/nvidia%d", i);
        allow(ruleset, path, DRIVING & rights, NULL);
    }
    for (size_t i = 0; i < sizeof(card_readable) / sizeof(card_readable[0]); i++)
        allow(ruleset, card_readable[i], READING, NULL);
    dl_iterate_phdr(add_library_rules, &ruleset);
}

static int add_rules(int ruleset, const struct sora_sandbox_params *params, uint64_t rights,
                     struct sora_fault *fault)
{
    for (size_t i = 0; i < sizeof(system_readable) / sizeof(system_readable[0]); i++)
        allow(ruleset, system_readable[i], READING, NULL); /* not every system has all of them */
    if (params->cards)
        add_card_rules(ruleset, rights);
    int error = 0;
    for (int i = 0; !error && i < params->readable_count; i++) {
        struct sora_fault inner = {0};
        error = allow(ruleset, params->readable[i], READING, &inner);
        if (error == SORA_E_NOT_FOUND)
            error = 0; /* one model's folder is gone; the others are of use */
        else if (error)
            sora_fault_set(fault, error, "%s", inner.text);
    }
    for (int i = 0; !error && i < params->writable_count; i++)
        error = allow(ruleset, params->writable[i], WRITING & rights, fault);
    return error;
}

int sora_sandbox_enter_landlock(const struct sora_sandbox_params *params, struct sora_fault *fault)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0;
    struct ruleset_attributes attributes = {
        .handled_access_fs = rights_of_abi(abi),
        .handled_access_net = abi >= 4 && !params->network ? TCP_ALL : 0,
        .scoped = abi >= 6 ? SCOPE_ALL : 0,
    };
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(abi), 0);
    if (ruleset < 0)
        return sora_fault_set(fault, SORA_E_IO, "cannot make a landlock rule set: %s",
                              strerror(errno));
    int error = add_rules(ruleset, params, attributes.handled_access_fs, fault);
    if (!error && syscall(SYS_landlock_restrict_self, ruleset, 0))
        error = sora_fault_set(fault, SORA_E_IO, "cannot enter the landlock rule set: %s",
                               strerror(errno));
    close(ruleset);
    return error ? error : 1;
}
