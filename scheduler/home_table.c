/* The home's tables: jobs, their takes, parts and pieces. */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENVELOPE_MAX SORA_MESSAGE_BYTES_MAX
#define LINE_SIZE 512

uint64_t home_number(const unsigned char id[SORA_NODE_ID_SIZE])
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | id[i];
    return number ? number : 1;
}

/* ---- jobs ---- */

struct sora_job_id home_take_id(const struct sora_job_id *job, int32_t take)
{
    struct sora_job_id id = *job;
    id.bytes[14] = (unsigned char)(take >> 8);
    id.bytes[15] = (unsigned char)take;
    return id;
}

/* The last two bytes name the take. */
struct home_job *home_find_job(const struct sora_home *home, const struct sora_job_id *id)
{
    for (int i = home->job_count - 1; i >= 0; i--) {
        if (memcmp(&home->jobs[i]->id, id, sizeof(*id) - 2) == 0)
            return home->jobs[i];
    }
    return NULL;
}

struct home_take *home_find_take(const struct sora_home *home, const struct sora_job_id *id)
{
    struct home_job *job = home_find_job(home, id);
    int32_t take = id->bytes[14] << 8 | id->bytes[15];
    return job && job->takes && take < job->take_count ? &job->takes[take] : NULL;
}

/* Makes room by forgetting the oldest job that ended; its results stay. */
static int make_room(struct sora_home *home)
{
    if (home->job_count < HOME_JOBS_MAX)
        return SORA_OK;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        if (job->dropped)
            return SORA_E_FULL; /* one at a time */
        if (!job->ended)
            continue;
        job->dropped = true;
        home_touch(home, job, &job->ticket);
        return home->job_count < HOME_JOBS_MAX + HOME_ASKS_MAX ? SORA_OK : SORA_E_FULL;
    }
    return SORA_E_FULL;
}

int home_add_job(struct sora_home *home, const struct sora_job_id *id, struct home_job **out_job)
{
    if (make_room(home))
        return SORA_E_FULL;
    struct home_job *job = calloc(1, sizeof(*job));
    struct home_job **jobs =
        realloc(home->jobs, ((size_t)home->job_count + 1) * sizeof(struct home_job *));
    if (jobs)
        home->jobs = jobs;
    if (!job || !jobs || sora_ring_init(&job->log, HOME_LOG_LINES, sizeof(struct home_line))) {
        free(job);
        return SORA_E_MEMORY;
    }
    job->id = *id;
    job->final_state = -1;
    sora_bytes_init(&job->envelope, ENVELOPE_MAX);
    jobs[home->job_count++] = job;
    *out_job = job;
    return SORA_OK;
}

int home_make_takes(struct home_job *job, int32_t count)
{
    job->takes = calloc((size_t)count, sizeof(*job->takes));
    if (!job->takes)
        return SORA_E_MEMORY;
    job->take_count = count;
    for (int32_t i = 0; i < count; i++) {
        struct home_take *take = &job->takes[i];
        take->job = job;
        take->index = i;
        take->id = home_take_id(&job->id, i);
        sora_bytes_init(&take->prepared, SORA_MESSAGE_BYTES_MAX);
        take->shards = calloc(SORA_PLAN_SHARDS_MAX, sizeof(*take->shards));
        if (!take->shards)
            return SORA_E_MEMORY;
    }
    return SORA_OK;
}

struct sora_digest home_digest(const struct sora_store_blob *blob)
{
    struct sora_digest digest;
    memcpy(digest.bytes, blob->digest, sizeof(digest.bytes));
    return digest;
}

struct sora_store_blob home_store_blob(const struct sora_blob *blob)
{
    struct sora_store_blob out = {.size = blob->size};
    memcpy(out.digest, blob->digest.bytes, sizeof(out.digest));
    return out;
}

void home_use_blob(struct sora_home *home, const struct sora_store_blob *blob, home_blob_use use)
{
    struct sora_digest digest = home_digest(blob);
    use(home->params.blobs, &digest);
}

