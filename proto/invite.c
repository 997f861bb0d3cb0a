/* Invite codes, the proofs of joining, and the book of open invites. */
#include "proto/invite.h"

#include "proto/secret.h"
#include "proto/validate.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define CODE_VERSION 1
#define CODE_PREFIX "farm1-"
#define FIXED_BYTES (1 + 8 + 1 + 1 + 16 + 16 + 32 + 32 + 1)
#define CHECKSUM_BYTES 5
#define RAW_BYTES_MAX                                                                              \
    (FIXED_BYTES + SORA_INVITE_ENDPOINTS_MAX * SORA_INVITE_ENDPOINT_SIZE + CHECKSUM_BYTES)

/* ---- the code ---- */

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* RFC 4648, section 6 */

static void base32_write(const unsigned char *data, size_t size, char *to)
{
    unsigned held = 0, bits = 0;
    for (size_t i = 0; i < size; i++) {
        held = held << 8 | data[i];
        for (bits += 8; bits >= 5; bits -= 5)
            *to++ = letters[held >> (bits - 5) & 31];
        held &= (1u << bits) - 1;
    }
    if (bits > 0)
        *to++ = letters[held << (5 - bits) & 31];
    *to = '\0';
}

/* Bytes written, or -1 for a foreign character, bits that are left over, or no room. */
static long base32_read(const char *from, unsigned char *to, size_t room)
{
    unsigned held = 0, bits = 0;
    size_t size = 0;
    for (; *from; from++) {
        if (isspace((unsigned char)*from) || *from == '-')
            continue;
        const char *letter = strchr(letters, tolower((unsigned char)*from));
        if (!letter)
            return -1;
        held = held << 5 | (unsigned)(letter - letters);
        bits += 5;
        if (bits >= 8) {
            if (size == room)
                return -1;
            bits -= 8;
            to[size++] = (unsigned char)(held >> bits);
            held &= (1u << bits) - 1;
        }
    }
    return held == 0 && bits < 5 ? (long)size : -1;
}

static void checksum(const unsigned char *data, size_t size, unsigned char out[CHECKSUM_BYTES])
{
    unsigned char digest[crypto_generichash_BYTES_MIN];
    crypto_generichash(digest, sizeof(digest), data, size, NULL, 0);
    memcpy(out, digest, CHECKSUM_BYTES);
}

static bool endpoint_is_good(const char *endpoint)
{
    size_t length = strnlen(endpoint, SORA_INVITE_ENDPOINT_SIZE);
    return length > 6 && length < SORA_INVITE_ENDPOINT_SIZE &&
           strncmp(endpoint, "tcp://", 6) == 0 && sora_validate_text(endpoint, length, false);
}

static unsigned char *put(unsigned char *to, const void *data, size_t size)
{
    memcpy(to, data, size);
    return to + size;
}

int sora_invite_format(const struct sora_invite *invite, char out_code[SORA_INVITE_CODE_SIZE],
                       struct sora_fault *fault)
{
    unsigned char raw[RAW_BYTES_MAX], *to = raw;
    if (invite->endpoint_count < 1 || invite->endpoint_count > SORA_INVITE_ENDPOINTS_MAX ||
        invite->uses == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "an invite needs an endpoint and a use");
    *to++ = CODE_VERSION;
    for (int i = 7; i >= 0; i--)
        *to++ = (unsigned char)(invite->wall_expires_ms >> 8 * i);
    *to++ = invite->roles;
    *to++ = invite->uses;
    to = put(to, invite->id, sizeof(invite->id));
    to = put(to, invite->secret, sizeof(invite->secret));
    to = put(to, invite->root, sizeof(invite->root));
    to = put(to, invite->curve, sizeof(invite->curve));
    *to++ = (unsigned char)invite->endpoint_count;
    for (int i = 0; i < invite->endpoint_count; i++) {
        if (!endpoint_is_good(invite->endpoints[i]))
            return sora_fault_set(fault, SORA_E_INVALID, "an invite's endpoint is like %s",
                                  "tcp://host:port");
        size_t length = strlen(invite->endpoints[i]);
        *to++ = (unsigned char)length;
        to = put(to, invite->endpoints[i], length);
    }
    checksum(raw, (size_t)(to - raw), to);
    to += CHECKSUM_BYTES;
    strcpy(out_code, CODE_PREFIX);
    base32_write(raw, (size_t)(to - raw), out_code + strlen(CODE_PREFIX));
    sodium_memzero(raw, sizeof(raw));
    return SORA_OK;
}

