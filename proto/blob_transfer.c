/*
 * The fetching half. A fetch asks for ranges ahead of what has come, appends chunks to its partial
 * file, and hands that to the store, which checks the digest. Giving is proto/blob_serve.c.
 *
 * Callbacks may fetch and forget; therefore fetches end in one place, at the end of a step, and the
 * list is looked at anew after each callback.
 */
#include "proto/blob_transfer.h"

#include "base/files.h"
#include "base/log.h"
#include "proto/blob_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FETCHES_RUNNING 8
#define FETCHES_MAX 1024 /* with those that wait */
#define WAITERS_MAX 4096 /* of all fetches */
#define RANGE_BYTES ((uint64_t)4 << 20)
#define AHEAD_BYTES (2 * RANGE_BYTES) /* asked for and not here */
#define REQUESTS_MAX 4                /* ids of requests that may yet be refused */
#define STALL_NS (10 * SORA_TIME_SECOND)
#define STALLS_MAX 3
#define RETRY_NS (SORA_TIME_SECOND / 50) /* after FULL */
#define BUSY_NS SORA_TIME_SECOND         /* after a refusal with BUSY */

enum fetch_state {
    FETCH_QUEUED,
    FETCH_RUNNING,
    FETCH_ADOPTING, /* the store's thread has the file */
    FETCH_ENDED,    /* `fault` says how; the callbacks are next */
};

/* Somebody who wants the blob, and whom he named. */
struct waiter {
    struct waiter *next;
    unsigned char node[SORA_NODE_ID_SIZE];
    sora_blob_done done;
    void *context;
};

struct fetch {
    struct fetch *next;
    struct sora_blob_transfer *transfer;
    struct sora_blob blob;
    struct waiter *waiters;
    enum fetch_state state;
    unsigned char node[SORA_NODE_ID_SIZE]; /* who is asked */
    char *path;                            /* of the partial file; owned */
    int fd;
    uint64_t received, asked;        /* bytes from the start: in the file; asked for */
    uint64_t requests[REQUESTS_MAX]; /* message ids, a ring */
    unsigned request_count;
    sora_time progress_at, wait_until; /* of the last progress; not asked before that */
    int stalls;
    bool is_second; /* it begins anew after wrong content */
    struct sora_fault fault;
};

struct sora_blob_transfer {
    struct sora_blob_store *store;
    const struct sora_post *post;
    struct sora_blob_serve *serve;
    sora_time stall_ns;
    struct fetch *first;
    int fetch_count, waiter_count;
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

/* ---- fetches and waiters ---- */

static void close_file(struct fetch *fetch)
{
    if (fetch->fd >= 0)
        close(fetch->fd);
    fetch->fd = -1;
}

static void drop_waiter(struct fetch *fetch, struct waiter **link)
{
    struct waiter *waiter = *link;
    *link = waiter->next;
    free(waiter);
    fetch->transfer->waiter_count--;
}

/* The partial file stays. */
static void drop_fetch(struct sora_blob_transfer *transfer, struct fetch **link)
{
    struct fetch *fetch = *link;
    *link = fetch->next;
    sora_blob_store_forget(transfer->store, fetch);
    while (fetch->waiters)
        drop_waiter(fetch, &fetch->waiters);
    close_file(fetch);
    free(fetch->path);
    free(fetch);
    transfer->fetch_count--;
}

void sora_blob_transfer_destroy(struct sora_blob_transfer **transfer)
{
    struct sora_blob_transfer *gone = *transfer;
    *transfer = NULL;
    if (!gone)
        return;
    sora_blob_serve_destroy(&gone->serve);
    while (gone->first)
        drop_fetch(gone, &gone->first);
    free(gone);
}

static struct fetch *find_fetch(const struct sora_blob_transfer *transfer,
                                const struct sora_digest *digest)
{
    struct fetch *fetch = transfer->first;
    while (fetch &&
           (fetch->state == FETCH_ENDED || !sora_digest_equal(&fetch->blob.digest, digest)))
        fetch = fetch->next;
    return fetch;
}

static struct fetch *add_fetch(struct sora_blob_transfer *transfer, const struct sora_blob *blob)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    if (!fetch)
        return NULL;
    fetch->transfer = transfer;
    fetch->blob = *blob;
    fetch->fd = -1;
    if (asprintf(&fetch->path, "%s/fetch-%s", sora_blob_store_incoming(transfer->store),
                 sora_digest_text(&blob->digest, text)) < 0) {
        free(fetch);
        return NULL;
    }
    struct fetch **end = &transfer->first;
    while (*end)
        end = &(*end)->next;
    *end = fetch;
    transfer->fetch_count++;
    return fetch;
}

