/*
 * Validation: the walk over tags before a message is unpacked, and the walk over fields after.
 *
 * Pure; any thread; nothing allocates. The rules are in proto/rules.h.
 */
#ifndef SORA_PROTO_VALIDATE_H
#define SORA_PROTO_VALIDATE_H

#include "proto/rules.h"

#include <stdbool.h>
#include <stddef.h>

/* What a scan saw. */
struct sora_scan {
    unsigned tags;     /* fields in all, nested ones too */
    unsigned unknown;  /* of them unknown */
    uint32_t body_tag; /* number of the oneof member at the top level; 0: none */
};

/* Walks the bytes of a `type` without unpacking: well-formed tags and lengths, no field twice
 * unless repeated, repeated fields within their counts, nested messages the same, one member of a
 * oneof. With `strict`, unknown fields are refused. Errors: FORMAT, LIMIT. */
int sora_validate_scan(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                       bool strict, struct sora_scan *out_scan, struct sora_fault *fault);

/* Checks an unpacked message, or one that we made, field by field. Errors: FORMAT with the field's
 * name, INTERNAL when a field has no rule. */
int sora_validate_message(const ProtobufCMessage *message, struct sora_fault *fault);

/* Whether `size` bytes are UTF-8 without surrogates, overlong forms, NUL and control characters;
 * with `lines`, newline and tab are allowed. */
bool sora_validate_text(const void *data, size_t size, bool lines);

#endif
