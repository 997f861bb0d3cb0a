/*
 * Farm: the decisions of a home. Nodes, jobs, shards and leases are tables; events go in, actions
 * come out. Free of I/O, clock and floating point: the daemon is one driver, tests/sim another.
 *
 * The owner calls from one thread; nothing blocks; memory is allocated by create only.
 *
 * How messages may fail. What a node should do is one *order* per shard: its whole desired state,
 * with a version. Nodes say in every beat what they hold and which version they know; the farm
 * repeats orders that are not known and revokes what is over. So every message may be lost, doubled
 * and reordered. Durability: the STOREs of a list are committed together, and the rest of the list
 * waits for that.
 *
 * Epochs. Each time a shard is given to a node it gets the job's next epoch, stored first. What
 * arrives with another epoch is ignored. A shard resumes at the job's *floor*, the newest step of
 * which all shards have a checkpoint here (docs/internals/SCHEDULER.md).
 */
#ifndef SORA_SCHEDULER_CORE_FARM_H
#define SORA_SCHEDULER_CORE_FARM_H

#include "base/clock.h"
#include "scheduler/core/farm_states.h"
#include "scheduler/core/plan.h"

#define SORA_FARM_NODE_DEVICES_MAX 8
#define SORA_FARM_SPEEDS_MAX 8
#define SORA_FARM_REPORTS_MAX 16
#define SORA_FARM_ACTIONS_MIN 64 /* smallest capacity of an action list */
#define SORA_FARM_REASON_SIZE 256
#define SORA_FARM_JOBS_LIMIT 4096 /* of jobs_max */
#define SORA_FARM_TEXT_TASK (-1)  /* in place of a shard: compute the text rows */

struct sora_job_id {
    unsigned char bytes[16];
};

/* ---- what a node says ---- */

struct sora_farm_speed {
    uint64_t model; /* digest of model and size */
    int64_t window_us, decode_us;
};
struct sora_farm_device {
    char name[24]; /* "gpu0"; checked by the driver */
    uint64_t device_class;
    uint64_t int8_class; /* that it changes to for jobs that cannot fit otherwise; 0: it may not */
    bool is_card, is_int8;
    int64_t memory_free_bytes; /* while it renders nothing */
    int64_t memory_total_bytes;
    bool offered; /* may be used now (idle policy, hours, state) */
    int32_t speed_count;
    struct sora_farm_speed speeds[SORA_FARM_SPEEDS_MAX];
};
/* Whether the device renders the job in its int8 class, because it cannot fit otherwise. */
bool sora_farm_changes_to_int8(const struct sora_farm_device *device,
                               const struct sora_plan_job *job);
/* A shard (or text task) that the node holds. */
struct sora_farm_report {
    struct sora_job_id job;
    int32_t shard, step, code; /* code: why it stopped */
    uint64_t epoch, version;
    enum sora_farm_work work;
};
struct sora_farm_beat {
    uint64_t boot;     /* random per start of the node */
    uint64_t sequence; /* ascending */
    bool draining;
    int32_t device_count, report_count;
    struct sora_farm_device devices[SORA_FARM_NODE_DEVICES_MAX];
    struct sora_farm_report reports[SORA_FARM_REPORTS_MAX];
};

/* ---- what a user says ---- */

struct sora_farm_job {
    struct sora_job_id id;
    uint64_t owner;            /* who submitted, for the fair order */
    int32_t priority;          /* -100..100, higher first */
    struct sora_plan_job plan; /* first_step and device_class are the farm's */
    uint64_t model;            /* as in sora_farm_speed */
    int32_t checkpoint_steps;  /* 1..steps */
    bool needs_text;
};

/* ---- events ---- */

