/* Tensor views: pure arithmetic on shapes. */
#include "hip/tensor.h"

#include "base/error.h"

#include <string.h>

size_t sora_dtype_size(enum sora_dtype dtype)
{
    switch (dtype) {
    case SORA_DTYPE_F32:
    case SORA_DTYPE_I32:
        return 4;
    case SORA_DTYPE_F16:
    case SORA_DTYPE_BF16:
        return 2;
    case SORA_DTYPE_U8:
    case SORA_DTYPE_I8:
    case SORA_DTYPE_F8:
        return 1;
    case SORA_DTYPE_NONE:
        break;
    }
    return 0;
}

const char *sora_dtype_name(enum sora_dtype dtype)
{
    static const char *const names[] = {"none", "f32", "f16", "bf16", "i32", "u8", "i8", "f8"};
    return (size_t)dtype < sizeof(names) / sizeof(names[0]) ? names[dtype] : "unknown";
}

int64_t sora_tensor_count(const struct sora_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

size_t sora_tensor_size(const struct sora_tensor *tensor)
{
    return (size_t)sora_tensor_count(tensor) * sora_dtype_size(tensor->dtype);
}

struct sora_tensor sora_tensor_make(struct sora_buffer *buffer, size_t offset,
                                    enum sora_dtype dtype, int rank, const int64_t *shape)
{
    SORA_ASSERT(rank >= 0 && rank <= SORA_TENSOR_RANK_MAX);
    struct sora_tensor tensor = {.buffer = buffer, .offset = offset, .dtype = dtype, .rank = rank};
    int64_t count = 1;
    for (int i = 0; i < rank; i++) {
        SORA_ASSERT(shape[i] >= 1);
        SORA_ASSERT(!__builtin_mul_overflow(count, shape[i], &count));
        tensor.shape[i] = shape[i];
    }
    SORA_ASSERT(count <= INT64_MAX / 8);
    return tensor;
}

struct sora_tensor sora_tensor_slice(const struct sora_tensor *tensor, int64_t first, int64_t count)
{
    SORA_ASSERT(tensor->rank >= 1);
    SORA_ASSERT(first >= 0 && count >= 1 && first <= tensor->shape[0] - count);
    struct sora_tensor slice = *tensor;
    slice.shape[0] = 1;
    size_t stride = sora_tensor_size(&slice);
    slice.offset += (size_t)first * stride;
    slice.shape[0] = count;
    return slice;
}

struct sora_tensor sora_tensor_reshape(const struct sora_tensor *tensor, int rank,
                                       const int64_t *shape)
{
    struct sora_tensor view =
        sora_tensor_make(tensor->buffer, tensor->offset, tensor->dtype, rank, shape);
    SORA_ASSERT(sora_tensor_count(&view) == sora_tensor_count(tensor));
    return view;
}

bool sora_tensor_same_shape(const struct sora_tensor *a, const struct sora_tensor *b)
{
    return a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof(a->shape[0])) == 0;
}
