/* The progress line. */
#include "node/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_INTERVAL (SORA_TIME_SECOND / 10)

void sora_progress_init(struct sora_progress *progress, bool enabled)
{
    *progress = (struct sora_progress){.enabled = enabled, .terminal = isatty(STDERR_FILENO)};
}

void sora_progress_begin(struct sora_progress *progress, const char *label)
{
    progress->label = label;
    progress->started = sora_clock_now();
    progress->drawn = 0;
    progress->percent_printed = 0;
}

void sora_progress_format_time(double seconds, char *out_text, int size)
{
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(out_text, (size_t)size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
                 whole % 60);
    else
        snprintf(out_text, (size_t)size, "%ld:%02ld", whole / 60, whole % 60);
}

static void draw_bar(const struct sora_progress *progress, double share, double done, double total,
                     const char *unit, const char *left)
{
    char bar[BAR_WIDTH + 1];
    int filled = (int)(share * BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '.', (size_t)(BAR_WIDTH - filled));
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%-10s [%s] %3.0f%%  %.0f/%.0f %s  %s left", progress->label, bar,
            share * 100, done, total, unit, left);
    fflush(stderr);
}

void sora_progress_update(struct sora_progress *progress, double done, double total,
                          const char *unit)
{
    if (!progress->enabled || done <= 0)
        return;
    sora_time now = sora_clock_now();
    double share = done < total ? done / total : 1;
    double elapsed = (double)(now - progress->started) / (double)SORA_TIME_SECOND;
    char left[32];
    sora_progress_format_time(elapsed * (1 - share) / share, left, sizeof(left));
    if (progress->terminal) {
        if (now - progress->drawn < REDRAW_INTERVAL)
            return;
        progress->drawn = now;
        draw_bar(progress, share, done, total, unit, left);
        return;
    }
    int percent = (int)(share * 10) * 10;
    if (percent > progress->percent_printed && percent < 100) {
        progress->percent_printed = percent;
        fprintf(stderr, "%s: %d%%, %s left\n", progress->label, percent, left);
    }
}

void sora_progress_end(struct sora_progress *progress, const char *summary)
{
    if (!progress->enabled)
        return;
    char took[32];
    double elapsed = (double)(sora_clock_now() - progress->started) / (double)SORA_TIME_SECOND;
    sora_progress_format_time(elapsed, took, sizeof(took));
    fprintf(stderr, "%s%s: %s in %s\n", progress->terminal ? "\r\033[K" : "", progress->label,
            summary, took);
}
