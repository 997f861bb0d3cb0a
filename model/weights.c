/*
 * Weights on a device: files in place where the device reads host memory, else a buffer per tensor
 * that was asked for. Rounding and quantising run on the device, so the stored form of one tensor
 * at a time is there as well.
 */
#include "model/checkpoint.h"

#include "model/json_text.h"
#include "model/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One entry on the device; all-zero for those that are used in place or are not there. */
struct held {
    struct sora_buffer *buffer, *scales;
    void *memory; /* realigned: the buffer may read it in place */
    enum sora_dtype dtype;
};

struct sora_weights {
    const struct sora_checkpoint *checkpoint;
    struct sora_device *device;
    struct sora_stream *stream; /* for rounding; made when first needed */
    struct sora_buffer **files; /* per file, where they are used in place */
    struct held *held;          /* per entry */
    enum sora_dtype product_type;
    bool in_place, is_check;
};

static bool dtype_is_weight(enum sora_dtype dtype)
{
    return dtype == SORA_DTYPE_F32 || dtype == SORA_DTYPE_F16 || dtype == SORA_DTYPE_BF16;
}

/* ---- making and ending ---- */

static int import_files(struct sora_weights *weights, struct sora_fault *fault)
{
    for (int i = 0; i < sora_checkpoint_file_count(weights->checkpoint); i++) {
        struct sora_checkpoint_file file = sora_checkpoint_file(weights->checkpoint, i);
        int rc = sora_buffer_import(weights->device, file.data, file.size, &weights->files[i]);
        if (rc)
            return sora_fault_set(fault, rc, "%s: %zu bytes do not go onto the device: %s",
                                  sora_path_tail(file.path), file.size, sora_error_text(rc));
    }
    return SORA_OK;
}

int sora_weights_create(const struct sora_checkpoint *checkpoint, struct sora_device *device,
                        struct sora_weights **out_weights, struct sora_fault *fault)
{
    struct sora_weights *weights = calloc(1, sizeof(*weights));
    if (!weights)
        return sora_fault_set(fault, SORA_E_MEMORY, "weights: out of memory");
    struct sora_device_caps caps;
    sora_device_caps(device, &caps);
    weights->checkpoint = checkpoint;
    weights->device = device;
    weights->in_place = caps.host_memory;
    weights->product_type = caps.product_type;
    weights->files =
        calloc((size_t)sora_checkpoint_file_count(checkpoint), sizeof(struct sora_buffer *));
    weights->held = calloc((size_t)sora_checkpoint_count(checkpoint) + 1, sizeof(*weights->held));
    int rc = SORA_OK;
    if (!weights->files || !weights->held)
        rc = sora_fault_set(fault, SORA_E_MEMORY, "weights: out of memory");
    if (!rc && weights->in_place)
        rc = import_files(weights, fault);
    if (rc) {
        sora_weights_destroy(&weights);
        return rc;
    }
    *out_weights = weights;
    return SORA_OK;
}

static void held_drop(struct held *held)
{
    sora_buffer_destroy(&held->buffer);
    sora_buffer_destroy(&held->scales);
    free(held->memory);
    *held = (struct held){0};
}

static void drop_all(struct sora_weights *weights)
{
    for (int i = 0; weights->held && i < sora_checkpoint_count(weights->checkpoint); i++)
        held_drop(&weights->held[i]);
    sora_stream_destroy(&weights->stream);
}

void sora_weights_destroy(struct sora_weights **weights)
{
    if (!weights || !*weights)
        return;
    drop_all(*weights);
    for (int i = 0; (*weights)->files && i < sora_checkpoint_file_count((*weights)->checkpoint);
         i++)
        sora_buffer_destroy(&(*weights)->files[i]);
    free((*weights)->held);
    free((*weights)->files);
    free(*weights);
    *weights = NULL;
}

bool sora_weights_are_copies(const struct sora_weights *weights)
{
    return !weights->in_place;
}

void sora_weights_check_only(struct sora_weights *weights, bool on)
{
    weights->is_check = on && !weights->in_place;
}

void sora_weights_settle(struct sora_weights *weights)
{
    sora_stream_destroy(&weights->stream);
}

