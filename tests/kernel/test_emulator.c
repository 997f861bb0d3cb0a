/*
 * What the emulator must notice: each rule of the dialect is broken once by a small kernel, and the
 * launch must fail and name the place, or the result must show it in some thread order.
 */
#include "hip/gpu/emulator.h"
#include "hip/gpu/emulator_device.h"
#include "tests/unit/cpu_fixture.h"

#include <string.h>

#define THREADS 128

struct probe {
    uint32_t *out; /* one word per thread */
    int broken;    /* 0: the kernel keeps the rule */
};

static int launch(sora_emulator_kernel kernel, const struct probe *probe, int wave,
                  enum sora_emulator_order order, struct sora_fault *fault)
{
    struct sora_emulator *emulator = NULL;
    *fault = (struct sora_fault){0};
    assert_int_equal(sora_emulator_create(&emulator), 0);
    const struct sora_emulator_launch params = {
        .name = "probe",
        .kernel = kernel,
        .grid = {2, 1, 1},
        .threads = THREADS,
        .wave = wave,
        .shared_size = THREADS * 4,
        .args = probe,
        .args_size = sizeof(*probe),
        .order = order,
        .seed = 5,
    };
    int code = sora_emulator_launch(emulator, &params, fault);
    sora_emulator_destroy(&emulator);
    return code;
}

/* Runs the kernel kept and broken; broken it must end with DEVICE and `text` in the message. */
static void expect_broken(sora_emulator_kernel kernel, int wave, const char *text)
{
    uint32_t out[THREADS];
    struct sora_fault fault;
    for (int order = 0; order < 3; order++) {
        struct probe probe = {.out = out, .broken = 0};
        assert_int_equal(launch(kernel, &probe, wave, (enum sora_emulator_order)order, &fault), 0);
        probe.broken = 1;
        assert_int_equal(launch(kernel, &probe, wave, (enum sora_emulator_order)order, &fault),
                         SORA_E_DEVICE);
        if (!strstr(fault.text, text))
            print_message("%s\n", fault.text);
        assert_non_null(strstr(fault.text, text));
        assert_non_null(strstr(fault.text, "kernel probe, block (0,0,0)"));
    }
}

/* How many words of the first block are not what `expected` says. */
static int wrong_words(sora_emulator_kernel kernel, int broken, enum sora_emulator_order order,
                       uint32_t (*expected)(int thread))
{
    uint32_t out[THREADS] = {0};
    struct sora_fault fault;
    const struct probe probe = {.out = out, .broken = broken};
    assert_int_equal(launch(kernel, &probe, 32, order, &fault), 0);
    int wrong = 0;
    for (int i = 0; i < THREADS; i++)
        wrong += out[i] != expected(i);
    return wrong;
}

static void diverging_kernel(const void *args)
{
    const struct probe *probe = args;
    if (probe->broken && sora_emulator_thread() == 40)
        sora_emulator_barrier("probe.h:2");
    else
        sora_emulator_barrier("probe.h:1");
}

static void leaving_kernel(const void *args)
{
    const struct probe *probe = args;
    if (probe->broken && sora_emulator_thread() >= 64)
        return;
    sora_emulator_barrier("probe.h:3");
}

static void half_wave_kernel(const void *args)
{
    const struct probe *probe = args;
    int thread = sora_emulator_thread();
    if (!probe->broken || thread % 64 < 32)
        probe->out[thread] = sora_emulator_shuffle((uint32_t)thread, 0, "probe.h:4");
}

static void outside_kernel(const void *args)
{
    const struct probe *probe = args;
    int lane = probe->broken ? 32 : 31;
    probe->out[sora_emulator_thread()] = sora_emulator_shuffle(1, lane, "probe.h:5");
}

/* On wmma of gfx11 lanes 16-31 must hold the operands of lanes 0-15. */
static void repeated_kernel(const void *args)
{
    const struct probe *probe = args;
    float c[8] = {0};
    uint32_t a[8], b[8] = {0};
    for (int i = 0; i < 8; i++)
        a[i] = (uint32_t)(sora_emulator_thread() % (probe->broken ? 32 : 16));
    sora_emulator_mma(SORA_EMULATOR_MMA_RDNA3, c, a, b, 0, "probe.h:6");
}

static void unaligned_kernel(const void *args)
{
    const struct probe *probe = args;
    uint32_t found[4];
    const uint16_t *row = sora_emulator_shared();
    sora_emulator_load_matrix(found, row + (probe->broken ? 4 : 8), 0, "probe.h:7");
}

