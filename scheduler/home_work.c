/*
 * What nodes say about tasks. A blob that is named is fetched first; the farm hears of it when it
 * lies here for good. Nodes repeat everything until it is acknowledged, so whatever does not fit
 * now is left out.
 */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_FACTOR_MAX 64 /* a state is at most that many latents a latent */
#define PIECE_BYTES_MAX ((uint64_t)64 << 30)
#define ROW_BYTES_MAX ((uint64_t)64 << 20)

static struct home_take *open_take(const struct sora_home *home, const ProtobufCBinaryData *job)
{
    struct sora_job_id id;
    memcpy(id.bytes, job->data, sizeof(id.bytes));
    struct home_take *take = home_find_take(home, &id);
    return take && take->in_farm && take->job->final_state < 0 ? take : NULL;
}

/* The shard's latents when `epoch` of it is the sender's. */
static bool owns(const struct sora_home *home, const struct home_take *take,
                 const struct sora_origin *origin, uint32_t shard, uint32_t epoch,
                 struct sora_range *out_latents)
{
    struct sora_farm_job_view view;
    if (sora_farm_job_view(home->farm, &take->id, &view) != SORA_OK ||
        shard >= (uint32_t)view.shard_count)
        return false;
    const struct sora_farm_shard_view *at = &view.shards[shard];
    *out_latents = at->latents;
    return epoch > 0 && at->epoch == epoch && at->node == home_number(origin->identity->node);
}

static bool owns_text(const struct sora_home *home, const struct home_take *take,
                      const struct sora_origin *origin, uint32_t epoch)
{
    struct sora_farm_order order;
    return epoch > 0 &&
           sora_farm_order_get(home->farm, &take->id, SORA_FARM_TEXT_TASK, &order) == SORA_OK &&
           order.epoch == epoch && take->text_epoch == epoch &&
           take->text_node == home_number(origin->identity->node);
}

/* ---- leases ---- */

static struct sora_farm_event task_event(enum sora_farm_event_kind kind,
                                         const struct home_take *take,
                                         const struct sora_origin *origin, bool text,
                                         uint32_t shard, uint32_t epoch)
{
    return (struct sora_farm_event){.kind = kind,
                                    .node = home_number(origin->identity->node),
                                    .job = take->id,
                                    .shard = text ? SORA_FARM_TEXT_TASK : (int32_t)shard,
                                    .epoch = epoch};
}

void home_take_grant(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__LeaseGrant *grant)
{
    struct sora_identity signer;
    struct sora_message *message = NULL;
    struct sora_fault fault = {0};
    struct sora_range latents;
    const struct sora_envelope_expect expect = {.trust = home->params.trust,
                                                .domain = SORA_DOMAIN_LEASE,
                                                .node = home->params.post->self,
                                                .roles = SORA_ROLE_NODE,
                                                .wall_now_ms = sora_clock_wall_ms()};
    int rc = sora_envelope_open(grant->lease, &expect, &signer, &fault);
    if (rc == SORA_OK)
        rc = sora_message_decode_as(&farm__lease_body__descriptor, grant->lease->payload.data,
                                    grant->lease->payload.len, true, &message, &fault);
    if (rc) {
        sora_log(SORA_LOG_WARN, "a lease was not taken node=%s reason=\"%s\"",
                 origin->identity->name, fault.text);
        return;
    }
    const Farm__LeaseBody *body = (const Farm__LeaseBody *)message->any;
    const struct home_take *take = open_take(home, &body->job);
    bool ours = take && memcmp(signer.node, origin->identity->node, sizeof(signer.node)) == 0 &&
                memcmp(body->node.data, signer.node, sizeof(signer.node)) == 0 &&
                memcmp(body->home.data, home->params.post->self, SORA_NODE_ID_SIZE) == 0 &&
                (body->text ? owns_text(home, take, origin, body->epoch)
                            : owns(home, take, origin, body->shard, body->epoch, &latents));
    if (ours) {
        struct sora_farm_event event =
            task_event(SORA_FARM_GRANT, take, origin, body->text, body->shard, body->epoch);
        home_farm_step(home, &event, NULL);
    }
    sora_message_destroy(&message);
}

