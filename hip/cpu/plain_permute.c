/*
 * Permutation, plain: dimensions of size 1 are dropped and neighbours that stay neighbours are
 * merged, then the output is walked in order, an inner row at a time.
 */
#include "hip/cpu/internal.h"

#include <string.h>

#define TASK_ELEMENTS 16384

struct permute_view {
    int rank;
    int64_t shape[SORA_TENSOR_RANK_MAX];  /* of the output */
    int64_t stride[SORA_TENSOR_RANK_MAX]; /* of the input, in output order, in elements */
    int64_t rows, rows_per_task;
    size_t element;
    const unsigned char *in;
    unsigned char *out;
};

static void view_shape(struct permute_view *view, const struct sora_tensor *in, const int *order)
{
    int64_t strides[SORA_TENSOR_RANK_MAX], stride = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= in->shape[i];
    }
    view->rank = 0;
    for (int i = 0; i < in->rank; i++) {
        int64_t size = in->shape[order[i]], step = strides[order[i]];
        int last = view->rank - 1;
        if (size == 1)
            continue;
        if (last >= 0 && view->stride[last] == step * size) {
            view->shape[last] *= size;
            view->stride[last] = step;
        } else {
            view->shape[view->rank] = size;
            view->stride[view->rank++] = step;
        }
    }
    if (view->rank == 0) {
        view->shape[0] = view->stride[0] = 1;
        view->rank = 1;
    }
}

static void row_copy(const struct permute_view *view, unsigned char *out, const unsigned char *in)
{
    int64_t count = view->shape[view->rank - 1], stride = view->stride[view->rank - 1];
    if (stride == 1) {
        memcpy(out, in, (size_t)count * view->element);
    } else if (view->element == 4) {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + i * 4, in + i * stride * 4, 4);
    } else if (view->element == 2) {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + i * 2, in + i * stride * 2, 2);
    } else {
        for (int64_t i = 0; i < count; i++)
            out[i] = in[i * stride];
    }
}

static void rows_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct permute_view *view = context;
    int outer = view->rank - 1;
    int64_t end = sora_cpu_min((task + 1) * view->rows_per_task, view->rows);
    for (int64_t row = task * view->rows_per_task; row < end; row++) {
        int64_t rest = row, from = 0;
        for (int i = outer - 1; i >= 0; i--) {
            from += rest % view->shape[i] * view->stride[i];
            rest /= view->shape[i];
        }
        row_copy(view, view->out + (size_t)(row * view->shape[outer]) * view->element,
                 view->in + (size_t)from * view->element);
    }
}

int sora_plain_permute(struct sora_stream *stream, const struct sora_tensor *in, const int *order,
                       const struct sora_tensor *out)
{
    struct permute_view view = {
        .element = sora_dtype_size(in->dtype), .in = sora_cpu_data(in), .out = sora_cpu_data(out)};
    view_shape(&view, in, order);
    int64_t inner = view.shape[view.rank - 1];
    view.rows = sora_tensor_count(in) / inner;
    view.rows_per_task = sora_cpu_max(1, TASK_ELEMENTS / inner);
    return sora_cpu_run(sora_cpu_of(stream), 0, sora_cpu_pieces(view.rows, view.rows_per_task),
                        rows_task, &view);
}
