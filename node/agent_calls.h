/* What the files of the agent call of each other; the structs are in agent_parts.h. */
#ifndef SORA_NODE_AGENT_CALLS_H
#define SORA_NODE_AGENT_CALLS_H

#include "node/agent_parts.h"

/* ---- agent.c ---- */

/* To the task's home. Errors: those of the post. */
int agent_send_home(struct agent_task *task, Farm__Message *message);
/* Notes that something could not be sent and when to go on. */
void agent_blocked(struct sora_agent *agent, int code);
ProtobufCBinaryData agent_bytes(const void *data, size_t size);
/* Eight hexadecimal digits of the job, for names and log lines. */
const char *agent_job_text(const struct agent_task *task, char out[9]);

/* ---- agent_lease.c ---- */

struct agent_task *agent_find_task(struct sora_agent *agent, const unsigned char *home,
                                   ProtobufCBinaryData job, uint32_t epoch);
void agent_take_offer(struct sora_agent *agent, const struct sora_origin *origin,
                      const Farm__LeaseOffer *offer);
void agent_take_renew(struct sora_agent *agent, const struct sora_origin *origin,
                      const Farm__LeaseRenew *renew);
void agent_take_revoke(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__LeaseRevoke *revoke);
/* Tells the sender of an order that its lease is not held here. */
void agent_refuse_order(struct sora_agent *agent, const struct sora_origin *origin,
                        ProtobufCBinaryData job, uint32_t shard, uint32_t epoch, bool text);
/* Lets go of all that the task holds; it is reported with `code` from now on. */
void agent_stop_task(struct agent_task *task, int code, const char *text);
/* Notes a failure inside an action or callback; the task is stopped in the next step. */
void agent_fail_task(struct agent_task *task, int code, const char *text);
/* Stops it if need be and forgets it; its epoch is refused from now on. */
void agent_end_task(struct agent_task *task);
/* Ends what has run out; forgets stopped tasks that nobody revokes. */
void agent_leases_step(struct sora_agent *agent);

/* ---- agent_worker.c ---- */

int agent_device_init(struct sora_agent *agent, int index, struct sora_fault *fault);
void agent_device_fini(struct agent_device *device);
void agent_device_step(struct agent_device *device);
/* Ends the child; a new one starts after the device's pause, or at once. */
void agent_device_restart(struct agent_device *device, bool at_once);
/* The child is ready, and may read `path`; one that may not is started again. */
bool agent_device_can(struct agent_device *device, const char *path);
/* Whether it renders in the class that an order names; if not, it is started again to do so. */
bool agent_device_renders_as(struct agent_device *device, const char *device_class);
/* A command without or with payload; fails the device's task when it does not go. */
void agent_command(struct agent_device *device, enum sora_serve_command command, const void *head,
                   size_t head_size, const void *payload, size_t payload_size);
void agent_span(struct agent_device *device, enum sora_serve_command command,
                const struct sora_serve_span *span, const void *payload, size_t payload_size);
/* OPEN; the child keeps a model of the same folder warm. */
void agent_open_model(struct agent_device *device, const struct sora_model_entry *model);
/* The device's task ends: what it queued is void. */
void agent_device_release(struct agent_device *device);

/* ---- agent_shard.c ---- */

void agent_take_assign(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__ShardAssign *assign);
/* Hands an event to the machine and carries out its actions. `halo` is what a HALO event brought
 * and is nulled when it is kept. Errors: those of sora_shard_step. */
int agent_drive(struct agent_task *task, const struct sora_shard_event *event,
                struct agent_halo **halo);
/* Answers of the child to a shard's commands; false: none that makes sense. */
bool agent_shard_answer(struct agent_task *task, const struct sora_frame *frame);
void agent_shard_step(struct agent_task *task);
sora_time agent_shard_deadline(const struct agent_task *task);

/* ---- agent_load.c ---- */

