/*
 * Validation by descriptors: both walks take a message's shape from protobuf-c and its limits from
 * the rules, so that a message is described in two tables and in no code.
 */
#include "proto/validate.h"

#include "proto/message.h"

#include <math.h>
#include <string.h>

#define DEPTH_MAX 8    /* nesting of farm.proto is 4; types are not recursive */
#define FIELDS_MAX 128 /* of one message type */

/* ---- text ---- */

/* Length of the UTF-8 sequence that `lead` starts, 0 for none; the least code point of that
 * length. */
static int sequence_length(unsigned char lead, uint32_t *out_point, uint32_t *out_least)
{
    static const struct {
        unsigned char mask, value;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (int i = 0; i < 4; i++) {
        if ((lead & forms[i].mask) == forms[i].value) {
            *out_point = lead & (unsigned char)~forms[i].mask;
            *out_least = forms[i].least;
            return i + 1;
        }
    }
    return 0;
}

static bool point_is_allowed(uint32_t point, uint32_t least, bool lines)
{
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return false;
    if (point == '\n' || point == '\t')
        return lines;
    return point >= 0x20 && point != 0x7f && !(point >= 0x80 && point < 0xa0);
}

bool sora_validate_text(const void *data, size_t size, bool lines)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < size;) {
        uint32_t point = 0, least = 0;
        int length = sequence_length(at[i], &point, &least);
        if (length == 0 || (size_t)length > size - i)
            return false;
        for (int k = 1; k < length; k++) {
            if ((at[i + (size_t)k] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (at[i + (size_t)k] & 0x3f);
        }
        if (!point_is_allowed(point, least, lines))
            return false;
        i += (size_t)length;
    }
    return true;
}

/* ---- before unpacking ---- */

struct reader {
    const unsigned char *at, *end;
};

/* False at the end of the bytes or for a number beyond 64 bits. */
static bool read_varint(struct reader *reader, uint64_t *out_value)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end)
            return false;
        unsigned char byte = *reader->at++;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

/* Moves over one value; `out_value` becomes its bytes when it has a length. */
static bool skip_value(struct reader *reader, unsigned wire_type, struct reader *out_value)
{
    uint64_t size;
    *out_value = (struct reader){reader->at, reader->at};
    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return read_varint(reader, &size);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        size = 8;
        break;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        size = 4;
        break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!read_varint(reader, &size))
            return false;
        break;
    default: /* groups are gone since proto2 */
        return false;
    }
    if (size > (uint64_t)(reader->end - reader->at))
        return false;
    *out_value = (struct reader){reader->at, reader->at + size};
    reader->at += size;
    return true;
}

/* Elements that one occurrence of a field adds: packed numbers bring several. */
static size_t element_count(const ProtobufCFieldDescriptor *field, unsigned wire_type,
                            const struct reader *value)
{
    bool packed = wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
                  field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BYTES &&
                  field->type != PROTOBUF_C_TYPE_MESSAGE;
    if (!packed)
        return 1;
    size_t size = (size_t)(value->end - value->at);
    return field->type == PROTOBUF_C_TYPE_FLOAT ? size / 4 : size;
}

/* One walk. `counts` are the elements seen of each field of the message at hand. */
struct walk {
    struct sora_scan *scan;
    struct sora_fault *fault;
    bool strict;
};

static int scan_message(const struct walk *walk, const ProtobufCMessageDescriptor *type,
                        struct reader reader, int depth, uint32_t *out_oneof);

static int scan_unknown(const struct walk *walk, const ProtobufCMessageDescriptor *type,
                        uint64_t number)
{
    walk->scan->unknown++;
    if (walk->strict)
        return sora_fault_set(walk->fault, SORA_E_FORMAT,
                              "unknown field %llu in %s, which is signed",
                              (unsigned long long)number, type->short_name);
    if (walk->scan->unknown > SORA_MESSAGE_UNKNOWN_MAX)
        return sora_fault_set(walk->fault, SORA_E_LIMIT, "more than %u unknown fields in a message",
                              SORA_MESSAGE_UNKNOWN_MAX);
    return SORA_OK;
}

