/*
 * Drivers, cards and sensors against a library that plays both vendors and misbehaves, against the
 * CUDA toolkit's stub when there is one, and against whatever this machine has.
 */
#include "tests/unit/fake_gpu.h"

#include "hip/gpu/card.h"
#include "hip/gpu/sensors.h"

#include <stdio.h>
#include <unistd.h>

#define STUB "/usr/local/cuda/lib64/stubs/libcuda.so"

static const enum sora_gpu_vendor vendors[] = {SORA_GPU_AMD, SORA_GPU_NVIDIA};

static void assert_says(const struct sora_fault *fault, const char *words)
{
    if (!strstr(fault->text, words))
        fail_msg("'%s' does not say '%s'", fault->text, words);
}

static void refused(enum sora_gpu_vendor vendor, const char *words)
{
    struct sora_gpu_runtime *runtime = NULL;
    struct sora_fault fault;
    assert_int_equal(fake_gpu_open(vendor, &runtime, &fault), SORA_E_NOT_FOUND);
    assert_null(runtime);
    assert_says(&fault, words);
    assert_says(&fault, sora_gpu_vendor_name(vendor));
}

static void test_missing_libraries(void **state)
{
    (void)state;
    struct sora_gpu_runtime *runtime = NULL;
    for (size_t i = 0; i < 2; i++) {
        const struct sora_gpu_runtime_params params = {vendors[i], "/nonexistent/libgpu.so"};
        struct sora_fault fault = {0};
        assert_int_equal(sora_gpu_runtime_create(&params, &runtime, &fault), SORA_E_NOT_FOUND);
        assert_null(runtime);
        assert_says(&fault, "no driver library");
        assert_says(&fault, "/nonexistent/libgpu.so");
    }
    /* A library of something else: the first missing symbol is named. */
    const struct sora_gpu_runtime_params params = {SORA_GPU_NVIDIA, "libm.so.6"};
    struct sora_fault fault = {0};
    assert_int_equal(sora_gpu_runtime_create(&params, &runtime, &fault), SORA_E_NOT_FOUND);
    assert_says(&fault, "libm.so.6 has no cuInit");
}

/* Exports every symbol of the table, which makes it a check of their names. */
static void test_stub_driver(void **state)
{
    (void)state;
    if (access(STUB, R_OK) != 0) {
        print_message("skipped: no CUDA toolkit with a stub driver here\n");
        skip();
    }
    const struct sora_gpu_runtime_params params = {SORA_GPU_NVIDIA, STUB};
    struct sora_gpu_runtime *runtime = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_gpu_runtime_create(&params, &runtime, &fault), SORA_E_NOT_FOUND);
    assert_says(&fault, "stub");
}

static void test_drivers_that_do_not_start(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fake_gpu_reset()->init_status = SORA_GPU_STATUS_STUB;
        refused(vendors[i], "stub");
        fake_gpu_reset()->init_status = SORA_GPU_STATUS_OLD_DRIVER;
        refused(vendors[i], "insufficient driver (35");
        fake_gpu_reset()->init_status = SORA_GPU_STATUS_INVALID_DEVICE;
        refused(vendors[i], "no card");
        fake_gpu_reset()->init_status = 999;
        refused(vendors[i], "does not start");
        fake_gpu_reset()->count_status = SORA_GPU_STATUS_NO_DEVICE;
        refused(vendors[i], "no card");
        fake_gpu_reset()->device_count = 0;
        refused(vendors[i], "no card");
        fake_gpu_reset()->version = 10020;
        refused(vendors[i], "driver version 10020 is older than");
    }
    fake_gpu_reset()->version = 40421401;
    refused(SORA_GPU_AMD, "50000000");
}

