/*
 * Opening a device by its name: "cpu0", "gpu0" (hip/gpu/gpu.h says which card that is).
 *
 * The caller owns the device. Blocks: a card's driver takes up to a second to start, and kernels
 * for a card that the build has no code for are compiled, for some seconds.
 */
#ifndef SORA_NODE_DEVICE_OPEN_H
#define SORA_NODE_DEVICE_OPEN_H

#include "hip/device.h"

struct sora_device_open_params {
    const char *name;         /* NULL: "cpu0" */
    int threads;              /* CPU; 0: all */
    uint64_t memory_bytes;    /* card: at most; 0: no limit */
    int precision;            /* card: enum sora_gpu_precision */
    const char *cache_folder; /* card: keeps compiled kernels; NULL: none */
};

/* Errors: UNSUPPORTED (no such name), those of the two backends. */
int sora_device_open(const struct sora_device_open_params *params, struct sora_device **out_device,
                     struct sora_fault *fault);

#endif