void home_take_return(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__LeaseReturn *lease)
{
    struct home_take *take = open_take(home, &lease->job);
    struct sora_range latents;
    if (!take || !(lease->text ? owns_text(home, take, origin, lease->epoch)
                               : owns(home, take, origin, lease->shard, lease->epoch, &latents)))
        return;
    if (lease->stopped && lease->code == SORA_E_SPACE) { /* tried again until it works: said once */
        char text[sizeof(take->job->failure)];
        snprintf(text, sizeof(text), "the disk of %s is full", origin->identity->name);
        if (strcmp(text, take->job->failure) != 0)
            home_note(home, take->job, "%s: %s", text, lease->reason);
        memcpy(take->job->failure, text, sizeof(text));
        return;
    }
    if (lease->stopped) { /* the node's report counts the failure */
        home_cut_text(lease->reason, take->job->failure, sizeof(take->job->failure));
        home_note(home, take->job, "failed on %s: %s", origin->identity->name, take->job->failure);
        return;
    }
    home_note(home, take->job, "%s %s: %.200s", origin->identity->name,
              lease->code == SORA_E_BUSY ? "is not ready" : "refuses",
              *lease->reason ? lease->reason : sora_error_text(lease->code));
    struct sora_farm_event event =
        task_event(SORA_FARM_REFUSE, take, origin, lease->text, lease->shard, lease->epoch);
    event.code = lease->code ? lease->code : SORA_E_BUSY;
    home_farm_step(home, &event, NULL);
}

void home_take_progress(struct sora_home *home, const struct sora_origin *origin,
                        const Farm__ShardProgress *progress)
{
    struct home_take *take = open_take(home, &progress->job);
    struct sora_range latents;
    if (!take || !owns(home, take, origin, progress->shard, progress->epoch, &latents))
        return;
    struct home_shard *shard = &take->shards[progress->shard];
    shard->epoch = progress->epoch;
    shard->step = (int32_t)progress->step;
    shard->frames_done = progress->frames_done > INT32_MAX ? 0 : (int32_t)progress->frames_done;
    shard->state = progress->state;
    shard->steps_per_s = progress->steps_per_s;
    take->job->event_sequence = ++home->event_sequence;
}

/* ---- fetches ---- */

static struct home_fetch *find_fetch(struct sora_home *home, enum home_fetch_kind kind,
                                     const struct home_take *take, int32_t shard, int32_t step,
                                     uint64_t epoch)
{
    for (int i = 0; i < HOME_FETCHES_MAX; i++) {
        struct home_fetch *fetch = &home->fetches[i];
        if (fetch->used && fetch->kind == kind && fetch->shard == shard && fetch->step == step &&
            fetch->epoch == epoch && memcmp(&fetch->take, &take->id, sizeof(take->id)) == 0)
            return fetch;
    }
    return NULL;
}

static struct home_fetch *new_fetch(struct sora_home *home, enum home_fetch_kind kind,
                                    const struct home_take *take, const struct sora_origin *origin)
{
    for (int i = 0; i < HOME_FETCHES_MAX; i++) {
        struct home_fetch *fetch = &home->fetches[i];
        if (fetch->used)
            continue;
        *fetch = (struct home_fetch){.home = home, .kind = kind, .used = true, .take = take->id};
        memcpy(fetch->node, origin->identity->node, sizeof(fetch->node));
        return fetch;
    }
    return NULL;
}

/* The blob stays pinned while it is fetched and until a row pins it; without one nobody needs it.
 */
static void end_fetch(struct home_fetch *fetch)
{
    sora_blob_store_drop(fetch->home->params.blobs, &fetch->blob.digest);
    for (size_t i = 0; fetch->rows && i < fetch->row; i++) {
        struct sora_blob blob;
        if (sora_blob_get(((const Farm__TextEncoded *)fetch->rows->any)->rows[i], &blob))
            sora_blob_store_drop(fetch->home->params.blobs, &blob.digest);
    }
    sora_bytes_fini(&fetch->text);
    sora_message_destroy(&fetch->rows);
    fetch->used = false;
}

