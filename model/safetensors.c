/* The safetensors header. Every number is checked before it is used in arithmetic. */
#include "model/safetensors.h"

#include "model/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_SIZE 8

/* Values in the largest honest header: per tensor name, three fields, eight dimensions, two offsets
 * and their brackets, and some room for metadata. */
static const struct sora_json_limits header_limits = {
    .size_max = SORA_SAFETENSORS_HEADER_SIZE_MAX,
    .depth_max = 4,
    .value_max = (size_t)SORA_SAFETENSORS_TENSORS_MAX * 24 + 4096,
};

struct type_row {
    const char *name;
    unsigned bits;
    enum sora_dtype dtype;
};

static const struct type_row type_rows[] = {
    {"F32", 32, SORA_DTYPE_F32},     {"F16", 16, SORA_DTYPE_F16},
    {"BF16", 16, SORA_DTYPE_BF16},   {"I32", 32, SORA_DTYPE_I32},
    {"U8", 8, SORA_DTYPE_U8},        {"F64", 64, SORA_DTYPE_NONE},
    {"I64", 64, SORA_DTYPE_NONE},    {"U64", 64, SORA_DTYPE_NONE},
    {"U32", 32, SORA_DTYPE_NONE},    {"I16", 16, SORA_DTYPE_NONE},
    {"U16", 16, SORA_DTYPE_NONE},    {"I8", 8, SORA_DTYPE_NONE},
    {"BOOL", 8, SORA_DTYPE_NONE},    {"C64", 64, SORA_DTYPE_NONE},
    {"F8_E5M2", 8, SORA_DTYPE_NONE}, {"F8_E4M3", 8, SORA_DTYPE_NONE},
    {"F8_E8M0", 8, SORA_DTYPE_NONE},
};

/* What the steps of one parse share. */
struct header_reader {
    const char *label;
    uint64_t data_offset; /* of the data, from the start of the file */
    uint64_t data_size;
    struct sora_safetensors *table;
    struct sora_fault *fault;
};

const char *sora_shape_text(int rank, const int64_t *shape, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "",
                                 (long long)shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

int sora_safetensors_header_size(const void *bytes, size_t size, uint64_t file_size,
                                 const char *label, size_t *out_size, struct sora_fault *fault)
{
    if (file_size < LENGTH_SIZE || size < LENGTH_SIZE)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: has %llu bytes, too short for a safetensors file", label,
                              (unsigned long long)file_size);
    const unsigned char *byte = bytes;
    uint64_t length = 0;
    for (int i = LENGTH_SIZE - 1; i >= 0; i--)
        length = length << 8 | byte[i];
    if (length > SORA_SAFETENSORS_HEADER_SIZE_MAX)
        return sora_fault_set(
            fault, SORA_E_LIMIT, "%s: header length is %llu bytes; the limit is %llu", label,
            (unsigned long long)length, (unsigned long long)SORA_SAFETENSORS_HEADER_SIZE_MAX);
    if (length > file_size - LENGTH_SIZE)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: is truncated: the header has %llu bytes, the file %llu", label,
                              (unsigned long long)length, (unsigned long long)file_size);
    *out_size = LENGTH_SIZE + (size_t)length;
    return SORA_OK;
}

/* "FILE: tensor NAME: what" for one-line reports about one tensor. */
#define TENSOR_FAULT(reader, code, name, format, ...)                                              \
    sora_fault_set((reader)->fault, code, "%s: tensor %s: " format, (reader)->label, name,         \
                   __VA_ARGS__)

static int read_type(const struct header_reader *reader, const json_t *value,
                     struct sora_safetensors_tensor *tensor, unsigned *out_bits)
{
    const char *text = json_string_value(value);
    if (!text)
        return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "%s", "dtype is not a string");
    for (size_t i = 0; i < sizeof(type_rows) / sizeof(type_rows[0]); i++) {
        if (strcmp(text, type_rows[i].name) == 0) {
            tensor->type_name = type_rows[i].name;
            tensor->dtype = type_rows[i].dtype;
            *out_bits = type_rows[i].bits;
            return SORA_OK;
        }
    }
    return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "dtype \"%.20s\" is unknown", text);
}

