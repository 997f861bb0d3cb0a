/* The table of members; between it and Farm__Members. */
#include "daemon/members.h"
#include "base/bytes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_MIN 4 /* digits of a node id that name a member */

void sora_members_fini(struct sora_members *members)
{
    for (int i = 0; i < members->count; i++)
        sora_message_destroy(&members->rows[i].presence.advert);
    free(members->rows);
    *members = (struct sora_members){NULL, 0};
}

uint64_t sora_presence_silent_ms(const struct sora_presence *presence, sora_time now)
{
    sora_time silent = now - presence->heard_at;
    return silent > 0 ? (uint64_t)silent / (SORA_TIME_SECOND / 1000) : 0;
}

struct sora_member *sora_members_find(const struct sora_members *members,
                                      const unsigned char node[SORA_NODE_ID_SIZE])
{
    for (int i = 0; i < members->count; i++) {
        if (memcmp(members->rows[i].identity.node, node, SORA_NODE_ID_SIZE) == 0)
            return &members->rows[i];
    }
    return NULL;
}

static bool starts_with(const unsigned char node[SORA_NODE_ID_SIZE], const char *digits)
{
    char text[2 * SORA_NODE_ID_SIZE + 1];
    size_t length = strlen(digits);
    if (length < HEX_MIN || length >= sizeof(text))
        return false;
    sora_hex(node, SORA_NODE_ID_SIZE, text);
    for (size_t i = 0; i < length; i++) {
        if (text[i] != tolower((unsigned char)digits[i]))
            return false;
    }
    return true;
}

int sora_members_named(const struct sora_members *members, const char *name, int *out_index,
                       struct sora_fault *fault)
{
    int found = -1, fits = 0;
    for (int gone = 0; gone < 2 && fits == 0; gone++) {
        for (int i = 0; i < members->count; i++) {
            const struct sora_member *member = &members->rows[i];
            if (member->out != (gone == 1) || (strcmp(member->identity.name, name) != 0 &&
                                               !starts_with(member->identity.node, name)))
                continue;
            found = i;
            fits++;
        }
    }
    if (fits == 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "no member is called '%.64s'; `soractl farm members` lists them",
                              name);
    if (fits > 1)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%d members fit '%.64s'; write more digits of the node id", fits,
                              name);
    *out_index = found;
    return SORA_OK;
}

int sora_members_put(struct sora_members *members, const struct sora_certificate *certificate,
                     const struct sora_identity *identity, bool *out_changed)
{
    struct sora_member *member = sora_members_find(members, identity->node);
    *out_changed = false;
    if (!member) {
        if (members->count == SORA_MEMBERS_MAX)
            return SORA_E_FULL;
        size_t size = (size_t)(members->count + 1) * sizeof(*members->rows);
        struct sora_member *rows = realloc(members->rows, size);
        if (!rows)
            return SORA_E_MEMORY;
        members->rows = rows;
        member = &rows[members->count++];
        *member = (struct sora_member){.out = false};
    } else if (identity->wall_not_after_ms <= member->identity.wall_not_after_ms) {
        return SORA_OK;
    }
    member->identity = *identity;
    member->certificate = *certificate;
    member->out = false;
    *out_changed = true;
    return SORA_OK;
}

static bool is_place(const char *place)
{
    return strncmp(place, "tcp://", 6) == 0 && strlen(place) < SORA_PLACE_SIZE;
}

static bool has_place(const struct sora_member *member, const char *place)
{
    for (int i = 0; i < member->place_count; i++) {
        if (strcmp(member->places[i], place) == 0)
            return true;
    }
    return false;
}

static void add_place(struct sora_member *member, const char *place)
{
    if (!is_place(place) || member->place_count == SORA_PLACES_MAX || has_place(member, place))
        return;
    snprintf(member->places[member->place_count++], SORA_PLACE_SIZE, "%s", place);
}

bool sora_members_place(struct sora_member *member, char *const *places, size_t count, bool own)
{
    struct sora_member old = *member;
    if (own) {
        member->place_count = 0;
        for (size_t i = 0; i < count; i++)
            add_place(member, places[i]);
    } else {
        /* The newest words of others go first behind what is known; the last falls out. */
        for (size_t i = 0; i < count; i++) {
            if (!is_place(places[i]) || has_place(member, places[i]))
                continue;
            if (member->place_count == SORA_PLACES_MAX)
                member->place_count--;
            add_place(member, places[i]);
        }
    }
    if (old.place_count != member->place_count)
        return true;
    for (int i = 0; i < old.place_count; i++) {
        if (strcmp(old.places[i], member->places[i]) != 0)
            return true;
    }
    return false;
}

