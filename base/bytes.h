/*
 * Bytes: a growable byte buffer with a stated maximum.
 *
 * The struct lives where its user wants it; the user owns it and calls fini. One thread at a time;
 * nothing blocks. Sizes may come from outside: running into the maximum or out of memory is an
 * error code and leaves the content as it was.
 */
#ifndef SORA_BASE_BYTES_H
#define SORA_BASE_BYTES_H

#include <stddef.h>

/* Read freely; change through the functions. `data` is followed by a NUL that `size` does not
 * count, so that text can be used in place; it is NULL until something was reserved. */
struct sora_bytes {
    unsigned char *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated, without the NUL */
    size_t size_max; /* limit of size */
};

/* An empty buffer that never holds more than `size_max` bytes. Allocates nothing. */
void sora_bytes_init(struct sora_bytes *bytes, size_t size_max);

/* Frees the content and leaves an empty buffer of the same limit. Accepts all-zero structs. */
void sora_bytes_fini(struct sora_bytes *bytes);

/* Makes room for `more` bytes behind the content. Errors: FULL when that would pass size_max,
 * MEMORY. Pointers into data become invalid. */
int sora_bytes_reserve(struct sora_bytes *bytes, size_t more);

/* Appends a copy of `data`, which must not lie in this buffer. NULL is allowed when size is 0.
 * Errors as for reserve. */
int sora_bytes_append(struct sora_bytes *bytes, const void *data, size_t size);

/* Appends formatted text without its NUL. Errors as for reserve. */
int sora_bytes_format(struct sora_bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Counts `size` bytes as content that the caller wrote behind it after a reserve. */
void sora_bytes_commit(struct sora_bytes *bytes, size_t size);

/* Forgets the content and keeps the memory. */
void sora_bytes_clear(struct sora_bytes *bytes);

/* Writes `size` bytes at `data` as 2 * size lower-case hexadecimal digits and a NUL. Returns out.
 */
const char *sora_hex(const void *data, size_t size, char *out);

#endif
