/*
 * Speed of the CPU device's operations: GFLOP/s per operation and shape (GB/s for operations that
 * only move memory), next to oneDNN's dnnl_sgemm of the same product where there is one.
 *
 *   bench_kernels [--threads N] [--path auto|plain|avx2|avx512] [--only TEXT] [--runs N] [--json]
 *                 [--cpu-time]
 *
 * --cpu-time counts the thread's processor time instead of wall time: with one thread, the figure
 * to look at while the machine has other work.
 * Each figure is the best of several runs. The figure of the whole machine's product ("reference")
 * is dnnl_sgemm with as many threads.
 */
#include "hip/cpu/cpu.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench {
    struct sora_device *device;
    struct sora_stream *stream;
    const char *only;
    int runs, threads, printed;
    bool json, cpu_time;
    struct sora_buffer *buffers[16];
    int buffer_count;
};

static void die(const char *what, int rc)
{
    fprintf(stderr, "bench_kernels: %s: %s\n", what, sora_error_text(rc));
    exit(1);
}

static void check(const char *what, int rc)
{
    if (rc)
        die(what, rc);
}

/* A tensor with values in [-1,1), which differ so that nothing is denormal or constant. */
static struct sora_tensor tensor(struct bench *bench, enum sora_dtype dtype, int rank,
                                 const int64_t *shape)
{
    struct sora_tensor f32, out;
    struct sora_buffer *source = NULL;
    check("tensor", sora_tensor_create(bench->device, SORA_DTYPE_F32, rank, shape, &source, &f32));
    int64_t count = sora_tensor_count(&f32);
    float *values = malloc((size_t)count * sizeof(float));
    if (!values)
        die("tensor", SORA_E_MEMORY);
    uint32_t state = (uint32_t)count;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)state * 0x1p-31f;
    }
    check("upload", sora_tensor_upload(bench->stream, &f32, values));
    free(values);
    if (dtype == SORA_DTYPE_F32) {
        bench->buffers[bench->buffer_count++] = source;
        return f32;
    }
    check("tensor", sora_tensor_create(bench->device, dtype, rank, shape,
                                       &bench->buffers[bench->buffer_count++], &out));
    check("convert", sora_op_convert(bench->stream, &f32, &out));
    sora_buffer_destroy(&source);
    return out;
}

static void tensors_free(struct bench *bench)
{
    while (bench->buffer_count > 0)
        sora_buffer_destroy(&bench->buffers[--bench->buffer_count]);
}

static bool wanted(const struct bench *bench, const char *name)
{
    return !bench->only || strstr(name, bench->only);
}

typedef int (*run_function)(struct sora_stream *stream, const void *params);

