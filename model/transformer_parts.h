/*
 * Inside of the transformer, shared by model/transformer*.c only.
 *
 * Tensor names and shapes: d = width, f = ffn_width; formulas in model/transformer_forward.c.
 */
#ifndef SORA_MODEL_TRANSFORMER_PARTS_H
#define SORA_MODEL_TRANSFORMER_PARTS_H

#include "hip/arena.h"
#include "model/linear.h"
#include "model/transformer.h"

/* Rows of a block's modulation, in the order of the time projection. */
enum sora_modulation {
    SORA_MODULATION_SHIFT_ATTENTION,
    SORA_MODULATION_SCALE_ATTENTION,
    SORA_MODULATION_GATE_ATTENTION,
    SORA_MODULATION_SHIFT_FFN,
    SORA_MODULATION_SCALE_FFN,
    SORA_MODULATION_GATE_FFN,
    SORA_MODULATION_COUNT,
};
/* Rows of the head's modulation. */
enum { SORA_MODULATION_HEAD_SHIFT, SORA_MODULATION_HEAD_SCALE, SORA_MODULATION_HEAD_COUNT };

struct sora_transformer_attention {
    struct sora_linear to_q, to_k, to_v, to_out; /* [d,d] */
    struct sora_tensor norm_q, norm_k;           /* [d], over all heads */
};

struct sora_transformer_block {
    struct sora_transformer_attention self, cross;
    struct sora_tensor cross_norm_weight, cross_norm_bias; /* [d]; absent: cross_attn_norm false */
    struct sora_linear ffn_in, ffn_out;                    /* [f,d], [d,f] */
};

/* The shape that the activation arena is laid out for. */
struct sora_transformer_plan {
    int frames, rows, columns; /* the grid of tokens */
    int64_t tokens;
    int64_t ffn_rows; /* tokens that one product of the feed-forward part takes */
    size_t size;      /* bytes of the arena */
};

struct sora_transformer {
    struct sora_transformer_config config;
    int64_t width;                         /* d = heads * head_size */
    int64_t patch_in_width;                /* in_channels * patch volume */
    int64_t patch_out_width;               /* out_channels * patch volume */
    struct sora_device *device;            /* borrowed */
    struct sora_checkpoint *checkpoint;    /* owned */
    struct sora_weights *weights;          /* owned */
    enum sora_weights_form form;           /* of the blocks' matrices */
    bool is_loaded;                        /* the weights are on the device */
    struct sora_linear patch;              /* [d, patch_in_width] */
    struct sora_linear time_in, time_out;  /* [d,freq_width], [d,d] */
    struct sora_linear time_project;       /* [6d,d] */
    struct sora_linear text_in, text_out;  /* [d,text_width], [d,d] */
    struct sora_linear head;               /* [patch_out_width,d] */
    struct sora_transformer_block *blocks; /* owned, config.layers of them */

    /* What depends on the timestep alone: computed when it changes, shared by every forward of the
     * step. Each is [6*layers + 2, d] f32: the blocks' rows, then the head's. */
    struct sora_buffer *state_buffer; /* owned; holds the tensors up to `embedding` */
    struct sora_tensor tables;        /* the learned tables, widened to f32 */
    struct sora_tensor modulation;    /* tables + time embedding */
    struct sora_tensor sinusoid;      /* [1,freq_width] */
    struct sora_tensor time_hidden;   /* [1,d] */
    struct sora_tensor time_embedded; /* [1,d]: e */
    struct sora_tensor time_six;      /* [1,6d]: e0 */
    float *sinusoid_host;             /* owned, [freq_width] */
    bool timestep_known;
    double timestep;

    /* Activations. */
    struct sora_arena arena;
    struct sora_transformer_plan plan; /* tokens 0: none yet */
    struct sora_tensor rope_cos, rope_sin;
    size_t rope_mark; /* arena height above the rope tables, which live as long as the plan */
};

/* One layer's keys and values of a prompt, [text_keys,H,D]. */
struct sora_transformer_keys {
    struct sora_tensor text_keys, text_values;
};

struct sora_transformer_context {
    const struct sora_transformer *transformer; /* borrowed: whose keys these are */
    struct sora_buffer *buffer;                 /* owned */
    struct sora_tensor key_bias;                /* [text_keys] */
    int text_keys;
    struct sora_transformer_keys *layers; /* owned, one per block */
};

/* model/transformer_weights.c: finds the open checkpoint's linears and blocks. The caller's destroy
 * frees them also after an error. */
int sora_transformer_weights_load(struct sora_transformer *transformer, struct sora_fault *fault);

/* The same for the modulation tables, which are widened into `tables` where that has memory. */
int sora_transformer_tables_load(struct sora_transformer *transformer, struct sora_fault *fault);

/* model/transformer_time.c: brings `modulation` to this timestep. */
int sora_transformer_time_set(struct sora_transformer *transformer, struct sora_stream *stream,
                              double timestep);

/* model/transformer_plan.c: lays the arena out for [T,C,H,W] latents and uploads their rope tables;
 * nothing happens when the shape is that of the last call. */
int sora_transformer_plan_set(struct sora_transformer *transformer, struct sora_stream *stream,
                              int latents, int height, int width, struct sora_fault *fault);

#endif
