/*
 * Large products through a library of the vendor: a fake one that multiplies on the emulator's
 * memory by what its descriptors say, under both vendors' names and numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "hip/cpu/cpu.h"
#include "hip/cpu/half.h"
#include "hip/gpu/blas.h"
#include "hip/gpu/emulated.h"
#include "hip/gpu/gpu.h"
#include "hip/gpu/internal.h"
#include "tests/fake/gpu_blas.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SORA_FAKE_GPU_BLAS /* set by the build; this file also compiles alone */
#define SORA_FAKE_GPU_BLAS "libfake_gpu_blas.so"
#endif
#define SWITCH "SORA_GPU_BLAS"
#define WORKSPACE_EMULATOR ((size_t)64 << 10) /* hip/gpu/ops_blas.c */
#define TOLERANCE 1e-5

static struct fake_blas *fake;
static char log_text[8192];
static bool is_planned; /* products in 16 bits by a library that works: their scratch is known */

static void log_sink(void *context, const char *line, size_t length)
{
    (void)context;
    strncat(log_text, line, sizeof(log_text) - strlen(log_text) - 1);
    (void)length;
}

static int setup(void **state)
{
    (void)state;
    void *library = dlopen(SORA_FAKE_GPU_BLAS, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "fake_blas") : NULL;
    assert_non_null(symbol);
    fake_blas_get get;
    memcpy(&get, &symbol, sizeof(get));
    fake = get();
    *fake = (struct fake_blas){.version = 130100};
    log_text[0] = '\0';
    sora_log_set_sink(log_sink, NULL);
    return setenv(SWITCH, SORA_FAKE_GPU_BLAS, 1);
}

static int teardown(void **state)
{
    (void)state;
    sora_log_set_sink(NULL, NULL);
    unsetenv(SWITCH);
    return 0;
}

static void assert_nothing_live(void)
{
    struct sora_emulated_counts counts;
    assert_int_equal(fake->live_handles, 0);
    assert_int_equal(fake->live_operations, 0);
    assert_int_equal(fake->live_layouts, 0);
    assert_int_equal(fake->live_preferences, 0);
    assert_int_equal(fake->misuse, 0);
    sora_emulated_count(&counts);
    assert_int_equal(counts.live_allocations, 0);
}

/* ---- products ---- */

struct shape {
    int64_t m, n, k;
    enum sora_dtype weight, bias; /* bias: 0 for none */
    bool gelu, factor, gate, residual;
    bool rounds; /* the card rounds the activations to fp8 too */
};

/* A device with one product's operands and the plain result. */
struct bench {
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_buffer *buffers[12];
    int buffer_count;
};

static struct sora_device *gpu_open(const char *kind, enum sora_gpu_precision precision)
{
    struct sora_gpu_params params = {.precision = precision};
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    if (sora_gpu_emulator_resolve(kind, &params, &fault) ||
        sora_gpu_device_create(&params, &device, &fault))
        fail_msg("%s", fault.text);
    return device;
}

static struct sora_device *cpu_open(void)
{
    const struct sora_cpu_params params = {.thread_count = 1};
    struct sora_device *device = NULL;
    assert_int_equal(sora_cpu_device_create(&params, &device, NULL), 0);
    return device;
}

/* Multiples of 1/8 up to 1, which both 16-bit types hold: sums differ by their order alone. */
static void values_fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)((int)(seed >> 24) % 17 - 8) / 8.0f;
    }
}

static struct sora_tensor tensor(struct bench *bench, enum sora_dtype dtype, int rank,
                                 const int64_t *shape, uint32_t seed)
{
    struct sora_tensor wide, out;
    struct sora_buffer *temporary = NULL;
    assert_int_equal(
        sora_tensor_create(bench->device, SORA_DTYPE_F32, rank, shape, &temporary, &wide), 0);
    assert_int_equal(sora_tensor_create(bench->device, dtype, rank, shape,
                                        &bench->buffers[bench->buffer_count++], &out),
                     0);
    size_t count = (size_t)sora_tensor_count(&wide);
    float *values = malloc(count * sizeof(float));
    values_fill(values, count, seed);
    assert_int_equal(sora_tensor_upload(bench->stream, &wide, values), 0);
    assert_int_equal(sora_op_convert(bench->stream, &wide, &out), 0);
    free(values);
    sora_buffer_destroy(&temporary);
    return out;
}

