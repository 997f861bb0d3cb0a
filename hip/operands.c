/* The checks of operands: a wrong shape must never reach a kernel. */
#include "hip/operands.h"

#include "base/log.h"
#include "hip/device_ops.h"

int sora_device_reject(const char *op, const char *operand, const char *reason)
{
    sora_log(SORA_LOG_ERROR, "device operand refused op=%s operand=%s reason=%s", op, operand,
             reason);
    return SORA_E_INVALID;
}

/* NULL when the operand is good by itself, else the reason. */
static const char *operand_fault(const struct sora_device *device, const struct operand *operand)
{
    const struct sora_tensor *tensor = operand->tensor;
    if (!sora_tensor_present(tensor))
        return operand->flags & OPERAND_OPTIONAL ? NULL : "absent";
    if (tensor->buffer->device != device)
        return "other_device";
    if ((unsigned)tensor->dtype > SORA_DTYPE_F8 || !(operand->types & (1u << tensor->dtype)))
        return "dtype";
    if (tensor->rank < 0 || tensor->rank > SORA_TENSOR_RANK_MAX ||
        (operand->rank >= 0 && tensor->rank != operand->rank))
        return "rank";
    size_t size = sora_dtype_size(tensor->dtype);
    if (tensor->offset % size)
        return "alignment";
    for (int i = 0; i < tensor->rank; i++) {
        if (operand->rank >= 0 && tensor->shape[i] != operand->shape[i])
            return "shape";
        if (tensor->shape[i] < 1 || __builtin_mul_overflow(size, (size_t)tensor->shape[i], &size))
            return "shape";
    }
    if (tensor->offset > tensor->buffer->size || size > tensor->buffer->size - tensor->offset)
        return "bounds";
    if (operand->flags & OPERAND_OUT && tensor->buffer->read_only)
        return "read_only";
    return NULL;
}

bool sora_operands_overlap(const struct sora_tensor *a, const struct sora_tensor *b)
{
    return a->buffer == b->buffer && a->offset < b->offset + sora_tensor_size(b) &&
           b->offset < a->offset + sora_tensor_size(a);
}

static bool tensors_same(const struct sora_tensor *a, const struct sora_tensor *b)
{
    return a->buffer == b->buffer && a->offset == b->offset && a->dtype == b->dtype &&
           sora_tensor_count(a) == sora_tensor_count(b);
}

int sora_operands_check(const struct sora_stream *stream, const char *op,
                        const struct operand *operands, int count)
{
    if (!stream)
        return sora_device_reject(op, "stream", "absent");
    for (int i = 0; i < count; i++) {
        const char *fault = operand_fault(stream->device, &operands[i]);
        if (fault)
            return sora_device_reject(op, operands[i].name, fault);
    }
    const struct operand *out = &operands[count - 1];
    if (!(out->flags & OPERAND_OUT))
        return 0;
    for (int i = 0; i < count - 1; i++) {
        const struct sora_tensor *in = operands[i].tensor;
        if (!sora_tensor_present(in) || !sora_operands_overlap(in, out->tensor))
            continue;
        if (!(operands[i].flags & OPERAND_SAME) || !tensors_same(in, out->tensor))
            return sora_device_reject(op, operands[i].name, "overlaps_output");
    }
    return 0;
}
