/* The table of messages; decoding inside a budget. */
#include "proto/message.h"

#include "proto/validate.h"

#include <stdlib.h>
#include <string.h>

#define KIB(n) ((size_t)(n) << 10)
#define CONTROL SORA_CHANNEL_CONTROL
#define BULK SORA_CHANNEL_BULK
#define INVITE SORA_CHANNEL_INVITE
#define ROW(body, name, bytes_max, payload_max, channels)                                          \
    {                                                                                              \
        FARM__MESSAGE__BODY_##body, name, bytes_max, payload_max, channels                         \
    }

static const struct sora_message_type message_types[] = {
    ROW(HELLO, "hello", KIB(4), 0, CONTROL | BULK),
    ROW(REFUSAL, "refusal", KIB(2), 0, CONTROL | BULK | INVITE),
    ROW(ACK, "ack", KIB(1), 0, CONTROL),
    ROW(PING, "ping", KIB(1), 0, CONTROL | BULK),
    ROW(CREDIT, "credit", KIB(1), 0, BULK),
    ROW(JOIN_REQUEST, "join_request", KIB(2), 0, INVITE),
    ROW(JOIN_REPLY, "join_reply", KIB(256), 0, INVITE),
    ROW(MEMBERS, "members", KIB(256), 0, CONTROL),
    ROW(FARM_INIT, "farm_init", KIB(1), 0, CONTROL),
    ROW(FARM_INVITE, "farm_invite", KIB(1), 0, CONTROL),
    ROW(FARM_INVITE_REPLY, "farm_invite_reply", KIB(4), 0, CONTROL),
    ROW(FARM_JOIN, "farm_join", KIB(4), 0, CONTROL),
    ROW(FARM_MEMBERS, "farm_members", KIB(1), 0, CONTROL),
    ROW(FARM_MEMBERS_REPLY, "farm_members_reply", KIB(256), 0, CONTROL),
    ROW(FARM_REVOKE, "farm_revoke", KIB(2), 0, CONTROL),
    ROW(ADVERT, "advert", KIB(64), 0, CONTROL),
    ROW(SUBMIT, "submit", KIB(256), 0, CONTROL),
    ROW(SUBMIT_REPLY, "submit_reply", KIB(16), 0, CONTROL),
    ROW(PLAN, "plan", KIB(256), 0, CONTROL),
    ROW(PLAN_REPLY, "plan_reply", KIB(256), 0, CONTROL),
    ROW(STATUS, "status", KIB(1), 0, CONTROL),
    ROW(STATUS_REPLY, "status_reply", KIB(256), 0, CONTROL),
    ROW(LIST, "list", KIB(1), 0, CONTROL),
    ROW(LIST_REPLY, "list_reply", KIB(256), 0, CONTROL),
    ROW(CANCEL, "cancel", KIB(1), 0, CONTROL),
    ROW(PAUSE, "pause", KIB(1), 0, CONTROL),
    ROW(RESUME, "resume", KIB(1), 0, CONTROL),
    ROW(ERASE, "erase", KIB(1), 0, CONTROL),
    ROW(WATCH, "watch", KIB(1), 0, CONTROL),
    ROW(EVENT, "event", KIB(256), 0, CONTROL),
    ROW(FETCH, "fetch", KIB(1), 0, CONTROL),
    ROW(FETCH_REPLY, "fetch_reply", KIB(2), 0, CONTROL),
    ROW(LOGS, "logs", KIB(1), 0, CONTROL),
    ROW(LOGS_REPLY, "logs_reply", KIB(256), 0, CONTROL),
    ROW(NODES, "nodes", KIB(1), 0, CONTROL),
    ROW(NODES_REPLY, "nodes_reply", KIB(256), 0, CONTROL),
    ROW(MODELS, "models", KIB(8), 0, CONTROL),
    ROW(MODELS_REPLY, "models_reply", KIB(256), 0, CONTROL),
    ROW(DOCTOR, "doctor", KIB(1), 0, CONTROL),
    ROW(DOCTOR_REPLY, "doctor_reply", KIB(64), 0, CONTROL),
    ROW(LEASE_OFFER, "lease_offer", KIB(4), 0, CONTROL),
    ROW(LEASE_GRANT, "lease_grant", KIB(4), 0, CONTROL),
    ROW(LEASE_RENEW, "lease_renew", KIB(1), 0, CONTROL),
    ROW(LEASE_REVOKE, "lease_revoke", KIB(2), 0, CONTROL),
    ROW(LEASE_RETURN, "lease_return", KIB(2), 0, CONTROL),
    ROW(SHARD_ASSIGN, "shard_assign", KIB(256), 0, CONTROL),
    ROW(SHARD_PROGRESS, "shard_progress", KIB(1), 0, CONTROL),
    ROW(HALO, "halo", KIB(1), SORA_PAYLOAD_BYTES_MAX, BULK),
    ROW(HALO_AT, "halo_at", KIB(1), 0, CONTROL),
    ROW(CHECKPOINT, "checkpoint", KIB(1), 0, CONTROL),
    ROW(CHECKPOINT_STORED, "checkpoint_stored", KIB(1), 0, CONTROL),
    ROW(SEGMENT, "segment", KIB(1), 0, CONTROL),
    ROW(SEGMENT_STORED, "segment_stored", KIB(1), 0, CONTROL),
    ROW(TEXT_ENCODE, "text_encode", KIB(256), 0, CONTROL),
    ROW(TEXT_ENCODED, "text_encoded", KIB(96), 0, CONTROL),
    ROW(BLOB_GET, "blob_get", KIB(1), 0, CONTROL),
    ROW(BLOB_CHUNK, "blob_chunk", KIB(1), SORA_PAYLOAD_BYTES_MAX, BULK),
    ROW(BLOB_HAVE, "blob_have", KIB(1), 0, CONTROL),
    ROW(BLOB_HAVE_REPLY, "blob_have_reply", KIB(1), 0, CONTROL),
};
#define TYPE_COUNT (sizeof(message_types) / sizeof(message_types[0]))