/* What the product took is what plans of memory count, but for a bias's f32 copy; fp8 may take
 * less.
 */
static void check_scratch(struct sora_stream *stream, const struct shape *shape)
{
    const struct sora_gpu_block *scratch = ((struct sora_gpu_stream *)stream)->scratch;
    const struct sora_gpu_product product = {shape->m, shape->n, shape->k, shape->residual};
    size_t planned = (size_t)sora_gpu_product_scratch(stream->device, &product);
    size_t taken = scratch ? scratch->size : 0;
    size_t spare = planned > taken ? planned - taken : 0;
    if (taken > planned ||
        (shape->weight != SORA_DTYPE_F8 && spare > (size_t)shape->n * sizeof(float) + 256))
        fail_msg("%dx%dx%d took %zu, %zu were planned", (int)shape->m, (int)shape->n, (int)shape->k,
                 taken, planned);
}

/* A matrix quantised to fp8, with its scales. */
static struct sora_tensor quantised(struct bench *bench, int64_t rows, int64_t columns,
                                    uint32_t seed, struct sora_tensor *out_scale)
{
    struct sora_tensor wide = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(rows, columns), seed), out;
    assert_int_equal(sora_tensor_create(bench->device, SORA_DTYPE_F8, SORA_SHAPE(rows, columns),
                                        &bench->buffers[bench->buffer_count++], &out),
                     0);
    assert_int_equal(sora_tensor_create(bench->device, SORA_DTYPE_F32, SORA_SHAPE(rows),
                                        &bench->buffers[bench->buffer_count++], out_scale),
                     0);
    assert_int_equal(sora_op_quantize(bench->stream, &wide, &out, out_scale), 0);
    return out;
}

/* The values that fp8 with a scale per row makes of a matrix, in f32. */
static struct sora_tensor rounded(struct bench *bench, int64_t rows, int64_t columns, uint32_t seed)
{
    struct sora_tensor scale, codes = quantised(bench, rows, columns, seed, &scale);
    struct sora_tensor out = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(rows, columns), seed);
    uint8_t *code = malloc((size_t)(rows * columns));
    float *values = malloc((size_t)(rows * columns) * sizeof(float));
    float *factors = malloc((size_t)rows * sizeof(float));
    assert_int_equal(sora_tensor_download(bench->stream, &codes, code), 0);
    assert_int_equal(sora_tensor_download(bench->stream, &scale, factors), 0);
    for (int64_t i = 0; i < rows * columns; i++)
        values[i] = sora_f32_from_f8(code[i]) * factors[i / columns];
    assert_int_equal(sora_tensor_upload(bench->stream, &out, values), 0);
    free(code);
    free(values);
    free(factors);
    return out;
}

/* The product of `shape` on a device, in place on the residual where there is one; owned. */
static float *product_run(struct sora_device *device, const struct shape *shape)
{
    struct bench bench = {.device = device};
    const int64_t m = shape->m, n = shape->n, k = shape->k;
    assert_int_equal(sora_stream_create(device, &bench.stream), 0);
    struct sora_matmul params = {
        .out = tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(m, n), 3),
        .activation = shape->gelu ? SORA_ACTIVATION_GELU_TANH : SORA_ACTIVATION_NONE,
    };
    bool is_card = sora_gpu_device_card(device) != NULL;
    params.a = shape->rounds && !is_card ? rounded(&bench, m, k, 1)
                                         : tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1);
    params.b = shape->weight == SORA_DTYPE_F8 ? quantised(&bench, n, k, 2, &params.b_scale)
                                              : tensor(&bench, shape->weight, SORA_SHAPE(n, k), 2);
    if (shape->bias)
        params.bias = tensor(&bench, shape->bias, SORA_SHAPE(n), 4);
    if (shape->factor)
        params.factor = tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(m, n), 5);
    if (shape->gate)
        params.gate = tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(n), 6);
    if (shape->residual)
        params.residual = params.out;
    float *result = malloc((size_t)(m * n) * sizeof(float));
    assert_int_equal(sora_op_matmul(bench.stream, &params), 0);
    if (is_planned && is_card)
        check_scratch(bench.stream, shape);
    assert_int_equal(sora_tensor_download(bench.stream, &params.out, result), 0);
    for (int i = 0; i < bench.buffer_count; i++)
        sora_buffer_destroy(&bench.buffers[i]);
    sora_stream_destroy(&bench.stream);
    return result;
}