/* Nothing goes on from it: also one that might have been evicted. */
static void drop_part(struct sora_home *home, const struct home_part *part)
{
    if (!part->pinned)
        home_use_blob(home, &part->row.blob, sora_blob_store_pin);
    home_use_blob(home, &part->row.blob, sora_blob_store_drop);
}

static void free_take(struct sora_home *home, struct home_take *take)
{
    bool over = take->job->ended; /* else the home ends, and goes on with them */
    home_blob_use leave = over ? sora_blob_store_drop : sora_blob_store_unpin;
    for (size_t i = 0; i < take->part_count; i++) {
        if (over)
            drop_part(home, &take->parts[i]);
        else if (take->parts[i].pinned)
            home_use_blob(home, &take->parts[i].row.blob, leave);
    }
    for (size_t i = 0; i < take->piece_count; i++)
        home_use_blob(home, &take->pieces[i].row.blob, leave);
    if (take->text)
        home_use_text(home, take, leave);
    free(take->parts);
    free(take->pieces);
    free(take->shards);
    sora_bytes_fini(&take->prepared);
    sora_message_destroy(&take->text);
}

void home_free_work(struct sora_home *home, struct home_job *job)
{
    home_stop_assembly(home, job);
    for (int32_t i = 0; job->takes && i < job->take_count; i++)
        free_take(home, &job->takes[i]);
    free(job->takes);
    job->takes = NULL;
    if (job->manifest) {
        struct sora_digest digest;
        memcpy(digest.bytes, job->model, sizeof(digest.bytes));
        sora_blob_store_unpin(home->params.blobs, &digest);
    }
    sora_bytes_fini(&job->envelope);
    sora_message_destroy(&job->spec);
    sora_message_destroy(&job->manifest);
    free(job->plan);
    job->plan = NULL;
}

void home_remove_job(struct sora_home *home, struct home_job *job)
{
    int at = 0;
    while (at < home->job_count && home->jobs[at] != job)
        at++;
    SORA_ASSERT(at < home->job_count);
    home_forget_fetches(home, job);
    home_free_work(home, job);
    home_drop_snapshot(home, job);
    struct home_line line;
    while (sora_ring_pop(&job->log, &line))
        free(line.text);
    sora_ring_fini(&job->log);
    free(job->ran);
    free(job);
    home->job_count--;
    memmove(&home->jobs[at], &home->jobs[at + 1],
            (size_t)(home->job_count - at) * sizeof(struct home_job *));
}

/* ---- parts and pieces ---- */

/* Room for one more item; returns it zeroed, NULL without memory. */
static void *grow(void **items, size_t *count, size_t *capacity, size_t size)
{
    if (*count == *capacity) {
        size_t wanted = *capacity ? *capacity * 2 : 16;
        void *more = realloc(*items, wanted * size);
        if (!more)
            return NULL;
        *items = more;
        *capacity = wanted;
    }
    void *item = (char *)*items + (*count)++ * size;
    memset(item, 0, size);
    return item;
}

int home_add_part(struct sora_home *home, struct home_take *take, const struct sora_store_part *row)
{
    if (take->part_count == HOME_PARTS_MAX)
        return SORA_E_LIMIT;
    void *items = take->parts;
    struct home_part *part = grow(&items, &take->part_count, &take->part_capacity, sizeof(*part));
    take->parts = items;
    if (!part)
        return SORA_E_MEMORY;
    part->row = *row;
    part->pinned = true;
    home_use_blob(home, &row->blob, sora_blob_store_pin);
    return SORA_OK;
}

int home_add_piece(struct sora_home *home, struct home_take *take,
                   const struct sora_store_piece *row)
{
    if (take->piece_count == HOME_PIECES_MAX)
        return SORA_E_LIMIT;
    void *items = take->pieces;
    struct home_piece *piece =
        grow(&items, &take->piece_count, &take->piece_capacity, sizeof(*piece));
    take->pieces = items;
    if (!piece)
        return SORA_E_MEMORY;
    piece->row = *row;
    home_use_blob(home, &row->blob, sora_blob_store_pin);
    return SORA_OK;
}

