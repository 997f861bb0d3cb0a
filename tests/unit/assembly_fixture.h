/* Frames that tell which one they are, and segments of them, for the tests of assembling. */
#ifndef SORA_TESTS_UNIT_ASSEMBLY_FIXTURE_H
#define SORA_TESTS_UNIT_ASSEMBLY_FIXTURE_H

#include "media/assembly_wire.h"
#include "media/segment.h"
#include "media/video_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FRAME_WIDTH = 96, FRAME_HEIGHT = 64, FRAME_BYTES = FRAME_WIDTH * FRAME_HEIGHT * 3 };

/* The frame's number is its brightness (mod 50, four grey levels apart), on a moving pattern. */
static inline void frame_fill(uint8_t *rgb, int number)
{
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        for (int x = 0; x < FRAME_WIDTH; x++) {
            uint8_t *pixel = rgb + 3 * (y * FRAME_WIDTH + x);
            uint8_t grey = (uint8_t)(28 + 4 * (number % 50));
            uint8_t stripe = y < 8 && (x + number) % 16 < 8 ? 20 : 0;
            pixel[0] = pixel[1] = pixel[2] = (uint8_t)(grey - stripe);
        }
    }
}

static inline void segment_write(const char *path, int first, int count)
{
    static uint8_t rgb[FRAME_BYTES];
    const struct sora_segment_params params = {
        .path = path, .width = FRAME_WIDTH, .height = FRAME_HEIGHT, .fps = 16};
    struct sora_segment_writer *writer = NULL;
    assert_int_equal(sora_segment_writer_create(&params, &writer, NULL), 0);
    for (int i = first; i < first + count; i++) {
        frame_fill(rgb, i);
        assert_int_equal(sora_segment_writer_add(writer, rgb, NULL), 0);
    }
    assert_int_equal(sora_segment_writer_finish(writer, NULL), 0);
    sora_segment_writer_destroy(&writer);
}

/* Decodes the video, checks that frame i is frame i for the first `expected`, and returns how many
 * there are. */
static inline int video_check_first(const char *path, int expected)
{
    static uint8_t rgb[FRAME_BYTES];
    struct sora_video_reader *reader = NULL;
    struct sora_fault fault = {0};
    if (sora_video_reader_open(path, &reader, &fault))
        fail_msg("%s", fault.text);
    int count = 0;
    for (bool got = true; got; count += got) {
        assert_int_equal(sora_video_reader_next(reader, rgb, &got, &fault), 0);
        int grey = rgb[3 * (FRAME_HEIGHT / 2 * FRAME_WIDTH + FRAME_WIDTH / 2) + 1];
        if (got && count < expected)
            assert_in_range(grey, 28 + 4 * (count % 50) - 2, 28 + 4 * (count % 50) + 2);
    }
    sora_video_reader_destroy(&reader);
    return count;
}

static inline int video_check(const char *path)
{
    return video_check_first(path, 1 << 30);
}

/* 16 frames a second, everything asked for, windows of 17 frames with 8 shared. */
static inline struct sora_assembly_begin assembly_begin(int frame_count)
{
    return (struct sora_assembly_begin){
        .width = FRAME_WIDTH,
        .height = FRAME_HEIGHT,
        .fps = 16,
        .frame_count = frame_count,
        .preview = 1,
        .contact_sheet = 1,
        .report = 1,
        .window_frames = 17,
        .overlap_frames = 8,
        .stride_frames = 8,
        .latent_channels = 2,
        .latent_height = 3,
        .latent_width = 4,
    };
}

#endif
