/*
 * How fast one forward of the transformer is, what the exact savings give, and how much memory it
 * takes.
 *
 *   bench_transformer MODEL_DIR WIDTHxHEIGHT FRAMES [THREADS [REPEATS [TEXT_ROWS]]] [--savings]
 *
 * Size in pixels and frames of a VAE of factors 8 and 4; THREADS 0 is all; REPEATS 3; TEXT_ROWS,
 * the real tokens of the prompt, 40 of 512. Prints one JSON object. With --savings, forwards and
 * prompts of the literal computation (512 text rows) are timed in turn with the others.
 */
#include "base/clock.h"
#include "base/philox.h"
#include "hip/cpu/cpu.h"
#include "model/transformer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define REPEATS_MAX 100
#define PADDED_ROWS 512

struct options {
    const char *dir;
    int width, height, frames, threads, repeats, text_rows;
    bool savings;
};

struct bench {
    struct options options;
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_transformer *transformer;
    struct sora_transformer_context *context; /* real rows and one padded row */
    struct sora_transformer_context *literal; /* 512 rows; with --savings */
    struct sora_buffer *buffers[2];
    struct sora_tensor latents, velocity;
    float *text; /* [512,text_width]: TEXT_ROWS random rows, then zeros */
    double open_seconds, context_seconds, literal_context_seconds;
};

static _Noreturn void stop(const struct sora_fault *fault)
{
    fprintf(stderr, "bench_transformer: %s\n", fault->text[0] ? fault->text : "device failed");
    exit(1);
}

static double seconds_since(sora_time start)
{
    return (double)(sora_clock_now() - start) / SORA_TIME_SECOND;
}

static int parse(int count, char **words, struct options *out)
{
    int *numbers[] = {&out->frames, &out->threads, &out->repeats, &out->text_rows};
    int seen = 0;
    *out = (struct options){.repeats = 3, .text_rows = 40};
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--savings") == 0)
            out->savings = true;
        else if (seen == 0)
            out->dir = words[i], seen++;
        else if (seen == 1 && sscanf(words[i], "%dx%d", &out->width, &out->height) == 2)
            seen++;
        else if (seen >= 2 && seen < 6 && sscanf(words[i], "%d", numbers[seen - 2]) == 1)
            seen++;
        else
            return -1;
    }
    bool sizes = out->width >= 16 && out->height >= 16 && out->frames >= 1;
    bool counts = out->repeats >= 1 && out->repeats <= REPEATS_MAX && out->text_rows >= 0 &&
                  out->text_rows <= PADDED_ROWS;
    return seen >= 3 && sizes && counts ? 0 : -1;
}

static void open_model(struct bench *bench)
{
    char dir[4096];
    struct stat status;
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = bench->options.threads};
    sora_time start = sora_clock_now();
    snprintf(dir, sizeof(dir), "%s/transformer", bench->options.dir);
    const char *component = stat(dir, &status) == 0 ? dir : bench->options.dir;
    if (sora_cpu_device_create(&params, &bench->device, &fault) ||
        sora_stream_create(bench->device, &bench->stream) ||
        sora_transformer_open(component, bench->device, &bench->transformer, &fault))
        stop(&fault);
    bench->open_seconds = seconds_since(start);
}

static void make_inputs(struct bench *bench)
{
    const struct options *o = &bench->options;
    const struct sora_transformer_config *config = sora_transformer_config(bench->transformer);
    const int64_t shape[] = {(o->frames - 1) / 4 + 1, config->in_channels, o->height / 8,
                             o->width / 8};
    const struct sora_noise_key key = {.seed = 1};
    struct sora_fault fault = {0};
    if (sora_tensor_create(bench->device, SORA_DTYPE_F32, 4, shape, &bench->buffers[0],
                           &bench->latents) ||
        sora_tensor_create(bench->device, SORA_DTYPE_F32, 4, shape, &bench->buffers[1],
                           &bench->velocity))
        stop(&fault);
    size_t count = (size_t)sora_tensor_count(&bench->latents);
    float *noise = malloc(count * sizeof(float));
    bench->text = calloc((size_t)PADDED_ROWS * (size_t)config->text_width, sizeof(float));
    if (!noise || !bench->text)
        stop(&fault);
    sora_noise_normal(&key, 0, count, noise);
    if (sora_tensor_upload(bench->stream, &bench->latents, noise))
        stop(&fault);
    sora_noise_normal(&key, count, (size_t)o->text_rows * (size_t)config->text_width, bench->text);
    free(noise);
}

