/*
 * What encoding only the real tokens of a prompt gives: time for TOKENS tokens and for the padded
 * 512.
 *
 *   bench_text_encoder MODEL_DIR [TOKENS [THREADS [REPEATS]]]
 *
 * TOKENS 40, THREADS 0 (all), REPEATS 3. Prints one JSON object.
 */
#include "base/clock.h"
#include "hip/cpu/cpu.h"
#include "model/text_encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define TOKENS_MAX 512
#define REPEATS_MAX 100

static _Noreturn void stop(const struct sora_fault *fault)
{
    fprintf(stderr, "bench_text_encoder: %s\n", fault->text[0] ? fault->text : "out of memory");
    exit(1);
}

/* Seconds of encoding the first `count` ids. */
static double encode(struct sora_text_encoder *encoder, const int32_t *ids, int count, float *rows)
{
    struct sora_fault fault = {0};
    sora_time start = sora_clock_now();
    if (sora_text_encoder_encode(encoder, ids, count, rows, &fault))
        stop(&fault);
    return (double)(sora_clock_now() - start) / SORA_TIME_SECOND;
}

static void run(struct sora_text_encoder *encoder, int tokens, int repeats)
{
    int32_t ids[TOKENS_MAX];
    struct sora_fault fault = {0};
    float *rows = malloc((size_t)sora_text_encoder_width(encoder) * TOKENS_MAX * sizeof(float));
    double real = 1e30, padded = 1e30;
    if (!rows)
        stop(&fault);
    for (int i = 0; i < TOKENS_MAX; i++)
        ids[i] = (i * 7919 + 13) % sora_text_encoder_vocabulary_size(encoder);
    double first = encode(encoder, ids, tokens, rows);
    for (int i = 0; i < repeats; i++) {
        double a = encode(encoder, ids, tokens, rows);
        double b = encode(encoder, ids, TOKENS_MAX, rows);
        real = a < real ? a : real;
        padded = b < padded ? b : padded;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"tokens\": %d, \"first_s\": %.4f, \"best_s\": %.4f, \"padded_best_s\": %.4f, "
           "\"peak_rss_mib\": %.1f}\n",
           tokens, first, real, padded, (double)usage.ru_maxrss / 1024);
    free(rows);
}

static int number(int argc, char **argv, int at, int fallback)
{
    return argc > at ? atoi(argv[at]) : fallback;
}

int main(int argc, char **argv)
{
    int tokens = number(argc, argv, 2, 40), repeats = number(argc, argv, 4, 3);
    if (argc < 2 || tokens < 1 || tokens > TOKENS_MAX || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "usage: bench_text_encoder MODEL_DIR [TOKENS [THREADS [REPEATS]]]\n");
        return 2;
    }
    char dir[4096];
    struct sora_fault fault = {0};
    struct sora_device *device = NULL;
    struct sora_text_encoder *encoder = NULL;
    const struct sora_cpu_params params = {.thread_count = number(argc, argv, 3, 0)};
    snprintf(dir, sizeof(dir), "%s/text_encoder", argv[1]);
    if (sora_cpu_device_create(&params, &device, &fault) ||
        sora_text_encoder_open(dir, device, &encoder, &fault))
        stop(&fault);
    run(encoder, tokens, repeats);
    sora_text_encoder_destroy(&encoder);
    sora_device_destroy(&device);
    return 0;
}
