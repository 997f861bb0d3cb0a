/* The self-test's runner and what the cases share. */
#include "hip/selftest.h"

#include "base/clock.h"
#include "hip/cpu/cpu.h"
#include "hip/cpu/half.h"
#include "hip/selftest_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- for the cases ---- */

void sora_selftest_check(struct sora_selftest_case *run, int error)
{
    if (!run->error)
        run->error = error;
}

enum sora_dtype sora_selftest_type(int variant)
{
    static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_F16, SORA_DTYPE_BF16};
    return types[variant % 3];
}

struct sora_tensor sora_selftest_tensor(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape)
{
    struct sora_tensor tensor = {0};
    if (run->error)
        return tensor;
    SORA_ASSERT(run->buffer_count < SORA_SELFTEST_BUFFERS);
    run->error = sora_tensor_create(run->device, dtype, rank, shape,
                                    &run->buffers[run->buffer_count], &tensor);
    run->buffer_count += run->error == 0;
    return tensor;
}

struct sora_tensor sora_selftest_values(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape, const float *values)
{
    struct sora_tensor tensor = sora_selftest_tensor(run, dtype, rank, shape);
    void *data = run->error ? NULL : malloc(sora_tensor_size(&tensor));
    if (!data) {
        sora_selftest_check(run, SORA_E_MEMORY);
        return tensor;
    }
    int64_t count = sora_tensor_count(&tensor);
    for (int64_t i = 0; i < count; i++)
        sora_float_store(data, dtype, i, values[i]);
    sora_selftest_check(run, sora_tensor_upload(run->stream, &tensor, data));
    free(data);
    return tensor;
}

/* From a 64-bit congruential generator: the same on every machine. */
static float random_step(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int)(*state >> 40) % 129 - 64) / 64.0f;
}

struct sora_tensor sora_selftest_random(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape, uint64_t seed, float scale)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    float *values = run->error ? NULL : malloc((size_t)count * sizeof(float));
    if (!values) {
        sora_selftest_check(run, SORA_E_MEMORY);
        return (struct sora_tensor){0};
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = random_step(&seed) * scale;
    struct sora_tensor tensor = sora_selftest_values(run, dtype, rank, shape, values);
    free(values);
    return tensor;
}

/* ---- one case ---- */

static void case_clear(struct sora_selftest_case *run)
{
    sora_packed_destroy(&run->packed);
    while (run->buffer_count > 0)
        sora_buffer_destroy(&run->buffers[--run->buffer_count]);
}

/* The result on the host, owned by the caller; NULL with *out_error set. */
static float *case_result(const struct sora_selftest_operation *operation, int variant,
                          struct sora_stream *stream, int64_t *out_count, int *out_error)
{
    struct sora_selftest_case run = {.device = sora_stream_device(stream), .stream = stream};
    float *values = NULL;
    operation->run(&run, variant);
    if (!run.error) {
        *out_count = sora_tensor_count(&run.out);
        values = malloc((size_t)*out_count * sizeof(float));
        run.error = values ? sora_tensor_download(stream, &run.out, values) : SORA_E_MEMORY;
    }
    case_clear(&run);
    *out_error = run.error;
    if (run.error) {
        free(values);
        return NULL;
    }
    return values;
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* The worst element; INFINITY when one is not finite where it should be. Elements that must have
 * the same bits and have not count as 1. */
static double case_compare(const float *expected, const float *got, int64_t count, bool is_exact,
                           int64_t *out_worst)
{
    double greatest = 0.0, worst = 0.0;
    for (int64_t i = 0; i < count; i++)
        greatest = isfinite(expected[i]) ? fmax(greatest, fabs((double)expected[i])) : greatest;
    *out_worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - (double)expected[i]) / fmax(greatest, 1e-30);
        if (same_bits(expected[i], got[i]))
            error = 0.0;
        else if (is_exact)
            error = 1.0;
        else if (!isfinite(error))
            error = INFINITY;
        if (error > worst) {
            worst = error;
            *out_worst = i;
        }
    }
    return worst;
}

