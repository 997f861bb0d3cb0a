/*
 * The emulator as a driver: the third vendor of hip/gpu/runtime.h.
 *
 * Its six "cards" are the kinds of matrix units that the kernels are written for, so everything
 * above the driver runs without a card. Device memory is host memory with 0xff bytes in it; work is
 * done inside the call that queues it. Tests set what is to fail.
 *
 * One process-wide state behind a lock: any thread. A launch blocks until it is done.
 */
#ifndef SORA_HIP_GPU_EMULATED_H
#define SORA_HIP_GPU_EMULATED_H

#include "hip/gpu/emulator.h"
#include "hip/gpu/runtime.h"

struct sora_emulated_controls {
    uint64_t memory_total; /* bytes that each card has; 0: 16 GiB */
    char others[256];      /* a file with the MiB that other programs hold; "": none do */
    int64_t memory_at;     /* the n-th allocation from now on fails; 0: none */
    int64_t lost_at;       /* from the n-th copy or launch on the card is lost; 0: never */
    enum sora_emulator_order order;
    uint32_t seed;
};

struct sora_emulated_counts {
    int64_t allocations; /* asked since the last set */
    int64_t work;        /* copies and launches since the last set */
    int64_t live_allocations, live_streams, live_events;
    uint64_t live_bytes;
};

/* Sets what is to happen from now on; NULL: the defaults. Starts counting anew, but for what is
 * live. */
void sora_emulated_set(const struct sora_emulated_controls *controls);
void sora_emulated_count(struct sora_emulated_counts *out_counts);

/* Fills a runtime that is all zero. */
void sora_emulated_open(struct sora_gpu_runtime *runtime);

/* The card whose kernels were compiled as `arch` ("emulated-nvidia"), or -1. */
int sora_emulated_index(const char *arch);

#endif
