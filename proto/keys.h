/*
 * Keys: Ed25519 signing keys and Curve25519 connection keys in guarded memory and private files.
 *
 * Secrets lie in libsodium memory (locked, between guard pages, wiped) and in files of mode 0600;
 * no function prints one. The caller owns a key; one thread at a time, reading from several is
 * fine. Loading and saving block on disk.
 */
#ifndef SORA_PROTO_KEYS_H
#define SORA_PROTO_KEYS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SORA_KEY_PUBLIC_SIZE 32
#define SORA_SIGNATURE_SIZE 64

enum sora_key_kind {
    SORA_KEY_ROOT,  /* Ed25519: a studio; signs certificates and revocations */
    SORA_KEY_SIGN,  /* Ed25519: a node; signs what it answers for */
    SORA_KEY_CURVE, /* Curve25519: a node's connections */
};

struct sora_key;

/* Makes libsodium ready; every function here does it too. Errors: INTERNAL. */
int sora_keys_init(struct sora_fault *fault);

/* A fresh random key. Returns owned. Errors: MEMORY, INTERNAL. */
int sora_key_create(enum sora_key_kind kind, struct sora_key **out_key, struct sora_fault *fault);

/* Reads a key file. Errors: NOT_FOUND, DENIED (others may read or write the file, or another user
 * owns it), FORMAT (damaged, or a key of another kind), MEMORY, IO. Returns owned. */
int sora_key_load(const char *path, enum sora_key_kind kind, struct sora_key **out_key,
                  struct sora_fault *fault);

/* Writes a key file of mode 0600, whole or not at all, and never over one that exists (BUSY): a key
 * that is overwritten is lost. Errors: BUSY, NOT_FOUND (no such folder), DENIED, SPACE, IO. */
int sora_key_save(const struct sora_key *key, const char *path, struct sora_fault *fault);

/* Wipes and frees. */
void sora_key_destroy(struct sora_key **key);

/* The public half, SORA_KEY_PUBLIC_SIZE bytes, valid as long as the key. */
const unsigned char *sora_key_public(const struct sora_key *key);

/* The secret half of a SORA_KEY_CURVE key, 32 bytes in guarded memory. Only for handing it to the
 * socket library inside proto/. */
const unsigned char *sora_key_curve_secret(const struct sora_key *key);

/* A piece of what is signed. */
struct sora_span {
    const void *data;
    size_t size;
};

/* Ed25519ph over the domain tag and the spans, each preceded by its length, so that no two lists of
 * spans sign alike. `key` is ROOT or SIGN. */
void sora_key_sign(const struct sora_key *key, const char *domain, const struct sora_span *spans,
                   int count, unsigned char out_signature[SORA_SIGNATURE_SIZE]);

/* Whether `signature` is `public_key`'s over the same. Any thread. */
bool sora_key_verify(const unsigned char public_key[SORA_KEY_PUBLIC_SIZE], const char *domain,
                     const struct sora_span *spans, int count,
                     const unsigned char signature[SORA_SIGNATURE_SIZE]);

/* Random bytes for ids, serials and nonces. */
void sora_key_random(void *out_data, size_t size);

/* BLAKE2b-256 of one span, for blob and content digests. */
void sora_key_digest(const void *data, size_t size, unsigned char out_digest[32]);

/* 25 letters and digits of a public key in groups of five, to read aloud and compare; NUL included
 * in the size. */
#define SORA_KEY_WORDS_SIZE 30
void sora_key_words(const unsigned char public_key[SORA_KEY_PUBLIC_SIZE],
                    char out_words[SORA_KEY_WORDS_SIZE]);

#endif
