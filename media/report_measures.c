/* The evaluation of the collected rows, one part after the other. */
#include "media/report_parts.h"

#include "media/series.h"

#include <math.h>
#include <stdlib.h>

#define SECONDS_MAX 1024  /* colour means kept; longer videos use longer "seconds" */
#define FROZEN_BELOW 0.05 /* grey levels */
#define RATIO_FLOOR 0.02  /* grey levels added above and below a ratio, for still videos */
#define REPEAT_SECONDS_DEFAULT 16.0
#define REPEAT_LOCAL_SECONDS 4.0
#define MOVING_RATIO_MIN 0.8

/* ---- motion ---- */

void sora_report_measure_motion(const struct sora_report *report, struct sora_report_result *result)
{
    int changes = report->count - 1, frozen = 0;
    double sum = 0;
    for (int32_t i = 1; i < report->count; i++) {
        sum += report->rows.motion[i];
        frozen += report->rows.difference[i] < FROZEN_BELOW;
    }
    double reference = report->params.motion_reference;
    result->motion = sum / changes;
    result->frozen = (double)frozen / changes;
    result->motion_ratio = reference > 0 ? result->motion / reference : NAN;
    result->moving =
        reference > 0 ? result->motion_ratio >= MOVING_RATIO_MIN : result->frozen <= 0.5;
}

/* ---- seams ---- */

struct neighbourhood {
    int32_t middle, first, last; /* frames; the change into each of them counts */
};

static struct neighbourhood neighbourhood_of(const struct sora_report *report,
                                             const struct sora_report_overlap *overlap)
{
    int32_t length = overlap->end - overlap->first, last = report->count - 1;
    int32_t middle = overlap->first + length / 2;
    struct neighbourhood around = {middle, middle - length, middle + length};
    around.middle = middle < 1 ? 1 : middle > last ? last : middle;
    around.first = around.first < 1 ? 1 : around.first > last ? last : around.first;
    around.last = around.last > last           ? last
                  : around.last < around.first ? around.first
                                               : around.last;
    return around;
}

/* Median of the row's changes that lie in no neighbourhood; of all when those are too few. */
static double median_away(const struct sora_report *report, const double *row)
{
    double *away = report->scratch;
    int32_t away_count = 0, next = 1;
    for (int i = 0; i <= report->params.overlap_count; i++) {
        bool end = i == report->params.overlap_count;
        struct neighbourhood around = {.first = report->count, .last = report->count};
        if (!end)
            around = neighbourhood_of(report, &report->overlaps[i]);
        for (; next < around.first; next++)
            away[away_count++] = row[next];
        if (around.last >= next)
            next = around.last + 1;
    }
    int32_t changes = report->count - 1;
    if (away_count < 8 || away_count < changes / 10)
        return sora_series_median(row + 1, changes);
    return sora_series_median(away, away_count);
}

static int32_t largest_in(const double *row, int32_t first, int32_t last)
{
    int32_t largest = first;
    for (int32_t i = first + 1; i <= last; i++) {
        if (row[i] > row[largest])
            largest = i;
    }
    return largest;
}

static double ratio_to(double value, double base)
{
    return (value + RATIO_FLOOR) / (base + RATIO_FLOOR);
}

/* What a neighbourhood of the usual size gives at every place, median. */
static double chance_ratio(const struct sora_report *report, double base)
{
    double *lengths = report->scratch, *ratios = report->scratch + report->params.frame_count;
    int count = report->params.overlap_count;
    if (count > report->params.frame_count)
        count = report->params.frame_count;
    for (int i = 0; i < count; i++)
        lengths[i] = report->overlaps[i].end - report->overlaps[i].first;
    int32_t reach = (int32_t)sora_series_median(lengths, count), places = 0;
    for (int32_t middle = 1 + reach; middle + reach < report->count; middle++) {
        int32_t largest = largest_in(report->rows.difference, middle - reach, middle + reach);
        ratios[places++] = ratio_to(report->rows.difference[largest], base);
    }
    return sora_series_median(ratios, places);
}