int sora_blob_transfer_fetch(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE],
                             const struct sora_blob *blob, sora_blob_done done, void *context)
{
    struct fetch *fetch = find_fetch(transfer, &blob->digest);
    if (transfer->waiter_count >= WAITERS_MAX || (!fetch && transfer->fetch_count >= FETCHES_MAX))
        return SORA_E_FULL;
    struct waiter *waiter = calloc(1, sizeof(*waiter));
    if (waiter && !fetch) {
        fetch = add_fetch(transfer, blob);
        if (fetch)
            memcpy(fetch->node, node, sizeof(fetch->node));
    }
    if (!waiter || !fetch) {
        free(waiter);
        return SORA_E_MEMORY;
    }
    memcpy(waiter->node, node, sizeof(waiter->node));
    waiter->done = done;
    waiter->context = context;
    struct waiter **end = &fetch->waiters;
    while (*end)
        end = &(*end)->next;
    *end = waiter;
    transfer->waiter_count++;
    transfer->work = true;
    return SORA_OK;
}

void sora_blob_transfer_forget(struct sora_blob_transfer *transfer, const void *context)
{
    for (struct fetch *fetch = transfer->first; fetch; fetch = fetch->next) {
        for (struct waiter **link = &fetch->waiters; *link;) {
            if ((*link)->context == context)
                drop_waiter(fetch, link);
            else
                link = &(*link)->next;
        }
    }
    transfer->work = true; /* step drops those that nobody waits for */
}

uint64_t sora_blob_transfer_received(const struct sora_blob_transfer *transfer,
                                     const struct sora_digest *digest)
{
    const struct fetch *fetch = find_fetch(transfer, digest);
    return fetch ? fetch->received : 0;
}

static void end_fetch(struct fetch *fetch)
{
    close_file(fetch);
    fetch->state = FETCH_ENDED;
    fetch->transfer->work = true;
}

/* ---- the partial file ---- */

static void fail_file(struct fetch *fetch, const char *verb)
{
    int number = errno == EFBIG ? ENOSPC : errno;
    sora_file_fault(&fetch->fault, number, verb, fetch->path);
    if (fetch->fault.code == SORA_E_SPACE)
        unlink(fetch->path); /* the disk needs it more */
    end_fetch(fetch);
}

/* Goes on behind what an earlier try has left. */
static void open_file(struct fetch *fetch)
{
    fetch->fd = open(fetch->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat status;
    if (fetch->fd < 0 || fstat(fetch->fd, &status) != 0) {
        fail_file(fetch, "create");
        return;
    }
    fetch->received = (uint64_t)status.st_size;
    if (fetch->received > fetch->blob.size || fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN) {
        fetch->received = 0;
        if (ftruncate(fetch->fd, 0) != 0)
            fail_file(fetch, "write");
    }
    fetch->asked = fetch->received;
}

static bool write_chunk(struct fetch *fetch, const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = pwrite(fetch->fd, data, size, (off_t)fetch->received);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fail_file(fetch, "write");
            return false;
        }
        data += written;
        size -= (size_t)written;
        fetch->received += (uint64_t)written;
    }
    return true;
}

/* ---- states ---- */

static bool is_here(struct fetch *fetch)
{
    return sora_blob_store_have(fetch->transfer->store, &fetch->blob.digest, &fetch->blob.size);
}

static void start_fetch(struct fetch *fetch, sora_time now)
{
    fetch->state = FETCH_RUNNING;
    fetch->progress_at = now;
    fetch->wait_until = 0;
    fetch->stalls = 0;
    open_file(fetch);
}

static void done_adopt(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct fetch *fetch = context;
    (void)blob;
    fetch->transfer->work = true;
    if (fault->code == SORA_E_FORMAT && !fetch->is_second) {
        sora_log(SORA_LOG_WARN, "a fetched blob is wrong and is fetched anew: %s", fault->text);
        fetch->is_second = true;
        fetch->state = FETCH_QUEUED;
        return;
    }
    fetch->fault = *fault;
    end_fetch(fetch);
}

static void adopt(struct fetch *fetch, sora_time now)
{
    close_file(fetch);
    int rc = sora_blob_store_adopt_as(fetch->transfer->store, fetch->path, &fetch->blob.digest,
                                      done_adopt, fetch);
    if (rc == SORA_OK)
        fetch->state = FETCH_ADOPTING;
    else
        fetch->wait_until = now + RETRY_NS; /* FULL or MEMORY, which pass */
}

