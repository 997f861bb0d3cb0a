/* Shared by the files of the home only: what each of them does for the others. */
#ifndef SORA_SCHEDULER_HOME_PARTS_H
#define SORA_SCHEDULER_HOME_PARTS_H

#include "scheduler/home_tables.h"

/* ---- home_table.c ---- */

uint64_t home_number(const unsigned char id[SORA_NODE_ID_SIZE]);
struct home_job *home_find_job(const struct sora_home *home, const struct sora_job_id *id);
struct home_take *home_find_take(const struct sora_home *home, const struct sora_job_id *id);
struct sora_job_id home_take_id(const struct sora_job_id *job, int32_t take);
/* A new entry at the end of the list. Errors: FULL, MEMORY. */
int home_add_job(struct sora_home *home, const struct sora_job_id *id, struct home_job **out_job);
int home_make_takes(struct home_job *job, int32_t count);
void home_free_work(struct sora_home *home,
                    struct home_job *job); /* all that an ended one has not */
void home_remove_job(struct sora_home *home, struct home_job *job);
/* Errors: MEMORY, LIMIT. */
int home_add_part(struct sora_home *home, struct home_take *take,
                  const struct sora_store_part *row);
int home_add_piece(struct sora_home *home, struct home_take *take,
                   const struct sora_store_piece *row);