enum sora_farm_event_kind {
    SORA_FARM_TICK,
    SORA_FARM_BEAT,      /* node, name, beat */
    SORA_FARM_NODE_LEFT, /* node */
    SORA_FARM_SUBMIT,    /* submit */
    SORA_FARM_CANCEL,    /* job */
    SORA_FARM_PAUSE,
    SORA_FARM_RESUME,
    SORA_FARM_PRIORITY,        /* job, step: the new one */
    SORA_FARM_GRANT,           /* node, job, shard, epoch */
    SORA_FARM_REFUSE,          /* and code */
    SORA_FARM_CHECKPOINT,      /* job, shard, epoch, step: the blob is on disk */
    SORA_FARM_SEGMENT,         /* job, shard, epoch: the blob is on disk */
    SORA_FARM_TEXT_DONE,       /* job, epoch: the blob is on disk */
    SORA_FARM_LOST_BLOBS,      /* job, step: the newest of which the home still has all states, at
                                  most the floor, below the last; shard: TEXT_TASK when the texts
                                  are gone too */
    SORA_FARM_ASSEMBLED,       /* job */
    SORA_FARM_ASSEMBLY_FAILED, /* job, code */
    SORA_FARM_FORGET,          /* job: a final one leaves the table */
};

struct sora_farm_event {
    enum sora_farm_event_kind kind;
    uint64_t node; /* the driver's number of a member's key */
    const char *name;
    struct sora_job_id job;
    int32_t shard, step, code;
    uint64_t epoch;
    const struct sora_farm_beat *beat;  /* borrowed */
    const struct sora_farm_job *submit; /* borrowed, copied */
};

/* ---- actions ---- */

enum sora_farm_action_kind {
    SORA_FARM_STORE_JOB,  /* sora_farm_export_job and all its shards, in one transaction */
    SORA_FARM_STORE_PART, /* job, shard, epoch, step: a checkpoint counts from now on */
    SORA_FARM_OFFER,      /* node, boot, device, job, shard, epoch: ask for a lease */
    SORA_FARM_ORDER,      /* node, boot, job, shard: send sora_farm_order_get. A node drops offers
                             and orders for another boot, and refuses epochs that it ended */
    SORA_FARM_REVOKE,     /* node, job, shard, epoch: end it */
    SORA_FARM_RENEW,      /* node, job, shard, epoch: the lease holds for lease_ns from when the
                             node sent beat `sequence` */
    SORA_FARM_CHECKPOINT_ACK, /* node, job, shard, epoch, step */
    SORA_FARM_SEGMENT_ACK,    /* node, job, shard, epoch */
    SORA_FARM_SEGMENT_READY,  /* job, shard: for the assembly */
    SORA_FARM_PRUNE_PARTS,    /* job, step: checkpoints before it may go */
    SORA_FARM_ASSEMBLE,       /* job: all segments are there */
    SORA_FARM_JOB_CHANGED,    /* job: state, floor or reason */
    SORA_FARM_NODE_CHANGED,   /* node: state */
};

struct sora_farm_action {
    enum sora_farm_action_kind kind;
    uint64_t node;
    int32_t device, shard, step;
    struct sora_job_id job;
    uint64_t epoch, boot, sequence;
};

struct sora_farm_actions {
    struct sora_farm_action *items; /* the caller's */
    int32_t capacity, count;
    bool more; /* hand in a TICK at once for the rest */
};

/* ---- the farm ---- */

/* Zero means the default in brackets. */
struct sora_farm_params {
    int32_t nodes_max, jobs_max;      /* [64], [256] */
    sora_time suspect_ns, lost_ns;    /* [5 s], [15 s] of silence */
    sora_time lease_ns;               /* [60 s] */
    sora_time offer_repeat_ns;        /* [2 s] */
    sora_time offer_ns;               /* [10 s]: an offer without answer is a refusal */
    sora_time cool_ns;                /* [10 s]: a device rests after a refusal or failure */
    int32_t failures_max, losses_max; /* [5], [50] of one shard, then the job fails */
};

struct sora_farm;

/* Returns owned. Errors: INVALID, MEMORY. */
int sora_farm_create(const struct sora_farm_params *params, struct sora_farm **out_farm);
void sora_farm_destroy(struct sora_farm **farm);

/* Takes one event in. Errors: FULL (the list's capacity is below the minimum, or a table is full),
 * INVALID, NOT_FOUND (job or node), STALE (an epoch, beat or step that is over), BUSY (the job's
 * state does not allow it); on error nothing changes and no action is given, and `fault` says why.
 */
int sora_farm_step(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_farm_actions *out_actions, struct sora_fault *fault);
sora_time sora_farm_next_deadline(const struct sora_farm *farm);

#endif
