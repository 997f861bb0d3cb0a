/* The result as JSON and as a table for a person, both from one table of figures. */
#include "media/report.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

struct figure {
    const char *name, *unit, *meaning;
    size_t offset;
};

#define FIGURE(field, unit, meaning)                                                               \
    {                                                                                              \
#field, unit, meaning, offsetof(struct sora_report_result, field)                          \
    }
static const struct figure figures[] = {
    FIGURE(seconds, "s", "length"),
    FIGURE(motion, "px/frame", "mean block motion"),
    FIGURE(motion_ratio, "", "motion over a native clip's"),
    FIGURE(frozen, "", "part of the frames that do not change"),
    FIGURE(seam_median, "", "seams: change over the usual change, median"),
    FIGURE(seam_max, "", "seams: the worst"),
    FIGURE(seam_chance, "", "seams: what a random place gives"),
    FIGURE(seam_middle_median, "", "at the overlap's middle only, median"),
    FIGURE(seam_middle_max, "", "at the overlap's middle only, worst"),
    FIGURE(seam_compensated_median, "", "motion-compensated, median"),
    FIGURE(seam_compensated_max, "", "motion-compensated, worst"),
    FIGURE(flicker, "", "oscillation with the window period over its neighbours"),
    FIGURE(flicker_difference, "", "of the change between frames"),
    FIGURE(flicker_luma, "", "of the brightness"),
    FIGURE(flicker_sharpness, "", "of the sharpness"),
    FIGURE(drift, "dE/min", "colour drift"),
    FIGURE(drift_lightness, "L*/min", "drift of the lightness"),
    FIGURE(drift_a, "a*/min", "drift from green to red"),
    FIGURE(drift_b, "b*/min", "drift from blue to yellow"),
    FIGURE(drift_chroma, "C*/min", "drift of the colourfulness"),
    FIGURE(drift_contrast, "L*/min", "drift of the contrast"),
    FIGURE(colour_spread, "dE", "largest distance of a second from the median second"),
    FIGURE(sharpness_overlap, "", "sharpness in overlaps over outside"),
    FIGURE(repeat_peak, "", "repetition: correlation peak over its surroundings"),
    FIGURE(repeat_seconds, "s", "repetition: the peak's distance"),
    FIGURE(repeat_window, "", "repetition at multiples of the window period"),
};
#define FIGURE_COUNT (sizeof(figures) / sizeof(figures[0]))

static double figure_value(const struct sora_report_result *result, const struct figure *figure)
{
    return *(const double *)((const char *)result + figure->offset);
}

/* JSON has no NAN and no infinity. */
static int json_number(struct sora_bytes *bytes, double value)
{
    return isfinite(value) ? sora_bytes_format(bytes, "%.6g", value)
                           : sora_bytes_format(bytes, "null");
}

static int json_seam(struct sora_bytes *bytes, const struct sora_report_seam *seam, bool first)
{
    int rc = sora_bytes_format(bytes, "%s\n    {\"frame\": %d, \"ratio\": ", first ? "" : ",",
                               seam->frame);
    if (!rc)
        rc = json_number(bytes, seam->ratio);
    if (!rc)
        rc = sora_bytes_format(bytes, ", \"ratio_compensated\": ");
    if (!rc)
        rc = json_number(bytes, seam->ratio_compensated);
    return rc ? rc : sora_bytes_format(bytes, "}");
}

/* "cpu-avx512-1,sm_90-bf16-1" as an array; what is no part of a class's name is left out. */
static int json_devices(struct sora_bytes *bytes, const char *devices)
{
    int rc = sora_bytes_format(bytes, "  \"devices\": [\"");
    for (const char *c = devices; !rc && *c; c++) {
        if (*c == ',')
            rc = sora_bytes_format(bytes, "\", \"");
        else if (isalnum((unsigned char)*c) || strchr("-_.+:", *c))
            rc = sora_bytes_append(bytes, c, 1);
    }
    return rc ? rc : sora_bytes_format(bytes, "\"],\n");
}

int sora_report_json(const struct sora_report_result *result, struct sora_bytes *bytes)
{
    int rc = sora_bytes_format(bytes, "{\n  \"frames\": %d,\n  \"moving\": %s,\n",
                               result->frame_count, result->moving ? "true" : "false");
    if (!rc && result->devices && *result->devices)
        rc = json_devices(bytes, result->devices);
    for (size_t i = 0; !rc && i < FIGURE_COUNT; i++) {
        rc = sora_bytes_format(bytes, "  \"%s\": ", figures[i].name);
        if (!rc)
            rc = json_number(bytes, figure_value(result, &figures[i]));
        if (!rc)
            rc = sora_bytes_format(bytes, ",\n");
    }
    if (!rc)
        rc = sora_bytes_format(bytes, "  \"seams\": [");
    for (int i = 0; !rc && i < result->seam_count; i++)
        rc = json_seam(bytes, &result->seams[i], i == 0);
    if (!rc)
        rc = sora_bytes_format(bytes, "%s],\n  \"cuts\": [", result->seam_count > 0 ? "\n  " : "");
    for (int i = 0; !rc && i < result->cut_count; i++)
        rc = sora_bytes_format(bytes, "%s%d", i ? ", " : "", result->cuts[i]);
    return rc ? rc : sora_bytes_format(bytes, "]\n}\n");
}

int sora_report_text(const struct sora_report_result *result, struct sora_bytes *bytes)
{
    int rc =
        sora_bytes_format(bytes, "%-24s %10d %-9s %s\n", "frames", result->frame_count, "", "");
    if (!rc)
        rc = sora_bytes_format(bytes, "%-24s %10s %-9s %s\n", "moving",
                               result->moving ? "yes" : "NO", "",
                               result->moving ? "" : "no other figure counts");
    if (!rc && result->cut_count > 0)
        rc = sora_bytes_format(bytes, "%-24s %10d %-9s %s\n", "cuts", result->cut_count, "",
                               "hard cuts, not counted as motion or seams");
    for (size_t i = 0; !rc && i < FIGURE_COUNT; i++) {
        double value = figure_value(result, &figures[i]);
        rc = isfinite(value) ? sora_bytes_format(bytes, "%-24s %10.3f ", figures[i].name, value)
                             : sora_bytes_format(bytes, "%-24s %10s ", figures[i].name, "-");
        if (!rc)
            rc = sora_bytes_format(bytes, "%-9s %s\n", figures[i].unit, figures[i].meaning);
    }
    return rc;
}
