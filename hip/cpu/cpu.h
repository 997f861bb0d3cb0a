/*
 * The CPU backend: complete, always built. Plain C (hip/cpu/plain_*.c) defines what is correct; the
 * fast paths are tested against it.
 *
 * The device owns a pool of `thread_count` threads (the calling thread is one of them). Work is cut
 * into pieces by shape alone, never by thread count, so results do not depend on it.
 */
#ifndef SORA_HIP_CPU_CPU_H
#define SORA_HIP_CPU_CPU_H

#include "hip/device.h"

enum sora_cpu_path {
    SORA_CPU_PATH_AUTO = 0, /* best instruction set that this machine has */
    SORA_CPU_PATH_PLAIN,    /* the reference: single rounding order as written, slow */
    SORA_CPU_PATH_AVX2,
    SORA_CPU_PATH_AVX512,
};

struct sora_cpu_params {
    int thread_count;        /* 0: all cores that this process may use; at most 256 */
    enum sora_cpu_path path; /* a path that the machine lacks is refused with UNSUPPORTED */
};

/* Returns an owned device. NULL params mean the defaults. */
int sora_cpu_device_create(const struct sora_cpu_params *params, struct sora_device **out_device,
                           struct sora_fault *fault);

#endif
