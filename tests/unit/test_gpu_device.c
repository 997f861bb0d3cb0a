/*
 * The GPU backend on the emulator: every operation for every kind of matrix unit and precision,
 * streams, events and copies, memory that runs out at every allocation, a card that is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "hip/gpu/emulated.h"
#include "hip/gpu/gpu.h"
#include "hip/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sora_device *device_open(int kind, enum sora_gpu_precision precision)
{
    const struct sora_gpu_params params = {
        .vendor = SORA_GPU_EMULATOR, .index = kind, .precision = precision};
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    int error = sora_gpu_device_create(&params, &device, &fault);
    if (error)
        fail_msg("%s", fault.text);
    return device;
}

/* Closed, and nothing left of it. */
static void device_close(struct sora_device **device)
{
    struct sora_emulated_counts counts;
    sora_device_destroy(device);
    sora_emulated_count(&counts);
    assert_int_equal(counts.live_allocations, 0);
    assert_int_equal(counts.live_streams, 0);
    assert_int_equal(counts.live_events, 0);
}

static void operations_test(int kind, enum sora_gpu_precision precision)
{
    struct sora_selftest_row rows[SORA_SELFTEST_ROWS_MAX];
    struct sora_device_caps caps;
    struct sora_device *device = device_open(kind, precision);
    const struct sora_selftest_params params = {device, precision == SORA_GPU_F32};
    int count = 0, failed = 0;
    sora_device_caps(device, &caps);
    assert_int_equal(sora_selftest_run(&params, rows, &count), 0);
    assert_int_equal(count, 18);
    for (int i = 0; i < count; i++) {
        assert_true(rows[i].cases >= 2);
        failed += rows[i].failed;
        if (rows[i].failed)
            print_message("%s %s: %d of %d failed, %s\n", caps.device_class, rows[i].operation,
                          rows[i].failed, rows[i].cases, rows[i].message);
    }
    device_close(&device);
    assert_int_equal(failed, 0);
}

static void test_operations_bf16(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_EMULATOR_MODULES; kind++)
        operations_test(kind, SORA_GPU_BF16);
}

/* The kernels of the two types differ in conversions alone: the kinds of wave and layout suffice.
 */
static void test_operations_f16(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_EMULATOR_MODULES; kind += 2)
        operations_test(kind, SORA_GPU_F16);
}

static void test_operations_f32(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_EMULATOR_MODULES; kind++)
        operations_test(kind, SORA_GPU_F32);
}

/* ---- copies, streams, events ---- */

/* Larger than both staging slots, and not a multiple of anything. */
static void test_copies(void **state)
{
    (void)state;
    const int64_t count = 1234567;
    struct sora_device *device = device_open(0, SORA_GPU_BF16);
    struct sora_stream *stream = NULL, *other = NULL;
    struct sora_event *event = NULL;
    struct sora_buffer *buffers[2];
    struct sora_tensor a, b;
    float *values = malloc((size_t)count * sizeof(float)), *back = malloc((size_t)count * 4);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)i;
    assert_int_equal(sora_stream_create(device, &stream), 0);
    assert_int_equal(sora_stream_create(device, &other), 0);
    assert_int_equal(sora_event_create(device, &event), 0);
    assert_int_equal(sora_tensor_create(device, SORA_DTYPE_F32, SORA_SHAPE(count), &buffers[0], &a),
                     0);
    assert_int_equal(sora_tensor_create(device, SORA_DTYPE_F32, SORA_SHAPE(count), &buffers[1], &b),
                     0);
    assert_int_equal(sora_tensor_upload(stream, &a, values), 0);
    assert_int_equal(sora_event_record(event, stream), 0);
    assert_int_equal(sora_stream_wait_event(other, event), 0);
    assert_int_equal(sora_op_copy(other, &a, &b), 0);
    assert_int_equal(sora_event_wait(event), 0);
    assert_int_equal(sora_tensor_download(other, &b, back), 0);
    assert_memory_equal(values, back, (size_t)count * sizeof(float));
    assert_int_equal(sora_stream_wait(stream), 0);
    sora_buffer_destroy(&buffers[0]);
    sora_buffer_destroy(&buffers[1]);

    /* Imported memory is a copy: the caller's may change. */
    assert_int_equal(sora_buffer_import(device, values, (size_t)count * 4, &buffers[0]), 0);
    memset(values, 0, (size_t)count * 4);
    a.buffer = buffers[0];
    assert_int_equal(sora_tensor_download(stream, &a, values), 0);
    assert_memory_equal(values, back, (size_t)count * sizeof(float));
    assert_int_equal(sora_op_fill(stream, &a, 0.0f), SORA_E_INVALID); /* read only */
    sora_buffer_destroy(&buffers[0]);
    sora_event_destroy(&event);
    sora_stream_destroy(&other);
    sora_stream_destroy(&stream);
    device_close(&device);
    free(values);
    free(back);
}