void sora_weights_drop(struct sora_weights *weights, const struct sora_tensor *tensor)
{
    for (int i = 0; !weights->in_place && i < sora_checkpoint_count(weights->checkpoint); i++) {
        if (weights->held[i].buffer && weights->held[i].buffer == tensor->buffer)
            held_drop(&weights->held[i]);
    }
}

void sora_weights_unload(struct sora_weights *weights)
{
    if (!weights->in_place)
        drop_all(weights);
}

uint64_t sora_weights_held(const struct sora_weights *weights)
{
    uint64_t bytes = 0;
    for (int i = 0; !weights->in_place && i < sora_checkpoint_count(weights->checkpoint); i++) {
        bytes += weights->held[i].buffer ? sora_buffer_size(weights->held[i].buffer) : 0;
        bytes += weights->held[i].scales ? sora_buffer_size(weights->held[i].scales) : 0;
    }
    return bytes;
}

/* ---- one tensor onto the device ---- */

static int held_import(struct sora_weights *weights, const struct sora_checkpoint_entry *entry,
                       struct held *held)
{
    int rc = sora_buffer_import(weights->device, held->memory ? held->memory : entry->data,
                                entry->size, &held->buffer);
    held->dtype = entry->dtype;
    return rc;
}

/* A file used in place holds the tensor at an odd address. */
static int held_realign(struct sora_weights *weights, const struct sora_checkpoint_entry *entry,
                        struct held *held)
{
    held->memory = malloc(entry->size);
    if (!held->memory)
        return SORA_E_MEMORY;
    memcpy(held->memory, entry->data, entry->size);
    return held_import(weights, entry, held);
}

/* Another form of `stored`, made on the device. */
static int held_convert(struct sora_weights *weights, const struct sora_tensor *stored,
                        enum sora_dtype quantised, struct held *held)
{
    struct sora_weight to;
    int rc = weights->stream ? SORA_OK : sora_stream_create(weights->device, &weights->stream);
    held->dtype = quantised ? quantised : weights->product_type;
    if (!rc)
        rc = sora_tensor_create(weights->device, held->dtype, stored->rank, stored->shape,
                                &held->buffer, &to.tensor);
    if (!rc && quantised)
        rc = sora_tensor_create(weights->device, SORA_DTYPE_F32, 1, stored->shape, &held->scales,
                                &to.scale);
    if (!rc && quantised)
        rc = sora_op_quantize(weights->stream, stored, &to.tensor, &to.scale);
    else if (!rc)
        rc = sora_op_convert(weights->stream, stored, &to.tensor);
    return rc ? rc : sora_stream_wait(weights->stream);
}

/* The type that a weight is quantised to, or NONE. */
static enum sora_dtype quantised_type(const struct sora_weight_ask *ask)
{
    if (ask->rank != 2 || ask->shape[1] % 8 != 0)
        return SORA_DTYPE_NONE;
    return ask->form == SORA_WEIGHTS_INT8  ? SORA_DTYPE_I8
           : ask->form == SORA_WEIGHTS_FP8 ? SORA_DTYPE_F8
                                           : SORA_DTYPE_NONE;
}

/* The tensor where its file has it; present only for files in place that are aligned. */
static struct sora_tensor in_file(const struct sora_weights *weights,
                                  const struct sora_checkpoint_entry *entry)
{
    struct sora_checkpoint_file file = sora_checkpoint_file(weights->checkpoint, entry->file);
    size_t offset = (size_t)((const char *)entry->data - (const char *)file.data);
    bool aligned = offset % sora_dtype_size(entry->dtype) == 0;
    return sora_tensor_make(aligned ? weights->files[entry->file] : NULL, offset, entry->dtype,
                            entry->rank, entry->shape);
}

