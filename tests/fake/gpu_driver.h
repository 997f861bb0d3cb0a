/* A driver library that misbehaves on demand: what the tests set in it. One library plays HIP,
 * CUDA, NVML and ROCm SMI; device memory is host memory and streams run at once. */
#ifndef SORA_TESTS_FAKE_GPU_DRIVER_H
#define SORA_TESTS_FAKE_GPU_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_gpu {
    /* what it says */
    int init_status, count_status, version, device_count;
    int compute_major, compute_minor;
    const char *arch; /* of the AMD properties */
    int arch_offset;  /* where ROCm's release puts it: 1160 or 396 */
    uint64_t memory_total;
    /* when it fails */
    int fail_memory_at; /* the n-th allocation from 1 on is out of memory; 0: none */
    int lost_at;        /* every call from the n-th copy or launch on says 700; 0: none */
    int module_status;
    int sensor_status;
    int compile_status;
    size_t code_size;
    const char *isas[4]; /* what comgr lists, ended by NULL */
    /* what happened */
    int allocations, live_allocations, live_streams, live_events, live_modules, contexts;
    int work; /* copies and launches */
    uint64_t live_bytes;
    int compilations, live_programs, headers;
    char options[256], loaded[64]; /* of the last compilation; the last module's first bytes */
};

/* The library exports: struct fake_gpu *fake_gpu(void); */
typedef struct fake_gpu *(*fake_gpu_get)(void);

#endif
