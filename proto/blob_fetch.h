/*
 * Blob fetch: one blob on its way from one node, the getting half of proto/blob_transfer.c, which
 * owns it and says when it starts.
 *
 * Asks for ranges ahead of what has come, appends chunks to a partial file in the store's incoming
 * folder, and hands that to the store, which checks the digest; wrong content is fetched anew once.
 * How it ended stands in `fault`. Same thread as the transfer.
 */
#ifndef SORA_PROTO_BLOB_FETCH_H
#define SORA_PROTO_BLOB_FETCH_H

#include "proto/blob_store.h"
#include "proto/post.h"

#define SORA_BLOB_REQUESTS_MAX 4 /* ids of requests that may yet be refused */

enum sora_blob_fetch_state {
    SORA_BLOB_FETCH_QUEUED,
    SORA_BLOB_FETCH_RUNNING,
    SORA_BLOB_FETCH_ADOPTING, /* the store's thread has the file */
    SORA_BLOB_FETCH_ENDED,    /* `fault` says how */
};

/* The first group is set by the owner, the rest is only looked at. */
struct sora_blob_fetch {
    struct sora_blob_store *store; /* keeps */
    const struct sora_post *post;  /* keeps */
    sora_time stall_ns;
    bool *work; /* keeps; set when the owner has something to do at once */
    struct sora_blob blob;
    unsigned char node[SORA_NODE_ID_SIZE]; /* who is asked */

    enum sora_blob_fetch_state state;
    char *path; /* of the partial file; owned */
    int fd;
    uint64_t received, asked;                  /* bytes from the start: in the file; asked for */
    uint64_t requests[SORA_BLOB_REQUESTS_MAX]; /* message ids, a ring */
    unsigned request_count;
    sora_time progress_at, wait_until; /* of the last progress; not asked before that */
    int stalls;
    bool is_second; /* it begins anew after wrong content */
    struct sora_fault fault;
};

/* After the owner's fields are set: queued. Errors: MEMORY. */
int sora_blob_fetch_init(struct sora_blob_fetch *fetch);
/* The partial file stays, so that another try goes on behind it. */
void sora_blob_fetch_fini(struct sora_blob_fetch *fetch);

/* Queued again, from another node. */
void sora_blob_fetch_turn_to(struct sora_blob_fetch *fetch,
                             const unsigned char node[SORA_NODE_ID_SIZE]);
/* A queued one whose blob is in the store has ended. */
bool sora_blob_fetch_is_here(struct sora_blob_fetch *fetch);
void sora_blob_fetch_start(struct sora_blob_fetch *fetch, sora_time now);
/* Asks and hands over as far as that goes now. */
void sora_blob_fetch_run(struct sora_blob_fetch *fetch, sora_time now);
/* INT64_MAX unless it is running. */
sora_time sora_blob_fetch_deadline(const struct sora_blob_fetch *fetch);

/* Whether it is running and asks this node; the events below are for such a one. */
bool sora_blob_fetch_asks(const struct sora_blob_fetch *fetch,
                          const unsigned char node[SORA_NODE_ID_SIZE]);
void sora_blob_fetch_take_chunk(struct sora_blob_fetch *fetch, const Farm__BlobChunk *chunk,
                                const void *payload, size_t size, sora_time now);
/* False when none of its requests is refused. */
bool sora_blob_fetch_take_refusal(struct sora_blob_fetch *fetch, uint64_t reply_to,
                                  const Farm__Refusal *refusal, sora_time now);
void sora_blob_fetch_take_peer(struct sora_blob_fetch *fetch, bool up);

#endif
