/*
 * Speed of a card, one part per run, as one JSON object on stdout.
 *
 *   bench_gpu DEVICE launch COUNT
 *   bench_gpu DEVICE matmul MxNxK REPEATS
 *   bench_gpu DEVICE attention QUERIESxKEYSxHEADSxSIZE REPEATS
 *   bench_gpu DEVICE transformer MODEL_DIR WxH FRAMES REPEATS
 *   bench_gpu DEVICE vae MODEL_DIR WxH FRAMES REPEATS
 *   bench_gpu DEVICE job MODEL_DIR WxH FRAMES STEPS
 *
 * DEVICE is gpu0, gpu1, ...; SORA_GPU=emulator:KIND makes it the emulator, for trying the program.
 * Products are done in bf16. A model's folder holds transformer/ and vae/; sizes are pixels and
 * frames, for the transformer those of a VAE of factors 8 and 4. `job` samples a video of FRAMES in
 * windows of 21 latents, as a shard does, guided, and stops after STEPS of its 50 steps; even and
 * odd steps have different windows, so STEPS of 2 says what all take. Every part prints launches
 * and copies and the greatest memory that buffers and scratch took. tools/bench/measure_gpu.py runs
 * all parts beside PyTorch.
 */
#include "base/clock.h"
#include "base/philox.h"
#include "hip/gpu/gpu.h"
#include "model/sampler_transformer.h"
#include "model/vae.h"
#include "node/device_open.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS_MAX 1000
#define TEXT_ROWS 40
#define PADDED_ROWS 512
#define WINDOW_LATENTS 21
#define OVERLAP_LATENTS 5
#define JOB_STEPS 50
#define GUIDANCE 5.0
#define SHIFT 3.0
#define SPATIAL 8
#define TEMPORAL 4

struct bench {
    struct sora_device *device;
    struct sora_stream *stream;
    double times[REPEATS_MAX];
    int repeats;
};

static _Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench_gpu: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void must(int error, const struct sora_fault *fault)
{
    if (error)
        die("%s", fault && fault->text[0] ? fault->text : sora_error_text(error));
}

static double seconds_since(sora_time start)
{
    return (double)(sora_clock_now() - start) / (double)SORA_TIME_SECOND;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int repeats_read(const char *word, int most)
{
    int count = atoi(word);
    if (count < 1 || count > most)
        die("'%s' repeats; 1 to %d", word, most);
    return count;
}

/* "median_s", "best_s" and the rate of the median; sorts the times. */
static void print_times(struct bench *bench, double flops)
{
    qsort(bench->times, (size_t)bench->repeats, sizeof(double), ascending);
    double median = bench->times[bench->repeats / 2];
    printf("\"repeats\": %d, \"median_s\": %.6f, \"best_s\": %.6f, \"tflop\": %.6f, "
           "\"tflop_per_s\": %.3f, ",
           bench->repeats, median, bench->times[0], flops / 1e12, flops / 1e12 / median);
}

static struct sora_gpu_usage usage(const struct bench *bench)
{
    struct sora_gpu_usage found;
    sora_gpu_device_usage(bench->device, &found);
    return found;
}

/* Of `repeats` runs since `before`, per run. */
static void print_work(const struct bench *bench, const struct sora_gpu_usage *before)
{
    struct sora_gpu_usage now = usage(bench);
    printf("\"launches\": %.1f, \"copies\": %.1f, ",
           (double)(now.launches - before->launches) / bench->repeats,
           (double)(now.copies - before->copies) / bench->repeats);
}

static struct sora_tensor tensor_make(struct bench *bench, enum sora_dtype dtype, int rank,
                                      const int64_t *shape, uint64_t seed)
{
    struct sora_buffer *buffer, *wide_buffer; /* live as long as the process */
    struct sora_tensor tensor, wide;
    const struct sora_noise_key key = {.seed = seed};
    must(sora_tensor_create(bench->device, dtype, rank, shape, &buffer, &tensor), NULL);
    must(sora_tensor_create(bench->device, SORA_DTYPE_F32, rank, shape, &wide_buffer, &wide), NULL);
    size_t count = (size_t)sora_tensor_count(&wide);
    float *values = malloc(count * sizeof(float));
    if (!values)
        die("no memory for %zu values", count);
    sora_noise_normal(&key, 0, count, values);
    must(sora_tensor_upload(bench->stream, &wide, values), NULL);
    must(sora_op_convert(bench->stream, &wide, &tensor), NULL);
    must(sora_stream_wait(bench->stream), NULL);
    free(values);
    sora_buffer_destroy(&wide_buffer);
    return tensor;
}

/* ---- operations ---- */

/* What a launch costs when there is next to nothing in it. */
static void run_launch(struct bench *bench, char **words)
{
    struct sora_tensor one = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(1), 1);
    bench->repeats = repeats_read(words[0], 1000000);
    must(sora_op_fill(bench->stream, &one, 0), NULL);
    must(sora_stream_wait(bench->stream), NULL);
    sora_time start = sora_clock_now();
    for (int i = 0; i < bench->repeats; i++)
        must(sora_op_fill(bench->stream, &one, 0), NULL);
    double queued = seconds_since(start);
    must(sora_stream_wait(bench->stream), NULL);
    printf("\"count\": %d, \"queue_us\": %.3f, \"launch_us\": %.3f, ", bench->repeats,
           queued / bench->repeats * 1e6, seconds_since(start) / bench->repeats * 1e6);
}

