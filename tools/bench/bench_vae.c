/*
 * Speed and memory of the VAE on the CPU, as one JSON object on stdout.
 *
 * usage: bench_vae MODEL_DIR WIDTHxHEIGHT FRAMES THREADS REPEATS [encode]
 *
 * MODEL_DIR is a VAE component directory. Decodes (or encodes) FRAMES frames, rounded down to the
 * model's rule, of fixed random latents (or pixels), REPEATS times; `seconds` is the fastest run
 * and `seconds_all` lists them all. Operations are those of sora_vae_plan. Frames are handed out
 * one latent at a time as RGB bytes and dropped, so `rss_peak_bytes` is what a renderer would need
 * for this stage; `rss_peak_2s_bytes` is its value after the first 33 frames (2 s at 16 per
 * second): the two are equal when memory does not depend on the length. When decoding,
 * `context_seconds` is what `context_latents` of context cost before an exact start in the middle
 * (sora_vae_decoder_begin), also in latents: `context_cost` as measured, `context_flops` as
 * counted.
 */
#include "base/clock.h"
#include "base/philox.h"
#include "hip/cpu/cpu.h"
#include "model/vae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FRAMES_2S 33
#define REPEATS_MAX 100
#define OWN_LATENTS 8

struct bench {
    struct sora_vae *vae;
    struct sora_vae_decoder *decoder;
    struct sora_vae_encoder *encoder; /* one of the two */
    int width, height;                /* of frames */
    int latents;                      /* per run */
    float *in;                        /* one latent, or the frames of one */
    void *out;                        /* RGB frames, or one latent */
    long long rss_2s;
};

static long long rss_peak(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024LL;
}

static int create(struct bench *bench, bool encode, struct sora_fault *fault)
{
    const struct sora_vae_config *config = sora_vae_config(bench->vae);
    int factor = config->spatial_factor, h = bench->height / factor, w = bench->width / factor;
    size_t latent = (size_t)config->channels * (size_t)h * (size_t)w;
    size_t frames =
        (size_t)config->temporal_factor * (size_t)bench->height * (size_t)bench->width * 3;
    size_t in = encode ? frames : latent;
    int error = encode ? sora_vae_encoder_create(bench->vae, bench->height, bench->width,
                                                 &bench->encoder, fault)
                       : sora_vae_decoder_create(bench->vae, h, w, &bench->decoder, fault);
    if (error)
        return error;
    bench->in = malloc(in * sizeof(float));
    bench->out = malloc(encode ? latent * sizeof(float) : frames);
    if (!bench->in || !bench->out)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    sora_noise_normal(&(struct sora_noise_key){.seed = 1}, 0, in, bench->in);
    for (size_t i = 0; encode && i < in; i++)
        bench->in[i] *= 0.25f;
    return SORA_OK;
}

static int run(struct bench *bench, double *out_seconds, struct sora_fault *fault)
{
    sora_time start = sora_clock_now();
    int frames = 0, factor = sora_vae_config(bench->vae)->temporal_factor;
    for (int i = 0; i < bench->latents; i++) {
        int error =
            bench->encoder
                ? sora_vae_encoder_next(bench->encoder, bench->in, bench->out, fault)
                : sora_vae_decoder_next(bench->decoder, bench->in, NULL, bench->out, NULL, fault);
        if (error)
            return error;
        frames += i ? factor : 1;
        if (!bench->rss_2s && frames >= FRAMES_2S)
            bench->rss_2s = rss_peak();
    }
    if (bench->encoder)
        sora_vae_encoder_reset(bench->encoder);
    else
        sora_vae_decoder_reset(bench->decoder);
    *out_seconds = (double)(sora_clock_now() - start) / (double)SORA_TIME_SECOND;
    return SORA_OK;
}

/* Seconds of the context of an exact start, and of a latent after it. */
static int run_context(struct bench *bench, double *out_context, double *out_latent,
                       struct sora_fault *fault)
{
    int context = sora_vae_decoder_warmup(sora_vae_config(bench->vae)), error = 0;
    sora_vae_decoder_begin(bench->decoder, 1, 1 + context);
    sora_time start = sora_clock_now(), middle = start;
    for (int i = 0; !error && i < context + OWN_LATENTS; i++) {
        if (i == context)
            middle = sora_clock_now();
        error = sora_vae_decoder_next(bench->decoder, bench->in, NULL, bench->out, NULL, fault);
    }
    *out_context = (double)(middle - start) / (double)SORA_TIME_SECOND;
    *out_latent = (double)(sora_clock_now() - middle) / (double)SORA_TIME_SECOND / OWN_LATENTS;
    return error;
}