static double seconds_now(const struct bench *bench)
{
    struct timespec now;
    clock_gettime(bench->cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Best time of one call in seconds; short calls are repeated until a run takes a few ms. */
static double best_seconds(struct bench *bench, run_function run, const void *params)
{
    check("run", run(bench->stream, params));
    int repeats = 1;
    double best = 0.0;
    for (int i = 0; i < bench->runs; i++) {
        double start = seconds_now(bench);
        for (int r = 0; r < repeats; r++)
            check("run", run(bench->stream, params));
        double seconds = seconds_now(bench) - start;
        if (i == 0 && seconds < 4e-3 && repeats == 1) {
            repeats = (int)(4e-3 / (seconds + 1e-7)) + 1;
            i = -1;
            continue;
        }
        seconds /= repeats;
        best = best == 0.0 || seconds < best ? seconds : best;
    }
    return best;
}

/* work: multiply-adds times two (GFLOP/s), or bytes moved (GB/s) when `bytes`. */
static void report(struct bench *bench, const char *name, double seconds, double work, bool bytes,
                   double reference)
{
    double rate = work / seconds / 1e9;
    if (bench->json) {
        printf("%s\n  {\"name\": \"%s\", \"ms\": %.4f, \"%s\": %.1f", bench->printed ? "," : "[",
               name, seconds * 1e3, bytes ? "gb_per_s" : "gflop_per_s", rate);
        if (reference > 0.0)
            printf(", \"sgemm_gflop_per_s\": %.1f", reference);
        printf("}");
    } else {
        printf("%-44s %10.3f ms %8.1f %s", name, seconds * 1e3, rate, bytes ? "GB/s" : "GF/s");
        if (reference > 0.0)
            printf("   sgemm %7.1f  ratio %.2f", reference, rate / reference);
        printf("\n");
    }
    fflush(stdout);
    bench->printed++;
}

/* ---- matmul ---- */

struct sgemm {
    int64_t m, n, k;
    float *a, *b, *c;
};

static int run_sgemm(struct sora_stream *stream, const void *params)
{
    (void)stream;
    const struct sgemm *s = params;
    dnnl_status_t status =
        dnnl_sgemm('N', 'T', s->m, s->n, s->k, 1.0f, s->a, s->k, s->b, s->k, 0.0f, s->c, s->n);
    return status == dnnl_success ? 0 : SORA_E_DEVICE;
}

/* GFLOP/s of dnnl_sgemm on the same product with f32 weights. */
static double sgemm_rate(struct bench *bench, int64_t m, int64_t n, int64_t k)
{
    struct sgemm s = {m, n, k, NULL, NULL, NULL};
    size_t a = (size_t)(m * k), b = (size_t)(n * k), c = (size_t)(m * n);
    s.a = malloc(a * sizeof(float));
    s.b = malloc(b * sizeof(float));
    s.c = malloc(c * sizeof(float));
    if (!s.a || !s.b || !s.c)
        die("sgemm", SORA_E_MEMORY);
    for (size_t i = 0; i < a; i++)
        s.a[i] = (float)(i % 17) * 0.1f;
    for (size_t i = 0; i < b; i++)
        s.b[i] = (float)(i % 13) * 0.1f;
    double seconds = best_seconds(bench, run_sgemm, &s);
    free(s.a);
    free(s.b);
    free(s.c);
    return 2.0 * (double)m * (double)n * (double)k / seconds / 1e9;
}

static int run_matmul(struct sora_stream *stream, const void *params)
{
    return sora_op_matmul(stream, params);
}

static void bench_matmul(struct bench *bench, int64_t m, int64_t n, int64_t k,
                         enum sora_dtype dtype, enum sora_activation activation)
{
    char name[96];
    snprintf(name, sizeof(name), "matmul %s m=%lld n=%lld k=%lld%s", sora_dtype_name(dtype),
             (long long)m, (long long)n, (long long)k,
             activation == SORA_ACTIVATION_GELU_TANH ? " gelu" : "");
    if (!wanted(bench, name))
        return;
    const struct sora_matmul params = {
        .a = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(m, k)),
        .b = tensor(bench, dtype, SORA_SHAPE(n, k)),
        .bias = tensor(bench, dtype, SORA_SHAPE(n)),
        .out = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(m, n)),
        .activation = activation,
    };
    double seconds = best_seconds(bench, run_matmul, &params);
    tensors_free(bench);
    report(bench, name, seconds, 2.0 * (double)m * (double)n * (double)k, false,
           sgemm_rate(bench, m, n, k));
}

static void bench_matmuls(struct bench *bench)
{
    static const int64_t shapes[][3] = {
        {768, 1536, 1536},  {768, 8960, 1536},  {768, 1536, 8960}, {1280, 1536, 1536},
        {1280, 8960, 1536}, {1280, 1536, 8960}, {400, 256, 256},   {400, 1024, 256},
        {400, 256, 1024},   {360, 384, 384},    {1, 1536, 1536},   {1, 9216, 1536},
        {16, 1536, 1536},   {40, 1536, 1536},   {40, 512, 512},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const int64_t *s = shapes[i];
        bench_matmul(bench, s[0], s[1], s[2], SORA_DTYPE_BF16, SORA_ACTIVATION_NONE);
        bench_matmul(bench, s[0], s[1], s[2], SORA_DTYPE_F32, SORA_ACTIVATION_NONE);
    }
    bench_matmul(bench, 768, 8960, 1536, SORA_DTYPE_BF16, SORA_ACTIVATION_GELU_TANH);
}

