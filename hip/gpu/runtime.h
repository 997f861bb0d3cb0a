/*
 * The driver of a GPU vendor: one table of calls with HIP's meaning, filled at run time.
 *
 * No vendor library is linked. A runtime loads libamdhip64, or libcuda (whose calls are mapped one
 * to one), or the emulator, and is the only place that knows which it is. A missing library, a
 * library without a needed symbol, a stub driver, a driver that is too old and a machine without a
 * card all end in NOT_FOUND with a sentence that a log can print; nothing here ends the process.
 *
 * Ownership: the caller owns a runtime and destroys it after everything made with it; the library
 * stays loaded (vendor libraries leave threads behind). Threads: opening and destroying are one
 * thread's; the table is read-only afterwards. Blocking: opening may take a second (driver start).
 */
#ifndef SORA_HIP_GPU_RUNTIME_H
#define SORA_HIP_GPU_RUNTIME_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum sora_gpu_vendor {
    SORA_GPU_AMD = 0,
    SORA_GPU_NVIDIA,
    SORA_GPU_EMULATOR, /* kernels on this processor, for tests; asked for by name only */
    SORA_GPU_VENDORS,
};

/* "AMD", "NVIDIA", "emulator". */
const char *sora_gpu_vendor_name(enum sora_gpu_vendor vendor);

/*
 * X(result, field, HIP symbol, CUDA symbol, arguments): the calls of the two drivers have the same
 * arguments and, in what the project uses, the same error numbers. A vendor's column that is NULL
 * leaves the field NULL. Device memory is passed as a pointer that the host must not follow.
 * Specifications: HIP runtime API reference, CUDA driver API reference.
 */
