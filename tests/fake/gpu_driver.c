/* See gpu_driver.h. The exported names are the vendors'. */
#include "tests/fake/gpu_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define OUT_OF_MEMORY 2
#define INVALID_VALUE 1
#define LOST 700

static struct fake_gpu fake;

EXPORT struct fake_gpu *fake_gpu(void);
EXPORT struct fake_gpu *fake_gpu(void)
{
    return &fake;
}

static int lost(void)
{
    return fake.lost_at && fake.work >= fake.lost_at ? LOST : 0;
}

static int work(void)
{
    fake.work++;
    return lost();
}

/* ---- the driver, once; both vendors' names below ---- */

/* NVIDIA's keeps what it compiles in a folder that the environment names. */
static void write_cache(void)
{
    char path[4096];
    const char *folder = getenv("CUDA_CACHE_PATH");
    snprintf(path, sizeof(path), "%s/index", folder ? folder : "");
    FILE *file = folder ? fopen(path, "w") : NULL;
    if (file)
        fclose(file);
}

static int drv_init(unsigned flags)
{
    (void)flags;
    write_cache();
    return fake.init_status;
}

static int drv_version(int *version)
{
    *version = fake.version;
    return 0;
}

static int drv_count(int *count)
{
    *count = fake.device_count;
    return fake.count_status;
}

static int drv_device_get(int *device, int index)
{
    *device = 100 + index;
    return 0;
}

static int drv_name(char *name, int size, int device)
{
    snprintf(name, (size_t)size, "Fake %d", device);
    return 0;
}

static int drv_memory(size_t *bytes, int device)
{
    (void)device;
    *bytes = fake.memory_total;
    return 0;
}

static int drv_pci(char *id, int size, int device)
{
    snprintf(id, (size_t)size, "0000:%02x:00.0", device);
    return 0;
}

static int drv_synchronize(void)
{
    return lost();
}

static int drv_memory_info(size_t *unused, size_t *total)
{
    *total = fake.memory_total;
    *unused = fake.memory_total - fake.live_bytes;
    return lost();
}

static int allocate(void **memory, size_t size)
{
    if (lost())
        return LOST;
    if (++fake.allocations == fake.fail_memory_at || fake.live_bytes + size > fake.memory_total)
        return OUT_OF_MEMORY;
    size_t *block = aligned_alloc(512, (size + 512 + 511) / 512 * 512);
    if (!block)
        return OUT_OF_MEMORY;
    *block = size;
    memset((char *)block + 512, 0xff, size);
    *memory = (char *)block + 512;
    fake.live_allocations++;
    fake.live_bytes += size;
    return 0;
}

static int release(void *memory)
{
    size_t *block = (size_t *)((char *)memory - 512);
    fake.live_allocations--;
    fake.live_bytes -= *block;
    free(block);
    return lost();
}

static int drv_host_alloc(void **memory, size_t size, unsigned flags)
{
    (void)flags;
    return allocate(memory, size);
}

static int drv_copy(void *to, const void *from, size_t size, void *stream)
{
    (void)stream;
    if (work())
        return LOST;
    memcpy(to, from, size);
    return 0;
}

static int drv_copy_device(void *to, void *from, size_t size, void *stream)
{
    return drv_copy(to, from, size, stream);
}

static int drv_fill(void *memory, int word, size_t count, void *stream)
{
    (void)stream;
    if (work())
        return LOST;
    for (size_t i = 0; i < count; i++)
        memcpy((char *)memory + 4 * i, &word, 4);
    return 0;
}

static int make(void **object, int *live)
{
    *object = lost() ? NULL : malloc(1);
    *live += *object != NULL;
    return *object ? 0 : lost() ? LOST : OUT_OF_MEMORY;
}

static int unmake(void *object, int *live)
{
    free(object);
    --*live;
    return lost();
}

static int drv_stream_create(void **stream, unsigned flags)
{
    (void)flags;
    return make(stream, &fake.live_streams);
}

static int drv_stream_destroy(void *stream)
{
    return unmake(stream, &fake.live_streams);
}

static int drv_stream_synchronize(void *stream)
{
    (void)stream;
    return lost();
}