void home_prune_parts(struct sora_home *home, struct home_take *take, int32_t step);
int home_keep_text(struct sora_home *home, struct home_take *take, const void *data, size_t size);
/* Pins, unpins or drops what a row names. */
typedef void (*home_blob_use)(struct sora_blob_store *store, const struct sora_digest *digest);
void home_use_blob(struct sora_home *home, const struct sora_store_blob *blob, home_blob_use use);
void home_use_text(struct sora_home *home, const struct home_take *take, home_blob_use use);
/* A line of the job's log, in place of the oldest when there are too many; NULL: out of memory. */
struct home_line *home_add_line(struct home_job *job, int32_t number, const char *text);
/* Adds a line to the job's log, which is stored; watchers see it. */
void home_note(struct sora_home *home, struct home_job *job, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void home_reply_keep(const struct sora_origin *origin, struct home_reply *out_reply);
const struct sora_origin *home_reply_origin(struct home_reply *reply);
void home_refuse(struct sora_home *home, struct home_reply *reply, const struct sora_fault *fault);
struct sora_digest home_digest(const struct sora_store_blob *blob);
struct sora_store_blob home_store_blob(const struct sora_blob *blob);

/* ---- home_nodes.c ---- */

struct home_node *home_find_node(const struct sora_home *home, uint64_t number);
uint64_t home_model_key(const unsigned char digest[SORA_DIGEST_SIZE], int32_t width, int32_t height,
                        int32_t window);
/* What planning needs of it; classes as digests. */
void home_device_facts(const struct home_device *device, struct sora_farm_device *out);
void home_take_advert(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Advert *advert);
/* A model by name or digest among the adverts, our own node's first; NULL node: unknown. */
struct home_node *home_find_model(struct sora_home *home, const char *name,
                                  struct home_model *out_model);
/* The same for what a job asks: SORA_HOME_MODEL_DEFAULT is a model of that name, else mini, else
 * the farm's only one. */
struct home_node *home_choose_model(struct sora_home *home, const char *name,
                                    struct home_model *out_model);
bool home_knows_models(const struct sora_home *home);
/* "mini (brook, reed)"; for a refusal. */
void home_list_models(struct sora_home *home, struct sora_bytes *out);

/* ---- home_plan.c ---- */

/* What follows from the spec alone: name, file name, folder, priority. */
void home_take_names(struct home_job *job);
/* Spec and manifest of `job` to plan, notes and names. Errors: those of sora_job_plan_make. */
int home_plan_job(struct home_job *job, struct sora_fault *fault);
/* What a device needs for a shard of so many latents; NULL: one without memory of its own. */
uint64_t home_memory_bytes(const struct sora_plan_job *job, const struct home_device *device,
                           int32_t latents);
void home_farm_job(const struct sora_home *home, const struct home_job *job, int32_t take,
                   struct sora_farm_job *out);
void home_reply_plan(struct sora_home *home, struct home_reply *reply, struct home_job *job);
const Farm__JobSpec *home_spec(const struct home_job *job);
const char *home_prompt(const struct home_job *job, int32_t shot);
const char *home_negative(const struct home_job *job, int32_t shot);
/* Copies a text, cut at the size between characters; returns out. */
char *home_cut_text(const char *text, char *out, size_t size);

/* ---- home_submit.c ---- */

void home_take_submit(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Submit *submit);
void home_take_plan(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__Plan *plan);
/* The store takes nothing: jobs of which nobody was told yet are refused and forgotten. */
void home_refuse_fresh(struct sora_home *home, const struct sora_fault *why);
/* Plans or submits what was asked, now that the manifest is here. */
void home_do_ask(struct sora_home *home, struct home_ask *ask);
void home_answer_submit(struct sora_home *home, struct home_reply *reply,
                        const struct home_job *job);

/* ---- home_manifest.c ---- */

/* Reads a manifest that is here into the job. Errors: NOT_FOUND and those of its reading. */
int home_read_manifest(struct sora_home *home, struct home_job *job, struct sora_fault *fault);
/* A request goes on at once when its manifest is here, else waits for it. Takes spec and envelope,
 * which is NULL for a Plan. Errors: FULL, NOT_FOUND (no such model). */
int home_begin_ask(struct sora_home *home, const struct sora_origin *origin,
                   const struct sora_identity *signer, struct sora_message **spec,
                   struct sora_bytes *envelope, struct sora_fault *fault);
/* The Submit of this job, if it waits; NULL: none. */
struct home_ask *home_find_ask(struct sora_home *home, const Farm__JobSpec *spec);
/* Requests that wait: their models may be known now, or their time is over. */
void home_watch_asks(struct sora_home *home);

/* ---- home_access.c ---- */

/* Reads our certificate again when it is another: a node may join a studio while it runs. */
void home_look_at_root(struct sora_home *home);
/* Whether a node of this studio may render the job. */
bool home_allows(const struct sora_home *home, const struct home_job *job,
                 const unsigned char root[SORA_KEY_PUBLIC_SIZE]);
bool home_may_see(const struct sora_home *home, const struct home_job *job,
                  const struct sora_identity *who);

/* ---- home_write.c ---- */

/* Marks a row as changed: its ticket is that of the next batch. */
void home_touch(struct sora_home *home, struct home_job *job, uint64_t *row);
void home_flush(struct sora_home *home);
/* Waits for all that changed so far, then happens (home_let_go). `held` is copied; what it owns is
 * freed when the queue is full: then it is lost, as a message may be. */
void home_hold(struct sora_home *home, struct home_held *held);
void home_release_held(struct sora_home *home);
void home_free_held(struct home_held *held);

/* ---- home_actions.c ---- */

/* Hands in an event and takes up all actions. */
int home_farm_step(struct sora_home *home, const struct sora_farm_event *event,
                   struct sora_fault *fault);
/* Carries out what was held. */
void home_let_go(struct sora_home *home, struct home_held *held);
/* Ends jobs whose takes ended, and the like. */
void home_settle(struct sora_home *home);
/* For callbacks that come outside of the home's own functions: what time it is. */
void home_wake(struct sora_home *home);
void home_end_job(struct sora_home *home, struct home_job *job, enum sora_job_state state,
                  const char *reason);
void home_send(struct sora_home *home, const unsigned char node[SORA_NODE_ID_SIZE],
               Farm__Message *message);
void home_reply_message(struct sora_home *home, const struct sora_origin *to,
                        Farm__Message *message);

/* ---- home_orders.c ---- */

void home_send_offer(struct sora_home *home, struct home_take *take, const struct home_node *node,
                     const struct sora_farm_action *action);
void home_send_order(struct sora_home *home, struct home_take *take, const struct home_node *node,
                     const struct sora_farm_action *action, const struct sora_farm_order *order);
void home_send_text_order(struct sora_home *home, struct home_take *take,
                          const struct home_node *node, const struct sora_farm_action *action,
                          const struct sora_farm_order *order);

/* ---- home_lost.c ---- */

/* The stored part of `step` that holds `latent` and reaches furthest; NULL home: also one whose
 * blob is gone. */
const struct sora_store_part *home_find_part(const struct sora_home *home,
                                             const struct home_take *take, int32_t step,
                                             int32_t latent);
/* When texts or states that the take's shards need are gone from the disk: sets it back to the
 * newest step of which all are here. False: nothing is lost. */
bool home_go_back(struct sora_home *home, struct home_take *take);
/* Forgets the take's pieces whose files are gone; when no others have their frames, the take goes
 * back as well. False: all are here. Reads files that this process did not check yet. */
bool home_forget_pieces(struct sora_home *home, struct home_take *take);
/* The same for tasks that stopped because of their input: then their node is not to blame. */
void home_look_at_stopped(struct sora_home *home, uint64_t node, const struct sora_farm_beat *beat);

/* ---- home_work.c: messages of nodes about tasks ---- */

void home_take_grant(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__LeaseGrant *grant);
void home_take_return(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__LeaseReturn *lease);
void home_take_progress(struct sora_home *home, const struct sora_origin *origin,
                        const Farm__ShardProgress *progress);
void home_take_checkpoint(struct sora_home *home, const struct sora_origin *origin,
                          const Farm__Checkpoint *checkpoint);
void home_take_segment(struct sora_home *home, const struct sora_origin *origin,
                       const Farm__Segment *segment);
void home_take_text(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__TextEncoded *text);
void home_forget_fetches(struct sora_home *home, const struct home_job *job);

/* ---- home_assembly.c, home_results.c ---- */

/* The piece of a take that holds `frame` and reaches furthest; NULL: not here yet. */
const struct sora_store_piece *home_piece_at(const struct home_take *take, int32_t frame);
void home_pump_assemblies(struct sora_home *home);
void home_stop_assembly(struct sora_home *home, struct home_job *job);
void home_step_assemblies(struct sora_home *home);
size_t home_assembly_poll(const struct sora_home *home, struct pollfd *out_items);
sora_time home_assembly_deadline(const struct sora_home *home);
/* The copy of a job's preview while it grew. */
void home_drop_snapshot(struct sora_home *home, struct home_job *job);
void home_take_fetch(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__Fetch *fetch);
enum sora_codec home_codec(const Farm__Output *output);
enum sora_container home_container(const Farm__Output *output);
void home_result_name(const struct home_job *job, char *out, size_t size);

/* ---- home_delete.c ---- */

void home_take_delete(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Erase *message);
void home_watch_keep(struct sora_home *home);
sora_time home_keep_deadline(const struct sora_home *home);

/* ---- home_status.c, home_requests.c, home_watch.c ---- */

enum { HOME_STATUS_PLAIN, HOME_STATUS_SHARDS };
/* Fills the home's room; valid until the next call. */
Farm__JobStatus *home_status(struct sora_home *home, struct home_job *job, int shards);
struct home_status_room *home_room_create(void);
/* Keeps where the shards ran, before the job ends in the farm. */
void home_keep_ran(struct sora_home *home, struct home_job *job);
Farm__JobState home_job_state(struct sora_home *home, const struct home_job *job);
/* Fills list entry `index` (0..255), each its own room. */
Farm__JobStatus *home_status_in_list(struct sora_home *home, struct home_job *job, int index);

/* By id or prefix, among those that `who` may see. Errors: NOT_FOUND, INVALID (several). */
int home_name_job(struct sora_home *home, const Farm__JobName *name,
                  const struct sora_identity *who, struct home_job **out_job,
                  struct sora_fault *fault);
void home_take_status(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Status *status);
void home_take_list(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__List *list);
void home_take_logs(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__Logs *logs);
/* Cancel, Pause or Resume. */
void home_take_control(struct sora_home *home, const struct sora_origin *origin,
                       enum sora_farm_event_kind kind, const Farm__JobName *name);
void home_take_watch(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__Watch *watch);
void home_changed(struct sora_home *home, struct home_job *job);
void home_send_events(struct sora_home *home);
void home_send_note(struct sora_home *home, struct home_job *job, const char *text);
void home_send_node(struct sora_home *home, const struct home_node *node, const char *state);
sora_time home_watch_deadline(const struct sora_home *home);

/* ---- home_load.c ---- */

int home_load(struct sora_home *home, struct sora_fault *fault);

#endif
