/*
 * Which blobs are wanted, by whom, and which of them are fetched now. How one is fetched is
 * proto/blob_fetch.c, how ours are given proto/blob_serve.c.
 *
 * Callbacks may fetch and forget; therefore fetches end in one place, at the end of a step, and the
 * list is looked at anew after each callback.
 */
#include "proto/blob_transfer.h"

#include "proto/blob_fetch.h"
#include "proto/blob_serve.h"

#include <stdlib.h>
#include <string.h>

#define FETCHES_RUNNING 8
#define WANTED_MAX 1024  /* with those that wait */
#define WAITERS_MAX 4096 /* of all of them */
#define STALL_NS (10 * SORA_TIME_SECOND)

/* Somebody who wants the blob, and whom he named. */
struct waiter {
    struct waiter *next;
    unsigned char node[SORA_NODE_ID_SIZE];
    sora_blob_done done;
    void *context;
};

/* A blob that is wanted. */
struct wanted {
    struct wanted *next;
    struct waiter *waiters;
    struct sora_blob_fetch fetch;
};

struct sora_blob_transfer {
    struct sora_blob_store *store;
    const struct sora_post *post;
    struct sora_blob_serve *serve;
    sora_time stall_ns;
    struct wanted *first;
    int wanted_count, waiter_count;
    bool work; /* step has something to do at once */
};

int sora_blob_transfer_create(const struct sora_blob_transfer_params *params,
                              struct sora_blob_transfer **out_transfer)
{
    struct sora_blob_transfer *transfer = calloc(1, sizeof(*transfer));
    if (!transfer)
        return SORA_E_MEMORY;
    transfer->store = params->store;
    transfer->post = params->post;
    transfer->stall_ns = params->stall_ns ? params->stall_ns : STALL_NS;
    int rc = sora_blob_serve_create(params->store, params->post, &transfer->serve);
    if (rc)
        sora_blob_transfer_destroy(&transfer);
    else
        *out_transfer = transfer;
    return rc;
}

/* ---- what is wanted ---- */

static void drop_waiter(struct sora_blob_transfer *transfer, struct waiter **link)
{
    struct waiter *waiter = *link;
    *link = waiter->next;
    free(waiter);
    transfer->waiter_count--;
}

static void drop_wanted(struct sora_blob_transfer *transfer, struct wanted **link)
{
    struct wanted *wanted = *link;
    *link = wanted->next;
    while (wanted->waiters)
        drop_waiter(transfer, &wanted->waiters);
    sora_blob_fetch_fini(&wanted->fetch);
    free(wanted);
    transfer->wanted_count--;
}

void sora_blob_transfer_destroy(struct sora_blob_transfer **transfer)
{
    struct sora_blob_transfer *gone = *transfer;
    *transfer = NULL;
    if (!gone)
        return;
    sora_blob_serve_destroy(&gone->serve);
    while (gone->first)
        drop_wanted(gone, &gone->first);
    free(gone);
}

static struct wanted *find_wanted(const struct sora_blob_transfer *transfer,
                                  const struct sora_digest *digest)
{
    struct wanted *wanted = transfer->first;
    while (wanted && (wanted->fetch.state == SORA_BLOB_FETCH_ENDED ||
                      !sora_digest_equal(&wanted->fetch.blob.digest, digest)))
        wanted = wanted->next;
    return wanted;
}

static struct wanted *add_wanted(struct sora_blob_transfer *transfer, const struct sora_blob *blob,
                                 const unsigned char node[SORA_NODE_ID_SIZE])
{
    struct wanted *wanted = calloc(1, sizeof(*wanted));
    if (!wanted)
        return NULL;
    wanted->fetch = (struct sora_blob_fetch){.store = transfer->store,
                                             .post = transfer->post,
                                             .stall_ns = transfer->stall_ns,
                                             .work = &transfer->work,
                                             .blob = *blob};
    memcpy(wanted->fetch.node, node, sizeof(wanted->fetch.node));
    if (sora_blob_fetch_init(&wanted->fetch)) {
        free(wanted);
        return NULL;
    }
    struct wanted **end = &transfer->first;
    while (*end)
        end = &(*end)->next;
    *end = wanted;
    transfer->wanted_count++;
    return wanted;
}