/* Fills the invite from `size` bytes without checksum. */
static int parse_raw(const unsigned char *raw, size_t size, struct sora_invite *invite)
{
    const unsigned char *at = raw + 1, *end = raw + size;
    for (int i = 0; i < 8; i++)
        invite->wall_expires_ms = invite->wall_expires_ms << 8 | *at++;
    invite->roles = *at++;
    invite->uses = *at++;
    memcpy(invite->id, at, 16);
    memcpy(invite->secret, at + 16, 16);
    memcpy(invite->root, at + 32, 32);
    memcpy(invite->curve, at + 64, 32);
    at += 96;
    invite->endpoint_count = *at++;
    if (invite->endpoint_count < 1 || invite->endpoint_count > SORA_INVITE_ENDPOINTS_MAX ||
        invite->uses == 0 || invite->roles > 7)
        return SORA_E_FORMAT;
    for (int i = 0; i < invite->endpoint_count; i++) {
        size_t length = at < end ? *at++ : 0;
        if (length == 0 || length >= SORA_INVITE_ENDPOINT_SIZE || length > (size_t)(end - at))
            return SORA_E_FORMAT;
        memcpy(invite->endpoints[i], at, length);
        invite->endpoints[i][length] = '\0';
        if (strlen(invite->endpoints[i]) != length || !endpoint_is_good(invite->endpoints[i]))
            return SORA_E_FORMAT;
        at += length;
    }
    return at == end ? SORA_OK : SORA_E_FORMAT;
}

int sora_invite_parse(const char *code, struct sora_invite *out_invite, struct sora_fault *fault)
{
    while (isspace((unsigned char)*code))
        code++;
    if (strncasecmp(code, CODE_PREFIX, strlen(CODE_PREFIX)) != 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "an invite code starts with %s", CODE_PREFIX);
    unsigned char raw[RAW_BYTES_MAX], sum[CHECKSUM_BYTES];
    long size = base32_read(code + strlen(CODE_PREFIX), raw, sizeof(raw)) - CHECKSUM_BYTES;
    int rc = SORA_E_FORMAT;
    struct sora_invite invite = {0};
    if (size >= FIXED_BYTES) {
        checksum(raw, (size_t)size, sum);
        if (memcmp(sum, raw + size, CHECKSUM_BYTES) == 0)
            rc =
                raw[0] == CODE_VERSION ? parse_raw(raw, (size_t)size, &invite) : SORA_E_UNSUPPORTED;
    }
    sodium_memzero(raw, sizeof(raw));
    if (rc == SORA_OK)
        *out_invite = invite;
    else if (rc == SORA_E_UNSUPPORTED)
        sora_fault_set(fault, rc, "the invite code is of a newer version; update this program");
    else
        sora_fault_set(fault, rc, "the invite code is not complete or has a wrong letter");
    sora_invite_fini(&invite);
    return rc;
}

bool sora_invite_expired(const struct sora_invite *invite, uint64_t wall_now_ms)
{
    return wall_now_ms > invite->wall_expires_ms;
}

void sora_invite_fini(struct sora_invite *invite)
{
    sodium_memzero(invite, sizeof(*invite));
}

/* ---- proofs ---- */

static void feed(crypto_auth_hmacsha512256_state *state, const void *data, size_t size)
{
    unsigned char length[4];
    for (int i = 0; i < 4; i++)
        length[i] = (unsigned char)(size >> 8 * i);
    crypto_auth_hmacsha512256_update(state, length, sizeof(length));
    if (size > 0)
        crypto_auth_hmacsha512256_update(state, data, size);
}

static void feed_binary(crypto_auth_hmacsha512256_state *state, const ProtobufCBinaryData *bytes)
{
    feed(state, bytes->data, bytes->len);
}