static void test_bad_ids(void **state)
{
    (void)state;
    static const int32_t ids[2][2] = {{0, 3}, {-1, 2}};
    struct sora_device *device = device_open(1, SORA_GPU_BF16);
    struct sora_stream *stream = NULL;
    struct sora_buffer *buffers[3];
    struct sora_tensor table, chosen, out;
    assert_int_equal(sora_stream_create(device, &stream), 0);
    assert_int_equal(
        sora_tensor_create(device, SORA_DTYPE_F32, SORA_SHAPE(3, 5), &buffers[0], &table), 0);
    assert_int_equal(
        sora_tensor_create(device, SORA_DTYPE_I32, SORA_SHAPE(2), &buffers[1], &chosen), 0);
    assert_int_equal(
        sora_tensor_create(device, SORA_DTYPE_F32, SORA_SHAPE(2, 5), &buffers[2], &out), 0);
    assert_int_equal(sora_op_fill(stream, &table, 1.0f), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sora_tensor_upload(stream, &chosen, ids[i]), 0);
        assert_int_equal(sora_op_gather_rows(stream, &table, &chosen, &out), SORA_E_INVALID);
    }
    for (int i = 0; i < 3; i++)
        sora_buffer_destroy(&buffers[i]);
    sora_stream_destroy(&stream);
    device_close(&device);
}

static void test_description(void **state)
{
    (void)state;
    struct sora_device_caps caps;
    struct sora_fault fault = {0};
    struct sora_gpu_params params = {.memory_limit = 64 << 20};
    struct sora_device *device = NULL;
    struct sora_buffer *buffer = NULL;
    assert_int_equal(sora_gpu_emulator_resolve("rdna3", &params, &fault), 0);
    assert_int_equal(sora_gpu_device_create(&params, &device, &fault), 0);
    sora_device_caps(device, &caps);
    assert_string_equal(caps.name, "emulated-rdna3");
    assert_string_equal(caps.device_class, "emulated-rdna3-bf16-2");
    assert_false(caps.host_memory);
    assert_int_equal(caps.thread_count, 0);
    assert_int_equal(caps.memory_total, 64 << 20);
    assert_true(caps.memory_free > 60 << 20 && caps.memory_free < 64 << 20);
    assert_string_equal(sora_gpu_device_card(device)->arch, "emulated-rdna3");
    assert_int_equal(sora_buffer_create(device, 65 << 20, &buffer), SORA_E_MEMORY);
    assert_int_equal(sora_buffer_create(device, 60 << 20, &buffer), 0);
    sora_buffer_destroy(&buffer);
    device_close(&device);

    assert_int_equal(sora_gpu_emulator_resolve("rdna9", &params, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "nvidia, cdna, rdna3, rdna4, simt32, simt64"));
    fault = (struct sora_fault){0};
    params.index = SORA_EMULATOR_MODULES;
    assert_int_equal(sora_gpu_device_create(&params, &device, &fault), SORA_E_INVALID);
}

/* Taken where the units of the card have it, else refused with what does instead. */
static void test_fp8(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        bool taken;
    } rows[] = {{"nvidia", true}, {"cdna", true},    {"rdna4", true},
                {"rdna3", false}, {"simt32", false}, {"simt64", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char class[64];
        struct sora_device_caps caps;
        struct sora_fault fault = {0};
        struct sora_gpu_params params = {.precision = SORA_GPU_FP8};
        struct sora_device *device = NULL;
        assert_int_equal(sora_gpu_emulator_resolve(rows[i].kind, &params, &fault), 0);
        int error = sora_gpu_device_create(&params, &device, &fault);
        assert_int_equal(error, rows[i].taken ? 0 : SORA_E_UNSUPPORTED);
        snprintf(class, sizeof(class), "emulated-%s", rows[i].kind);
        if (error) {
            assert_non_null(strstr(fault.text, class));
            assert_non_null(strstr(fault.text, "--precision int8"));
            continue;
        }
        sora_device_caps(device, &caps);
        strcat(class, "-fp8-2");
        assert_string_equal(caps.device_class, class);
        assert_int_equal(caps.matrix_type, SORA_DTYPE_F8);
        device_close(&device);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"gpu",  "gpu16", "gpu-1",         "gpu1x",
                                      "cpu0", "",      "gpu99999999999"};
    struct sora_gpu_params params = {.precision = SORA_GPU_F32};
    struct sora_fault fault = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(sora_gpu_name_is(bad[i]));
        assert_int_equal(sora_gpu_name_resolve(bad[i], &params, NULL), SORA_E_INVALID);
    }
    assert_true(sora_gpu_name_is("gpu15"));
    setenv("SORA_GPU", "emulator:cdna", 1);
    assert_int_equal(sora_gpu_name_resolve("gpu0", &params, &fault), 0);
    assert_int_equal(params.vendor, SORA_GPU_EMULATOR);
    assert_int_equal(params.index, 1);
    assert_int_equal(params.precision, SORA_GPU_F32); /* left alone */
    setenv("SORA_GPU", "emulator:", 1);
    assert_int_equal(sora_gpu_name_resolve("gpu0", &params, NULL), SORA_E_INVALID);
    setenv("SORA_GPU", "off", 1);
    assert_int_equal(sora_gpu_name_resolve("gpu0", &params, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "emulator:KIND"));
    unsetenv("SORA_GPU");
    int error = sora_gpu_name_resolve("gpu15", &params, &fault);
    assert_true(error == SORA_E_NOT_FOUND || error == 0);
}

int main(void)
{
    sora_log_set_level(SORA_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),          cmocka_unit_test(test_bad_ids),
        cmocka_unit_test(test_description),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_operations_bf16), cmocka_unit_test(test_operations_f16),
        cmocka_unit_test(test_operations_f32),  cmocka_unit_test(test_fp8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
