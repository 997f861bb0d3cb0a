/* The layers of the sandbox in the order in which they are entered; the filter comes last. */
#include "node/sandbox.h"

#include "base/log.h"
#include "node/sandbox_parts.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define DESCRIPTORS_MAX 256

static void lower_limit(int resource, rlim_t value)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit))
        return;
    if (limit.rlim_max > value)
        limit.rlim_max = value;
    limit.rlim_cur = limit.rlim_max;
    setrlimit((__rlimit_resource_t)resource, &limit);
}

static int enter_rlimits(const struct sora_sandbox_params *params, struct sora_fault *fault)
{
    (void)fault;
    lower_limit(RLIMIT_CORE, 0);
    lower_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
    if (params->memory_bytes)
        lower_limit(RLIMIT_DATA, params->memory_bytes);
    return 1;
}

/* Only with the privilege at hand: a user namespace made for this would offer the process more of
 * the kernel than it takes away, and sockets are denied by the filter anyway. */
static int enter_netns(const struct sora_sandbox_params *params, struct sora_fault *fault)
{
    (void)fault;
    return !params->network && unshare(CLONE_NEWNET) == 0;
}

/* A library that starts threads while it is loaded would leave a way out. */
static void look_for_threads(void)
{
    struct stat tasks;
    if (stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 3)
        sora_log(SORA_LOG_WARN, "threads began before the sandbox and stay outside threads=%d",
                 (int)tasks.st_nlink - 3);
}

/* 1: in force; 0: not here; negative: an error. */
struct layer {
    const char *name;
    int (*enter)(const struct sora_sandbox_params *params, struct sora_fault *fault);
};

static const struct layer layers[] = {
    {"rlimits", enter_rlimits},
    {"netns", enter_netns},
    {"landlock", sora_sandbox_enter_landlock},
    {"seccomp", sora_sandbox_enter_seccomp},
};

int sora_sandbox_enter(const struct sora_sandbox_params *params,
                       char out_words[SORA_SANDBOX_WORDS_SIZE], struct sora_fault *fault)
{
    char words[SORA_SANDBOX_WORDS_SIZE] = "";
    size_t length = 0;
    if (params->readable_count > SORA_SANDBOX_FOLDERS_MAX ||
        params->writable_count > SORA_SANDBOX_FOLDERS_MAX)
        return sora_fault_set(
            fault, SORA_E_LIMIT, "%d folders to read and %d to write; at most %d of each",
            params->readable_count, params->writable_count, SORA_SANDBOX_FOLDERS_MAX);
    look_for_threads();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return sora_fault_set(fault, SORA_E_IO, "cannot give up new privileges: %s",
                              strerror(errno));
    for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++) {
        int rc = layers[i].enter(params, fault);
        if (rc < 0)
            return rc;
        if (rc > 0)
            length += (size_t)snprintf(words + length, sizeof(words) - length, "%s%s",
                                       length ? " " : "", layers[i].name);
    }
    memcpy(out_words, words, sizeof(words));
    return 0;
}
