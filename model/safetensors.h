/*
 * Safetensors: the header of one file, checked and turned into a table of tensors.
 *
 * Pure: bytes in, table out; no files, no clock; any thread may call. The bytes are taken as
 * hostile. Format (huggingface.co/docs/safetensors): u64 little-endian header length N; N bytes of
 * JSON, an object of name -> {"dtype","shape","data_offsets":[begin,end]} and an optional
 * "__metadata__" of strings; then the data, to which the offsets are relative.
 *
 * Refused: a header over 8 MiB or longer than the file, one that does not start with '{', more than
 * 65,536 tensors, rank over 8, duplicate or empty or overlong names, unknown keys or types, sizes
 * that are not type x shape, and data that the tensors do not cover exactly once. Dimensions of 0
 * are legal in the format and kept (such a tensor has no bytes).
 */
#ifndef SORA_MODEL_SAFETENSORS_H
#define SORA_MODEL_SAFETENSORS_H

#include "base/error.h"
#include "hip/tensor.h"

#define SORA_SAFETENSORS_HEADER_SIZE_MAX ((uint64_t)8 << 20)
#define SORA_SAFETENSORS_TENSORS_MAX 65536
#define SORA_SAFETENSORS_NAME_SIZE_MAX 255 /* bytes of UTF-8 */

struct sora_safetensors_tensor {
    const char *name;      /* borrows the table */
    const char *type_name; /* as the format spells it ("BF16"); static */
    enum sora_dtype dtype; /* NONE for types that this project does not compute with */
    int rank;
    int64_t shape[SORA_TENSOR_RANK_MAX]; /* each >= 0 */
    uint64_t offset;                     /* bytes from the start of the file */
    uint64_t size;                       /* bytes */
};

/* All tensors of one file, in order of offset. */
struct sora_safetensors {
    int count;
    struct sora_safetensors_tensor *tensors; /* owned */
    char *names;                             /* owned: all names, each ended by NUL */
};

/* Bytes of length field and header together. `bytes` are the file's first 8 (or fewer, with size).
 * Errors: FORMAT (file shorter than its header), LIMIT. */
int sora_safetensors_header_size(const void *bytes, size_t size, uint64_t file_size,
                                 const char *label, size_t *out_size, struct sora_fault *fault);

/* Parses the file's first `size` bytes (at least the header) of a file of `file_size` bytes.
 * `label` names it in messages. On success the caller owns *out_table (sora_safetensors_fini).
 * Errors: FORMAT, LIMIT, MEMORY. */
int sora_safetensors_parse(const void *bytes, size_t size, uint64_t file_size, const char *label,
                           struct sora_safetensors *out_table, struct sora_fault *fault);
void sora_safetensors_fini(struct sora_safetensors *table);

/* Writes "[2, 3]" into text, cut at size; returns text. */
const char *sora_shape_text(int rank, const int64_t *shape, char *text, size_t size);

#define SORA_SHAPE_TEXT_SIZE 184 /* holds any shape */

#endif
