/*
 * Messages: bytes from a peer become a checked Farm__Message, and back.
 *
 * Decoding goes through four gates, each cheaper than the next: a byte cap, a walk over the tags
 * that counts repeated fields against their limits before anything is allocated, an unpack inside a
 * memory budget, and one rule per field (proto/rules.h). What comes out is in range, valid UTF-8
 * and without duplicates. One table says which messages exist, how long each may be, whether a
 * payload frame follows and on which socket it travels.
 *
 * Functions are pure but for memory; any thread, one object by one thread at a time.
 */
#ifndef SORA_PROTO_MESSAGE_H
#define SORA_PROTO_MESSAGE_H

#include "base/error.h"
#include "proto/farm.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Protocol versions that this build speaks. */
#define SORA_PROTOCOL_VERSION_MIN 1u
#define SORA_PROTOCOL_VERSION_MAX 1u

#define SORA_MESSAGE_BYTES_MAX ((size_t)256 << 10)   /* a message frame */
#define SORA_PAYLOAD_BYTES_MAX ((size_t)1 << 20)     /* a payload frame */
#define SORA_MESSAGE_BUDGET_BYTES ((size_t)16 << 20) /* memory of one unpacked message */
#define SORA_MESSAGE_TAGS_MAX 32768u                 /* fields in one message, nested ones too */
#define SORA_MESSAGE_UNKNOWN_MAX 64u                 /* of them unknown */

/* Sizes of the byte fields that have one. */
#define SORA_DIGEST_SIZE 32
#define SORA_NODE_ID_SIZE 32
#define SORA_JOB_ID_SIZE 16

/* Sockets that a message may travel on; a bit each. */
enum sora_channel {
    SORA_CHANNEL_CONTROL = 1,
    SORA_CHANNEL_BULK = 2,
    SORA_CHANNEL_INVITE = 4,
};

/* One row per body of Farm__Message. */
struct sora_message_type {
    int body_case;      /* FARM__MESSAGE__BODY_* */
    const char *name;   /* the field's name in farm.proto */
    size_t bytes_max;   /* of the message frame */
    size_t payload_max; /* of the payload frame; 0: none may follow */
    unsigned channels;  /* enum sora_channel bits */
};

/* NULL for a body that does not exist. */
const struct sora_message_type *sora_message_type_find(int body_case);

/* All rows, in ascending order of body_case. */
const struct sora_message_type *sora_message_types(size_t *out_count);

/* An unpacked message and the memory that holds it. Read `any`, or `farm` when the type is
 * Farm__Message; both are valid until destroy. */
struct sora_message {
    ProtobufCMessage *any;
    Farm__Message *farm; /* NULL when another type was asked for */
    struct sora_message_block *blocks;
    size_t budget_left;
};

/* Unpacks and checks one message frame. Unknown fields are allowed (a newer peer) unless the
 * message carries a signature over them. Errors: LIMIT (too long, too many fields, over budget),
 * FORMAT (malformed, a rule broken; the fault names the field), MEMORY. Returns owned. */
int sora_message_decode(const void *data, size_t size, struct sora_message **out_message,
                        struct sora_fault *fault);

/* The same for a payload of another type that has rules, such as farm__job_spec__descriptor. With
 * `strict`, as for everything signed, unknown fields are FORMAT. */
int sora_message_decode_as(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                           bool strict, struct sora_message **out_message,
                           struct sora_fault *fault);

void sora_message_destroy(struct sora_message **message);

/* Bytes that sora_message_encode writes. Our own message is held to the same rules: Errors: those
 * of decode. */
int sora_message_size(const Farm__Message *message, size_t *out_size, struct sora_fault *fault);

/* Writes exactly the bytes that sora_message_size found to `out_data`. */
void sora_message_encode(const Farm__Message *message, void *out_data);

#endif