/* One known field: how often it may come, then what lies inside. */
static int scan_field(const struct walk *walk, const struct sora_rules *rules, unsigned index,
                      unsigned wire_type, struct reader value, size_t counts[FIELDS_MAX], int depth)
{
    const ProtobufCFieldDescriptor *field = &rules->type->fields[index];
    counts[index] += element_count(field, wire_type, &value);
    size_t allowed = field->label == PROTOBUF_C_LABEL_REPEATED ? rules->rows[index].count_max : 1;
    if (counts[index] > allowed)
        return sora_fault_set(walk->fault, SORA_E_LIMIT, "%s.%s comes more than %zu times",
                              rules->type->short_name, field->name, allowed);
    size_t size = (size_t)(value.end - value.at);
    if (field->type == PROTOBUF_C_TYPE_STRING && size > 0 && memchr(value.at, 0, size))
        return sora_fault_set(walk->fault, SORA_E_FORMAT, "%s.%s holds a NUL",
                              rules->type->short_name, field->name);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return SORA_OK;
    if (wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
        return sora_fault_set(walk->fault, SORA_E_FORMAT, "%s.%s is no message",
                              rules->type->short_name, field->name);
    uint32_t ignored = 0;
    return scan_message(walk, field->descriptor, value, depth + 1, &ignored);
}

static int scan_message(const struct walk *walk, const ProtobufCMessageDescriptor *type,
                        struct reader reader, int depth, uint32_t *out_oneof)
{
    const struct sora_rules *rules = sora_rules_find(type);
    if (!rules || rules->count != type->n_fields || type->n_fields > FIELDS_MAX)
        return sora_fault_set(walk->fault, SORA_E_INTERNAL, "no rules for %s", type->short_name);
    if (depth > DEPTH_MAX)
        return sora_fault_set(walk->fault, SORA_E_LIMIT, "message nested deeper than %d",
                              DEPTH_MAX);
    size_t counts[FIELDS_MAX] = {0};
    while (reader.at < reader.end) {
        uint64_t tag;
        struct reader value;
        if (!read_varint(&reader, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff ||
            !skip_value(&reader, tag & 7, &value))
            return sora_fault_set(walk->fault, SORA_E_FORMAT, "%s is cut off or malformed",
                                  type->short_name);
        if (++walk->scan->tags > SORA_MESSAGE_TAGS_MAX)
            return sora_fault_set(walk->fault, SORA_E_LIMIT, "more than %u fields in a message",
                                  SORA_MESSAGE_TAGS_MAX);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        if (field && (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) {
            if (*out_oneof != 0)
                return sora_fault_set(walk->fault, SORA_E_FORMAT, "%s has two bodies",
                                      type->short_name);
            *out_oneof = field->id;
        }
        int rc = field ? scan_field(walk, rules, (unsigned)(field - type->fields), tag & 7, value,
                                    counts, depth)
                       : scan_unknown(walk, type, tag >> 3);
        if (rc)
            return rc;
    }
    return SORA_OK;
}

int sora_validate_scan(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                       bool strict, struct sora_scan *out_scan, struct sora_fault *fault)
{
    struct sora_scan scan = {0};
    const struct walk walk = {.scan = &scan, .fault = fault, .strict = strict};
    const unsigned char *bytes = data;
    struct reader reader = {bytes, bytes};
    if (size > 0)
        reader.end += size;
    int rc = scan_message(&walk, type, reader, 0, &scan.body_tag);
    if (rc == SORA_OK)
        *out_scan = scan;
    return rc;
}

/* ---- after unpacking ---- */

static int broken(const ProtobufCMessageDescriptor *type, const struct sora_rule *rule,
                  const char *what, struct sora_fault *fault)
{
    return sora_fault_set(fault, SORA_E_FORMAT, "%s.%s %s", type->short_name, rule->name, what);
}

/* An integer of any protobuf type: negative, and its magnitude as 64 bits. */
static bool number_in_range(const ProtobufCFieldDescriptor *field, const void *value,
                            const struct sora_rule *rule)
{
    int64_t low = 0;
    uint64_t high = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
        low = *(const int32_t *)value;
        high = low > 0 ? (uint64_t)low : 0;
        break;
    case PROTOBUF_C_TYPE_UINT32:
        high = *(const uint32_t *)value;
        low = (int64_t)high;
        break;
    case PROTOBUF_C_TYPE_UINT64:
        high = *(const uint64_t *)value;
        low = high > INT64_MAX ? INT64_MAX : (int64_t)high;
        break;
    default:
        return false;
    }
    return low >= rule->min && high <= rule->max;
}

static bool real_in_range(const ProtobufCFieldDescriptor *field, const void *value,
                          const struct sora_rule *rule)
{
    double real = field->type == PROTOBUF_C_TYPE_FLOAT ? (double)*(const float *)value
                                                       : *(const double *)value;
    return isfinite(real) && real >= (double)rule->min && real <= (double)rule->max;
}

static int check_text(const ProtobufCMessageDescriptor *type, const struct sora_rule *rule,
                      const char *text, struct sora_fault *fault)
{
    size_t size = text ? strlen(text) : 0;
    if (size < (size_t)rule->min || size > rule->max)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s.%s has %zu bytes; allowed are %lld to %llu",
                              type->short_name, rule->name, size, (long long)rule->min,
                              (unsigned long long)rule->max);
    if (size > 0 && !sora_validate_text(text, size, rule->kind == SORA_RULE_LINES))
        return broken(type, rule, "is no clean UTF-8 text", fault);
    return SORA_OK;
}

static int check_bytes(const ProtobufCMessageDescriptor *type, const struct sora_rule *rule,
                       const ProtobufCBinaryData *bytes, struct sora_fault *fault)
{
    bool fits = bytes->len >= (size_t)rule->min && bytes->len <= rule->max;
    if (rule->kind == SORA_RULE_MAYBE)
        fits = bytes->len == 0 || bytes->len == rule->max;
    if (fits && (bytes->len == 0 || bytes->data))
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_FORMAT, "%s.%s has %zu bytes; the limit is %llu",
                          type->short_name, rule->name, bytes->len, (unsigned long long)rule->max);
}

