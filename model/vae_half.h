/*
 * VAE half: the blocks of the encoder or the decoder with their weights. Private to model/vae*.c.
 *
 * Owned by the VAE; borrows its device and weights. Loading takes views of stored tensors and
 * checks their shapes; packing makes the device's own layout of the convolution weights and may
 * take a second for a large model.
 */
#ifndef SORA_MODEL_VAE_HALF_H
#define SORA_MODEL_VAE_HALF_H

#include "model/checkpoint.h"
#include "model/vae_blocks.h"

/* A convolution or matrix. Order of execution: RESNET conv1, conv2; UP time_conv, resample; DOWN
 * resample, time_conv; CONV, HEAD one. */
struct sora_vae_conv {
    struct sora_tensor weight;  /* as stored, [O,I,kt,kh,kw] or [O,I,kh,kw]; absent: not there */
    struct sora_tensor bias;    /* [O] */
    struct sora_packed *packed; /* owned; NULL until packed */
};
struct sora_vae_matrix {
    struct sora_tensor weight; /* [O,I] */
    struct sora_tensor bias;   /* [O] */
};

struct sora_vae_block_weights {
    struct sora_tensor norms[2]; /* [C] gammas */
    struct sora_vae_conv convs[2];
    struct sora_vae_matrix matrices[2]; /* POINT; RESNET shortcut; ATTENTION to_qkv, proj */
};

struct sora_vae_half {
    struct sora_vae_blocks blocks;
    struct sora_weights *stored;            /* borrowed */
    struct sora_vae_block_weights *weights; /* owned, one per block */
    bool packed;
};

/* Takes `blocks` (emptied) and finds the tensors of each block. Errors: those of sora_weights_get,
 * MEMORY. fini accepts a zeroed or half-built half. */
int sora_vae_half_init(struct sora_vae_half *half, struct sora_vae_blocks *blocks,
                       struct sora_weights *weights, struct sora_fault *fault);
void sora_vae_half_fini(struct sora_vae_half *half);

/* Packs what is not packed yet. Where the device copies weights this brings them there, and takes
 * the stored form of a convolution away once it is packed. Errors: MEMORY, DEVICE; nothing is
 * packed then. */
int sora_vae_half_pack(struct sora_vae_half *half, struct sora_device *device,
                       struct sora_fault *fault);
/* Destroys what pack made. */
void sora_vae_half_unpack(struct sora_vae_half *half);

#endif
