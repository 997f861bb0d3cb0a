/* A file is a head of magic, size and digest of the code, and the code. */
#include "hip/gpu/code_cache.h"

#include "base/files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

struct head {
    char magic[8];
    uint64_t size;
    struct sora_code_key code; /* digest of the code */
    struct sora_code_key key;  /* of the file's name: a renamed file is not taken */
};
_Static_assert(sizeof(struct head) == 48, "no padding in the file");

static const char magic[8] = {'S', 'O', 'R', 'A', 'G', 'P', 'U', '1'};

/* ---- digest ---- */

void sora_code_key_init(struct sora_code_key *key)
{
    *key = (struct sora_code_key){0x6c62272e07bb0142, 0x62b821756295c58d};
}

void sora_code_key_add(struct sora_code_key *key, const void *data, size_t size)
{
    const u128 prime = ((u128)1 << 88) + 0x13b;
    u128 hash = (u128)key->high << 64 | key->low;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * prime;
    *key = (struct sora_code_key){(uint64_t)(hash >> 64), (uint64_t)hash};
}

void sora_code_key_add_text(struct sora_code_key *key, const char *text)
{
    sora_code_key_add(key, text, strlen(text) + 1);
}

/* ---- files ---- */

void sora_code_cache_path(const char *folder, const struct sora_code_key *key, char *out_path,
                          size_t out_size)
{
    snprintf(out_path, out_size, "%s/kernels-%016" PRIx64 "%016" PRIx64 ".bin", folder, key->high,
             key->low);
}

static struct head head_make(const struct sora_code_key *key, const void *code, size_t size)
{
    struct head head = {.size = size, .key = *key};
    memcpy(head.magic, magic, sizeof(magic));
    sora_code_key_init(&head.code);
    sora_code_key_add(&head.code, code, size);
    return head;
}

int sora_code_cache_read(const char *folder, const struct sora_code_key *key,
                         struct sora_bytes *out_code)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_bytes file;
    sora_code_cache_path(folder, key, path, sizeof(path));
    sora_bytes_init(out_code, SORA_CODE_BYTES_MAX);
    int error = sora_file_read(path, sizeof(struct head) + SORA_CODE_BYTES_MAX, &file, NULL);
    if (!error && file.size < sizeof(struct head))
        error = SORA_E_NOT_FOUND;
    if (!error) {
        const unsigned char *code = file.data + sizeof(struct head);
        size_t size = file.size - sizeof(struct head);
        const struct head wanted = head_make(key, code, size);
        error = memcmp(file.data, &wanted, sizeof(wanted)) == 0
                    ? sora_bytes_append(out_code, code, size)
                    : SORA_E_NOT_FOUND;
    }
    sora_bytes_fini(&file);
    return error;
}

int sora_code_cache_write(const char *folder, const struct sora_code_key *key, const void *code,
                          size_t size, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_bytes file;
    if (size > SORA_CODE_BYTES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "compiled code of %zu bytes is above %zu", size,
                              SORA_CODE_BYTES_MAX);
    sora_code_cache_path(folder, key, path, sizeof(path));
    sora_bytes_init(&file, sizeof(struct head) + SORA_CODE_BYTES_MAX);
    const struct head head = head_make(key, code, size);
    int error = sora_bytes_append(&file, &head, sizeof(head));
    if (!error)
        error = sora_bytes_append(&file, code, size);
    if (error)
        sora_fault_set(fault, error, "no memory to keep compiled code");
    if (!error)
        error = sora_file_make_dirs(folder, fault);
    if (!error)
        error = sora_file_write(path, file.data, file.size, fault);
    sora_bytes_fini(&file);
    return error;
}
