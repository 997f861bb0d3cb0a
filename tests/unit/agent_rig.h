/*
 * A farm for the agent's tests: nodes with real agents, blob stores and workers (agent_serve.h), a
 * network that loses, doubles and reorders halos from a seed, and a made-up model store and blob
 * transfer (blobs come from the home's store). The home itself is in agent_home.h.
 *
 * Time is the clock's plus what was skipped: when nothing happens for a moment, the rig goes to the
 * next deadline. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_AGENT_RIG_H
#define SORA_TESTS_UNIT_AGENT_RIG_H

#include "node/agent.h"
#include "tests/unit/agent_models.h"
#include "tests/unit/agent_serve.h"
#include "tests/unit/scratch.h"

#include <poll.h>
#include <sys/stat.h>
#include <time.h>

#define RIG_NODES 4 /* the home is node 0 */
#define RIG_MESSAGES 4096
#define RIG_BOOT 1000u

struct sora_blob_transfer {
    struct rig_node *to;
};

struct rig_node {
    struct rig *rig;
    int index;
    struct sora_key *sign, *curve;
    struct sora_certificate certificate;
    struct sora_identity identity;
    struct sora_tasks *tasks;
    struct sora_blob_store *blobs;
    struct sora_model_store models;
    struct sora_blob_transfer transfer;
    struct sora_post post;
    struct sora_agent *agent;
};

struct rig_message {
    int from, to;
    unsigned char *bytes, *payload;
    size_t size, payload_size;
};

struct rig {
    struct sora_key *root;
    struct sora_trust *trust;
    struct rig_node nodes[RIG_NODES];
    int node_count;
    struct rig_message queue[RIG_MESSAGES];
    int queued;
    sora_time skipped;
    uint32_t random, chaos; /* chaos: per mille of halos lost, doubled, refused as FULL */
    int full, lost;
    int spins;     /* turns in a row without anything to do that an agent asked for */
    int home_down; /* messages to the home vanish */
    char program[4096];
    void (*on_home)(struct rig *rig, int from, const Farm__Message *message);
};

/* The whole content of a blob; malloc'd. */
static inline unsigned char *rig_blob(struct rig_node *node, const struct sora_digest *digest,
                                      size_t *out_size)
{
    char path[4096];
    *out_size = 0;
    if (sora_blob_store_path(node->blobs, digest, path, sizeof(path), NULL))
        return NULL;
    FILE *file = fopen(path, "rb");
    struct stat status;
    SORA_ASSERT(file && fstat(fileno(file), &status) == 0);
    unsigned char *bytes = malloc((size_t)status.st_size + 1);
    *out_size = fread(bytes, 1, (size_t)status.st_size, file);
    fclose(file);
    return bytes;
}
int sora_blob_transfer_fetch(struct sora_blob_transfer *transfer,
                             const unsigned char node[SORA_NODE_ID_SIZE],
                             const struct sora_blob *blob, sora_blob_done done, void *context)
{
    struct rig *rig = transfer->to->rig;
    SORA_ASSERT(memcmp(node, rig->nodes[0].identity.node, SORA_NODE_ID_SIZE) == 0);
    size_t size;
    unsigned char *bytes = rig_blob(&rig->nodes[0], &blob->digest, &size);
    if (!bytes) {
        const struct sora_fault fault = {SORA_E_NOT_FOUND, "the home has no such blob"};
        done(context, NULL, &fault);
        return 0;
    }
    int rc = sora_blob_store_put(transfer->to->blobs, bytes, size, done, context);
    free(bytes);
    return rc;
}
void sora_blob_transfer_forget(struct sora_blob_transfer *transfer, const void *context)
{
    (void)transfer, (void)context;
}

/* ---- the network ---- */

static inline uint32_t rig_random(struct rig *rig)
{
    rig->random = rig->random * 1664525u + 1013904223u;
    return rig->random >> 8;
}

static inline sora_time rig_now(const struct rig *rig)
{
    return sora_clock_now() + rig->skipped;
}

static inline int rig_find(const struct rig *rig, const unsigned char *node)
{
    for (int i = 0; i < rig->node_count; i++) {
        if (memcmp(rig->nodes[i].identity.node, node, SORA_NODE_ID_SIZE) == 0)
            return i;
    }
    return -1;
}

static inline void rig_put(struct rig *rig, int from, int to, Farm__Message *message,
                           const void *payload, size_t payload_size)
{
    struct sora_fault fault = {0};
    struct rig_message m = {.from = from, .to = to, .payload_size = payload_size};
    message->id = 1;
    if (sora_message_size(message, &m.size, &fault)) {
        fprintf(stderr, "message to node %d: %s\n", to, fault.text);
        SORA_ASSERT(!"a message that breaks a rule");
    }
    SORA_ASSERT(rig->queued < RIG_MESSAGES && payload_size <= SORA_PAYLOAD_BYTES_MAX);
    m.bytes = malloc(m.size);
    sora_message_encode(message, m.bytes);
    m.payload = malloc(payload_size + 1);
    if (payload_size)
        memcpy(m.payload, payload, payload_size);
    rig->queue[rig->queued++] = m;
}

static inline int rig_send(void *owner, const unsigned char node[SORA_NODE_ID_SIZE],
                           Farm__Message *message, const void *payload, size_t payload_size,
                           struct sora_fault *fault)
{
    (void)fault;
    struct rig_node *from = owner;
    struct rig *rig = from->rig;
    int to = rig_find(rig, node);
    bool halo = message->body_case == FARM__MESSAGE__BODY_HALO ||
                message->body_case == FARM__MESSAGE__BODY_HALO_AT;
    if (to < 0)
        return SORA_E_NOT_FOUND;
    if (halo && rig->chaos && rig_random(rig) % 1000 < 2 * rig->chaos) {
        rig->full++;
        return SORA_E_FULL;
    }
    if (halo && rig->chaos && rig_random(rig) % 1000 < rig->chaos) {
        rig->lost++;
        return SORA_OK;
    }
    rig_put(rig, from->index, to, message, payload, payload_size);
    if (halo && rig->chaos && rig_random(rig) % 1000 < rig->chaos)
        rig_put(rig, from->index, to, message, payload, payload_size);
    return SORA_OK;
}

static inline int rig_reply(void *owner, const struct sora_origin *origin, Farm__Message *message,
                            const void *payload, size_t payload_size, struct sora_fault *fault)
{
    return rig_send(owner, origin->identity->node, message, payload, payload_size, fault);
}

static inline const char *rig_name(void *owner, const unsigned char node[SORA_NODE_ID_SIZE])
{
    (void)owner, (void)node;
    return "?";
}

static inline void rig_deliver(struct rig *rig)
{
    int at = rig->chaos ? (int)(rig_random(rig) % (uint32_t)rig->queued) : 0;
    struct rig_message m = rig->queue[at];
    memmove(&rig->queue[at], &rig->queue[at + 1],
            (size_t)(--rig->queued - at) * sizeof(rig->queue[0]));
    struct sora_message *message = NULL;
    SORA_ASSERT(sora_message_decode(m.bytes, m.size, &message, NULL) == 0);
    const struct sora_origin origin = {.id = 1, .identity = &rig->nodes[m.from].identity};
    struct rig_node *to = &rig->nodes[m.to];
    if (to->agent)
        sora_agent_message(to->agent, &origin, message->farm, m.payload, m.payload_size,
                           rig_now(rig));
    else if (m.to == 0 && rig->on_home && !rig->home_down)
        rig->on_home(rig, m.from, message->farm);
    sora_message_destroy(&message);
    free(m.bytes);
    free(m.payload);
}

#endif