static int drv_stream_wait_event(void *stream, void *event, unsigned flags)
{
    (void)flags;
    return stream && event ? lost() : INVALID_VALUE;
}

static int drv_event_create(void **event, unsigned flags)
{
    (void)flags;
    return make(event, &fake.live_events);
}

static int drv_event_destroy(void *event)
{
    return unmake(event, &fake.live_events);
}

static int drv_event_record(void *event, void *stream)
{
    return stream && event ? lost() : INVALID_VALUE;
}

static int drv_event_synchronize(void *event)
{
    return event ? lost() : INVALID_VALUE;
}

static int drv_module_load(void **module, const void *image)
{
    if (fake.module_status)
        return fake.module_status;
    snprintf(fake.loaded, sizeof(fake.loaded), "%.60s", (const char *)image);
    return make(module, &fake.live_modules);
}

static int drv_module_unload(void *module)
{
    return unmake(module, &fake.live_modules);
}

static int drv_module_function(void **function, void *module, const char *name)
{
    *function = module;
    return strncmp(name, "absent", 6) == 0 ? 500 : 0;
}

static int drv_launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                      unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments,
                      void **extra)
{
    (void)function, (void)shared, (void)stream, (void)arguments, (void)extra;
    return gx && gy && gz && bx && by && bz ? work() : INVALID_VALUE;
}

/* ---- what differs ---- */

static int hip_attribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 87 ? 64 : attribute == 63 ? 60 : attribute == 74 ? 65536 : 1024;
    return 0;
}

static int cuda_attribute(int *value, int attribute, int device)
{
    (void)device;
    switch (attribute) {
    case 10:
        *value = 32;
        return 0;
    case 16:
        *value = 132;
        return 0;
    case 97:
        *value = 232448;
        return 0;
    case 75:
        *value = fake.compute_major;
        return 0;
    case 76:
        *value = fake.compute_minor;
        return 0;
    default:
        *value = 1024;
        return attribute == 1 ? 0 : INVALID_VALUE;
    }
}

static int properties(void *values, size_t size, int offset)
{
    memset(values, 0, size);
    if (fake.arch && fake.arch_offset == offset)
        snprintf((char *)values + offset, 64, "%s", fake.arch);
    return 0;
}

#define NAMED(result, name, target, parameters, arguments)                                         \
    EXPORT result name parameters;                                                                 \
    EXPORT result name parameters                                                                  \
    {                                                                                              \
        return target arguments;                                                                   \
    }
#define BOTH(hip, cuda, target, parameters, arguments)                                             \
    NAMED(int, hip, target, parameters, arguments)                                                 \
    NAMED(int, cuda, target, parameters, arguments)

BOTH(hipInit, cuInit, drv_init, (unsigned f), (f))
BOTH(hipDriverGetVersion, cuDriverGetVersion, drv_version, (int *v), (v))
BOTH(hipGetDeviceCount, cuDeviceGetCount, drv_count, (int *n), (n))
BOTH(hipDeviceGet, cuDeviceGet, drv_device_get, (int *d, int i), (d, i))
BOTH(hipDeviceGetName, cuDeviceGetName, drv_name, (char *n, int s, int d), (n, s, d))
BOTH(hipDeviceTotalMem, cuDeviceTotalMem_v2, drv_memory, (size_t * b, int d), (b, d))
BOTH(hipDeviceGetPCIBusId, cuDeviceGetPCIBusId, drv_pci, (char *n, int s, int d), (n, s, d))
BOTH(hipDeviceSynchronize, cuCtxSynchronize, drv_synchronize, (void), ())
BOTH(hipMemGetInfo, cuMemGetInfo_v2, drv_memory_info, (size_t * f, size_t *t), (f, t))
BOTH(hipMalloc, cuMemAlloc_v2, allocate, (void **m, size_t s), (m, s))
BOTH(hipFree, cuMemFree_v2, release, (void *m), (m))
BOTH(hipHostMalloc, cuMemHostAlloc, drv_host_alloc, (void **m, size_t s, unsigned f), (m, s, f))
BOTH(hipHostFree, cuMemFreeHost, release, (void *m), (m))
BOTH(hipMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, drv_copy,
     (void *t, const void *f, size_t n, void *s), (t, f, n, s))
