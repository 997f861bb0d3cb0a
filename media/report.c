/* Collects a row of numbers per frame, then turns the rows into the report. */
#include "media/report_parts.h"

#include "media/motion.h"

#include <stdlib.h>
#include <string.h>

/* Small pictures kept; longer videos keep every n-th. */
#define SMALL_MAX 1024

/* ---- life ---- */

static int check_places(const struct sora_report_params *params, struct sora_fault *fault)
{
    for (int i = 0; i < params->overlap_count; i++) {
        const struct sora_report_overlap *overlap = &params->overlaps[i];
        if (overlap->first < 0 || overlap->first >= overlap->end ||
            overlap->end > params->frame_count ||
            (i > 0 && overlap->first < params->overlaps[i - 1].first))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "report: overlap %d is frames %d to %d of %d; overlaps must "
                                  "ascend and lie inside",
                                  i, overlap->first, overlap->end, params->frame_count);
    }
    for (int i = 0; i < params->cut_count; i++) {
        int32_t before = i > 0 ? params->cuts[i - 1] : -1;
        if (params->cuts[i] <= before || params->cuts[i] >= params->frame_count)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "report: cut %d is at frame %d of %d; cuts must ascend and lie "
                                  "inside",
                                  i, params->cuts[i], params->frame_count);
    }
    return SORA_OK;
}

static int check_params(const struct sora_report_params *params, struct sora_fault *fault)
{
    const struct sora_bound bounds[] = {
        {"width", params->width, SORA_MOTION_BLOCK, 16384},
        {"height", params->height, SORA_MOTION_BLOCK, 16384},
        {"frame count", params->frame_count, 1, SORA_REPORT_FRAMES_MAX},
        {"frame rate", params->fps, 1, 1000000},
        {"frame rate divisor", params->fps_divisor, 0, 1000000},
        {"overlap count", params->overlap_count, 0, SORA_REPORT_OVERLAPS_MAX},
        {"cut count", params->cut_count, 0, SORA_REPORT_CUTS_MAX},
    };
    int rc = sora_fault_bounds("report", bounds, sizeof(bounds) / sizeof(bounds[0]), fault);
    if (rc)
        return rc;
    return check_places(params, fault);
}

static int allocate(struct sora_report *report)
{
    const struct sora_report_params *params = &report->params;
    size_t frames = (size_t)params->frame_count, overlaps = (size_t)params->overlap_count;
    size_t pixels = (size_t)params->width * (size_t)params->height;
    size_t smalls = (frames + (size_t)report->small_stride - 1) / (size_t)report->small_stride;
    report->row_block = calloc(frames * SORA_REPORT_ROW_COUNT, sizeof(double));
    report->scratch = calloc(frames * 2, sizeof(double));
    report->smalls = calloc(smalls * SORA_REPORT_CELLS, sizeof(float));
    report->luma[0] = malloc(pixels);
    report->luma[1] = malloc(pixels);
    report->overlaps = calloc(overlaps + 1, sizeof(*report->overlaps));
    report->seams = calloc(overlaps + 1, sizeof(*report->seams));
    report->cuts = calloc((size_t)params->cut_count + 1, sizeof(*report->cuts));
    report->is_cut = calloc(frames, sizeof(*report->is_cut));
    if (!report->row_block || !report->scratch || !report->smalls || !report->luma[0] ||
        !report->luma[1] || !report->overlaps || !report->seams || !report->cuts || !report->is_cut)
        return SORA_E_MEMORY;
    double *row = report->row_block;
    report->rows = (struct sora_report_rows){row,
                                             row + frames,
                                             row + 2 * frames,
                                             row + 3 * frames,
                                             row + 4 * frames,
                                             row + 5 * frames,
                                             row + 6 * frames,
                                             row + 7 * frames,
                                             row + 8 * frames};
    if (overlaps > 0)
        memcpy(report->overlaps, params->overlaps, overlaps * sizeof(*report->overlaps));
    report->params.overlaps = report->overlaps;
    for (int i = 0; i < params->cut_count; i++) {
        report->cuts[i] = params->cuts[i];
        report->is_cut[params->cuts[i]] = true;
    }
    report->params.cuts = report->cuts;
    return SORA_OK;
}

