/* The device's public functions: objects, copies, and the refusal of operands that do not fit. */
#include "tests/unit/cpu_fixture.h"

#include "base/log.h"
#include "hip/arena.h"

#include <string.h>

static struct fixture fix;

static int setup(void **state)
{
    (void)state;
    sora_log_set_level(SORA_LOG_ERROR);
    fixture_init(&fix, SORA_CPU_PATH_AUTO, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_fini(&fix);
    return 0;
}

static struct sora_tensor f32(int rank, const int64_t *shape)
{
    return fixture_random(&fix, SORA_DTYPE_F32, rank, shape, 1, 1.0f);
}

static void test_create_refuses_bad_parameters(void **state)
{
    (void)state;
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    const struct sora_cpu_params many = {.thread_count = 257};
    assert_int_equal(sora_cpu_device_create(&many, &device, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "257"));
    assert_null(device);
    const struct sora_cpu_params path = {.path = 77};
    fault = (struct sora_fault){0};
    assert_int_equal(sora_cpu_device_create(&path, &device, &fault), SORA_E_UNSUPPORTED);
    assert_int_equal(sora_cpu_device_create(NULL, &device, NULL), 0);
    sora_device_destroy(&device);
    assert_null(device);
    sora_device_destroy(&device);
}

static void test_caps(void **state)
{
    (void)state;
    struct sora_device_caps caps;
    sora_device_caps(fix.device, &caps);
    assert_int_equal(caps.thread_count, 2);
    assert_true(caps.host_memory);
    assert_true(caps.head_size_max >= 384);
    assert_true(caps.memory_total >= caps.memory_free && caps.memory_free > 0);
    assert_int_equal(strncmp(caps.device_class, "cpu-", 4), 0);
    assert_non_null(strstr(caps.name, "2 threads"));
}

static void test_buffers_import_in_place_and_read_only(void **state)
{
    (void)state;
    static const float data[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    struct sora_buffer *buffer = NULL;
    assert_int_equal(sora_buffer_create(fix.device, 0, &buffer), SORA_E_INVALID);
    assert_int_equal(sora_buffer_import(fix.device, NULL, 4, &buffer), SORA_E_INVALID);
    assert_int_equal(sora_buffer_import(fix.device, data, sizeof(data), &buffer), 0);
    assert_int_equal(sora_buffer_size(buffer), sizeof(data));
    struct sora_tensor view = sora_tensor_make(buffer, 4, SORA_DTYPE_F32, SORA_SHAPE(3));
    float out[3];
    assert_int_equal(sora_tensor_download(fix.stream, &view, out), 0);
    assert_memory_equal(out, data + 1, sizeof(out));
    assert_int_equal(sora_op_fill(fix.stream, &view, 0.0f), SORA_E_INVALID);
    assert_int_equal(sora_tensor_upload(fix.stream, &view, out), SORA_E_INVALID);
    sora_buffer_destroy(&buffer);
    assert_null(buffer);
}

static void test_views_are_bounded(void **state)
{
    (void)state;
    struct sora_buffer *buffer = NULL;
    assert_int_equal(sora_buffer_create(fix.device, 64, &buffer), 0);
    struct sora_tensor view = sora_tensor_make(buffer, 0, SORA_DTYPE_F32, SORA_SHAPE(17));
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), SORA_E_INVALID);
    view = sora_tensor_make(buffer, 4, SORA_DTYPE_F32, SORA_SHAPE(16));
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), SORA_E_INVALID);
    view = sora_tensor_make(buffer, 2, SORA_DTYPE_F32, SORA_SHAPE(1));
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), SORA_E_INVALID);
    view = sora_tensor_make(buffer, 128, SORA_DTYPE_F32, SORA_SHAPE(1));
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), SORA_E_INVALID);
    view = sora_tensor_make(buffer, 0, SORA_DTYPE_F32, SORA_SHAPE(1));
    view.shape[0] = INT64_MAX / 2;
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), SORA_E_INVALID);
    view = sora_tensor_make(buffer, 60, SORA_DTYPE_F32, SORA_SHAPE(1));
    assert_int_equal(sora_op_fill(fix.stream, &view, 1.0f), 0);
    sora_buffer_destroy(&buffer);
}

