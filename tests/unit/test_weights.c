/* Weights on the CPU device: views in place, realigned copies, and what a wrong request says. */
#include "hip/cpu/cpu.h"
#include "model/checkpoint.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct sora_checkpoint *checkpoint;
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_weights *weights;
};

/* `pad` spaces behind the header move the data. */
static void fixture_open(struct fixture *fixture, int pad)
{
    static const char header[] =
        "{\"f\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"h.0.w\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
        "\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[12,14]},"
        "\"i\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[14,16]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[16,16]}}";
    static const unsigned char data[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    unsigned char bytes[1024];
    uint64_t length = sizeof(header) - 1 + (size_t)pad;
    memcpy(bytes, &length, 8);
    memset(bytes + 8, ' ', length);
    memcpy(bytes + 8, header, sizeof(header) - 1);
    memcpy(bytes + 8 + length, data, sizeof(data));
    FILE *file = fopen(scratch_path("model.safetensors"), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, 8 + length + sizeof(data), file), 8 + length + sizeof(data));
    assert_int_equal(fclose(file), 0);

    const struct sora_cpu_params params = {.thread_count = 1};
    assert_int_equal(sora_checkpoint_open(scratch_dir, &fixture->checkpoint, NULL), 0);
    assert_int_equal(sora_cpu_device_create(&params, &fixture->device, NULL), 0);
    assert_int_equal(sora_stream_create(fixture->device, &fixture->stream), 0);
    assert_int_equal(
        sora_weights_create(fixture->checkpoint, fixture->device, &fixture->weights, NULL), 0);
}

static void fixture_close(struct fixture *fixture)
{
    sora_weights_destroy(&fixture->weights);
    assert_null(fixture->weights);
    sora_weights_destroy(&fixture->weights);
    sora_stream_destroy(&fixture->stream);
    sora_device_destroy(&fixture->device);
    sora_checkpoint_destroy(&fixture->checkpoint);
}

/* Every alignment of the data: 8 headers, of which one or none is aligned for f32. */
static void test_every_alignment(void **state)
{
    (void)state;
    for (int pad = 0; pad < 8; pad++) {
        struct fixture fixture = {0};
        fixture_open(&fixture, pad);
        struct sora_tensor tensor;
        unsigned char bytes[8];
        assert_int_equal(sora_weights_get(fixture.weights, SORA_SHAPE(1, 2), &tensor, NULL, "f"),
                         0);
        assert_int_equal(tensor.offset % 4, 0);
        assert_int_equal(tensor.dtype, SORA_DTYPE_F32);
        assert_int_equal(sora_tensor_download(fixture.stream, &tensor, bytes), 0);
        assert_memory_equal(bytes, ((unsigned char[]){1, 2, 3, 4, 5, 6, 7, 8}), 8);
        assert_int_equal(
            sora_weights_get(fixture.weights, SORA_SHAPE(2), &tensor, NULL, "h.%d.w", 0), 0);
        assert_int_equal(tensor.offset % 2, 0);
        assert_int_equal(sora_tensor_download(fixture.stream, &tensor, bytes), 0);
        assert_memory_equal(bytes, ((unsigned char[]){9, 10, 11, 12}), 4);
        fixture_close(&fixture);
    }
}

static void expect_refused(struct fixture *fixture, const char *name, int code, const char *words)
{
    struct sora_tensor tensor;
    struct sora_fault fault = {0};
    int rc = sora_weights_get(fixture->weights, SORA_SHAPE(2), &tensor, &fault, "%s", name);
    if (rc != code || !strstr(fault.text, words))
        fail_msg("%d %s; expected %d with \"%s\"", rc, fault.text, code, words);
    assert_non_null(strstr(fault.text, "model.safetensors: "));
}

static void test_refuses(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    fixture_open(&fixture, 0);
    expect_refused(&fixture, "h.1.w", SORA_E_NOT_FOUND, "missing tensor h.1.w, expected shape [2]");
    expect_refused(&fixture, "f", SORA_E_FORMAT, "tensor f has shape [1, 2], expected [2]");
    expect_refused(&fixture, "z", SORA_E_FORMAT, "tensor z has shape [0], expected [2]");
    expect_refused(&fixture, "q", SORA_E_UNSUPPORTED, "tensor q has type F8_E4M3");
    expect_refused(&fixture, "i", SORA_E_UNSUPPORTED, "tensor i has type U8");
    fixture_close(&fixture);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {TEST(test_every_alignment), TEST(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
