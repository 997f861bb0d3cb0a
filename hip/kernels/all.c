/*
 * All kernels: the one translation unit that every compiler reads. For the host it is compiled once
 * per kind with -DGPU_KIND= -DGPU_WAVE= -DGPU_MODULE= and ends with the emulator's table.
 */
#include "hip/kernels/attentions.h"
#include "hip/kernels/elementwise.h"
#include "hip/kernels/norm.h"
#include "hip/kernels/products.h"

#if GPU_EMULATED
#include "hip/gpu/emulator.h"
#include "hip/kernels/list.h"

#define KERNEL_ROW(name) {#name, name},
static const struct sora_emulator_function functions[] = {SORA_KERNEL_LIST(KERNEL_ROW)};

extern const struct sora_emulator_module GPU_MODULE;
const struct sora_emulator_module GPU_MODULE = {
    .arch = GPU_ARCH,
    .kind = GPU_KIND,
    .wave = GPU_WAVE,
    .function_count = (int)(sizeof(functions) / sizeof(functions[0])),
    .functions = functions,
};
#endif