/* HMAC over the transcript; with a certificate it is the inviter's, without the guest's. */
static void prove(const struct sora_invite *invite, const Farm__JoinRequest *request,
                  const struct sora_certificate *certificate,
                  unsigned char out_proof[SORA_PROOF_SIZE])
{
    const char *domain = certificate ? "sora/join/inviter/1" : "sora/join/guest/1";
    crypto_auth_hmacsha512256_state state;
    crypto_auth_hmacsha512256_init(&state, invite->secret, sizeof(invite->secret));
    feed(&state, domain, strlen(domain));
    feed(&state, invite->id, sizeof(invite->id));
    feed(&state, invite->root, sizeof(invite->root));
    feed(&state, invite->curve, sizeof(invite->curve));
    feed_binary(&state, &request->sign_public);
    feed_binary(&state, &request->curve_public);
    feed_binary(&state, &request->nonce);
    feed(&state, request->name, strlen(request->name));
    if (certificate) {
        feed(&state, certificate->body, certificate->body_size);
        feed(&state, certificate->signature, sizeof(certificate->signature));
    }
    crypto_auth_hmacsha512256_final(&state, out_proof);
    sodium_memzero(&state, sizeof(state));
}

void sora_join_request(const struct sora_invite *invite, const struct sora_key *sign,
                       const struct sora_key *curve, const char *name, struct sora_join *out_join)
{
    Farm__JoinRequest *wire = &out_join->wire;
    farm__join_request__init(wire);
    sora_key_random(out_join->nonce, sizeof(out_join->nonce));
    wire->version_min = SORA_PROTOCOL_VERSION_MIN;
    wire->version_max = SORA_PROTOCOL_VERSION_MAX;
    wire->invite_id = (ProtobufCBinaryData){16, (uint8_t *)(uintptr_t)invite->id};
    wire->sign_public = (ProtobufCBinaryData){32, (uint8_t *)(uintptr_t)sora_key_public(sign)};
    wire->curve_public = (ProtobufCBinaryData){32, (uint8_t *)(uintptr_t)sora_key_public(curve)};
    wire->nonce = (ProtobufCBinaryData){sizeof(out_join->nonce), out_join->nonce};
    wire->name = (char *)(uintptr_t)name;
    prove(invite, wire, NULL, out_join->proof);
    wire->proof = (ProtobufCBinaryData){sizeof(out_join->proof), out_join->proof};
}

int sora_join_check_reply(const struct sora_invite *invite, const struct sora_join *join,
                          const Farm__JoinReply *reply, struct sora_certificate *out_certificate,
                          struct sora_identity *out_identity, struct sora_fault *fault)
{
    struct sora_certificate certificate;
    struct sora_identity identity;
    int rc = sora_certificate_get(reply->certificate, &certificate, fault);
    if (rc)
        return rc;
    unsigned char expected[SORA_PROOF_SIZE];
    prove(invite, &join->wire, &certificate, expected);
    if (reply->proof.len != sizeof(expected) ||
        sodium_memcmp(expected, reply->proof.data, sizeof(expected)) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "the other side does not know the invite");
    rc = sora_certificate_read(&certificate, &identity, fault);
    if (rc)
        return rc;
    if (memcmp(identity.root, invite->root, sizeof(identity.root)) != 0 ||
        memcmp(identity.node, join->wire.sign_public.data, sizeof(identity.node)) != 0 ||
        memcmp(identity.curve, join->wire.curve_public.data, sizeof(identity.curve)) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "the certificate is not for this node");
    *out_certificate = certificate;
    *out_identity = identity;
    return SORA_OK;
}

/* ---- the book ---- */

struct open_invite {
    struct sora_invite invite; /* uses 0: the place is free */
    uint32_t tries;            /* wrong proofs */
};

/* In guarded memory as a whole; saved as it lies, for this machine alone. */
struct sora_invites {
    char magic[16];
    struct open_invite open[SORA_INVITES_MAX];
};

static const char book_magic[16] = "sora-invites-1";

int sora_invites_create(struct sora_invites **out_book, struct sora_fault *fault)
{
    int rc = sora_keys_init(fault);
    if (rc)
        return rc;
    struct sora_invites *book = sodium_malloc(sizeof(*book));
    if (!book)
        return sora_fault_set(fault, SORA_E_MEMORY, "no locked memory; raise ulimit -l");
    sodium_memzero(book, sizeof(*book));
    memcpy(book->magic, book_magic, sizeof(book_magic));
    *out_book = book;
    return SORA_OK;
}

void sora_invites_destroy(struct sora_invites **book)
{
    sodium_free(*book);
    *book = NULL;
}

