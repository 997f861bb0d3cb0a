/*
 * How fast assembling is beside libx264 alone on the same frames, in one run.
 *
 *     bench_assembly WIDTHxHEIGHT FRAMES THREADS [ROUNDS] [VIDEO]
 *
 * Frames come from VIDEO (as often as needed) or are drawn: slow waves with grain of 16 grey
 * levels. They are written as segments once; then each round encodes them with the video writer
 * alone (medium, the default quality), and assembles the segments with contact sheet, report and
 * preview. The best round of each counts, because other work on the machine only adds time. CPU
 * seconds of both are printed too.
 */
#include "base/clock.h"
#include "base/files.h"
#include "media/assembly.h"
#include "media/segment.h"
#include "media/video_reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SEGMENT_FRAMES = 64, FPS = 16 };

struct bench {
    int width, height, count, threads, rounds;
    size_t frame_size;
    uint8_t *frames;
    char folder[64], segment[128];
};

static void check(int rc, const struct sora_fault *fault)
{
    if (rc == 0)
        return;
    fprintf(stderr, "bench_assembly: %s\n", fault->text[0] ? fault->text : sora_error_text(rc));
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- frames ---- */

static void draw(const struct bench *bench, int number, uint8_t *rgb)
{
    uint32_t noise = 77u + (uint32_t)number;
    for (int y = 0; y < bench->height; y++) {
        for (int x = 0; x < bench->width; x++, rgb += 3) {
            double u = x + 0.9 * number, v = y + 3 * sin(0.1 * number);
            double value = 120 + 50 * sin(0.021 * u + 0.013 * v) + 30 * sin(0.11 * u - 0.07 * v);
            for (int c = 0; c < 3; c++) {
                noise = noise * 1664525u + 1013904223u;
                rgb[c] = (uint8_t)(value + 12 * c + (double)(noise >> 28));
            }
        }
    }
}

/* Fills `frames` from the video, from its start again when it is shorter. */
static void read_video(struct bench *bench, const char *path)
{
    struct sora_fault fault = {0};
    struct sora_video_reader *reader = NULL;
    check(sora_video_reader_open(path, &reader, &fault), &fault);
    const struct sora_video_info *info = sora_video_reader_info(reader);
    bench->width = info->width;
    bench->height = info->height;
    bench->frame_size = (size_t)info->width * (size_t)info->height * 3;
    bench->frames = malloc(bench->frame_size * (size_t)bench->count);
    int got_count = 0;
    for (bool got = bench->frames != NULL; got && got_count < bench->count; got_count += got)
        check(sora_video_reader_next(reader, bench->frames + (size_t)got_count * bench->frame_size,
                                     &got, &fault),
              &fault);
    sora_video_reader_destroy(&reader);
    if (got_count == 0)
        exit(1);
    for (int i = got_count; i < bench->count; i++)
        memcpy(bench->frames + (size_t)i * bench->frame_size,
               bench->frames + (size_t)(i % got_count) * bench->frame_size, bench->frame_size);
}

static void draw_all(struct bench *bench)
{
    bench->frame_size = (size_t)bench->width * (size_t)bench->height * 3;
    bench->frames = malloc(bench->frame_size * (size_t)bench->count);
    for (int i = 0; bench->frames && i < bench->count; i++)
        draw(bench, i, bench->frames + (size_t)i * bench->frame_size);
    if (!bench->frames)
        exit(1);
}

static const char *segment_path(struct bench *bench, int index)
{
    snprintf(bench->segment, sizeof(bench->segment), "%s/%d.segment", bench->folder, index);
    return bench->segment;
}

static void write_segments(struct bench *bench)
{
    struct sora_fault fault = {0};
    double start = cpu_seconds();
    for (int i = 0; i < bench->count; i += SEGMENT_FRAMES) {
        const struct sora_segment_params params = {.path = segment_path(bench, i / SEGMENT_FRAMES),
                                                   .width = bench->width,
                                                   .height = bench->height,
                                                   .fps = FPS};
        struct sora_segment_writer *writer = NULL;
        check(sora_segment_writer_create(&params, &writer, &fault), &fault);
        for (int j = i; j < i + SEGMENT_FRAMES && j < bench->count; j++)
            check(sora_segment_writer_add(writer, bench->frames + (size_t)j * bench->frame_size,
                                          &fault),
                  &fault);
        check(sora_segment_writer_finish(writer, &fault), &fault);
        sora_segment_writer_destroy(&writer);
    }
    printf("segments: %.2f ms a frame to encode\n", 1e3 * (cpu_seconds() - start) / bench->count);
}

/* ---- the two ways ---- */

static void encode_alone(struct bench *bench)
{
    struct sora_fault fault = {0};
    char path[128];
    snprintf(path, sizeof(path), "%s/alone.mp4", bench->folder);
    const struct sora_video_writer_params params = {.path = path,
                                                    .width = bench->width,
                                                    .height = bench->height,
                                                    .fps = FPS,
                                                    .thread_count = bench->threads};
    struct sora_video_writer *writer = NULL;
    check(sora_video_writer_create(&params, &writer, &fault), &fault);
    for (int i = 0; i < bench->count; i++)
        check(sora_video_writer_add(writer, bench->frames + (size_t)i * bench->frame_size, &fault),
              &fault);
    check(sora_video_writer_finish(writer, &fault), &fault);
    sora_video_writer_destroy(&writer);
}

static void assemble(struct bench *bench)
{
    struct sora_fault fault = {0};
    const struct sora_assembly_begin begin = {.width = bench->width,
                                              .height = bench->height,
                                              .fps = FPS,
                                              .frame_count = bench->count,
                                              .preview = 1,
                                              .contact_sheet = 1,
                                              .report = 1,
                                              .thread_count = bench->threads,
                                              .window_frames = 81,
                                              .overlap_frames = 20,
                                              .stride_frames = 60};
    const struct sora_assembly_params params = {
        .begin = &begin, .folder = bench->folder, .file_name = "assembled.mp4", .title = "bench"};
    struct sora_assembly *assembly = NULL;
    struct sora_bytes table;
    sora_bytes_init(&table, 1 << 20);
    check(sora_assembly_create(&params, &assembly, &fault), &fault);
    for (int i = 0; i < bench->count; i += SEGMENT_FRAMES) {
        int left = bench->count - i;
        const struct sora_assembly_segment segment = {
            .frame_first = i, .count = left < SEGMENT_FRAMES ? left : SEGMENT_FRAMES};
        check(sora_assembly_segment(assembly, segment_path(bench, i / SEGMENT_FRAMES), &segment,
                                    &fault),
              &fault);
    }
    check(sora_assembly_finish(assembly, NULL, &table, &fault), &fault);
    sora_assembly_destroy(&assembly);
    sora_bytes_fini(&table);
}

struct timing {
    double wall, cpu;
};

static void time_one(struct bench *bench, void (*work)(struct bench *bench), struct timing *best)
{
    sora_time start = sora_clock_now();
    double cpu = cpu_seconds();
    work(bench);
    double wall = (double)(sora_clock_now() - start) / (double)SORA_TIME_SECOND;
    if (best->wall == 0 || wall < best->wall)
        *best = (struct timing){wall, cpu_seconds() - cpu};
}

static void clean_up(struct bench *bench)
{
    static const char *const names[] = {"alone.mp4", "assembled.mp4", SORA_ASSEMBLY_PREVIEW,
                                        SORA_ASSEMBLY_CONTACT, SORA_ASSEMBLY_REPORT};
    char path[128];
    for (int i = 0; i * SEGMENT_FRAMES < bench->count; i++)
        unlink(segment_path(bench, i));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", bench->folder, names[i]);
        unlink(path);
    }
    rmdir(bench->folder);
    free(bench->frames);
}