int sora_blob_transfer_fetch(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE],
                             const struct sora_blob *blob, sora_blob_done done, void *context)
{
    struct wanted *wanted = find_wanted(transfer, &blob->digest);
    if (transfer->waiter_count >= WAITERS_MAX || (!wanted && transfer->wanted_count >= WANTED_MAX))
        return SORA_E_FULL;
    struct waiter *waiter = calloc(1, sizeof(*waiter));
    if (waiter && !wanted)
        wanted = add_wanted(transfer, blob, node);
    if (!waiter || !wanted) {
        free(waiter);
        return SORA_E_MEMORY;
    }
    memcpy(waiter->node, node, sizeof(waiter->node));
    waiter->done = done;
    waiter->context = context;
    struct waiter **end = &wanted->waiters;
    while (*end)
        end = &(*end)->next;
    *end = waiter;
    transfer->waiter_count++;
    transfer->work = true;
    return SORA_OK;
}

void sora_blob_transfer_forget(struct sora_blob_transfer *transfer, const void *context)
{
    for (struct wanted *wanted = transfer->first; wanted; wanted = wanted->next) {
        for (struct waiter **link = &wanted->waiters; *link;) {
            if ((*link)->context == context)
                drop_waiter(transfer, link);
            else
                link = &(*link)->next;
        }
    }
    transfer->work = true; /* step drops those that nobody waits for */
}

uint64_t sora_blob_transfer_received(const struct sora_blob_transfer *transfer,
                                     const struct sora_digest *digest)
{
    const struct wanted *wanted = find_wanted(transfer, digest);
    return wanted ? wanted->fetch.received : 0;
}

/* ---- the end of fetches ---- */

/* After a failure others may have named another node: that one is asked next. True when so. */
static bool try_another(struct wanted *wanted)
{
    struct sora_blob_fetch *fetch = &wanted->fetch;
    struct waiter *other = wanted->waiters;
    while (other && memcmp(other->node, fetch->node, sizeof(fetch->node)) == 0)
        other = other->next;
    if (!other || fetch->fault.code == 0)
        return false;
    sora_blob_fetch_turn_to(fetch, other->node);
    return true;
}

/* The next waiter to be told: on success any, else one who named the node that failed. */
static struct waiter **next_told(struct wanted *wanted)
{
    const struct sora_blob_fetch *fetch = &wanted->fetch;
    struct waiter **link = &wanted->waiters;
    while (*link && fetch->fault.code != 0 &&
           memcmp((*link)->node, fetch->node, sizeof(fetch->node)) != 0)
        link = &(*link)->next;
    return link;
}

/* One callback, or one blob less; false when nothing has ended. */
static bool finish_one(struct sora_blob_transfer *transfer)
{
    for (struct wanted **at = &transfer->first; *at; at = &(*at)->next) {
        struct wanted *wanted = *at;
        if (!wanted->waiters && wanted->fetch.state != SORA_BLOB_FETCH_ADOPTING) {
            drop_wanted(transfer, at);
            transfer->work = true; /* another may have its place */
            return true;
        }
        if (wanted->fetch.state != SORA_BLOB_FETCH_ENDED)
            continue;
        struct waiter **link = next_told(wanted);
        if (!*link) {
            if (!try_another(wanted))
                drop_wanted(transfer, at);
            transfer->work = true;
            return true;
        }
        struct waiter told = **link;
        struct sora_blob blob = wanted->fetch.blob;
        struct sora_fault fault = wanted->fetch.fault;
        drop_waiter(transfer, link);
        told.done(told.context, &blob, &fault);
        return true;
    }
    return false;
}

