/*
 * What the files of `sora-worker serve` share: the process's one model and one shard
 * (node/serve_wire.h). Everything belongs to the process's main thread and blocks as it likes.
 */
#ifndef SORA_NODE_SERVE_PARTS_H
#define SORA_NODE_SERVE_PARTS_H

#include "base/child.h"
#include "base/files.h"
#include "model/sampler_transformer.h"
#include "model/vae.h"
#include "node/serve_wire.h"
#include "node/text_rows.h"

/* The open model; all-zero when none is. */
struct sora_serve_model {
    char folder[SORA_FILE_PATH_SIZE]; /* "" when none is open */
    struct sora_bundle bundle;
    struct sora_transformer *transformer;
    struct sora_vae *vae;
    struct sora_text_rows_encoder *encoder; /* open while texts come, one after the other */
};

/* Prompt and negative prompt of a run of latents, made when a window first needs them. */
struct sora_serve_context {
    size_t prompt_offset, negative_offset; /* into the shard's rows */
    struct sora_transformer_context *prompt, *negative;
};

/* The shard under work. While it is sampled there is a sampler; once its last step is done, or when
 * it was loaded, there are its final latents instead. */
struct sora_serve_work {
    struct sora_serve_shard asked; /* checked */
    struct sora_schedule schedule;
    size_t latent_elements;
    float *rows; /* owned: of all texts, one after the other */
    struct sora_serve_context contexts[SORA_SERVE_TEXTS_MAX];
    struct sora_sampler_transformer denoiser; /* set to a window's contexts before it runs */
    struct sora_sampler *sampler;
    bool is_loaded;
    int32_t loading_step;     /* of the state files so far */
    bool *state_present;      /* [owned]: given for loading_step */
    struct sora_range finals; /* latents that `final_values` has room for: context and owned */
    float *final_values;      /* owned; NULL before any came */
    bool *final_present;      /* [finals] */
};

struct sora_serve {
    struct sora_device *device;
    struct sora_device *text_device; /* the CPU, when texts do not fit on `device`; else NULL */
    uint64_t memory_max;             /* of the command line; 0: no limit */
    struct sora_serve_model model;
    struct sora_serve_work *work; /* NULL: no shard is open */
    bool is_void;                 /* a command of the shard failed: the rest is passed over */
    bool is_parent_gone;
    bool is_device_lost; /* nothing works on it any more: the process ends, and another begins */
};

typedef int (*sora_serve_function)(struct sora_serve *serve, const struct sora_frame *frame,
                                   struct sora_fault *fault);

/* Sends an answer; when the parent is gone it notes that, and the process ends soon. */
void sora_serve_answer(struct sora_serve *serve, enum sora_serve_answer kind, const void *head,
                       size_t head_size);
void sora_serve_answer_with(struct sora_serve *serve, const struct sora_frame *frame);

/* The payload as a path. Errors: INVALID (empty, or a NUL in it), LIMIT. */
int sora_serve_path(const struct sora_frame *frame, char out_path[SORA_FILE_PATH_SIZE],
                    struct sora_fault *fault);

/* node/serve_model.c */
void sora_serve_model_close(struct sora_serve_model *model);
int sora_serve_open(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault);
int sora_serve_text(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault);
int sora_serve_schedule(struct sora_serve *serve, const struct sora_frame *frame,
                        struct sora_fault *fault);

/* node/serve_memory.c: what a shard needs, and room on a card for the phase that begins.
 *
 * check refuses a shard that does not fit before anything is taken. Before a phase, and once more
 * after it found no memory, what only other phases need leaves the card: `more` is false when
 * nothing could leave. memory_fault turns MEMORY on a card into a line that says what was needed,
 * what there is and what to do; other errors stay as they are. */
int sora_serve_check_memory(struct sora_serve *serve, const struct sora_serve_shard *asked,
                            struct sora_fault *fault);
void sora_serve_room_for_texts(struct sora_serve *serve, uint64_t need);
void sora_serve_room_for_sampling(struct sora_serve *serve);
bool sora_serve_more_for_sampling(struct sora_serve *serve);
bool sora_serve_more_for_decoding(struct sora_serve *serve);
enum sora_serve_phase { SORA_SERVE_SAMPLING, SORA_SERVE_DECODING };
int sora_serve_memory_fault(const struct sora_serve *serve, enum sora_serve_phase phase, int error,
                            struct sora_fault *fault);

/* node/serve_shard.c */
void sora_serve_work_destroy(struct sora_serve_work **work);
int sora_serve_shard_open(struct sora_serve *serve, const struct sora_frame *frame,
                          struct sora_fault *fault);
int sora_serve_run(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault);
int sora_serve_update(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault);
/* Whether [first,end) of a command is a part of `whole` and not empty; says which it should be. */
int sora_serve_check_range(const char *what, int32_t first, int32_t end, struct sora_range whole,
                           struct sora_fault *fault);
/* Whether the shard is loaded, being sampled and stands at the command's step. */
int sora_serve_check_step(const struct sora_serve_work *work, int32_t step,
                          struct sora_fault *fault);

/* node/serve_state.c: state files and final latents */
int sora_serve_load(struct sora_serve *serve, const struct sora_frame *frame,
                    struct sora_fault *fault);
int sora_serve_loaded(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault);
int sora_serve_state(struct sora_serve *serve, const struct sora_frame *frame,
                     struct sora_fault *fault);
/* Copies the finished latents out of the sampler and drops it. */
int sora_serve_finish(struct sora_serve_work *work, struct sora_fault *fault);
/* Takes a final latent's values. */
int sora_serve_final_put(struct sora_serve_work *work, int32_t latent, const float *values,
                         struct sora_fault *fault);
/* A final latent; NULL with a fault when it is not there. */
const float *sora_serve_final(const struct sora_serve_work *work, int32_t latent,
                              struct sora_fault *fault);

/* node/serve_exchange.c: values to and from other shards */
int sora_serve_put(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault);
int sora_serve_get(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault);

/* node/serve_decode.c */
int sora_serve_decode(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault);

#endif