static void fetched(void *context, const struct sora_blob *blob, const struct sora_fault *fault);

static void start_fetch(struct home_fetch *fetch)
{
    struct sora_home *home = fetch->home;
    sora_blob_store_pin(home->params.blobs, &fetch->blob.digest);
    int rc =
        sora_blob_transfer_fetch(home->params.transfer, fetch->node, &fetch->blob, fetched, fetch);
    if (rc)
        end_fetch(fetch); /* named again later */
}

void home_forget_fetches(struct sora_home *home, const struct home_job *job)
{
    for (int i = 0; i < HOME_FETCHES_MAX; i++) {
        struct home_fetch *fetch = &home->fetches[i];
        if (!fetch->used || (job && memcmp(&fetch->take, &job->id, sizeof(job->id) - 2) != 0))
            continue;
        sora_blob_transfer_forget(home->params.transfer, fetch);
        end_fetch(fetch);
    }
}

/* ---- checkpoints ---- */

static bool is_state_size(const struct home_take *take, int32_t step, struct sora_range latents,
                          uint64_t size)
{
    uint64_t one = (uint64_t)take->job->plan->halo_latent_bytes;
    uint64_t least = one * (uint64_t)(latents.end - latents.first);
    if (step == take->job->plan->steps)
        return size == least;
    return size >= least && size % sizeof(float) == 0 && size <= least * STATE_FACTOR_MAX;
}

void home_take_checkpoint(struct sora_home *home, const struct sora_origin *origin,
                          const Farm__Checkpoint *wire)
{
    struct home_take *take = open_take(home, &wire->job);
    struct sora_range latents;
    struct sora_blob blob;
    if (!take || !owns(home, take, origin, wire->shard, wire->epoch, &latents) ||
        !sora_blob_get(wire->state, &blob))
        return;
    int32_t shard = (int32_t)wire->shard, step = (int32_t)wire->step;
    if (find_fetch(home, HOME_FETCH_CHECKPOINT, take, shard, step, wire->epoch))
        return;
    if (!is_state_size(take, step, latents, blob.size)) {
        sora_log(SORA_LOG_WARN,
                 "a checkpoint of wrong size is ignored node=%s shard=%d step=%d bytes=%llu",
                 origin->identity->name, shard, step, (unsigned long long)blob.size);
        return;
    }
    struct home_fetch *fetch = new_fetch(home, HOME_FETCH_CHECKPOINT, take, origin);
    if (!fetch)
        return;
    fetch->shard = shard;
    fetch->step = step;
    fetch->epoch = wire->epoch;
    fetch->latents = latents;
    fetch->blob = blob;
    start_fetch(fetch);
}

static void checkpoint_came(struct sora_home *home, struct home_fetch *fetch)
{
    struct sora_farm_event event = {.kind = SORA_FARM_CHECKPOINT,
                                    .node = home_number(fetch->node),
                                    .job = fetch->take,
                                    .shard = fetch->shard,
                                    .step = fetch->step,
                                    .epoch = fetch->epoch};
    home->arrival = fetch;
    home_farm_step(home, &event, NULL); /* STALE: its time is over */
    home->arrival = NULL;
}

/* ---- segments ---- */

static const struct home_piece *find_piece(const struct home_take *take, int32_t shard,
                                           uint64_t epoch, int32_t index)
{
    for (size_t i = 0; i < take->piece_count; i++) {
        const struct home_piece *piece = &take->pieces[i];
        if (piece->row.shard == shard && piece->row.epoch == epoch && piece->row.index == index)
            return piece;
    }
    return NULL;
}

/* All pieces of one owner, the last one too. */
static bool is_complete(const struct home_take *take, int32_t shard, uint64_t epoch)
{
    int32_t last = -1, count = 0;
    for (size_t i = 0; i < take->piece_count; i++) {
        const struct sora_store_piece *piece = &take->pieces[i].row;
        if (piece->shard != shard || piece->epoch != epoch)
            continue;
        count++;
        last = piece->last ? piece->index : last;
    }
    return last >= 0 && count == last + 1;
}

