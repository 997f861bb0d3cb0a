/* The kernels' six compilations for the host, by the names that hip/CMakeLists.txt gives them. */
#include "hip/gpu/emulator.h"

#include "base/error.h"

#include <string.h>

extern const struct sora_emulator_module sora_emulated_nvidia, sora_emulated_cdna,
    sora_emulated_rdna3, sora_emulated_rdna4, sora_emulated_simt32, sora_emulated_simt64;

static const struct sora_emulator_module *const modules[SORA_EMULATOR_MODULES] = {
    &sora_emulated_nvidia, &sora_emulated_cdna,   &sora_emulated_rdna3,
    &sora_emulated_rdna4,  &sora_emulated_simt32, &sora_emulated_simt64,
};

const struct sora_emulator_module *sora_emulator_module_get(int index)
{
    SORA_ASSERT(index >= 0 && index < SORA_EMULATOR_MODULES);
    return modules[index];
}

const struct sora_emulator_module *sora_emulator_module_find(const char *arch)
{
    for (int i = 0; i < SORA_EMULATOR_MODULES; i++) {
        if (strcmp(modules[i]->arch, arch) == 0)
            return modules[i];
    }
    return NULL;
}

sora_emulator_kernel sora_emulator_function_find(const struct sora_emulator_module *module,
                                                 const char *name)
{
    for (int i = 0; i < module->function_count; i++) {
        if (strcmp(module->functions[i].name, name) == 0)
            return module->functions[i].kernel;
    }
    return NULL;
}
