/*
 * The safetensors header. The first 8 bytes of the input say how long the file claims to be, the
 * rest is its beginning; what is accepted must lie in the file and cover its data exactly once.
 */
#include "model/safetensors.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_table(const struct sora_safetensors *table, uint64_t header_size,
                        uint64_t file_size)
{
    uint64_t end = header_size;
    for (int i = 0; i < table->count; i++) {
        const struct sora_safetensors_tensor *tensor = &table->tensors[i];
        SORA_ASSERT(tensor->offset == end);
        SORA_ASSERT(tensor->rank >= 0 && tensor->rank <= SORA_TENSOR_RANK_MAX);
        SORA_ASSERT(strlen(tensor->name) > 0);
        uint64_t count = 1;
        for (int d = 0; d < tensor->rank; d++)
            SORA_ASSERT(!__builtin_mul_overflow(count, (uint64_t)tensor->shape[d], &count));
        if (tensor->dtype != SORA_DTYPE_NONE)
            SORA_ASSERT(tensor->size == count * sora_dtype_size(tensor->dtype));
        end += tensor->size;
    }
    SORA_ASSERT(end == file_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t file_size = 0;
    if (size < 8)
        return 0;
    memcpy(&file_size, data, 8);
    data += 8;
    size -= 8;
    /* Half of the inputs are whole files. */
    if (file_size & 1 || file_size < size)
        file_size = size;
    struct sora_safetensors table;
    struct sora_fault fault = {0};
    int rc = sora_safetensors_parse(data, size, file_size, "fuzz", &table, &fault);
    if (rc) {
        SORA_ASSERT(fault.code == rc);
        return 0;
    }
    size_t header_size = 0;
    SORA_ASSERT(!sora_safetensors_header_size(data, size, file_size, "fuzz", &header_size, NULL));
    check_table(&table, header_size, file_size);
    sora_safetensors_fini(&table);
    return 0;
}
