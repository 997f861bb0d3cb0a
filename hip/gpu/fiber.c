/*
 * The switch itself saves the registers that a call must keep and exchanges stack pointers; all
 * else (signal masks, floating-point modes) is shared, as fibers of one launch never change it.
 */
#include "hip/gpu/fiber.h"

#include "base/error.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif

#if defined(FIBER_ASAN)
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(const volatile void *address, size_t size);
#define STACK_SIZE ((size_t)512 * 1024) /* red zones make frames large */
#else
#define STACK_SIZE ((size_t)128 * 1024)
#endif
#define GUARD_SIZE ((size_t)4096)
#if defined(FIBER_TSAN)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

int sora_fiber_init(struct sora_fiber *fiber)
{
    *fiber = (struct sora_fiber){.stack_size = STACK_SIZE};
    void *stack = mmap(NULL, STACK_SIZE + GUARD_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return SORA_E_MEMORY;
    fiber->stack = stack;
    if (mprotect(stack, GUARD_SIZE, PROT_NONE) != 0) {
        sora_fiber_fini(fiber);
        return SORA_E_MEMORY;
    }
#if defined(FIBER_TSAN)
    fiber->race_fiber = __tsan_create_fiber(0);
#endif
    return 0;
}

void sora_fiber_fini(struct sora_fiber *fiber)
{
#if defined(FIBER_TSAN)
    if (fiber->race_fiber)
        __tsan_destroy_fiber(fiber->race_fiber);
#endif
    if (fiber->stack)
        munmap(fiber->stack, STACK_SIZE + GUARD_SIZE);
    *fiber = (struct sora_fiber){0};
}

void sora_fiber_abandon(struct sora_fiber *fiber)
{
#if defined(FIBER_ASAN) /* the frames that are left have red zones */
    __asan_unpoison_memory_region(fiber->stack + GUARD_SIZE, fiber->stack_size);
#endif
    (void)fiber;
}

/* The frames of the last yield never returned; they lie at the stack's top. */
static void top_clean(struct sora_fiber *fiber)
{
#if defined(FIBER_ASAN)
    __asan_unpoison_memory_region(fiber->stack + fiber->stack_size + GUARD_SIZE - 4096, 4096);
#endif
    (void)fiber;
}

/* What the sanitizers want before and after control moves to the fiber and back. */
static void before_resume(struct sora_fiber *fiber)
{
#if defined(FIBER_ASAN)
    __sanitizer_start_switch_fiber(&fiber->fake_stack, fiber->stack + GUARD_SIZE,
                                   fiber->stack_size);
#endif
#if defined(FIBER_TSAN)
    fiber->race_resumer = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->race_fiber, 0);
#endif
    (void)fiber;
}

static void after_resume(struct sora_fiber *fiber)
{
#if defined(FIBER_ASAN)
    __sanitizer_finish_switch_fiber(fiber->fake_stack, NULL, NULL);
#endif
    (void)fiber;
}

static void before_yield(struct sora_fiber *fiber, void **fake_stack, int last)
{
#if defined(FIBER_ASAN)
    __sanitizer_start_switch_fiber(last ? NULL : fake_stack, fiber->resumer_bottom,
                                   fiber->resumer_size);
#endif
#if defined(FIBER_TSAN)
    __tsan_switch_to_fiber(fiber->race_resumer, 0);
#endif
    (void)fiber;
    (void)fake_stack;
    (void)last;
}

static void after_yield(struct sora_fiber *fiber, void *fake_stack)
{
#if defined(FIBER_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, &fiber->resumer_bottom, &fiber->resumer_size);
#endif
    (void)fiber;
    (void)fake_stack;
}

#if defined(__x86_64__)

/* Pushes the kept registers, stores the stack pointer in *save, continues on `to`. */
void sora_fiber_switch(void **save, void *to);
__asm__(".text\n"
        ".globl sora_fiber_switch\n"
        ".hidden sora_fiber_switch\n"
        ".type sora_fiber_switch,@function\n"
        "sora_fiber_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sora_fiber_switch, .-sora_fiber_switch\n"
        /* First frame: the fiber's address was put where r12 is taken from. */
        ".globl sora_fiber_first\n"
        ".hidden sora_fiber_first\n"
        ".type sora_fiber_first,@function\n"
        "sora_fiber_first:\n"
        "    movq %r12, %rdi\n"
        "    call sora_fiber_main\n"
        "    ud2\n"
        ".size sora_fiber_first, .-sora_fiber_first\n");
void sora_fiber_first(void);

void sora_fiber_main(struct sora_fiber *fiber) __attribute__((used));
void sora_fiber_main(struct sora_fiber *fiber)
{
    after_yield(fiber, NULL);
    fiber->entry(fiber->context);
    SORA_ASSERT(!"a fiber's entry returned");
}

void sora_fiber_start(struct sora_fiber *fiber, void (*entry)(void *context), void *context)
{
    fiber->entry = entry;
    fiber->context = context;
    top_clean(fiber);
    void **top = (void **)(fiber->stack + GUARD_SIZE + fiber->stack_size);
    void (*first)(void) = sora_fiber_first;
    *--top = NULL; /* at entry of `first` the stack is as after a call */
    *--top = NULL;
    --top;
    memcpy(top, &first, sizeof(first));
    for (int i = 0; i < 6; i++) /* rbp, rbx, r12, r13, r14, r15 */
        *--top = i == 2 ? (void *)fiber : NULL;
    fiber->stack_pointer = top;
}

void sora_fiber_resume(struct sora_fiber *fiber)
{
    before_resume(fiber);
    sora_fiber_switch(&fiber->resumer_pointer, fiber->stack_pointer);
    after_resume(fiber);
}

void sora_fiber_yield(struct sora_fiber *fiber, int last)
{
    void *fake_stack = NULL;
    before_yield(fiber, &fake_stack, last);
    sora_fiber_switch(&fiber->stack_pointer, fiber->resumer_pointer);
    after_yield(fiber, fake_stack);
}

#else

static void fiber_main(unsigned high, unsigned low)
{
    struct sora_fiber *fiber = (struct sora_fiber *)((uintptr_t)high << 32 | low);
    after_yield(fiber, NULL);
    fiber->entry(fiber->context);
    SORA_ASSERT(!"a fiber's entry returned");
}

void sora_fiber_start(struct sora_fiber *fiber, void (*entry)(void *context), void *context)
{
    uintptr_t address = (uintptr_t)fiber;
    fiber->entry = entry;
    fiber->context = context;
    top_clean(fiber);
    getcontext(&fiber->own);
    fiber->own.uc_stack.ss_sp = fiber->stack + GUARD_SIZE;
    fiber->own.uc_stack.ss_size = fiber->stack_size;
    fiber->own.uc_link = NULL;
    makecontext(&fiber->own, (void (*)(void))fiber_main, 2, (unsigned)(address >> 32),
                (unsigned)address);
}

void sora_fiber_resume(struct sora_fiber *fiber)
{
    before_resume(fiber);
    swapcontext(&fiber->resumer, &fiber->own);
    after_resume(fiber);
}

void sora_fiber_yield(struct sora_fiber *fiber, int last)
{
    void *fake_stack = NULL;
    before_yield(fiber, &fake_stack, last);
    swapcontext(&fiber->own, &fiber->resumer);
    after_yield(fiber, fake_stack);
}

#endif
