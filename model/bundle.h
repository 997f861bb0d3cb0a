/*
 * Bundle: what a model directory says about itself, before any weight is read.
 *
 * A model is a directory in the diffusers layout (model_index.json, transformer/, vae/,
 * text_encoder/, tokenizer/, scheduler/), optionally with a sora.yaml that gives window length,
 * overlap and good defaults. Opening reads small files only. A plain value, owned by the caller.
 */
#ifndef SORA_MODEL_BUNDLE_H
#define SORA_MODEL_BUNDLE_H

#include "base/settings.h"
#include "model/schedule.h"

struct sora_bundle {
    char *directory;
    char *name;              /* sora.yaml: name, else the directory's last part */
    int64_t window_latents;  /* L */
    int64_t overlap_latents; /* O */
    struct sora_setting_size size;
    double fps;
    int64_t steps;
    double guidance, shift;
    double noise_share; /* a of the shared-mean noise (model/noise.h) */
    int solver;         /* enum sora_solver_kind */
    char *negative;
    char *knows; /* one sentence about what a small model knows; NULL for a general one */
    char *words; /* the words it was trained on, separated by spaces; NULL for a general one */
};

/* Opens directory `path`. Gaps are filled from scheduler/scheduler_config.json (solver, shift) and
 * Wan's defaults (21 latents, overlap 5, 832x480, 16 fps, 50 steps, guidance 5, shift 3, noise
 * share 0.5). Errors: NOT_FOUND, FORMAT, and UNSUPPORTED for a pipeline other than WanPipeline or
 * one with two transformers, each naming the file and value. */
int sora_bundle_open(const char *path, struct sora_bundle *out_bundle, struct sora_fault *fault);
void sora_bundle_fini(struct sora_bundle *bundle);

/* "<directory>/<part>" into out_path (cut at size; a longer path fails later as not found). */
void sora_bundle_path(const struct sora_bundle *bundle, const char *part, char *out_path,
                      size_t size);

#endif
