/*
 * Beacon: says on the local network where this node listens, and hears where others do.
 *
 * A datagram is not authenticated, so all that it can do is suggest one address for a node that is
 * a member already; who is there is proved by CURVE when it is dialed. One thread; nothing blocks.
 */
#ifndef SORA_DAEMON_BEACON_H
#define SORA_DAEMON_BEACON_H

#include "base/clock.h"
#include "proto/message.h"

#define SORA_BEACON_PORT 7710 /* UDP, the same for all */
#define SORA_BEACON_SECONDS 5
#define SORA_BEACON_SIZE 44 /* "sorafarm-1", node id, port */

struct sora_beacon;

/* What a datagram suggests. */
struct sora_beacon_hint {
    unsigned char node[SORA_NODE_ID_SIZE];
    char endpoint[64]; /* "tcp://192.0.2.7:7710": the sender's address with the port it names */
};

/* Writes a datagram. */
void sora_beacon_pack(const unsigned char node[SORA_NODE_ID_SIZE], uint16_t port,
                      unsigned char out_data[SORA_BEACON_SIZE]);
/* False when it is none. `address` is the sender's IPv4 address in network order. */
bool sora_beacon_unpack(const void *data, size_t size, uint32_t address,
                        struct sora_beacon_hint *out_hint);

struct sora_beacon_params {
    const unsigned char *node; /* [SORA_NODE_ID_SIZE], borrowed */
    uint16_t port;             /* where the node listens */
    uint16_t udp_port;         /* 0 means SORA_BEACON_PORT */
    const char *address;       /* to send to; NULL means everybody, 255.255.255.255 */
};

/* Errors: INVALID (the address), IO, DENIED. Returns owned. */
int sora_beacon_create(const struct sora_beacon_params *params, struct sora_beacon **out_beacon,
                       struct sora_fault *fault);
void sora_beacon_destroy(struct sora_beacon **beacon);
int sora_beacon_fd(const struct sora_beacon *beacon);
sora_time sora_beacon_deadline(const struct sora_beacon *beacon);
/* Sends when it is time. True: a hint of another node; call again. */
bool sora_beacon_step(struct sora_beacon *beacon, sora_time now, struct sora_beacon_hint *out_hint);

#endif
