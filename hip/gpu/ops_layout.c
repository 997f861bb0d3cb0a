/*
 * Copies, conversions and changes of layout on the card.
 *
 * The operands were checked by hip/device.c; here they become the argument structs of
 * hip/kernels/args.h.
 */
#include "hip/gpu/internal.h"

#include <string.h>

int sora_gpu_tensor_upload(struct sora_stream *stream, const struct sora_tensor *tensor,
                           const void *data)
{
    return sora_gpu_copy_in(stream, sora_gpu_data(tensor), data, sora_tensor_size(tensor));
}

int sora_gpu_tensor_download(struct sora_stream *stream, const struct sora_tensor *tensor,
                             void *out_data)
{
    return sora_gpu_copy_out(stream, out_data, sora_gpu_data(tensor), sora_tensor_size(tensor));
}

int sora_gpu_copy(struct sora_stream *stream, const struct sora_tensor *from,
                  const struct sora_tensor *to)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    sora_gpu_count_copy(device);
    return sora_gpu_check(device, "copying on the card",
                          device->runtime->calls.copy_within(
                              sora_gpu_data(to), sora_gpu_data(from), sora_tensor_size(from),
                              ((struct sora_gpu_stream *)stream)->handle));
}

int sora_gpu_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value)
{
    const struct fill_args args = {
        .out = sora_gpu_data(tensor), .count = sora_tensor_count(tensor), .value = value};
    return sora_gpu_launch_elements(stream, SORA_KERNEL_fill, &args, args.count);
}

int sora_gpu_convert(struct sora_stream *stream, const struct sora_tensor *from,
                     const struct sora_tensor *to)
{
    const struct convert_args args = {
        .in = sora_gpu_data(from),
        .out = sora_gpu_data(to),
        .count = sora_tensor_count(from),
        .in_type = (int)from->dtype,
        .out_type = (int)to->dtype,
    };
    return sora_gpu_launch_elements(stream, SORA_KERNEL_convert, &args, args.count);
}

int sora_gpu_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                     const struct sora_tensor *out)
{
    struct permute_args args = {
        .in = sora_gpu_data(in),
        .out = sora_gpu_data(out),
        .count = sora_tensor_count(in),
        .rank = in->rank ? in->rank : 1,
        .element_size = (int)sora_dtype_size(in->dtype),
    };
    int64_t strides[SORA_TENSOR_RANK_MAX] = {1}, stride = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= in->shape[i];
    }
    args.shape[0] = 1; /* of a scalar */
    for (int i = 0; i < in->rank; i++) {
        args.shape[i] = out->shape[i];
        args.stride[i] = strides[order[i]];
    }
    return sora_gpu_launch_elements(stream, SORA_KERNEL_permute, &args, args.count);
}

int sora_gpu_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                     const struct sora_tensor *out)
{
    const struct rgb8_args args = {
        .in = sora_gpu_data(in), .out = sora_gpu_data(out), .count = sora_tensor_count(in)};
    return sora_gpu_launch_elements(stream, SORA_KERNEL_to_rgb8, &args, args.count);
}

/* ---- kernels that report ---- */

static int word_clear(struct sora_stream *base)
{
    struct sora_gpu_device *device = sora_gpu_device_of(base);
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    int error = sora_gpu_enter(device);
    if (error)
        return error;
    sora_gpu_count_copy(device);
    return sora_gpu_check(
        device, "clearing a word",
        device->runtime->calls.fill_words(stream->words->memory, 0, 1, stream->handle));
}

/* Waits for the kernel and reads what it reported. */
static int word_read(struct sora_stream *base, uint32_t *out_word)
{
    struct sora_gpu_stream *stream = (struct sora_gpu_stream *)base;
    return sora_gpu_copy_out(base, out_word, stream->words->memory, sizeof(*out_word));
}

/* Ids are known on the card only, so a bad one is found after the fact. */
int sora_gpu_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                         const struct sora_tensor *ids, const struct sora_tensor *out)
{
    const struct gather_args args = {
        .table = sora_gpu_data(table),
        .ids = sora_gpu_data(ids),
        .out = sora_gpu_data(out),
        .fault = ((struct sora_gpu_stream *)stream)->words->memory,
        .count = sora_tensor_count(out),
        .table_rows = (int)table->shape[0],
        .channels = (int)table->shape[1],
        .table_type = (int)table->dtype,
    };
    uint32_t fault = 0;
    if (table->shape[0] > INT32_MAX || table->shape[1] > INT32_MAX)
        return SORA_E_UNSUPPORTED;
    int error = word_clear(stream);
    if (!error)
        error = sora_gpu_launch_elements(stream, SORA_KERNEL_gather_rows, &args, args.count);
    if (!error)
        error = word_read(stream, &fault);
    return !error && fault ? SORA_E_INVALID : error;
}

int sora_gpu_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                        bool *out_finite)
{
    const struct finite_args args = {
        .in = sora_gpu_data(tensor),
        .found = ((struct sora_gpu_stream *)stream)->words->memory,
        .count = sora_tensor_count(tensor),
    };
    uint32_t found = 0;
    int error = word_clear(stream);
    if (!error)
        error = sora_gpu_launch_elements(stream, SORA_KERNEL_all_finite, &args, args.count);
    if (!error)
        error = word_read(stream, &found);
    if (!error)
        *out_finite = !found;
    return error;
}