BOTH(hipMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, drv_copy_device,
     (void *t, void *f, size_t n, void *s), (t, f, n, s))
BOTH(hipMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, drv_copy_device,
     (void *t, void *f, size_t n, void *s), (t, f, n, s))
BOTH(hipMemsetD32Async, cuMemsetD32Async, drv_fill, (void *m, int w, size_t n, void *s),
     (m, w, n, s))
BOTH(hipStreamCreateWithFlags, cuStreamCreate, drv_stream_create, (void **s, unsigned f), (s, f))
BOTH(hipStreamDestroy, cuStreamDestroy_v2, drv_stream_destroy, (void *s), (s))
BOTH(hipStreamSynchronize, cuStreamSynchronize, drv_stream_synchronize, (void *s), (s))
BOTH(hipStreamWaitEvent, cuStreamWaitEvent, drv_stream_wait_event, (void *s, void *e, unsigned f),
     (s, e, f))
BOTH(hipEventCreateWithFlags, cuEventCreate, drv_event_create, (void **e, unsigned f), (e, f))
BOTH(hipEventDestroy, cuEventDestroy_v2, drv_event_destroy, (void *e), (e))
BOTH(hipEventRecord, cuEventRecord, drv_event_record, (void *e, void *s), (e, s))
BOTH(hipEventSynchronize, cuEventSynchronize, drv_event_synchronize, (void *e), (e))
BOTH(hipModuleLoadData, cuModuleLoadData, drv_module_load, (void **m, const void *i), (m, i))
BOTH(hipModuleUnload, cuModuleUnload, drv_module_unload, (void *m), (m))
BOTH(hipModuleGetFunction, cuModuleGetFunction, drv_module_function,
     (void **f, void *m, const char *n), (f, m, n))
BOTH(hipModuleLaunchKernel, cuLaunchKernel, drv_launch,
     (void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h,
      void *s, void **p, void **x),
     (f, a, b, c, d, e, g, h, s, p, x))

NAMED(int, hipDeviceGetAttribute, hip_attribute, (int *v, int a, int d), (v, a, d))
NAMED(int, cuDeviceGetAttribute, cuda_attribute, (int *v, int a, int d), (v, a, d))
NAMED(int, hipGetDevicePropertiesR0600, properties, (void *v, int d), (v, 1472, d >= 0 ? 1160 : 0))
NAMED(int, hipGetDeviceProperties, properties, (void *v, int d), (v, 792, d >= 0 ? 396 : 0))

EXPORT int hipSetDevice(int device);
EXPORT int hipSetDevice(int device)
{
    return device < fake.device_count ? lost() : INVALID_VALUE;
}

EXPORT const char *hipGetErrorString(int code);
EXPORT const char *hipGetErrorString(int code)
{
    return code == 35 ? "insufficient driver" : "fake error";
}

EXPORT int cuGetErrorString(int code, const char **text);
EXPORT int cuGetErrorString(int code, const char **text)
{
    *text = code == 35 ? "insufficient driver" : NULL;
    return code == 35 ? 0 : INVALID_VALUE;
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device);
EXPORT int cuDevicePrimaryCtxRetain(void **context, int device)
{
    (void)device;
    *context = &fake;
    if (lost())
        return LOST;
    fake.contexts++;
    return 0;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device);
EXPORT int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    fake.contexts--;
    return 0;
}

EXPORT int cuCtxSetCurrent(void *context);
EXPORT int cuCtxSetCurrent(void *context)
{
    (void)context;
    return lost();
}

EXPORT int cuFuncSetAttribute(void *function, int attribute, int value);
EXPORT int cuFuncSetAttribute(void *function, int attribute, int value)
{
    (void)function;
    return attribute == 8 && value >= 0 ? 0 : INVALID_VALUE;
}

/* ---- sensors ---- */

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlInit_v2(void)
{
    return fake.sensor_status;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **device);
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **device)
{
    *device = &fake;
    return strcmp(pci, "0000:64:00.0") == 0 ? 0 : 6;
}

EXPORT int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius);
EXPORT int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    (void)device;
    *celsius = 61;
    return sensor;
}

EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates);
EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates)
{
    (void)device;
    rates[0] = 97;
    rates[1] = 12;
    return 0;
}