static void run_matmul(struct bench *bench, char **words)
{
    int m, n, k;
    if (sscanf(words[0], "%dx%dx%d", &m, &n, &k) != 3 || m < 1 || n < 1 || k < 1)
        die("'%s' is no MxNxK", words[0]);
    bench->repeats = repeats_read(words[1], REPEATS_MAX);
    const struct sora_matmul params = {
        .a = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1),
        .b = tensor_make(bench, SORA_DTYPE_BF16, SORA_SHAPE(n, k), 2),
        .out = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(m, n), 3),
    };
    struct sora_gpu_usage before = {0};
    for (int i = -1; i < bench->repeats; i++) {
        sora_time start = sora_clock_now();
        must(sora_op_matmul(bench->stream, &params), NULL);
        must(sora_stream_wait(bench->stream), NULL);
        if (i >= 0)
            bench->times[i] = seconds_since(start);
        else
            before = usage(bench);
    }
    printf("\"m\": %d, \"n\": %d, \"k\": %d, ", m, n, k);
    print_times(bench, 2.0 * m * n * k);
    print_work(bench, &before);
}

static void run_attention(struct bench *bench, char **words)
{
    int queries, keys, heads, size;
    if (sscanf(words[0], "%dx%dx%dx%d", &queries, &keys, &heads, &size) != 4)
        die("'%s' is no QUERIESxKEYSxHEADSxSIZE", words[0]);
    bench->repeats = repeats_read(words[1], REPEATS_MAX);
    const struct sora_attention params = {
        .q = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size), 1),
        .k = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size), 2),
        .v = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size), 3),
        .out = tensor_make(bench, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size), 4),
        .scale = 0.0883883f,
    };
    struct sora_gpu_usage before = {0};
    for (int i = -1; i < bench->repeats; i++) {
        sora_time start = sora_clock_now();
        must(sora_op_attention(bench->stream, &params), NULL);
        must(sora_stream_wait(bench->stream), NULL);
        if (i >= 0)
            bench->times[i] = seconds_since(start);
        else
            before = usage(bench);
    }
    printf("\"queries\": %d, \"keys\": %d, \"heads\": %d, \"head_size\": %d, ", queries, keys,
           heads, size);
    print_times(bench, 4.0 * queries * keys * heads * size);
    print_work(bench, &before);
}

/* ---- the model ---- */

struct size {
    int width, height, frames, latents; /* pixels, frames, latents */
};

static struct size size_read(char **words)
{
    struct size size = {0};
    if (sscanf(words[0], "%dx%d", &size.width, &size.height) != 2 ||
        sscanf(words[1], "%d", &size.frames) != 1 || size.width < 16 || size.height < 16 ||
        size.frames < 1)
        die("'%s %s' is no WxH FRAMES, 16x16 1 at least", words[0], words[1]);
    size.latents = 1 + (size.frames - 1) / TEMPORAL;
    printf("\"width\": %d, \"height\": %d, \"frames\": %d, ", size.width, size.height, size.frames);
    return size;
}

static struct sora_transformer *transformer_open(const struct bench *bench, const char *model)
{
    char path[4096];
    struct sora_fault fault = {0};
    struct sora_transformer *transformer = NULL;
    snprintf(path, sizeof(path), "%s/transformer", model);
    must(sora_transformer_open(path, bench->device, &transformer, &fault), &fault);
    return transformer;
}

static struct sora_transformer_context *context_make(struct sora_transformer *transformer,
                                                     uint64_t seed)
{
    struct sora_fault fault = {0};
    struct sora_transformer_context *context = NULL;
    const struct sora_noise_key key = {.seed = seed};
    int width = sora_transformer_config(transformer)->text_width;
    float *text = calloc((size_t)PADDED_ROWS * (size_t)width, sizeof(float));
    if (!text)
        die("no memory for a text");
    sora_noise_normal(&key, 0, (size_t)TEXT_ROWS * (size_t)width, text);
    must(sora_transformer_context_create(transformer, text, TEXT_ROWS, PADDED_ROWS, &context,
                                         &fault),
         &fault);
    free(text);
    return context;
}