int sora_members_count(const struct sora_members *members)
{
    int count = 0;
    for (int i = 0; i < members->count; i++)
        count += !members->rows[i].out;
    return count;
}

/* ---- bytes ---- */

#define CERTIFICATES_MAX (SORA_MEMBERS_MAX + 1)

struct sora_members_wire {
    Farm__Members message;
    Farm__Certificate certificates[CERTIFICATES_MAX];
    Farm__Certificate *certificate_list[CERTIFICATES_MAX];
    Farm__Revocation revocations[SORA_TRUST_ROOTS_MAX];
    Farm__Revocation *revocation_list[SORA_TRUST_ROOTS_MAX];
    Farm__MemberPlace places[CERTIFICATES_MAX];
    Farm__MemberPlace *place_list[CERTIFICATES_MAX];
    char *endpoints[CERTIFICATES_MAX][SORA_PLACES_MAX];
};

static void wire_certificate(struct sora_members_wire *wire,
                             const struct sora_certificate *certificate)
{
    size_t index = wire->message.n_certificates++;
    wire->certificates[index] = (Farm__Certificate)FARM__CERTIFICATE__INIT;
    sora_certificate_put(certificate, &wire->certificates[index]);
    wire->certificate_list[index] = &wire->certificates[index];
}

static void wire_place(struct sora_members_wire *wire, const unsigned char *node,
                       char (*places)[SORA_PLACE_SIZE], int count)
{
    if (count == 0)
        return;
    size_t index = wire->message.n_places++;
    Farm__MemberPlace *place = &wire->places[index];
    *place = (Farm__MemberPlace)FARM__MEMBER_PLACE__INIT;
    place->node = (ProtobufCBinaryData){SORA_NODE_ID_SIZE, (uint8_t *)(uintptr_t)node};
    place->n_endpoints = (size_t)count;
    place->endpoints = wire->endpoints[index];
    for (int i = 0; i < count; i++)
        place->endpoints[i] = places[i];
    wire->place_list[index] = place;
}

int sora_members_wire_create(const struct sora_members_packing *packing,
                             struct sora_members_wire **out_wire)
{
    struct sora_members_wire *wire = calloc(1, sizeof(*wire));
    if (!wire)
        return SORA_E_MEMORY;
    wire->message = (Farm__Members)FARM__MEMBERS__INIT;
    wire->message.certificates = wire->certificate_list;
    wire->message.revocations = wire->revocation_list;
    wire->message.places = wire->place_list;
    if (packing->own) {
        wire_certificate(wire, packing->own);
        wire_place(wire, packing->own_node, packing->own_places, packing->own_place_count);
    }
    for (int i = 0; i < packing->members->count; i++) {
        struct sora_member *member = &packing->members->rows[i];
        if (member->out)
            continue;
        wire_certificate(wire, &member->certificate);
        wire_place(wire, member->identity.node, member->places, member->place_count);
    }
    if (packing->trust)
        wire->message.n_revocations = sora_trust_revocations(packing->trust, wire->revocations);
    for (size_t i = 0; i < wire->message.n_revocations; i++)
        wire->revocation_list[i] = &wire->revocations[i];
    *out_wire = wire;
    return SORA_OK;
}

Farm__Members *sora_members_wire_get(struct sora_members_wire *wire)
{
    return &wire->message;
}

void sora_members_wire_free(struct sora_members_wire **wire)
{
    free(*wire);
    *wire = NULL;
}

int sora_members_pack(const struct sora_members_packing *packing, struct sora_bytes *bytes)
{
    struct sora_members_wire *wire = NULL;
    int rc = sora_members_wire_create(packing, &wire);
    if (rc)
        return rc;
    size_t size = farm__members__get_packed_size(&wire->message);
    rc = sora_bytes_reserve(bytes, size);
    if (rc == SORA_OK) {
        farm__members__pack(&wire->message, bytes->data + bytes->size);
        sora_bytes_commit(bytes, size);
    }
    sora_members_wire_free(&wire);
    return rc;
}
