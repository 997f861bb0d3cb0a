/*
 * Job plan: what will be rendered, from what is asked (JobSpec or options) and what the model can
 * do: sizes and lengths rounded to the model's rules, gaps filled, shots grouped into takes.
 *
 * A take is what lies between hard cuts: one timeline, sampled in one piece, with one text per
 * shot. Both the renderer on one device and the home of a farm plan with this, so a farm renders
 * what one device renders. Pure; plain values, the texts are borrowed from what was asked.
 */
#ifndef SORA_BASE_JOB_PLAN_H
#define SORA_BASE_JOB_PLAN_H

#include "base/job_options.h"
#include "base/timeline.h"

/* A model's folders of which facts name the size. */
#define SORA_MODEL_TEXT_FOLDER "text_encoder"
#define SORA_MODEL_VAE_FOLDER "vae"

struct sora_job_notes; /* base/job_notes.h */

/* Read from a model's files; also in its manifest (proto/farm.proto, ModelFacts). */
struct sora_model_facts {
    const char *name; /* borrowed, as the texts below */
    int32_t window, overlap, channels;
    int32_t temporal_factor; /* frames = temporal_factor n + 1 */
    int32_t spatial_factor;  /* pixels per latent */
    int32_t multiple_width, multiple_height;
    int32_t width, height;
    double fps;
    int32_t steps;
    double guidance, shift;
    int32_t solver;
    double noise_share;
    int32_t context_latents; /* that decoding from the middle reads */
    int32_t hidden, ffn, layers;
    int32_t decode_pixel_bytes;           /* memory of decoding, for each pixel of a frame */
    uint64_t weight_bytes;                /* of all files */
    uint64_t text_weight_bytes;           /* of these the text encoder's */
    uint64_t vae_weight_bytes;            /* and the VAE's */
    const char *negative, *knows, *words; /* may be "" */
};

/* What is asked; 0, NAN or -1 where nothing is. */
struct sora_job_ask_shot {
    const char *prompt, *negative; /* negative NULL: the model's own */
    double seconds;                /* or */
    int32_t frames;
    uint64_t seed; /* of a shot that continues: not used */
    bool cut;      /* of the first shot: true */
};
struct sora_job_ask {
    int32_t shot_count;
    const struct sora_job_ask_shot *shots;
    int32_t width, height;
    double fps;
    int32_t steps, overlap;
    double guidance, shift, noise_share; /* NAN or 0: the model's own */
    int solver, noise_kind;              /* -1: the model's own */
};

/* A run of latents with one text. */
struct sora_job_text {
    struct sora_range latents;
    int32_t shot; /* index into the ask */
};

struct sora_job_take {
    struct sora_timeline_params timeline;
    int32_t frame_first; /* in the finished video */
    int32_t frame_count; /* that are shown; of several takes, each may make more that is dropped */
    int32_t frames_made; /* temporal_factor (T-1) + 1 */
    uint64_t seed;
    int32_t text_first, text_count; /* in `texts` */
};

struct sora_job_plan {
    int32_t take_count, text_count;
    struct sora_job_take takes[SORA_JOB_SHOTS_MAX];
    struct sora_job_text texts[SORA_JOB_SHOTS_MAX]; /* take by take, ascending latents */
    int32_t frame_count;                            /* of the finished video */
    int32_t width, height, latent_width, latent_height, channels;
    double fps;
    int32_t steps;
    double guidance, shift, noise_share;
    int solver, noise_kind;
    int64_t weight_bytes; /* that a shard needs: the model's without the text encoder's */
    int64_t text_bytes;   /* weights of the text encoder, needed once, before any shard runs */
    /* Of one window's pass and of decoding, which follow each other in one process that keeps the
     * memory of both. Within +-15 % of what the transformer and the VAE take. */
    int64_t activation_bytes;
    /* What a card must have free beside the state: the greatest of the phases, whose weights give
     * way to each other (node/device_plan.h); with weights of 16 bits, and of 8. */
    int64_t card_bytes, card_int8_bytes;
    int64_t state_latent_bytes; /* solver state and predictions of one owned latent */
    int64_t halo_latent_bytes;  /* one latent as float32 */
    /* What one thread of a CPU takes, before anything was measured: a window's pass with guidance,
     * from its multiplications, and decoding one latent, from the VAE's size. Right within a fifth
     * on the reference machine, a factor of a few elsewhere. */
    double window_thread_s, decode_thread_s;
};

/* Checks facts that came from outside: every number in a range with which planning is safe. Errors:
 * LIMIT with field, value and range. */
int sora_model_facts_check(const struct sora_model_facts *facts, struct sora_fault *fault);

/* Fills the plan; the facts must have passed the check. One take alone: its length is rounded to
 * the nearest that the model can do, with a note; with several, each is made long enough and cut to
 * the frame, its length being the sum of its shots' lengths rounded to whole frames. A shot that
 * continues begins at the latent nearest to the end of the shot before it; every shot has at least
 * one latent. Notes are added to those in out_notes. Errors: INVALID (no length, both lengths, the
 * first shot continues nothing), LIMIT (a number out of its range, too long, too many shots). */
int sora_job_plan_make(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                       struct sora_job_plan *out_plan, struct sora_job_notes *out_notes,
                       struct sora_fault *fault);

/* Frames per second as a fraction: n/1, n/1001 for the rates of NTSC (within 0.005), else
 * thousandths. */
void sora_job_frame_rate(double fps, int32_t *out_number, int32_t *out_divisor);

/* The text (index into plan->texts) of a window of a take: that of the middle of its payload. */
int32_t sora_job_plan_window_text(const struct sora_job_plan *plan, int32_t take,
                                  const struct sora_window *window);

/* The ask of options; `shots` needs room for SORA_JOB_SHOTS_MAX and is borrowed by out_ask. A shot
 * without a negative text or seed has the job's; without any, the seed is 0. */
void sora_job_ask_from_options(const struct sora_job_options *options,
                               struct sora_job_ask_shot *shots, struct sora_job_ask *out_ask);

#endif