/* ---- events ---- */

static void take_chunk(struct sora_blob_transfer *transfer, const struct sora_origin *origin,
                       const Farm__BlobChunk *chunk, const void *payload, size_t size,
                       sora_time now)
{
    struct sora_digest digest;
    memcpy(digest.bytes, chunk->digest.data, sizeof(digest.bytes));
    struct wanted *wanted = find_wanted(transfer, &digest);
    if (wanted && sora_blob_fetch_asks(&wanted->fetch, origin->identity->node))
        sora_blob_fetch_take_chunk(&wanted->fetch, chunk, payload, size, now);
}

static bool take_refusal(struct sora_blob_transfer *transfer, const struct sora_origin *origin,
                         uint64_t reply_to, const Farm__Refusal *refusal, sora_time now)
{
    bool taken = false;
    for (struct wanted *wanted = transfer->first; wanted && reply_to != 0 && !taken;
         wanted = wanted->next)
        taken = sora_blob_fetch_asks(&wanted->fetch, origin->identity->node) &&
                sora_blob_fetch_take_refusal(&wanted->fetch, reply_to, refusal, now);
    return taken;
}

bool sora_blob_transfer_message(struct sora_blob_transfer *transfer,
                                const struct sora_origin *origin, const Farm__Message *message,
                                const void *payload, size_t payload_size, sora_time now)
{
    if (message->body_case == FARM__MESSAGE__BODY_BLOB_CHUNK) {
        take_chunk(transfer, origin, message->blob_chunk, payload, payload_size, now);
        return true;
    }
    if (message->body_case == FARM__MESSAGE__BODY_REFUSAL)
        return take_refusal(transfer, origin, message->reply_to, message->refusal, now);
    return sora_blob_serve_message(transfer->serve, origin, message);
}

void sora_blob_transfer_peer(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE], bool up)
{
    if (!up)
        sora_blob_serve_down(transfer->serve, node);
    for (struct wanted *wanted = transfer->first; wanted; wanted = wanted->next) {
        if (sora_blob_fetch_asks(&wanted->fetch, node))
            sora_blob_fetch_take_peer(&wanted->fetch, up);
    }
}

/* ---- the loop ---- */

static bool is_busy(const struct sora_blob_fetch *fetch)
{
    return fetch->state == SORA_BLOB_FETCH_RUNNING || fetch->state == SORA_BLOB_FETCH_ADOPTING;
}

void sora_blob_transfer_step(struct sora_blob_transfer *transfer, sora_time now)
{
    transfer->work = false;
    int running = 0;
    for (struct wanted *wanted = transfer->first; wanted; wanted = wanted->next)
        running += is_busy(&wanted->fetch);
    for (struct wanted *wanted = transfer->first; wanted; wanted = wanted->next) {
        struct sora_blob_fetch *fetch = &wanted->fetch;
        bool waits = fetch->state == SORA_BLOB_FETCH_QUEUED && wanted->waiters;
        if (waits && !sora_blob_fetch_is_here(fetch) && running < FETCHES_RUNNING) {
            sora_blob_fetch_start(fetch, now);
            running += fetch->state == SORA_BLOB_FETCH_RUNNING;
        }
        if (fetch->state == SORA_BLOB_FETCH_RUNNING)
            sora_blob_fetch_run(fetch, now);
    }
    while (finish_one(transfer))
        continue;
    sora_blob_serve_step(transfer->serve, now);
}

sora_time sora_blob_transfer_deadline(const struct sora_blob_transfer *transfer)
{
    if (transfer->work)
        return 0;
    sora_time next = sora_blob_serve_deadline(transfer->serve);
    for (const struct wanted *wanted = transfer->first; wanted; wanted = wanted->next) {
        sora_time at = sora_blob_fetch_deadline(&wanted->fetch);
        next = at < next ? at : next;
    }
    return next;
}
