/*
 * Render: one video on one device, without a farm. This is what a farm's result is compared with.
 *
 * Blocks until done. One render at a time per process is expected (it uses all threads it is
 * given).
 */
#ifndef SORA_NODE_RENDER_H
#define SORA_NODE_RENDER_H

#include "node/progress.h"
#include "node/render_job.h"

#include <signal.h>

/* What the caller watches and steers while it runs. */
struct sora_render_control {
    struct sora_progress *progress;         /* borrowed */
    const volatile sig_atomic_t *cancelled; /* borrowed; nonzero ends the render with CANCELLED */
};

/* What came out, for the summary and --json. Strings are owned. */
struct sora_render_result {
    struct sora_render_plan plan;
    struct sora_render_notes notes;
    char device_class[64];
    char model_name[200];
    int text_tokens, window_passes;
    double load_seconds, text_seconds, sample_seconds, decode_seconds;
    uint64_t peak_memory; /* bytes resident at most */
};

/* Renders `job`. Every file that it was writing is removed when it fails or is cancelled. Errors as
 * the parts give them; `fault` holds the sentence. */
int sora_render_run(const struct sora_render_job *job, const struct sora_render_control *control,
                    struct sora_render_result *out_result, struct sora_fault *fault);

#endif
