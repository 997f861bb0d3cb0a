/*
 * Invites: a one-use code that lets a node or a studio's user join, and the proofs made with it.
 *
 * A code is "farm1-" and base32 of version, expiry, roles, uses, id, a 128-bit secret, the
 * inviter's root key and connection key, its invite endpoints, and a checksum. The secret itself
 * never travels: both sides prove it by HMAC over one transcript of both sides' keys and a nonce,
 * inside CURVE. The inviter keeps its open invites in a book, in guarded memory and a file of mode
 * 0600. One thread at a time; only save and load block.
 */
#ifndef SORA_PROTO_INVITE_H
#define SORA_PROTO_INVITE_H

#include "proto/certificate.h"

#define SORA_INVITE_CODE_SIZE 1024 /* with NUL; a usual code has about 250 characters */
#define SORA_INVITE_ENDPOINTS_MAX 4
#define SORA_INVITE_ENDPOINT_SIZE 128
#define SORA_INVITE_TRIES_MAX 5 /* wrong proofs before an invite is void */
#define SORA_INVITES_MAX 64     /* open at a time */
#define SORA_INVITE_LIFETIME_MS ((uint64_t)86400 * 1000)
#define SORA_PROOF_SIZE 32

/* Holds a secret: finish it with sora_invite_fini. */
struct sora_invite {
    unsigned char id[16];
    unsigned char secret[16];
    unsigned char root[SORA_KEY_PUBLIC_SIZE];
    unsigned char curve[SORA_KEY_PUBLIC_SIZE]; /* of the inviter's invite socket */
    uint64_t wall_expires_ms;
    uint8_t roles; /* enum sora_role bits that the guest gets */
    uint8_t uses;  /* 1..255 */
    int endpoint_count;
    char endpoints[SORA_INVITE_ENDPOINTS_MAX][SORA_INVITE_ENDPOINT_SIZE];
};

/* Writes the code. Errors: INVALID (no endpoint, one too long, uses 0). */
int sora_invite_format(const struct sora_invite *invite, char out_code[SORA_INVITE_CODE_SIZE],
                       struct sora_fault *fault);

/* Reads a code, as pasted: upper case, blanks, line breaks and hyphens are forgiven. Errors:
 * FORMAT, UNSUPPORTED (a newer version). The date is not looked at: sora_invite_expired. */
int sora_invite_parse(const char *code, struct sora_invite *out_invite, struct sora_fault *fault);

bool sora_invite_expired(const struct sora_invite *invite, uint64_t wall_now_ms);

/* Wipes. */
void sora_invite_fini(struct sora_invite *invite);

/* ---- the guest's side ---- */

/* A request in the wire's form, pointing into this struct and what it was made from: must not be
 * copied. */
struct sora_join {
    Farm__JoinRequest wire;
    unsigned char nonce[32];
    unsigned char proof[SORA_PROOF_SIZE];
};

/* Keeps `sign`, `curve` and `name`. */
void sora_join_request(const struct sora_invite *invite, const struct sora_key *sign,
                       const struct sora_key *curve, const char *name, struct sora_join *out_join);

/* Whether the reply proves the secret and brings a certificate by the invite's root for our keys.
 * Errors: DENIED, FORMAT. */
int sora_join_check_reply(const struct sora_invite *invite, const struct sora_join *join,
                          const Farm__JoinReply *reply, struct sora_certificate *out_certificate,
                          struct sora_identity *out_identity, struct sora_fault *fault);

/* ---- the inviter's side ---- */

struct sora_invites;

/* An empty book. Errors: MEMORY. */
int sora_invites_create(struct sora_invites **out_book, struct sora_fault *fault);
void sora_invites_destroy(struct sora_invites **book);

/* The book in its file. Load of a file that is not there gives an empty book. */
int sora_invites_load(const char *path, struct sora_invites **out_book, struct sora_fault *fault);
int sora_invites_save(const struct sora_invites *book, const char *path, struct sora_fault *fault);

/* Fills id and secret of `invite` and keeps the invite. Errors: FULL (64 are open). */
int sora_invites_add(struct sora_invites *book, struct sora_invite *invite, uint64_t wall_now_ms,
                     struct sora_fault *fault);

/* What a redeemed invite allows. */
struct sora_grant {
    uint8_t roles;
    int index; /* in the book, until it changes */
};

/* Checks a request that came over a connection with the key `curve` and takes one use. The caller
 * saves the book before it answers, so that a crash cannot give a use back. Errors: DENIED (unknown
 * or used invite, wrong proof, expired, another connection key). A fifth wrong proof voids it. */
int sora_invites_redeem(struct sora_invites *book, const Farm__JoinRequest *request,
                        const unsigned char curve[SORA_KEY_PUBLIC_SIZE], uint64_t wall_now_ms,
                        struct sora_grant *out_grant, struct sora_fault *fault);

/* The inviter's proof for the reply. */
void sora_invites_prove(const struct sora_invites *book, const struct sora_grant *grant,
                        const Farm__JoinRequest *request,
                        const struct sora_certificate *certificate,
                        unsigned char out_proof[SORA_PROOF_SIZE]);

/* Forgets an invite by id. False when there is none. */
bool sora_invites_remove(struct sora_invites *book, const unsigned char id[16]);

/* Invites that may still be used. */
int sora_invites_open(const struct sora_invites *book, uint64_t wall_now_ms);

#endif
