/*
 * Consistency report: what can be measured on a finished video without any network
 * (docs/ARCHITECTURE.md, "Consistency").
 *
 * Frames come in one by one; per frame only a row of numbers is kept, plus at most 1,024 small
 * pictures of 16x16, so memory does not grow with the picture size. Give it the frames before they
 * are encoded. No figure counts for a video that froze: look at `moving` first, and at the worst
 * seam beside the median.
 *
 * Owned by whoever created it; one thread at a time; add and finish compute (about 0.5 ms for a
 * frame of 256x144), nothing blocks.
 */
#ifndef SORA_MEDIA_REPORT_H
#define SORA_MEDIA_REPORT_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sora_report;

#define SORA_REPORT_FRAMES_MAX (1 << 20)
#define SORA_REPORT_OVERLAPS_MAX 65536
#define SORA_REPORT_CUTS_MAX 1024

/* Frames that two neighbouring windows share. */
struct sora_report_overlap {
    int32_t first, end; /* [first, end), 0 <= first < end <= frame_count */
};

struct sora_report_params {
    int width, height;                          /* 16..16384 */
    int32_t frame_count;                        /* of the whole video, 1..SORA_REPORT_FRAMES_MAX */
    int fps, fps_divisor;                       /* frames per second; a divisor of 0 means 1 */
    const struct sora_report_overlap *overlaps; /* ascending; borrowed for create */
    int overlap_count;                          /* 0 when the video is one window */
    double period_frames;      /* distance of windows; 0: the overlaps' median distance */
    double repeat_seconds_min; /* shortest repetition looked for; 0 means 16 */
    double motion_reference;   /* `motion` of a native clip of the same prompt; 0: unknown */
    const int32_t *cuts;       /* hard cuts, each the first frame of a take, ascending; borrowed
                                * for create. The change into such a frame counts as the one before
                                * it: no motion, no seam; colours drift within takes only */
    int cut_count;             /* 0..SORA_REPORT_CUTS_MAX */
};

/* One overlap's seam. */
struct sora_report_seam {
    int32_t frame;                   /* the frame after the largest change in the neighbourhood */
    double ratio, ratio_compensated; /* see result */
};

/* NAN: not measurable on this video (too short, no overlaps, ...). Grey levels are 0..255. D_t is
 * the mean |luma change| from frame t to t+1, E_t the same after motion compensation. The
 * neighbourhood of an overlap reaches one overlap length to both sides of its middle. */
struct sora_report_result {
    const char *devices; /* classes of the devices that made the video, separated by commas; NULL:
                          * not known. Set by the caller, borrowed */
    int32_t frame_count;
    double seconds;
    double motion;       /* mean block motion, pixels per frame */
    double motion_ratio; /* motion / motion_reference */
    double frozen;       /* part of the frames that differ from the one before by < 0.05 grey */
    bool moving;         /* motion_ratio >= 0.8; without reference: frozen <= 0.5 */

    /* Largest D_t in the overlap's neighbourhood / median D_t away from all neighbourhoods (of all
     * frames when nothing is far enough away): 1 is invisible. `chance` is what the same
     * statistic gives at a random place: motion that speeds up and slows down raises both. */
    double seam_median, seam_max, seam_chance;
    double seam_middle_median, seam_middle_max;           /* D_t at the overlap's middle only */
    double seam_compensated_median, seam_compensated_max; /* with E_t */

    /* Amplitude at the window period over its neighbours, largest of D_t, mean luma, sharpness. */
    double flicker;
    double flicker_difference, flicker_luma, flicker_sharpness;

    /* Theil-Sen slopes of the per-second mean colour in CIE L*a*b*, per minute. */
    double drift; /* Euclidean length of the three slopes: Delta E per minute */
    double drift_lightness, drift_a, drift_b, drift_chroma, drift_contrast;
    double colour_spread; /* largest Delta E of a second to the median second */

    double sharpness_overlap; /* median sharpness in overlaps / outside; < 1 is ghosting */

    /* Correlation R(lag) of small pictures, its peak over the local median (+-4 s). */
    double repeat_peak, repeat_seconds; /* over lags >= repeat_seconds_min; the peak's lag */
    double repeat_window;               /* over multiples of the window period */

    const struct sora_report_seam *seams; /* one per overlap; borrows the report */
    int seam_count;
    const int32_t *cuts; /* borrows the report */
    int cut_count;
};

/* Errors: INVALID (a value out of range), MEMORY. */
int sora_report_create(const struct sora_report_params *params, struct sora_report **out_report,
                       struct sora_fault *fault);
void sora_report_destroy(struct sora_report **report);

/* Measures the next frame, width*height*3 bytes R G B, borrowed. Frames beyond frame_count are
 * ignored. */
void sora_report_add(struct sora_report *report, const uint8_t *rgb);

/* Evaluates what was added. Errors: INVALID with fewer than 2 frames, MEMORY. */
int sora_report_finish(struct sora_report *report, struct sora_report_result *out_result,
                       struct sora_fault *fault);

/* Appends the result as a JSON object (numbers, null for NAN, "seams": an array), or as a table for
 * a person, one figure a line. Errors: FULL, MEMORY. */
int sora_report_json(const struct sora_report_result *result, struct sora_bytes *bytes);
int sora_report_text(const struct sora_report_result *result, struct sora_bytes *bytes);

#endif