/* ---- attention ---- */

static int run_attention(struct sora_stream *stream, const void *params)
{
    return sora_op_attention(stream, params);
}

static void bench_attention(struct bench *bench, int64_t queries, int64_t keys, int64_t heads,
                            int64_t size)
{
    char name[96];
    snprintf(name, sizeof(name), "attention q=%lld k=%lld heads=%lld size=%lld", (long long)queries,
             (long long)keys, (long long)heads, (long long)size);
    if (!wanted(bench, name))
        return;
    const struct sora_attention params = {
        .q = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size)),
        .k = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size)),
        .v = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size)),
        .out = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size)),
        .scale = 0.1f,
    };
    double seconds = best_seconds(bench, run_attention, &params);
    tensors_free(bench);
    double work = 4.0 * (double)queries * (double)keys * (double)heads * (double)size;
    report(bench, name, seconds, work, false, sgemm_rate(bench, 768, 1536, 1536));
}

static void bench_attentions(struct bench *bench)
{
    static const int64_t shapes[][4] = {
        {1280, 1280, 12, 128}, {4096, 4096, 2, 128}, {8192, 8192, 1, 128}, {1280, 40, 12, 128},
        {400, 400, 4, 64},     {400, 20, 4, 64},     {1024, 1024, 1, 384}, {64, 64, 64, 64},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        bench_attention(bench, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]);
}

/* ---- convolution ---- */

struct conv_shape {
    int64_t frames, height, width, in, out, kt, kh, kw;
    int stride, upsample;
};

static int run_conv(struct sora_stream *stream, const void *params)
{
    return sora_op_conv3d(stream, params);
}

static void bench_conv(struct bench *bench, const struct conv_shape *s)
{
    char name[96];
    snprintf(name, sizeof(name), "conv3d %lldx%lldx%lld %lld->%lld kernel %lldx%lldx%lld%s%s",
             (long long)s->frames, (long long)s->height, (long long)s->width, (long long)s->in,
             (long long)s->out, (long long)s->kt, (long long)s->kh, (long long)s->kw,
             s->stride == 2 ? " /2" : "", s->upsample == 2 ? " x2" : "");
    if (!wanted(bench, name))
        return;
    int pad = s->kh == 3 ? 1 : 0;
    int64_t height =
        (s->height * s->upsample + (s->stride == 2 ? pad : 2 * pad) - s->kh) / s->stride + 1;
    int64_t width =
        (s->width * s->upsample + (s->stride == 2 ? pad : 2 * pad) - s->kw) / s->stride + 1;
    struct sora_tensor weight =
        tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(s->out, s->in, s->kt, s->kh, s->kw));
    struct sora_packed *packed = NULL;
    check("pack", sora_packed_create(bench->device, &weight, &packed));
    const struct sora_conv3d params = {
        .in = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(s->frames, s->height, s->width, s->in)),
        .weight = packed,
        .history = s->kt == 1 ? (struct sora_tensor){0}
                              : tensor(bench, SORA_DTYPE_F32,
                                       SORA_SHAPE(s->kt - 1, s->height, s->width, s->in)),
        .bias = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(s->out)),
        .out = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(s->frames, height, width, s->out)),
        .time_pad = (int)s->kt - 1,
        .stride_h = s->stride,
        .stride_w = s->stride,
        .pad_top = s->stride == 2 ? 0 : pad,
        .pad_bottom = pad,
        .pad_left = s->stride == 2 ? 0 : pad,
        .pad_right = pad,
        .upsample = s->upsample,
    };
    double seconds = best_seconds(bench, run_conv, &params);
    sora_packed_destroy(&packed);
    tensors_free(bench);
    double work = 2.0 * (double)(s->frames * height * width) *
                  (double)(s->in * s->out * s->kt * s->kh * s->kw);
    report(bench, name, seconds, work, false, sgemm_rate(bench, 768, 1536, 1536));
}

