/*
 * The emulator: runs a kernel's blocks on the host, one after another, each thread a fiber.
 *
 * It executes what a wave does together (barriers, shuffles, matrix loads and products) with the
 * register layouts of the hardware, and ends a launch with a message when lanes diverge where they
 * must not, when a barrier is not reached by all, or when a matrix operand breaks the unit's rules.
 * What it cannot show: races that need two waves at once, memory order, bank conflicts, speed.
 *
 * The caller owns an emulator and uses it from one thread at a time; two emulators may run on two
 * threads. A launch blocks until its last block is done. Kernels read and write host memory.
 */
#ifndef SORA_HIP_GPU_EMULATOR_H
#define SORA_HIP_GPU_EMULATOR_H

#include "base/error.h"

#include <stdint.h>

#define SORA_EMULATOR_THREADS_MAX 1024
#define SORA_EMULATOR_SHARED_MAX 65536 /* bytes: the least that every architecture has */

struct sora_emulator;

/* A compiled kernel: reads its argument struct from `args`. */
typedef void (*sora_emulator_kernel)(const void *args);

/* In which order lanes of a wave, and waves of a block, run between two meetings. Results must not
 * depend on it. */
enum sora_emulator_order {
    SORA_EMULATOR_FORWARD = 0,
    SORA_EMULATOR_REVERSE,
    SORA_EMULATOR_RANDOM, /* drawn from the seed */
};

struct sora_emulator_launch {
    const char *name; /* of the kernel, for messages; borrowed */
    sora_emulator_kernel kernel;
    uint32_t grid[3]; /* blocks; each >= 1 */
    int threads;      /* per block: a multiple of wave, at most SORA_EMULATOR_THREADS_MAX */
    int wave;         /* 32 or 64 */
    size_t shared_size;
    const void *args; /* borrowed: copied before the first block runs */
    size_t args_size;
    enum sora_emulator_order order;
    uint32_t seed;
};

/* Returns owned, or MEMORY. */
int sora_emulator_create(struct sora_emulator **out_emulator);
void sora_emulator_destroy(struct sora_emulator **emulator);

/* Runs all blocks. INVALID for sizes out of range, MEMORY, DEVICE when the kernel broke a rule;
 * `fault` then says kernel, block, lanes and source lines. */
int sora_emulator_launch(struct sora_emulator *emulator, const struct sora_emulator_launch *launch,
                         struct sora_fault *fault);

/* ---- the kernels, compiled for the host once per kind ---- */

struct sora_emulator_function {
    const char *name; /* as in device images */
    sora_emulator_kernel kernel;
};

/* One compilation of hip/kernels/all.c. */
struct sora_emulator_module {
    const char *arch; /* "emulated-nvidia", "emulated-cdna", ... */
    int kind;         /* GPU_NVIDIA.. of hip/kernels/gpu.h, see hip/gpu/launch_plan.h */
    int wave;
    int function_count;
    const struct sora_emulator_function *functions;
};

#define SORA_EMULATOR_MODULES 6
/* `index` from 0 to SORA_EMULATOR_MODULES - 1. */
const struct sora_emulator_module *sora_emulator_module_get(int index);
/* NULL when there is none of that name. */
const struct sora_emulator_module *sora_emulator_module_find(const char *arch);
sora_emulator_kernel sora_emulator_function_find(const struct sora_emulator_module *module,
                                                 const char *name);

#endif
