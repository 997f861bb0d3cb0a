/*
 * What the detour through a serving child costs, as one JSON object on stdout.
 *
 * usage: bench_serve WORKER MODEL_DIR WIDTHxHEIGHT LATENTS STEPS THREADS REPEATS WORK_DIR
 *
 * Makes one video twice per repeat: with the model's own calls in this process, and as commands to
 * a fresh `sora-worker serve` (WORKER is the program): noise, all windows, update, a state after
 * every step as a farm's checkpoint would, final latents, lossless pieces in WORK_DIR. Seconds are
 * those of the fastest repeat; cpu_seconds are user and system time of the process that computed.
 * The latents of both are compared and must be equal.
 */
#include "base/child.h"
#include "base/clock.h"
#include "hip/cpu/cpu.h"
#include "media/segment.h"
#include "model/noise.h"
#include "model/sampler_transformer.h"
#include "model/vae.h"
#include "node/serve_wire.h"
#include "node/text_rows.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define GUIDANCE 3.0
#define SHIFT 3.0
#define FPS 16

static const char prompt[] = "a red balloon above the sea at sunset";

struct bench {
    const char *worker, *model, *folder;
    int width, height, latents, steps, threads, repeats;
    struct sora_serve_shard shard;
    struct sora_schedule schedule;
    struct sora_text_rows rows[2]; /* prompt, negative */
    size_t elements;
    int temporal_factor;
};

/* Of one way of making the video. */
struct times {
    double start, sample, decode, cpu; /* seconds */
};

static _Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void must(int error, const struct sora_fault *fault)
{
    if (error)
        die("%s: %s", sora_error_text(error), fault->text);
}

static double seconds_since(sora_time *mark)
{
    sora_time now = sora_clock_now();
    double seconds = (double)(now - *mark) / (double)SORA_TIME_SECOND;
    *mark = now;
    return seconds;
}

