/* One blob on its way: the partial file, what is asked for, stalls, and what comes. */
#include "proto/blob_fetch.h"

#include "base/files.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANGE_BYTES ((uint64_t)4 << 20)
#define AHEAD_BYTES (2 * RANGE_BYTES) /* asked for and not here */
#define STALLS_MAX 3
#define RETRY_NS (SORA_TIME_SECOND / 50) /* after FULL */
#define BUSY_NS SORA_TIME_SECOND         /* after a refusal with BUSY */

int sora_blob_fetch_init(struct sora_blob_fetch *fetch)
{
    char text[SORA_DIGEST_TEXT_SIZE];
    fetch->fd = -1;
    if (asprintf(&fetch->path, "%s/fetch-%s", sora_blob_store_incoming(fetch->store),
                 sora_digest_text(&fetch->blob.digest, text)) >= 0)
        return SORA_OK;
    fetch->path = NULL;
    return SORA_E_MEMORY;
}

static void close_file(struct sora_blob_fetch *fetch)
{
    if (fetch->fd >= 0)
        close(fetch->fd);
    fetch->fd = -1;
}

void sora_blob_fetch_fini(struct sora_blob_fetch *fetch)
{
    sora_blob_store_forget(fetch->store, fetch);
    close_file(fetch);
    free(fetch->path);
    fetch->path = NULL;
}

static void end_fetch(struct sora_blob_fetch *fetch)
{
    close_file(fetch);
    fetch->state = SORA_BLOB_FETCH_ENDED;
    *fetch->work = true;
}

/* ---- the partial file ---- */

static void fail_file(struct sora_blob_fetch *fetch, const char *verb)
{
    int number = errno == EFBIG ? ENOSPC : errno;
    sora_file_fault(&fetch->fault, number, verb, fetch->path);
    if (fetch->fault.code == SORA_E_SPACE)
        unlink(fetch->path); /* the disk needs it more */
    end_fetch(fetch);
}

/* Goes on behind what an earlier try has left. */
static void open_file(struct sora_blob_fetch *fetch)
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

static void write_chunk(struct sora_blob_fetch *fetch, const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = pwrite(fetch->fd, data, size, (off_t)fetch->received);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fail_file(fetch, "write");
            return;
        }
        data += written;
        size -= (size_t)written;
        fetch->received += (uint64_t)written;
    }
}

/* ---- states ---- */

static const char *name_of(const struct sora_blob_fetch *fetch)
{
    return fetch->post->name(fetch->post->owner, fetch->node);
}

bool sora_blob_fetch_is_here(struct sora_blob_fetch *fetch)
{
    if (!sora_blob_store_have(fetch->store, &fetch->blob.digest, &fetch->blob.size))
        return false;
    end_fetch(fetch);
    return true;
}

void sora_blob_fetch_turn_to(struct sora_blob_fetch *fetch,
                             const unsigned char node[SORA_NODE_ID_SIZE])
{
    memcpy(fetch->node, node, sizeof(fetch->node));
    fetch->fault = (struct sora_fault){0};
    fetch->state = SORA_BLOB_FETCH_QUEUED;
    fetch->is_second = false;
}

void sora_blob_fetch_start(struct sora_blob_fetch *fetch, sora_time now)
{
    fetch->state = SORA_BLOB_FETCH_RUNNING;
    fetch->progress_at = now;
    fetch->wait_until = 0;
    fetch->stalls = 0;
    open_file(fetch);
}

static void done_adopt(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct sora_blob_fetch *fetch = context;
    (void)blob;
    *fetch->work = true;
    if (fault->code == SORA_E_FORMAT && !fetch->is_second) {
        sora_log(SORA_LOG_WARN, "a fetched blob is wrong and is fetched anew: %s", fault->text);
        fetch->is_second = true;
        fetch->state = SORA_BLOB_FETCH_QUEUED;
        return;
    }
    fetch->fault = *fault;
    end_fetch(fetch);
}

static void adopt(struct sora_blob_fetch *fetch, sora_time now)
{
    close_file(fetch);
    int rc =
        sora_blob_store_adopt_as(fetch->store, fetch->path, &fetch->blob.digest, done_adopt, fetch);
    if (rc == SORA_OK)
        fetch->state = SORA_BLOB_FETCH_ADOPTING;
    else
        fetch->wait_until = now + RETRY_NS; /* FULL or MEMORY, which pass */
}