void sora_report_measure_seams(struct sora_report *report, struct sora_report_result *result)
{
    const double *difference = report->rows.difference, *residual = report->rows.residual;
    int count = report->params.overlap_count;
    result->seam_median = result->seam_max = result->seam_chance = NAN;
    result->seam_middle_median = result->seam_middle_max = NAN;
    result->seam_compensated_median = result->seam_compensated_max = NAN;
    result->seams = report->seams;
    result->seam_count = count;
    if (count == 0)
        return;
    double base = median_away(report, difference);
    double base_compensated = median_away(report, residual);
    result->seam_chance = chance_ratio(report, base);
    /* Overlaps are fewer than frames unless they repeat; what does not fit is left out. */
    double *ratios = report->scratch, *values[3];
    int fits =
        count < report->params.frame_count * 2 / 3 ? count : report->params.frame_count * 2 / 3;
    for (int kind = 0; kind < 3; kind++)
        values[kind] = ratios + (size_t)kind * (size_t)fits;
    double largest[3] = {0};
    for (int i = 0; i < count; i++) {
        struct neighbourhood around = neighbourhood_of(report, &report->overlaps[i]);
        int32_t worst = largest_in(difference, around.first, around.last);
        int32_t worst_compensated = largest_in(residual, around.first, around.last);
        double found[3] = {ratio_to(difference[worst], base),
                           ratio_to(difference[around.middle], base),
                           ratio_to(residual[worst_compensated], base_compensated)};
        report->seams[i] = (struct sora_report_seam){worst, found[0], found[2]};
        for (int kind = 0; kind < 3; kind++) {
            largest[kind] = fmax(largest[kind], found[kind]);
            if (i < fits)
                values[kind][i] = found[kind];
        }
    }
    result->seam_median = sora_series_median(values[0], fits);
    result->seam_middle_median = sora_series_median(values[1], fits);
    result->seam_compensated_median = sora_series_median(values[2], fits);
    result->seam_max = largest[0];
    result->seam_middle_max = largest[1];
    result->seam_compensated_max = largest[2];
}

/* ---- flicker ---- */

static double window_period(const struct sora_report *report)
{
    int gaps = report->params.overlap_count - 1;
    if (report->params.period_frames > 0)
        return report->params.period_frames;
    if (gaps > report->params.frame_count)
        gaps = report->params.frame_count;
    for (int i = 0; i < gaps; i++)
        report->scratch[i] = report->overlaps[i + 1].first - report->overlaps[i].first;
    return sora_series_median(report->scratch, gaps);
}

void sora_report_measure_flicker(const struct sora_report *report,
                                 struct sora_report_result *result)
{
    double period = window_period(report);
    const struct sora_report_rows *rows = &report->rows;
    int count = report->count;
    result->flicker_difference = sora_series_period_ratio(rows->difference + 1, count - 1, period);
    result->flicker_luma = sora_series_period_ratio(rows->luma, count, period);
    result->flicker_sharpness = sora_series_period_ratio(rows->sharpness, count, period);
    result->flicker =
        fmax(result->flicker_difference, fmax(result->flicker_luma, result->flicker_sharpness));
}

/* ---- colour ---- */

struct seconds {
    int count;
    double minutes_each;
    double lightness[SECONDS_MAX], a[SECONDS_MAX], b[SECONDS_MAX];
    double chroma[SECONDS_MAX], contrast[SECONDS_MAX];
};

static double row_mean(const double *row, int32_t first, int32_t end)
{
    double sum = 0;
    for (int32_t i = first; i < end; i++)
        sum += row[i];
    return sum / (end - first);
}

/* Means of a take's whole seconds; what is left at its end does not count. */
static void collect_seconds(const struct sora_report *report, int32_t take, int32_t take_end,
                            double each, struct seconds *out_seconds)
{
    out_seconds->count = 0;
    out_seconds->minutes_each = each / 60;
    for (int i = 0; i < SECONDS_MAX; i++) {
        int32_t first = take + (int32_t)ceil(i * each * report->fps - 1e-6);
        int32_t end = take + (int32_t)ceil((i + 1) * each * report->fps - 1e-6);
        if (end > take_end || end <= first)
            break;
        const struct sora_report_rows *rows = &report->rows;
        out_seconds->lightness[i] = row_mean(rows->lightness, first, end);
        out_seconds->a[i] = row_mean(rows->a, first, end);
        out_seconds->b[i] = row_mean(rows->b, first, end);
        out_seconds->chroma[i] = hypot(out_seconds->a[i], out_seconds->b[i]);
        out_seconds->contrast[i] = row_mean(rows->contrast, first, end);
        out_seconds->count++;
    }
}

