/*
 * Keys. A key file is two lines: "sora-key-1 KIND" and the secret in hexadecimal; it is read and
 * written through guarded memory only, so that no copy of a secret stays on the heap or the stack.
 */
#include "proto/keys.h"

#include "proto/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX 256

struct kind_row {
    const char *name;
    size_t secret_size;
};

static const struct kind_row kind_rows[] = {
    [SORA_KEY_ROOT] = {"root", crypto_sign_SECRETKEYBYTES},
    [SORA_KEY_SIGN] = {"sign", crypto_sign_SECRETKEYBYTES},
    [SORA_KEY_CURVE] = {"curve", crypto_box_SECRETKEYBYTES},
};

struct sora_key {
    enum sora_key_kind kind;
    unsigned char public[SORA_KEY_PUBLIC_SIZE];
    unsigned char *secret; /* sodium_malloc, read-only after creation */
};

int sora_keys_init(struct sora_fault *fault)
{
    if (sodium_init() >= 0)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INTERNAL, "libsodium does not start");
}

static int allocate(enum sora_key_kind kind, struct sora_key **out_key, struct sora_fault *fault)
{
    int rc = sora_keys_init(fault);
    if (rc)
        return rc;
    struct sora_key *key = calloc(1, sizeof(*key));
    if (key)
        key->secret = sodium_malloc(kind_rows[kind].secret_size);
    if (!key || !key->secret) {
        free(key);
        return sora_fault_set(fault, SORA_E_MEMORY, "no locked memory for a key; raise ulimit -l");
    }
    key->kind = kind;
    *out_key = key;
    return SORA_OK;
}

int sora_key_create(enum sora_key_kind kind, struct sora_key **out_key, struct sora_fault *fault)
{
    struct sora_key *key;
    int rc = allocate(kind, &key, fault);
    if (rc)
        return rc;
    if (kind == SORA_KEY_CURVE)
        crypto_box_keypair(key->public, key->secret);
    else
        crypto_sign_keypair(key->public, key->secret);
    sodium_mprotect_readonly(key->secret);
    *out_key = key;
    return SORA_OK;
}

void sora_key_destroy(struct sora_key **key)
{
    if (!*key)
        return;
    sodium_free((*key)->secret);
    free(*key);
    *key = NULL;
}

const unsigned char *sora_key_public(const struct sora_key *key)
{
    return key->public;
}

const unsigned char *sora_key_curve_secret(const struct sora_key *key)
{
    SORA_ASSERT(key->kind == SORA_KEY_CURVE);
    return key->secret;
}

/* ---- files ---- */

/* Fills the key from the file's text. */
static int parse_secret(struct sora_key *key, const char *text, size_t size)
{
    char head[32];
    int length = snprintf(head, sizeof(head), "sora-key-1 %s\n", kind_rows[key->kind].name);
    size_t secret_size = kind_rows[key->kind].secret_size, read_size = 0;
    if (size != (size_t)length + 2 * secret_size + 1 || memcmp(text, head, (size_t)length) != 0 ||
        text[size - 1] != '\n')
        return SORA_E_FORMAT;
    const char *end;
    if (sodium_hex2bin(key->secret, secret_size, text + length, 2 * secret_size, NULL, &read_size,
                       &end) != 0 ||
        read_size != secret_size || end != text + size - 1)
        return SORA_E_FORMAT;
    if (key->kind == SORA_KEY_CURVE)
        return crypto_scalarmult_base(key->public, key->secret) == 0 ? SORA_OK : SORA_E_FORMAT;
    /* An Ed25519 secret is seed and public key; a damaged file does not fit its own seed. */
    unsigned char *again = sodium_malloc(secret_size);
    if (!again)
        return SORA_E_MEMORY;
    crypto_sign_seed_keypair(key->public, again, key->secret);
    int differs = sodium_memcmp(again, key->secret, secret_size);
    sodium_free(again);
    return differs ? SORA_E_FORMAT : SORA_OK;
}