/* The piece is a row: say so when it is stored; the farm hears of a whole shard. */
static void piece_is_here(struct sora_home *home, const struct home_take *take, uint64_t node,
                          int32_t shard, uint64_t epoch, int32_t index)
{
    struct sora_farm_action told = {
        .node = node, .job = take->id, .shard = shard, .epoch = epoch, .step = index};
    home_hold(home, &(struct home_held){.kind = HOME_HELD_PIECE, .action = told, .job = take->id});
    if (!is_complete(take, shard, epoch))
        return;
    struct sora_farm_event event = {
        .kind = SORA_FARM_SEGMENT, .node = node, .job = take->id, .shard = shard, .epoch = epoch};
    home_farm_step(home, &event, NULL);
}

void home_take_segment(struct sora_home *home, const struct sora_origin *origin,
                       const Farm__Segment *wire)
{
    struct home_take *take = open_take(home, &wire->job);
    struct sora_range latents;
    struct sora_blob blob;
    if (!take || !owns(home, take, origin, wire->shard, wire->epoch, &latents) ||
        !sora_blob_get(wire->video, &blob))
        return;
    int32_t shard = (int32_t)wire->shard, index = (int32_t)wire->index;
    uint32_t frames = (uint32_t)take->job->plan->takes[take->index].frames_made;
    if (find_piece(take, shard, wire->epoch, index)) {
        piece_is_here(home, take, home_number(origin->identity->node), shard, wire->epoch, index);
        return;
    }
    if (wire->frame_count == 0 || wire->frame_first >= frames ||
        wire->frame_count > frames - wire->frame_first || blob.size == 0 ||
        blob.size > PIECE_BYTES_MAX) {
        sora_log(SORA_LOG_WARN, "a segment is out of range node=%s shard=%d frames=%u+%u of=%u",
                 origin->identity->name, shard, wire->frame_first, wire->frame_count, frames);
        return;
    }
    struct home_fetch *fetch = find_fetch(home, HOME_FETCH_PIECE, take, shard, index, wire->epoch)
                                   ? NULL
                                   : new_fetch(home, HOME_FETCH_PIECE, take, origin);
    if (!fetch)
        return;
    fetch->shard = shard;
    fetch->step = index;
    fetch->epoch = wire->epoch;
    fetch->blob = blob;
    fetch->piece = (struct sora_store_piece){.take = take->id,
                                             .shard = shard,
                                             .index = index,
                                             .epoch = wire->epoch,
                                             .frame_first = (int32_t)wire->frame_first,
                                             .frame_count = (int32_t)wire->frame_count,
                                             .last = wire->last,
                                             .blob = home_store_blob(&blob)};
    start_fetch(fetch);
}

static void piece_came(struct sora_home *home, struct home_take *take, struct home_fetch *fetch)
{
    if (find_piece(take, fetch->shard, fetch->epoch, fetch->step))
        return; /* said twice */
    int rc = home_add_piece(home, take, &fetch->piece);
    if (rc) {
        sora_log(SORA_LOG_ERROR, "a segment finds no place shard=%d limit=%d reason=\"%s\"",
                 fetch->shard, HOME_PIECES_MAX, sora_error_text(rc));
        return;
    }
    home_touch(home, take->job, &take->pieces[take->piece_count - 1].ticket);
    home->assembly_due = true;
    home_changed(home, take->job);
    piece_is_here(home, take, home_number(fetch->node), fetch->shard, fetch->epoch, fetch->step);
}

/* ---- the text ---- */

static bool is_sound(const struct home_take *take, const Farm__TextEncoded *text)
{
    const struct sora_job_plan *plan = take->job->plan;
    size_t count = (size_t)plan->takes[take->index].text_count;
    bool sound = text->n_rows == (plan->guidance != 1 ? 2 * count : count) &&
                 text->schedule->steps == (uint32_t)plan->steps;
    for (size_t i = 0; i < text->n_rows; i++)
        sound = sound && text->rows[i]->size > 0 && text->rows[i]->size <= ROW_BYTES_MAX &&
                text->rows[i]->size % sizeof(float) == 0;
    return sound;
}