static void test_card_of_nvidia(void **state)
{
    (void)state;
    struct fake_gpu *fake = fake_gpu_reset();
    struct sora_gpu_runtime *runtime = NULL;
    struct sora_gpu_card card;
    struct sora_fault fault;
    fake->version = 12040;
    fake->live_bytes = 1 << 20;
    assert_int_equal(fake_gpu_open(SORA_GPU_NVIDIA, &runtime, &fault), 0);
    assert_int_equal(runtime->device_count, 2);
    assert_null(runtime->calls.hip_set_device);
    assert_int_equal(sora_gpu_card_read(runtime, 1, &card, &fault), 0);
    assert_string_equal(card.name, "Fake 101");
    assert_string_equal(card.arch, "sm_90");
    assert_string_equal(card.pci, "0000:65:00.0");
    assert_int_equal(card.driver_version, 12040);
    assert_int_equal(card.wave_size, 32);
    assert_int_equal(card.processor_count, 132);
    assert_int_equal(card.shared_bytes_max, 232448);
    assert_int_equal(card.block_threads_max, 1024);
    assert_int_equal(card.memory_total, 64 << 20);
    assert_int_equal(card.memory_free, 63 << 20);
    assert_int_equal(card.temperature_celsius, SORA_GPU_UNKNOWN);
    assert_int_equal(fake->contexts, 0); /* given back */
    assert_int_equal(sora_gpu_card_read(runtime, 2, &card, &fault), SORA_E_INVALID);
    assert_says(&fault, "outside 0..1");
    sora_gpu_runtime_destroy(&runtime);
    assert_null(runtime);
}

static void test_card_of_amd(void **state)
{
    (void)state;
    static const struct {
        const char *told, *arch;
        int offset;
    } rows[] = {
        {"gfx942:sramecc+:xnack-", "gfx942", 1160},
        {"gfx1100", "gfx1100", 1160},
        {"gfx906:xnack-", "gfx906", 396}, /* ROCm 5 */
        {"Radeon", NULL, 1160},
        {NULL, NULL, 396},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fake_gpu *fake = fake_gpu_reset();
        struct sora_gpu_runtime *runtime = NULL;
        struct sora_gpu_card card = {.index = 7};
        struct sora_fault fault;
        fake->arch = rows[i].told;
        fake->arch_offset = rows[i].offset;
        assert_int_equal(fake_gpu_open(SORA_GPU_AMD, &runtime, &fault), 0);
        int error = sora_gpu_card_read(runtime, 0, &card, &fault);
        if (rows[i].arch) {
            assert_int_equal(error, 0);
            assert_string_equal(card.arch, rows[i].arch);
            assert_int_equal(card.wave_size, 64);
            assert_int_equal(card.shared_bytes_max, 65536);
        } else {
            assert_int_equal(error, SORA_E_UNSUPPORTED);
            assert_says(&fault, "architecture");
            assert_int_equal(card.index, 7); /* written on success only */
        }
        sora_gpu_runtime_destroy(&runtime);
    }
}

static void test_error_numbers(void **state)
{
    (void)state;
    struct sora_gpu_runtime *runtime = NULL;
    struct sora_fault fault;
    fake_gpu_reset();
    assert_int_equal(sora_gpu_error(0), 0);
    assert_int_equal(sora_gpu_error(2), SORA_E_MEMORY);
    assert_int_equal(sora_gpu_error(222), SORA_E_UNSUPPORTED);
    assert_int_equal(sora_gpu_error(700), SORA_E_DEVICE);
    assert_int_equal(fake_gpu_open(SORA_GPU_NVIDIA, &runtime, &fault), 0);
    assert_string_equal(sora_gpu_error_text(runtime, 35), "insufficient driver");
    assert_string_equal(sora_gpu_error_text(runtime, 12345), "unknown error");
    assert_int_equal(sora_gpu_fault(runtime, "copying", 700, &fault), SORA_E_DEVICE);
    assert_string_equal(fault.text, "NVIDIA: copying failed: unknown error (700)");
    sora_gpu_runtime_destroy(&runtime);
}

