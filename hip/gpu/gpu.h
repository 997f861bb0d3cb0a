/*
 * The GPU backend: a card of AMD or NVIDIA, or the emulator, behind hip/device.h.
 *
 * Activations and sums are f32, as on the CPU. Products, convolutions and attention read 16-bit
 * operands unless the precision is F32, which uses no matrix unit and is for comparisons. Weights
 * stay in the type of their file. Results are equal within a class, which names architecture,
 * precision and kernel version.
 *
 * The driver's calls are asynchronous; streams behave as hip/device.h says. Out of memory is an
 * error of the operation, and everything made before stays usable. A card that is lost (removed,
 * reset, a kernel at a bad address) makes every later call end with DEVICE; the device can then
 * only be destroyed. Threads and ownership are those of hip/device.h.
 */
#ifndef SORA_HIP_GPU_GPU_H
#define SORA_HIP_GPU_GPU_H

#include "hip/device.h"
#include "hip/gpu/card.h"

enum sora_gpu_precision {
    SORA_GPU_BF16 = 0, /* operands of products rounded to bf16; f16 weights stay f16 */
    SORA_GPU_F16,
    SORA_GPU_F32,
    SORA_GPU_INT8, /* as BF16, and models keep their large matrices as int8 */
    SORA_GPU_FP8,  /* the same as fp8, on cards whose units have it */
};

/* Their names in this order, as a CHOICE row of base/settings.h has them. */
#define SORA_GPU_PRECISION_CHOICES "bf16|f16|f32|int8|fp8"

/* "bf16", "f16", "f32", "int8", "fp8"; NULL for another value. */
const char *sora_gpu_precision_name(enum sora_gpu_precision precision);

struct sora_gpu_params {
    enum sora_gpu_vendor vendor;
    int index;             /* of the vendor's driver */
    uint64_t memory_limit; /* bytes of buffers and scratch; 0: the card's */
    enum sora_gpu_precision precision;
    const char *cache_folder; /* for code compiled at run time; NULL: none is kept */
    const char *library;      /* tests: the driver's file; NULL: the usual */
};

/* Returns an owned device. Errors: NOT_FOUND (no driver, no such card), UNSUPPORTED (no code for
 * its architecture, or no fp8), MEMORY, DEVICE, each with a sentence. */
int sora_gpu_device_create(const struct sora_gpu_params *params, struct sora_device **out_device,
                           struct sora_fault *fault);

/* Loads the libraries that a device may ask for (drivers that are here, their run-time compilers
 * and libraries of products), so that they are in the process before its sandbox closes
 * (node/sandbox.h). Starts none of them; what is missing is passed over. One thread, before others
 * begin; blocks for a second at most. */
void sora_gpu_libraries_load(void);

/* Whether `name` is that of a card: "gpu0" to "gpu15". */
bool sora_gpu_name_is(const char *name);

/* Finds the card that `name` ("gpu1") means on this machine and fills vendor and index. The
 * environment variable SORA_GPU=emulator:KIND (nvidia, cdna, rdna3, rdna4, simt32, simt64) makes
 * every name mean that emulated card, with :lost=N behind the kind one that is lost at its Nth copy
 * or launch, with :memory=N one of N MiB; other values of it are refused with INVALID. Errors:
 * NOT_FOUND with the reasons of both vendors. */
int sora_gpu_name_resolve(const char *name, struct sora_gpu_params *params,
                          struct sora_fault *fault);

/* The emulated card of a kind ("nvidia"). Errors: INVALID, naming the kinds. */
int sora_gpu_emulator_resolve(const char *kind, struct sora_gpu_params *params,
                              struct sora_fault *fault);

/* The card behind a device of this backend; NULL for other devices. */
const struct sora_gpu_card *sora_gpu_device_card(const struct sora_device *device);

/* What a device of this backend has used since it was made. */
struct sora_gpu_usage {
    uint64_t memory_bytes;     /* of buffers and scratch, now */
    uint64_t memory_bytes_max; /* the same, at most */
    int64_t launches;          /* kernels, a library's product counted as one */
    int64_t copies;            /* between host and card and on the card, in pieces of staging */
};
void sora_gpu_device_usage(const struct sora_device *device, struct sora_gpu_usage *out_usage);

/* Scratch that a product of f32 rows [m][k] with 16-bit weights [n][k] takes on the card, at most:
 * rows that are rounded once, and what a library of products needs (docs/internals/GPU.md).
 * `device` NULL: a card with such a library. Not of products whose device is F32. */
struct sora_gpu_product {
    int64_t m, n, k;
    bool in_place; /* the result is added to what it replaces */
};
uint64_t sora_gpu_product_scratch(const struct sora_device *device,
                                  const struct sora_gpu_product *product);

#endif