/* Notes what the first order needs. */
int agent_load_init(struct agent_task *task, struct sora_fault *fault);
void agent_load_step(struct agent_task *task);
void agent_load_fini(struct agent_task *task);
/* Fills from the wire; checked. */
int agent_schedule_get(const Farm__Schedule *wire, struct sora_schedule *out_schedule,
                       struct sora_fault *fault);

/* ---- agent_halo.c ---- */

void agent_log_halo(struct agent_task *task, const struct sora_shard_action *action);
/* VALUES of a GET; false when the size is wrong. */
bool agent_log_values(struct agent_task *task, const struct sora_serve_span *span,
                      const void *values, size_t size);
void agent_queue_halo(struct agent_task *task, const struct sora_shard_action *action);
void agent_queue_at(struct agent_task *task, const struct sora_shard_action *action);
/* A new owner: what was under way to the old one is not sent. */
void agent_link_changed(struct agent_link *link, const unsigned char *node, uint64_t epoch);
void agent_flush_links(struct agent_task *task);
void agent_take_halo(struct sora_agent *agent, const struct sora_origin *origin,
                     const Farm__Halo *wire, const void *payload, size_t payload_size);
void agent_take_halo_at(struct sora_agent *agent, const struct sora_origin *origin,
                        const Farm__HaloAt *wire);
/* Gives the child the kept halos of a kind and step. */
void agent_give_halos(struct agent_task *task, enum sora_shard_halo kind, int32_t step);
/* Drops kept halos up to `step`, and the log before it. */
void agent_drop_kept(struct agent_task *task, int32_t step);
void agent_prune_log(struct agent_task *task, int32_t step);
void agent_halos_fini(struct agent_task *task);
void agent_halo_free(struct agent_halo **halo);

/* ---- agent_result.c ---- */

/* The file of a command, in the blob store's incoming folder. */
void agent_result_path(const struct agent_task *task, const char *what, int32_t number, char *out,
                       size_t size);
void agent_take_checkpoint(struct agent_task *task, int32_t step);
void agent_send_checkpoint(struct agent_task *task, int32_t step);
/* Answers of the child; false when they make no sense. */
bool agent_state_written(struct agent_task *task, int32_t step);
bool agent_piece_made(struct agent_task *task, const struct sora_frame *frame);
void agent_decode(struct agent_task *task, const struct sora_shard_action *action);
/* Checkpoints up to the floor are of no use here any more. */
void agent_prune_checkpoints(struct agent_task *task, int32_t floor);
void agent_take_checkpoint_stored(struct sora_agent *agent, const struct sora_origin *origin,
                                  const Farm__CheckpointStored *stored);
void agent_take_segment_stored(struct sora_agent *agent, const struct sora_origin *origin,
                               const Farm__SegmentStored *stored);
/* Everything was announced and the home has not said that it is complete: the last piece again. */
void agent_repeat_segment(struct agent_task *task);
void agent_result_step(struct agent_task *task);
sora_time agent_result_deadline(const struct agent_task *task);
void agent_result_fini(struct agent_task *task);
/* Publishes a file, or `data` when it is not NULL. Errors: FULL (again later), MEMORY. */
int agent_adopt(struct agent_task *task, enum agent_adopts kind, int index, const char *path,
                const void *data, size_t size);

/* ---- agent_text.c ---- */

void agent_take_encode(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__TextEncode *encode);
bool agent_text_answer(struct agent_task *task, const struct sora_frame *frame);
void agent_text_step(struct agent_task *task);
sora_time agent_text_deadline(const struct agent_task *task);
void agent_text_fini(struct agent_task *task);

/* ---- agent_beat.c ---- */

void agent_fill_advert(struct sora_agent *agent);
void agent_beat(struct sora_agent *agent);
/* When the lease of a renewal that answers beat `sequence` began; false: unknown beat. */
bool agent_beat_time(const struct sora_agent *agent, uint64_t sequence, sora_time *out_at);
bool agent_device_offered(const struct agent_device *device);

#endif