/* Brings a tensor to the device in the form that is asked for. */
static int held_make(struct sora_weights *weights, const struct sora_checkpoint_entry *entry,
                     const struct sora_weight_ask *ask, struct held *held)
{
    enum sora_dtype quantised = quantised_type(ask);
    bool rounded = ask->form != SORA_WEIGHTS_STORED && entry->dtype == SORA_DTYPE_F32 &&
                   weights->product_type != SORA_DTYPE_F32;
    struct held stored = {0};
    struct sora_tensor view = in_file(weights, entry);
    int rc = SORA_OK;
    if (!view.buffer) {
        rc = weights->in_place ? held_realign(weights, entry, &stored)
                               : held_import(weights, entry, &stored);
        view.buffer = stored.buffer;
        view.offset = 0;
    }
    if (!rc && (quantised || rounded))
        rc = held_convert(weights, &view, quantised, held);
    else if (!rc) {
        *held = stored;
        stored = (struct held){0};
    }
    held_drop(&stored);
    if (rc)
        held_drop(held);
    return rc;
}

/* ---- asking ---- */

static int check_ask(const struct sora_weights *weights, const struct sora_checkpoint_entry *entry,
                     const struct sora_weight_ask *ask, struct sora_fault *fault)
{
    char expected[SORA_SHAPE_TEXT_SIZE], found[SORA_SHAPE_TEXT_SIZE];
    sora_shape_text(ask->rank, ask->shape, expected, sizeof(expected));
    if (!entry) {
        struct sora_checkpoint_file first = sora_checkpoint_file(weights->checkpoint, 0);
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s: missing tensor %s, expected shape %s",
                              sora_path_tail(first.path), ask->name, expected);
    }
    const char *path = sora_path_tail(sora_checkpoint_file(weights->checkpoint, entry->file).path);
    if (entry->rank != ask->rank ||
        memcmp(entry->shape, ask->shape, (size_t)entry->rank * sizeof(int64_t)) != 0)
        return sora_fault_set(
            fault, SORA_E_FORMAT, "%s: tensor %s has shape %s, expected %s", path, ask->name,
            sora_shape_text(entry->rank, entry->shape, found, sizeof(found)), expected);
    if (!dtype_is_weight(entry->dtype))
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "%s: tensor %s has type %s; this build computes with F32, F16, BF16",
                              path, ask->name, entry->type_name);
    return SORA_OK;
}

/* The wanted shape has no zero dimension, so neither has the entry's. */
static void make_views(const struct sora_weights *weights,
                       const struct sora_checkpoint_entry *entry, const struct held *held,
                       struct sora_weight *out_weight)
{
    *out_weight = (struct sora_weight){.tensor = in_file(weights, entry)};
    if (!held->buffer)
        return;
    out_weight->tensor = sora_tensor_make(held->buffer, 0, held->dtype, entry->rank, entry->shape);
    if (held->scales)
        out_weight->scale = sora_tensor_make(held->scales, 0, SORA_DTYPE_F32, 1, entry->shape);
}

int sora_weights_take(struct sora_weights *weights, const struct sora_weight_ask *ask,
                      struct sora_weight *out_weight, struct sora_fault *fault)
{
    const struct sora_checkpoint_entry *entry =
        sora_checkpoint_find(weights->checkpoint, ask->name);
    int rc = check_ask(weights, entry, ask, fault);
    if (rc)
        return rc;
    struct held *held = &weights->held[entry - sora_checkpoint_at(weights->checkpoint, 0)];
    bool in_place = in_file(weights, entry).buffer && !quantised_type(ask);
    if (!held->buffer && !weights->is_check && !in_place)
        rc = held_make(weights, entry, ask, held);
    if (rc)
        return sora_fault_set(fault, rc, "tensor %s: %zu bytes do not go onto the device: %s",
                              entry->name, entry->size, sora_error_text(rc));
    make_views(weights, entry, held, out_weight);
    return SORA_OK;
}

int sora_weights_get(struct sora_weights *weights, int rank, const int64_t *shape,
                     struct sora_tensor *out_tensor, struct sora_fault *fault, const char *name,
                     ...)
{
    char text[SORA_SAFETENSORS_NAME_SIZE_MAX + 1];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof(text), name, arguments);
    va_end(arguments);
    const struct sora_weight_ask ask = {.name = text, .rank = rank, .shape = shape};
    struct sora_weight weight;
    int rc = sora_weights_take(weights, &ask, &weight, fault);
    if (!rc)
        *out_tensor = weight.tensor;
    return rc;
}