/* Prepares the prompt as `count` rows of 512; returns seconds. */
static double make_context(struct bench *bench, int count,
                           struct sora_transformer_context **out_context)
{
    struct sora_fault fault = {0};
    sora_time start = sora_clock_now();
    if (sora_transformer_context_create(bench->transformer, bench->text, count, PADDED_ROWS,
                                        out_context, &fault))
        stop(&fault);
    return seconds_since(start);
}

static double forward(struct bench *bench, const struct sora_transformer_context *context,
                      double timestep)
{
    const struct sora_transformer_input input = {
        .latents = bench->latents,
        .context = context,
        .timestep = timestep,
    };
    struct sora_fault fault = {0};
    sora_time start = sora_clock_now();
    if (sora_transformer_forward(bench->transformer, bench->stream, &input, &bench->velocity,
                                 &fault) ||
        sora_stream_wait(bench->stream))
        stop(&fault);
    return seconds_since(start);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* "name": {"median": s, "best": s, "gflop": g, "gflops": g/best}, sorting `times`. */
static void print_times(const struct bench *bench, const char *name, double *times, int text_keys)
{
    int count = bench->options.repeats;
    const int64_t *shape = bench->latents.shape;
    double gflop = sora_transformer_flops(bench->transformer, (int)shape[0], (int)shape[2],
                                          (int)shape[3], text_keys) /
                   1e9;
    qsort(times, (size_t)count, sizeof(times[0]), ascending);
    printf("  \"%s\": {\"median_s\": %.4f, \"best_s\": %.4f, \"gflop\": %.2f, "
           "\"best_gflop_per_s\": %.1f},\n",
           name, times[count / 2], times[0], gflop, gflop / times[0]);
}

static void run(struct bench *bench)
{
    static double fresh[REPEATS_MAX], shared[REPEATS_MAX], literal[REPEATS_MAX];
    double first = forward(bench, bench->context, 999);
    for (int i = 0; i < bench->options.repeats; i++) {
        double timestep = 900 - i;
        fresh[i] = forward(bench, bench->context, timestep);
        if (!bench->options.savings)
            continue;
        shared[i] = forward(bench, bench->context, timestep);
        literal[i] = forward(bench, bench->literal, timestep - 0.5);
    }
    printf("  \"first_forward_s\": %.4f,\n", first);
    print_times(bench, "forward", fresh, sora_transformer_context_keys(bench->context));
    if (!bench->options.savings)
        return;
    print_times(bench, "forward_same_timestep", shared,
                sora_transformer_context_keys(bench->context));
    print_times(bench, "forward_512_text_rows", literal, PADDED_ROWS);
    printf("  \"context_512_text_rows_s\": %.4f,\n", bench->literal_context_seconds);
}

static void print_memory(const struct bench *bench)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const int64_t *shape = bench->latents.shape;
    printf("  \"activation_mib\": %.1f,\n  \"peak_rss_mib\": %.1f\n",
           (double)sora_transformer_activation_size(bench->transformer, (int)shape[0],
                                                    (int)shape[2], (int)shape[3]) /
               (1 << 20),
           (double)usage.ru_maxrss / 1024);
}

static void close_all(struct bench *bench)
{
    free(bench->text);
    sora_transformer_context_destroy(&bench->context);
    sora_transformer_context_destroy(&bench->literal);
    sora_transformer_destroy(&bench->transformer);
    sora_buffer_destroy(&bench->buffers[0]);
    sora_buffer_destroy(&bench->buffers[1]);
    sora_stream_destroy(&bench->stream);
    sora_device_destroy(&bench->device);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    if (parse(argc, argv, &bench.options)) {
        fprintf(stderr, "usage: bench_transformer MODEL_DIR WIDTHxHEIGHT FRAMES [THREADS [REPEATS "
                        "[TEXT_ROWS]]] [--savings]\n");
        return 2;
    }
    open_model(&bench);
    make_inputs(&bench);
    bench.context_seconds = make_context(&bench, bench.options.text_rows, &bench.context);
    if (bench.options.savings)
        bench.literal_context_seconds = make_context(&bench, PADDED_ROWS, &bench.literal);
    struct sora_device_caps caps;
    sora_device_caps(bench.device, &caps);
    printf("{\n  \"device\": \"%s\",\n  \"class\": \"%s\",\n", caps.name, caps.device_class);
    printf("  \"size\": \"%dx%d\",\n  \"frames\": %d,\n  \"repeats\": %d,\n", bench.options.width,
           bench.options.height, bench.options.frames, bench.options.repeats);
    printf("  \"open_s\": %.4f,\n  \"context_s\": %.4f,\n", bench.open_seconds,
           bench.context_seconds);
    run(&bench);
    print_memory(&bench);
    printf("}\n");
    close_all(&bench);
    return 0;
}
