/*
 * Envelopes: what one node says so that others can hold it to it, whoever carries it.
 *
 * The signature covers domain tag, audience, expiry, nonce and payload, as the bytes that were
 * received: nothing is packed again to be checked. A nonce is taken once. One thread at a time;
 * nothing blocks.
 */
#ifndef SORA_PROTO_ENVELOPE_H
#define SORA_PROTO_ENVELOPE_H

#include "proto/certificate.h"

/* Domain tags: what a payload is. */
#define SORA_DOMAIN_SUBMIT "sora/submit/1" /* JobSpec */
#define SORA_DOMAIN_LEASE "sora/lease/1"   /* LeaseBody */

#define SORA_NONCE_SIZE 16
#define SORA_ENVELOPE_LIFETIME_MS ((uint64_t)7 * 86400 * 1000) /* the longest */
#define SORA_REPLAY_CAPACITY 4096 /* nonces kept, when 0 is asked for */

/* ---- nonces ---- */

/* Nonces seen, kept until their envelopes expire. Bounded: when all of them are still in date, a
 * new envelope is refused (FULL), never an old nonce forgotten. Lives in memory; what must not
 * happen twice across a restart is keyed by its own id in the store. */
struct sora_replay;

/* `capacity` nonces; 0 for the default. */
int sora_replay_create(size_t capacity, struct sora_replay **out_replay);
void sora_replay_destroy(struct sora_replay **replay);

/* ---- sealing ---- */

struct sora_envelope_params {
    const struct sora_key *key; /* SIGN key of the certificate */
    const struct sora_certificate *certificate;
    const char *domain;
    const unsigned char *audience; /* [32] node id or root key; NULL: every member */
    uint64_t wall_expires_ms;
    const void *payload;
    size_t payload_size;
};

/* An envelope that was made here. `wire` points into this struct and into what the params named,
 * so the struct must not be copied. */
struct sora_envelope {
    Farm__Envelope wire;
    Farm__Certificate certificate;
    unsigned char nonce[SORA_NONCE_SIZE];
    unsigned char signature[SORA_SIGNATURE_SIZE];
};

/* Keeps all that the params name. */
void sora_envelope_seal(const struct sora_envelope_params *params, struct sora_envelope *out);

/* ---- opening ---- */

struct sora_envelope_expect {
    const struct sora_trust *trust;
    struct sora_replay *replay; /* NULL: may be opened again, as from the store */
    const char *domain;
    const unsigned char *node; /* [32] ours */
    const unsigned char *root; /* [32] our studio's; NULL: none yet */
    uint32_t roles;            /* that the signer must have */
    uint64_t wall_now_ms;
};

/* Checks everything about an envelope and takes its nonce. The payload is then to be decoded with
 * sora_message_decode_as, strict. Errors: DENIED (domain, audience, signer, signature, expired,
 * seen before) with the reason, LIMIT (lifetime), FULL (nonces), FORMAT. */
int sora_envelope_open(const Farm__Envelope *wire, const struct sora_envelope_expect *expect,
                       struct sora_identity *out_signer, struct sora_fault *fault);

#endif
