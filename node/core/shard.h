/*
 * Shard machine: what the owner of one shard has to do next. Free of I/O: it knows step numbers,
 * windows and ranges, never a tensor or a socket. The node's driver (daemon or simulator) hands it
 * events and carries out its actions; same params and events give the same actions.
 *
 * The owner of an instance calls from one thread; nothing blocks; memory is allocated by create
 * only.
 *
 * Flow control and loss. Halos to one link leave in order (step 0: latents, windows ascending; step
 * 1: ...). A link may be fed at most SORA_SHARD_AHEAD steps past the step it is known to stand at.
 * Every halo says where its sender stands; one that waits too long sends AT with `again` and what
 * it has, and the sender repeats from the first halo that is missing. So halos may be lost, doubled
 * and reordered.
 *
 * Recovery. All checkpoints are taken at multiples of checkpoint_steps, so they form a consistent
 * cut. The home's *floor* of a job is the newest step of which every shard has a durable
 * checkpoint; whoever is replaced resumes at the floor. Hence a shard keeps its halos since the
 * floor, can feed any newcomer, and no set of failures leaves a gap (docs/internals/SCHEDULER.md).
 */
#ifndef SORA_NODE_CORE_SHARD_H
#define SORA_NODE_CORE_SHARD_H

#include "base/clock.h"
#include "base/timeline.h"

#define SORA_SHARD_LINKS_MAX 16
#define SORA_SHARD_AHEAD 4       /* steps of halos held: the current one and the next */
#define SORA_SHARD_SNAPSHOTS 4   /* checkpoints taken and not yet acknowledged */
#define SORA_SHARD_ACTIONS_MIN 4 /* smallest capacity of an action list */

/* X(name, text, states it may move to) */
#define SORA_SHARD_STATES(X)                                                                       \
    X(LOADING, "loading", SORA_SHARD_TO(RUNNING) | SORA_SHARD_TO(STOPPED))                         \
    X(RUNNING, "running",                                                                          \
      SORA_SHARD_TO(PARKED) | SORA_SHARD_TO(DECODING) | SORA_SHARD_TO(STOPPED))                    \
    X(PARKED, "parked", SORA_SHARD_TO(STOPPED))                                                    \
    X(DECODING, "decoding", SORA_SHARD_TO(DONE) | SORA_SHARD_TO(STOPPED))                          \
    X(DONE, "done", SORA_SHARD_TO(STOPPED))                                                        \
    X(STOPPED, "stopped", 0)

enum sora_shard_state {
#define SORA_SHARD_STATE_ENUM(name, text, next) SORA_SHARD_##name,
    SORA_SHARD_STATES(SORA_SHARD_STATE_ENUM)
#undef SORA_SHARD_STATE_ENUM
        SORA_SHARD_STATE_COUNT
};

/* "running"; asserts the range. */
const char *sora_shard_state_text(enum sora_shard_state state);

/* Another shard of the job that halos are exchanged with. */
struct sora_shard_link {
    int32_t shard;           /* its index in the job */
    struct sora_range owned; /* its latents */
    uint64_t epoch;          /* of its current owner */
};

struct sora_shard_params {
    struct sora_timeline_params timeline; /* checked */
    int32_t steps;                        /* S, 1..1000 */
    struct sora_range owned;
    uint64_t epoch;
    int32_t resume_step;           /* 0: from noise; S: final latents are there, only decode */
    int32_t checkpoint_steps;      /* c, 1..S; the last step's result is always a checkpoint */
    int32_t context_latents;       /* latents left of the shard that its decoding reads */
    int64_t latent_bytes;          /* of one latent in a halo */
    int64_t kept_bytes_max;        /* of the kept-halo log */
    int32_t windows_in_flight_max; /* 0 means 2 */
    sora_time lease_until;
    sora_time retry_ns;    /* 0 means 2 s: how long to wait before asking again */
    sora_time progress_ns; /* 0 means 1 s */
    int32_t link_count;
    struct sora_shard_link links[SORA_SHARD_LINKS_MAX];
};

enum sora_shard_event_kind {
    SORA_SHARD_TICK,             /* time has passed, or room for actions */
    SORA_SHARD_LOADED,           /* the state of `step` is in place */
    SORA_SHARD_WINDOW_DONE,      /* step, window */
    SORA_SHARD_UPDATED,          /* step: its predictions are fused, x of step+1 is there */
    SORA_SHARD_CHECKPOINT_TAKEN, /* step: a copy of the state was made */
    SORA_SHARD_DECODED,
    SORA_SHARD_DEVICE_FAILED,    /* the worker is gone: the shard stops */
    SORA_SHARD_HALO,             /* link, epoch, halo, step, window, range: arrived */
    SORA_SHARD_AT,               /* link, epoch, step, again, have: where the link stands */
    SORA_SHARD_NEIGHBOUR,        /* link, epoch, step: a new owner that resumes at step */
    SORA_SHARD_CHECKPOINT_ACKED, /* step is durable at the home */
    SORA_SHARD_SEGMENT_ACKED,
    SORA_SHARD_FLOOR, /* step */
    SORA_SHARD_LEASE, /* until; never shortens */
    SORA_SHARD_PARK,  /* stop at the next checkpoint (drain, pause) */
    SORA_SHARD_CANCEL,
};