int sora_report_create(const struct sora_report_params *params, struct sora_report **out_report,
                       struct sora_fault *fault)
{
    int rc = check_params(params, fault);
    if (rc)
        return rc;
    struct sora_report *report = calloc(1, sizeof(*report));
    if (!report)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the report");
    report->params = *params;
    report->small_stride = (params->frame_count + SMALL_MAX - 1) / SMALL_MAX;
    report->reach = sora_motion_reach(params->width, params->height);
    report->fps = (double)params->fps / (params->fps_divisor ? params->fps_divisor : 1);
    rc = allocate(report);
    if (rc) {
        sora_report_destroy(&report);
        return sora_fault_set(fault, rc, "not enough memory for a report on %d frames",
                              params->frame_count);
    }
    *out_report = report;
    return SORA_OK;
}

void sora_report_destroy(struct sora_report **report)
{
    struct sora_report *r = *report;
    if (!r)
        return;
    free(r->row_block);
    free(r->scratch);
    free(r->smalls);
    free(r->luma[0]);
    free(r->luma[1]);
    free(r->overlaps);
    free(r->seams);
    free(r->cuts);
    free(r->is_cut);
    free(r);
    *report = NULL;
}

/* ---- frames ---- */

/* What changed from the frame before; into a hard cut it is what changed there before. */
static void measure_change(struct sora_report *report, int32_t i)
{
    struct sora_report_rows *rows = &report->rows;
    if (report->is_cut[i]) {
        rows->difference[i] = rows->difference[i - 1];
        rows->residual[i] = rows->residual[i - 1];
        rows->motion[i] = rows->motion[i - 1];
        return;
    }
    int width = report->params.width, height = report->params.height;
    const uint8_t *now = report->luma[i % 2], *before = report->luma[1 - i % 2];
    struct sora_motion motion = sora_motion_estimate(before, now, width, height, report->reach);
    rows->difference[i] = sora_measure_difference(before, now, (size_t)width * (size_t)height);
    rows->residual[i] = motion.residual;
    rows->motion[i] = motion.speed;
}

void sora_report_add(struct sora_report *report, const uint8_t *rgb)
{
    int width = report->params.width, height = report->params.height;
    int32_t i = report->count;
    if (i >= report->params.frame_count)
        return;
    size_t pixels = (size_t)width * (size_t)height;
    uint8_t *now = report->luma[i % 2];
    struct sora_measure_small small;
    sora_measure_luma(rgb, pixels, now);
    sora_measure_shrink(rgb, now, width, height, &small);
    struct sora_report_rows *rows = &report->rows;
    rows->sharpness[i] = sora_measure_sharpness(now, width, height);
    rows->lightness[i] = small.lightness;
    rows->a[i] = small.a;
    rows->b[i] = small.b;
    rows->contrast[i] = small.contrast;
    double luma = 0;
    for (int cell = 0; cell < SORA_REPORT_CELLS; cell++)
        luma += small.luma[cell] / SORA_REPORT_CELLS;
    rows->luma[i] = luma;
    if (i > 0)
        measure_change(report, i);
    if (i % report->small_stride == 0)
        memcpy(report->smalls + (size_t)report->small_count++ * SORA_REPORT_CELLS, small.luma,
               sizeof(small.luma));
    report->count++;
}

int sora_report_finish(struct sora_report *report, struct sora_report_result *out_result,
                       struct sora_fault *fault)
{
    if (report->count < 2)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a report needs at least 2 frames; there are %d", report->count);
    struct sora_report_result result = {.frame_count = report->count,
                                        .seconds = report->count / report->fps,
                                        .cuts = report->cuts,
                                        .cut_count = report->params.cut_count};
    sora_report_measure_motion(report, &result);
    sora_report_measure_seams(report, &result);
    sora_report_measure_flicker(report, &result);
    sora_report_measure_sharpness(report, &result);
    if (sora_report_measure_repetition(report, &result) ||
        sora_report_measure_colour(report, &result))
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the report");
    *out_result = result;
    return SORA_OK;
}
