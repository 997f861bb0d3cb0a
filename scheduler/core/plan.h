/*
 * Plan: which device renders which part of a timeline. Pure integer arithmetic, any thread; the
 * caller owns every struct; nothing allocates or blocks.
 *
 * Shards are contiguous. A shard costs
 *     sum over steps of (windows it runs x window_us + borders x halo_us) + latents x decode_us
 * and the plan minimises the largest cost by a dynamic program over places to cut and devices
 * (fastest first; each may be left out). Places to cut are the middles of the overlaps of even
 * steps, where the fewest latents travel. Devices of one class share a job, so that its result does
 * not depend on who rendered it; classes are mixed where that ends the job a tenth sooner, or where
 * no class can hold it alone. Ties: fewer shards, then the earlier device, then the earlier cut;
 * the class with the lower finish time, then the lower class number.
 */
#ifndef SORA_SCHEDULER_CORE_PLAN_H
#define SORA_SCHEDULER_CORE_PLAN_H

#include "base/bytes.h"
#include "base/timeline.h"

#define SORA_PLAN_DEVICES_MAX 64
#define SORA_PLAN_SHARDS_MAX 64
#define SORA_PLAN_NEIGHBOURS_MAX 16
#define SORA_PLAN_NAME_SIZE 64
/* What a CPU is to a card where neither was measured: within a factor of a few it gives the first
 * work to the right one. */
#define SORA_PLAN_CARD_FASTER 20

/* What a job asks of a device. */
struct sora_plan_job {
    struct sora_timeline_params timeline; /* checked */
    int32_t steps, first_step;            /* steps first_step .. steps-1 are to be done */
    int32_t context_latents;              /* read at the start of every shard but the first */
    int64_t memory_fixed_bytes;           /* weights and one window's activations */
    int64_t memory_card_bytes;            /* the same on a card; 0: as elsewhere */
    int64_t memory_text_bytes;            /* that encoding the texts would like to have */
    int64_t memory_int8_bytes;            /* on a card that holds weights in 8 bits; 0: as a card */
    int64_t memory_latent_bytes;          /* state of one owned latent */
    int64_t halo_latent_bytes;            /* one latent on the wire */
    /* Of a CPU that was not measured; a card is taken to be SORA_PLAN_CARD_FASTER. 0: 1 s, none. */
    int64_t window_us_guess, decode_us_guess;
    uint64_t device_class; /* 0: any and mixed; else the job's, and no other */
};

struct sora_plan_device {
    char name[SORA_PLAN_NAME_SIZE]; /* "brook/gpu0" */
    uint64_t device_class;          /* digest of kind, architecture and kernel version; not 0 */
    bool is_card, is_int8;          /* has memory of its own; holds weights in 8 bits there */
    int64_t memory_free_bytes;
    int64_t window_us, decode_us; /* measured for the job's model and size; 0: not measured */
    int64_t link_bytes_per_s;     /* to its neighbours; 0 means 50 MB/s */
};

struct sora_plan_shard {
    struct sora_range latents;
    int32_t device; /* index into the devices */
    int32_t windows_even, windows_odd;
    int64_t step_us, cost_us; /* average over the steps; whole cost */
    int64_t halo_bytes;       /* that it sends at an even and an odd step together */
};

enum sora_plan_left_out {
    SORA_PLAN_USED,
    SORA_PLAN_TOO_SLOW,  /* the job ends sooner without it */
    SORA_PLAN_NO_MEMORY, /* not even the smallest shard fits */
    SORA_PLAN_OTHER_CLASS,
};

struct sora_plan {
    int32_t shard_count;
    struct sora_plan_shard shards[SORA_PLAN_SHARDS_MAX];
    enum sora_plan_left_out left_out[SORA_PLAN_DEVICES_MAX];
    int64_t step_us, finish_us; /* of the slowest shard; steps and decoding */
    uint64_t device_class;      /* 0: several */
};

/* Plans for `count` devices (0..SORA_PLAN_DEVICES_MAX). Errors: INVALID; NOT_FOUND (no device can
 * take part: the fault says why in words, as for a waiting job); LIMIT (devices fit, and all of
 * them together cannot hold the job). */
int sora_plan_make(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                   int32_t count, struct sora_plan *out_plan, struct sora_fault *fault);

/* The smallest shard: with it windows reach no further than the next shard. */
int32_t sora_plan_shard_latents_min(const struct sora_timeline_params *timeline);

/* Whether a device can take the range, and what it would cost; for moving a shard. */
bool sora_plan_fits(const struct sora_plan_job *job, const struct sora_plan_device *device,
                    struct sora_range latents);
/* What the device needs for a shard of so many latents. */
int64_t sora_plan_memory_bytes(const struct sora_plan_job *job,
                               const struct sora_plan_device *device, int32_t latents);
/* Whether the smallest shard needs more than a card of so much memory has, while its weights are
 * not in int8. */
bool sora_plan_wants_int8(const struct sora_plan_job *job, int64_t memory_bytes);
int64_t sora_plan_cost_us(const struct sora_plan_job *job, const struct sora_plan_device *device,
                          struct sora_range latents);

/* Indices of the ranges that exchange halos or decode context with range `index`, ascending.
 * Errors: LIMIT when there are more than SORA_PLAN_NEIGHBOURS_MAX. */
int sora_plan_neighbours(const struct sora_plan_job *job, const struct sora_range *ranges,
                         int32_t count, int32_t index, int32_t *out_indices, int32_t *out_count);

/* Words for people: sums, one line per shard, one per device left out. Appends to `out`. Errors:
 * FULL, MEMORY. */
int sora_plan_explain(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                      int32_t count, const struct sora_plan *plan, struct sora_bytes *out);

/* "6.1 GB", "12.5 s", "4 min 10 s" into `out`; returns it. */
#define SORA_PLAN_TEXT_SIZE 32
const char *sora_plan_bytes_text(int64_t bytes, char out[SORA_PLAN_TEXT_SIZE]);
const char *sora_plan_time_text(int64_t us, char out[SORA_PLAN_TEXT_SIZE]);

#endif