static double cpu_seconds(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- in this process ---- */

struct engine {
    struct sora_device *device;
    struct sora_transformer *transformer;
    struct sora_vae *vae;
    struct sora_transformer_context *contexts[2];
};

static void open_engine(struct bench *bench, struct engine *engine)
{
    char path[4096];
    struct sora_fault fault = {0};
    const struct sora_cpu_params cpu = {.thread_count = bench->threads};
    must(sora_cpu_device_create(&cpu, &engine->device, &fault), &fault);
    snprintf(path, sizeof(path), "%s/transformer", bench->model);
    must(sora_transformer_open(path, engine->device, &engine->transformer, &fault), &fault);
    snprintf(path, sizeof(path), "%s/vae", bench->model);
    must(sora_vae_open(path, engine->device, &engine->vae, &fault), &fault);
}

static void close_engine(struct engine *engine)
{
    for (int i = 0; i < 2; i++)
        sora_transformer_context_destroy(&engine->contexts[i]);
    sora_vae_destroy(&engine->vae);
    sora_transformer_destroy(&engine->transformer);
    sora_device_destroy(&engine->device);
}

static void put_noise(const struct bench *bench, struct sora_sampler *sampler, float *values)
{
    struct sora_fault fault = {0};
    struct sora_noise *noise = NULL;
    const struct sora_noise_params params = {.timeline = bench->shard.timeline,
                                             .seed = bench->shard.seed,
                                             .amplitude = bench->shard.noise_share,
                                             .element_count = bench->elements};
    must(sora_noise_create(&params, &noise, &fault), &fault);
    for (int i = 0; i < bench->latents; i++) {
        sora_noise_latent(noise, i, values);
        must(sora_sampler_put_latent(sampler, i, values, &fault), &fault);
    }
    sora_noise_destroy(&noise);
}

static void sample_here(const struct bench *bench, struct engine *engine, float *latents)
{
    struct sora_fault fault = {0};
    struct sora_sampler *sampler = NULL;
    for (int i = 0; i < 2; i++)
        must(sora_transformer_context_create(engine->transformer, bench->rows[i].values,
                                             bench->rows[i].count, SORA_TEXT_ROWS_PADDED,
                                             &engine->contexts[i], &fault),
             &fault);
    struct sora_sampler_transformer model = {engine->transformer, engine->contexts[0],
                                             engine->contexts[1]};
    const struct sora_sampler_params params = {
        .timeline = bench->shard.timeline,
        .channels = bench->shard.channels,
        .height = bench->shard.height,
        .width = bench->shard.width,
        .guidance = GUIDANCE,
        .schedule = &bench->schedule,
        .denoiser = sora_sampler_transformer_denoiser(&model),
    };
    must(sora_sampler_create(engine->device, &params, &sampler, &fault), &fault);
    put_noise(bench, sampler, latents);
    for (int i = 0; i < bench->steps; i++)
        must(sora_sampler_step(sampler, &fault), &fault);
    for (int i = 0; i < bench->latents; i++)
        must(sora_sampler_get_latent(sampler, i, latents + (size_t)i * bench->elements, &fault),
             &fault);
    sora_sampler_destroy(&sampler);
}

static void decode_here(const struct bench *bench, struct engine *engine, const float *latents)
{
    char path[4096];
    struct sora_fault fault = {0};
    struct sora_vae_decoder *decoder = NULL;
    struct sora_segment_writer *writer = NULL;
    size_t frame_size = (size_t)bench->width * (size_t)bench->height * 3;
    uint8_t *rgb = malloc(frame_size * (size_t)bench->temporal_factor);
    snprintf(path, sizeof(path), "%s/here.mkv", bench->folder);
    const struct sora_segment_params params = {
        path, bench->width, bench->height, FPS, 1, bench->threads < 4 ? bench->threads : 4};
    must(sora_segment_writer_create(&params, &writer, &fault), &fault);
    must(sora_vae_decoder_create(engine->vae, bench->shard.height, bench->shard.width, &decoder,
                                 &fault),
         &fault);
    for (int i = 0; i < bench->latents; i++) {
        int count = 0;
        must(sora_vae_decoder_next(decoder, latents + (size_t)i * bench->elements, NULL, rgb,
                                   &count, &fault),
             &fault);
        for (int j = 0; j < count; j++)
            must(sora_segment_writer_add(writer, rgb + (size_t)j * frame_size, &fault), &fault);
    }
    must(sora_segment_writer_finish(writer, &fault), &fault);
    sora_segment_writer_destroy(&writer);
    sora_vae_decoder_destroy(&decoder);
    free(rgb);
}

static struct times run_here(struct bench *bench, float *latents)
{
    struct times times;
    struct engine engine = {0};
    double cpu = cpu_seconds(RUSAGE_SELF);
    sora_time mark = sora_clock_now();
    open_engine(bench, &engine);
    times.start = seconds_since(&mark);
    sample_here(bench, &engine, latents);
    times.sample = seconds_since(&mark);
    decode_here(bench, &engine, latents);
    times.decode = seconds_since(&mark);
    close_engine(&engine);
    times.cpu = cpu_seconds(RUSAGE_SELF) - cpu;
    return times;
}

/* ---- in a child ---- */

static void expect(struct sora_child *child, uint32_t kind, struct sora_frame *out_frame)
{
    struct sora_fault fault = {0};
    int rc;
    while ((rc = sora_child_step(child, out_frame, &fault)) == 0) {
        struct pollfd item;
        item.fd = sora_child_fd(child, &item.events);
        poll(&item, 1, -1);
    }
    must(rc < 0 ? rc : 0, &fault);
    if (out_frame->kind != kind)
        die("answer %u instead of %u: %.*s", out_frame->kind, kind, (int)out_frame->payload_size,
            out_frame->payload ? (const char *)out_frame->payload : "");
}

static void command(struct sora_child *child, uint32_t kind, const void *head, size_t head_size,
                    const char *path)
{
    const struct sora_frame frame = {kind, head, head_size, path, path ? strlen(path) : 0};
    if (sora_child_send(child, &frame))
        die("command %u was not sent", kind);
}

static struct sora_child *start_child(const struct bench *bench)
{
    char threads[16];
    snprintf(threads, sizeof(threads), "%d", bench->threads);
    const char *const argv[] = {"sora-worker", "serve",   "--threads",   threads, "--read",
                                bench->model,  "--write", bench->folder, NULL};
    const struct sora_child_params params = {.program = bench->worker, .argv = argv};
    struct sora_child *child = NULL;
    struct sora_fault fault = {0};
    struct sora_frame frame;
    must(sora_child_create(&params, &child, &fault), &fault);
    expect(child, SORA_SERVE_READY, &frame);
    command(child, SORA_SERVE_OPEN, NULL, 0, bench->model);
    expect(child, SORA_SERVE_OPENED, &frame);
    return child;
}

static void open_shard(const struct bench *bench, struct sora_child *child)
{
    size_t size = sizeof(bench->schedule), row_bytes[2];
    for (int i = 0; i < 2; i++) {
        row_bytes[i] = (size_t)bench->rows[i].count * (size_t)bench->rows[i].width * sizeof(float);
        size += row_bytes[i];
    }
    unsigned char *payload = malloc(size), *at = payload + sizeof(bench->schedule);
    memcpy(payload, &bench->schedule, sizeof(bench->schedule));
    memcpy(at, bench->rows[0].values, row_bytes[0]);
    memcpy(at + row_bytes[0], bench->rows[1].values, row_bytes[1]);
    const struct sora_frame frame = {SORA_SERVE_SHARD, &bench->shard, sizeof(bench->shard), payload,
                                     size};
    if (sora_child_send(child, &frame))
        die("the shard was not sent");
    free(payload);
    struct sora_frame answer;
    expect(child, SORA_SERVE_SHARD_OPENED, &answer);
}

static void sample_there(const struct bench *bench, struct sora_child *child, float *latents)
{
    char path[4096];
    struct sora_frame frame;
    struct sora_serve_span span = {.step = 0};
    open_shard(bench, child);
    command(child, SORA_SERVE_LOADED, &span, sizeof(span), NULL);
    expect(child, SORA_SERVE_IS_LOADED, &frame);
    snprintf(path, sizeof(path), "%s/state", bench->folder);
    for (; span.step < bench->steps; span.step++) {
        struct sora_range windows =
            sora_timeline_shard_windows(&bench->shard.timeline, span.step, bench->shard.owned);
        for (span.window = windows.first; span.window < windows.end; span.window++) {
            command(child, SORA_SERVE_RUN, &span, sizeof(span), NULL);
            expect(child, SORA_SERVE_RAN, &frame);
        }
        command(child, SORA_SERVE_UPDATE, &span, sizeof(span), NULL);
        expect(child, SORA_SERVE_UPDATED, &frame);
        struct sora_serve_span state = {.step = span.step + 1};
        command(child, SORA_SERVE_STATE, &state, sizeof(state), path);
        expect(child, SORA_SERVE_STATE_WRITTEN, &frame);
    }
    span.end = bench->latents;
    command(child, SORA_SERVE_GET_FINAL, &span, sizeof(span), NULL);
    expect(child, SORA_SERVE_VALUES, &frame);
    memcpy(latents, frame.payload, frame.payload_size);
}

static void decode_there(const struct bench *bench, struct sora_child *child)
{
    char path[4096];
    struct sora_frame frame;
    const struct sora_serve_decode decode = {
        bench->shard.owned, 0, bench->width, bench->height, FPS, 1, bench->latents};
    snprintf(path, sizeof(path), "%s/there", bench->folder);
    command(child, SORA_SERVE_DECODE, &decode, sizeof(decode), path);
    expect(child, SORA_SERVE_PIECE, &frame);
    expect(child, SORA_SERVE_DECODED, &frame);
}

static struct times run_there(const struct bench *bench, float *latents)
{
    struct times times;
    double cpu = cpu_seconds(RUSAGE_CHILDREN);
    sora_time mark = sora_clock_now();
    struct sora_child *child = start_child(bench);
    times.start = seconds_since(&mark);
    sample_there(bench, child, latents);
    times.sample = seconds_since(&mark);
    decode_there(bench, child);
    times.decode = seconds_since(&mark);
    sora_child_destroy(&child);
    times.cpu = cpu_seconds(RUSAGE_CHILDREN) - cpu;
    return times;
}

/* ---- both ---- */

static void prepare(struct bench *bench)
{
    struct engine engine = {0};
    struct sora_bundle bundle;
    struct sora_fault fault = {0};
    open_engine(bench, &engine);
    must(sora_bundle_open(bench->model, &bundle, &fault), &fault);
    must(sora_text_rows_encode(&bundle, engine.device, prompt, "", &bench->rows[0], &bench->rows[1],
                               &fault),
         &fault);
    const struct sora_vae_config *vae = sora_vae_config(engine.vae);
    const struct sora_schedule_params schedule = {.steps = bench->steps, .shift = SHIFT};
    must(sora_schedule_init(&schedule, &bench->schedule, &fault), &fault);
    bench->temporal_factor = vae->temporal_factor;
    bench->shard = (struct sora_serve_shard){
        .timeline = {.latent_count = bench->latents,
                     .window_latents = (int32_t)bundle.window_latents,
                     .overlap_latents = (int32_t)bundle.overlap_latents},
        .owned = {0, bench->latents},
        .channels = vae->channels,
        .height = bench->height / vae->spatial_factor,
        .width = bench->width / vae->spatial_factor,
        .noise_share = bundle.noise_share,
        .guidance = GUIDANCE,
        .seed = 1,
        .text_count = 1,
        .text_width = bench->rows[0].width,
        .texts = {{0, bench->latents, bench->rows[0].count, bench->rows[1].count}},
    };
    bench->elements =
        (size_t)vae->channels * (size_t)bench->shard.height * (size_t)bench->shard.width;
    sora_bundle_fini(&bundle);
    close_engine(&engine);
}

static void keep_fastest(struct times *best, struct times now)
{
    best->start = now.start < best->start ? now.start : best->start;
    best->sample = now.sample < best->sample ? now.sample : best->sample;
    best->decode = now.decode < best->decode ? now.decode : best->decode;
    best->cpu = now.cpu < best->cpu ? now.cpu : best->cpu;
}

static void print_times(const char *name, const struct times *times, const char *end)
{
    printf("\"%s\": {\"start_seconds\": %.4f, \"sample_seconds\": %.4f, \"decode_seconds\": %.4f, "
           "\"cpu_seconds\": %.4f}%s",
           name, times->start, times->sample, times->decode, times->cpu, end);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    if (argc != 9 || sscanf(argv[3], "%dx%d", &bench.width, &bench.height) != 2)
        die("usage: bench_serve WORKER MODEL_DIR WIDTHxHEIGHT LATENTS STEPS THREADS REPEATS "
            "WORK_DIR");
    bench.worker = argv[1];
    bench.model = argv[2];
    bench.latents = atoi(argv[4]);
    bench.steps = atoi(argv[5]);
    bench.threads = atoi(argv[6]);
    bench.repeats = atoi(argv[7]);
    bench.folder = argv[8];
    prepare(&bench);
    size_t size = (size_t)bench.latents * bench.elements * sizeof(float);
    float *here = malloc(size), *there = malloc(size);
    struct times best_here = {1e9, 1e9, 1e9, 1e9}, best_there = best_here;
    if (!here || !there)
        die("out of memory");
    for (int i = 0; i < bench.repeats; i++) {
        keep_fastest(&best_here, run_here(&bench, here));
        keep_fastest(&best_there, run_there(&bench, there));
        if (memcmp(here, there, size) != 0)
            die("the latents differ");
    }
    printf("{\"latents\": %d, \"steps\": %d, \"threads\": %d, ", bench.latents, bench.steps,
           bench.threads);
    print_times("in_process", &best_here, ", ");
    print_times("serve", &best_there, "}\n");
    free(here);
    free(there);
    return 0;
}