static int check_value(const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *field, const struct sora_rule *rule,
                       const void *value, struct sora_fault *fault)
{
    const ProtobufCMessage *part;
    switch (rule->kind) {
    case SORA_RULE_NUMBER:
        return number_in_range(field, value, rule) ? SORA_OK
                                                   : broken(type, rule, "is out of range", fault);
    case SORA_RULE_REAL:
        return real_in_range(field, value, rule) ? SORA_OK
                                                 : broken(type, rule, "is out of range", fault);
    case SORA_RULE_FLAG:
        return SORA_OK;
    case SORA_RULE_CHOICE:
        return protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)value)
                   ? SORA_OK
                   : broken(type, rule, "has a value that does not exist", fault);
    case SORA_RULE_TEXT:
    case SORA_RULE_LINES:
        return check_text(type, rule, *(const char *const *)value, fault);
    case SORA_RULE_BYTES:
    case SORA_RULE_MAYBE:
        return check_bytes(type, rule, value, fault);
    case SORA_RULE_PART:
    case SORA_RULE_PERHAPS:
        part = *(ProtobufCMessage *const *)value;
        if (part)
            return sora_validate_message(part, fault);
        return rule->kind == SORA_RULE_PERHAPS ? SORA_OK : broken(type, rule, "is missing", fault);
    }
    return broken(type, rule, "has no rule", fault);
}

/* Bytes of one element of a repeated field. */
static size_t element_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_UINT32:
        return 4;
    default:
        return sizeof(void *);
    }
}

static int check_repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          const struct sora_rule *rule, struct sora_fault *fault)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const char *base = (const char *)message;
    size_t count = *(const size_t *)(base + field->quantifier_offset);
    const char *elements = *(const char *const *)(base + field->offset);
    if (count > rule->count_max || (count > 0 && !elements))
        return sora_fault_set(fault, SORA_E_FORMAT, "%s.%s has %zu elements; the limit is %u",
                              type->short_name, rule->name, count, rule->count_max);
    int rc = SORA_OK;
    for (size_t i = 0; i < count && rc == SORA_OK; i++)
        rc = check_value(type, field, rule, elements + i * element_size(field), fault);
    return rc;
}

static int check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const struct sora_rule *rule, struct sora_fault *fault)
{
    const char *base = (const char *)message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return check_repeated(message, field, rule, fault);
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t active = *(const uint32_t *)(base + field->quantifier_offset);
        if (active != field->id)
            return SORA_OK;
    }
    return check_value(message->descriptor, field, rule, base + field->offset, fault);
}

int sora_validate_message(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const struct sora_rules *rules = sora_rules_find(type);
    if (!rules || rules->count != type->n_fields)
        return sora_fault_set(fault, SORA_E_INTERNAL, "no rules for %s", type->short_name);
    for (unsigned i = 0; i < type->n_fields; i++) {
        int rc = check_field(message, &type->fields[i], &rules->rows[i], fault);
        if (rc)
            return rc;
    }
    return rules->check ? rules->check(message, fault) : SORA_OK;
}
