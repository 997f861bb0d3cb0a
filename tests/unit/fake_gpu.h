/* The fake driver library (tests/fake), opened and reset for one test. */
#ifndef SORA_TESTS_FAKE_GPU_H
#define SORA_TESTS_FAKE_GPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hip/gpu/runtime.h"
#include "tests/fake/gpu_driver.h"

#include <dlfcn.h>
#include <string.h>

#ifndef SORA_FAKE_GPU_DRIVER /* set by the build; this header also compiles alone */
#define SORA_FAKE_GPU_DRIVER "libfake_gpu_driver.so"
#endif

/* Two healthy cards of either vendor. */
static inline struct fake_gpu *fake_gpu_reset(void)
{
    void *library = dlopen(SORA_FAKE_GPU_DRIVER, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *symbol = dlsym(library, "fake_gpu");
    assert_non_null(symbol);
    fake_gpu_get get;
    memcpy(&get, &symbol, sizeof(get));
    struct fake_gpu *fake = get();
    *fake = (struct fake_gpu){
        .version = 60032830, /* above both vendors' minimum */
        .device_count = 2,
        .compute_major = 9,
        .compute_minor = 0,
        .arch = "gfx942:sramecc+:xnack-",
        .arch_offset = 1160,
        .memory_total = 64 << 20,
    };
    return fake;
}

static inline int fake_gpu_open(enum sora_gpu_vendor vendor, struct sora_gpu_runtime **out_runtime,
                                struct sora_fault *fault)
{
    const struct sora_gpu_runtime_params params = {vendor, SORA_FAKE_GPU_DRIVER};
    *fault = (struct sora_fault){0};
    return sora_gpu_runtime_create(&params, out_runtime, fault);
}

#endif
