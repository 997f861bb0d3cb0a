/*
 * Tensors: typed, contiguous, row-major views of device memory.
 *
 * A `struct sora_tensor` is a small value that the caller keeps; it borrows its buffer. Making and
 * slicing tensors touches no device. Any thread may call.
 */
#ifndef SORA_HIP_TENSOR_H
#define SORA_HIP_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SORA_TENSOR_RANK_MAX 8

enum sora_dtype {
    SORA_DTYPE_NONE = 0,
    SORA_DTYPE_F32,
    SORA_DTYPE_F16,  /* IEEE binary16 */
    SORA_DTYPE_BF16, /* upper half of binary32 */
    SORA_DTYPE_I32,
    SORA_DTYPE_U8,
    SORA_DTYPE_I8, /* quantised weights, and so are: */
    SORA_DTYPE_F8, /* e4m3 of OCP: exponent bias 7, up to 448, no infinities */
};

struct sora_buffer; /* device memory, see device.h */

struct sora_tensor {
    struct sora_buffer *buffer; /* borrowed; NULL means "no tensor" for optional operands */
    size_t offset;              /* bytes from the start of the buffer, aligned to the element */
    enum sora_dtype dtype;
    int rank;                            /* 0..SORA_TENSOR_RANK_MAX */
    int64_t shape[SORA_TENSOR_RANK_MAX]; /* each >= 1; unused entries 0 */
};

/* Bytes per element; 0 for NONE. */
size_t sora_dtype_size(enum sora_dtype dtype);
const char *sora_dtype_name(enum sora_dtype dtype);

/* Elements and bytes of the view. Shapes are bounded when tensors are made, so no overflow. */
int64_t sora_tensor_count(const struct sora_tensor *tensor);
size_t sora_tensor_size(const struct sora_tensor *tensor);

/* Whether the view is present. */
static inline bool sora_tensor_present(const struct sora_tensor *tensor)
{
    return tensor && tensor->buffer;
}

/* A view of `buffer` at `offset`. The caller guarantees that it fits (checked by every operation).
 */
struct sora_tensor sora_tensor_make(struct sora_buffer *buffer, size_t offset,
                                    enum sora_dtype dtype, int rank, const int64_t *shape);

/* Entries [first, first+count) of dimension 0: still contiguous. 0 <= first, first+count <= size.
 */
struct sora_tensor sora_tensor_slice(const struct sora_tensor *tensor, int64_t first,
                                     int64_t count);

/* The same elements under another shape of equal count. */
struct sora_tensor sora_tensor_reshape(const struct sora_tensor *tensor, int rank,
                                       const int64_t *shape);

/* Shorthand: sora_tensor_reshape with the shape in the argument list. */
#define SORA_SHAPE(...)                                                                            \
    ((int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))),                             \
        ((const int64_t[]){__VA_ARGS__})

bool sora_tensor_same_shape(const struct sora_tensor *a, const struct sora_tensor *b);

#endif