/* One pass; the host's part of it, which the card's runs beside, in *out_queue. */
static double forward(struct bench *bench, struct sora_transformer *transformer,
                      const struct sora_transformer_input *input,
                      const struct sora_tensor *velocity, double *out_queue)
{
    struct sora_fault fault = {0};
    sora_time start = sora_clock_now();
    must(sora_transformer_forward(transformer, bench->stream, input, velocity, &fault), &fault);
    *out_queue = seconds_since(start);
    must(sora_stream_wait(bench->stream), NULL);
    return seconds_since(start);
}

/* Seconds to bring a window's latents to the card and its velocity back. */
static double copies_time(struct bench *bench, const struct sora_tensor *tensor)
{
    float *values = calloc((size_t)sora_tensor_count(tensor), sizeof(float));
    if (!values)
        die("no memory for latents");
    sora_time start = sora_clock_now();
    must(sora_tensor_upload(bench->stream, tensor, values), NULL);
    must(sora_tensor_download(bench->stream, tensor, values), NULL);
    double seconds = seconds_since(start);
    free(values);
    return seconds;
}

static void run_transformer(struct bench *bench, char **words)
{
    struct sora_transformer *transformer = transformer_open(bench, words[0]);
    const struct size size = size_read(words + 1);
    bench->repeats = repeats_read(words[3], REPEATS_MAX);
    int height = size.height / SPATIAL, width = size.width / SPATIAL;
    const int64_t shape[] = {size.latents, sora_transformer_config(transformer)->in_channels,
                             height, width};
    struct sora_tensor velocity = tensor_make(bench, SORA_DTYPE_F32, 4, shape, 2);
    struct sora_transformer_input input = {
        .latents = tensor_make(bench, SORA_DTYPE_F32, 4, shape, 1),
        .context = context_make(transformer, 3),
        .timestep = 999,
    };
    double queue = 0, queue_sum = 0;
    (void)forward(bench, transformer, &input, &velocity, &queue);
    struct sora_gpu_usage before = usage(bench);
    for (int i = 0; i < bench->repeats; i++) {
        input.timestep = 900 - i;
        bench->times[i] = forward(bench, transformer, &input, &velocity, &queue);
        queue_sum += queue;
    }
    print_work(bench, &before);
    print_times(bench, sora_transformer_flops(transformer, size.latents, height, width,
                                              sora_transformer_context_keys(input.context)));
    printf("\"queue_s\": %.6f, \"copies_s\": %.6f, ", queue_sum / bench->repeats,
           copies_time(bench, &velocity));
    sora_transformer_context_destroy((struct sora_transformer_context **)(void *)&input.context);
    sora_transformer_destroy(&transformer);
}

static void run_vae(struct bench *bench, char **words)
{
    char path[4096];
    struct sora_fault fault = {0};
    struct sora_vae *vae = NULL;
    struct sora_vae_decoder *decoder = NULL;
    struct sora_vae_plan plan;
    const struct size size = size_read(words + 1);
    bench->repeats = repeats_read(words[3], REPEATS_MAX);
    snprintf(path, sizeof(path), "%s/vae", words[0]);
    must(sora_vae_open(path, bench->device, &vae, &fault), &fault);
    const struct sora_vae_config *config = sora_vae_config(vae);
    int latents = 1 + (size.frames - 1) / config->temporal_factor, count;
    int height = size.height / config->spatial_factor, width = size.width / config->spatial_factor;
    must(sora_vae_decoder_plan(vae, height, width, &plan, &fault), &fault);
    must(sora_vae_decoder_create(vae, height, width, &decoder, &fault), &fault);
    size_t values = (size_t)config->channels * (size_t)height * (size_t)width;
    float *latent = malloc(values * sizeof(float));
    uint8_t *rgb =
        malloc((size_t)config->temporal_factor * 3 * (size_t)size.width * (size_t)size.height);
    if (!latent || !rgb)
        die("no memory for frames");
    sora_noise_normal(&(struct sora_noise_key){.seed = 1}, 0, values, latent);
    struct sora_gpu_usage before = usage(bench);
    for (int i = 0; i < bench->repeats; i++) {
        sora_time start = sora_clock_now();
        for (int k = 0; k < latents; k++)
            must(sora_vae_decoder_next(decoder, latent, NULL, rgb, &count, &fault), &fault);
        bench->times[i] = seconds_since(start);
        sora_vae_decoder_reset(decoder);
    }
    print_work(bench, &before);
    print_times(bench, plan.flops_first + (latents - 1) * plan.flops_next);
    free(latent);
    free(rgb);
    sora_vae_decoder_destroy(&decoder);
    sora_vae_destroy(&vae);
}

/* ---- a job's sampling ---- */

