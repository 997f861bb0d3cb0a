/*
 * The kernels on a card: which code is loaded, and launching it.
 *
 * In this order: the code that the build embedded for the card's architecture (AMD objects, or PTX
 * that the driver compiles), code of an earlier compilation from the disk cache, compilation by the
 * vendor's library. What was tried and why it does not fit is in the fault when nothing does.
 *
 * The caller owns a module; the card must be current for every call. Creating blocks, for seconds
 * when something is compiled. Launching queues and does not block.
 */
#ifndef SORA_HIP_GPU_MODULE_H
#define SORA_HIP_GPU_MODULE_H

#include "hip/gpu/card.h"
#include "hip/gpu/images.h"
#include "hip/gpu/launch_plan.h"

struct sora_gpu_module;

struct sora_gpu_module_params {
    const struct sora_gpu_runtime *runtime; /* kept */
    const struct sora_gpu_card *card;       /* borrowed */
    const char *cache_folder;               /* borrowed; NULL: nothing is kept */
    const char *compiler, *code_generator;  /* tests: libraries; NULL: the usual names */
    const struct sora_gpu_image *images;    /* tests: instead of the embedded ones */
    const struct sora_gpu_source *sources;  /* the same, with their count */
    int source_count;
};

/* Errors: UNSUPPORTED (no code for this card), MEMORY, DEVICE. */
int sora_gpu_module_create(const struct sora_gpu_module_params *params,
                           struct sora_gpu_module **out_module, struct sora_fault *fault);
void sora_gpu_module_destroy(struct sora_gpu_module **module);

/* Where the code came from, for people: "embedded gfx1100", "compiled for sm_75". */
const char *sora_gpu_module_origin(const struct sora_gpu_module *module);

/* The image for a card, or NULL with the reason in `fault`. The table ends with NULLs. */
const struct sora_gpu_image *sora_gpu_image_choose(const struct sora_gpu_image *images,
                                                   const struct sora_gpu_card *card,
                                                   struct sora_fault *fault);

/* Queues a launch; `args` is the kernel's struct, borrowed for the call. Returns the driver's
 * status. */
int sora_gpu_module_launch(struct sora_gpu_module *module, void *stream,
                           const struct sora_launch_plan *plan, const void *args);

#endif
