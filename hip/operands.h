/*
 * Operands of an operation, as hip/device.c lists and checks them: name, view, element types,
 * shape. A dimension that defines others is compared with itself.
 */
#ifndef SORA_HIP_OPERANDS_H
#define SORA_HIP_OPERANDS_H

#include "hip/device.h"

#define TYPE_BIT(name) (1u << SORA_DTYPE_##name)
#define TYPES_F32 TYPE_BIT(F32)
#define TYPES_FLOAT (TYPE_BIT(F32) | TYPE_BIT(F16) | TYPE_BIT(BF16))
#define TYPES_QUANTISED (TYPE_BIT(I8) | TYPE_BIT(F8))
#define TYPES_ANY (TYPES_FLOAT | TYPES_QUANTISED | TYPE_BIT(I32) | TYPE_BIT(U8))

enum operand_flags {
    OPERAND_OPTIONAL = 1,
    OPERAND_SAME = 2, /* may be the same view as the output */
    OPERAND_OUT = 4,  /* the output: written, overlaps nothing else */
};

struct operand {
    const char *name;
    const struct sora_tensor *tensor;
    unsigned types; /* TYPE_BIT set */
    int flags;      /* enum operand_flags */
    int rank;       /* -1: any */
    int64_t shape[SORA_TENSOR_RANK_MAX];
};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define CHECK(stream, op, operands) sora_operands_check(stream, op, operands, COUNT(operands))

/* Whether two views share bytes. */
bool sora_operands_overlap(const struct sora_tensor *a, const struct sora_tensor *b);

/* Whether every operand is there, on the stream's device, of a type and shape that it may have,
 * within its buffer and apart from the output, which stands last where there is one. INVALID, with
 * a line in the log, when not. */
int sora_operands_check(const struct sora_stream *stream, const char *op,
                        const struct operand *operands, int count);

#endif