static void ask(struct fetch *fetch, sora_time now)
{
    uint64_t left = fetch->blob.size - fetch->asked;
    Farm__BlobGet get = FARM__BLOB_GET__INIT;
    get.digest.data = fetch->blob.digest.bytes;
    get.digest.len = SORA_DIGEST_SIZE;
    get.offset = fetch->asked;
    get.size = (uint32_t)(left < RANGE_BYTES ? left : RANGE_BYTES);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_BLOB_GET;
    message.blob_get = &get;
    const struct sora_post *post = fetch->transfer->post;
    struct sora_fault fault = {0};
    int rc = post->send(post->owner, fetch->node, &message, NULL, 0, &fault);
    if (rc == SORA_OK) {
        fetch->asked += get.size;
        fetch->requests[fetch->request_count++ % REQUESTS_MAX] = message.id;
    } else if (rc == SORA_E_FULL) {
        fetch->wait_until = now + RETRY_NS;
    } else if (rc == SORA_E_NOT_FOUND) { /* it may come back: peer */
        fetch->wait_until = fetch->progress_at + fetch->transfer->stall_ns;
    } else {
        fetch->fault = fault;
        sora_fault_set(&fetch->fault, rc, "a blob cannot be asked for: %s", sora_error_text(rc));
        end_fetch(fetch);
    }
}

static void check_stall(struct fetch *fetch, sora_time now)
{
    if (now - fetch->progress_at < fetch->transfer->stall_ns)
        return;
    const struct sora_post *post = fetch->transfer->post;
    char text[SORA_DIGEST_TEXT_SIZE];
    fetch->progress_at = now;
    fetch->wait_until = 0;
    fetch->asked = fetch->received;
    if (++fetch->stalls <= STALLS_MAX)
        return;
    sora_fault_set(&fetch->fault, SORA_E_TIMEOUT,
                   "blob %.16s... stopped at %llu of %llu bytes: nothing came from %s",
                   sora_digest_text(&fetch->blob.digest, text), (unsigned long long)fetch->received,
                   (unsigned long long)fetch->blob.size, post->name(post->owner, fetch->node));
    end_fetch(fetch);
}

static void run_fetch(struct fetch *fetch, sora_time now)
{
    if (now >= fetch->wait_until)
        fetch->wait_until = 0;
    if (fetch->received == fetch->blob.size) {
        if (fetch->wait_until == 0)
            adopt(fetch, now);
        return;
    }
    check_stall(fetch, now);
    uint64_t ahead = fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN ? RANGE_BYTES : AHEAD_BYTES;
    while (fetch->state == FETCH_RUNNING && fetch->wait_until == 0 &&
           fetch->asked < fetch->blob.size && fetch->asked + RANGE_BYTES <= fetch->received + ahead)
        ask(fetch, now);
}

/* ---- the end of fetches ---- */

/* After a failure others may have named another node: that one is asked next. True when so. */
static bool try_another(struct fetch *fetch)
{
    struct waiter *other = fetch->waiters;
    while (other && memcmp(other->node, fetch->node, sizeof(fetch->node)) == 0)
        other = other->next;
    if (!other || fetch->fault.code == 0)
        return false;
    memcpy(fetch->node, other->node, sizeof(fetch->node));
    fetch->fault = (struct sora_fault){0};
    fetch->state = FETCH_QUEUED;
    fetch->is_second = false;
    return true;
}

/* The next waiter to be told: on success any, else one who named the node that failed. */
static struct waiter **next_told(struct fetch *fetch)
{
    struct waiter **link = &fetch->waiters;
    while (*link && fetch->fault.code != 0 &&
           memcmp((*link)->node, fetch->node, sizeof(fetch->node)) != 0)
        link = &(*link)->next;
    return link;
}

/* One callback, or one fetch less; false when nothing has ended. */
static bool finish_one(struct sora_blob_transfer *transfer)
{
    for (struct fetch **at = &transfer->first; *at; at = &(*at)->next) {
        struct fetch *fetch = *at;
        if (!fetch->waiters && fetch->state != FETCH_ADOPTING) {
            drop_fetch(transfer, at);
            transfer->work = true; /* another may have its place */
            return true;
        }
        if (fetch->state != FETCH_ENDED)
            continue;
        struct waiter **link = next_told(fetch);
        if (!*link) {
            if (!try_another(fetch))
                drop_fetch(transfer, at);
            transfer->work = true;
            return true;
        }
        struct waiter told = **link;
        struct sora_blob blob = fetch->blob;
        struct sora_fault fault = fetch->fault;
        drop_waiter(fetch, link);
        told.done(told.context, &blob, &fault);
        return true;
    }
    return false;
}

/* ---- events ---- */