static int keep_rows(struct home_fetch *fetch, const Farm__TextEncoded *text)
{
    size_t size = farm__text_encoded__get_packed_size(text);
    sora_bytes_init(&fetch->text, SORA_MESSAGE_BYTES_MAX);
    int rc = sora_bytes_reserve(&fetch->text, size);
    if (rc)
        return rc;
    farm__text_encoded__pack(text, fetch->text.data);
    sora_bytes_commit(&fetch->text, size);
    return sora_message_decode_as(&farm__text_encoded__descriptor, fetch->text.data, size, false,
                                  &fetch->rows, NULL);
}

static void fetch_row(struct home_fetch *fetch)
{
    const Farm__TextEncoded *text = (const Farm__TextEncoded *)fetch->rows->any;
    sora_blob_get(text->rows[fetch->row], &fetch->blob);
    start_fetch(fetch);
}

void home_take_text(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__TextEncoded *text)
{
    struct home_take *take = open_take(home, &text->job);
    if (!take || !owns_text(home, take, origin, text->epoch) ||
        find_fetch(home, HOME_FETCH_TEXT, take, SORA_FARM_TEXT_TASK, 0, text->epoch))
        return;
    if (!is_sound(take, text)) {
        sora_log(SORA_LOG_WARN, "a text's rows do not fit the job node=%s rows=%zu",
                 origin->identity->name, text->n_rows);
        return;
    }
    struct home_fetch *fetch = new_fetch(home, HOME_FETCH_TEXT, take, origin);
    if (!fetch)
        return;
    fetch->shard = SORA_FARM_TEXT_TASK;
    fetch->epoch = text->epoch;
    if (keep_rows(fetch, text) == SORA_OK) {
        fetch_row(fetch);
        return;
    }
    sora_bytes_fini(&fetch->text);
    fetch->used = false;
}

/* One row after the other; then the answer is kept, and the farm may begin the shards. True while
 * there are more. */
static bool row_came(struct sora_home *home, struct home_take *take, struct home_fetch *fetch)
{
    const Farm__TextEncoded *text = (const Farm__TextEncoded *)fetch->rows->any;
    if (fetch->row + 1 < text->n_rows) {
        fetch->row++;
        fetch_row(fetch);
        return true;
    }
    struct sora_farm_order order;
    if (sora_farm_order_get(home->farm, &take->id, SORA_FARM_TEXT_TASK, &order) != SORA_OK ||
        order.epoch != fetch->epoch ||
        home_keep_text(home, take, fetch->text.data, fetch->text.size) != SORA_OK)
        return false;
    home_touch(home, take->job, &take->ticket);
    home_touch(home, take->job, &take->text_ticket);
    struct sora_farm_event event = {.kind = SORA_FARM_TEXT_DONE,
                                    .node = home_number(fetch->node),
                                    .job = take->id,
                                    .shard = SORA_FARM_TEXT_TASK,
                                    .epoch = fetch->epoch};
    home_farm_step(home, &event, NULL);
    return false;
}

/* ---- a blob came ---- */

static void fetched(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct home_fetch *fetch = context;
    struct sora_home *home = fetch->home;
    struct home_take *take = home_find_take(home, &fetch->take);
    (void)blob;
    home_wake(home);
    if (fault->code)
        sora_log(SORA_LOG_WARN, "a blob did not come; it is named again shard=%d reason=\"%s\"",
                 fetch->shard, fault->text);
    bool open = !fault->code && take && take->in_farm && take->job->final_state < 0;
    bool more = false;
    if (open && fetch->kind == HOME_FETCH_CHECKPOINT)
        checkpoint_came(home, fetch);
    else if (open && fetch->kind == HOME_FETCH_PIECE)
        piece_came(home, take, fetch);
    else if (open)
        more = row_came(home, take, fetch);
    if (!more)
        end_fetch(fetch);
    home_settle(home);
}
