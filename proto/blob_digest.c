/* Digests of memory and files: BLAKE2b-256 by libsodium. */
#include "base/files.h"
#include "proto/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)1 << 20)

_Static_assert(SORA_DIGEST_SIZE == crypto_generichash_blake2b_BYTES, "BLAKE2b-256");

const char *sora_digest_text(const struct sora_digest *digest, char out[SORA_DIGEST_TEXT_SIZE])
{
    return sodium_bin2hex(out, SORA_DIGEST_TEXT_SIZE, digest->bytes, sizeof(digest->bytes));
}

bool sora_digest_parse(const char *text, struct sora_digest *out_digest)
{
    struct sora_digest digest;
    size_t size;
    if (strlen(text) != SORA_DIGEST_TEXT_SIZE - 1 ||
        sodium_hex2bin(digest.bytes, sizeof(digest.bytes), text, SORA_DIGEST_TEXT_SIZE - 1, NULL,
                       &size, NULL) != 0 ||
        size != sizeof(digest.bytes))
        return false;
    *out_digest = digest;
    return true;
}

bool sora_digest_equal(const struct sora_digest *a, const struct sora_digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void sora_digest_of(const void *data, size_t size, struct sora_digest *out_digest)
{
    crypto_generichash_blake2b(out_digest->bytes, sizeof(out_digest->bytes), data, size, NULL, 0);
}

void sora_blob_put(const struct sora_blob *blob, Farm__BlobName *out_wire)
{
    farm__blob_name__init(out_wire);
    out_wire->digest.data = (uint8_t *)(uintptr_t)blob->digest.bytes;
    out_wire->digest.len = sizeof(blob->digest.bytes);
    out_wire->size = blob->size;
}

bool sora_blob_get(const Farm__BlobName *wire, struct sora_blob *out_blob)
{
    if (!wire || wire->digest.len != sizeof(out_blob->digest.bytes))
        return false;
    memcpy(out_blob->digest.bytes, wire->digest.data, sizeof(out_blob->digest.bytes));
    out_blob->size = wire->size;
    return true;
}

/* ---- files ---- */

static int digest_pieces(int fd, const char *path, struct sora_blob *out_blob,
                         struct sora_fault *fault)
{
    unsigned char *piece = malloc(PIECE_BYTES);
    int rc =
        piece ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for %s", path);
    struct sora_blob blob = {.size = 0};
    crypto_generichash_blake2b_state hash;
    crypto_generichash_blake2b_init(&hash, NULL, 0, sizeof(blob.digest.bytes));
    while (rc == SORA_OK) {
        ssize_t got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = sora_file_fault(fault, errno, "read", path);
        if (got <= 0)
            break;
        crypto_generichash_blake2b_update(&hash, piece, (unsigned long long)got);
        blob.size += (uint64_t)got;
    }
    if (rc == SORA_OK) {
        crypto_generichash_blake2b_final(&hash, blob.digest.bytes, sizeof(blob.digest.bytes));
        *out_blob = blob;
    }
    free(piece);
    return rc;
}

int sora_blob_of_file(const char *path, struct sora_blob *out_blob, struct sora_fault *fault)
{
    /* Opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP)
        return sora_fault_set(fault, SORA_E_INVALID, "%s is a symbolic link; name the file itself",
                              path);
    if (fd < 0)
        return sora_file_fault(fault, errno, "read", path);
    struct stat status;
    int rc;
    if (fstat(fd, &status) != 0)
        rc = sora_file_fault(fault, errno, "read", path);
    else if (!S_ISREG(status.st_mode))
        rc = sora_fault_set(fault, SORA_E_INVALID, "%s is not an ordinary file", path);
    else
        rc = digest_pieces(fd, path, out_blob, fault);
    close(fd);
    return rc;
}
