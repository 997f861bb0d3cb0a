/*
 * Link: all connections of one daemon or of soractl, for one event loop.
 *
 * A link listens for members (control and bulk sockets) and for guests with an invite, dials
 * others, greets, checks every message, and reports events. Every socket has CURVE; only admitted
 * keys get in; who a message is from is what CURVE says, never a field. One thread owns a link; no
 * call blocks except create, which tests its own door for at most 3 seconds, and destroy. All
 * queues are bounded: a full one is FULL for the sender, who tries again after the next step.
 *
 * Loop: poll the descriptors of sora_link_poll until sora_link_deadline, then call sora_link_step
 * until it returns 0.
 */
#ifndef SORA_PROTO_LINK_H
#define SORA_PROTO_LINK_H

#include "base/clock.h"
#include "proto/certificate.h"

#include <poll.h>

#define SORA_LINK_PEERS_MAX 256
#define SORA_LINK_GUESTS_MAX 8 /* connections to the invite socket at a time */
#define SORA_LINK_POLL_MAX (2 * 2 * SORA_LINK_PEERS_MAX + 8)
#define SORA_LINK_WINDOW_BYTES ((uint64_t)8 << 20) /* bulk bytes under way, per peer and way */

struct sora_link;

/* A connection, or a place that is dialed again and again; 0 is none. Never used twice. */
typedef uint64_t sora_peer;

struct sora_link_params {
    const struct sora_key *curve;               /* keeps */
    const struct sora_certificate *certificate; /* ours; copied; NULL before the node has one */
    const char *software, *name;                /* for the greeting; copied */
    uint64_t boot;                              /* random per process */
    const char *control_endpoint; /* "tcp://127.0.0.1:7710", port * for any; NULL: no listeners */
    const char *bulk_endpoint;    /* needed with control_endpoint */
    const char *invite_endpoint;  /* NULL: nobody can join here */
    uint64_t window_bytes;        /* 0: SORA_LINK_WINDOW_BYTES */
    uint32_t version_min, version_max; /* 0: those of this build */
};

/* Starts the ZAP handler, then the listeners, then connects to each with a random key and wants to
 * be refused. Returns owned. Errors: BUSY (address in use), INVALID (address), DENIED (the door is
 * open: the listeners are closed again), INTERNAL, MEMORY. */
int sora_link_create(const struct sora_link_params *params, struct sora_link **out_link,
                     struct sora_fault *fault);

/* Drops everything at once; what was not sent is lost. */
void sora_link_destroy(struct sora_link **link);

/* Where a listener is: SORA_CHANNEL_CONTROL, _BULK or _INVITE. "" when there is none. */
const char *sora_link_endpoint(const struct sora_link *link, enum sora_channel channel);

/* What later greetings say of us: copied. */
void sora_link_set_certificate(struct sora_link *link, const struct sora_certificate *certificate);

/* The next refusal of a stranger is a test of our own door, and is not logged. */
void sora_link_expect_refusal(struct sora_link *link);

/* ---- members ---- */

/* Lets a verified identity connect, from now on. A newer certificate of the same node replaces the
 * older. Errors: FULL. */
int sora_link_admit(struct sora_link *link, const struct sora_identity *identity);

/* Ends all connections with a node at once and admits it no more. DOWN events follow. */
void sora_link_dismiss(struct sora_link *link, const unsigned char node[SORA_NODE_ID_SIZE]);

/* Connects to a member, again and again with growing pauses, until hang_up. `identity` is who must
 * be there; need not be admitted. Errors: FULL, INVALID (address). */
int sora_link_dial(struct sora_link *link, const struct sora_identity *identity,
                   const char *endpoint, sora_peer *out_peer, struct sora_fault *fault);

/* Connects once to an invite socket and sends the request; a MESSAGE (JoinReply or Refusal) or DOWN
 * follows. */
int sora_link_join(struct sora_link *link, const unsigned char server[SORA_KEY_PUBLIC_SIZE],
                   const char *endpoint, Farm__JoinRequest *request, sora_peer *out_peer,
                   struct sora_fault *fault);

/* Ends a connection or a dialing; no event follows. Unknown peers are fine. */
void sora_link_hang_up(struct sora_link *link, sora_peer peer);

/* A peer that is up with this node, 0 when there is none. */
sora_peer sora_link_find(const struct sora_link *link, const unsigned char node[SORA_NODE_ID_SIZE]);

/* ---- the loop ---- */

/* Fills up to SORA_LINK_POLL_MAX items; returns how many. */
size_t sora_link_poll(const struct sora_link *link, struct pollfd *out_items);

/* When step must be called even if no descriptor is ready. */
sora_time sora_link_deadline(const struct sora_link *link);

enum sora_link_event_kind {
    SORA_LINK_UP,      /* greeted; `message` is the peer's Hello */
    SORA_LINK_MESSAGE, /* checked by all rules */
    SORA_LINK_DOWN,    /* lost or refused; a dialed peer is dialed again */
};

/* Valid until the next step. */
struct sora_link_event {
    enum sora_link_event_kind kind;
    sora_peer peer;
    enum sora_channel channel;
    const struct sora_identity *identity; /* NULL on the invite channel */
    const unsigned char *curve;           /* [32] the connection's key */
    const Farm__Message *message;
    const void *payload;
    size_t payload_size;
    int reason;       /* of DOWN: SORA_E_* */
    const char *text; /* of DOWN, for a person */
};

/* Does what there is to do. 1: one event; 0: nothing more for now. Errors: DENIED when the ZAP
 * thread has ended: all listeners are closed, the process should end. */
int sora_link_step(struct sora_link *link, sora_time now, struct sora_link_event *out_event,
                   struct sora_fault *fault);

/* Sends a message on the channel that its type has; `id` of it is set. `payload` is copied. Errors:
 * FULL (queue or credit: try again after a step), NOT_FOUND (peer not up), FORMAT and LIMIT (breaks
 * a rule), INVALID (payload not fitting the type). */
int sora_link_send(struct sora_link *link, sora_peer peer, Farm__Message *message,
                   const void *payload, size_t payload_size, struct sora_fault *fault);

/* Bulk credit. Bytes of a bulk event go back to the peer's credit at the next step, unless held:
 * then when they are released. */
void sora_link_hold(struct sora_link *link);
void sora_link_release(struct sora_link *link, sora_peer peer, uint64_t bytes);

#endif