#define SORA_GPU_CALLS(X)                                                                          \
    X(int, init, "hipInit", "cuInit", (unsigned flags))                                            \
    X(int, driver_version, "hipDriverGetVersion", "cuDriverGetVersion", (int *version))            \
    X(const char *, hip_error_text, "hipGetErrorString", NULL, (int code))                         \
    X(int, cuda_error_text, NULL, "cuGetErrorString", (int code, const char **text))               \
    X(int, device_count, "hipGetDeviceCount", "cuDeviceGetCount", (int *count))                    \
    X(int, device_get, "hipDeviceGet", "cuDeviceGet", (int *device, int index))                    \
    X(int, device_name, "hipDeviceGetName", "cuDeviceGetName", (char *name, int size, int device)) \
    X(int, device_attribute, "hipDeviceGetAttribute", "cuDeviceGetAttribute",                      \
      (int *value, int attribute, int device))                                                     \
    X(int, device_memory, "hipDeviceTotalMem", "cuDeviceTotalMem_v2",                              \
      (size_t * bytes, int device))                                                                \
    X(int, device_pci, "hipDeviceGetPCIBusId", "cuDeviceGetPCIBusId",                              \
      (char *id, int size, int device))                                                            \
    X(int, hip_set_device, "hipSetDevice", NULL, (int device))                                     \
    X(int, cuda_context_retain, NULL, "cuDevicePrimaryCtxRetain", (void **context, int device))    \
    X(int, cuda_context_release, NULL, "cuDevicePrimaryCtxRelease_v2", (int device))               \
    X(int, cuda_context_use, NULL, "cuCtxSetCurrent", (void *context))                             \
    X(int, synchronize, "hipDeviceSynchronize", "cuCtxSynchronize", (void))                        \
    X(int, memory_info, "hipMemGetInfo", "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total)) \
    X(int, memory_alloc, "hipMalloc", "cuMemAlloc_v2", (void **memory, size_t size))               \
    X(int, memory_free, "hipFree", "cuMemFree_v2", (void *memory))                                 \
    X(int, host_alloc, "hipHostMalloc", "cuMemHostAlloc",                                          \
      (void **memory, size_t size, unsigned flags))                                                \
    X(int, host_free, "hipHostFree", "cuMemFreeHost", (void *memory))                              \
    X(int, copy_in, "hipMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2",                                  \
      (void *to, const void *from, size_t size, void *stream))                                     \
    X(int, copy_out, "hipMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2",                                 \
      (void *to, void *from, size_t size, void *stream))                                           \
    X(int, copy_within, "hipMemcpyDtoDAsync", "cuMemcpyDtoDAsync_v2",                              \
      (void *to, void *from, size_t size, void *stream))                                           \
    X(int, fill_words, "hipMemsetD32Async", "cuMemsetD32Async",                                    \
      (void *memory, int word, size_t count, void *stream))                                        \
    X(int, stream_create, "hipStreamCreateWithFlags", "cuStreamCreate",                            \
      (void **stream, unsigned flags))                                                             \
    X(int, stream_destroy, "hipStreamDestroy", "cuStreamDestroy_v2", (void *stream))               \
    X(int, stream_synchronize, "hipStreamSynchronize", "cuStreamSynchronize", (void *stream))      \
    X(int, stream_wait_event, "hipStreamWaitEvent", "cuStreamWaitEvent",                           \
      (void *stream, void *event, unsigned flags))                                                 \
    X(int, event_create, "hipEventCreateWithFlags", "cuEventCreate",                               \
      (void **event, unsigned flags))                                                              \
    X(int, event_destroy, "hipEventDestroy", "cuEventDestroy_v2", (void *event))                   \
    X(int, event_record, "hipEventRecord", "cuEventRecord", (void *event, void *stream))           \
    X(int, event_synchronize, "hipEventSynchronize", "cuEventSynchronize", (void *event))          \
    X(int, module_load, "hipModuleLoadData", "cuModuleLoadData",                                   \
      (void **module, const void *image))                                                          \
    X(int, module_unload, "hipModuleUnload", "cuModuleUnload", (void *module))                     \
    X(int, module_function, "hipModuleGetFunction", "cuModuleGetFunction",                         \
      (void **function, void *module, const char *name))                                           \
    X(int, cuda_function_attribute, NULL, "cuFuncSetAttribute",                                    \
      (void *function, int attribute, int value))                                                  \
    X(int, launch, "hipModuleLaunchKernel", "cuLaunchKernel",                                      \
      (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,        \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **arguments,  \
       void **extra))

/* Calls that only some releases have; NULL where they are missing. The properties have another
 * layout before ROCm 6 (hip/gpu/card.c). */
#define SORA_GPU_OPTIONAL_CALLS(X)                                                                 \
    X(int, hip_properties_r0600, "hipGetDevicePropertiesR0600", NULL, (void *values, int device))  \
    X(int, hip_properties_r0500, "hipGetDeviceProperties", NULL, (void *values, int device))

struct sora_gpu_calls {
#define SORA_GPU_FIELD(result, field, hip, cuda, arguments) result(*field) arguments;
    SORA_GPU_CALLS(SORA_GPU_FIELD)
    SORA_GPU_OPTIONAL_CALLS(SORA_GPU_FIELD)
#undef SORA_GPU_FIELD
};

/* Error numbers that both drivers share and that the project treats by itself. */
enum sora_gpu_status {
    SORA_GPU_STATUS_OK = 0,
    SORA_GPU_STATUS_MEMORY = 2,
    SORA_GPU_STATUS_NOT_INITIALISED = 3,
    SORA_GPU_STATUS_STUB = 34,
    SORA_GPU_STATUS_OLD_DRIVER = 35,
    SORA_GPU_STATUS_NO_DEVICE = 100,
    SORA_GPU_STATUS_INVALID_DEVICE = 101,
    SORA_GPU_STATUS_INVALID_IMAGE = 200,
    SORA_GPU_STATUS_NO_IMAGE_FOR_DEVICE = 209,
    SORA_GPU_STATUS_INVALID_PTX = 218,
    SORA_GPU_STATUS_NEWER_PTX = 222, /* the text is newer than the driver */
    SORA_GPU_STATUS_NOT_FOUND = 500,
};

struct sora_gpu_runtime {
    enum sora_gpu_vendor vendor;
    char library[128];  /* what was loaded */
    int driver_version; /* CUDA: 12040 for 12.4; HIP: 60032830 for 6.0; the emulator: 0 */
    int device_count;   /* at least 1 */
    struct sora_gpu_calls calls;
};

struct sora_gpu_runtime_params {
    enum sora_gpu_vendor vendor;
    const char *library; /* NULL: the vendor's usual names; else this file only */
};

/* Returns an owned runtime whose driver has started and has a device. Errors: NOT_FOUND (with the
 * sentence), MEMORY. */
int sora_gpu_runtime_create(const struct sora_gpu_runtime_params *params,
                            struct sora_gpu_runtime **out_runtime, struct sora_fault *fault);
void sora_gpu_runtime_destroy(struct sora_gpu_runtime **runtime);

/* The driver's words for an error number; never NULL. */
const char *sora_gpu_error_text(const struct sora_gpu_runtime *runtime, int status);

/* The project's code for an error number: MEMORY, UNSUPPORTED (an image that does not fit the
 * device), DEVICE. 0 for 0. */
int sora_gpu_error(int status);

/* Sets the fault "<vendor>: <what> failed: <text> (<number>)" and returns the code. */
int sora_gpu_fault(const struct sora_gpu_runtime *runtime, const char *what, int status,
                   struct sora_fault *fault);

/* The usual names of a vendor's driver library, best first, ended by NULL. */
const char *const *sora_gpu_runtime_libraries(enum sora_gpu_vendor vendor);

/* Opens the first of `names` (ends with NULL) that can be loaded and copies its name. NULL when
 * none can. Shared by the optional libraries (sensors, run-time compilers). */
void *sora_gpu_library_open(const char *const *names, char *out_name, size_t out_size);

#endif