int sora_invites_load(const char *path, struct sora_invites **out_book, struct sora_fault *fault)
{
    struct sora_invites *book;
    int rc = sora_invites_create(&book, fault);
    if (rc)
        return rc;
    size_t size = 0;
    struct sora_fault missing = {0};
    rc = sora_secret_read(path, book, sizeof(*book), &size, &missing);
    if (rc == SORA_E_NOT_FOUND) {
        *out_book = book;
        return SORA_OK;
    }
    if (rc)
        sora_fault_set(fault, rc, "%s", missing.text);
    else if (size != sizeof(*book) || memcmp(book->magic, book_magic, sizeof(book_magic)) != 0)
        rc = sora_fault_set(fault, SORA_E_FORMAT,
                            "%s is no book of invites; remove it to start anew", path);
    if (rc)
        sora_invites_destroy(&book);
    else
        *out_book = book;
    return rc;
}

int sora_invites_save(const struct sora_invites *book, const char *path, struct sora_fault *fault)
{
    return sora_secret_write(path, book, sizeof(*book), true, fault);
}

static bool is_usable(const struct open_invite *open, uint64_t wall_now_ms)
{
    return open->invite.uses > 0 && open->tries < SORA_INVITE_TRIES_MAX &&
           !sora_invite_expired(&open->invite, wall_now_ms);
}

int sora_invites_add(struct sora_invites *book, struct sora_invite *invite, uint64_t wall_now_ms,
                     struct sora_fault *fault)
{
    for (int i = 0; i < SORA_INVITES_MAX; i++) {
        if (is_usable(&book->open[i], wall_now_ms))
            continue;
        sora_key_random(invite->id, sizeof(invite->id));
        sora_key_random(invite->secret, sizeof(invite->secret));
        book->open[i] = (struct open_invite){.invite = *invite};
        return SORA_OK;
    }
    return sora_fault_set(fault, SORA_E_FULL, "%d invites are open; wait for one to expire",
                          SORA_INVITES_MAX);
}

static int find(const struct sora_invites *book, const unsigned char *id)
{
    for (int i = 0; i < SORA_INVITES_MAX; i++) {
        if (book->open[i].invite.uses > 0 && memcmp(book->open[i].invite.id, id, 16) == 0)
            return i;
    }
    return -1;
}

int sora_invites_redeem(struct sora_invites *book, const Farm__JoinRequest *request,
                        const unsigned char curve[SORA_KEY_PUBLIC_SIZE], uint64_t wall_now_ms,
                        struct sora_grant *out_grant, struct sora_fault *fault)
{
    int index = find(book, request->invite_id.data);
    if (index < 0 || !is_usable(&book->open[index], wall_now_ms))
        return sora_fault_set(fault, SORA_E_DENIED,
                              "the invite is used, expired or unknown; ask for a new one");
    struct open_invite *open = &book->open[index];
    unsigned char expected[SORA_PROOF_SIZE];
    prove(&open->invite, request, NULL, expected);
    if (sodium_memcmp(expected, request->proof.data, sizeof(expected)) != 0) {
        open->tries++;
        return sora_fault_set(fault, SORA_E_DENIED, "the invite's secret is wrong");
    }
    if (memcmp(request->curve_public.data, curve, SORA_KEY_PUBLIC_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "the request came over another key");
    *out_grant = (struct sora_grant){.roles = open->invite.roles, .index = index};
    open->invite.uses--;
    return SORA_OK;
}

void sora_invites_prove(const struct sora_invites *book, const struct sora_grant *grant,
                        const Farm__JoinRequest *request,
                        const struct sora_certificate *certificate,
                        unsigned char out_proof[SORA_PROOF_SIZE])
{
    prove(&book->open[grant->index].invite, request, certificate, out_proof);
}

bool sora_invites_remove(struct sora_invites *book, const unsigned char id[16])
{
    int index = find(book, id);
    if (index >= 0)
        sodium_memzero(&book->open[index], sizeof(book->open[index]));
    return index >= 0;
}

int sora_invites_open(const struct sora_invites *book, uint64_t wall_now_ms)
{
    int count = 0;
    for (int i = 0; i < SORA_INVITES_MAX; i++)
        count += is_usable(&book->open[i], wall_now_ms);
    return count;
}