/* ---- all cases of an operation ---- */

struct bench {
    struct sora_stream *plain, *tested;
    bool exact_products;
};

static void row_fail(struct sora_selftest_row *row, int variant, const char *text)
{
    if (row->failed++ == 0)
        snprintf(row->message, sizeof(row->message), "case %d: %.150s", variant, text);
}

static void variant_compare(struct sora_selftest_row *row, int variant, const float *expected,
                            const float *first, const float *second, int64_t count)
{
    int64_t worst;
    double error = case_compare(expected, first, count, row->tolerance == 0.0, &worst);
    char text[160];
    row->error = fmax(row->error, error);
    if (!(error <= row->tolerance)) {
        snprintf(text, sizeof(text), "element %lld of %lld is %.9g instead of %.9g",
                 (long long)worst, (long long)count, (double)first[worst], (double)expected[worst]);
        row_fail(row, variant, text);
    } else if (memcmp(first, second, (size_t)count * sizeof(float)) != 0) {
        row_fail(row, variant, "a second run gave other bits");
    }
}

/* Returns MEMORY when the reference cannot be made, DEVICE when the tested device is lost. */
static int variant_run(const struct bench *bench, const struct sora_selftest_operation *operation,
                       int variant, struct sora_selftest_row *row)
{
    int64_t count = 0, count_tested = 0;
    int error = 0, error_tested = 0;
    float *expected = case_result(operation, variant, bench->plain, &count, &error);
    if (!expected)
        return error;
    row->cases++;
    sora_time begin = sora_clock_now();
    float *first = case_result(operation, variant, bench->tested, &count_tested, &error_tested);
    float *second =
        first ? case_result(operation, variant, bench->tested, &count_tested, &error_tested) : NULL;
    row->device_ms += (double)(sora_clock_now() - begin) / 1e6;
    if (second)
        variant_compare(row, variant, expected, first, second, count);
    else
        row_fail(row, variant, sora_error_text(error_tested));
    free(expected);
    free(first);
    free(second);
    return error_tested == SORA_E_DEVICE ? SORA_E_DEVICE : 0;
}

static int operation_run(const struct bench *bench, const struct sora_selftest_operation *operation,
                         struct sora_selftest_row *row)
{
    *row = (struct sora_selftest_row){
        .operation = operation->name,
        .tolerance = bench->exact_products ? operation->exact_tolerance : operation->tolerance,
    };
    int error = 0;
    for (int i = 0; i < operation->variants && !error; i++)
        error = variant_run(bench, operation, i, row);
    return error;
}

static int table_run(const struct bench *bench, const struct sora_selftest_operation *operations,
                     int count, struct sora_selftest_row *out_rows, int *out_count)
{
    int error = 0;
    for (int i = 0; i < count && !error; i++) {
        SORA_ASSERT(*out_count < SORA_SELFTEST_ROWS_MAX);
        error = operation_run(bench, &operations[i], &out_rows[(*out_count)++]);
    }
    return error;
}

int sora_selftest_run(const struct sora_selftest_params *params,
                      struct sora_selftest_row out_rows[SORA_SELFTEST_ROWS_MAX], int *out_count)
{
    const struct sora_cpu_params plain = {.thread_count = 1, .path = SORA_CPU_PATH_PLAIN};
    struct bench bench = {.exact_products = params->exact_products};
    struct sora_device *cpu = NULL;
    *out_count = 0;
    int error = sora_cpu_device_create(&plain, &cpu, NULL);
    if (!error)
        error = sora_stream_create(cpu, &bench.plain);
    if (!error)
        error = sora_stream_create(params->device, &bench.tested);
    if (!error)
        error = table_run(&bench, sora_selftest_products, sora_selftest_product_count, out_rows,
                          out_count);
    if (!error)
        error = table_run(&bench, sora_selftest_rows, sora_selftest_row_count, out_rows, out_count);
    sora_stream_destroy(&bench.tested);
    sora_stream_destroy(&bench.plain);
    sora_device_destroy(&cpu);
    return error == SORA_E_DEVICE && *out_count ? 0 : error;
}
