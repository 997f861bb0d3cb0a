/* Weights on a device: one imported buffer per file, views by name, and private copies of the rare
 * tensors that a file holds at an odd place. */
#include "model/checkpoint.h"

#include "model/json_text.h"
#include "model/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A realigned tensor; all-zero for those that are used in place. */
struct weight_copy {
    struct sora_buffer *buffer;
    void *memory; /* the buffer may read it in place */
};

struct sora_weights {
    const struct sora_checkpoint *checkpoint;
    struct sora_device *device;
    struct sora_buffer **buffers; /* per file */
    size_t *skips;                /* per file: bytes at its start that are not in the buffer */
    struct weight_copy *copies;   /* per entry */
};

/* Bytes from the start of the entry's buffer. */
static size_t entry_offset(const struct sora_weights *weights,
                           const struct sora_checkpoint_entry *entry)
{
    struct sora_checkpoint_file file = sora_checkpoint_file(weights->checkpoint, entry->file);
    return (size_t)((const char *)entry->data - (const char *)file.data) -
           weights->skips[entry->file];
}

/* Tensors lie behind a head of any length. A device that copies the file gets it from there on that
 * the first tensor is aligned, and with it all whose sizes are round: its loads are wider then. */
static void align_files(struct sora_weights *weights)
{
    const size_t alignment = 64;
    struct sora_device_caps caps;
    sora_device_caps(weights->device, &caps);
    if (caps.host_memory)
        return;
    for (int i = 0; i < sora_checkpoint_file_count(weights->checkpoint); i++)
        weights->skips[i] = sora_checkpoint_file(weights->checkpoint, i).size;
    for (int i = 0; i < sora_checkpoint_count(weights->checkpoint); i++) {
        const struct sora_checkpoint_entry *entry = sora_checkpoint_at(weights->checkpoint, i);
        struct sora_checkpoint_file file = sora_checkpoint_file(weights->checkpoint, entry->file);
        size_t begin = (size_t)((const char *)entry->data - (const char *)file.data);
        if (begin < weights->skips[entry->file])
            weights->skips[entry->file] = begin;
    }
    for (int i = 0; i < sora_checkpoint_file_count(weights->checkpoint); i++) {
        bool has_tensors = weights->skips[i] < sora_checkpoint_file(weights->checkpoint, i).size;
        weights->skips[i] = has_tensors ? weights->skips[i] % alignment : 0;
    }
}

static bool dtype_is_weight(enum sora_dtype dtype)
{
    return dtype == SORA_DTYPE_F32 || dtype == SORA_DTYPE_F16 || dtype == SORA_DTYPE_BF16;
}

static int import_files(struct sora_weights *weights, struct sora_fault *fault)
{
    for (int i = 0; i < sora_checkpoint_file_count(weights->checkpoint); i++) {
        struct sora_checkpoint_file file = sora_checkpoint_file(weights->checkpoint, i);
        size_t skip = weights->skips[i];
        int rc = sora_buffer_import(weights->device, (const char *)file.data + skip,
                                    file.size - skip, &weights->buffers[i]);
        if (rc)
            return sora_fault_set(fault, rc, "%s: %zu bytes do not go onto the device: %s",
                                  sora_path_tail(file.path), file.size, sora_error_text(rc));
    }
    return SORA_OK;
}

static int copy_entry(struct sora_weights *weights, int index, struct sora_fault *fault)
{
    const struct sora_checkpoint_entry *entry = sora_checkpoint_at(weights->checkpoint, index);
    if (!dtype_is_weight(entry->dtype) || entry->size == 0 ||
        entry_offset(weights, entry) % sora_dtype_size(entry->dtype) == 0)
        return SORA_OK;
    struct weight_copy *copy = &weights->copies[index];
    copy->memory = malloc(entry->size);
    if (!copy->memory)
        return sora_fault_set(fault, SORA_E_MEMORY, "tensor %s: no memory to realign %zu bytes",
                              entry->name, entry->size);
    memcpy(copy->memory, entry->data, entry->size);
    int rc = sora_buffer_import(weights->device, copy->memory, entry->size, &copy->buffer);
    return rc ? sora_fault_set(fault, rc, "tensor %s: %zu bytes do not go onto the device: %s",
                               entry->name, entry->size, sora_error_text(rc))
              : SORA_OK;
}