static void compare(const struct shape *shape, struct sora_device *device)
{
    struct sora_device *cpu = cpu_open();
    float *expected = product_run(cpu, shape), *found = product_run(device, shape);
    double greatest = 1e-30, worst = 0;
    for (int64_t i = 0; i < shape->m * shape->n; i++) {
        double difference = fabs((double)found[i] - expected[i]);
        greatest = fmax(greatest, fabs((double)expected[i]));
        worst = difference <= worst ? worst : difference;
    }
    free(expected);
    free(found);
    sora_device_destroy(&cpu);
    if (!(worst / greatest <= TOLERANCE))
        fail_msg("%dx%dx%d: error %.3g", (int)shape->m, (int)shape->n, (int)shape->k,
                 worst / greatest);
}

static const struct shape shapes[] = {
    {512, 512, 64, SORA_DTYPE_BF16, 0, .gelu = false},
    {513, 640, 40, SORA_DTYPE_BF16, .bias = SORA_DTYPE_F32},
    {1000, 512, 72, SORA_DTYPE_F16, .bias = SORA_DTYPE_F16}, /* in two pieces */
    {520, 516, 64, SORA_DTYPE_BF16, .bias = SORA_DTYPE_BF16, .gelu = true, .factor = true},
    {777, 512, 64, SORA_DTYPE_BF16, .bias = SORA_DTYPE_BF16, .gate = true, .residual = true},
    {600, 512, 64, SORA_DTYPE_F16, 0, .residual = true},
};

static void shapes_test(const char *kind)
{
    struct sora_device *device = gpu_open(kind, SORA_GPU_BF16);
    is_planned = true;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        int before = fake->products;
        compare(&shapes[i], device);
        assert_true(fake->products > before);
        assert_int_equal(fake->workspace_bound, WORKSPACE_EMULATOR);
        assert_int_equal(fake->workspace_given, WORKSPACE_EMULATOR);
    }
    is_planned = false;
    assert_int_equal(fake->bias_count, 3); /* two of them in one product of two pieces */
    sora_device_destroy(&device);
    assert_nothing_live();
}

static void test_cublaslt(void **state)
{
    (void)state;
    shapes_test("nvidia");
    assert_int_equal(fake->alignment, 16);
    assert_non_null(strstr(log_text, "large products by library"));
}

static void test_hipblaslt(void **state)
{
    (void)state;
    shapes_test("cdna");
}

/* fp8 by fp8 with the scales of both in our pass; a shape that the library does not take has 16-bit
 * activations. */
static void fp8_test(const char *kind, int type)
{
    static const struct shape fp8[] = {
        {512, 512, 64, SORA_DTYPE_F8, 0, .rounds = true},
        {1100, 528, 96, SORA_DTYPE_F8, .bias = SORA_DTYPE_F32, .gelu = true, .rounds = true},
        {777, 512, 64, SORA_DTYPE_F8, SORA_DTYPE_BF16, .gate = true, .residual = true,
         .rounds = true},
        {512, 520, 64, SORA_DTYPE_F8, 0, .rounds = false},
        {512, 512, 72, SORA_DTYPE_F8, 0, .rounds = false},
    };
    struct sora_device *device = gpu_open(kind, SORA_GPU_FP8);
    is_planned = true;
    for (size_t i = 0; i < sizeof(fp8) / sizeof(fp8[0]); i++) {
        int before = fake->products;
        fake->type_last = 0;
        compare(&fp8[i], device);
        assert_true((fake->products > before) == fp8[i].rounds);
        assert_int_equal(fake->type_last, fp8[i].rounds ? type : 0);
    }
    is_planned = false;
    fake->choose_status = 15; /* an old library */
    const struct shape other = {600, 512, 64, SORA_DTYPE_F8, 0, .gelu = true};
    compare(&other, device);
    sora_device_destroy(&device);
    assert_nothing_live();
}

