/*
 * Text contexts: what cross-attention reads for every text of a take, and which window reads which.
 * The renderer on one device and the farm's workers choose with this.
 *
 * Owned by whoever created it; borrows the transformer. One thread at a time; creating computes on
 * the device and waits.
 */
#ifndef SORA_NODE_TEXT_CONTEXTS_H
#define SORA_NODE_TEXT_CONTEXTS_H

#include "base/timeline.h"
#include "model/transformer.h"
#include "node/text_rows.h"

/* A run of a take's latents and its text. */
struct sora_text_use {
    struct sora_range latents;
    const struct sora_text_rows *prompt;
    const struct sora_text_rows *negative; /* NULL when guidance is 1 */
};

/* What a window is given; borrowed from the set. */
struct sora_text_context {
    const struct sora_transformer_context *prompt, *negative;
};

struct sora_text_contexts;

/* `uses` follow each other from latent 0 on, at least one. Rows are borrowed for the call; uses
 * that point to the same rows share a context. Returns owned. Errors: MEMORY, DEVICE and those of
 * the transformer. */
int sora_text_contexts_create(struct sora_transformer *transformer,
                              const struct sora_text_use *uses, int32_t count,
                              struct sora_text_contexts **out_contexts, struct sora_fault *fault);
void sora_text_contexts_destroy(struct sora_text_contexts **contexts);

/* The text that holds the window's centre (sora_timeline_window_centre), as
 * sora_job_plan_window_text. */
struct sora_text_context sora_text_contexts_get(const struct sora_text_contexts *contexts,
                                                const struct sora_window *window);

#endif
