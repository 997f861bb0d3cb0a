/*
 * Secret files: of mode 0600, whole or not at all, through the caller's guarded memory only.
 *
 * Both functions block on disk. Any thread.
 */
#ifndef SORA_PROTO_SECRET_H
#define SORA_PROTO_SECRET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Reads at most `size_max` bytes. Errors: NOT_FOUND, DENIED (others may use the file, or another
 * user owns it), FORMAT (no plain file, or longer), IO. */
int sora_secret_read(const char *path, void *out_data, size_t size_max, size_t *out_size,
                     struct sora_fault *fault);

/* Writes by temporary file, fsync and rename. Without `replace`, an existing file is BUSY. Errors:
 * BUSY, NOT_FOUND (no such folder), DENIED, SPACE, LIMIT, IO. */
int sora_secret_write(const char *path, const void *data, size_t size, bool replace,
                      struct sora_fault *fault);

#endif
