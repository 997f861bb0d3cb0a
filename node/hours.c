/* Reading of offer hours; everything is minutes of a day. */
#include "node/hours.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

bool sora_hours_open(const struct sora_hours *hours, int minute)
{
    for (int i = 0; i < hours->count; i++) {
        int first = hours->ranges[i].first, end = hours->ranges[i].end;
        if (first < end ? minute >= first && minute < end : minute >= first || minute < end)
            return true;
    }
    return hours->count == 0;
}

int sora_hours_next(const struct sora_hours *hours, int minute)
{
    int next = minute, wait = SORA_HOURS_DAY;
    for (int i = 0; i < hours->count; i++) {
        int until = (hours->ranges[i].first - minute + SORA_HOURS_DAY) % SORA_HOURS_DAY;
        if (until < wait) {
            wait = until;
            next = hours->ranges[i].first;
        }
    }
    return next;
}

int sora_hours_minute(int64_t wall_s)
{
    struct tm local;
    time_t at = (time_t)wall_s;
    return localtime_r(&at, &local) ? local.tm_hour * 60 + local.tm_min : 0;
}

/* "19:00"; `out_end` is behind it. */
static bool parse_time(const char *text, int *out_minute, const char **out_end)
{
    int hour, minute, length = 0;
    if (sscanf(text, "%2d:%2d%n", &hour, &minute, &length) != 2 || length != 5)
        return false;
    bool sound =
        hour >= 0 && hour <= 24 && minute >= 0 && minute < 60 && hour * 60 + minute <= 1440;
    *out_minute = (hour * 60 + minute) % SORA_HOURS_DAY;
    *out_end = text + length;
    return sound;
}

static bool parse_ranges(const char *text, struct sora_hours *out)
{
    for (const char *at = text;; at++) {
        if (out->count == SORA_HOURS_RANGES_MAX ||
            !parse_time(at, &out->ranges[out->count].first, &at))
            return false;
        if (*at++ != '-' || !parse_time(at, &out->ranges[out->count].end, &at))
            return false;
        out->count++;
        if (*at != ',')
            return *at == '\0';
    }
}

int sora_hours_parse(const char *text, struct sora_hours *out_hours, struct sora_fault *fault)
{
    struct sora_hours hours = {0};
    if (*text && !parse_ranges(text, &hours))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "hours '%.80s' are not understood; write \"19:00-08:00\", at most %d "
                              "ranges with commas between",
                              text, SORA_HOURS_RANGES_MAX);
    *out_hours = hours;
    return SORA_OK;
}