static void noise_put(struct sora_sampler *sampler, int latents, size_t values)
{
    struct sora_fault fault = {0};
    float *latent = malloc(values * sizeof(float));
    if (!latent)
        die("no memory for a latent");
    for (int i = 0; i < latents; i++) {
        const struct sora_noise_key key = {.seed = 1};
        sora_noise_normal(&key, (uint64_t)i * values, values, latent);
        must(sora_sampler_put_latent(sampler, i, latent, &fault), &fault);
    }
    free(latent);
}

static void steps_run(struct bench *bench, struct sora_sampler *sampler,
                      const struct sora_timeline_params *timeline)
{
    struct sora_fault fault = {0};
    double sum = 0;
    printf("\"steps_s\": [");
    for (int i = 0; i < bench->repeats; i++) {
        sora_time start = sora_clock_now();
        must(sora_sampler_step(sampler, &fault), &fault);
        must(sora_stream_wait(bench->stream), NULL);
        double seconds = seconds_since(start);
        sum += seconds;
        printf("%s%.4f", i ? ", " : "", seconds);
    }
    printf("], \"windows\": [%d, %d], \"sampling_s\": %.2f, ",
           sora_timeline_window_count(timeline, 0), sora_timeline_window_count(timeline, 1),
           sum / bench->repeats * JOB_STEPS);
}

static void run_job(struct bench *bench, char **words)
{
    struct sora_fault fault = {0};
    struct sora_sampler *sampler = NULL;
    struct sora_schedule schedule;
    struct sora_transformer *transformer = transformer_open(bench, words[0]);
    struct sora_transformer_context *contexts[] = {context_make(transformer, 3),
                                                   context_make(transformer, 4)};
    struct sora_sampler_transformer model = {transformer, contexts[0], contexts[1]};
    const struct size size = size_read(words + 1);
    const struct sora_schedule_params steps = {.steps = JOB_STEPS, .shift = SHIFT};
    bench->repeats = repeats_read(words[3], JOB_STEPS);
    must(sora_schedule_init(&steps, &schedule, &fault), &fault);
    const struct sora_sampler_params params = {
        .timeline = {.latent_count = size.latents,
                     .window_latents = WINDOW_LATENTS,
                     .overlap_latents = OVERLAP_LATENTS},
        .channels = sora_transformer_config(transformer)->in_channels,
        .height = size.height / SPATIAL,
        .width = size.width / SPATIAL,
        .guidance = GUIDANCE,
        .schedule = &schedule,
        .denoiser = sora_sampler_transformer_denoiser(&model),
    };
    must(sora_sampler_create(bench->device, &params, &sampler, &fault), &fault);
    noise_put(sampler, size.latents,
              (size_t)params.channels * (size_t)params.height * (size_t)params.width);
    steps_run(bench, sampler, &params.timeline);
    sora_sampler_destroy(&sampler);
    for (int i = 0; i < 2; i++)
        sora_transformer_context_destroy(&contexts[i]);
    sora_transformer_destroy(&transformer);
}

/* ---- parts ---- */

static const struct part {
    const char *name;
    int words; /* after it */
    void (*run)(struct bench *bench, char **words);
} parts[] = {
    {"launch", 1, run_launch},           {"matmul", 2, run_matmul}, {"attention", 2, run_attention},
    {"transformer", 4, run_transformer}, {"vae", 4, run_vae},       {"job", 4, run_job},
};

static const struct part *part_find(const char *name, int words)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(parts[i].name, name) == 0 && parts[i].words == words)
            return &parts[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct part *part = argc > 3 ? part_find(argv[2], argc - 3) : NULL;
    struct bench bench = {.repeats = 1};
    struct sora_fault fault = {0};
    struct sora_device_caps caps;
    if (!part) {
        fprintf(stderr, "usage: bench_gpu DEVICE launch COUNT | matmul MxNxK REPEATS | attention "
                        "QxKxHxD REPEATS | transformer|vae MODEL WxH FRAMES REPEATS | job MODEL "
                        "WxH FRAMES STEPS\n");
        return 2;
    }
    if (!sora_gpu_name_is(argv[1]))
        die("'%s' is no card; cards are gpu0, gpu1, ...", argv[1]);
    const struct sora_device_open_params params = {.name = argv[1]};
    must(sora_device_open(&params, &bench.device, &fault), &fault);
    must(sora_stream_create(bench.device, &bench.stream), NULL);
    sora_device_caps(bench.device, &caps);
    printf("{\"part\": \"%s\", \"device\": \"%s\", \"class\": \"%s\", ", part->name, caps.name,
           caps.device_class);
    part->run(&bench, argv + 3);
    printf("\"memory_bytes_max\": %llu}\n", (unsigned long long)usage(&bench).memory_bytes_max);
    return 0;
}