static double spread_of(const struct seconds *seconds)
{
    double lightness = sora_series_median(seconds->lightness, seconds->count);
    double a = sora_series_median(seconds->a, seconds->count);
    double b = sora_series_median(seconds->b, seconds->count);
    double spread = 0;
    for (int i = 0; i < seconds->count; i++) {
        double distance =
            hypot(seconds->lightness[i] - lightness, hypot(seconds->a[i] - a, seconds->b[i] - b));
        spread = fmax(spread, distance);
    }
    return spread;
}

/* Adds a take's slopes to the means over takes, which weigh by their length. */
static void add_take(const struct seconds *seconds, int *weight, struct sora_report_result *result)
{
    const struct {
        const double *values;
        double *mean;
    } slopes[] = {
        {seconds->lightness, &result->drift_lightness},
        {seconds->a, &result->drift_a},
        {seconds->b, &result->drift_b},
        {seconds->chroma, &result->drift_chroma},
        {seconds->contrast, &result->drift_contrast},
    };
    if (seconds->count < 3)
        return;
    *weight += seconds->count;
    for (size_t i = 0; i < sizeof(slopes) / sizeof(slopes[0]); i++) {
        double slope = sora_series_slope(slopes[i].values, seconds->count) / seconds->minutes_each;
        double before = isnan(*slopes[i].mean) ? 0 : *slopes[i].mean;
        double share = (double)seconds->count / *weight;
        *slopes[i].mean = before + (slope - before) * share;
    }
    result->colour_spread = fmax(result->colour_spread, spread_of(seconds));
}

int sora_report_measure_colour(const struct sora_report *report, struct sora_report_result *result)
{
    struct seconds *seconds = malloc(sizeof(*seconds));
    if (!seconds)
        return SORA_E_MEMORY;
    result->drift_lightness = result->drift_a = result->drift_b = NAN;
    result->drift_chroma = result->drift_contrast = result->colour_spread = NAN;
    double each = 1;
    while (report->count / (report->fps * each) > SECONDS_MAX)
        each *= 2;
    int weight = 0;
    int32_t take = 0;
    for (int i = 0; i <= report->params.cut_count && take < report->count; i++) {
        int32_t end = i < report->params.cut_count ? report->cuts[i] : report->count;
        end = end < report->count ? end : report->count;
        collect_seconds(report, take, end, each, seconds);
        add_take(seconds, &weight, result);
        take = end;
    }
    result->drift = hypot(result->drift_lightness, hypot(result->drift_a, result->drift_b));
    free(seconds);
    return SORA_OK;
}

/* ---- sharpness ---- */

void sora_report_measure_sharpness(const struct sora_report *report,
                                   struct sora_report_result *result)
{
    double *inside = report->scratch, *outside = report->scratch + report->params.frame_count;
    int inside_count = 0, outside_count = 0, overlap = 0;
    int32_t covered = 0; /* frames below this lie in an overlap that has begun */
    for (int32_t i = 0; i < report->count; i++) {
        for (; overlap < report->params.overlap_count && report->overlaps[overlap].first <= i;
             overlap++) {
            if (report->overlaps[overlap].end > covered)
                covered = report->overlaps[overlap].end;
        }
        if (i < covered)
            inside[inside_count++] = report->rows.sharpness[i];
        else
            outside[outside_count++] = report->rows.sharpness[i];
    }
    double outside_median = sora_series_median(outside, outside_count);
    result->sharpness_overlap =
        outside_median > 0 ? sora_series_median(inside, inside_count) / outside_median : NAN;
}

/* ---- repetition ---- */

enum { LAGS_TOGETHER = 4 };

/* Small pictures less their means, and their energies, from which the normalised cross-correlation
 * of any two follows. */
struct centred {
    double *values; /* [small_count][SORA_REPORT_CELLS] */
    double *energies;
};

static void centre(const struct sora_report *report, struct centred *out_centred)
{
    for (int i = 0; i < report->small_count; i++) {
        const float *small = report->smalls + (size_t)i * SORA_REPORT_CELLS;
        double *values = out_centred->values + (size_t)i * SORA_REPORT_CELLS;
        double sum = 0, energy = 0;
        for (int cell = 0; cell < SORA_REPORT_CELLS; cell++)
            sum += small[cell];
        for (int cell = 0; cell < SORA_REPORT_CELLS; cell++) {
            values[cell] = small[cell] - sum / SORA_REPORT_CELLS;
            energy += values[cell] * values[cell];
        }
        out_centred->energies[i] = energy;
    }
}