static void test_all_cards(void **state)
{
    (void)state;
    static struct sora_gpu_cards cards;
    const char *const both[SORA_GPU_VENDORS] = {SORA_FAKE_GPU_DRIVER, SORA_FAKE_GPU_DRIVER, NULL};
    struct fake_gpu *fake = fake_gpu_reset();
    sora_gpu_cards_find(both, &cards);
    assert_int_equal(cards.count, 4);
    assert_int_equal(cards.absence_count, 0);
    assert_string_equal(cards.cards[0].arch, "gfx942");
    assert_string_equal(cards.cards[3].arch, "sm_90");
    assert_int_equal(cards.cards[3].index, 1);
    char label[8];
    sora_gpu_card_label(3, label, sizeof(label));
    assert_string_equal(label, "gpu3");

    const char *const one[SORA_GPU_VENDORS] = {"/nonexistent.so", SORA_FAKE_GPU_DRIVER, NULL};
    sora_gpu_cards_find(one, &cards);
    assert_int_equal(cards.count, 2);
    assert_int_equal(cards.absence_count, 1);
    assert_int_equal(cards.absences[0].vendor, SORA_GPU_AMD);
    assert_says(&cards.absences[0].fault, "/nonexistent.so");

    /* More cards than the list holds; and cards that are lost while they are asked. */
    fake->device_count = 40;
    sora_gpu_cards_find(both, &cards);
    assert_int_equal(cards.count, SORA_GPU_CARDS_MAX);
    fake->lost_at = 1;
    fake->work = 1;
    sora_gpu_cards_find(both, &cards);
    assert_int_equal(cards.count, 0);
    assert_int_equal(cards.absence_count, 2);
}

static void test_sensors(void **state)
{
    (void)state;
    static const struct {
        enum sora_gpu_vendor vendor;
        int temperature, busy;
    } rows[] = {{SORA_GPU_AMD, 47, 33}, {SORA_GPU_NVIDIA, 61, 97}};
    for (size_t i = 0; i < 2; i++) {
        const struct sora_gpu_card known = {.vendor = rows[i].vendor,
                                            .pci = "0000:64:00.0",
                                            .temperature_celsius = SORA_GPU_UNKNOWN,
                                            .busy_percent = SORA_GPU_UNKNOWN};
        struct fake_gpu *fake = fake_gpu_reset();
        struct sora_gpu_card card = known;
        sora_gpu_sensors_read(SORA_FAKE_GPU_DRIVER, &card);
        assert_int_equal(card.temperature_celsius, rows[i].temperature);
        assert_int_equal(card.busy_percent, rows[i].busy);

        /* Another card, no address, a library that fails, none, another one. */
        static const char *const places[] = {"0000:65:00.0", "", "nonsense"};
        for (size_t k = 0; k < 3; k++) {
            card = known;
            snprintf(card.pci, sizeof(card.pci), "%s", places[k]);
            sora_gpu_sensors_read(SORA_FAKE_GPU_DRIVER, &card);
            assert_int_equal(card.temperature_celsius, SORA_GPU_UNKNOWN);
        }
        card = known;
        fake->sensor_status = 1;
        sora_gpu_sensors_read(SORA_FAKE_GPU_DRIVER, &card);
        sora_gpu_sensors_read("/nonexistent.so", &card);
        sora_gpu_sensors_read("libm.so.6", &card);
        assert_int_equal(card.temperature_celsius, SORA_GPU_UNKNOWN);
        assert_int_equal(card.busy_percent, SORA_GPU_UNKNOWN);
    }
}

/* Whatever is installed here: cards or sentences, and no crash. */
static void test_this_machine(void **state)
{
    (void)state;
    static struct sora_gpu_cards cards;
    sora_gpu_cards_find(NULL, &cards);
    assert_true(cards.count > 0 || cards.absence_count == 2);
    for (int i = 0; i < cards.absence_count; i++) {
        assert_true(cards.absences[i].fault.code);
        print_message("%s\n", cards.absences[i].fault.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_libraries),
        cmocka_unit_test(test_stub_driver),
        cmocka_unit_test(test_drivers_that_do_not_start),
        cmocka_unit_test(test_card_of_nvidia),
        cmocka_unit_test(test_card_of_amd),
        cmocka_unit_test(test_error_numbers),
        cmocka_unit_test(test_all_cards),
        cmocka_unit_test(test_sensors),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