/* Shape, and the bytes that it takes with `bits` per element. */
static int read_shape(const struct header_reader *reader, const json_t *value, unsigned bits,
                      struct sora_safetensors_tensor *tensor, uint64_t *out_size)
{
    if (!json_is_array(value))
        return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "%s", "shape is not an array");
    size_t rank = json_array_size(value);
    if (rank > SORA_TENSOR_RANK_MAX)
        return TENSOR_FAULT(reader, SORA_E_LIMIT, tensor->name,
                            "has %zu dimensions; the limit is %d", rank, SORA_TENSOR_RANK_MAX);
    tensor->rank = (int)rank;
    int64_t size = bits / 8;
    for (size_t i = 0; i < rank; i++) {
        const json_t *item = json_array_get(value, i);
        json_int_t dimension = json_integer_value(item);
        if (!json_is_integer(item) || dimension < 0)
            return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name,
                                "shape entry %zu is not a count", i);
        tensor->shape[i] = dimension;
        if (__builtin_mul_overflow(size, (int64_t)dimension, &size))
            return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "%s",
                                "its shape overflows 64 bits");
    }
    *out_size = (uint64_t)size;
    return SORA_OK;
}

static int read_offsets(const struct header_reader *reader, const json_t *value,
                        struct sora_safetensors_tensor *tensor)
{
    const json_t *items[2] = {json_array_get(value, 0), json_array_get(value, 1)};
    if (json_array_size(value) != 2 || !json_is_integer(items[0]) || !json_is_integer(items[1]))
        return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "%s",
                            "data_offsets is not a pair of integers");
    json_int_t begin = json_integer_value(items[0]), end = json_integer_value(items[1]);
    if (begin < 0 || end < begin || (uint64_t)end > reader->data_size)
        return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name,
                            "data_offsets [%lld, %lld] do not lie in the file's %llu bytes of data",
                            (long long)begin, (long long)end,
                            (unsigned long long)reader->data_size);
    tensor->offset = reader->data_offset + (uint64_t)begin;
    tensor->size = (uint64_t)(end - begin);
    return SORA_OK;
}

static int read_tensor(const struct header_reader *reader, json_t *value,
                       struct sora_safetensors_tensor *tensor)
{
    const json_t *type = json_object_get(value, "dtype");
    const json_t *shape = json_object_get(value, "shape");
    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!type || !shape || !offsets || json_object_size(value) != 3)
        return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name, "%s",
                            "must have dtype, shape and data_offsets and nothing else");
    unsigned bits = 0;
    uint64_t size = 0;
    int rc = read_type(reader, type, tensor, &bits);
    if (!rc)
        rc = read_shape(reader, shape, bits, tensor, &size);
    if (!rc)
        rc = read_offsets(reader, offsets, tensor);
    if (rc || size == tensor->size)
        return rc;
    char text[SORA_SHAPE_TEXT_SIZE];
    return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name,
                        "%s %s takes %llu bytes but data_offsets give it %llu", tensor->type_name,
                        sora_shape_text(tensor->rank, tensor->shape, text, sizeof(text)),
                        (unsigned long long)size, (unsigned long long)tensor->size);
}

static int check_metadata(const struct header_reader *reader, json_t *value)
{
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return sora_fault_set(reader->fault, SORA_E_FORMAT, "%s: __metadata__ is not an object",
                              reader->label);
    json_object_foreach(value, key, item)
    {
        if (!json_is_string(item))
            return sora_fault_set(reader->fault, SORA_E_FORMAT,
                                  "%s: __metadata__ entry %.64s is not a string", reader->label,
                                  key);
    }
    return SORA_OK;
}

static int check_name(const struct header_reader *reader, const char *name)
{
    size_t size = strlen(name);
    if (size == 0)
        return sora_fault_set(reader->fault, SORA_E_FORMAT, "%s: a tensor has an empty name",
                              reader->label);
    if (size > SORA_SAFETENSORS_NAME_SIZE_MAX)
        return sora_fault_set(reader->fault, SORA_E_LIMIT,
                              "%s: tensor %.64s...: its name has %zu bytes; the limit is %d",
                              reader->label, name, size, SORA_SAFETENSORS_NAME_SIZE_MAX);
    return SORA_OK;
}