enum sora_shard_halo { SORA_SHARD_LATENTS, SORA_SHARD_PREDICTIONS, SORA_SHARD_FINAL };

struct sora_shard_event {
    enum sora_shard_event_kind kind;
    enum sora_shard_halo halo;
    int32_t link, step, window;
    struct sora_range range;
    uint64_t epoch;
    bool again;
    uint64_t have; /* with `again`, of the step: bit 0 the latents, bit 1+i the i-th window */
    sora_time until;
};

enum sora_shard_action_kind {
    SORA_SHARD_LOAD,            /* put x and solver state of `step` in place, then LOADED */
    SORA_SHARD_RUN_WINDOW,      /* step, window; the kept halos of the step hold its inputs */
    SORA_SHARD_UPDATE,          /* step: fuse and update, then UPDATED */
    SORA_SHARD_LOG_HALO,        /* link, halo, step, window, range: copy it to the kept log, before
                                   any later UPDATE */
    SORA_SHARD_SEND_HALO,       /* the same and epoch (the receiver's): send it from the log */
    SORA_SHARD_SEND_AT,         /* link, epoch (the receiver's), step, again, have */
    SORA_SHARD_KEEP_HALO,       /* keep the arrived halo until its step is over; without this
                                   action it is dropped */
    SORA_SHARD_TAKE_CHECKPOINT, /* step: copy the state, then CHECKPOINT_TAKEN */
    SORA_SHARD_SEND_CHECKPOINT, /* step: send the copy home; repeated until acknowledged */
    SORA_SHARD_DECODE,          /* range: own latents; window: the first context latent */
    SORA_SHARD_SEND_SEGMENT,    /* repeated until acknowledged */
    SORA_SHARD_PROGRESS,        /* state, step, windows done in it (`window`) to the home */
    SORA_SHARD_PRUNE,           /* halos kept for others and copies before `step` may go */
    SORA_SHARD_STOP,            /* code: why; the worker is free */
};

struct sora_shard_action {
    enum sora_shard_action_kind kind;
    enum sora_shard_halo halo;
    int32_t link, step, window, code;
    struct sora_range range;
    uint64_t epoch, have;
    bool again;
};

/* The caller owns the array. step fills from `count` = 0. */
struct sora_shard_actions {
    struct sora_shard_action *items;
    int32_t capacity; /* at least SORA_SHARD_ACTIONS_MIN */
    int32_t count;
    bool more; /* the list was full: hand in a TICK at once for the rest */
};

struct sora_shard;

/* Returns owned, LOADING; the first TICK gives the LOAD action. Copies params. Errors: INVALID,
 * LIMIT (the kept log cannot hold checkpoint_steps + 2 steps, or a link has more than 63 windows a
 * step; with the numbers), MEMORY. */
int sora_shard_create(const struct sora_shard_params *params, struct sora_shard **out_shard,
                      struct sora_fault *fault);
void sora_shard_destroy(struct sora_shard **shard);

/* Takes one event in. Errors: FULL (capacity below the minimum), INVALID (a link, step or window
 * that cannot be), STALE (an epoch or step that is over); on error nothing changes and no action is
 * given. */
int sora_shard_step(struct sora_shard *shard, sora_time now, const struct sora_shard_event *event,
                    struct sora_shard_actions *out_actions);

/* When to hand in the next TICK at the latest. */
sora_time sora_shard_next_deadline(const struct sora_shard *shard);

/* Reads, for progress, simulation and tests. */
struct sora_shard_view {
    enum sora_shard_state state;
    int32_t step, windows_done, windows_count, floor_step;
    int64_t kept_bytes;
    sora_time lease_until;
    bool waits; /* for halos of others, with nothing else to do */
};
struct sora_shard_view sora_shard_view(const struct sora_shard *shard);

/* The link of a shard of the job, -1 when there is none. */
int32_t sora_shard_find_link(const struct sora_shard *shard, int32_t job_shard);

/* Bytes that the shard sends to others at `step` by the plan, for counting on the wire. */
int64_t sora_shard_step_bytes(const struct sora_shard *shard, int32_t step);

#endif
