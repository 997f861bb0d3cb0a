/*
 * Agent: the node's side of the farm, the driver of node/core. It offers devices, grants leases,
 * runs one `sora-worker serve` child per device, moves halos between child, kept log and
 * neighbours, makes checkpoints and segments durable blobs, and beats once a second to every home.
 *
 * Owned by the daemon's thread; nothing blocks. A child that dies loses its shard only; it is
 * started again with growing pauses (1 s to 60 s).
 */
#ifndef SORA_NODE_AGENT_H
#define SORA_NODE_AGENT_H

#include "node/model_store.h"
#include "proto/envelope.h"

#include <poll.h>

#define SORA_AGENT_DEVICES_MAX 8

struct sora_agent;

/* A device that may be offered. */
struct sora_agent_device {
    char id[24];         /* "cpu0", "gpu0" */
    int threads;         /* of a CPU; 0: all */
    char card[24];       /* of a card: its place, one daemon has it at a time; "": not known */
    char precision[8];   /* of a card: "bf16", "f16", "f32", "int8"; "": the worker's default */
    bool int8_too;       /* a card may hold weights in int8 for jobs that do not fit otherwise */
    char hours[64];      /* "19:00-08:00": when it is offered (local time); "": always */
    uint64_t memory_max; /* bytes; 0: what the device has */
};

struct sora_agent_params {
    const struct sora_post *post; /* all pointers are kept */
    struct sora_blob_store *blobs;
    struct sora_blob_transfer *transfer;
    struct sora_model_store *models;
    const struct sora_trust *trust;
    const struct sora_key *sign;
    const struct sora_certificate *certificate;
    const char *worker_program;
    const char *speeds_path; /* measured speeds are kept here; NULL: not kept */
    const char *cache_path;  /* folder for kernels compiled for cards; NULL: none */
    uint64_t boot;
    int device_count;
    struct sora_agent_device devices[SORA_AGENT_DEVICES_MAX];
    int64_t kept_bytes_max; /* of halo logs per shard; 0 means 1 GiB */
};

int sora_agent_create(const struct sora_agent_params *params, struct sora_agent **out_agent,
                      struct sora_fault *fault);
void sora_agent_destroy(struct sora_agent **agent);

/* LeaseOffer, LeaseRenew, LeaseRevoke, ShardAssign, Halo, HaloAt, CheckpointStored, SegmentStored,
 * TextEncode; false for others. */
bool sora_agent_message(struct sora_agent *agent, const struct sora_origin *origin,
                        const Farm__Message *message, const void *payload, size_t payload_size,
                        sora_time now);

/* Members that have the scheduler role get beats from the next second on. */
void sora_agent_member(struct sora_agent *agent, const struct sora_identity *identity, bool up);
/* Leases of this home end at once. */
void sora_agent_member_left(struct sora_agent *agent, const unsigned char node[SORA_NODE_ID_SIZE]);

#define SORA_AGENT_POLL_MAX SORA_AGENT_DEVICES_MAX
size_t sora_agent_poll(const struct sora_agent *agent, struct pollfd *out_items);
sora_time sora_agent_deadline(const struct sora_agent *agent);
void sora_agent_step(struct sora_agent *agent, sora_time now);

/* No new leases; running shards go on until their homes have moved them. */
void sora_agent_drain(struct sora_agent *agent);
/* Tasks at hand; drained when 0. */
int sora_agent_tasks(const struct sora_agent *agent);

/* What holds a device's worker in: "rlimits netns landlock seccomp"; "" before it is ready. */
const char *sora_agent_sandbox(const struct sora_agent *agent, int device);

/* The agent's own advert, without reports; for `soractl nodes`. Borrows; valid until the next call.
 */
const Farm__Advert *sora_agent_advert(struct sora_agent *agent);

#endif