static int report_context(struct bench *bench, const struct sora_vae_plan *costs,
                          struct sora_fault *fault)
{
    double context = 0, latent = 1;
    int error = bench->decoder ? run_context(bench, &context, &latent, fault) : 0;
    if (error || !bench->decoder)
        return error;
    printf("\"context_latents\": %d, \"context_seconds\": %.4f, \"context_cost\": %.2f, "
           "\"context_flops\": %.2f, ",
           sora_vae_decoder_warmup(sora_vae_config(bench->vae)), context, context / latent,
           costs->flops_context / costs->flops_next);
    return 0;
}

static int plan(const struct bench *bench, struct sora_vae_plan *out_plan, struct sora_fault *fault)
{
    int factor = sora_vae_config(bench->vae)->spatial_factor;
    if (bench->encoder)
        return sora_vae_encoder_plan(bench->vae, bench->height, bench->width, out_plan, fault);
    return sora_vae_decoder_plan(bench->vae, bench->height / factor, bench->width / factor,
                                 out_plan, fault);
}

static int report(struct bench *bench, const double *seconds, int repeats,
                  const struct sora_device_caps *caps, struct sora_fault *fault)
{
    struct sora_vae_plan costs;
    int error = plan(bench, &costs, fault);
    if (error)
        return error;
    double flops = costs.flops_first + (bench->latents - 1) * costs.flops_next, best = seconds[0];
    for (int i = 1; i < repeats; i++)
        best = seconds[i] < best ? seconds[i] : best;
    int factor = sora_vae_config(bench->vae)->temporal_factor;
    printf("{\"bench\": \"vae_%s\", \"device\": \"%s\", \"class\": \"%s\", \"threads\": %d, ",
           bench->encoder ? "encode" : "decode", caps->name, caps->device_class,
           caps->thread_count);
    printf("\"width\": %d, \"height\": %d, \"frames\": %d, ", bench->width, bench->height,
           1 + factor * (bench->latents - 1));
    printf("\"seconds\": %.4f, \"seconds_all\": [", best);
    for (int i = 0; i < repeats; i++)
        printf("%s%.4f", i ? ", " : "", seconds[i]);
    printf("], \"gflop\": %.3f, \"gflop_per_second\": %.1f, ", flops / 1e9, flops / 1e9 / best);
    printf("\"cache_bytes\": %zu, \"activation_bytes\": %zu, \"weight_bytes\": %zu, ",
           costs.cache_bytes, costs.activation_bytes, costs.weight_bytes);
    error = report_context(bench, &costs, fault);
    printf("\"rss_peak_2s_bytes\": %lld, \"rss_peak_bytes\": %lld}\n", bench->rss_2s, rss_peak());
    return error;
}

static int measure(struct bench *bench, int repeats, const struct sora_device_caps *caps,
                   struct sora_fault *fault)
{
    double seconds[REPEATS_MAX];
    for (int i = 0; i < repeats; i++) {
        int error = run(bench, &seconds[i], fault);
        if (error)
            return error;
    }
    return report(bench, seconds, repeats, caps, fault);
}

int main(int argc, char **argv)
{
    int frames = argc > 5 ? atoi(argv[3]) : 0, repeats = argc > 5 ? atoi(argv[5]) : 0;
    struct bench bench = {0};
    if (repeats < 1 || repeats > REPEATS_MAX || frames < 1 ||
        sscanf(argv[2], "%dx%d", &bench.width, &bench.height) != 2) {
        fprintf(stderr, "usage: bench_vae MODEL_DIR WIDTHxHEIGHT FRAMES THREADS REPEATS "
                        "[encode]\n");
        return 2;
    }
    bool encode = argc > 6 && strcmp(argv[6], "encode") == 0;
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = atoi(argv[4])};
    int error = sora_cpu_device_create(&params, &device, &fault);
    if (!error)
        error = sora_vae_open(argv[1], device, &bench.vae, &fault);
    if (!error) {
        bench.latents = 1 + (frames - 1) / sora_vae_config(bench.vae)->temporal_factor;
        error = create(&bench, encode, &fault);
    }
    if (!error) {
        struct sora_device_caps caps;
        sora_device_caps(device, &caps);
        error = measure(&bench, repeats, &caps, &fault);
    }
    if (error)
        fprintf(stderr, "bench_vae: %s\n", fault.text);
    free(bench.in);
    free(bench.out);
    sora_vae_encoder_destroy(&bench.encoder);
    sora_vae_decoder_destroy(&bench.decoder);
    sora_vae_destroy(&bench.vae);
    sora_device_destroy(&device);
    return sora_error_exit_status(error);
}
