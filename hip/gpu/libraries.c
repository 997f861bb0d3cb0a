/*
 * Loading early what a card's device would load later. A worker's sandbox lets it read the folders
 * of libraries that are loaded when it closes, wherever they are; the later calls then find them by
 * the same names.
 */
#include "hip/gpu/blas.h"
#include "hip/gpu/compiler.h"
#include "hip/gpu/gpu.h"

#include <stdlib.h>

static bool open_one(const char *const *names)
{
    char name[128];
    return sora_gpu_library_open(names, name, sizeof(name)) != NULL;
}

void sora_gpu_libraries_load(void)
{
    const char *emulator = getenv("SORA_GPU"), *library = NULL;
    bool products = sora_gpu_blas_asked(&library);
    if (library)
        open_one((const char *const[]){library, NULL});
    for (int i = 0; i < SORA_GPU_EMULATOR && !(emulator && *emulator); i++) {
        enum sora_gpu_vendor vendor = (enum sora_gpu_vendor)i;
        if (!open_one(sora_gpu_runtime_libraries(vendor)))
            continue;
        open_one(sora_gpu_compile_libraries(vendor));
        if (products && !library)
            open_one(sora_gpu_blas_libraries(vendor));
    }
}