static void test_fp8(void **state)
{
    (void)state;
    fp8_test("nvidia", 28);
    fake->choose_status = 0;
    fp8_test("cdna", 1000); /* stands for gfx942: fnuz */
}

/* One choice for a shape, however often it is computed; and the same bits. */
static void test_choice_is_kept(void **state)
{
    (void)state;
    struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
    float *first = product_run(device, &shapes[0]), *second = product_run(device, &shapes[0]);
    assert_int_equal(fake->products, 2);
    assert_int_equal(fake->choices, 1);
    assert_memory_equal(first, second, 512 * 512 * sizeof(float));
    free(first);
    free(second);
    sora_device_destroy(&device);
    assert_nothing_live();
}

/* More shapes than are kept: the oldest goes, with its objects. */
static void test_choices_are_bounded(void **state)
{
    (void)state;
    const struct sora_gpu_blas_params params = {
        .vendor = SORA_GPU_NVIDIA, .library = SORA_FAKE_GPU_BLAS, .workspace_bytes = 64};
    static _Alignas(16) unsigned char memory[4][256];
    struct sora_gpu_blas *blas = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_gpu_blas_create(&params, &blas, &fault), 0);
    for (int i = 0; i < 100; i++) {
        const struct sora_gpu_blas_product product = {
            .dtype = SORA_DTYPE_BF16,
            .m = 1 + i % 65,
            .n = 1,
            .k = 1,
            .rows = memory[0],
            .weight = memory[1],
            .out = (float *)(void *)memory[2],
            .workspace = memory[3],
            .stream = memory,
        };
        assert_int_equal(sora_gpu_blas_multiply(blas, &product, &fault), 0);
        assert_true(fake->live_operations <= 64);
    }
    assert_int_equal(fake->choices, 100); /* 65 shapes in turn, 64 kept: always the one that went */
    sora_gpu_blas_destroy(&blas);
    assert_nothing_live();
}

/* ---- what is not the library's ---- */

static void test_small_and_exact_products_are_ours(void **state)
{
    (void)state;
    const struct shape ours[] = {
        {511, 512, 64, SORA_DTYPE_BF16, 0, .gelu = false},
        {512, 508, 64, SORA_DTYPE_BF16, 0, .gelu = false},
        {512, 512, 60, SORA_DTYPE_BF16, 0, .gelu = false},
        {512, 512, 64, SORA_DTYPE_F32, 0, .gelu = false}, /* weights that are rounded on the way */
    };
    struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        compare(&ours[i], device);
    sora_device_destroy(&device);
    device = gpu_open("nvidia", SORA_GPU_F32);
    compare(&shapes[0], device);
    assert_int_equal(fake->products, 0);
    sora_device_destroy(&device);
    assert_nothing_live();
}

static void class_read(struct sora_device *device, char *out_class, size_t size)
{
    struct sora_device_caps caps;
    sora_device_caps(device, &caps);
    snprintf(out_class, size, "%s", caps.device_class);
}

/* The class names library, version and processors, for results depend on them. */
static void test_class(void **state)
{
    (void)state;
    char class[64], plain[64];
    struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
    class_read(device, class, sizeof(class));
    sora_device_destroy(&device);
    assert_non_null(strstr(class, "-cublaslt130100-"));
    setenv(SWITCH, "off", 1);
    device = gpu_open("nvidia", SORA_GPU_BF16);
    class_read(device, plain, sizeof(plain));
    compare(&shapes[0], device);
    sora_device_destroy(&device);
    assert_null(strstr(plain, "cublaslt"));
    assert_memory_equal(class, plain, strlen(plain));
    assert_int_equal(fake->products, 0);
}

