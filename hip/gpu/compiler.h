/*
 * Run-time compilation of the kernels with the vendor's library: hiprtc or nvrtc.
 *
 * The library is loaded for the call and stays loaded. hiprtc of some releases ends the process
 * when it is asked for an architecture that it does not know, so its code generator (comgr) is
 * asked first and an unknown one is UNSUPPORTED. Any thread. Blocks for seconds.
 */
#ifndef SORA_HIP_GPU_COMPILER_H
#define SORA_HIP_GPU_COMPILER_H

#include "base/bytes.h"
#include "hip/gpu/runtime.h"

/* A file of the kernels' source by the name under which others include it. */
struct sora_gpu_source {
    const char *name; /* "hip/kernels/gpu.h" */
    const char *text;
};

struct sora_gpu_compile_params {
    enum sora_gpu_vendor vendor;
    const char *arch;                      /* "gfx1100", "sm_90" */
    const struct sora_gpu_source *sources; /* borrowed; the first is the one to compile */
    int source_count;
    const char *library, *code_generator; /* tests; NULL: the usual names */
};

#define SORA_GPU_SOURCES_MAX 64

/* Compiles to code that the driver loads for this architecture; out_code is initialised by this
 * call and finished by the caller. Errors: NOT_FOUND (no library), UNSUPPORTED (unknown
 * architecture, or the source does not compile: the fault has the first lines of the log), MEMORY.
 */
int sora_gpu_compile(const struct sora_gpu_compile_params *params, struct sora_bytes *out_code,
                     struct sora_fault *fault);

/* The usual names of a vendor's compiler, best first, ended by NULL. */
const char *const *sora_gpu_compile_libraries(enum sora_gpu_vendor vendor);

/* The options that are used for `arch`, one string each, ended by NULL: they belong to a cache's
 * key. */
const char *const *sora_gpu_compile_options(enum sora_gpu_vendor vendor);

#endif
