/*
 * Hours: when a device is offered, as "19:00-08:00" or "12:00-13:00,19:00-08:00", local time.
 *
 * A range that ends before it begins goes over midnight; one that ends where it begins is the whole
 * day. Plain values; any thread; nothing blocks.
 */
#ifndef SORA_NODE_HOURS_H
#define SORA_NODE_HOURS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SORA_HOURS_RANGES_MAX 4
#define SORA_HOURS_DAY 1440 /* minutes */

/* All-zero: always. */
struct sora_hours {
    int count;
    struct {
        int first, end; /* minutes of the day; end is not included */
    } ranges[SORA_HOURS_RANGES_MAX];
};

/* "" is always. Errors: INVALID with the text and an example. */
int sora_hours_parse(const char *text, struct sora_hours *out_hours, struct sora_fault *fault);

/* Whether `minute` of the day (0..1439) lies in the hours. */
bool sora_hours_open(const struct sora_hours *hours, int minute);

/* The minute of the day at which the hours begin next, seen from `minute` when they are closed. */
int sora_hours_next(const struct sora_hours *hours, int minute);

/* The local minute of the day of a wall time in Unix seconds. */
int sora_hours_minute(int64_t wall_s);

#endif
