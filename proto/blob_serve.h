/*
 * Blob serve: the giving half of proto/blob_transfer.c.
 *
 * Ranges that members asked for wait in one list. Each step gives every range that may go one chunk
 * in turn, so that a large blob does not hold up a small one; ranges of one blob for one connection
 * go one after the other, so that its chunks come in order. Same thread and store as the transfer.
 */
#ifndef SORA_PROTO_BLOB_SERVE_H
#define SORA_PROTO_BLOB_SERVE_H

#include "proto/blob_transfer.h"

struct sora_blob_serve;

/* Keeps both. Errors: MEMORY. */
int sora_blob_serve_create(struct sora_blob_store *store, const struct sora_post *post,
                           struct sora_blob_serve **out_serve);
void sora_blob_serve_destroy(struct sora_blob_serve **serve);

/* BlobGet and BlobHave; false for others. */
bool sora_blob_serve_message(struct sora_blob_serve *serve, const struct sora_origin *origin,
                             const Farm__Message *message);

/* Drops what a member asked for. */
void sora_blob_serve_down(struct sora_blob_serve *serve,
                          const unsigned char node[SORA_NODE_ID_SIZE]);

void sora_blob_serve_step(struct sora_blob_serve *serve, sora_time now);
sora_time sora_blob_serve_deadline(const struct sora_blob_serve *serve);

#endif