EXPORT int rsmi_init(uint64_t flags);
EXPORT int rsmi_init(uint64_t flags)
{
    return flags ? 1 : fake.sensor_status;
}

EXPORT int rsmi_num_monitor_devices(uint32_t *count);
EXPORT int rsmi_num_monitor_devices(uint32_t *count)
{
    *count = 2;
    return 0;
}

EXPORT int rsmi_dev_pci_id_get(uint32_t device, uint64_t *pci);
EXPORT int rsmi_dev_pci_id_get(uint32_t device, uint64_t *pci)
{
    *pci = device == 1 ? 0x6400 : 0x1200;
    return 0;
}

EXPORT int rsmi_dev_temp_metric_get(uint32_t device, uint32_t sensor, int metric, int64_t *value);
EXPORT int rsmi_dev_temp_metric_get(uint32_t device, uint32_t sensor, int metric, int64_t *value)
{
    *value = device == 1 ? 47500 : 1000;
    return (int)sensor + metric;
}

EXPORT int rsmi_dev_busy_percent_get(uint32_t device, uint32_t *percent);
EXPORT int rsmi_dev_busy_percent_get(uint32_t device, uint32_t *percent)
{
    *percent = device == 1 ? 33 : 1;
    return 0;
}

/* ---- run-time compilers ---- */

static int rtc_create(void **program, const char *source, const char *name, int header_count,
                      const char *const *headers, const char *const *names)
{
    fake.headers = header_count;
    for (int i = 0; i < header_count; i++) {
        if (!headers[i] || !names[i])
            return INVALID_VALUE;
    }
    return source && name ? make(program, &fake.live_programs) : INVALID_VALUE;
}

static int rtc_compile(void *program, int option_count, const char *const *options)
{
    (void)program;
    fake.compilations++;
    fake.options[0] = '\0';
    for (int i = 0; i < option_count; i++) {
        size_t length = strlen(fake.options);
        snprintf(fake.options + length, sizeof(fake.options) - length, "%s ", options[i]);
    }
    return fake.compile_status;
}

static int rtc_code_size(void *program, size_t *size)
{
    (void)program;
    *size = fake.code_size;
    return 0;
}

static int rtc_code(void *program, char *code)
{
    (void)program;
    memset(code, 'c', fake.code_size);
    return 0;
}

static const char compile_log[] = "kernels: line 7: no such thing";

static int rtc_log_size(void *program, size_t *size)
{
    (void)program;
    *size = sizeof(compile_log);
    return 0;
}

static int rtc_log(void *program, char *log)
{
    (void)program;
    memcpy(log, compile_log, sizeof(compile_log));
    return 0;
}

static int rtc_destroy(void **program)
{
    return unmake(*program, &fake.live_programs);
}

BOTH(hiprtcCreateProgram, nvrtcCreateProgram, rtc_create,
     (void **p, const char *s, const char *n, int c, const char *const *h, const char *const *i),
     (p, s, n, c, h, i))
BOTH(hiprtcCompileProgram, nvrtcCompileProgram, rtc_compile, (void *p, int n, const char *const *o),
     (p, n, o))
BOTH(hiprtcGetCodeSize, nvrtcGetCUBINSize, rtc_code_size, (void *p, size_t *s), (p, s))
BOTH(hiprtcGetCode, nvrtcGetCUBIN, rtc_code, (void *p, char *c), (p, c))
BOTH(hiprtcGetProgramLogSize, nvrtcGetProgramLogSize, rtc_log_size, (void *p, size_t *s), (p, s))
BOTH(hiprtcGetProgramLog, nvrtcGetProgramLog, rtc_log, (void *p, char *l), (p, l))
BOTH(hiprtcDestroyProgram, nvrtcDestroyProgram, rtc_destroy, (void **p), (p))

EXPORT int amd_comgr_get_isa_count(size_t *count);
EXPORT int amd_comgr_get_isa_count(size_t *count)
{
    *count = 0;
    while (*count < 4 && fake.isas[*count])
        ++*count;
    return 0;
}

EXPORT int amd_comgr_get_isa_name(size_t index, const char **name);
EXPORT int amd_comgr_get_isa_name(size_t index, const char **name)
{
    *name = fake.isas[index];
    return 0;
}
