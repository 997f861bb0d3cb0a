/*
 * Rules: one row per field of every message in farm.proto, in the order of the field numbers.
 *
 * Tables only; constant, any thread. A message or field without a row is refused, and a test
 * compares the tables with the descriptors, so that a new field cannot be forgotten.
 */
#ifndef SORA_PROTO_RULES_H
#define SORA_PROTO_RULES_H

#include "base/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

enum sora_rule_kind {
    SORA_RULE_NUMBER,  /* integer in [min, max] */
    SORA_RULE_REAL,    /* finite, in [min, max] */
    SORA_RULE_FLAG,    /* bool */
    SORA_RULE_CHOICE,  /* a value of the enum */
    SORA_RULE_TEXT,    /* UTF-8 without control characters, min..max bytes */
    SORA_RULE_LINES,   /* the same, newlines and tabs allowed */
    SORA_RULE_BYTES,   /* min..max bytes */
    SORA_RULE_MAYBE,   /* max bytes, or none */
    SORA_RULE_PART,    /* a message that must be there */
    SORA_RULE_PERHAPS, /* a message that may be missing */
};

struct sora_rule {
    const char *name; /* of the field */
    enum sora_rule_kind kind;
    int64_t min;
    uint64_t max;
    uint32_t count_max; /* elements of a repeated field; 0: not repeated */
};

/* What the fields of one message must keep together; `message` passed its rows. */
typedef int (*sora_rules_check)(const ProtobufCMessage *message, struct sora_fault *fault);

struct sora_rules {
    const ProtobufCMessageDescriptor *type;
    const struct sora_rule *rows; /* [count] */
    unsigned count;
    sora_rules_check check; /* NULL: nothing more */
};

/* The rules of `type`, NULL when there are none. */
const struct sora_rules *sora_rules_find(const ProtobufCMessageDescriptor *type);

/* The tables, by part of farm.proto. Each ends with an all-zero row. */
extern const struct sora_rules sora_rules_link[]; /* greeting, identity, membership, the frame */
extern const struct sora_rules sora_rules_job[];  /* soractl and the home */
extern const struct sora_rules sora_rules_work[]; /* nodes, leases, shards, blobs */

/* Row makers for the tables. */
#define SORA_NUMBER(name, min, max)                                                                \
    {                                                                                              \
        name, SORA_RULE_NUMBER, min, max, 0                                                        \
    }
#define SORA_REAL(name, min, max)                                                                  \
    {                                                                                              \
        name, SORA_RULE_REAL, min, max, 0                                                          \
    }
#define SORA_REALS(name, min, max, count)                                                          \
    {                                                                                              \
        name, SORA_RULE_REAL, min, max, count                                                      \
    }
#define SORA_FLAG(name)                                                                            \
    {                                                                                              \
        name, SORA_RULE_FLAG, 0, 1, 0                                                              \
    }
#define SORA_CHOICE(name)                                                                          \
    {                                                                                              \
        name, SORA_RULE_CHOICE, 0, 0, 0                                                            \
    }
#define SORA_TEXT(name, min, max)                                                                  \
    {                                                                                              \
        name, SORA_RULE_TEXT, min, max, 0                                                          \
    }
#define SORA_TEXTS(name, min, max, count)                                                          \
    {                                                                                              \
        name, SORA_RULE_TEXT, min, max, count                                                      \
    }
#define SORA_LINES(name, min, max)                                                                 \
    {                                                                                              \
        name, SORA_RULE_LINES, min, max, 0                                                         \
    }
#define SORA_BYTES(name, min, max)                                                                 \
    {                                                                                              \
        name, SORA_RULE_BYTES, min, max, 0                                                         \
    }
#define SORA_EXACT(name, size)                                                                     \
    {                                                                                              \
        name, SORA_RULE_BYTES, size, size, 0                                                       \
    }
#define SORA_EXACTS(name, size, count)                                                             \
    {                                                                                              \
        name, SORA_RULE_BYTES, size, size, count                                                   \
    }
#define SORA_MAYBE(name, size)                                                                     \
    {                                                                                              \
        name, SORA_RULE_MAYBE, 0, size, 0                                                          \
    }
#define SORA_PART(name)                                                                            \
    {                                                                                              \
        name, SORA_RULE_PART, 0, 0, 0                                                              \
    }
#define SORA_PERHAPS(name)                                                                         \
    {                                                                                              \
        name, SORA_RULE_PERHAPS, 0, 0, 0                                                           \
    }
#define SORA_PARTS(name, count)                                                                    \
    {                                                                                              \
        name, SORA_RULE_PART, 0, 0, count                                                          \
    }
#define SORA_ROWS(type, rows, check)                                                               \
    {                                                                                              \
        &type, rows, sizeof(rows) / sizeof((rows)[0]), check                                       \
    }

#endif
