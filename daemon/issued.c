/* Certificates that were issued here, and the lists of those taken back. */
#include "daemon/members.h"

#include <stdlib.h>
#include <string.h>

void sora_issued_fini(struct sora_issued *issued)
{
    free(issued->rows);
    free(issued->identities);
    *issued = (struct sora_issued){.count = 0};
}

static bool is_past(const struct sora_identity *identity, uint64_t wall_now_ms)
{
    return wall_now_ms > identity->wall_not_after_ms + SORA_CLOCK_TOLERANCE_MS;
}

static void forget_past(struct sora_issued *issued, uint64_t wall_now_ms)
{
    int kept = 0;
    for (int i = 0; i < issued->count; i++) {
        if (is_past(&issued->identities[i], wall_now_ms))
            continue;
        issued->rows[kept] = issued->rows[i];
        issued->identities[kept++] = issued->identities[i];
    }
    issued->count = kept;
}

int sora_issued_add(struct sora_issued *issued, const struct sora_certificate *certificate,
                    uint64_t wall_now_ms)
{
    struct sora_identity identity;
    int rc = sora_certificate_read(certificate, &identity, NULL);
    if (rc)
        return rc;
    if (!issued->rows)
        issued->rows = calloc(SORA_ISSUED_MAX, sizeof(*issued->rows));
    if (!issued->identities)
        issued->identities = calloc(SORA_ISSUED_MAX, sizeof(*issued->identities));
    if (!issued->rows || !issued->identities)
        return SORA_E_MEMORY;
    forget_past(issued, wall_now_ms);
    if (issued->count == SORA_ISSUED_MAX)
        return SORA_E_FULL;
    issued->rows[issued->count] = *certificate;
    issued->identities[issued->count++] = identity;
    return SORA_OK;
}

/* ---- revocation ---- */

/* Serials of one new list. */
struct serials {
    unsigned char (*rows)[SORA_SERIAL_SIZE];
    size_t count;
    uint64_t sequence;
};

static bool has_serial(const struct serials *serials, const unsigned char *serial)
{
    for (size_t i = 0; i < serials->count; i++) {
        if (memcmp(serials->rows[i], serial, SORA_SERIAL_SIZE) == 0)
            return true;
    }
    return false;
}

static void add_serial(struct serials *serials, const unsigned char *serial)
{
    if (serials->count < SORA_REVOKED_MAX && !has_serial(serials, serial))
        memcpy(serials->rows[serials->count++], serial, SORA_SERIAL_SIZE);
}

/* Whether a revoked serial is of a certificate in date. Others may be forgotten, and are when the
 * list becomes full. */
static bool is_current(const struct sora_issued *issued, const uint8_t *serial)
{
    for (int i = 0; i < issued->count; i++) {
        if (memcmp(issued->identities[i].serial, serial, SORA_SERIAL_SIZE) == 0)
            return true;
    }
    return false;
}

/* What the newest list of `root` says. */
static int read_current(const struct sora_issued *issued, const unsigned char *root,
                        const struct sora_trust *trust, struct serials *serials)
{
    Farm__Revocation *lists = calloc(SORA_TRUST_ROOTS_MAX, sizeof(*lists));
    if (!lists)
        return SORA_E_MEMORY;
    size_t count = sora_trust_revocations(trust, lists);
    for (size_t i = 0; i < count; i++) {
        struct sora_message *message = NULL;
        if (sora_message_decode_as(&farm__revocation_body__descriptor, lists[i].body.data,
                                   lists[i].body.len, true, &message, NULL) != SORA_OK)
            continue;
        const Farm__RevocationBody *body = (const Farm__RevocationBody *)message->any;
        if (memcmp(body->root_public.data, root, SORA_KEY_PUBLIC_SIZE) == 0) {
            serials->sequence = body->sequence;
            bool crowded = body->n_serials > SORA_REVOKED_MAX - SORA_ISSUED_MAX;
            for (size_t k = 0; k < body->n_serials; k++) {
                if (!crowded || is_current(issued, body->serials[k].data))
                    add_serial(serials, body->serials[k].data);
            }
        }
        sora_message_destroy(&message);
    }
    free(lists);
    return SORA_OK;
}

int sora_issued_revoke(const struct sora_issued *issued, const struct sora_key *root,
                       const struct sora_trust *trust, const struct sora_identity *member,
                       uint64_t wall_now_ms, struct sora_bytes *bytes, struct sora_fault *fault)
{
    struct serials serials = {.rows = calloc(SORA_REVOKED_MAX, SORA_SERIAL_SIZE)};
    if (!serials.rows)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a revocation list");
    int rc = read_current(issued, sora_key_public(root), trust, &serials);
    if (rc == SORA_OK) {
        add_serial(&serials, member->serial);
        for (int i = 0; i < issued->count; i++) {
            if (memcmp(issued->identities[i].node, member->node, SORA_NODE_ID_SIZE) == 0)
                add_serial(&serials, issued->identities[i].serial);
        }
        rc = sora_revocation_issue(root, serials.sequence + 1, wall_now_ms, serials.rows,
                                   serials.count, bytes, fault);
    }
    free(serials.rows);
    return rc;
}

/* ---- bytes ---- */

int sora_issued_pack(const struct sora_issued *issued, struct sora_bytes *bytes)
{
    Farm__Members message = FARM__MEMBERS__INIT;
    Farm__Certificate *wires = calloc((size_t)issued->count + 1, sizeof(*wires));
    Farm__Certificate **list = calloc((size_t)issued->count + 1, sizeof(Farm__Certificate *));
    int rc = wires && list ? SORA_OK : SORA_E_MEMORY;
    for (int i = 0; i < issued->count && rc == SORA_OK; i++) {
        wires[i] = (Farm__Certificate)FARM__CERTIFICATE__INIT;
        sora_certificate_put(&issued->rows[i], &wires[i]);
        list[i] = &wires[i];
    }
    if (rc == SORA_OK) {
        message.n_certificates = (size_t)issued->count;
        message.certificates = list;
        size_t size = farm__members__get_packed_size(&message);
        rc = sora_bytes_reserve(bytes, size);
        if (rc == SORA_OK) {
            farm__members__pack(&message, bytes->data + bytes->size);
            sora_bytes_commit(bytes, size);
        }
    }
    free(wires);
    free(list);
    return rc;
}

int sora_issued_unpack(struct sora_issued *issued, const void *data, size_t size,
                       uint64_t wall_now_ms, struct sora_fault *fault)
{
    struct sora_message *message = NULL;
    int rc = sora_message_decode_as(&farm__members__descriptor, data, size, true, &message, fault);
    if (rc)
        return rc;
    const Farm__Members *members = (const Farm__Members *)message->any;
    for (size_t i = 0; i < members->n_certificates && rc == SORA_OK; i++) {
        struct sora_certificate certificate;
        rc = sora_certificate_get(members->certificates[i], &certificate, fault);
        if (rc == SORA_OK)
            rc = sora_issued_add(issued, &certificate, wall_now_ms);
    }
    sora_message_destroy(&message);
    return rc;
}