static void test_divergence(void **state)
{
    (void)state;
    expect_broken(diverging_kernel, 32, "thread 32 is at probe.h:1, thread 40 at probe.h:2");
    expect_broken(leaving_kernel, 32, "waves of one block diverge");
    expect_broken(leaving_kernel, 64, "thread 64 at the kernel's end");
}

/* A shuffle among 32 lanes is fine where a wave has 32 and an error where it has 64. */
static void test_wave_size(void **state)
{
    uint32_t out[THREADS];
    struct sora_fault fault;
    const struct probe probe = {.out = out, .broken = 1};
    (void)state;
    assert_int_equal(launch(half_wave_kernel, &probe, 32, SORA_EMULATOR_FORWARD, &fault), 0);
    expect_broken(half_wave_kernel, 64, "lanes of one wave diverge");
    expect_broken(outside_kernel, 32, "a lane outside the wave");
}

static void test_matrix_rules(void **state)
{
    (void)state;
    expect_broken(repeated_kernel, 32, "different operands of one matrix row");
    expect_broken(unaligned_kernel, 32, "no multiple of 16");
}

static uint32_t neighbour(int thread)
{
    return (uint32_t)(THREADS - 1 - thread);
}

/* Reads what another thread wrote; broken, without the barrier between. */
static void exchange_kernel(const void *args)
{
    const struct probe *probe = args;
    uint32_t *shared = sora_emulator_shared();
    int thread = sora_emulator_thread();
    shared[thread] = (uint32_t)thread;
    if (!probe->broken)
        sora_emulator_barrier("probe.h:8");
    probe->out[thread] = shared[THREADS - 1 - thread];
}

/* Reads what it copied itself; broken, without waiting for the copy. */
static void copy_kernel(const void *args)
{
    const struct probe *probe = args;
    int thread = sora_emulator_thread();
    uint32_t words[4] = {(uint32_t)(THREADS - 1 - thread), 0, 0, 0}, *shared;
    shared = sora_emulator_shared();
    if (thread < THREADS / 4)
        sora_emulator_copy_async(shared + thread * 4, words, 1);
    if (!probe->broken)
        sora_emulator_copy_wait();
    sora_emulator_barrier("probe.h:9");
    probe->out[thread] =
        thread < THREADS / 4 ? shared[thread * 4] : (uint32_t)(THREADS - 1 - thread);
}

static void test_missing_meetings(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        enum sora_emulator_order kind = (enum sora_emulator_order)order;
        assert_int_equal(wrong_words(exchange_kernel, 0, kind, neighbour), 0);
        assert_true(wrong_words(exchange_kernel, 1, kind, neighbour) > 0);
        assert_int_equal(wrong_words(copy_kernel, 0, kind, neighbour), 0);
        assert_int_equal(wrong_words(copy_kernel, 1, kind, neighbour), THREADS / 4);
    }
}

static void test_limits(void **state)
{
    struct sora_emulator *emulator = NULL;
    struct sora_fault fault = {0};
    const struct probe probe = {0};
    struct sora_emulator_launch params = {
        .name = "probe",
        .kernel = leaving_kernel,
        .grid = {1, 1, 1},
        .threads = 64,
        .wave = 32,
        .shared_size = SORA_EMULATOR_SHARED_MAX + 1,
        .args = &probe,
        .args_size = sizeof(probe),
    };
    (void)state;
    assert_int_equal(sora_emulator_create(&emulator), 0);
    assert_int_equal(sora_emulator_launch(emulator, &params, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "65537 bytes of shared memory; the limit is 65536"));
    params.shared_size = 0;
    params.threads = 48;
    assert_int_equal(sora_emulator_launch(emulator, &params, NULL), SORA_E_INVALID);
    params.threads = 2048;
    assert_int_equal(sora_emulator_launch(emulator, &params, NULL), SORA_E_INVALID);
    params.threads = 64;
    params.grid[1] = 65536;
    assert_int_equal(sora_emulator_launch(emulator, &params, NULL), SORA_E_INVALID);
    params.grid[1] = 1;
    assert_int_equal(sora_emulator_launch(emulator, &params, NULL), 0);
    sora_emulator_destroy(&emulator);
    sora_emulator_destroy(&emulator);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divergence),   cmocka_unit_test(test_wave_size),
        cmocka_unit_test(test_matrix_rules), cmocka_unit_test(test_missing_meetings),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
