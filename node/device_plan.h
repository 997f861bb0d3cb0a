/*
 * Memory plan: what a model takes on a card for one size and length, from its configuration; no
 * weight is read.
 *
 * The phases of a shard follow each other (node/serve.c): texts, sampling, decoding. When a card
 * has no room for the next phase beside what is there, the earlier one gives its weights back, so a
 * card needs the greatest phase alone. Texts and decoding also go in less memory, with the same
 * result: block by block, and frame by frame. Counted are cards with matrix units; on others
 * weights that are stored in f32 stay so.
 */
#ifndef SORA_NODE_DEVICE_PLAN_H
#define SORA_NODE_DEVICE_PLAN_H

#include "hip/gpu/gpu.h"
#include "model/transformer.h"
#include "model/vae.h"

struct sora_device_plan_ask {
    const char *model; /* folder */
    int width, height; /* pixels */
    int frames;
    enum sora_gpu_precision precision;
};

/* Bytes on the card. */
struct sora_device_plan {
    char model[64];
    int latents, window_latents; /* of the video; of one forward */
    uint64_t transformer;        /* weights */
    uint64_t contexts;           /* keys and values of a prompt and a negative prompt, at most */
    uint64_t latent_state;       /* of a shard of one window, with what its neighbours send */
    uint64_t activations;        /* of one forward */
    uint64_t scratch;          /* operands rounded to 16 bits, and a library's workspace and sums */
    uint64_t vae;              /* weights of the decoder */
    uint64_t decoding;         /* past frames and activations of a decoder */
    uint64_t decoding_min;     /* the same, frame by frame */
    uint64_t text_encoder;     /* weights; 0: the model's folder does not tell */
    uint64_t text_block;       /* of one block, when they come one at a time */
    uint64_t text_activations; /* of the longest prompt */
    /* Phases: as they like it, and as they must. Sampling has one way only. */
    uint64_t sampling_peak, decoding_peak, text_peak;
    uint64_t decoding_peak_min, text_peak_min;
};

/* Errors: those of the model's files, INVALID (a size that the model cannot make), LIMIT. */
int sora_device_plan_make(const struct sora_device_plan_ask *ask, struct sora_device_plan *out_plan,
                          struct sora_fault *fault);

/* The same for a shard of an open model. Fills everything but the model's name and the text
 * encoder. Errors: LIMIT (more than a forward pass takes), MEMORY. */
struct sora_device_plan_shard {
    const struct sora_transformer_config *transformer;
    const struct sora_vae_config *vae;
    int height, width;   /* of latents */
    int latents, window; /* held at once; of one forward */
    enum sora_gpu_precision precision;
    const struct sora_device *device; /* a card; NULL: one with a library of products */
};
int sora_device_plan_shard_make(const struct sora_device_plan_shard *shard,
                                struct sora_device_plan *out_plan, struct sora_fault *fault);

/* What a card must have free: the greatest phase, each as small as it gets. */
uint64_t sora_device_plan_needed(const struct sora_device_plan *plan);

#endif
