/*
 * What goes wrong on a card: memory that runs out at every single allocation, a card that is lost
 * at every single copy or launch, and two devices on one card.
 *
 * The work of a shard in small: device, stream, weights, a product, attention, a convolution.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "hip/gpu/emulated.h"
#include "hip/gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 513, /* enough for the pass that rounds activations in scratch */
    COLUMNS = 512,
    DEPTH = 16,
    HEADS = 2,
    CHANNELS = 5,
};

enum {
    BUFFER_A,
    BUFFER_B,
    BUFFER_PRODUCT,
    BUFFER_ATTENTION,
    BUFFER_WEIGHT,
    BUFFER_VIDEO,
    BUFFERS,
};

struct work {
    struct sora_device *device;
    struct sora_stream *stream, *other;
    struct sora_event *event;
    struct sora_buffer *buffers[BUFFERS];
    struct sora_packed *packed;
    float result[3][64];
};

static struct sora_tensor view(struct work *work, int buffer, enum sora_dtype dtype, int rank,
                               const int64_t *shape)
{
    return sora_tensor_make(work->buffers[buffer], 0, dtype, rank, shape);
}

/* ---- the steps: each can be repeated after it failed ---- */

static int make_device(struct work *work)
{
    const struct sora_gpu_params params = {.vendor = SORA_GPU_EMULATOR, .index = 0};
    struct sora_fault fault = {0};
    int error = sora_gpu_device_create(&params, &work->device, &fault);
    assert_true(!error == !fault.text[0]);
    return error;
}

static int make_stream(struct work *work)
{
    return sora_stream_create(work->device, &work->stream);
}

static int make_other(struct work *work)
{
    return sora_stream_create(work->device, &work->other);
}

static int make_event(struct work *work)
{
    return sora_event_create(work->device, &work->event);
}

static int make_buffers(struct work *work)
{
    static const size_t sizes[BUFFERS] = {
        [BUFFER_A] = ROWS * DEPTH * 4,
        [BUFFER_PRODUCT] = ROWS * COLUMNS * 4,
        [BUFFER_ATTENTION] = 40 * HEADS * DEPTH * 4,
        [BUFFER_WEIGHT] = CHANNELS * CHANNELS * 27 * 4,
        [BUFFER_VIDEO] = 2 * 6 * 6 * CHANNELS * 4,
    };
    for (int i = 0; i < BUFFERS; i++) {
        if (work->buffers[i] || !sizes[i])
            continue;
        int error = sora_buffer_create(work->device, sizes[i], &work->buffers[i]);
        if (error)
            return error;
    }
    return 0;
}

static int import_weight(struct work *work)
{
    static uint16_t weight[COLUMNS * DEPTH];
    for (int i = 0; i < COLUMNS * DEPTH; i++)
        weight[i] = (uint16_t)(0x3f80 + i % 64); /* bf16 from 1 on */
    return sora_buffer_import(work->device, weight, sizeof(weight), &work->buffers[BUFFER_B]);
}

static int upload(struct work *work)
{
    static float values[ROWS * DEPTH];
    struct sora_tensor a = view(work, BUFFER_A, SORA_DTYPE_F32, SORA_SHAPE(ROWS, DEPTH));
    struct sora_tensor w =
        view(work, BUFFER_WEIGHT, SORA_DTYPE_F32, SORA_SHAPE(CHANNELS, CHANNELS, 3, 3, 3));
    for (int i = 0; i < ROWS * DEPTH; i++)
        values[i] = (float)(i % 17 - 8) / 8.0f;
    int error = sora_tensor_upload(work->stream, &a, values);
    return error ? error : sora_tensor_upload(work->stream, &w, values);
}

static int product(struct work *work)
{
    const struct sora_matmul p = {
        .a = view(work, BUFFER_A, SORA_DTYPE_F32, SORA_SHAPE(ROWS, DEPTH)),
        .b = view(work, BUFFER_B, SORA_DTYPE_BF16, SORA_SHAPE(COLUMNS, DEPTH)),
        .out = view(work, BUFFER_PRODUCT, SORA_DTYPE_F32, SORA_SHAPE(ROWS, COLUMNS)),
    };
    int error = sora_op_matmul(work->stream, &p);
    return error ? error : sora_event_record(work->event, work->stream);
}

static int attention(struct work *work)
{
    struct sora_tensor q = view(work, BUFFER_A, SORA_DTYPE_F32, SORA_SHAPE(40, HEADS, DEPTH));
    const struct sora_attention p = {
        .q = q,
        .k = q,
        .v = q,
        .out = view(work, BUFFER_ATTENTION, SORA_DTYPE_F32, SORA_SHAPE(40, HEADS, DEPTH)),
        .scale = 0.25f,
    };
    return sora_op_attention(work->stream, &p);
}

static int pack(struct work *work)
{
    struct sora_tensor weight =
        view(work, BUFFER_WEIGHT, SORA_DTYPE_F32, SORA_SHAPE(CHANNELS, CHANNELS, 3, 3, 3));
    return sora_packed_create(work->device, &weight, &work->packed);
}

static int convolve(struct work *work)
{
    const struct sora_conv3d p = {
        .in = view(work, BUFFER_A, SORA_DTYPE_F32, SORA_SHAPE(2, 6, 6, CHANNELS)),
        .weight = work->packed,
        .out = view(work, BUFFER_VIDEO, SORA_DTYPE_F32, SORA_SHAPE(2, 6, 6, CHANNELS)),
        .time_pad = 2,
        .pad_top = 1,
        .pad_bottom = 1,
        .pad_left = 1,
        .pad_right = 1,
    };
    return sora_op_conv3d(work->stream, &p);
}

