/*
 * Shared by the kernel tests: runs a kernel on the emulator, in every kind and several thread
 * orders, beside the plain CPU operation. Every allocation has just the operand's size, so that a
 * sanitizer sees an access beyond it.
 */
#ifndef SORA_TESTS_KERNEL_FIXTURE_H
#define SORA_TESTS_KERNEL_FIXTURE_H

#include "hip/gpu/emulator.h"
#include "hip/gpu/launch_plan.h"
#include "tests/unit/cpu_fixture.h"

#include <string.h>

#define KERNEL_OPERANDS 16

/* One run: a kind of matrix unit, and the order in which threads go. */
struct kernel_fixture {
    struct fixture cpu; /* the plain operations */
    struct sora_emulator *emulator;
    const struct sora_emulator_module *module;
    struct sora_kernel_target target;
    enum sora_emulator_order order;
    uint32_t seed;
    void *operands[KERNEL_OPERANDS]; /* owned, freed by kernel_clear */
    int operand_count;
};

static inline void kernel_init(struct kernel_fixture *fix)
{
    *fix = (struct kernel_fixture){.order = SORA_EMULATOR_FORWARD};
    fixture_init(&fix->cpu, SORA_CPU_PATH_PLAIN, 1);
    assert_int_equal(sora_emulator_create(&fix->emulator), 0);
}

static inline void kernel_clear(struct kernel_fixture *fix)
{
    fixture_clear(&fix->cpu);
    while (fix->operand_count > 0)
        free(fix->operands[--fix->operand_count]);
}

static inline void kernel_fini(struct kernel_fixture *fix)
{
    kernel_clear(fix);
    fixture_fini(&fix->cpu);
    sora_emulator_destroy(&fix->emulator);
}

/* `run` in all six kinds; each kind and variant with another of forward, reverse and two random
 * orders, so that all meet all over the variants. */
static inline void kernel_for_all(struct kernel_fixture *fix, int variants,
                                  void (*run)(struct kernel_fixture *fix, int variant))
{
    for (int variant = 0; variant < variants; variant++) {
        for (int i = 0; i < SORA_EMULATOR_MODULES; i++) {
            int order = (variant + i) % 4;
            fix->module = sora_emulator_module_get(i);
            assert_int_equal(sora_kernel_target_find(fix->module->arch, &fix->target), 0);
            assert_int_equal(fix->target.kind, fix->module->kind);
            assert_int_equal(fix->target.wave, fix->module->wave);
            fix->order = order > 2 ? SORA_EMULATOR_RANDOM : (enum sora_emulator_order)order;
            fix->seed = (uint32_t)(variant * 7 + order + 1);
            run(fix, variant);
            kernel_clear(fix);
        }
    }
}

static inline void *kernel_alloc(struct kernel_fixture *fix, size_t size)
{
    void *data = NULL;
    assert_true(fix->operand_count < KERNEL_OPERANDS);
    assert_int_equal(posix_memalign(&data, 16, size), 0);
    memset(data, 0xff, size); /* NaN in every float type */
    fix->operands[fix->operand_count++] = data;
    return data;
}

/* A tensor's contents as the kernel's operand. */
static inline void *kernel_operand(struct kernel_fixture *fix, const struct sora_tensor *tensor)
{
    if (!tensor->buffer)
        return NULL;
    void *data = kernel_alloc(fix, sora_tensor_size(tensor));
    assert_int_equal(sora_tensor_download(fix->cpu.stream, tensor, data), 0);
    return data;
}

static inline int kernel_type(const struct sora_tensor *tensor)
{
    return tensor->dtype == SORA_DTYPE_BF16  ? KERNEL_BF16
           : tensor->dtype == SORA_DTYPE_F16 ? KERNEL_F16
                                             : KERNEL_F32;
}

static inline void kernel_launch(struct kernel_fixture *fix, const struct sora_launch_plan *plan,
                                 const void *args)
{
    struct sora_fault fault = {0};
    const char *name = sora_kernel_name(plan->kernel);
    const struct sora_emulator_launch launch = {
        .name = name,
        .kernel = sora_emulator_function_find(fix->module, name),
        .grid = {plan->grid[0], plan->grid[1], plan->grid[2]},
        .threads = SORA_KERNEL_THREADS,
        .wave = fix->module->wave,
        .shared_size = plan->shared_size,
        .args = args,
        .args_size = plan->args_size,
        .order = fix->order,
        .seed = fix->seed,
    };
    assert_non_null(launch.kernel);
    int code = sora_emulator_launch(fix->emulator, &launch, &fault);
    if (code)
        print_message("%s: %s\n", fix->module->arch, fault.text);
    assert_int_equal(code, 0);
}

/* Random values of `scale` that a 16-bit type holds exactly, as f32: rounding them again changes
 * nothing, so results can be compared closely. */
static inline struct sora_tensor kernel_random(struct kernel_fixture *fix, enum sora_dtype type,
                                               int rank, const int64_t *shape, uint64_t seed,
                                               float scale)
{
    struct sora_tensor rounded = fixture_random(&fix->cpu, type, rank, shape, seed, scale);
    if (type == SORA_DTYPE_F32)
        return rounded;
    float *values = fixture_read(&fix->cpu, &rounded);
    struct sora_tensor found = fixture_values(&fix->cpu, SORA_DTYPE_F32, rank, shape, values);
    free(values);
    return found;
}

/* `found` against the plain result, relative to its greatest magnitude. */
static inline void kernel_compare(struct kernel_fixture *fix, const char *what, int variant,
                                  const float *found, const struct sora_tensor *expected,
                                  double tolerance)
{
    float *values = fixture_read(&fix->cpu, expected);
    int64_t count = sora_tensor_count(expected);
    double greatest = 1e-30, worst = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)found[i] - values[i]);
        greatest = fmax(greatest, fabs((double)values[i]));
        worst = difference <= worst ? worst : difference; /* a NaN stays */
    }
    free(values);
    if (!(worst / greatest <= tolerance))
        print_message("%s, variant %d on %s, order %d: error %.3g, limit %.3g\n", what, variant,
                      fix->module->arch, (int)fix->order, worst / greatest, tolerance);
    assert_true(worst / greatest <= tolerance);
}

static inline int kernel_setup(void **state)
{
    static struct kernel_fixture fix;
    kernel_init(&fix);
    *state = &fix;
    return 0;
}

static inline int kernel_teardown(void **state)
{
    kernel_fini(*state);
    return 0;
}

#endif
