/*
 * hiprtc and nvrtc have the same calls with another prefix; only the names of the two that give the
 * code differ.
 */
#include "hip/gpu/compiler.h"

#include "hip/gpu/code_cache.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct compiler_calls {
    int (*create)(void **program, const char *source, const char *name, int header_count,
                  const char *const *headers, const char *const *names);
    int (*compile)(void *program, int option_count, const char *const *options);
    int (*code_size)(void *program, size_t *size);
    int (*code)(void *program, char *code);
    int (*log_size)(void *program, size_t *size);
    int (*log)(void *program, char *log);
    int (*destroy)(void **program);
};
#define CALLS (int)(sizeof(struct compiler_calls) / sizeof(void *))

struct compiler_row {
    const char *name;
    const char *libraries[8]; /* best first, ends with NULL */
    const char *symbols[CALLS];
    const char *arch_option; /* in front of the architecture */
    /* Ends with NULL. Sums round as on the CPU (no contraction); shared memory is read as the type
     * that fits. */
    const char *options[5];
};

/* hiprtc left libamdhip64 in ROCm 7 and was in it alone before 6. */
static const struct compiler_row compiler_rows[] = {
    [SORA_GPU_AMD] = {"hiprtc",
                      {"libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so.5", "libamdhip64.so.6",
                       "libamdhip64.so.5", "/opt/rocm/lib/libhiprtc.so", NULL},
                      {"hiprtcCreateProgram", "hiprtcCompileProgram", "hiprtcGetCodeSize",
                       "hiprtcGetCode", "hiprtcGetProgramLogSize", "hiprtcGetProgramLog",
                       "hiprtcDestroyProgram"},
                      "--offload-arch=",
                      {"-std=c++17", "-O3", "-ffp-contract=off", "-fno-strict-aliasing", NULL}},
    [SORA_GPU_NVIDIA] = {"nvrtc",
                         {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2",
                          "/usr/local/cuda/lib64/libnvrtc.so", NULL},
                         {"nvrtcCreateProgram", "nvrtcCompileProgram", "nvrtcGetCUBINSize",
                          "nvrtcGetCUBIN", "nvrtcGetProgramLogSize", "nvrtcGetProgramLog",
                          "nvrtcDestroyProgram"},
                         "--gpu-architecture=",
                         {"--std=c++17", "--fmad=false", NULL}},
};

const char *const *sora_gpu_compile_options(enum sora_gpu_vendor vendor)
{
    return compiler_rows[vendor].options;
}

const char *const *sora_gpu_compile_libraries(enum sora_gpu_vendor vendor)
{
    return compiler_rows[vendor].libraries;
}

static int compiler_open(const struct sora_gpu_compile_params *params,
                         struct compiler_calls *out_calls, struct sora_fault *fault)
{
    const struct compiler_row *row = &compiler_rows[params->vendor];
    const char *const only[] = {params->library, NULL};
    char name[128];
    void *symbols[CALLS];
    void *library =
        sora_gpu_library_open(params->library ? only : row->libraries, name, sizeof(name));
    if (!library)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "no %s library to compile the kernels at run time", row->name);
    for (int i = 0; i < CALLS; i++) {
        symbols[i] = dlsym(library, row->symbols[i]);
        if (!symbols[i])
            return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s has no %s", name, row->symbols[i]);
    }
    memcpy(out_calls, symbols, sizeof(*out_calls));
    return 0;
}

/* ---- the guard of hiprtc ---- */

/* Whether comgr lists "amdgcn-amd-amdhsa--<arch>". Without comgr nothing is known: refused. */
static bool isa_listed(const char *arch, const char *path)
{
    static const char *const usual[] = {"libamd_comgr.so.3", "libamd_comgr.so.2",
                                        "/opt/rocm/lib/libamd_comgr.so", NULL};
    const char *const only[] = {path, NULL};
    char name[128];
    void *library = sora_gpu_library_open(path ? only : usual, name, sizeof(name));
    void *symbols[2] = {library ? dlsym(library, "amd_comgr_get_isa_count") : NULL,
                        library ? dlsym(library, "amd_comgr_get_isa_name") : NULL};
    struct {
        int (*count)(size_t *count);
        int (*name)(size_t index, const char **name);
    } calls;
    if (!symbols[0] || !symbols[1])
        return false;
    memcpy(&calls, symbols, sizeof(calls));
    size_t count = 0;
    if (calls.count(&count))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *isa = NULL;
        if (calls.name(i, &isa) || !isa)
            continue;
        const char *last = strrchr(isa, '-');
        if (last && strcmp(last + 1, arch) == 0)
            return true;
    }
    return false;
}

