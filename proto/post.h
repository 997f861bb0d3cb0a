/*
 * Post: how the parts of a daemon send messages to members, wherever they are.
 *
 * The daemon implements it. A message to our own node comes back through the daemon's dispatch in a
 * later turn of the loop, checked like any other, so a home and a node in one process talk as two
 * processes would. One thread; nothing blocks.
 */
#ifndef SORA_PROTO_POST_H
#define SORA_PROTO_POST_H

#include "proto/link.h"

/* Where a received message came from. */
struct sora_origin {
    sora_peer peer; /* 0: this daemon itself */
    uint64_t id;    /* of the message, for reply_to */
    const struct sora_identity *identity;
};

struct sora_post {
    void *owner;
    unsigned char self[SORA_NODE_ID_SIZE];
    /* To a member. Errors: those of sora_link_send; NOT_FOUND when it is not connected. */
    int (*send)(void *owner, const unsigned char node[SORA_NODE_ID_SIZE], Farm__Message *message,
                const void *payload, size_t payload_size, struct sora_fault *fault);
    /* To the connection that a message came from; reply_to is set. */
    int (*reply)(void *owner, const struct sora_origin *origin, Farm__Message *message,
                 const void *payload, size_t payload_size, struct sora_fault *fault);
    /* The name of a member for people, "?" when unknown; valid until the next call. */
    const char *(*name)(void *owner, const unsigned char node[SORA_NODE_ID_SIZE]);
};

/* Answers with a Refusal that holds the fault. */
void sora_post_refuse(const struct sora_post *post, const struct sora_origin *origin,
                      const struct sora_fault *fault);
/* Answers with an Ack. */
void sora_post_ack(const struct sora_post *post, const struct sora_origin *origin);

#endif
