/*
 * Render: one video on one device, without a farm. This is what a farm's result is compared with.
 *
 * The takes of a job (base/job_plan.h) follow each other: each is a timeline of its own, with noise
 * of its own (the take's seed and its index as the key's shot) and its own decode stream, whose
 * first frame_count frames are shown.
 *
 * Blocks until done. One render at a time per process is expected (it uses all threads it is
 * given).
 */
#ifndef SORA_NODE_RENDER_H
#define SORA_NODE_RENDER_H

#include "base/job_notes.h"
#include "node/progress.h"
#include "node/render_options.h"

#include <signal.h>

/* What the caller watches and steers while it runs. */
struct sora_render_control {
    struct sora_progress *progress;         /* borrowed */
    const volatile sig_atomic_t *cancelled; /* borrowed; nonzero ends the render with CANCELLED */
};

/* What came out, for the summary and --json. Strings are owned. */
struct sora_render_result {
    struct sora_job_plan plan;
    struct sora_job_notes notes;
    int32_t latent_count; /* of all takes */
    char device_class[64];
    char model_name[200];
    int text_tokens, window_passes;
    double load_seconds, text_seconds, sample_seconds, decode_seconds;
    uint64_t peak_memory; /* bytes resident at most */
};

/* Renders what the options ask. Every file that it was writing is removed when it fails or is
 * cancelled. Errors as the parts give them; `fault` holds the sentence. */
int sora_render_run(const struct sora_render_options *options,
                    const struct sora_render_control *control,
                    struct sora_render_result *out_result, struct sora_fault *fault);

#endif