const struct sora_message_type *sora_message_types(size_t *out_count)
{
    *out_count = TYPE_COUNT;
    return message_types;
}

const struct sora_message_type *sora_message_type_find(int body_case)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (message_types[i].body_case == body_case)
            return &message_types[i];
    }
    return NULL;
}

/* ---- memory ---- */

/* Blocks are freed with the message, all at once. */
struct sora_message_block {
    struct sora_message_block *next;
    size_t used, size;
    max_align_t data[];
};

#define BLOCK_BYTES 4096

static void *budget_alloc(void *context, size_t size)
{
    struct sora_message *message = context;
    const size_t step = _Alignof(max_align_t);
    if (size > message->budget_left)
        return NULL;
    size = (size + step - 1) / step * step;
    struct sora_message_block *block = message->blocks;
    if (!block || block->size - block->used < size) {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        if (bytes > message->budget_left)
            return NULL;
        block = malloc(sizeof(*block) + bytes);
        if (!block)
            return NULL;
        *block = (struct sora_message_block){.next = message->blocks, .size = bytes};
        message->blocks = block;
        message->budget_left -= bytes;
    }
    void *place = (char *)block->data + block->used;
    block->used += size;
    return place;
}

static void budget_free(void *context, void *place)
{
    (void)context;
    (void)place;
}

void sora_message_destroy(struct sora_message **message)
{
    if (!*message)
        return;
    while ((*message)->blocks) {
        struct sora_message_block *next = (*message)->blocks->next;
        free((*message)->blocks);
        (*message)->blocks = next;
    }
    free(*message);
    *message = NULL;
}

/* ---- decoding ---- */

static int unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                  struct sora_message *message, struct sora_fault *fault)
{
    ProtobufCAllocator allocator = {budget_alloc, budget_free, message};
    message->budget_left = SORA_MESSAGE_BUDGET_BYTES;
    message->any = protobuf_c_message_unpack(type, &allocator, size, data);
    if (message->any)
        return sora_validate_message(message->any, fault);
    if (message->budget_left < SORA_MESSAGE_BUDGET_BYTES / 2)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s needs more than %zu bytes of memory",
                              type->short_name, SORA_MESSAGE_BUDGET_BYTES);
    return sora_fault_set(fault, SORA_E_FORMAT, "%s is malformed", type->short_name);
}

static int check_type(const struct sora_scan *scan, size_t size, struct sora_fault *fault)
{
    const struct sora_message_type *row = sora_message_type_find((int)scan->body_tag);
    if (!row)
        return sora_fault_set(fault, SORA_E_FORMAT, "a message without a body that is known");
    if (size > row->bytes_max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s has %zu bytes; the limit is %zu", row->name,
                              size, row->bytes_max);
    return SORA_OK;
}

int sora_message_decode_as(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                           bool strict, struct sora_message **out_message, struct sora_fault *fault)
{
    if (size > SORA_MESSAGE_BYTES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "a message of %zu bytes; the limit is %zu", size,
                              SORA_MESSAGE_BYTES_MAX);
    struct sora_scan scan;
    int rc = sora_validate_scan(type, data, size, strict, &scan, fault);
    if (rc == SORA_OK && type == &farm__message__descriptor)
        rc = check_type(&scan, size, fault);
    if (rc)
        return rc;
    struct sora_message *message = calloc(1, sizeof(*message));
    if (!message)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a message");
    static const unsigned char nothing;
    rc = unpack(type, size > 0 ? data : &nothing, size, message, fault);
    if (rc) {
        sora_message_destroy(&message);
        return rc;
    }
    if (type == &farm__message__descriptor)
        message->farm = (Farm__Message *)message->any;
    *out_message = message;
    return SORA_OK;
}

int sora_message_decode(const void *data, size_t size, struct sora_message **out_message,
                        struct sora_fault *fault)
{
    return sora_message_decode_as(&farm__message__descriptor, data, size, false, out_message,
                                  fault);
}

/* ---- encoding ---- */

int sora_message_size(const Farm__Message *message, size_t *out_size, struct sora_fault *fault)
{
    int rc = sora_validate_message(&message->base, fault);
    if (rc)
        return rc;
    size_t size = farm__message__get_packed_size(message);
    const struct sora_scan scan = {.body_tag = (uint32_t)message->body_case};
    rc = check_type(&scan, size, fault);
    if (rc == SORA_OK)
        *out_size = size;
    return rc;
}

void sora_message_encode(const Farm__Message *message, void *out_data)
{
    farm__message__pack(message, out_data);
}
