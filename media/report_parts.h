/*
 * What the files behind media/report.h share: the collected rows and the steps of the evaluation.
 *
 * Internal to media/. A report has one owner and one thread, as its public header says.
 */
#ifndef SORA_MEDIA_REPORT_PARTS_H
#define SORA_MEDIA_REPORT_PARTS_H

#include "media/measure.h"
#include "media/report.h"

#define SORA_REPORT_CELLS (SORA_MEASURE_GRID * SORA_MEASURE_GRID)

/* One per frame; entries about a change belong to the later frame and are 0 for the first. */
struct sora_report_rows {
    double *difference, *residual, *motion;
    double *luma, *sharpness;
    double *lightness, *a, *b, *contrast;
};
#define SORA_REPORT_ROW_COUNT (sizeof(struct sora_report_rows) / sizeof(double *))

struct sora_report {
    struct sora_report_params params;
    struct sora_report_overlap *overlaps;
    struct sora_report_seam *seams;
    double *row_block, *scratch; /* the rows' memory; two rows to work in */
    struct sora_report_rows rows;
    float *smalls; /* [small_count, SORA_REPORT_CELLS] */
    int small_stride, small_count;
    int32_t *cuts;    /* the parameters' */
    bool *is_cut;     /* per frame */
    uint8_t *luma[2]; /* of the previous and this frame */
    int reach;
    int32_t count;
    double fps;
};

/* Each fills its part of the result from the rows of a report with at least 2 frames. */
void sora_report_measure_motion(const struct sora_report *report,
                                struct sora_report_result *result);
void sora_report_measure_seams(struct sora_report *report, struct sora_report_result *result);
void sora_report_measure_flicker(const struct sora_report *report,
                                 struct sora_report_result *result);
void sora_report_measure_sharpness(const struct sora_report *report,
                                   struct sora_report_result *result);
/* Errors: MEMORY. */
int sora_report_measure_repetition(const struct sora_report *report,
                                   struct sora_report_result *result);
int sora_report_measure_colour(const struct sora_report *report, struct sora_report_result *result);

#endif