static void bench_convs(struct bench *bench)
{
    static const struct conv_shape shapes[] = {
        {4, 256, 256, 96, 96, 3, 3, 3, 1, 1},  {4, 128, 128, 192, 192, 3, 3, 3, 1, 1},
        {2, 64, 64, 384, 384, 3, 3, 3, 1, 1},  {1, 32, 32, 384, 384, 3, 3, 3, 1, 1},
        {4, 128, 128, 192, 96, 1, 3, 3, 1, 2}, {4, 256, 256, 96, 3, 3, 3, 3, 1, 1},
        {1, 64, 64, 384, 768, 3, 1, 1, 1, 1},  {4, 160, 256, 16, 16, 3, 3, 3, 1, 1},
        {4, 80, 128, 32, 32, 3, 3, 3, 1, 1},   {2, 40, 64, 64, 64, 3, 3, 3, 1, 1},
        {1, 20, 32, 64, 64, 3, 3, 3, 1, 1},    {4, 80, 128, 32, 16, 1, 3, 3, 1, 2},
        {4, 160, 256, 16, 3, 3, 3, 3, 1, 1},   {4, 160, 256, 3, 16, 3, 3, 3, 1, 1},
        {4, 160, 256, 16, 16, 1, 3, 3, 2, 1},  {4, 80, 128, 32, 32, 1, 1, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        bench_conv(bench, &shapes[i]);
}

/* ---- passes over memory ---- */

static int run_layer_norm(struct sora_stream *stream, const void *params)
{
    return sora_op_layer_norm(stream, params);
}

static int run_rms_norm(struct sora_stream *stream, const void *params)
{
    return sora_op_rms_norm(stream, params);
}

struct pair {
    struct sora_tensor in, out, cos_table, sin_table;
    int order[4];
};

static int run_gelu(struct sora_stream *stream, const void *params)
{
    const struct pair *pair = params;
    return sora_op_activation(stream, SORA_ACTIVATION_GELU_TANH, &pair->in, &pair->out);
}

static int run_rope(struct sora_stream *stream, const void *params)
{
    const struct pair *pair = params;
    return sora_op_rope(stream, &pair->in, &pair->cos_table, &pair->sin_table);
}

static int run_convert(struct sora_stream *stream, const void *params)
{
    const struct pair *pair = params;
    return sora_op_convert(stream, &pair->in, &pair->out);
}

static int run_permute(struct sora_stream *stream, const void *params)
{
    const struct pair *pair = params;
    return sora_op_permute(stream, &pair->in, pair->order, &pair->out);
}

static int run_rgb8(struct sora_stream *stream, const void *params)
{
    const struct pair *pair = params;
    return sora_op_to_rgb8(stream, &pair->in, &pair->out);
}

static void bench_pass(struct bench *bench, const char *name, run_function run, const void *params,
                       double bytes)
{
    if (wanted(bench, name))
        report(bench, name, best_seconds(bench, run, params), bytes, true, 0.0);
}

static void bench_passes(struct bench *bench)
{
    enum { ROWS = 1280, WIDTH = 1536, HEADS = 12, SIZE = 128 };
    const double bytes = (double)ROWS * WIDTH * sizeof(float);
    struct sora_tensor in = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(ROWS, WIDTH));
    struct sora_tensor out = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(ROWS, WIDTH));
    struct sora_tensor weight = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(WIDTH));
    const struct sora_layer_norm layer = {
        .in = in, .out = out, .scale = weight, .shift = weight, .eps = 1e-6f};
    bench_pass(bench, "layer_norm 1280x1536", run_layer_norm, &layer, 2.0 * bytes);
    const struct sora_rms_norm rms = {.in = in, .out = out, .weight = weight, .eps = 1e-6f};
    bench_pass(bench, "rms_norm 1280x1536", run_rms_norm, &rms, 2.0 * bytes);
    struct pair pair = {.in = in, .out = out};
    bench_pass(bench, "gelu 1280x1536", run_gelu, &pair, 2.0 * bytes);
    pair.in = sora_tensor_reshape(&in, SORA_SHAPE(ROWS, HEADS, SIZE));
    pair.cos_table = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(ROWS, SIZE / 2));
    pair.sin_table = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(ROWS, SIZE / 2));
    bench_pass(bench, "rope 1280x12x128", run_rope, &pair, 2.0 * bytes);
    pair.in = sora_tensor_reshape(&in, SORA_SHAPE(ROWS / 5, 5, WIDTH));
    pair.out = sora_tensor_reshape(&out, SORA_SHAPE(WIDTH, ROWS / 5, 5));
    memcpy(pair.order, (const int[4]){2, 0, 1}, sizeof(pair.order));
    bench_pass(bench, "permute 256x5x1536 to 1536x256x5", run_permute, &pair, 2.0 * bytes);
    pair.in = in;
    pair.out = tensor(bench, SORA_DTYPE_BF16, SORA_SHAPE(ROWS, WIDTH));
    bench_pass(bench, "convert f32 to bf16 1280x1536", run_convert, &pair, 1.5 * bytes);
    tensors_free(bench);
    struct sora_tensor frames = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(4, 160, 256, 16));
    struct sora_tensor flat = sora_tensor_reshape(&frames, SORA_SHAPE(4 * 160 * 256, 16));
    const struct sora_rms_norm pixel = {
        .in = flat,
        .out = flat,
        .weight = tensor(bench, SORA_DTYPE_F32, SORA_SHAPE(16)),
        .kind = SORA_NORM_L2,
        .activation = SORA_ACTIVATION_SILU,
        .eps = 1e-12f,
    };
    double frame_bytes = 4.0 * 160 * 256 * 16 * sizeof(float);
    bench_pass(bench, "l2_norm silu 163840x16", run_rms_norm, &pixel, 2.0 * frame_bytes);
    struct sora_buffer *bytes_buffer = NULL;
    pair.in = frames;
    check("tensor", sora_tensor_create(bench->device, SORA_DTYPE_U8, SORA_SHAPE(4, 160, 256, 16),
                                       &bytes_buffer, &pair.out));
    bench_pass(bench, "to_rgb8 4x160x256x16", run_rgb8, &pair, 1.25 * frame_bytes);
    sora_buffer_destroy(&bytes_buffer);
    tensors_free(bench);
}