int sora_key_load(const char *path, enum sora_key_kind kind, struct sora_key **out_key,
                  struct sora_fault *fault)
{
    struct sora_key *key;
    int rc = allocate(kind, &key, fault);
    if (rc)
        return rc;
    size_t size = 0;
    char *text = sodium_malloc(FILE_BYTES_MAX);
    if (!text)
        rc = sora_fault_set(fault, SORA_E_MEMORY, "no locked memory for a key; raise ulimit -l");
    else
        rc = sora_secret_read(path, text, FILE_BYTES_MAX, &size, fault);
    if (rc == SORA_OK && (rc = parse_secret(key, text, size)) != 0)
        sora_fault_set(fault, rc, "%s is damaged or no %s key", path, kind_rows[kind].name);
    sodium_free(text);
    if (rc) {
        sora_key_destroy(&key);
        return rc;
    }
    sodium_mprotect_readonly(key->secret);
    *out_key = key;
    return SORA_OK;
}

int sora_key_save(const struct sora_key *key, const char *path, struct sora_fault *fault)
{
    char *text = sodium_malloc(FILE_BYTES_MAX);
    if (!text)
        return sora_fault_set(fault, SORA_E_MEMORY, "no locked memory for a key; raise ulimit -l");
    const struct kind_row *row = &kind_rows[key->kind];
    int head = snprintf(text, FILE_BYTES_MAX, "sora-key-1 %s\n", row->name);
    sodium_bin2hex(text + head, FILE_BYTES_MAX - (size_t)head, key->secret, row->secret_size);
    size_t size = (size_t)head + 2 * row->secret_size;
    text[size++] = '\n';
    int rc = sora_secret_write(path, text, size, false, fault);
    sodium_free(text);
    return rc;
}

/* ---- signatures ---- */

static void feed(crypto_sign_state *state, const void *data, size_t size)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)size >> 8 * i);
    crypto_sign_update(state, length, sizeof(length));
    if (size > 0)
        crypto_sign_update(state, data, size);
}

static void feed_all(crypto_sign_state *state, const char *domain, const struct sora_span *spans,
                     int count)
{
    crypto_sign_init(state);
    feed(state, domain, strlen(domain));
    for (int i = 0; i < count; i++)
        feed(state, spans[i].data, spans[i].size);
}

void sora_key_sign(const struct sora_key *key, const char *domain, const struct sora_span *spans,
                   int count, unsigned char out_signature[SORA_SIGNATURE_SIZE])
{
    SORA_ASSERT(key->kind != SORA_KEY_CURVE);
    crypto_sign_state state;
    feed_all(&state, domain, spans, count);
    crypto_sign_final_create(&state, out_signature, NULL, key->secret);
}

bool sora_key_verify(const unsigned char public_key[SORA_KEY_PUBLIC_SIZE], const char *domain,
                     const struct sora_span *spans, int count,
                     const unsigned char signature[SORA_SIGNATURE_SIZE])
{
    crypto_sign_state state;
    feed_all(&state, domain, spans, count);
    return crypto_sign_final_verify(&state, signature, public_key) == 0;
}

/* ---- small things ---- */

void sora_key_random(void *out_data, size_t size)
{
    SORA_ASSERT(sodium_init() >= 0);
    randombytes_buf(out_data, size);
}

void sora_key_digest(const void *data, size_t size, unsigned char out_digest[32])
{
    static const unsigned char nothing;
    crypto_generichash(out_digest, 32, size > 0 ? data : &nothing, size, NULL, 0);
}

void sora_key_words(const unsigned char public_key[SORA_KEY_PUBLIC_SIZE],
                    char out_words[SORA_KEY_WORDS_SIZE])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    unsigned char digest[32];
    sora_key_digest(public_key, SORA_KEY_PUBLIC_SIZE, digest);
    char *to = out_words;
    for (int i = 0; i < 25; i++) {
        int bit = 5 * i;
        unsigned pair = (unsigned)digest[bit / 8] << 8 | digest[bit / 8 + 1];
        if (i > 0 && i % 5 == 0)
            *to++ = '-';
        *to++ = letters[pair >> (11 - bit % 8) & 31];
    }
    *to = '\0';
}