static int read_back(struct work *work)
{
    static const int sources[] = {BUFFER_PRODUCT, BUFFER_ATTENTION, BUFFER_VIDEO};
    int error = sora_event_wait(work->event);
    for (int i = 0; i < 3 && !error; i++) {
        struct sora_tensor part = view(work, sources[i], SORA_DTYPE_F32, SORA_SHAPE(64));
        bool finite = false;
        error = sora_device_all_finite(work->stream, &part, &finite);
        assert_true(error || finite);
        if (!error)
            error = sora_tensor_download(work->stream, &part, work->result[i]);
    }
    return error;
}

typedef int (*step)(struct work *work);
static const step steps[] = {
    make_device, make_stream, make_event, make_buffers, import_weight, upload,
    product,     attention,   make_other, pack,         convolve,      read_back,
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static void undo(struct work *work)
{
    struct sora_emulated_counts counts;
    sora_packed_destroy(&work->packed);
    for (int i = 0; i < BUFFERS; i++)
        sora_buffer_destroy(&work->buffers[i]);
    sora_event_destroy(&work->event);
    sora_stream_destroy(&work->other);
    sora_stream_destroy(&work->stream);
    sora_device_destroy(&work->device);
    sora_emulated_count(&counts);
    assert_int_equal(counts.live_allocations, 0);
    assert_int_equal(counts.live_bytes, 0);
    assert_int_equal(counts.live_streams, 0);
    assert_int_equal(counts.live_events, 0);
}

/* A step that meets the failing allocation says MEMORY; the same step then succeeds, and so does
 * all that follows. Returns how many steps failed. */
static int run_repeating(struct work *work)
{
    int failed = 0;
    for (size_t i = 0; i < STEPS; i++) {
        int error = steps[i](work);
        if (error) {
            failed++;
            assert_int_equal(error, SORA_E_MEMORY);
            error = steps[i](work);
        }
        assert_int_equal(error, 0);
    }
    return failed;
}

static void test_memory_at_every_allocation(void **state)
{
    (void)state;
    struct work expected = {0};
    struct sora_emulated_counts counts;
    sora_emulated_set(NULL);
    assert_int_equal(run_repeating(&expected), 0);
    sora_emulated_count(&counts);
    undo(&expected);
    assert_in_range(counts.allocations, 20, 200);
    int failed = 0;
    for (int64_t at = 1; at <= counts.allocations; at++) {
        const struct sora_emulated_controls controls = {.memory_at = at};
        struct work work = {0};
        sora_emulated_set(&controls);
        failed += run_repeating(&work);
        assert_memory_equal(work.result, expected.result, sizeof(work.result));
        undo(&work);
    }
    /* All but the scratch of rounded activations, which a product can do without. */
    assert_int_equal(failed, counts.allocations - 1);
    sora_emulated_set(NULL);
}

static void test_lost_at_every_piece_of_work(void **state)
{
    (void)state;
    struct work whole = {0};
    struct sora_emulated_counts counts;
    sora_emulated_set(NULL);
    assert_int_equal(run_repeating(&whole), 0);
    sora_emulated_count(&counts);
    undo(&whole);
    assert_in_range(counts.work, 10, 200);
    sora_log_set_level(SORA_LOG_ERROR);
    for (int64_t at = 1; at <= counts.work; at++) {
        const struct sora_emulated_controls controls = {.lost_at = at};
        struct work work = {0};
        int error = 0;
        size_t i = 0;
        sora_emulated_set(&controls);
        for (; i < STEPS && !error; i++)
            error = steps[i](&work);
        assert_int_equal(error, SORA_E_DEVICE);
        if (work.stream) {
            assert_int_equal(sora_stream_wait(work.stream), SORA_E_DEVICE);
            assert_int_equal(make_event(&(struct work){.device = work.device}), SORA_E_DEVICE);
        }
        undo(&work);
    }
    sora_emulated_set(NULL);
}

/* Two workers on one card: each has its own device, and what one holds the other lacks. */
static void test_two_devices_on_one_card(void **state)
{
    (void)state;
    const struct sora_emulated_controls controls = {.memory_total = 48 << 20};
    struct work one = {0}, other = {0};
    struct sora_buffer *large = NULL;
    struct sora_device_caps caps;
    sora_emulated_set(&controls);
    assert_int_equal(run_repeating(&one), 0);
    assert_int_equal(make_device(&other), 0);
    sora_device_caps(other.device, &caps);
    assert_true(caps.memory_free < caps.memory_total - (4 << 20));
    assert_int_equal(sora_buffer_create(other.device, 46 << 20, &large), SORA_E_MEMORY);
    assert_int_equal(sora_buffer_create(other.device, 8 << 20, &large), 0);
    sora_buffer_destroy(&large);
    assert_int_equal(read_back(&one), 0);
    sora_device_destroy(&other.device);
    undo(&one);
    sora_emulated_set(NULL);
}

int main(void)
{
    sora_log_set_level(SORA_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_at_every_allocation),
        cmocka_unit_test(test_lost_at_every_piece_of_work),
        cmocka_unit_test(test_two_devices_on_one_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