static void ask(struct sora_blob_fetch *fetch, sora_time now)
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
    const struct sora_post *post = fetch->post;
    struct sora_fault fault = {0};
    int rc = post->send(post->owner, fetch->node, &message, NULL, 0, &fault);
    if (rc == SORA_OK) {
        fetch->asked += get.size;
        fetch->requests[fetch->request_count++ % SORA_BLOB_REQUESTS_MAX] = message.id;
    } else if (rc == SORA_E_FULL) {
        fetch->wait_until = now + RETRY_NS;
    } else if (rc == SORA_E_NOT_FOUND) { /* it may come back: peer */
        fetch->wait_until = fetch->progress_at + fetch->stall_ns;
    } else {
        fetch->fault = fault;
        sora_fault_set(&fetch->fault, rc, "a blob cannot be asked for: %s", sora_error_text(rc));
        end_fetch(fetch);
    }
}

static void check_stall(struct sora_blob_fetch *fetch, sora_time now)
{
    if (now - fetch->progress_at < fetch->stall_ns)
        return;
    char text[SORA_DIGEST_TEXT_SIZE];
    fetch->progress_at = now;
    fetch->wait_until = 0;
    fetch->asked = fetch->received;
    if (++fetch->stalls <= STALLS_MAX)
        return;
    sora_fault_set(&fetch->fault, SORA_E_TIMEOUT,
                   "blob %.16s... stopped at %llu of %llu bytes: nothing came from %s",
                   sora_digest_text(&fetch->blob.digest, text), (unsigned long long)fetch->received,
                   (unsigned long long)fetch->blob.size, name_of(fetch));
    end_fetch(fetch);
}

void sora_blob_fetch_run(struct sora_blob_fetch *fetch, sora_time now)
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
    while (fetch->state == SORA_BLOB_FETCH_RUNNING && fetch->wait_until == 0 &&
           fetch->asked < fetch->blob.size && fetch->asked + RANGE_BYTES <= fetch->received + ahead)
        ask(fetch, now);
}

/* ---- events ---- */

bool sora_blob_fetch_asks(const struct sora_blob_fetch *fetch,
                          const unsigned char node[SORA_NODE_ID_SIZE])
{
    return fetch->state == SORA_BLOB_FETCH_RUNNING &&
           memcmp(fetch->node, node, sizeof(fetch->node)) == 0;
}

/* Chunks that are not the next one are old answers, or follow a lost one; those are asked for anew
 * after a stall. */
void sora_blob_fetch_take_chunk(struct sora_blob_fetch *fetch, const Farm__BlobChunk *chunk,
                                const void *payload, size_t size, sora_time now)
{
    if (size == 0)
        return;
    if (fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN && chunk->size <= RANGE_BYTES &&
        size <= chunk->size)
        fetch->blob.size = fetch->asked = chunk->size;
    if (chunk->size != fetch->blob.size) {
        sora_fault_set(
            &fetch->fault, SORA_E_FORMAT, "%s has a blob of %llu bytes where one of %llu is wanted",
            name_of(fetch), (unsigned long long)chunk->size,
            (unsigned long long)(fetch->blob.size == SORA_BLOB_SIZE_UNKNOWN ? RANGE_BYTES
                                                                            : fetch->blob.size));
        end_fetch(fetch);
        return;
    }
    if (chunk->offset != fetch->received || size > fetch->asked - fetch->received)
        return;
    fetch->progress_at = now;
    fetch->stalls = 0;
    *fetch->work = true;
    write_chunk(fetch, payload, size);
}

bool sora_blob_fetch_take_refusal(struct sora_blob_fetch *fetch, uint64_t reply_to,
                                  const Farm__Refusal *refusal, sora_time now)
{
    bool mine = false;
    for (unsigned i = 0; i < SORA_BLOB_REQUESTS_MAX && i < fetch->request_count; i++)
        mine |= fetch->requests[i] == reply_to;
    if (!mine)
        return false;
    if (sora_error_retry(refusal->code)) {
        fetch->asked = fetch->received;
        fetch->wait_until = now + BUSY_NS;
        return true;
    }
    int code = refusal->code < 0 ? refusal->code : SORA_E_NOT_FOUND;
    sora_fault_set(&fetch->fault, code, "%s: %s", name_of(fetch), refusal->text);
    end_fetch(fetch);
    return true;
}

void sora_blob_fetch_take_peer(struct sora_blob_fetch *fetch, bool up)
{
    /* Ids count per connection, and what was asked there does not come. */
    fetch->asked = fetch->received;
    fetch->request_count = 0;
    fetch->wait_until = up ? 0 : fetch->progress_at + fetch->stall_ns;
    *fetch->work |= up;
}

sora_time sora_blob_fetch_deadline(const struct sora_blob_fetch *fetch)
{
    if (fetch->state != SORA_BLOB_FETCH_RUNNING)
        return INT64_MAX;
    sora_time stall_at = fetch->progress_at + fetch->stall_ns;
    bool waits = fetch->wait_until > 0 &&
                 (fetch->asked < fetch->blob.size || fetch->received == fetch->blob.size);
    return waits && fetch->wait_until < stall_at ? fetch->wait_until : stall_at;
}
