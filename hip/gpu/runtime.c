/*
 * Loading a vendor's driver into the table.
 *
 * Symbols are looked up before the driver is started, so an old library is told from a broken one.
 * Of the two columns only the vendor's own is looked up; the rest of the table stays NULL.
 */
#include "hip/gpu/runtime.h"

#include "hip/gpu/emulated.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CUDA 11.0 takes PTX 7.0, which the build embeds; ROCm 5 is the oldest whose properties are known.
 */
#define CUDA_VERSION_MIN 11000
#define HIP_VERSION_MIN 50000000

struct call_row {
    const char *symbols[2]; /* by vendor */
    size_t offset;          /* of the field in the table */
    bool optional;
};

static const struct call_row call_rows[] = {
#define CALL_ROW(result, field, hip, cuda, arguments)                                              \
    {{hip, cuda}, offsetof(struct sora_gpu_calls, field), false},
    SORA_GPU_CALLS(CALL_ROW)
#undef CALL_ROW
#define CALL_ROW(result, field, hip, cuda, arguments)                                              \
    {{hip, cuda}, offsetof(struct sora_gpu_calls, field), true},
        SORA_GPU_OPTIONAL_CALLS(CALL_ROW)
#undef CALL_ROW
};

struct vendor_row {
    const char *name;
    const char *product;      /* what a person installs */
    const char *libraries[6]; /* best first, ends with NULL */
    int version_min;
};

static const struct vendor_row vendor_rows[SORA_GPU_VENDORS] = {
    [SORA_GPU_AMD] = {"AMD",
                      "ROCm 5 or newer",
                      {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                       "/opt/rocm/lib/libamdhip64.so", NULL},
                      HIP_VERSION_MIN},
    [SORA_GPU_NVIDIA] = {"NVIDIA",
                         "the NVIDIA driver 450 (CUDA 11.0) or newer",
                         {"libcuda.so.1", NULL},
                         CUDA_VERSION_MIN},
    [SORA_GPU_EMULATOR] = {"emulator", NULL, {NULL}, 0},
};

const char *sora_gpu_vendor_name(enum sora_gpu_vendor vendor)
{
    return (unsigned)vendor < SORA_GPU_VENDORS ? vendor_rows[vendor].name : "unknown";
}

/* ---- errors ---- */

const char *sora_gpu_error_text(const struct sora_gpu_runtime *runtime, int status)
{
    const char *text = NULL;
    if (runtime->calls.hip_error_text)
        text = runtime->calls.hip_error_text(status);
    else if (runtime->calls.cuda_error_text &&
             runtime->calls.cuda_error_text(status, &text) != SORA_GPU_STATUS_OK)
        text = NULL;
    return text ? text : "unknown error";
}

int sora_gpu_error(int status)
{
    switch (status) {
    case SORA_GPU_STATUS_OK:
        return 0;
    case SORA_GPU_STATUS_MEMORY:
        return SORA_E_MEMORY;
    case SORA_GPU_STATUS_INVALID_IMAGE:
    case SORA_GPU_STATUS_NO_IMAGE_FOR_DEVICE:
    case SORA_GPU_STATUS_INVALID_PTX:
    case SORA_GPU_STATUS_NEWER_PTX:
        return SORA_E_UNSUPPORTED;
    default:
        return SORA_E_DEVICE;
    }
}

int sora_gpu_fault(const struct sora_gpu_runtime *runtime, const char *what, int status,
                   struct sora_fault *fault)
{
    return sora_fault_set(fault, sora_gpu_error(status), "%s: %s failed: %s (%d)",
                          sora_gpu_vendor_name(runtime->vendor), what,
                          sora_gpu_error_text(runtime, status), status);
}

/* ---- loading ---- */

void *sora_gpu_library_open(const char *const *names, char *out_name, size_t out_size)
{
    for (; *names; names++) {
        void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (library) {
            snprintf(out_name, out_size, "%s", *names);
            return library;
        }
    }
    return NULL;
}

const char *const *sora_gpu_runtime_libraries(enum sora_gpu_vendor vendor)
{
    return vendor_rows[vendor].libraries;
}