static struct fetch *find_running(struct sora_blob_transfer *transfer,
                                  const struct sora_origin *origin,
                                  const struct sora_digest *digest)
{
    struct fetch *fetch = find_fetch(transfer, digest);
    if (!fetch || fetch->state != FETCH_RUNNING ||
        memcmp(fetch->node, origin->identity->node, sizeof(fetch->node)) != 0)
        return NULL;
    return fetch;
}

/* Chunks that are not the next one are old answers, or follow a lost one; those are asked for anew
 * after a stall. */
static void take_chunk(struct sora_blob_transfer *transfer, const struct sora_origin *origin,
                       const Farm__BlobChunk *chunk, const void *payload, size_t size,
                       sora_time now)
{
    struct sora_digest digest;
    memcpy(digest.bytes, chunk->digest.data, sizeof(digest.bytes));
    struct fetch *fetch = find_running(transfer, origin, &digest);
    if (!fetch || size == 0)
        return;
    if (fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN && chunk->size <= RANGE_BYTES &&
        size <= chunk->size)
        fetch->blob.size = fetch->asked = chunk->size;
    if (chunk->size != fetch->blob.size) {
        sora_fault_set(
            &fetch->fault, SORA_E_FORMAT, "%s has a blob of %llu bytes where one of %llu is wanted",
            transfer->post->name(transfer->post->owner, fetch->node),
            (unsigned long long)chunk->size,
            (unsigned long long)(fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN ? RANGE_BYTES
                                                                            : fetch->blob.size));
        end_fetch(fetch);
        return;
    }
    if (chunk->offset != fetch->received || size > fetch->asked - fetch->received)
        return;
    fetch->progress_at = now;
    fetch->stalls = 0;
    transfer->work = true;
    write_chunk(fetch, payload, size);
}

static bool take_refusal(struct sora_blob_transfer *transfer, const struct sora_origin *origin,
                         uint64_t reply_to, const Farm__Refusal *refusal, sora_time now)
{
    for (struct fetch *fetch = transfer->first; fetch && reply_to != 0; fetch = fetch->next) {
        bool mine = false;
        for (unsigned i = 0; i < REQUESTS_MAX && i < fetch->request_count; i++)
            mine |= fetch->requests[i] == reply_to;
        if (!mine || fetch->state != FETCH_RUNNING ||
            memcmp(fetch->node, origin->identity->node, sizeof(fetch->node)) != 0)
            continue;
        if (sora_error_retry(refusal->code)) {
            fetch->asked = fetch->received;
            fetch->wait_until = now + BUSY_NS;
            return true;
        }
        int code = refusal->code < 0 ? refusal->code : SORA_E_NOT_FOUND;
        sora_fault_set(&fetch->fault, code, "%s: %s",
                       transfer->post->name(transfer->post->owner, fetch->node), refusal->text);
        end_fetch(fetch);
        return true;
    }
    return false;
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
    for (struct fetch *fetch = transfer->first; fetch; fetch = fetch->next) {
        if (fetch->state != FETCH_RUNNING || memcmp(fetch->node, node, SORA_NODE_ID_SIZE) != 0)
            continue;
        /* Ids count per connection, and what was asked there does not come. */
        fetch->asked = fetch->received;
        fetch->request_count = 0;
        fetch->wait_until = up ? 0 : fetch->progress_at + transfer->stall_ns;
        transfer->work |= up;
    }
}

/* ---- the loop ---- */

void sora_blob_transfer_step(struct sora_blob_transfer *transfer, sora_time now)
{
    transfer->work = false;
    int running = 0;
    for (struct fetch *fetch = transfer->first; fetch; fetch = fetch->next)
        running += fetch->state == FETCH_RUNNING || fetch->state == FETCH_ADOPTING;
    for (struct fetch *fetch = transfer->first; fetch; fetch = fetch->next) {
        bool waits = fetch->state == FETCH_QUEUED && fetch->waiters;
        if (waits && is_here(fetch)) {
            end_fetch(fetch);
        } else if (waits && running < FETCHES_RUNNING) {
            start_fetch(fetch, now);
            running += fetch->state == FETCH_RUNNING;
        }
        if (fetch->state == FETCH_RUNNING)
            run_fetch(fetch, now);
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
    for (const struct fetch *fetch = transfer->first; fetch; fetch = fetch->next) {
        if (fetch->state != FETCH_RUNNING)
            continue;
        sora_time stall_at = fetch->progress_at + transfer->stall_ns;
        bool waits = fetch->wait_until > 0 &&
                     (fetch->asked < fetch->blob.size || fetch->received == fetch->blob.size);
        sora_time at = waits && fetch->wait_until < stall_at ? fetch->wait_until : stall_at;
        next = at < next ? at : next;
    }
    return next;
}