static int weights_fill(struct sora_weights *weights, struct sora_fault *fault)
{
    size_t count = (size_t)sora_checkpoint_count(weights->checkpoint);
    size_t file_count = (size_t)sora_checkpoint_file_count(weights->checkpoint);
    weights->buffers = calloc(file_count, sizeof(struct sora_buffer *));
    weights->copies = calloc(count + 1, sizeof(*weights->copies));
    weights->skips = calloc(file_count, sizeof(*weights->skips));
    if (!weights->buffers || !weights->copies || !weights->skips)
        return sora_fault_set(fault, SORA_E_MEMORY, "weights: out of memory");
    align_files(weights);
    int rc = import_files(weights, fault);
    for (int i = 0; !rc && i < (int)count; i++)
        rc = copy_entry(weights, i, fault);
    return rc;
}

int sora_weights_create(const struct sora_checkpoint *checkpoint, struct sora_device *device,
                        struct sora_weights **out_weights, struct sora_fault *fault)
{
    struct sora_weights *weights = calloc(1, sizeof(*weights));
    if (!weights)
        return sora_fault_set(fault, SORA_E_MEMORY, "weights: out of memory");
    weights->checkpoint = checkpoint;
    weights->device = device;
    int rc = weights_fill(weights, fault);
    if (rc) {
        sora_weights_destroy(&weights);
        return rc;
    }
    *out_weights = weights;
    return SORA_OK;
}

void sora_weights_destroy(struct sora_weights **weights)
{
    if (!weights || !*weights)
        return;
    const struct sora_checkpoint *checkpoint = (*weights)->checkpoint;
    for (int i = 0; (*weights)->copies && i < sora_checkpoint_count(checkpoint); i++) {
        sora_buffer_destroy(&(*weights)->copies[i].buffer);
        free((*weights)->copies[i].memory);
    }
    for (int i = 0; (*weights)->buffers && i < sora_checkpoint_file_count(checkpoint); i++)
        sora_buffer_destroy(&(*weights)->buffers[i]);
    free((*weights)->copies);
    free((*weights)->buffers);
    free((*weights)->skips);
    free(*weights);
    *weights = NULL;
}

/* What asked for the tensor, for messages. */
struct weight_request {
    const char *name;
    int rank;
    const int64_t *shape;
};

static int check_request(const struct sora_weights *weights,
                         const struct sora_checkpoint_entry *entry,
                         const struct weight_request *request, struct sora_fault *fault)
{
    char expected[SORA_SHAPE_TEXT_SIZE], found[SORA_SHAPE_TEXT_SIZE];
    sora_shape_text(request->rank, request->shape, expected, sizeof(expected));
    if (!entry) {
        struct sora_checkpoint_file first = sora_checkpoint_file(weights->checkpoint, 0);
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s: missing tensor %s, expected shape %s",
                              sora_path_tail(first.path), request->name, expected);
    }
    const char *path = sora_path_tail(sora_checkpoint_file(weights->checkpoint, entry->file).path);
    if (entry->rank != request->rank ||
        memcmp(entry->shape, request->shape, (size_t)entry->rank * sizeof(int64_t)) != 0)
        return sora_fault_set(
            fault, SORA_E_FORMAT, "%s: tensor %s has shape %s, expected %s", path, request->name,
            sora_shape_text(entry->rank, entry->shape, found, sizeof(found)), expected);
    if (!dtype_is_weight(entry->dtype))
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "%s: tensor %s has type %s; this build computes with F32, F16, BF16",
                              path, request->name, entry->type_name);
    return SORA_OK;
}

/* The wanted shape has no zero dimension, so neither has the entry's. */
static struct sora_tensor weights_view(const struct sora_weights *weights,
                                       const struct sora_checkpoint_entry *entry)
{
    ptrdiff_t index = entry - sora_checkpoint_at(weights->checkpoint, 0);
    struct sora_buffer *copy = weights->copies[index].buffer;
    return sora_tensor_make(copy ? copy : weights->buffers[entry->file],
                            copy ? 0 : entry_offset(weights, entry), entry->dtype, entry->rank,
                            entry->shape);
}

int sora_weights_get(const struct sora_weights *weights, int rank, const int64_t *shape,
                     struct sora_tensor *out_tensor, struct sora_fault *fault, const char *name,
                     ...)
{
    char text[SORA_SAFETENSORS_NAME_SIZE_MAX + 1];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof(text), name, arguments);
    va_end(arguments);
    const struct sora_checkpoint_entry *entry = sora_checkpoint_find(weights->checkpoint, text);
    struct weight_request request = {.name = text, .rank = rank, .shape = shape};
    int rc = check_request(weights, entry, &request, fault);
    if (rc)
        return rc;
    *out_tensor = weights_view(weights, entry);
    return SORA_OK;
}