int main(int argc, char **argv)
{
    struct bench bench = {.rounds = 3, .folder = "/tmp/bench-assembly-XXXXXX"};
    struct timing alone = {0}, assembled = {0};
    if (argc < 4 || argc > 6 || sscanf(argv[1], "%dx%d", &bench.width, &bench.height) != 2 ||
        (bench.count = atoi(argv[2])) < 2 || (bench.threads = atoi(argv[3])) < 1 ||
        (argc > 4 && (bench.rounds = atoi(argv[4])) < 1) || !mkdtemp(bench.folder)) {
        fputs("usage: bench_assembly WIDTHxHEIGHT FRAMES THREADS [ROUNDS] [VIDEO]\n", stderr);
        return 2;
    }
    if (argc > 5)
        read_video(&bench, argv[5]);
    else
        draw_all(&bench);
    write_segments(&bench);
    for (int round = 0; round < bench.rounds; round++) {
        time_one(&bench, encode_alone, &alone);
        time_one(&bench, assemble, &assembled);
    }
    printf("%d frames of %dx%d, %d encoder threads, %ld cores, best of %d\n", bench.count,
           bench.width, bench.height, bench.threads, sysconf(_SC_NPROCESSORS_ONLN), bench.rounds);
    printf("libx264 alone: %.1f frames/s, %.2f ms CPU a frame\n", bench.count / alone.wall,
           1e3 * alone.cpu / bench.count);
    printf("assembly:      %.1f frames/s, %.2f ms CPU a frame\n", bench.count / assembled.wall,
           1e3 * assembled.cpu / bench.count);
    printf("ratio:         %.1f %%\n", 100 * alone.wall / assembled.wall);
    clean_up(&bench);
    return 0;
}
