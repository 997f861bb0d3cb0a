/*
 * Serve wire: what the daemon and its `sora-worker serve` child say to each other, as frames of
 * base/child.h. Commands are carried out in order; each names its answer. A child holds at most one
 * model and one shard. Values are host float32, latents [C,H,W].
 *
 * A command that fails is answered by FAILED. When it was one of a shard, the shard is gone, and
 * what follows for it is passed over in silence until CLOSE or another SHARD; other commands leave
 * the child as it was, but for OPEN, after which no model is open. FAILED for command 0 is the
 * answer of a child that could not start, in place of READY.
 *
 * A state file is raw float32, [end-first][state elements of model/sampler.h]; that of the last
 * step [end-first][C,H,W], final latents only. The files that a command names must lie in the
 * folders of the child's command line (node/sandbox.h).
 */
#ifndef SORA_NODE_SERVE_WIRE_H
#define SORA_NODE_SERVE_WIRE_H

#include "base/timeline.h"
#include "model/schedule.h"

#define SORA_SERVE_TEXTS_MAX 256

enum sora_serve_command {
    SORA_SERVE_OPEN = 1,    /* payload: model folder. OPENED. An open shard is dropped; a model
                               of another folder too, one of the same folder stays warm */
    SORA_SERVE_TEXT,        /* sora_serve_number; payload: UTF-8 text. ROWS */
    SORA_SERVE_SCHEDULE,    /* sora_serve_schedule. SCHEDULED */
    SORA_SERVE_SHARD,       /* sora_serve_shard; payload: struct sora_schedule, then for each
                               text prompt rows and negative rows, float32. SHARD_OPENED */
    SORA_SERVE_LOAD,        /* sora_serve_span (step > 0, first, end: of the file); payload: path
                               of a state file, of which the owned latents are taken; with step ==
                               steps: final latents, those of the decoder's context too. No answer
                               */
    SORA_SERVE_LOADED,      /* sora_serve_span (step): all state of the step was given; with step
                               0 the noise is made. IS_LOADED */
    SORA_SERVE_PUT_LATENTS, /* sora_serve_span, payload: [end-first] latents. No answer */
    SORA_SERVE_PUT_PREDICTIONS, /* sora_serve_span with window. No answer */
    SORA_SERVE_PUT_FINAL,       /* sora_serve_span: for decoding; latents from
                                   sora_vae_decoder_warmup before the owned ones on. No answer */
    SORA_SERVE_RUN,             /* sora_serve_span (step, window). RAN */
    SORA_SERVE_GET_LATENTS,     /* sora_serve_span with token. VALUES */
    SORA_SERVE_GET_PREDICTIONS, /* VALUES */
    SORA_SERVE_GET_FINAL,       /* VALUES; after the last step */
    SORA_SERVE_UPDATE,          /* sora_serve_span (step): fuse and update. UPDATED */
    SORA_SERVE_STATE,           /* sora_serve_span (step); payload: path to write, of all owned
                                   latents. STATE_WRITTEN */
    SORA_SERVE_DECODE,          /* sora_serve_decode; payload: path prefix. PIECE ..., DECODED.
                                   After a failure pieces that were told remain */
    SORA_SERVE_CLOSE,           /* drop the shard. CLOSED */
    SORA_SERVE_MEMORY,          /* what others leave of a card now. MEMORY_IS */
};

enum sora_serve_answer {
    SORA_SERVE_READY = 101, /* sora_serve_ready: first frame of a child */
    SORA_SERVE_OPENED,      /* sora_serve_opened */
    SORA_SERVE_ROWS,        /* sora_serve_rows; payload [rows][width] */
    SORA_SERVE_SCHEDULED,   /* payload: struct sora_schedule */
    SORA_SERVE_SHARD_OPENED,
    SORA_SERVE_IS_LOADED,     /* sora_serve_span (step) */
    SORA_SERVE_RAN,           /* sora_serve_span (step, window, microseconds) */
    SORA_SERVE_VALUES,        /* the command's sora_serve_span; payload */
    SORA_SERVE_UPDATED,       /* sora_serve_span (step, microseconds) */
    SORA_SERVE_STATE_WRITTEN, /* sora_serve_span (step, first, end); payload: the path; not
                                 synced to disk */
    SORA_SERVE_PIECE,         /* sora_serve_piece; payload: path of a finished segment file */
    SORA_SERVE_DECODED,       /* sora_serve_span (microseconds: of the whole decoding) */
    SORA_SERVE_CLOSED,
    SORA_SERVE_MEMORY_IS, /* sora_serve_number (bytes), as memory_free of READY */
    SORA_SERVE_FAILED,    /* sora_serve_failed; payload: the sentence */
};

struct sora_serve_number {
    int64_t value;
};
struct sora_serve_schedule {
    int32_t solver, steps;
    double shift;
};
struct sora_serve_span {
    uint64_t token; /* handed back with the answer */
    int32_t step, window, first, end;
    int64_t microseconds;
};
/* In order and without gaps over the whole timeline. A window has the text of its payload's middle
 * latent, (payload_start + payload_end - 1) / 2. */
struct sora_serve_text_range {
    int32_t first, end;                 /* latents of the timeline */
    int32_t prompt_rows, negative_rows; /* 0 when guidance is 1 */
};
struct sora_serve_shard {
    struct sora_timeline_params timeline;
    struct sora_range owned;
    int32_t channels, height, width; /* of a latent */
    int32_t noise_kind;
    double noise_share, guidance;
    uint64_t seed;
    int32_t shot; /* of the noise's key */
    int32_t text_count, text_width;
    struct sora_serve_text_range texts[SORA_SERVE_TEXTS_MAX];
};
struct sora_serve_decode {
    struct sora_range owned;
    int32_t context_first; /* 0, or at least one latent before owned; exact from the warm-up on */
    int32_t frame_width, frame_height, fps, fps_divisor;
    int32_t piece_latents; /* latents of a segment file */
};
struct sora_serve_ready {
    char kind[16], name[128], arch[64], device_class[64], int8_class[64];
    uint64_t memory_total, memory_free; /* free: with what this process itself holds of a card */
    int32_t threads;
    char sandbox[64]; /* "landlock seccomp rlimits" */
};
struct sora_serve_opened {
    char name[128];
    uint64_t weight_bytes;
};
struct sora_serve_rows {
    int64_t value; /* the command's */
    int32_t rows, width;
};
struct sora_serve_piece {
    int32_t index;                    /* from 0 */
    int32_t frame_first, frame_count; /* of the timeline */
    int32_t last;
};
struct sora_serve_failed {
    uint32_t command;
    int32_t code;
};

#endif
