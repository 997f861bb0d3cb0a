/*
 * Certificates: a studio's root key vouches for a node's keys, roles and name until a date.
 *
 * A chain has one link, root to node: studios do not vouch for each other. `struct sora_trust`
 * holds the roots that this daemon's owner admitted and each root's newest revocation list. Plain
 * values but for the trust, which its owner destroys; one thread at a time; nothing blocks.
 */
#ifndef SORA_PROTO_CERTIFICATE_H
#define SORA_PROTO_CERTIFICATE_H

#include "base/bytes.h"
#include "proto/keys.h"
#include "proto/message.h"

/* Bits of a certificate's roles. */
enum sora_role {
    SORA_ROLE_NODE = 1,      /* renders */
    SORA_ROLE_SCHEDULER = 2, /* is a home for jobs */
    SORA_ROLE_USER = 4,      /* submits and asks */
};

#define SORA_SERIAL_SIZE 16
#define SORA_NAME_SIZE 64 /* with NUL */
#define SORA_CLOCK_TOLERANCE_MS ((uint64_t)5 * 60 * 1000)
#define SORA_CERTIFICATE_LIFETIME_MS ((uint64_t)90 * 86400 * 1000) /* the longest */
#define SORA_TRUST_ROOTS_MAX 64
#define SORA_REVOKED_MAX 1024 /* serials per root */

/* Who a certificate speaks of. */
struct sora_identity {
    unsigned char root[SORA_KEY_PUBLIC_SIZE];
    unsigned char node[SORA_KEY_PUBLIC_SIZE]; /* signing key: the node id */
    unsigned char curve[SORA_KEY_PUBLIC_SIZE];
    unsigned char serial[SORA_SERIAL_SIZE];
    uint32_t roles;
    uint64_t wall_not_after_ms;
    char name[SORA_NAME_SIZE];
    char studio[SORA_NAME_SIZE];
};

/* A certificate as issued. */
struct sora_certificate {
    unsigned char body[512];
    size_t body_size;
    unsigned char signature[SORA_SIGNATURE_SIZE];
};

/* Signs `identity` with the studio's root key; `root` and `serial` of it are filled in (fresh
 * serial). Errors: FORMAT (a name or role out of range), MEMORY. */
int sora_certificate_issue(const struct sora_key *root, const struct sora_identity *identity,
                           struct sora_certificate *out_certificate, struct sora_fault *fault);

/* What the certificate says, once its own root's signature is found good. Says nothing about
 * whether that root is trusted or the date is past. Errors: FORMAT, DENIED (signature). */
int sora_certificate_read(const struct sora_certificate *certificate,
                          struct sora_identity *out_identity, struct sora_fault *fault);

/* Between the wire's form and ours. `put` borrows from `certificate` as long as the wire form is in
 * use; `get` copies. Errors of get: LIMIT. */
void sora_certificate_put(const struct sora_certificate *certificate, Farm__Certificate *out_wire);
int sora_certificate_get(const Farm__Certificate *wire, struct sora_certificate *out_certificate,
                         struct sora_fault *fault);

/* Certificate files. `pack` appends. */
int sora_certificate_pack(const struct sora_certificate *certificate, struct sora_bytes *bytes);
int sora_certificate_unpack(const void *data, size_t size, struct sora_certificate *out_certificate,
                            struct sora_fault *fault);

/* ---- trust ---- */

struct sora_trust;

int sora_trust_create(struct sora_trust **out_trust);
void sora_trust_destroy(struct sora_trust **trust);

/* Admits a studio. Done already is fine. Errors: FULL. */
int sora_trust_add_root(struct sora_trust *trust, const unsigned char root[SORA_KEY_PUBLIC_SIZE]);

/* Forgets a studio: none of its nodes verifies any more. */
void sora_trust_remove_root(struct sora_trust *trust,
                            const unsigned char root[SORA_KEY_PUBLIC_SIZE]);

/* Takes a revocation list of a trusted root. Errors: DENIED (root unknown, signature), STALE (not
 * newer than the one at hand), FORMAT, MEMORY. */
int sora_trust_apply(struct sora_trust *trust, const Farm__Revocation *revocation,
                     struct sora_fault *fault);

/* The newest lists, to send on; borrowed until the trust changes. Returns how many. */
size_t sora_trust_revocations(const struct sora_trust *trust,
                              Farm__Revocation out_lists[SORA_TRUST_ROOTS_MAX]);

/* Whether `identity` is of a trusted root, in date at `wall_now_ms` (with 5 minutes' tolerance),
 * not revoked, and has all of `roles`. Errors: DENIED with the reason. */
int sora_trust_check(const struct sora_trust *trust, const struct sora_identity *identity,
                     uint32_t roles, uint64_t wall_now_ms, struct sora_fault *fault);

/* sora_certificate_read and sora_trust_check. */
int sora_trust_verify(const struct sora_trust *trust, const struct sora_certificate *certificate,
                      uint32_t roles, uint64_t wall_now_ms, struct sora_identity *out_identity,
                      struct sora_fault *fault);

/* Makes a revocation list, packed as Farm__Revocation, appended to `bytes`. `serials` is
 * [count][SORA_SERIAL_SIZE] and holds every serial ever revoked and not past its date; `sequence`
 * is one more than the last. Errors: LIMIT, MEMORY, FULL. */
int sora_revocation_issue(const struct sora_key *root, uint64_t sequence, uint64_t wall_now_ms,
                          unsigned char (*serials)[SORA_SERIAL_SIZE], size_t count,
                          struct sora_bytes *bytes, struct sora_fault *fault);

#endif
