/* Certificates, revocation lists and the roots that are trusted. */
#include "proto/certificate.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define CERTIFICATE_DOMAIN "sora/certificate/1"
#define REVOCATION_DOMAIN "sora/revocation/1"

static ProtobufCBinaryData binary(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

/* ---- certificates ---- */

int sora_certificate_issue(const struct sora_key *root, const struct sora_identity *identity,
                           struct sora_certificate *out_certificate, struct sora_fault *fault)
{
    unsigned char serial[SORA_SERIAL_SIZE];
    sora_key_random(serial, sizeof(serial));
    Farm__CertificateBody body = FARM__CERTIFICATE_BODY__INIT;
    body.root_public = binary(sora_key_public(root), SORA_KEY_PUBLIC_SIZE);
    body.sign_public = binary(identity->node, SORA_KEY_PUBLIC_SIZE);
    body.curve_public = binary(identity->curve, SORA_KEY_PUBLIC_SIZE);
    body.serial = binary(serial, sizeof(serial));
    body.roles = identity->roles;
    body.wall_not_after_ms = identity->wall_not_after_ms;
    body.name = (char *)(uintptr_t)identity->name;
    body.studio = (char *)(uintptr_t)identity->studio;
    struct sora_message *checked = NULL;
    size_t size = farm__certificate_body__get_packed_size(&body);
    if (size > sizeof(out_certificate->body))
        return sora_fault_set(fault, SORA_E_FORMAT, "the certificate's names are too long");
    farm__certificate_body__pack(&body, out_certificate->body);
    int rc = sora_message_decode_as(&farm__certificate_body__descriptor, out_certificate->body,
                                    size, true, &checked, fault);
    sora_message_destroy(&checked);
    if (rc)
        return rc;
    out_certificate->body_size = size;
    const struct sora_span span = {out_certificate->body, size};
    sora_key_sign(root, CERTIFICATE_DOMAIN, &span, 1, out_certificate->signature);
    return SORA_OK;
}

int sora_certificate_read(const struct sora_certificate *certificate,
                          struct sora_identity *out_identity, struct sora_fault *fault)
{
    struct sora_message *message = NULL;
    int rc = sora_message_decode_as(&farm__certificate_body__descriptor, certificate->body,
                                    certificate->body_size, true, &message, fault);
    if (rc)
        return rc;
    const Farm__CertificateBody *body = (const Farm__CertificateBody *)message->any;
    const struct sora_span span = {certificate->body, certificate->body_size};
    if (sora_key_verify(body->root_public.data, CERTIFICATE_DOMAIN, &span, 1,
                        certificate->signature)) {
        struct sora_identity identity = {.roles = body->roles,
                                         .wall_not_after_ms = body->wall_not_after_ms};
        memcpy(identity.root, body->root_public.data, sizeof(identity.root));
        memcpy(identity.node, body->sign_public.data, sizeof(identity.node));
        memcpy(identity.curve, body->curve_public.data, sizeof(identity.curve));
        memcpy(identity.serial, body->serial.data, sizeof(identity.serial));
        memcpy(identity.name, body->name, strlen(body->name));
        memcpy(identity.studio, body->studio, strlen(body->studio));
        *out_identity = identity;
    } else {
        rc = sora_fault_set(fault, SORA_E_DENIED, "the certificate's signature is wrong");
    }
    sora_message_destroy(&message);
    return rc;
}

void sora_certificate_put(const struct sora_certificate *certificate, Farm__Certificate *out_wire)
{
    farm__certificate__init(out_wire);
    out_wire->body = binary(certificate->body, certificate->body_size);
    out_wire->signature = binary(certificate->signature, sizeof(certificate->signature));
}

int sora_certificate_get(const Farm__Certificate *wire, struct sora_certificate *out_certificate,
                         struct sora_fault *fault)
{
    if (wire->body.len > sizeof(out_certificate->body) ||
        wire->signature.len != sizeof(out_certificate->signature))
        return sora_fault_set(fault, SORA_E_LIMIT, "a certificate of %zu bytes", wire->body.len);
    *out_certificate = (struct sora_certificate){.body_size = wire->body.len};
    memcpy(out_certificate->body, wire->body.data, wire->body.len);
    memcpy(out_certificate->signature, wire->signature.data, wire->signature.len);
    return SORA_OK;
}

int sora_certificate_pack(const struct sora_certificate *certificate, struct sora_bytes *bytes)
{
    Farm__Certificate wire;
    sora_certificate_put(certificate, &wire);
    size_t size = farm__certificate__get_packed_size(&wire);
    int rc = sora_bytes_reserve(bytes, size);
    if (rc)
        return rc;
    farm__certificate__pack(&wire, bytes->data + bytes->size);
    sora_bytes_commit(bytes, size);
    return SORA_OK;
}

int sora_certificate_unpack(const void *data, size_t size, struct sora_certificate *out_certificate,
                            struct sora_fault *fault)
{
    struct sora_message *message = NULL;
    int rc =
        sora_message_decode_as(&farm__certificate__descriptor, data, size, true, &message, fault);
    if (rc)
        return rc;
    rc = sora_certificate_get((const Farm__Certificate *)message->any, out_certificate, fault);
    sora_message_destroy(&message);
    return rc;
}

/* ---- trust ---- */

struct trusted_root {
    unsigned char public[SORA_KEY_PUBLIC_SIZE];
    uint64_t sequence;         /* of the list; 0: none */
    struct sora_message *list; /* owned copy of the RevocationBody, unpacked */
    struct sora_bytes body;    /* as signed */
    unsigned char signature[SORA_SIGNATURE_SIZE];
};

struct sora_trust {
    size_t count;
    struct trusted_root roots[SORA_TRUST_ROOTS_MAX];
};

int sora_trust_create(struct sora_trust **out_trust)
{
    struct sora_trust *trust = calloc(1, sizeof(*trust));
    if (!trust)
        return SORA_E_MEMORY;
    *out_trust = trust;
    return SORA_OK;
}

static void root_fini(struct trusted_root *root)
{
    sora_message_destroy(&root->list);
    sora_bytes_fini(&root->body);
}

void sora_trust_destroy(struct sora_trust **trust)
{
    if (!*trust)
        return;
    for (size_t i = 0; i < (*trust)->count; i++)
        root_fini(&(*trust)->roots[i]);
    free(*trust);
    *trust = NULL;
}

static struct trusted_root *find_root(const struct sora_trust *trust, const unsigned char *public)
{
    for (size_t i = 0; i < trust->count; i++) {
        if (sodium_memcmp(trust->roots[i].public, public, SORA_KEY_PUBLIC_SIZE) == 0)
            return (struct trusted_root *)(uintptr_t)&trust->roots[i];
    }
    return NULL;
}

int sora_trust_add_root(struct sora_trust *trust, const unsigned char root[SORA_KEY_PUBLIC_SIZE])
{
    if (find_root(trust, root))
        return SORA_OK;
    if (trust->count == SORA_TRUST_ROOTS_MAX)
        return SORA_E_FULL;
    struct trusted_root *new = &trust->roots[trust->count++];
    *new = (struct trusted_root){.sequence = 0};
    memcpy(new->public, root, SORA_KEY_PUBLIC_SIZE);
    sora_bytes_init(&new->body, SORA_MESSAGE_BYTES_MAX);
    return SORA_OK;
}

void sora_trust_remove_root(struct sora_trust *trust,
                            const unsigned char root[SORA_KEY_PUBLIC_SIZE])
{
    struct trusted_root *old = find_root(trust, root);
    if (!old)
        return;
    root_fini(old);
    *old = trust->roots[--trust->count];
}

static int apply_list(struct sora_trust *trust, const Farm__Revocation *wire,
                      struct sora_message *list, struct sora_fault *fault)
{
    const Farm__RevocationBody *body = (const Farm__RevocationBody *)list->any;
    struct trusted_root *root = find_root(trust, body->root_public.data);
    const struct sora_span span = {wire->body.data, wire->body.len};
    if (!root)
        return sora_fault_set(fault, SORA_E_DENIED, "a revocation list of an unknown studio");
    if (wire->signature.len != SORA_SIGNATURE_SIZE ||
        !sora_key_verify(root->public, REVOCATION_DOMAIN, &span, 1, wire->signature.data))
        return sora_fault_set(fault, SORA_E_DENIED, "a revocation list with a wrong signature");
    if (body->sequence <= root->sequence)
        return sora_fault_set(fault, SORA_E_STALE, "revocation list %llu; there is %llu",
                              (unsigned long long)body->sequence,
                              (unsigned long long)root->sequence);
    struct sora_bytes copy;
    sora_bytes_init(&copy, SORA_MESSAGE_BYTES_MAX);
    int rc = sora_bytes_append(&copy, wire->body.data, wire->body.len);
    if (rc)
        return sora_fault_set(fault, rc, "not enough memory for a revocation list");
    root_fini(root);
    root->list = list;
    root->body = copy;
    root->sequence = body->sequence;
    memcpy(root->signature, wire->signature.data, SORA_SIGNATURE_SIZE);
    return SORA_OK;
}

int sora_trust_apply(struct sora_trust *trust, const Farm__Revocation *revocation,
                     struct sora_fault *fault)
{
    struct sora_message *list = NULL;
    int rc = sora_message_decode_as(&farm__revocation_body__descriptor, revocation->body.data,
                                    revocation->body.len, true, &list, fault);
    if (rc == SORA_OK)
        rc = apply_list(trust, revocation, list, fault);
    if (rc)
        sora_message_destroy(&list);
    return rc;
}

size_t sora_trust_revocations(const struct sora_trust *trust,
                              Farm__Revocation out_lists[SORA_TRUST_ROOTS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < trust->count; i++) {
        const struct trusted_root *root = &trust->roots[i];
        if (root->sequence == 0)
            continue;
        farm__revocation__init(&out_lists[count]);
        out_lists[count].body = binary(root->body.data, root->body.size);
        out_lists[count++].signature = binary(root->signature, sizeof(root->signature));
    }
    return count;
}

static bool is_revoked(const struct trusted_root *root, const unsigned char *serial)
{
    if (!root->list)
        return false;
    const Farm__RevocationBody *body = (const Farm__RevocationBody *)root->list->any;
    for (size_t i = 0; i < body->n_serials; i++) {
        if (memcmp(body->serials[i].data, serial, SORA_SERIAL_SIZE) == 0)
            return true;
    }
    return false;
}

int sora_trust_check(const struct sora_trust *trust, const struct sora_identity *identity,
                     uint32_t roles, uint64_t wall_now_ms, struct sora_fault *fault)
{
    const struct trusted_root *root = find_root(trust, identity->root);
    if (!root)
        return sora_fault_set(fault, SORA_E_DENIED, "%s is of a studio that is no member",
                              identity->name);
    if (is_revoked(root, identity->serial))
        return sora_fault_set(fault, SORA_E_DENIED, "%s is revoked", identity->name);
    if (wall_now_ms > identity->wall_not_after_ms &&
        wall_now_ms - identity->wall_not_after_ms > SORA_CLOCK_TOLERANCE_MS)
        return sora_fault_set(fault, SORA_E_DENIED, "the certificate of %s has expired",
                              identity->name);
    if ((identity->roles & roles) != roles)
        return sora_fault_set(fault, SORA_E_DENIED, "%s may not do this (roles %u, needed %u)",
                              identity->name, identity->roles, roles);
    return SORA_OK;
}

int sora_trust_verify(const struct sora_trust *trust, const struct sora_certificate *certificate,
                      uint32_t roles, uint64_t wall_now_ms, struct sora_identity *out_identity,
                      struct sora_fault *fault)
{
    struct sora_identity identity;
    int rc = sora_certificate_read(certificate, &identity, fault);
    if (rc == SORA_OK)
        rc = sora_trust_check(trust, &identity, roles, wall_now_ms, fault);
    if (rc == SORA_OK)
        *out_identity = identity;
    return rc;
}

/* ---- revocation ---- */

static int sign_list(const struct sora_key *root, const Farm__RevocationBody *body,
                     struct sora_bytes *bytes, struct sora_fault *fault)
{
    size_t body_size = farm__revocation_body__get_packed_size(body);
    unsigned char *packed = malloc(body_size);
    if (!packed)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a revocation list");
    farm__revocation_body__pack(body, packed);
    unsigned char signature[SORA_SIGNATURE_SIZE];
    const struct sora_span span = {packed, body_size};
    sora_key_sign(root, REVOCATION_DOMAIN, &span, 1, signature);
    Farm__Revocation wire = FARM__REVOCATION__INIT;
    wire.body = binary(packed, body_size);
    wire.signature = binary(signature, sizeof(signature));
    size_t size = farm__revocation__get_packed_size(&wire);
    int rc = sora_bytes_reserve(bytes, size);
    if (rc == SORA_OK) {
        farm__revocation__pack(&wire, bytes->data + bytes->size);
        sora_bytes_commit(bytes, size);
    } else {
        sora_fault_set(fault, rc, "no room for a revocation list");
    }
    free(packed);
    return rc;
}

int sora_revocation_issue(const struct sora_key *root, uint64_t sequence, uint64_t wall_now_ms,
                          unsigned char (*serials)[SORA_SERIAL_SIZE], size_t count,
                          struct sora_bytes *bytes, struct sora_fault *fault)
{
    if (count > SORA_REVOKED_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%zu revoked certificates; the limit is %d",
                              count, SORA_REVOKED_MAX);
    Farm__RevocationBody body = FARM__REVOCATION_BODY__INIT;
    ProtobufCBinaryData *list = calloc(count + 1, sizeof(*list));
    if (!list)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a revocation list");
    for (size_t i = 0; i < count; i++)
        list[i] = binary(serials[i], SORA_SERIAL_SIZE);
    body.root_public = binary(sora_key_public(root), SORA_KEY_PUBLIC_SIZE);
    body.sequence = sequence;
    body.wall_issued_ms = wall_now_ms;
    body.n_serials = count;
    body.serials = list;
    int rc = sign_list(root, &body, bytes, fault);
    free(list);
    return rc;
}
