/*
 * VAE blocks: the layers of one half (encoder or decoder) as a flat list, and what follows from
 * that list alone: sizes, memory, cost, reach into the past. Private to model/vae*.c.
 *
 * The list is owned by its half. Pure host arithmetic, nothing blocks.
 */
#ifndef SORA_MODEL_VAE_BLOCKS_H
#define SORA_MODEL_VAE_BLOCKS_H

#include "model/vae.h"

/* Frames of the past that a 3-frame causal convolution looks at. */
#define SORA_VAE_PAST 2

enum sora_vae_kind {
    SORA_VAE_POINT,     /* 1x1x1 convolution: quant_conv, post_quant_conv */
    SORA_VAE_CONV,      /* causal 3x3x3: conv_in */
    SORA_VAE_RESNET,    /* norm, SiLU, 3x3x3, norm, SiLU, 3x3x3, + x (1x1x1 of x if in != out) */
    SORA_VAE_ATTENTION, /* per frame, one head: x + proj(attention(qkv(norm(x)))) */
    SORA_VAE_UP,        /* optional 3x1x1 to twice the frames; nearest x2 and 3x3 */
    SORA_VAE_DOWN,      /* 3x3 of stride 2; optional 3x1x1 of stride 2 in time */
    SORA_VAE_HEAD,      /* norm, SiLU, causal 3x3x3 */
};

struct sora_vae_block {
    enum sora_vae_kind kind;
    char name[56]; /* prefix of its tensors */
    int in, out;   /* channels */
    int rows;      /* POINT: output channels stored, of which the first `out` are used */
    bool temporal; /* UP, DOWN: changes the frame rate too */
};

/* What flows between two blocks: frames of one pass and pixels, channels-last. */
struct sora_vae_extent {
    int64_t frames, height, width;
};

struct sora_vae_blocks {
    struct sora_vae_block *items; /* owned */
    int count;
};

/* Builds a list; fini frees it and accepts an empty one. Errors: MEMORY. */
int sora_vae_blocks_init_decoder(struct sora_vae_blocks *blocks,
                                 const struct sora_vae_config *config);
int sora_vae_blocks_init_encoder(struct sora_vae_blocks *blocks,
                                 const struct sora_vae_config *config);
void sora_vae_blocks_fini(struct sora_vae_blocks *blocks);

/* The extent after `block`. `first` tells a shot's first pass, which keeps its one frame. */
struct sora_vae_extent sora_vae_block_extent(const struct sora_vae_block *block,
                                             struct sora_vae_extent in, bool first);

/* Caches of a block: shape [frames,H,W,C] of the past of convolution `index` (0 or 1, in the order
 * of execution) for input `in`; frames 0 means that there is none. */
struct sora_vae_cache {
    int64_t frames, height, width, channels;
};
struct sora_vae_cache sora_vae_block_cache(const struct sora_vae_block *block,
                                           struct sora_vae_extent in, int index);

/* Staged warm-up of a decoder: convolution `index` (0 or 1) of block i must run from pass
 * from[index] on, counted from the first latent whose frames are wanted (0), so <= 0. In earlier
 * passes it needs to remember its input only, and no later block has anything to do. 0 for
 * convolutions that do not look back. */
struct sora_vae_stage {
    int from[2];
};

/* Fills one stage per block (of a decoder's list) and returns how many latents of context give the
 * bits of the whole stream. */
int sora_vae_blocks_stages(const struct sora_vae_blocks *blocks, struct sora_vae_stage *out_stages);

/* Multiply-adds times two of `context` latents, whose extent before the first block is `in`. */
double sora_vae_blocks_context_work(const struct sora_vae_blocks *blocks,
                                    const struct sora_vae_stage *stages, struct sora_vae_extent in,
                                    int context);

/* Bytes of a f32 tensor of `count` elements with the alignment that coders use; of one with
 * elements of another size. */
size_t sora_vae_bytes(int64_t count);
size_t sora_vae_bytes_of(int64_t count, size_t element_size);

/* The scratch of a coder: three equal regions, for a pass that starts with `in`.
 *
 * A decoder may run frame by frame from behind its last doubling of the frame rate on (block
 * `split`): no later block needs more than a frame and its past. What the doubling gave then waits
 * in a place of its own, and so do the finished frames. */
struct sora_vae_scratch {
    size_t region;
    size_t held, result; /* 0 for whole passes */
    int split;           /* the last UP that doubles frames; -1 for whole passes */
};
/* `by_frame` is without effect where no block doubles the rate. */
void sora_vae_blocks_scratch(const struct sora_vae_blocks *blocks, struct sora_vae_extent in,
                             bool by_frame, struct sora_vae_scratch *out_scratch);
size_t sora_vae_scratch_size(const struct sora_vae_scratch *scratch);

/* `first` and `next`: extents of a shot's first and of a later pass, before the first block;
 * `element_size`: bytes of an element of past frames and packed weights. flops_context is left 0.
 */
struct sora_vae_passes {
    struct sora_vae_extent first, next;
    size_t element_size;
};
void sora_vae_blocks_plan(const struct sora_vae_blocks *blocks,
                          const struct sora_vae_passes *passes, struct sora_vae_plan *out_plan);

#endif
