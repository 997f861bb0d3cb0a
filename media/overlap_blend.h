/*
 * Overlap blend: windows of frames that were made independently of each other become one row of
 * frames, each corrected by the colour solve and faded into the next where they overlap.
 *
 * For engines whose windows know nothing of each other; the built-in model fuses its windows while
 * it samples and needs none of this. Frames come window by window; the frames that two windows
 * share are kept until the second one brings its own, so memory is the longest overlap's.
 *
 * Owned by whoever created it; one thread; nothing blocks.
 */
#ifndef SORA_MEDIA_OVERLAP_BLEND_H
#define SORA_MEDIA_OVERLAP_BLEND_H

#include "base/error.h"
#include "media/colour_solve.h"

#include <stdbool.h>
#include <stdint.h>

struct sora_overlap_blend;

struct sora_blend_window {
    int32_t first, end; /* frames of the timeline */
};

struct sora_overlap_blend_params {
    int width, height; /* 1..16384 */
    /* Ascending and without gaps from frame 0: window k+1 begins at or before the end of k and ends
     * behind it; window k+2 does not begin before the end of k. Borrowed for create. */
    const struct sora_blend_window *windows;
    int window_count;                                 /* 1..SORA_COLOUR_WINDOWS_MAX */
    const struct sora_colour_correction *corrections; /* [window_count]; NULL: none. Borrowed */
};

/* Errors: INVALID (a size, a window out of order), MEMORY. */
int sora_overlap_blend_create(const struct sora_overlap_blend_params *params,
                              struct sora_overlap_blend **out_blend, struct sora_fault *fault);
void sora_overlap_blend_destroy(struct sora_overlap_blend **blend);

/* Takes the next frame, width*height*3 bytes R G B, of all windows one after the other. *out_got:
 * whether out_rgb holds the next frame of the timeline now (frames that the next window shares come
 * with that window). Errors: INVALID after the last frame. */
int sora_overlap_blend_add(struct sora_overlap_blend *blend, const uint8_t *rgb, uint8_t *out_rgb,
                           bool *out_got, struct sora_fault *fault);

/* Share of the right window in frame `index` of an overlap of `count`: 3t^2 - 2t^3 at
 * t = (index+1)/(count+1), a ramp without corners. */
float sora_overlap_blend_share(int index, int count);

#endif
