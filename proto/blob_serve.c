/* Ranges of blobs for members, a chunk of each in turn. */
#include "proto/blob_serve.h"

#include "base/files.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANGES_RUNNING 32
#define RANGES_MAX 256
#define RANGES_NODE_MAX 64 /* of one member */
#define STEP_CHUNKS_MAX 16 /* given in one step, so that the loop gets on */
#define CHUNK_BYTES ((size_t)1 << 20)
#define RETRY_NS                                                                                   \
    (SORA_TIME_SECOND / 100) /* after a full link; its credit wakes the loop earlier               \
                              */

_Static_assert(CHUNK_BYTES <= SORA_PAYLOAD_BYTES_MAX, "a chunk is one payload");

struct range {
    struct range *next;
    struct sora_identity identity;
    struct sora_origin origin; /* its identity is the copy above */
    struct sora_blob blob;
    uint64_t offset, end;
    int fd;         /* -1: not opened yet */
    bool checking;  /* the store reads the content first */
    bool full;      /* the link takes no more in this step */
    uint64_t round; /* in which it got its last chunk */
};

struct sora_blob_serve {
    struct sora_blob_store *store;
    const struct sora_post *post;
    struct range *first; /* in the order of asking */
    int count;
    uint64_t round; /* one chunk for each; goes on in the next step when a step has given enough */
    sora_time wake_at; /* 0: at once */
    unsigned char chunk[CHUNK_BYTES];
};

int sora_blob_serve_create(struct sora_blob_store *store, const struct sora_post *post,
                           struct sora_blob_serve **out_serve)
{
    struct sora_blob_serve *serve = calloc(1, sizeof(*serve));
    if (!serve)
        return SORA_E_MEMORY;
    serve->store = store;
    serve->post = post;
    *out_serve = serve;
    return SORA_OK;
}

/* Removes what `link` points at. */
static void drop(struct sora_blob_serve *serve, struct range **link)
{
    struct range *range = *link;
    *link = range->next;
    if (range->fd >= 0)
        close(range->fd);
    free(range);
    serve->count--;
}

void sora_blob_serve_destroy(struct sora_blob_serve **serve)
{
    struct sora_blob_serve *gone = *serve;
    *serve = NULL;
    if (!gone)
        return;
    sora_blob_store_forget(gone->store, gone);
    while (gone->first)
        drop(gone, &gone->first);
    free(gone);
}

void sora_blob_serve_down(struct sora_blob_serve *serve,
                          const unsigned char node[SORA_NODE_ID_SIZE])
{
    for (struct range **link = &serve->first; *link;) {
        if (memcmp((*link)->identity.node, node, SORA_NODE_ID_SIZE) == 0)
            drop(serve, link);
        else
            link = &(*link)->next;
    }
}

/* ---- asking ---- */

static void append(struct sora_blob_serve *serve, struct range *range)
{
    struct range **end = &serve->first;
    while (*end)
        end = &(*end)->next;
    range->next = NULL;
    *end = range;
}

static int check_get(struct sora_blob_serve *serve, const struct sora_origin *origin,
                     const Farm__BlobGet *get, struct sora_blob *out_blob, struct sora_fault *fault)
{
    memcpy(out_blob->digest.bytes, get->digest.data, SORA_DIGEST_SIZE);
    char text[SORA_DIGEST_TEXT_SIZE];
    if (!sora_blob_store_have(serve->store, &out_blob->digest, &out_blob->size))
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "blob %.16s... is not here",
                              sora_digest_text(&out_blob->digest, text));
    if (get->offset >= out_blob->size)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "blob %.16s... has %llu bytes; a range from %llu is asked for",
                              sora_digest_text(&out_blob->digest, text),
                              (unsigned long long)out_blob->size, (unsigned long long)get->offset);
    int of_node = 0;
    for (const struct range *range = serve->first; range; range = range->next)
        of_node += memcmp(range->identity.node, origin->identity->node, SORA_NODE_ID_SIZE) == 0;
    if (of_node >= RANGES_NODE_MAX || serve->count >= RANGES_MAX)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "%d ranges of blobs are waiting, %d of them for you (%d and %d are "
                              "the limits); ask again later",
                              serve->count, of_node, RANGES_MAX, RANGES_NODE_MAX);
    return SORA_OK;
}

