/*
 * Sandbox: a worker process gives up what it does not need before it reads anything from outside.
 *
 * Called once, early, by the only thread of the process: threads that exist already would stay
 * outside. What is given up cannot be had back. The layers, each left out where the kernel lacks
 * it:
 *
 *   rlimits   no core files, few descriptors, and the memory limit
 *   netns     a network namespace of its own, without interfaces; needs a privilege, mostly absent
 *   landlock  files: the folders named below, the system's libraries, a few files of /proc and
 *             /sys, for a card its device files and the folders of libraries that are loaded
 *             already; also no TCP, no signals to others (kernel 5.13, more with newer ones)
 *   seccomp   no sockets, programs, processes, tracing, mounts, keys, kernel interfaces
 *
 * The system call filter is a list of what is denied (EPERM), not of what is allowed: compute
 * libraries, allocators and drivers use calls that differ from version to version, and a worker
 * that dies in the middle of a job after a library's update would be switched off by its owner. The
 * calls that lead out of the process are known by name.
 */
#ifndef SORA_NODE_SANDBOX_H
#define SORA_NODE_SANDBOX_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SORA_SANDBOX_FOLDERS_MAX 16
#define SORA_SANDBOX_WORDS_SIZE 64

struct sora_sandbox_params {
    const char *const
        *readable;      /* folders or files, with all beneath; one that is gone counts nothing */
    int readable_count; /* 0..SORA_SANDBOX_FOLDERS_MAX */
    const char *const *writable; /* folders: read, write, make, rename within, remove */
    int writable_count;
    uint64_t memory_bytes; /* of private memory (RLIMIT_DATA); 0: no limit */
    bool network;          /* true keeps sockets */
    /* True keeps the device files of GPUs, what their drivers read, and the folder of every library
     * that is loaded now (sora_gpu_libraries_load): toolkits lie outside the system's folders. */
    bool cards;
};

/* Writes what is in force, "rlimits landlock seccomp". A layer that the kernel lacks is left out; a
 * layer that fails otherwise is an error, and the process should end: it may be restricted in part.
 * Errors: NOT_FOUND and DENIED (a folder, by name), LIMIT (too many folders), IO. */
int sora_sandbox_enter(const struct sora_sandbox_params *params,
                       char out_words[SORA_SANDBOX_WORDS_SIZE], struct sora_fault *fault);

#endif