/* ---- failures: the result is right all the same ---- */

static int lines_with(const char *text)
{
    int count = 0;
    for (const char *at = log_text; (at = strstr(at, text)); at++)
        count++;
    return count;
}

/* A shape without an algorithm is ours; the next shape is asked for again. */
static void test_no_algorithm(void **state)
{
    (void)state;
    char class[64];
    struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
    fake->choose_nothing = 1;
    compare(&shapes[0], device);
    fake->choose_nothing = 0;
    fake->choose_status = 15;
    compare(&shapes[1], device);
    fake->choose_status = 0;
    fake->workspace_wanted = WORKSPACE_EMULATOR + 1; /* above the bound that it was told */
    compare(&shapes[3], device);
    assert_int_equal(fake->products, 0);
    fake->workspace_wanted = WORKSPACE_EMULATOR;
    compare(&shapes[5], device);
    assert_true(fake->products > 0);
    class_read(device, class, sizeof(class));
    assert_non_null(strstr(class, "cublaslt"));
    sora_device_destroy(&device);
    assert_nothing_live();
}

/* A failing library is left alone from then on, with one line; here in the second of two pieces,
 * on top of the residual, where nothing may be added twice. */
static void test_failure(void **state)
{
    (void)state;
    const struct shape *in_place = &shapes[4];
    struct sora_device *device = gpu_open("cdna", SORA_GPU_BF16);
    char class[64];
    fake->fail_multiply_at = 2;
    compare(in_place, device);
    assert_int_equal(fake->products, 2);
    compare(in_place, device);
    assert_int_equal(fake->products, 2);
    assert_int_equal(lines_with("products by own kernels from now on"), 1);
    class_read(device, class, sizeof(class));
    assert_null(strstr(class, "hipblaslt"));
    sora_device_destroy(&device);
    assert_nothing_live();
}

/* No library, an old one, one that does not start: the device works and one line says why. */
static void test_absent(void **state)
{
    (void)state;
    static const struct {
        const char *library;
        int version, status;
        const char *reason;
    } rows[] = {
        {"/nowhere/libcublasLt.so", 130100, 0, "no cublaslt"},
        {SORA_FAKE_GPU_BLAS, 10200, 0, "version 10200"},
        {SORA_FAKE_GPU_BLAS, 130100, 1, "does not start (status 1)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        log_text[0] = '\0';
        setenv(SWITCH, rows[i].library, 1);
        fake->version = rows[i].version;
        fake->create_status = rows[i].status;
        struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
        assert_int_equal(lines_with("products by own kernels"), 1);
        assert_non_null(strstr(log_text, rows[i].reason));
        sora_device_destroy(&device);
        assert_nothing_live();
    }
    assert_int_equal(fake->products, 0);
}

/* Out of memory for its scratch is the operation's error, and nothing is lost. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct sora_device *device = gpu_open("nvidia", SORA_GPU_BF16);
    struct bench bench = {.device = device};
    assert_int_equal(sora_stream_create(device, &bench.stream), 0);
    struct sora_matmul params = {
        .a = tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(512, 64), 1),
        .b = tensor(&bench, SORA_DTYPE_BF16, SORA_SHAPE(512, 64), 2),
        .out = tensor(&bench, SORA_DTYPE_F32, SORA_SHAPE(512, 512), 3),
    };
    sora_emulated_set(&(struct sora_emulated_controls){.memory_at = 1});
    assert_int_equal(sora_op_matmul(bench.stream, &params), SORA_E_MEMORY);
    sora_emulated_set(NULL);
    assert_int_equal(sora_op_matmul(bench.stream, &params), 0);
    assert_int_equal(fake->products, 1);
    for (int i = 0; i < bench.buffer_count; i++)
        sora_buffer_destroy(&bench.buffers[i]);
    sora_stream_destroy(&bench.stream);
    sora_device_destroy(&device);
    assert_nothing_live();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cublaslt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hipblaslt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fp8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_choice_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_choices_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_and_exact_products_are_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_class, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_algorithm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