static void take_get(struct sora_blob_serve *serve, const struct sora_origin *origin,
                     const Farm__BlobGet *get)
{
    struct sora_fault fault = {0};
    struct sora_blob blob;
    int rc = check_get(serve, origin, get, &blob, &fault);
    struct range *range = rc == SORA_OK ? calloc(1, sizeof(*range)) : NULL;
    if (rc == SORA_OK && !range)
        rc = sora_fault_set(&fault, SORA_E_MEMORY, "not enough memory; ask again later");
    if (rc) {
        sora_post_refuse(serve->post, origin, &fault);
        return;
    }
    range->identity = *origin->identity;
    range->origin = *origin;
    range->origin.identity = &range->identity;
    range->blob = blob;
    range->offset = get->offset;
    range->round = serve->round - 1;
    range->end = get->size < blob.size - get->offset ? get->offset + get->size : blob.size;
    range->fd = -1;
    append(serve, range);
    serve->count++;
    serve->wake_at = 0;
}

static void answer_have(struct sora_blob_serve *serve, const struct sora_origin *origin,
                        const Farm__BlobHave *have)
{
    struct sora_digest digest;
    memcpy(digest.bytes, have->digest.data, sizeof(digest.bytes));
    uint64_t size = 0;
    Farm__BlobHaveReply reply = FARM__BLOB_HAVE_REPLY__INIT;
    reply.have = sora_blob_store_have(serve->store, &digest, &size);
    reply.size = size;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_BLOB_HAVE_REPLY;
    message.blob_have_reply = &reply;
    (void)serve->post->reply(serve->post->owner, origin, &message, NULL, 0, NULL);
}

bool sora_blob_serve_message(struct sora_blob_serve *serve, const struct sora_origin *origin,
                             const Farm__Message *message)
{
    if (message->body_case == FARM__MESSAGE__BODY_BLOB_GET)
        take_get(serve, origin, message->blob_get);
    else if (message->body_case == FARM__MESSAGE__BODY_BLOB_HAVE)
        answer_have(serve, origin, message->blob_have);
    else
        return false;
    return true;
}

/* ---- giving ---- */

static void refuse_range(struct sora_blob_serve *serve, struct range **link,
                         const struct sora_fault *fault)
{
    sora_post_refuse(serve->post, &(*link)->origin, fault);
    drop(serve, link);
}

/* The store has read the content: all ranges of the blob may go, or none. */
static void done_check(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct sora_blob_serve *serve = context;
    for (struct range **link = &serve->first; *link;) {
        struct range *range = *link;
        bool same = range->checking && sora_digest_equal(&range->blob.digest, &blob->digest);
        range->checking = range->checking && !same;
        if (same && fault->code != 0)
            refuse_range(serve, link, fault);
        else
            link = &(*link)->next;
    }
    serve->wake_at = 0;
}

static bool is_being_checked(const struct sora_blob_serve *serve, const struct sora_digest *digest)
{
    for (const struct range *range = serve->first; range; range = range->next) {
        if (range->checking && sora_digest_equal(&range->blob.digest, digest))
            return true;
    }
    return false;
}

/* Opens the file, and has the system read ahead what will be wanted. */
static int open_range(struct sora_blob_serve *serve, struct range *range, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    int rc = sora_blob_store_path(serve->store, &range->blob.digest, path, sizeof(path), fault);
    if (rc)
        return rc;
    range->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (range->fd < 0)
        return sora_file_fault(fault, errno, "read", path);
    (void)posix_fadvise(range->fd, (off_t)range->offset, (off_t)(range->end - range->offset),
                        POSIX_FADV_WILLNEED);
    return SORA_OK;
}

/* Makes a range ready; false when it must wait. */
static bool prepare(struct sora_blob_serve *serve, struct range *range, struct sora_fault *fault)
{
    if (range->fd >= 0)
        return true;
    if (range->checking)
        return false;
    if (!sora_blob_store_checked(serve->store, &range->blob.digest)) {
        range->checking =
            is_being_checked(serve, &range->blob.digest) ||
            sora_blob_store_check(serve->store, &range->blob.digest, done_check, serve) == SORA_OK;
        return false;
    }
    return open_range(serve, range, fault) == SORA_OK;
}