/* Fills table->tensors; `names_end` walks through table->names. */
static int read_members(const struct header_reader *reader, json_t *header)
{
    struct sora_safetensors *table = reader->table;
    char *names_end = table->names;
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value)
    {
        int rc;
        if (strcmp(key, "__metadata__") == 0) {
            rc = check_metadata(reader, value);
        } else if ((rc = check_name(reader, key)) == 0) {
            struct sora_safetensors_tensor *tensor = &table->tensors[table->count++];
            size_t size = strlen(key) + 1;
            tensor->name = memcpy(names_end, key, size);
            names_end += size;
            rc = read_tensor(reader, value, tensor);
        }
        if (rc)
            return rc;
    }
    return SORA_OK;
}

static int compare_offset(const void *a, const void *b)
{
    const struct sora_safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The sorted tensors must cover the data exactly once. */
static int check_cover(const struct header_reader *reader)
{
    const struct sora_safetensors *table = reader->table;
    uint64_t expected = reader->data_offset;
    const char *previous = "the header";
    for (int i = 0; i < table->count; i++) {
        const struct sora_safetensors_tensor *tensor = &table->tensors[i];
        if (tensor->offset != expected)
            return TENSOR_FAULT(reader, SORA_E_FORMAT, tensor->name,
                                "begins at data byte %llu, expected %llu: %s %.100s",
                                (unsigned long long)(tensor->offset - reader->data_offset),
                                (unsigned long long)(expected - reader->data_offset),
                                tensor->offset < expected ? "it overlaps" : "there is a hole after",
                                previous);
        expected = tensor->offset + tensor->size;
        previous = tensor->name;
    }
    uint64_t end = reader->data_offset + reader->data_size;
    if (expected != end)
        return sora_fault_set(reader->fault, SORA_E_FORMAT,
                              "%s: %llu bytes after the last tensor belong to none", reader->label,
                              (unsigned long long)(end - expected));
    return SORA_OK;
}

static int read_header(const struct header_reader *reader, json_t *header)
{
    struct sora_safetensors *table = reader->table;
    size_t count = json_object_size(header), names_size = 1;
    if (count > SORA_SAFETENSORS_TENSORS_MAX + (json_object_get(header, "__metadata__") != NULL))
        return sora_fault_set(reader->fault, SORA_E_LIMIT, "%s: has %zu tensors; the limit is %d",
                              reader->label, count, SORA_SAFETENSORS_TENSORS_MAX);
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value)
    {
        names_size += strlen(key) + 1;
    }
    table->tensors = calloc(count + 1, sizeof(*table->tensors));
    table->names = malloc(names_size);
    if (!table->tensors || !table->names)
        return sora_fault_set(reader->fault, SORA_E_MEMORY, "%s: out of memory", reader->label);
    int rc = read_members(reader, header);
    if (rc)
        return rc;
    qsort(table->tensors, (size_t)table->count, sizeof(*table->tensors), compare_offset);
    return check_cover(reader);
}

int sora_safetensors_parse(const void *bytes, size_t size, uint64_t file_size, const char *label,
                           struct sora_safetensors *out_table, struct sora_fault *fault)
{
    size_t header_size = 0;
    int rc = sora_safetensors_header_size(bytes, size, file_size, label, &header_size, fault);
    if (rc)
        return rc;
    const char *text = (const char *)bytes + LENGTH_SIZE;
    size_t text_size = header_size - LENGTH_SIZE;
    if (size < header_size || text_size == 0 || text[0] != '{')
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: the header does not start with '{': not a safetensors file",
                              label);
    json_t *header = NULL;
    rc = sora_json_parse(text, text_size, label, &header_limits, &header, fault);
    if (rc)
        return rc;
    struct sora_safetensors table = {0};
    struct header_reader reader = {
        .label = label,
        .data_offset = header_size,
        .data_size = file_size - header_size,
        .table = &table,
        .fault = fault,
    };
    rc = read_header(&reader, header);
    json_decref(header);
    if (rc) {
        sora_safetensors_fini(&table);
        return rc;
    }
    *out_table = table;
    return SORA_OK;
}

void sora_safetensors_fini(struct sora_safetensors *table)
{
    free(table->tensors);
    free(table->names);
    *table = (struct sora_safetensors){0};
}