static enum sora_cpu_path path_parse(const char *text)
{
    static const char *const names[] = {"auto", "plain", "avx2", "avx512"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0)
            return (enum sora_cpu_path)i;
    }
    fprintf(stderr, "bench_kernels: unknown path %s; use auto, plain, avx2 or avx512\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    struct bench bench = {.runs = 5};
    struct sora_cpu_params params = {0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0) {
            bench.json = true;
            continue;
        }
        if (strcmp(argv[i], "--cpu-time") == 0) {
            bench.cpu_time = true;
            continue;
        }
        if (strcmp(argv[i], "--threads") == 0)
            params.thread_count = atoi(value);
        else if (strcmp(argv[i], "--runs") == 0)
            bench.runs = atoi(value);
        else if (strcmp(argv[i], "--only") == 0)
            bench.only = value;
        else if (strcmp(argv[i], "--path") == 0)
            params.path = path_parse(value);
        else
            die(argv[i], SORA_E_INVALID);
        i++;
    }
    struct sora_fault fault = {0};
    if (sora_cpu_device_create(&params, &bench.device, &fault)) {
        fprintf(stderr, "bench_kernels: %s\n", fault.text);
        return 1;
    }
    check("stream", sora_stream_create(bench.device, &bench.stream));
    struct sora_device_caps caps;
    sora_device_caps(bench.device, &caps);
    fprintf(stderr, "%s, %s; set OMP_NUM_THREADS=%d for a fair sgemm\n", caps.name,
            caps.device_class, caps.thread_count);
    bench_matmuls(&bench);
    bench_attentions(&bench);
    bench_convs(&bench);
    bench_passes(&bench);
    if (bench.json)
        printf("\n]\n");
    sora_stream_destroy(&bench.stream);
    sora_device_destroy(&bench.device);
    return 0;
}