static void test_other_device_is_refused(void **state)
{
    (void)state;
    struct fixture other;
    fixture_init(&other, SORA_CPU_PATH_PLAIN, 1);
    struct sora_tensor tensor = f32(SORA_SHAPE(4));
    assert_int_equal(sora_op_fill(other.stream, &tensor, 1.0f), SORA_E_INVALID);
    struct sora_event *event = NULL;
    assert_int_equal(sora_event_create(fix.device, &event), 0);
    assert_int_equal(sora_event_record(event, other.stream), SORA_E_INVALID);
    assert_int_equal(sora_stream_wait_event(other.stream, event), SORA_E_INVALID);
    assert_int_equal(sora_event_record(event, fix.stream), 0);
    assert_int_equal(sora_event_wait(event), 0);
    assert_int_equal(sora_stream_wait_event(fix.stream, event), 0);
    assert_int_equal(sora_stream_wait(fix.stream), 0);
    assert_ptr_equal(sora_stream_device(fix.stream), fix.device);
    sora_event_destroy(&event);
    fixture_fini(&other);
}

static void test_matmul_refuses(void **state)
{
    (void)state;
    const struct sora_matmul good = {
        .a = f32(SORA_SHAPE(3, 4)), .b = f32(SORA_SHAPE(5, 4)), .out = f32(SORA_SHAPE(3, 5))};
    assert_int_equal(sora_op_matmul(fix.stream, &good), 0);
    struct sora_matmul bad = good;
    bad.a = (struct sora_tensor){0};
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.b = f32(SORA_SHAPE(5, 3));
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.bias = f32(SORA_SHAPE(3));
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.out = fixture_random(&fix, SORA_DTYPE_F16, SORA_SHAPE(3, 5), 1, 1.0f);
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.b_scale = f32(SORA_SHAPE(5)); /* belongs to int8 */
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad.b = fixture_tensor(&fix, SORA_DTYPE_I8, SORA_SHAPE(5, 4));
    assert_int_equal(sora_op_quantize(fix.stream, &good.b, &bad.b, &bad.b_scale), SORA_E_INVALID);
    bad.b_scale = (struct sora_tensor){0};
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.activation = 9;
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.b = f32(SORA_SHAPE(4, 4));
    bad.a = f32(SORA_SHAPE(4, 4));
    bad.out = bad.a; /* the output may not be an operand of the product */
    assert_int_equal(sora_op_matmul(fix.stream, &bad), SORA_E_INVALID);
    bad.out = f32(SORA_SHAPE(4, 4));
    bad.residual = bad.out; /* but may be the residual */
    assert_int_equal(sora_op_matmul(fix.stream, &bad), 0);
}

static void test_attention_refuses(void **state)
{
    (void)state;
    const struct sora_attention good = {.q = f32(SORA_SHAPE(3, 2, 4)),
                                        .k = f32(SORA_SHAPE(5, 2, 4)),
                                        .v = f32(SORA_SHAPE(5, 2, 4)),
                                        .out = f32(SORA_SHAPE(3, 2, 4)),
                                        .scale = 1.0f};
    assert_int_equal(sora_op_attention(fix.stream, &good), 0);
    struct sora_attention bad = good;
    bad.v = f32(SORA_SHAPE(4, 2, 4));
    assert_int_equal(sora_op_attention(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.position_bias = f32(SORA_SHAPE(2, 5, 3));
    assert_int_equal(sora_op_attention(fix.stream, &bad), SORA_E_INVALID);
    struct sora_device_caps caps;
    sora_device_caps(fix.device, &caps);
    struct sora_tensor wide = f32(SORA_SHAPE(1, 1, caps.head_size_max + 1));
    bad = (struct sora_attention){.q = wide, .k = wide, .v = wide};
    bad.out = f32(SORA_SHAPE(1, 1, caps.head_size_max + 1));
    assert_int_equal(sora_op_attention(fix.stream, &bad), SORA_E_UNSUPPORTED);
}

static void test_conv_refuses(void **state)
{
    (void)state;
    struct sora_packed *packed = NULL;
    struct sora_tensor weight = f32(SORA_SHAPE(2, 3));
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), SORA_E_INVALID);
    weight = f32(SORA_SHAPE(2, 3, 3, 3, 3));
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), 0);
    const struct sora_conv3d good = {.in = f32(SORA_SHAPE(2, 4, 4, 3)),
                                     .weight = packed,
                                     .out = f32(SORA_SHAPE(2, 4, 4, 2)),
                                     .time_pad = 2,
                                     .pad_top = 1,
                                     .pad_bottom = 1,
                                     .pad_left = 1,
                                     .pad_right = 1};
    assert_int_equal(sora_op_conv3d(fix.stream, &good), 0);
    struct sora_conv3d bad = good;
    bad.pad_left = 0;
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.time_pad = 3;
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.history = f32(SORA_SHAPE(3, 4, 4, 3));
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.upsample = 3;
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.stride_h = -1;
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.weight = NULL;
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    bad = good;
    bad.time_pad = 0; /* two frames are fewer than the kernel's three */
    assert_int_equal(sora_op_conv3d(fix.stream, &bad), SORA_E_INVALID);
    sora_packed_destroy(&packed);
    assert_null(packed);
}

