/*
 * Blobs that this home had and has no more: removed or damaged under it. A shard that needs one
 * cannot begin on any node, so its job goes back to the newest step of which all states are here,
 * or to the beginning. So it does when segments are gone, since their states may be as well.
 */
#include "scheduler/home_parts.h"

#include <stdio.h>

static bool is_here(const struct sora_home *home, const struct sora_digest *digest)
{
    uint64_t size;
    return sora_blob_store_have(home->params.blobs, digest, &size);
}

static bool part_is_here(const struct sora_home *home, const struct sora_store_part *part)
{
    struct sora_digest digest = home_digest(&part->blob);
    return is_here(home, &digest);
}

const struct sora_store_part *home_find_part(const struct sora_home *home,
                                             const struct home_take *take, int32_t step,
                                             int32_t latent)
{
    const struct sora_store_part *best = NULL;
    for (size_t i = 0; i < take->part_count; i++) {
        const struct sora_store_part *part = &take->parts[i].row;
        if (part->step == step && part->latents.first <= latent && latent < part->latents.end &&
            (!best || part->latents.end > best->latents.end) && (!home || part_is_here(home, part)))
            best = part;
    }
    return best;
}

static bool states_are_here(const struct sora_home *home, const struct home_take *take,
                            int32_t step)
{
    int32_t at = 0, count = take->job->plan->takes[take->index].timeline.latent_count;
    while (step > 0 && at < count) {
        const struct sora_store_part *part = home_find_part(home, take, step, at);
        if (!part)
            return false;
        at = part->latents.end;
    }
    return true;
}

static bool texts_are_here(const struct sora_home *home, const struct home_take *take)
{
    const Farm__TextEncoded *text = take->text ? (const Farm__TextEncoded *)take->text->any : NULL;
    bool here = text;
    for (size_t i = 0; here && i < text->n_rows; i++) {
        struct sora_blob blob;
        here = sora_blob_get(text->rows[i], &blob) && is_here(home, &blob.digest);
    }
    return here;
}

/* From the floor on every part that is named is needed: one that is gone is named no more. Older
 * ones may be evicted at any time. */
static bool forget_parts(struct sora_home *home, struct home_take *take, int32_t floor)
{
    size_t kept = 0, count = take->part_count;
    for (size_t i = 0; i < count; i++) {
        struct home_part *part = &take->parts[i];
        if (part->row.step < floor || part_is_here(home, &part->row))
            take->parts[kept++] = *part;
        else if (part->pinned)
            home_use_blob(home, &part->row.blob, sora_blob_store_unpin);
    }
    take->part_count = kept;
    return kept < count;
}

/* What the take goes on from is needed again. */
static void keep_parts(struct sora_home *home, struct home_take *take, int32_t step)
{
    for (size_t i = 0; i < take->part_count; i++) {
        struct home_part *part = &take->parts[i];
        if (part->row.step < step || part->pinned)
            continue;
        home_use_blob(home, &part->row.blob, sora_blob_store_pin);
        part->pinned = true;
    }
}

static void say_so(struct sora_home *home, const struct home_take *take, const char *what,
                   int32_t floor, int32_t step)
{
    char from[64] = "its beginning";
    if (step > 0)
        snprintf(from, sizeof(from), "step %d", step);
    sora_log(SORA_LOG_WARN,
             "%s of a job are gone from this disk, they are made again job=%.8s take=%d floor=%d "
             "step=%d",
             what, take->job->folder, take->index, floor, step);
    home_note(home, take->job, "%s of take %d are gone from the disk of its home: on from %s", what,
              take->index, from);
}

/* `frames`: pieces are missing, so that the last steps are needed again in any case. */
static bool go_back(struct sora_home *home, struct home_take *take, bool frames)
{
    struct sora_farm_job_view view;
    if (sora_farm_job_view(home->farm, &take->id, &view) ||
        (view.state != SORA_JOB_RUNNING && view.state != SORA_JOB_ASSEMBLING))
        return false;
    bool texts = !texts_are_here(home, take);
    bool forgot = forget_parts(home, take, view.floor_step);
    int32_t steps = take->job->plan->steps, step = view.floor_step;
    bool here = states_are_here(home, take, step);
    if (here && view.state == SORA_JOB_ASSEMBLING && !frames)
        return forgot; /* other parts hold the same */
    if (here && !forgot && !frames && !texts)
        return false;
    step -= step == steps; /* with the last one only decoding is left, which is no cut */
    while (!states_are_here(home, take, step))
        step--;
    keep_parts(home, take, step);
    say_so(home, take,
           texts    ? "encoded texts"
           : frames ? "segments"
                    : "checkpoints",
           view.floor_step, step);
    struct sora_farm_event event = {.kind = SORA_FARM_LOST_BLOBS,
                                    .job = take->id,
                                    .shard = texts ? SORA_FARM_TEXT_TASK : 0,
                                    .step = step};
    return home_farm_step(home, &event, NULL) == SORA_OK;
}

bool home_go_back(struct sora_home *home, struct home_take *take)
{
    return go_back(home, take, false);
}

static bool frames_are_here(const struct home_take *take, const struct sora_store_piece *lost)
{
    int32_t at = lost->frame_first, end = at + lost->frame_count;
    while (at < end) {
        const struct sora_store_piece *piece = home_piece_at(take, at);
        if (!piece)
            return false;
        at = piece->frame_first + piece->frame_count;
    }
    return true;
}

static bool piece_is_gone(struct sora_home *home, const struct home_piece *piece)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_digest digest = home_digest(&piece->row.blob);
    return sora_blob_store_path(home->params.blobs, &digest, path, sizeof(path), NULL) ==
           SORA_E_NOT_FOUND;
}

bool home_forget_pieces(struct sora_home *home, struct home_take *take)
{
    bool lost = false, needed = false;
    for (size_t i = 0; i < take->piece_count;) {
        struct home_piece *piece = &take->pieces[i];
        if (!piece_is_gone(home, piece)) {
            i++;
            continue;
        }
        const struct sora_store_piece row = piece->row;
        home_use_blob(home, &row.blob, sora_blob_store_unpin);
        *piece = take->pieces[--take->piece_count];
        lost = true;
        needed = needed || !frames_are_here(take, &row);
    }
    return lost && (!needed || go_back(home, take, true));
}

void home_look_at_stopped(struct sora_home *home, uint64_t node, const struct sora_farm_beat *beat)
{
    for (int32_t i = 0; i < beat->report_count; i++) {
        const struct sora_farm_report *report = &beat->reports[i];
        struct home_take *take = home_find_take(home, &report->job);
        struct sora_farm_order order;
        struct sora_farm_job_view view;
        if (report->work != SORA_WORK_STOPPED || !sora_error_of_input(report->code) || !take ||
            !take->in_farm || report->shard == SORA_FARM_TEXT_TASK ||
            sora_farm_order_get(home->farm, &take->id, report->shard, &order) ||
            order.epoch != report->epoch || sora_farm_job_view(home->farm, &take->id, &view) ||
            view.shards[report->shard].node != node)
            continue;
        home_go_back(home, take);
    }
}
