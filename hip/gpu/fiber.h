/*
 * Fibers: functions with stacks of their own that hand control back and forth with the thread that
 * resumes them. The caller owns the structs; one thread uses them. Sanitizers are told of every
 * switch. On x86-64 a switch is ten instructions; elsewhere ucontext does it.
 */
#ifndef SORA_HIP_GPU_FIBER_H
#define SORA_HIP_GPU_FIBER_H

#include <stddef.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct sora_fiber {
    unsigned char *stack; /* owned mapping; its lowest page is a guard */
    size_t stack_size;
    void (*entry)(void *context);
    void *context;
#if defined(__x86_64__)
    void *stack_pointer, *resumer_pointer;
#else
    ucontext_t own, resumer;
#endif
    void *fake_stack;           /* of the resumer, kept for AddressSanitizer */
    const void *resumer_bottom; /* the resumer's stack, for AddressSanitizer */
    size_t resumer_size;
    void *race_fiber, *race_resumer; /* of ThreadSanitizer */
};

/* Maps a stack: 0 or MEMORY. */
int sora_fiber_init(struct sora_fiber *fiber);
void sora_fiber_fini(struct sora_fiber *fiber);

/* The next resume calls entry(context), which must end with sora_fiber_yield(fiber, true). */
void sora_fiber_start(struct sora_fiber *fiber, void (*entry)(void *context), void *context);
/* Runs the fiber until it yields. */
void sora_fiber_resume(struct sora_fiber *fiber);
/* Forgets a fiber that yielded and will not go on; it may be started again. */
void sora_fiber_abandon(struct sora_fiber *fiber);
/* On the fiber: back to the resumer. `last` when it never runs again without a start. */
void sora_fiber_yield(struct sora_fiber *fiber, int last);

#endif
