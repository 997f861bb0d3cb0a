/*
 * Blob transfer: fetches blobs from members by digest, in verified, resumable ranges, and serves
 * ours, under the link's credit.
 *
 * Several fetches of one digest are one. A range that was received stays in the incoming folder, so
 * a fetch that was cut off, also by a restart, goes on where it stopped; the digest decides in the
 * end, and a wrong one starts anew once, then fails. At most 8 fetches and 32 served ranges run at
 * a time, others wait in a bounded queue. One thread; nothing blocks but small writes to the page
 * cache.
 */
#ifndef SORA_PROTO_BLOB_TRANSFER_H
#define SORA_PROTO_BLOB_TRANSFER_H

#include "proto/blob_store.h"
#include "proto/post.h"

struct sora_blob_transfer;

struct sora_blob_transfer_params {
    struct sora_blob_store *store; /* keeps */
    const struct sora_post *post;  /* keeps */
    sora_time stall_ns;            /* 0 means 10 s: a range without progress is asked for again,
                                      after three times the fetch fails with TIMEOUT */
};

int sora_blob_transfer_create(const struct sora_blob_transfer_params *params,
                              struct sora_blob_transfer **out_transfer);
void sora_blob_transfer_destroy(struct sora_blob_transfer **transfer);

/* Gets `blob` from `node`; done at once (in the next step) when it is here. Always one `done`,
 * except after forget. When the same blob is fetched from several nodes, one that fails is followed
 * by the next. A peer that is not connected is waited for until the stall. Errors: FULL, MEMORY. */
int sora_blob_transfer_fetch(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE],
                             const struct sora_blob *blob, sora_blob_done done, void *context);

/* Drops all fetches with this context; their `done` is not called. */
void sora_blob_transfer_forget(struct sora_blob_transfer *transfer, const void *context);

/* Bytes received so far of a running fetch, for progress; 0 when there is none. */
uint64_t sora_blob_transfer_received(const struct sora_blob_transfer *transfer,
                                     const struct sora_digest *digest);

/* Hands in BlobGet, BlobChunk, BlobHave (and Refusals that answer a BlobGet); false when the
 * message is none of these. */
bool sora_blob_transfer_message(struct sora_blob_transfer *transfer,
                                const struct sora_origin *origin, const Farm__Message *message,
                                const void *payload, size_t payload_size, sora_time now);

/* A member's connection came up or went down. */
void sora_blob_transfer_peer(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE], bool up);

void sora_blob_transfer_step(struct sora_blob_transfer *transfer, sora_time now);
sora_time sora_blob_transfer_deadline(const struct sora_blob_transfer *transfer);

#endif
