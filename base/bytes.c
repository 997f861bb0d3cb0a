/* A growable byte buffer with a stated maximum: doubles until the maximum, one byte spare for a
 * NUL. */
#include "base/bytes.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_FIRST 256

void sora_bytes_init(struct sora_bytes *bytes, size_t size_max)
{
    *bytes = (struct sora_bytes){.size_max = size_max};
}

void sora_bytes_fini(struct sora_bytes *bytes)
{
    free(bytes->data);
    sora_bytes_init(bytes, bytes->size_max);
}

int sora_bytes_reserve(struct sora_bytes *bytes, size_t more)
{
    if (more > bytes->size_max - bytes->size || bytes->size_max == SIZE_MAX)
        return SORA_E_FULL;
    size_t needed = bytes->size + more;
    if (bytes->data && needed <= bytes->capacity)
        return SORA_OK;
    size_t capacity = bytes->capacity > bytes->size_max / 2 ? bytes->size_max : bytes->capacity * 2;
    if (capacity < CAPACITY_FIRST)
        capacity = CAPACITY_FIRST;
    if (capacity < needed)
        capacity = needed;
    if (capacity > bytes->size_max)
        capacity = bytes->size_max;
    unsigned char *data = realloc(bytes->data, capacity + 1);
    if (!data)
        return SORA_E_MEMORY;
    data[bytes->size] = 0;
    bytes->data = data;
    bytes->capacity = capacity;
    return SORA_OK;
}

int sora_bytes_append(struct sora_bytes *bytes, const void *data, size_t size)
{
    int rc = sora_bytes_reserve(bytes, size);
    if (rc)
        return rc;
    if (size > 0)
        memcpy(bytes->data + bytes->size, data, size);
    sora_bytes_commit(bytes, size);
    return SORA_OK;
}

int sora_bytes_format(struct sora_bytes *bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (wanted < 0)
        return SORA_E_INVALID;
    int rc = sora_bytes_reserve(bytes, (size_t)wanted);
    if (rc)
        return rc;
    va_start(arguments, format);
    vsnprintf((char *)bytes->data + bytes->size, (size_t)wanted + 1, format, arguments);
    va_end(arguments);
    sora_bytes_commit(bytes, (size_t)wanted);
    return SORA_OK;
}

void sora_bytes_commit(struct sora_bytes *bytes, size_t size)
{
    SORA_ASSERT(bytes->data);
    SORA_ASSERT(size <= bytes->capacity - bytes->size);
    bytes->size += size;
    bytes->data[bytes->size] = 0;
}

void sora_bytes_clear(struct sora_bytes *bytes)
{
    bytes->size = 0;
    if (bytes->data)
        bytes->data[0] = 0;
}

const char *sora_hex(const void *data, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = data;
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[2 * size] = '\0';
    return out;
}
