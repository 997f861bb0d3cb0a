/* Signed envelopes and the window of nonces. */
#include "proto/envelope.h"

#include "proto/validate.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define ENVELOPE_DOMAIN "sora/envelope/1"

/* ---- nonces ---- */

struct seen {
    unsigned char key[24]; /* digest of signer and nonce */
    uint64_t wall_expires_ms;
};

struct sora_replay {
    size_t capacity, count;
    struct seen items[];
};

int sora_replay_create(size_t capacity, struct sora_replay **out_replay)
{
    if (capacity == 0)
        capacity = SORA_REPLAY_CAPACITY;
    if (capacity > 1 << 20)
        return SORA_E_LIMIT;
    struct sora_replay *replay = calloc(1, sizeof(*replay) + capacity * sizeof(struct seen));
    if (!replay)
        return SORA_E_MEMORY;
    replay->capacity = capacity;
    *out_replay = replay;
    return SORA_OK;
}

void sora_replay_destroy(struct sora_replay **replay)
{
    free(*replay);
    *replay = NULL;
}

/* A nonce is needed as long as its envelope could still be opened. */
static void forget_expired(struct sora_replay *replay, uint64_t wall_now_ms)
{
    for (size_t i = 0; i < replay->count;) {
        if (replay->items[i].wall_expires_ms + SORA_CLOCK_TOLERANCE_MS < wall_now_ms)
            replay->items[i] = replay->items[--replay->count];
        else
            i++;
    }
}

static int take_nonce(struct sora_replay *replay, const struct sora_identity *signer,
                      const Farm__Envelope *wire, uint64_t wall_now_ms, struct sora_fault *fault)
{
    struct seen item = {.wall_expires_ms = wire->wall_expires_ms};
    crypto_generichash(item.key, sizeof(item.key), wire->nonce.data, wire->nonce.len, signer->node,
                       sizeof(signer->node));
    for (size_t i = 0; i < replay->count; i++) {
        if (memcmp(replay->items[i].key, item.key, sizeof(item.key)) == 0)
            return sora_fault_set(fault, SORA_E_DENIED, "an envelope of %s came twice",
                                  signer->name);
    }
    if (replay->count == replay->capacity)
        forget_expired(replay, wall_now_ms);
    if (replay->count == replay->capacity)
        return sora_fault_set(fault, SORA_E_FULL, "%zu envelopes are in date; try again later",
                              replay->count);
    replay->items[replay->count++] = item;
    return SORA_OK;
}

/* ---- envelopes ---- */

static void number_bytes(uint64_t number, unsigned char out_bytes[8])
{
    for (int i = 0; i < 8; i++)
        out_bytes[i] = (unsigned char)(number >> 8 * i);
}

#define SPAN_COUNT 5

static void spans_of(const Farm__Envelope *wire, const unsigned char expires[8],
                     struct sora_span out_spans[SPAN_COUNT])
{
    const struct sora_span spans[SPAN_COUNT] = {
        {wire->domain, strlen(wire->domain)},
        {wire->audience.data, wire->audience.len},
        {expires, 8},
        {wire->nonce.data, wire->nonce.len},
        {wire->payload.data, wire->payload.len},
    };
    memcpy(out_spans, spans, sizeof(spans));
}

static ProtobufCBinaryData binary(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

void sora_envelope_seal(const struct sora_envelope_params *params, struct sora_envelope *out)
{
    farm__envelope__init(&out->wire);
    sora_key_random(out->nonce, sizeof(out->nonce));
    sora_certificate_put(params->certificate, &out->certificate);
    Farm__Envelope *wire = &out->wire;
    wire->payload = binary(params->payload, params->payload_size);
    wire->certificate = &out->certificate;
    wire->audience = binary(params->audience, params->audience ? SORA_KEY_PUBLIC_SIZE : 0);
    wire->wall_expires_ms = params->wall_expires_ms;
    wire->nonce = binary(out->nonce, sizeof(out->nonce));
    wire->domain = (char *)(uintptr_t)params->domain;
    unsigned char expires[8];
    struct sora_span spans[SPAN_COUNT];
    number_bytes(wire->wall_expires_ms, expires);
    spans_of(wire, expires, spans);
    sora_key_sign(params->key, ENVELOPE_DOMAIN, spans, SPAN_COUNT, out->signature);
    wire->signature = binary(out->signature, sizeof(out->signature));
}

static bool audience_is_us(const Farm__Envelope *wire, const struct sora_envelope_expect *expect)
{
    if (wire->audience.len == 0)
        return true;
    if (wire->audience.len != SORA_KEY_PUBLIC_SIZE)
        return false;
    return memcmp(wire->audience.data, expect->node, SORA_KEY_PUBLIC_SIZE) == 0 ||
           (expect->root && memcmp(wire->audience.data, expect->root, SORA_KEY_PUBLIC_SIZE) == 0);
}

static int check_date(const Farm__Envelope *wire, uint64_t wall_now_ms, struct sora_fault *fault)
{
    uint64_t expires = wire->wall_expires_ms;
    if (wall_now_ms > expires && wall_now_ms - expires > SORA_CLOCK_TOLERANCE_MS)
        return sora_fault_set(fault, SORA_E_DENIED, "the envelope has expired; check the clocks");
    if (expires > wall_now_ms &&
        expires - wall_now_ms > SORA_ENVELOPE_LIFETIME_MS + SORA_CLOCK_TOLERANCE_MS)
        return sora_fault_set(fault, SORA_E_LIMIT, "the envelope is valid for more than 7 days");
    return SORA_OK;
}

static int check_signature(const Farm__Envelope *wire, const struct sora_identity *signer,
                           struct sora_fault *fault)
{
    unsigned char expires[8];
    struct sora_span spans[SPAN_COUNT];
    number_bytes(wire->wall_expires_ms, expires);
    spans_of(wire, expires, spans);
    if (wire->signature.len == SORA_SIGNATURE_SIZE &&
        sora_key_verify(signer->node, ENVELOPE_DOMAIN, spans, SPAN_COUNT, wire->signature.data))
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_DENIED, "the envelope's signature is not that of %s",
                          signer->name);
}

int sora_envelope_open(const Farm__Envelope *wire, const struct sora_envelope_expect *expect,
                       struct sora_identity *out_signer, struct sora_fault *fault)
{
    int rc = sora_validate_message(&wire->base, fault);
    if (rc)
        return rc;
    if (wire->base.n_unknown_fields > 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "the envelope holds unknown fields");
    if (strcmp(wire->domain, expect->domain) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "the envelope is for %s, not %s", wire->domain,
                              expect->domain);
    if (!audience_is_us(wire, expect))
        return sora_fault_set(fault, SORA_E_DENIED, "the envelope is for another receiver");
    struct sora_certificate certificate;
    struct sora_identity signer;
    rc = sora_certificate_get(wire->certificate, &certificate, fault);
    if (rc == SORA_OK)
        rc = sora_trust_verify(expect->trust, &certificate, expect->roles, expect->wall_now_ms,
                               &signer, fault);
    if (rc == SORA_OK)
        rc = check_date(wire, expect->wall_now_ms, fault);
    if (rc == SORA_OK)
        rc = check_signature(wire, &signer, fault);
    if (rc == SORA_OK && expect->replay)
        rc = take_nonce(expect->replay, &signer, wire, expect->wall_now_ms, fault);
    if (rc == SORA_OK)
        *out_signer = signer;
    return rc;
}
