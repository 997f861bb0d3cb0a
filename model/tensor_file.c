/* Tensor files over the safetensors parser. */
#include "model/tensor_file.h"

#include "base/files.h"
#include "model/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sora_array_fini(struct sora_array *array)
{
    free(array->values);
    *array = (struct sora_array){0};
}

int64_t sora_array_count(const struct sora_array *array)
{
    int64_t count = 1;
    for (int i = 0; i < array->rank; i++)
        count *= array->shape[i];
    return count;
}

static float widen_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = (bits >> 10) & 31;
    uint32_t fraction = bits & 0x3ff;
    if (exponent == 0)
        return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    uint32_t word = exponent == 31 ? sign | 0x7f800000u | fraction << 13
                                   : sign | (exponent + 112) << 23 | fraction << 13;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
}

static float widen_bf16(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
}

static void widen(const unsigned char *bytes, enum sora_dtype dtype, int64_t count, float *values)
{
    for (int64_t i = 0; i < count; i++) {
        if (dtype == SORA_DTYPE_F32) {
            memcpy(&values[i], bytes + i * 4, 4);
            continue;
        }
        uint16_t half;
        memcpy(&half, bytes + i * 2, 2);
        values[i] = dtype == SORA_DTYPE_F16 ? widen_f16(half) : widen_bf16(half);
    }
}

static int copy_tensor(const struct sora_safetensors_tensor *tensor, const unsigned char *file,
                       const char *path, struct sora_array *out_array, struct sora_fault *fault)
{
    size_t item = sora_dtype_size(tensor->dtype);
    bool floating = tensor->dtype == SORA_DTYPE_F32 || tensor->dtype == SORA_DTYPE_F16 ||
                    tensor->dtype == SORA_DTYPE_BF16;
    if (!floating || tensor->size == 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "%.300s: tensor %.80s is %s; expected F32, F16 or BF16 values", path,
                              tensor->name, tensor->type_name);
    struct sora_array array = {.rank = tensor->rank};
    memcpy(array.shape, tensor->shape, sizeof(array.shape));
    int64_t count = (int64_t)(tensor->size / item);
    array.values = malloc((size_t)count * sizeof(float));
    if (!array.values)
        return sora_fault_set(fault, SORA_E_MEMORY, "%.300s: out of memory", path);
    widen(file + tensor->offset, tensor->dtype, count, array.values);
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(array.values[i]))
            continue;
        sora_array_fini(&array);
        return sora_fault_set(fault, SORA_E_NUMERIC,
                              "%.300s: tensor %.80s: element %" PRId64 " is not a finite number",
                              path, tensor->name, i);
    }
    *out_array = array;
    return 0;
}

static const struct sora_safetensors_tensor *find(const struct sora_safetensors *table,
                                                  const char *name)
{
    for (int i = 0; i < table->count; i++) {
        if (strcmp(table->tensors[i].name, name) == 0)
            return &table->tensors[i];
    }
    return NULL;
}

int sora_array_read(const char *path, const char *name, struct sora_array *out_array,
                    struct sora_fault *fault)
{
    struct sora_bytes bytes = {0};
    int error = sora_file_read(path, SORA_TENSOR_FILE_SIZE_MAX, &bytes, fault);
    if (error)
        return error;
    struct sora_safetensors table = {0};
    error = sora_safetensors_parse(bytes.data, bytes.size, bytes.size, path, &table, fault);
    if (!error) {
        const struct sora_safetensors_tensor *tensor = find(&table, name);
        if (tensor)
            error = copy_tensor(tensor, bytes.data, path, out_array, fault);
        else
            error = sora_fault_set(fault, SORA_E_NOT_FOUND,
                                   "%.300s: no tensor named '%.80s' (it holds %d%s%.80s)", path,
                                   name, table.count, table.count ? ", first " : "",
                                   table.count ? table.tensors[0].name : "");
    }
    sora_safetensors_fini(&table);
    sora_bytes_fini(&bytes);
    return error;
}

/* The header, padded by spaces so that the data start at a multiple of 8. Returns its length
 * without the 8 bytes of the length field. */
static size_t make_header(char *text, size_t size, const char *name, const struct sora_array *array)
{
    char shape[SORA_SHAPE_TEXT_SIZE];
    int length = snprintf(
        text, size, "{\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%" PRId64 "]}}",
        name, sora_shape_text(array->rank, array->shape, shape, sizeof(shape)),
        sora_array_count(array) * 4);
    SORA_ASSERT(length > 0 && (size_t)length + 8 < size);
    while (length % 8 != 0)
        text[length++] = ' ';
    return (size_t)length;
}

int sora_array_write(const char *path, const char *name, const struct sora_array *array,
                     struct sora_fault *fault)
{
    char header[512];
    uint64_t length = make_header(header, sizeof(header), name, array);
    struct sora_file_part part = {0};
    int error = sora_file_part_open(path, &part, fault);
    if (error)
        return error;
    error = sora_file_part_write(&part, &length, sizeof(length), fault);
    if (!error)
        error = sora_file_part_write(&part, header, length, fault);
    if (!error)
        error =
            sora_file_part_write(&part, array->values, (size_t)sora_array_count(array) * 4, fault);
    if (error)
        sora_file_part_discard(&part);
    else
        error = sora_file_part_publish(&part, fault);
    return error;
}

int sora_array_swap_frames(struct sora_array *array, struct sora_fault *fault)
{
    SORA_ASSERT(array->rank == 4);
    int64_t outer = array->shape[0], inner = array->shape[1];
    size_t plane = (size_t)(array->shape[2] * array->shape[3]);
    float *swapped = malloc((size_t)(outer * inner) * plane * sizeof(float));
    if (!swapped)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %" PRId64 " latents", outer);
    for (int64_t i = 0; i < outer; i++) {
        for (int64_t j = 0; j < inner; j++)
            memcpy(swapped + (size_t)(j * outer + i) * plane,
                   array->values + (size_t)(i * inner + j) * plane, plane * sizeof(float));
    }
    free(array->values);
    array->values = swapped;
    array->shape[0] = inner;
    array->shape[1] = outer;
    return 0;
}
