/*
 * Memory plan: what a model takes on a card for one size and length, from its configuration and the
 * sizes of its files; no weight is read.
 *
 * The phases of a shard follow each other (node/serve.c): texts, sampling, decoding. The
 * transformer's weights and activations stay while its latents are decoded; the text encoder is
 * there for the texts alone, and runs on the CPU when the card has no room for it.
 */
#ifndef SORA_NODE_DEVICE_PLAN_H
#define SORA_NODE_DEVICE_PLAN_H

#include "hip/gpu/gpu.h"

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
    uint64_t transformer;        /* weights as in the files */
    uint64_t contexts;           /* keys and values of a prompt and a negative prompt, at most */
    uint64_t activations;        /* of one forward */
    uint64_t scratch;            /* operands rounded to 16 bits */
    uint64_t vae;                /* weights: as in the files, and packed */
    uint64_t decoding;           /* past frames and activations of a decoder */
    uint64_t text_encoder;       /* weights */
    uint64_t sampling_peak, decoding_peak, text_peak;
};

/* Errors: those of the model's files, INVALID (a size that the model cannot make), LIMIT. */
int sora_device_plan_make(const struct sora_device_plan_ask *ask, struct sora_device_plan *out_plan,
                          struct sora_fault *fault);

/* What a card must have free: the greater of sampling and decoding. */
uint64_t sora_device_plan_needed(const struct sora_device_plan *plan);

#endif
