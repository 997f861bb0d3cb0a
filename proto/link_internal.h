/*
 * The link's own structures, for proto/link*.c and for tests that break things on purpose.
 */
#ifndef SORA_PROTO_LINK_INTERNAL_H
#define SORA_PROTO_LINK_INTERNAL_H

#include "proto/link.h"
#include "proto/link_socket.h"
#include "proto/zap.h"

enum { CONTROL, BULK, INVITE, DOOR_COUNT };
#define LANE_COUNT 2 /* control (or invite) and bulk */
#define MS (SORA_TIME_SECOND / 1000)
#define GUEST_ANSWER_MS 60000 /* from a guest's request to our answer */

enum peer_side { SIDE_INBOUND, SIDE_DIALED, SIDE_GUEST, SIDE_JOINING };

/* The table of moves is in link_peer.c. */
enum peer_state {
    PEER_FREE,
    PEER_CONNECTING, /* TCP and CURVE under way */
    PEER_GREETING,   /* our Hello is out */
    PEER_UP,
    PEER_LOST,    /* to be reported */
    PEER_WAITING, /* to be dialed again */
    PEER_STATE_COUNT,
};

/* One way of talking to a peer. */
struct lane {
    struct sora_socket socket; /* dialer's own */
    unsigned char routing_id[SORA_ROUTING_SIZE];
    size_t routing_size; /* listener's: 0 when there is none yet */
    int fd;              /* listener's connection, or -1 */
    uint64_t cookie;
    bool ready; /* dialer: handshake done */
};

struct peer {
    uint32_t generation;
    enum peer_side side;
    enum peer_state state;
    bool reported; /* UP was: DOWN must follow */
    struct sora_identity identity;
    struct lane lanes[LANE_COUNT];
    char endpoint[SORA_ENDPOINT_SIZE];
    uint64_t session, next_id;
    sora_time deadline; /* of the state */
    sora_time heard_at, said_at;
    int64_t pause_ms;                     /* before the next dialing */
    uint64_t sent, sent_max;              /* bulk bytes since the start, and the peer's limit */
    uint64_t received, returned, granted; /* the same towards us; returned: done with */
    bool ended;                           /* not to be dialed again */
    int reason;
    char text[160];
    struct sora_bytes request; /* JOINING: what to send */
};

/* A connection to the invite socket. */
struct guest {
    int fd; /* -1: free */
    uint64_t cookie;
    sora_time deadline;
};

struct sora_link {
    void *context;
    struct sora_zap *zap;
    const struct sora_key *curve;
    bool has_certificate;
    struct sora_certificate certificate;
    char software[65], name[64];
    uint64_t boot, window_bytes;
    uint32_t version_min, version_max;
    struct sora_socket doors[DOOR_COUNT];
    char endpoints[DOOR_COUNT][SORA_ENDPOINT_SIZE];
    size_t admitted_count;
    struct sora_identity admitted[SORA_ZAP_KEYS_MAX];
    struct peer peers[SORA_LINK_PEERS_MAX];
    uint32_t peer_end; /* places at and behind it were never used */
    struct guest guests[SORA_LINK_GUESTS_MAX];
    struct sora_frames frames; /* of the event that was returned last */
    struct sora_message *message;
    uint32_t event_peer; /* index, for the credit of that event */
    uint64_t event_bytes;
    uint32_t next_poll;     /* where receiving goes on, for fairness */
    bool dirty;             /* something was sent: descriptors may not tell what is ready */
    sora_time now, kept_at; /* of this step; of the last housekeeping */
    bool idle, holding;
};

/* link_peer.c: the table of peers. */
struct peer *peer_find(const struct sora_link *link, sora_peer handle);
sora_peer peer_handle(const struct sora_link *link, const struct peer *peer);
struct peer *peer_new(struct sora_link *link, enum peer_side side);
void peer_move(struct peer *peer, enum peer_state next);
void peer_lose(struct sora_link *link, struct peer *peer, int reason, const char *text);
void peer_free(struct sora_link *link, struct peer *peer);
void peer_cut(struct sora_link *link, struct peer *peer);
int peer_connect(struct sora_link *link, struct peer *peer, struct sora_fault *fault);
int peer_connect_bulk(struct sora_link *link, struct peer *peer, uint32_t port);
struct peer *peer_by_route(struct sora_link *link, int lane, const struct sora_frames *frames);
const struct sora_identity *admitted_find(const struct sora_link *link, const unsigned char *curve);

/* link_greet.c: Hello and what follows from it. */
int greet_send(struct sora_link *link, struct peer *peer, int lane, uint64_t reply_to,
               uint32_t version);
bool greet_receive(struct sora_link *link, struct peer *peer, int lane,
                   const Farm__Message *message, struct sora_link_event *out_event);
struct peer *greet_stranger(struct sora_link *link, int door, const struct sora_frames *frames,
                            const Farm__Message *message);
void greet_credit(struct sora_link *link, struct peer *peer);

/* link.c */
int link_send_on(struct sora_link *link, struct peer *peer, int lane, Farm__Message *message,
                 const void *payload, size_t payload_size, struct sora_fault *fault);
void link_refuse(struct sora_link *link, int door, const struct sora_frames *frames, int code,
                 const char *text);

/* link_keep.c: housekeeping of doors and peers, at link->now. */
void keep_doors(struct sora_link *link);
void keep_all(struct sora_link *link);
/* Takes one lost peer out; true when that is an event. */
bool keep_report_lost(struct sora_link *link, struct sora_link_event *out_event);

/* link_test.c: whether a random key is turned away. */
int link_test_door(struct sora_link *link, int door, struct sora_fault *fault);

#endif