/* The oldest step at which a present owner began: its orders go on naming those parts. */
static int32_t oldest_resume(struct sora_home *home, const struct home_take *take, int32_t step)
{
    struct sora_farm_job_view view;
    if (sora_farm_job_view(home->farm, &take->id, &view))
        return step;
    for (int32_t i = 0; i < view.shard_count; i++) {
        struct sora_farm_order order;
        if (view.shards[i].epoch > 0 &&
            sora_farm_order_get(home->farm, &take->id, i, &order) == SORA_OK &&
            order.resume_step < step)
            step = order.resume_step;
    }
    return step;
}

/* Blobs before `step` may be evicted; the rows stay as long as an order names them. */
void home_prune_parts(struct sora_home *home, struct home_take *take, int32_t step)
{
    int32_t rows = oldest_resume(home, take, step);
    size_t kept = 0;
    for (size_t i = 0; i < take->part_count; i++) {
        struct home_part *part = &take->parts[i];
        if (part->row.step < step && part->pinned) {
            home_use_blob(home, &part->row.blob, sora_blob_store_unpin);
            part->pinned = false;
        }
        if (part->row.step >= rows)
            take->parts[kept++] = *part;
        else
            drop_part(home, part);
    }
    take->part_count = kept;
    if (rows <= take->drop_step)
        return;
    take->drop_step = rows;
    home_touch(home, take->job, &take->drop_ticket);
}

/* ---- text ---- */

void home_use_text(struct sora_home *home, const struct home_take *take, home_blob_use use)
{
    const Farm__TextEncoded *text = (const Farm__TextEncoded *)take->text->any;
    for (size_t i = 0; i < text->n_rows; i++) {
        struct sora_blob blob;
        if (sora_blob_get(text->rows[i], &blob))
            use(home->params.blobs, &blob.digest);
    }
}

int home_keep_text(struct sora_home *home, struct home_take *take, const void *data, size_t size)
{
    struct sora_message *text = NULL;
    int rc =
        sora_message_decode_as(&farm__text_encoded__descriptor, data, size, false, &text, NULL);
    if (rc)
        return rc;
    if (take->text) {
        home_use_text(home, take, sora_blob_store_drop);
        sora_message_destroy(&take->text);
    }
    take->text = text;
    home_use_text(home, take, sora_blob_store_pin);
    sora_bytes_clear(&take->prepared);
    return sora_bytes_append(&take->prepared, data, size);
}

/* ---- small things ---- */

struct home_line *home_add_line(struct home_job *job, int32_t number, const char *text)
{
    struct home_line line = {.number = number, .text = strdup(text)}, old;
    if (!line.text)
        return NULL;
    if (job->log.count == HOME_LOG_LINES && sora_ring_pop(&job->log, &old))
        free(old.text);
    if (sora_ring_push(&job->log, &line)) {
        free(line.text);
        return NULL;
    }
    job->line_next = number + 1;
    return sora_ring_at(&job->log, job->log.count - 1);
}

void home_note(struct sora_home *home, struct home_job *job, const char *format, ...)
{
    char text[LINE_SIZE], line[LINE_SIZE + 32];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    time_t wall = (time_t)(sora_clock_wall_ms() / 1000);
    struct tm utc;
    char clock[32] = "";
    if (gmtime_r(&wall, &utc))
        strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S", &utc);
    snprintf(line, sizeof(line), "%s %s", clock, text);
    struct home_line *added = home_add_line(job, job->line_next, line);
    if (added)
        home_touch(home, job, &added->ticket);
    if (job->final_state < 0) /* else its state says so */
        home_send_note(home, job, text);
}

void home_reply_keep(const struct sora_origin *origin, struct home_reply *out)
{
    *out = (struct home_reply){.origin = {.peer = origin->peer, .id = origin->id}};
    if (origin->identity)
        out->identity = *origin->identity;
}

const struct sora_origin *home_reply_origin(struct home_reply *reply)
{
    reply->origin.identity = &reply->identity;
    return &reply->origin;
}

void home_refuse(struct sora_home *home, struct home_reply *reply, const struct sora_fault *fault)
{
    sora_post_refuse(home->params.post, home_reply_origin(reply), fault);
}
