/*
 * Parts: the roles of this daemon, joined: blobs, models, the agent (node) and the home
 * (scheduler).
 *
 * A role that the configuration leaves out is not made; messages for it are not taken. Owned by the
 * daemon; its thread; nothing blocks but create and destroy.
 */
#ifndef SORA_DAEMON_PARTS_H
#define SORA_DAEMON_PARTS_H

#include "daemon/added_models.h"
#include "daemon/config.h"
#include "daemon/identity.h"
#include "daemon/state.h"
#include "proto/post.h"

#define SORA_PARTS_POLL_MAX 64

struct sora_parts;

struct sora_parts_params {
    const struct sora_config *config; /* keeps all pointers */
    const struct sora_state *state;
    const struct sora_added_models *added;
    const struct sora_self *self;
    const struct sora_trust *trust;
    const struct sora_post *post;
    struct sora_tasks *disk, *digests;
    uint64_t boot;
};

int parts_create(const struct sora_parts_params *params, struct sora_parts **out_parts,
                 struct sora_fault *fault);
void parts_destroy(struct sora_parts **parts);

/* Which part a message is for. */
enum sora_part {
    SORA_PART_TRANSFER,
    SORA_PART_AGENT,
    SORA_PART_HOME,
};

/* False when the part does not take it, or is not here. */
bool parts_message(struct sora_parts *parts, enum sora_part part, const struct sora_origin *origin,
                   const Farm__Message *message, const void *payload, size_t payload_size,
                   sora_time now);

/* A member's connection came up or went down; a member left for good; a connection ended. */
void parts_member(struct sora_parts *parts, const struct sora_identity *identity, bool up);
void parts_member_left(struct sora_parts *parts, const unsigned char node[SORA_NODE_ID_SIZE]);
void parts_peer_down(struct sora_parts *parts, sora_peer peer);

/* The loop: at most SORA_PARTS_POLL_MAX descriptors. */
size_t parts_poll(const struct sora_parts *parts, struct pollfd *out_items);
sora_time parts_deadline(const struct sora_parts *parts);
void parts_step(struct sora_parts *parts, sora_time now);

/* Draining, see node/agent.h. */
void parts_drain(struct sora_parts *parts);
int parts_tasks(const struct sora_parts *parts);
int parts_open_jobs(const struct sora_parts *parts);

/* The agent's advert; NULL without the role. Valid until the next call. */
const Farm__Advert *parts_advert(struct sora_parts *parts);

/* What holds the worker of a device in, as it says; "" when none runs. */
const char *parts_sandbox(const struct sora_parts *parts, int device);

/* The model store; NULL when there is none. */
struct sora_model_store *parts_models(struct sora_parts *parts);
uint64_t parts_blob_bytes(const struct sora_parts *parts);

#endif