/* R(lag) for LAGS_TOGETHER lags from `lag` on: the mean correlation of small pictures so far apart.
 * Several at a time, because each sum alone would wait for its own additions. */
static void correlations(const struct centred *centred, int small_count, int lag, double *out_means)
{
    double sums[LAGS_TOGETHER] = {0};
    for (int i = 0; i + lag < small_count; i++) {
        const double *a = centred->values + (size_t)i * SORA_REPORT_CELLS;
        const double *b = a + (size_t)lag * SORA_REPORT_CELLS;
        int many = small_count - i - lag < LAGS_TOGETHER ? small_count - i - lag : LAGS_TOGETHER;
        double products[LAGS_TOGETHER] = {0};
        for (int cell = 0; many == LAGS_TOGETHER && cell < SORA_REPORT_CELLS; cell++) {
            for (int j = 0; j < LAGS_TOGETHER; j++)
                products[j] += a[cell] * b[j * SORA_REPORT_CELLS + cell];
        }
        for (int j = 0; many < LAGS_TOGETHER && j < many; j++) {
            for (int cell = 0; cell < SORA_REPORT_CELLS; cell++)
                products[j] += a[cell] * b[j * SORA_REPORT_CELLS + cell];
        }
        for (int j = 0; j < many; j++) {
            double left = centred->energies[i], right = centred->energies[i + lag + j];
            sums[j] += left > 1e-6 && right > 1e-6 ? products[j] / sqrt(left * right) : 0;
        }
    }
    for (int j = 0; j < LAGS_TOGETHER; j++)
        out_means[j] = sums[j] / (small_count - lag - j);
}

/* Errors: MEMORY. */
static int correlate(const struct sora_report *report, int count, double *out_values)
{
    size_t smalls = (size_t)report->small_count;
    struct centred centred = {malloc(smalls * SORA_REPORT_CELLS * sizeof(double)),
                              malloc(smalls * sizeof(double))};
    bool made = centred.values && centred.energies;
    if (made)
        centre(report, &centred);
    for (int lag = 0; made && lag < count; lag += LAGS_TOGETHER) {
        double means[LAGS_TOGETHER];
        correlations(&centred, report->small_count, lag, means);
        for (int j = 0; j < LAGS_TOGETHER && lag + j < count; j++)
            out_values[lag + j] = means[j];
    }
    free(centred.values);
    free(centred.energies);
    return made ? SORA_OK : SORA_E_MEMORY;
}

static double above_local_median(const double *values, int count, int index, int local)
{
    int first = index - local < 0 ? 0 : index - local;
    int end = index + local + 1 > count ? count : index + local + 1;
    return values[index] - sora_series_median(values + first, end - first);
}

int sora_report_measure_repetition(const struct sora_report *report,
                                   struct sora_report_result *result)
{
    double rate = report->fps / report->small_stride; /* small pictures per second */
    double seconds_min = report->params.repeat_seconds_min > 0 ? report->params.repeat_seconds_min
                                                               : REPEAT_SECONDS_DEFAULT;
    double period = window_period(report) / report->small_stride;
    /* The longest lags have too few pairs to mean anything. */
    int count = report->small_count - report->small_count / 8 - 8;
    int local = (int)fmax(2, REPEAT_LOCAL_SECONDS * rate);
    double lag_min = seconds_min * rate;
    result->repeat_peak = result->repeat_seconds = result->repeat_window = NAN;
    double *values = report->scratch;
    if (count > 0 && correlate(report, count, values))
        return SORA_E_MEMORY;
    for (int lag = (int)ceil(lag_min); lag < count; lag++) {
        double peak = above_local_median(values, count, lag, local);
        if (isnan(result->repeat_peak) || peak > result->repeat_peak) {
            result->repeat_peak = peak;
            result->repeat_seconds = lag / rate;
        }
    }
    for (int i = 1; period >= 2 && lround(i * period) < count; i++) {
        double peak = above_local_median(values, count, (int)lround(i * period), local);
        result->repeat_window = fmax(result->repeat_window, peak);
    }
    return SORA_OK;
}
