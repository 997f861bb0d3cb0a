/*
 * Texts of a render: the rows of every prompt and negative prompt of a job, each different text
 * encoded once, and from them the contexts of each take. Owned by whoever created it; blocks while
 * encoding.
 */
#ifndef SORA_NODE_RENDER_TEXTS_H
#define SORA_NODE_RENDER_TEXTS_H

#include "base/job_plan.h"
#include "node/text_contexts.h"

struct sora_render_texts;

struct sora_render_texts_params {
    const struct sora_bundle *bundle; /* its negative text where a shot has none */
    struct sora_device *device;
    struct sora_transformer *transformer;
    const struct sora_job_ask *ask;
    const struct sora_job_plan *plan;
    const char *embeds_path; /* NULL, or a file with the rows of a job of one shot */
};

/* Returns owned; borrows what params point to. Errors: those of tokenizer and text encoder, of the
 * file; INVALID for a file with several shots. */
int sora_render_texts_create(const struct sora_render_texts_params *params,
                             struct sora_render_texts **out_texts, struct sora_fault *fault);
void sora_render_texts_destroy(struct sora_render_texts **texts);

/* Rows of all prompts together. */
int sora_render_texts_tokens(const struct sora_render_texts *texts);

/* The contexts of a take; returns owned. */
int sora_render_texts_contexts(const struct sora_render_texts *texts, int32_t take,
                               struct sora_text_contexts **out_contexts, struct sora_fault *fault);

#endif