/* ---- compiling ---- */

static int log_fault(const struct compiler_calls *calls, void *program,
                     const struct sora_gpu_compile_params *params, int status,
                     struct sora_fault *fault)
{
    struct sora_bytes log;
    size_t size = 0;
    sora_bytes_init(&log, 1 << 20);
    const char *text = "no log";
    if (calls->log_size(program, &size) == 0 && size > 1 && sora_bytes_reserve(&log, size) == 0 &&
        calls->log(program, (char *)log.data) == 0) {
        log.data[size - 1] = '\0';
        text = (const char *)log.data;
    }
    int error = sora_fault_set(fault, SORA_E_UNSUPPORTED,
                               "%s does not compile the kernels for %s (%d): %.300s",
                               compiler_rows[params->vendor].name, params->arch, status, text);
    sora_bytes_fini(&log);
    return error;
}

static int code_take(const struct compiler_calls *calls, void *program,
                     const struct sora_gpu_compile_params *params, struct sora_bytes *out_code,
                     struct sora_fault *fault)
{
    size_t size = 0;
    int status = calls->code_size(program, &size);
    if (status || size == 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s made no code for %s (%d)",
                              compiler_rows[params->vendor].name, params->arch, status);
    int error = sora_bytes_reserve(out_code, size);
    if (error)
        return sora_fault_set(fault, error, "no memory for %zu bytes of compiled code", size);
    status = calls->code(program, (char *)out_code->data);
    if (status)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s does not give its code (%d)",
                              compiler_rows[params->vendor].name, status);
    sora_bytes_commit(out_code, size);
    return 0;
}

static int compile_with(const struct compiler_calls *calls,
                        const struct sora_gpu_compile_params *params, struct sora_bytes *out_code,
                        struct sora_fault *fault)
{
    const struct compiler_row *row = &compiler_rows[params->vendor];
    const char *texts[SORA_GPU_SOURCES_MAX], *names[SORA_GPU_SOURCES_MAX];
    const char *options[8];
    char arch[64];
    int option_count = 0;
    SORA_ASSERT(params->source_count >= 1 && params->source_count <= SORA_GPU_SOURCES_MAX);
    for (int i = 1; i < params->source_count; i++) {
        names[i - 1] = params->sources[i].name;
        texts[i - 1] = params->sources[i].text;
    }
    snprintf(arch, sizeof(arch), "%s%s", row->arch_option, params->arch);
    options[option_count++] = arch;
    for (int i = 0; row->options[i]; i++)
        options[option_count++] = row->options[i];
    void *program = NULL;
    int status = calls->create(&program, params->sources[0].text, params->sources[0].name,
                               params->source_count - 1, texts, names);
    if (status)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s does not start (%d)", row->name,
                              status);
    status = calls->compile(program, option_count, options);
    int error = status ? log_fault(calls, program, params, status, fault)
                       : code_take(calls, program, params, out_code, fault);
    calls->destroy(&program);
    return error;
}

int sora_gpu_compile(const struct sora_gpu_compile_params *params, struct sora_bytes *out_code,
                     struct sora_fault *fault)
{
    struct compiler_calls calls;
    sora_bytes_init(out_code, SORA_CODE_BYTES_MAX);
    if ((unsigned)params->vendor >= SORA_GPU_EMULATOR)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "the emulator has no compiler");
    int error = compiler_open(params, &calls, fault);
    if (error)
        return error;
    if (params->vendor == SORA_GPU_AMD && !isa_listed(params->arch, params->code_generator))
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "hiprtc does not know %s: install a newer ROCm", params->arch);
    error = compile_with(&calls, params, out_code, fault);
    if (error)
        sora_bytes_fini(out_code);
    return error;
}