static int read_chunk(struct sora_blob_serve *serve, const struct range *range, size_t size,
                      struct sora_fault *fault)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got =
            pread(range->fd, serve->chunk + have, size - have, (off_t)(range->offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sora_file_fault(fault, errno, "read", "a blob");
        if (got == 0)
            return sora_fault_set(fault, SORA_E_NOT_FOUND, "a blob's file has become shorter");
        have += (size_t)got;
    }
    return SORA_OK;
}

/* One chunk. Errors: those of reply, and of reading. */
static int give_chunk(struct sora_blob_serve *serve, struct range *range, struct sora_fault *fault)
{
    uint64_t left = range->end - range->offset;
    size_t size = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
    int rc = read_chunk(serve, range, size, fault);
    if (rc)
        return rc;
    Farm__BlobChunk chunk = FARM__BLOB_CHUNK__INIT;
    chunk.digest.data = range->blob.digest.bytes;
    chunk.digest.len = SORA_DIGEST_SIZE;
    chunk.offset = range->offset;
    chunk.size = range->blob.size;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_BLOB_CHUNK;
    message.blob_chunk = &chunk;
    /* A full link is no fault of the range. */
    rc = serve->post->reply(serve->post->owner, &range->origin, &message, serve->chunk, size, NULL);
    if (rc == SORA_OK)
        range->offset += size;
    return rc;
}

/* Another range of the same blob and connection is before this one, or the link is full. */
static bool must_wait(const struct sora_blob_serve *serve, const struct range *range)
{
    for (const struct range *other = serve->first; other != range; other = other->next) {
        if (other->origin.peer == range->origin.peer &&
            (other->full || sora_digest_equal(&other->blob.digest, &range->blob.digest)))
            return true;
    }
    return range->full;
}

enum turn { TURN_WAITS, TURN_GAVE, TURN_ENDED };

static enum turn take_turn(struct sora_blob_serve *serve, struct range **link)
{
    struct range *range = *link;
    struct sora_fault fault = {0};
    if (must_wait(serve, range) || (!prepare(serve, range, &fault) && fault.code == 0))
        return TURN_WAITS;
    int rc = fault.code ? fault.code : give_chunk(serve, range, &fault);
    if (rc == SORA_E_FULL) {
        range->full = true;
        return TURN_WAITS;
    }
    if (rc == SORA_OK && range->offset < range->end)
        return TURN_GAVE;
    if (fault.code != 0)
        refuse_range(serve, link, &fault);
    else
        drop(serve, link); /* all given, or the peer is gone */
    return TURN_ENDED;
}

/* One turn for each of the first ranges that had none in this round; returns how many chunks were
 * given. */
static int give_round(struct sora_blob_serve *serve, int chunks_max)
{
    int given = 0, seen = 0;
    struct range **link = &serve->first;
    for (; *link && seen < RANGES_RUNNING && given < chunks_max; seen++) {
        struct range *range = *link;
        enum turn turn = range->round == serve->round ? TURN_WAITS : take_turn(serve, link);
        given += turn != TURN_WAITS;
        if (turn == TURN_GAVE)
            range->round = serve->round;
        if (turn != TURN_ENDED)
            link = &(*link)->next;
    }
    if (given < chunks_max)
        serve->round++;
    return given;
}

void sora_blob_serve_step(struct sora_blob_serve *serve, sora_time now)
{
    for (struct range *range = serve->first; range; range = range->next)
        range->full = false;
    int given = 0, last = 1;
    while (last > 0 && given < STEP_CHUNKS_MAX) {
        last = give_round(serve, STEP_CHUNKS_MAX - given);
        given += last;
    }
    serve->wake_at = given >= STEP_CHUNKS_MAX ? 0 : now + RETRY_NS;
}

sora_time sora_blob_serve_deadline(const struct sora_blob_serve *serve)
{
    bool waits = false;
    for (const struct range *range = serve->first; range && !waits; range = range->next)
        waits = !range->checking;
    return waits ? serve->wake_at : INT64_MAX;
}