static void test_norms_and_layout_refuse(void **state)
{
    (void)state;
    struct sora_layer_norm norm = {.in = f32(SORA_SHAPE(2, 4)), .out = f32(SORA_SHAPE(2, 4))};
    assert_int_equal(sora_op_layer_norm(fix.stream, &norm), 0);
    norm.weight = f32(SORA_SHAPE(4));
    assert_int_equal(sora_op_layer_norm(fix.stream, &norm), SORA_E_INVALID);
    norm.weight = (struct sora_tensor){0};
    norm.shift = f32(SORA_SHAPE(4));
    assert_int_equal(sora_op_layer_norm(fix.stream, &norm), SORA_E_INVALID);
    struct sora_rms_norm rms = {.in = f32(SORA_SHAPE(2, 4)),
                                .out = f32(SORA_SHAPE(2, 4)),
                                .weight = f32(SORA_SHAPE(4)),
                                .activation = SORA_ACTIVATION_GELU_TANH};
    assert_int_equal(sora_op_rms_norm(fix.stream, &rms), SORA_E_INVALID);
    struct sora_tensor x = f32(SORA_SHAPE(2, 1, 3)), table = f32(SORA_SHAPE(2, 1));
    assert_int_equal(sora_op_rope(fix.stream, &x, &table, &table), SORA_E_INVALID);
    struct sora_combine combine = {.count = 5};
    assert_int_equal(sora_op_combine(fix.stream, &combine), SORA_E_INVALID);
    struct sora_tensor in = f32(SORA_SHAPE(2, 3)), out = f32(SORA_SHAPE(3, 2));
    assert_int_equal(sora_op_permute(fix.stream, &in, (const int[]){0, 0}, &out), SORA_E_INVALID);
    assert_int_equal(sora_op_permute(fix.stream, &in, (const int[]){0, 1}, &out), SORA_E_INVALID);
    assert_int_equal(sora_op_permute(fix.stream, &in, (const int[]){1, 0}, &out), 0);
    assert_int_equal(sora_op_to_rgb8(fix.stream, &in, &out), SORA_E_INVALID);
    assert_int_equal(sora_op_copy(fix.stream, &in, &in), SORA_E_INVALID);
}

static void test_gather_refuses_ids_outside_the_table(void **state)
{
    (void)state;
    struct sora_tensor table = f32(SORA_SHAPE(3, 2)), out = f32(SORA_SHAPE(2, 2));
    struct sora_tensor ids = fixture_tensor(&fix, SORA_DTYPE_I32, SORA_SHAPE(2));
    const int32_t bad[][2] = {{0, 3}, {-1, 0}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sora_tensor_upload(fix.stream, &ids, bad[i]), 0);
        assert_int_equal(sora_op_gather_rows(fix.stream, &table, &ids, &out), SORA_E_INVALID);
    }
}

static void test_arena(void **state)
{
    (void)state;
    struct sora_arena arena = {0};
    struct sora_tensor first, second;
    assert_int_equal(sora_arena_take(&arena, SORA_DTYPE_F32, SORA_SHAPE(1), &first), SORA_E_MEMORY);
    assert_int_equal(sora_arena_reserve(&arena, fix.device, 256), 0);
    assert_int_equal(sora_arena_take(&arena, SORA_DTYPE_F32, SORA_SHAPE(3, 5), &first), 0);
    size_t mark = sora_arena_mark(&arena);
    assert_int_equal(mark, sora_arena_cost(SORA_DTYPE_F32, 15));
    assert_int_equal(sora_arena_take(&arena, SORA_DTYPE_U8, SORA_SHAPE(192), &second), 0);
    assert_int_equal(second.offset, 64);
    assert_int_equal(sora_arena_take(&arena, SORA_DTYPE_U8, SORA_SHAPE(1), &second), SORA_E_MEMORY);
    assert_int_equal(second.shape[0], 192); /* untouched by the failure */
    sora_arena_rewind(&arena, mark);
    assert_int_equal(sora_arena_take(&arena, SORA_DTYPE_F16, SORA_SHAPE(7), &second), 0);
    assert_int_equal(arena.used_max, 256);
    sora_arena_rewind(&arena, 0);
    struct sora_buffer *before = arena.buffer;
    assert_int_equal(sora_arena_reserve(&arena, fix.device, 100), 0);
    assert_ptr_equal(arena.buffer, before);
    sora_arena_fini(&arena);
    assert_null(arena.buffer);
    assert_int_equal(sora_arena_cost(SORA_DTYPE_F32, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses_bad_parameters),
        cmocka_unit_test_setup_teardown(test_caps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffers_import_in_place_and_read_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_views_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_device_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_matmul_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attention_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_norms_and_layout_refuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_refuses_ids_outside_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arena, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
