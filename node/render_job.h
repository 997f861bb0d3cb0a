/*
 * Render job: what one render is asked to do, from options or a YAML file, and the plan that
 * results once the model is known (rounded sizes, latent counts, defaults filled in).
 *
 * Plain values owned by the caller. Reading a YAML file blocks; the rest is pure.
 */
#ifndef SORA_NODE_RENDER_JOB_H
#define SORA_NODE_RENDER_JOB_H

#include "base/timeline.h"
#include "model/bundle.h"
#include "model/noise.h"

/* Fields in the order of the table; unset values as base/settings.h says. */
struct sora_render_job {
    char *job; /* YAML file that fills what the options leave unset */
    char *model;
    char *prompt, *negative;
    double seconds;
    int64_t frames;
    struct sora_setting_size size;
    double fps;
    int64_t seed, steps, overlap;
    double guidance, shift;
    int solver;     /* enum sora_solver_kind */
    int noise_kind; /* enum sora_noise_kind */
    double noise_share;
    int64_t threads;
    char *noise, *prompt_embeds;
    char *output, *contact, *report;
    char *dump_latents, *dump_frames;
    int64_t quality;
    int json, quiet, help;
};

extern const struct sora_settings_table sora_render_job_table;

/* What will be rendered: everything set, everything legal for the model. */
struct sora_render_plan {
    struct sora_timeline_params timeline;
    int32_t frame_count;
    int32_t width, height;               /* pixels */
    int32_t latent_width, latent_height; /* latents */
    int32_t channels;
    double fps;
    int32_t steps;
    double guidance, shift;
    enum sora_solver_kind solver;
    enum sora_noise_kind noise_kind;
    double noise_share; /* a of the shared mean */
    uint64_t seed;
};

/* The model's rules that the plan obeys. */
struct sora_render_rules {
    int temporal_factor;  /* frames = temporal_factor * n + 1 */
    int size_multiple[2]; /* width, height: pixels per transformer token */
    int spatial_factor;   /* pixels per latent */
    int channels;
};

/* One sentence for the user about something that was rounded or assumed. */
#define SORA_RENDER_NOTES_MAX 4
struct sora_render_notes {
    int count;
    char texts[SORA_RENDER_NOTES_MAX][480];
};

/* Fills the plan. Errors: INVALID (no length given, both given), LIMIT (too long), each with the
 * way out. The seed, when unset, is 0: the same command gives the same video. */
int sora_render_plan_make(const struct sora_render_job *job, const struct sora_bundle *bundle,
                          const struct sora_render_rules *rules, struct sora_render_plan *out_plan,
                          struct sora_render_notes *out_notes, struct sora_fault *fault);

#endif
