/*
 * Makes a lawful message of any type from the rules: every field set, random values in range.
 *
 * Memory comes from one static arena; proto_reset gives it back. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_PROTO_FIXTURE_H
#define SORA_TESTS_UNIT_PROTO_FIXTURE_H

#include "base/error.h"
#include "proto/message.h"
#include "proto/rules.h"

#include <stdlib.h>
#include <string.h>

static _Alignas(16) char proto_arena[8 << 20];
static size_t proto_used;
static uint64_t proto_seed = 1;

static inline void proto_reset(uint64_t seed)
{
    proto_used = 0;
    proto_seed = seed * 2 + 1;
}

static inline void *proto_alloc(size_t size)
{
    size = (size + 15) / 16 * 16;
    SORA_ASSERT(size <= sizeof(proto_arena) - proto_used);
    void *place = proto_arena + proto_used;
    memset(place, 0, size);
    proto_used += size;
    return place;
}

static inline uint64_t proto_random(void)
{
    proto_seed = proto_seed * 6364136223846793005u + 1442695040888963407u;
    return proto_seed >> 16;
}

static inline ProtobufCMessage *proto_make(const ProtobufCMessageDescriptor *type);

static inline void proto_fill_value(const ProtobufCFieldDescriptor *field,
                                    const struct sora_rule *rule, void *to)
{
    uint64_t span = rule->max - (uint64_t)rule->min;
    uint64_t number = (uint64_t)rule->min + (span ? proto_random() % (span < 9 ? span : 9) : 0);
    size_t size = rule->kind == SORA_RULE_MAYBE ? rule->max : (size_t)rule->min;
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)to = proto_make(field->descriptor);
        return;
    case PROTOBUF_C_TYPE_STRING: {
        size += size < rule->max ? 1 : 0;
        char *text = proto_alloc(size + 1);
        memset(text, 'a', size);
        *(char **)to = text;
        return;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        unsigned char *bytes = proto_alloc(size + 1);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)proto_random();
        *(ProtobufCBinaryData *)to = (ProtobufCBinaryData){size, bytes};
        return;
    }
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)to = (float)rule->min + 0.25f;
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)to = (double)rule->min + 0.5;
        return;
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)to = number;
        return;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)to = 1;
        return;
    case PROTOBUF_C_TYPE_ENUM:
        *(int *)to = 1;
        return;
    default:
        *(uint32_t *)to = (uint32_t)number;
    }
}

static inline size_t proto_element_size(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_BYTES   ? sizeof(ProtobufCBinaryData)
           : field->type == PROTOBUF_C_TYPE_FLOAT ? sizeof(float)
                                                  : sizeof(void *);
}

/* What the checks between fields ask for. */
static inline void proto_settle(ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (type == &farm__hello__descriptor) {
        ((Farm__Hello *)message)->version_max = 65535;
    } else if (type == &farm__join_request__descriptor) {
        ((Farm__JoinRequest *)message)->version_max = 65535;
    } else if (type == &farm__job_spec__descriptor) {
        ((Farm__JobSpec *)message)->visibility = FARM__VISIBILITY__VISIBILITY_PARTNER;
    } else if (type == &farm__timeline__descriptor) {
        ((Farm__Timeline *)message)->latents = 100;
        ((Farm__Timeline *)message)->window = 21;
        ((Farm__Timeline *)message)->overlap = 5;
    } else if (type == &farm__schedule__descriptor) {
        Farm__Schedule *schedule = (Farm__Schedule *)message;
        schedule->steps = 2;
        schedule->n_sigmas = 3;
        schedule->n_timesteps = 2;
        schedule->n_correctors = 8;
        schedule->n_predictors = 6;
        schedule->sigmas = proto_alloc(12);
        schedule->timesteps = proto_alloc(8);
        schedule->correctors = proto_alloc(32);
        schedule->predictors = proto_alloc(24);
    } else if (type == &farm__neighbour__descriptor) {
        ((Farm__Neighbour *)message)->first = 50;
        ((Farm__Neighbour *)message)->end = 60;
    } else if (type == &farm__shard_assign__descriptor) {
        ((Farm__ShardAssign *)message)->first = 10;
        ((Farm__ShardAssign *)message)->end = 50;
        ((Farm__ShardAssign *)message)->step = 1;
    } else if (type == &farm__halo__descriptor) {
        ((Farm__Halo *)message)->offset = 4;
        ((Farm__Halo *)message)->size = 8;
    } else if (type == &farm__state_part__descriptor) {
        ((Farm__StatePart *)message)->first = 1;
        ((Farm__StatePart *)message)->end = 2;
    } else if (type == &farm__shard_text__descriptor) {
        ((Farm__ShardText *)message)->first = 1;
        ((Farm__ShardText *)message)->end = 2;
    } else if (type == &farm__model_file__descriptor) {
        memcpy(((Farm__ModelFile *)message)->path, "a", 2);
    }
}

static inline ProtobufCMessage *proto_make(const ProtobufCMessageDescriptor *type)
{
    const struct sora_rules *rules = sora_rules_find(type);
    SORA_ASSERT(rules && rules->count == type->n_fields);
    ProtobufCMessage *message = proto_alloc(type->sizeof_message);
    type->message_init(message);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char *to = (char *)message + field->offset;
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                proto_fill_value(field, &rules->rows[i], to);
            continue;
        }
        size_t count = 1 + proto_random() % 2, size = proto_element_size(field);
        char *elements = proto_alloc(count * size);
        for (size_t k = 0; k < count; k++)
            proto_fill_value(field, &rules->rows[i], elements + k * size);
        *(size_t *)((char *)message + field->quantifier_offset) = count;
        *(void **)to = elements;
    }
    proto_settle(message);
    return message;
}

/* A Farm__Message with the body of a row of the table. */
static inline Farm__Message *proto_make_farm(const struct sora_message_type *row)
{
    Farm__Message *message = (Farm__Message *)proto_make(&farm__message__descriptor);
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
        &farm__message__descriptor, (unsigned)row->body_case);
    SORA_ASSERT(field);
    message->id = 7;
    message->body_case = (Farm__Message__BodyCase)row->body_case;
    *(ProtobufCMessage **)((char *)message + field->offset) = proto_make(field->descriptor);
    return message;
}

#endif
