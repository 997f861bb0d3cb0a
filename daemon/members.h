/*
 * Members: the table of nodes that the farm knows, and the certificates that were issued here.
 *
 * Pure but for memory: it verifies and merges what others tell, and packs itself into bytes for the
 * disk and for the wire (Farm__Members). Who is connected is kept by daemon/peers; the daemon's own
 * node is not in the table. One thread. Bounded: SORA_MEMBERS_MAX, a further one is refused (FULL).
 */
#ifndef SORA_DAEMON_MEMBERS_H
#define SORA_DAEMON_MEMBERS_H

#include "base/clock.h"
#include "proto/certificate.h"

#define SORA_MEMBERS_MAX 240 /* with our own node and users, below the link's peers */
#define SORA_PLACES_MAX 4
#define SORA_PLACE_SIZE 128
#define SORA_MEMBER_UPS_MAX 4

/* Where and since when a member is connected; kept by daemon/peers. */
struct sora_presence {
    uint64_t ups[SORA_MEMBER_UPS_MAX]; /* connections that are up */
    int up_count;
    uint64_t dialed; /* our dialing, 0 for none */
    sora_time dial_at, heard_at;
    int fails, next_place;
    struct sora_message *advert; /* Farm__Advert, the last; owned */
};

/* Since when nothing was heard of a member, milliseconds. */
uint64_t sora_presence_silent_ms(const struct sora_presence *presence, sora_time now);

struct sora_member {
    struct sora_identity identity;
    struct sora_certificate certificate;
    char places[SORA_PLACES_MAX][SORA_PLACE_SIZE]; /* "tcp://host:port", the likeliest first */
    int place_count;
    char hint[SORA_PLACE_SIZE]; /* an address that a beacon suggested; "" for none */
    bool out;                   /* revoked or past its date: not admitted */
    struct sora_presence presence;
};

struct sora_members {
    struct sora_member *rows; /* [count], in the order in which they were learned */
    int count;
};

/* Frees all. Accepts all-zero structs. */
void sora_members_fini(struct sora_members *members);

/* NULL when unknown. Valid until the next add. */
struct sora_member *sora_members_find(const struct sora_members *members,
                                      const unsigned char node[SORA_NODE_ID_SIZE]);

/* By exact name, or by the first hexadecimal digits (at least 4) of the node id; those that are out
 * only when nobody else fits. Errors: NOT_FOUND, INVALID (several fit), with a sentence. */
int sora_members_named(const struct sora_members *members, const char *name, int *out_index,
                       struct sora_fault *fault);

/* Adds a verified certificate, or replaces an older one of the same node. True in `out_changed`
 * when something did. Errors: FULL, MEMORY. */
int sora_members_put(struct sora_members *members, const struct sora_certificate *certificate,
                     const struct sora_identity *identity, bool *out_changed);

/* Addresses that `places` says a member has. Its own words (`own`) replace what was known; those of
 * others are added behind it. True when something changed. */
bool sora_members_place(struct sora_member *member, char *const *places, size_t count, bool own);

/* Members that are not out. */
int sora_members_count(const struct sora_members *members);

/* ---- bytes ---- */

struct sora_members_packing {
    const struct sora_members *members;
    const struct sora_trust *trust;     /* revocations; NULL for none */
    const struct sora_certificate *own; /* NULL: leave out */
    const unsigned char *own_node;      /* with own */
    char (*own_places)[SORA_PLACE_SIZE];
    int own_place_count;
};

/* Fills a wire message that borrows from everything named; free it with sora_members_wire_free. */
struct sora_members_wire;
int sora_members_wire_create(const struct sora_members_packing *packing,
                             struct sora_members_wire **out_wire);
Farm__Members *sora_members_wire_get(struct sora_members_wire *wire);
void sora_members_wire_free(struct sora_members_wire **wire);

/* Appends the packed message. Errors: MEMORY, FULL. */
int sora_members_pack(const struct sora_members_packing *packing, struct sora_bytes *bytes);

/* ---- what was issued here ---- */

#define SORA_ISSUED_MAX 256

/* Serials of certificates in date that this daemon signed for others, so that all of a node's can
 * be revoked. */
struct sora_issued {
    struct sora_certificate *rows; /* [count] */
    struct sora_identity *identities;
    int count;
};

void sora_issued_fini(struct sora_issued *issued);
/* Forgets those past their date, then adds one. Errors: FULL, MEMORY. */
int sora_issued_add(struct sora_issued *issued, const struct sora_certificate *certificate,
                    uint64_t wall_now_ms);
/* A list of all serials of a root that are revoked and in date, with those of `node` added; packed
 * as Farm__Revocation, appended. Errors: those of sora_revocation_issue. */
int sora_issued_revoke(const struct sora_issued *issued, const struct sora_key *root,
                       const struct sora_trust *trust, const struct sora_identity *member,
                       uint64_t wall_now_ms, struct sora_bytes *bytes, struct sora_fault *fault);
int sora_issued_pack(const struct sora_issued *issued, struct sora_bytes *bytes);
int sora_issued_unpack(struct sora_issued *issued, const void *data, size_t size,
                       uint64_t wall_now_ms, struct sora_fault *fault);

#endif
