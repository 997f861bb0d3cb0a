/*
 * What can be read out of a farm and put back in: orders for nodes, views for people, and the plain
 * records that outlive the process. Same thread as the farm; nothing is allocated.
 */
#ifndef SORA_SCHEDULER_CORE_FARM_RECORDS_H
#define SORA_SCHEDULER_CORE_FARM_RECORDS_H

#include "scheduler/core/farm.h"

/* The whole desired state of one task; sent by ORDER, repeated until known. */
struct sora_farm_order_link {
    int32_t shard;
    struct sora_range latents;
    uint64_t node, epoch; /* epoch 0: nobody owns it yet */
    int32_t device;
    int32_t resume_step; /* where that owner began */
};
struct sora_farm_order {
    struct sora_job_id job;
    int32_t shard, device, shard_count;
    uint64_t epoch, version;
    struct sora_range latents;
    int32_t resume_step, floor_step;
    bool park;
    int32_t link_count;
    struct sora_farm_order_link links[SORA_PLAN_NEIGHBOURS_MAX];
};
/* Errors: NOT_FOUND. */
int sora_farm_order_get(const struct sora_farm *farm, const struct sora_job_id *job, int32_t shard,
                        struct sora_farm_order *out_order);

/* ---- views ---- */

struct sora_farm_shard_view {
    struct sora_range latents;
    enum sora_task_state state;
    uint64_t node, epoch;
    int32_t device, step, durable_step;
    bool segment_done;
};
struct sora_farm_job_view {
    struct sora_farm_job job;
    enum sora_job_state state;
    const char *reason; /* why it waits or ended, "" for none; valid until the next step */
    int32_t floor_step, shard_count, queue_place; /* place: 0 first; -1 not queued */
    struct sora_farm_shard_view shards[SORA_PLAN_SHARDS_MAX];
};
/* Errors: NOT_FOUND. */
int sora_farm_job_view(const struct sora_farm *farm, const struct sora_job_id *job,
                       struct sora_farm_job_view *out_view);
struct sora_farm_node_view {
    uint64_t node;
    const char *name; /* valid until the next step */
    enum sora_node_state state;
    int32_t device_count;
    bool device_busy[SORA_FARM_NODE_DEVICES_MAX];
};
/* The `index`-th node of the table; false past the end. */
bool sora_farm_node_at(const struct sora_farm *farm, int32_t index,
                       struct sora_farm_node_view *out_view);

/* Plans a job as if it were submitted now, over all devices that are not lost, busy or not; what
 * `soractl plan` shows. Appends words. Errors: those of sora_plan_make and sora_plan_explain. */
int sora_farm_plan(const struct sora_farm *farm, const struct sora_farm_job *job,
                   struct sora_plan *out_plan, struct sora_bytes *out_words,
                   struct sora_fault *fault);

/* ---- records ---- */

struct sora_farm_job_record {
    struct sora_farm_job job;
    enum sora_job_state state;
    uint64_t sequence, epoch_next, device_class;
    uint64_t cut; /* with another one, parts after the floor are of no use */
    int32_t floor_step, shard_count;
    bool text_done, pause_wanted;
    char reason[SORA_FARM_REASON_SIZE];
};
struct sora_farm_shard_record {
    struct sora_range latents;
    enum sora_task_state state;
    uint64_t node, boot, epoch, version;
    int32_t device, resume_step, durable_step, stored_step, failures, losses;
    bool segment_done;
};
/* Errors: NOT_FOUND. The text task needs no record: it begins anew. */
int sora_farm_export_job(const struct sora_farm *farm, const struct sora_job_id *job,
                         struct sora_farm_job_record *out_record);
int sora_farm_export_shard(const struct sora_farm *farm, const struct sora_job_id *job,
                           int32_t shard, struct sora_farm_shard_record *out_record);
/* Puts a stored job back, before the first step of a fresh farm. Its nodes count as heard at `now`;
 * offers that were on their way are forgotten. `shards` holds record.shard_count entries. Errors:
 * INVALID (a record that cannot be, with the reason), FULL. */
int sora_farm_import_job(struct sora_farm *farm, sora_time now,
                         const struct sora_farm_job_record *record,
                         const struct sora_farm_shard_record *shards, struct sora_fault *fault);

#endif
