/* Shared by the files of the farm only: its tables and the moves that change them. */
#ifndef SORA_SCHEDULER_CORE_FARM_PARTS_H
#define SORA_SCHEDULER_CORE_FARM_PARTS_H

#include "scheduler/core/farm_records.h"

#define SORA_FARM_NEVER INT64_MAX

struct farm_device {
    struct sora_farm_device info;
    bool busy; /* offered or given to a task */
    sora_time cool_until;
};

struct farm_node {
    bool used, changed_due;
    uint64_t id, boot, sequence;
    char name[SORA_PLAN_NAME_SIZE - 28]; /* "name/device" fits a plan's device name */
    enum sora_node_state state;
    sora_time last_heard;
    int32_t device_count;
    struct farm_device devices[SORA_FARM_NODE_DEVICES_MAX];
};

#define FARM_MISFITS_MAX 16

/* A node on which a job's input could not be used, in one of its starts. */
struct farm_misfit {
    uint64_t node, boot;
};

struct farm_task {
    enum sora_task_state state;
    struct sora_range latents;
    uint64_t node, boot, epoch, version; /* epoch 0: nobody */
    int32_t device;
    int32_t resume_step, step;
    int32_t durable_step; /* newest checkpoint of the present owner, or its resume step */
    int32_t stored_step;  /* newest checkpoint of this cut, whoever made it */
    int32_t failures, losses;
    bool confirmed; /* the node has reported it */
    bool parked, segment_done;
    bool order_due, offer_due, segment_due;
    uint64_t full_node; /* whose disk was full when it had the task last; 0: none */
    bool elsewhere;     /* its last result was no number: any other device may take it at once */
    sora_time offered_at, offer_at; /* first sent, next repetition */
};

struct farm_job {
    bool used;
    struct sora_farm_job job;
    enum sora_job_state state;
    uint64_t sequence, epoch_next, cut;
    uint64_t device_class;   /* that renders it; 0: not planned yet, or several */
    sora_time class_gone_at; /* since when no device of it is up; 0: not now */
    int32_t floor, shard_count;
    bool text_done, pause_wanted, resume_wanted;
    bool started; /* the present cut has been assigned once */
    bool dirty;   /* some *_due below or in a task */
    bool store_due, changed_due, prune_due, assemble_due;
    char reason[SORA_FARM_REASON_SIZE];
    struct farm_misfit misfits[FARM_MISFITS_MAX];
    int32_t misfit_count;
    struct farm_task text;
    struct farm_task shards[SORA_PLAN_SHARDS_MAX];
};

struct sora_farm {
    struct sora_farm_params params;
    struct farm_node *nodes;
    struct farm_job *jobs;
    uint64_t sequence_next;
    bool schedule_due;
    sora_time schedule_at; /* look again, while something waits */
};

/* ---- farm_moves.c: the only places where states change ---- */

struct farm_job *farm_find_job(const struct sora_farm *farm, const struct sora_job_id *id);
struct farm_node *farm_find_node(const struct sora_farm *farm, uint64_t id);
struct farm_device *farm_find_device(const struct sora_farm *farm, uint64_t node, int32_t device);
/* The shard, or the text for SORA_FARM_TEXT_TASK; NULL when there is none. */
struct farm_task *farm_find_task(struct farm_job *job, int32_t shard);

void farm_move_node(struct farm_node *node, enum sora_node_state to);
void farm_move_job(struct sora_farm *farm, struct farm_job *job, enum sora_job_state to);
void farm_move_task(struct farm_job *job, struct farm_task *task, enum sora_task_state to);
/* Sets the reason and tells watchers when it is another. NULL fault means none. */
void farm_set_reason(struct farm_job *job, const struct sora_fault *fault);

/* The next epoch, OFFERED to a device that becomes busy. */
void farm_offer(struct sora_farm *farm, sora_time now, struct farm_job *job, struct farm_task *task,
                uint64_t node, int32_t device);
/* Takes the task from its node, whatever it was doing: WAITING. */
void farm_release(struct sora_farm *farm, struct farm_job *job, struct farm_task *task);
/* All shards are taken back and their borders forgotten. */
void farm_drop_cut(struct sora_farm *farm, struct farm_job *job);
/* Final: FAILED or CANCELLED, everything taken back. */
void farm_end_job(struct sora_farm *farm, struct farm_job *job, enum sora_job_state to,
                  const struct sora_fault *fault);
/* The node lost the task (`code` 0) or failed at it. May fail the job. */
void farm_task_lost(struct sora_farm *farm, sora_time now, struct farm_job *job,
                    struct farm_task *task, int code);
/* An offer was answered; `code` says why it was refused, 0 when nobody said. */
void farm_granted(struct sora_farm *farm, struct farm_job *job, struct farm_task *task);
void farm_refused(struct sora_farm *farm, sora_time now, struct farm_job *job,
                  struct farm_task *task, int code);
/* The task's order changed. */
void farm_touch_order(struct farm_job *job, struct farm_task *task);
/* A pause that was asked for is reached; every shard was taken back. */
void farm_pause_here(struct sora_farm *farm, struct farm_job *job);
/* What follows from new checkpoints, segments and parked shards. */
void farm_settle_job(struct sora_farm *farm, struct farm_job *job);

/* ---- farm_place.c ---- */

/* Gives waiting tasks and queued jobs devices, and waiting jobs a reason. */
void farm_schedule(struct sora_farm *farm, sora_time now);
/* Jobs in the order in which they are served; returns how many are queued. */
int32_t farm_queue(const struct sora_farm *farm, int32_t *out_indices);
/* Devices for the planner: `all` with the busy ones, but none on which `job` (NULL: a job that is
 * not here) cannot be rendered. `out_ids` may be NULL. */
struct farm_device_id {
    uint64_t node;
    int32_t device;
};
struct farm_listing {
    const struct farm_job *job; /* NULL: not accepted yet */
    const struct sora_farm_job *asked;
    bool all;
};
int32_t farm_list_devices(const struct sora_farm *farm, sora_time now,
                          const struct farm_listing *listing, struct sora_plan_device *out_devices,
                          struct farm_device_id *out_ids);
/* Whether some node, busy or not, could still render the job. */
bool farm_has_fit(const struct sora_farm *farm, sora_time now, const struct farm_job *job);
/* The node could not use the job's input. */
bool farm_is_misfit(const struct farm_job *job, const struct farm_node *node);

/* ---- farm_nodes.c ---- */

int farm_take_beat(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_farm_actions *out, struct sora_fault *fault);
int farm_node_left(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_fault *fault);
void farm_watch_nodes(struct sora_farm *farm, sora_time now);
int farm_check_beat(const struct sora_farm_beat *beat, struct sora_fault *fault);

/* ---- farm_jobs.c: events about jobs ---- */

int farm_take_job_event(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                        struct sora_farm_actions *out, struct sora_fault *fault);
int farm_check_job(const struct sora_farm_job *job, struct sora_fault *fault);

#endif