static int load_library(struct sora_gpu_runtime *runtime, const char *path, void **out_library,
                        struct sora_fault *fault)
{
    const struct vendor_row *row = &vendor_rows[runtime->vendor];
    const char *const only[] = {path, NULL};
    const char *const *names = path ? only : row->libraries;
    *out_library = sora_gpu_library_open(names, runtime->library, sizeof(runtime->library));
    if (*out_library)
        return 0;
    const char *reason = dlerror();
    return sora_fault_set(fault, SORA_E_NOT_FOUND,
                          "%s: no driver library (%.200s); a card of this vendor needs %s",
                          row->name, reason ? reason : *names, row->product);
}

static int load_symbols(struct sora_gpu_runtime *runtime, void *library, struct sora_fault *fault)
{
    for (size_t i = 0; i < sizeof(call_rows) / sizeof(call_rows[0]); i++) {
        const char *name = call_rows[i].symbols[runtime->vendor];
        if (!name)
            continue;
        void *symbol = dlsym(library, name);
        if (!symbol && call_rows[i].optional)
            continue;
        if (!symbol)
            return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s: %s has no %s; it needs %s",
                                  sora_gpu_vendor_name(runtime->vendor), runtime->library, name,
                                  vendor_rows[runtime->vendor].product);
        memcpy((char *)&runtime->calls + call_rows[i].offset, &symbol, sizeof(symbol));
    }
    return 0;
}

static int load(struct sora_gpu_runtime *runtime, const char *path, struct sora_fault *fault)
{
    void *library = NULL;
    int error = load_library(runtime, path, &library, fault);
    return error ? error : load_symbols(runtime, library, fault);
}

/* ---- starting ---- */

static int fault_not_found(const struct sora_gpu_runtime *runtime, const char *what, int status,
                           struct sora_fault *fault)
{
    return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s: %s: %s (%d, %s)",
                          sora_gpu_vendor_name(runtime->vendor), what,
                          sora_gpu_error_text(runtime, status), status, runtime->library);
}

static const char *start_text(int status)
{
    switch (status) {
    case SORA_GPU_STATUS_STUB:
        return "the library is a stub for building, not a driver";
    case SORA_GPU_STATUS_OLD_DRIVER:
        return "the driver is too old for the card or the library; update it";
    case SORA_GPU_STATUS_NO_DEVICE:
    case SORA_GPU_STATUS_INVALID_DEVICE:
        return "no card that the driver can use";
    default:
        return "the driver does not start";
    }
}

/* HIP on a machine without a card fails in hipInit; CUDA may start and count none. */
static int start_driver(struct sora_gpu_runtime *runtime, struct sora_fault *fault)
{
    const struct sora_gpu_calls *calls = &runtime->calls;
    int status = calls->init(0);
    if (status)
        return fault_not_found(runtime, start_text(status), status, fault);
    status = calls->driver_version(&runtime->driver_version);
    if (status)
        return fault_not_found(runtime, "the driver does not tell its version", status, fault);
    const struct vendor_row *row = &vendor_rows[runtime->vendor];
    if (runtime->driver_version < row->version_min)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "%s: driver version %d is older than %d; install %s", row->name,
                              runtime->driver_version, row->version_min, row->product);
    status = calls->device_count(&runtime->device_count);
    if (status)
        return fault_not_found(runtime, start_text(status), status, fault);
    if (runtime->device_count < 1)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s: %s is here, but no card", row->name,
                              runtime->library);
    return 0;
}

int sora_gpu_runtime_create(const struct sora_gpu_runtime_params *params,
                            struct sora_gpu_runtime **out_runtime, struct sora_fault *fault)
{
    if ((unsigned)params->vendor >= SORA_GPU_VENDORS)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "vendor %d is unknown", (int)params->vendor);
    struct sora_gpu_runtime *runtime = calloc(1, sizeof(*runtime));
    if (!runtime)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the table of a GPU driver");
    runtime->vendor = params->vendor;
    int error = 0;
    if (params->vendor == SORA_GPU_EMULATOR)
        sora_emulated_open(runtime);
    else
        error = load(runtime, params->library, fault);
    if (!error)
        error = start_driver(runtime, fault);
    if (error) {
        free(runtime);
        return error;
    }
    *out_runtime = runtime;
    return 0;
}

void sora_gpu_runtime_destroy(struct sora_gpu_runtime **runtime)
{
    free(*runtime);
    *runtime = NULL;
}
