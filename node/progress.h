/*
 * Progress: one line on standard error that says what is being done, how far and how long still.
 *
 * On a terminal the line is redrawn at most ten times a second; elsewhere a plain line is printed
 * every ten percent. A plain value; one thread.
 */
#ifndef SORA_NODE_PROGRESS_H
#define SORA_NODE_PROGRESS_H

#include "base/clock.h"

#include <stdbool.h>

struct sora_progress {
    bool enabled, terminal;
    const char *label; /* borrowed, while the phase runs */
    sora_time started, drawn;
    int percent_printed;
};

/* enabled false: nothing is ever printed. */
void sora_progress_init(struct sora_progress *progress, bool enabled);

/* Starts a phase, for example "denoising". */
void sora_progress_begin(struct sora_progress *progress, const char *label);

/* done in [0, total], total > 0; `unit` names what is counted ("window passes"). */
void sora_progress_update(struct sora_progress *progress, double done, double total,
                          const char *unit);

/* Ends the phase with a line that gives its time. */
void sora_progress_end(struct sora_progress *progress, const char *summary);

/* "1:05" or "0:07" or "1:02:03" for seconds >= 0. */
void sora_progress_format_time(double seconds, char *out_text, int size);

#endif
