/*
 * The disk cache of code that was compiled at run time.
 *
 * One file per key in one folder. A file that is cut, changed or of another release counts as
 * absent and is replaced. Files are written at once or not at all, so several workers may share a
 * folder. A cache that cannot be written costs a compilation at the next start and no more.
 *
 * Any thread. Blocks on disk.
 */
#ifndef SORA_HIP_GPU_CODE_CACHE_H
#define SORA_HIP_GPU_CODE_CACHE_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdint.h>

/* Compiled kernels are some hundred KB. */
#define SORA_CODE_BYTES_MAX ((size_t)64 << 20)

/* A digest that names a piece of code by all that went into it: FNV-1a with 128 bits (Fowler, Noll
 * and Vo, draft-eastlake-fnv), which is no protection against a forger, and need not be: who can
 * write the folder can run code as this user. */
struct sora_code_key {
    uint64_t high, low;
};

/* The digest of nothing. */
void sora_code_key_init(struct sora_code_key *key);
void sora_code_key_add(struct sora_code_key *key, const void *data, size_t size);
/* The text with its NUL, so that "ab","c" and "a","bc" differ. */
void sora_code_key_add_text(struct sora_code_key *key, const char *text);

/* Reads the code of `key` into out_code, which this call initialises and the caller finishes.
 * Errors: NOT_FOUND (absent, or not to be used), MEMORY, others of sora_file_read. */
int sora_code_cache_read(const char *folder, const struct sora_code_key *key,
                         struct sora_bytes *out_code);

/* Keeps the code under `key`; makes the folder. Errors: those of base/files.h. */
int sora_code_cache_write(const char *folder, const struct sora_code_key *key, const void *code,
                          size_t size, struct sora_fault *fault);

/* Where a key's file is. */
void sora_code_cache_path(const char *folder, const struct sora_code_key *key, char *out_path,
                          size_t out_size);

#endif
