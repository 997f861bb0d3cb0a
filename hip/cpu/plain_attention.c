/*
 * Attention, plain: per head and query one row of scores, its softmax, and the weighted sum of the
 * values. A query whose keys are all masked gives zeros.
 */
#include "hip/cpu/internal.h"

#include <math.h>

struct attention_view {
    int64_t queries, keys, heads, size;
    const float *q, *k, *v, *key_bias, *position_bias;
    float *out;
    float scale;
    struct sora_cpu_device *device;
};

/* Fills the row and returns its greatest score. */
static float scores_fill(const struct attention_view *view, int64_t head, int64_t query,
                         float *scores)
{
    const float *q = view->q + (query * view->heads + head) * view->size;
    const float *bias = view->position_bias;
    if (bias)
        bias += (head * view->queries + query) * view->keys;
    float greatest = -INFINITY;
    for (int64_t j = 0; j < view->keys; j++) {
        const float *k = view->k + (j * view->heads + head) * view->size;
        float sum = 0.0f;
        for (int64_t d = 0; d < view->size; d++)
            sum += q[d] * k[d];
        sum *= view->scale;
        if (view->key_bias)
            sum += view->key_bias[j];
        if (bias)
            sum += bias[j];
        scores[j] = sum;
        greatest = fmaxf(greatest, sum);
    }
    return greatest;
}

static void row_task(void *context, int64_t task, int worker)
{
    const struct attention_view *view = context;
    int64_t query = task / view->heads, head = task % view->heads;
    float *scores = sora_cpu_thread_scratch(view->device, worker);
    float *out = view->out + task * view->size;
    float greatest = scores_fill(view, head, query, scores);
    for (int64_t d = 0; d < view->size; d++)
        out[d] = 0.0f;
    if (greatest == -INFINITY)
        return;
    float total = 0.0f;
    for (int64_t j = 0; j < view->keys; j++) {
        const float *v = view->v + (j * view->heads + head) * view->size;
        float weight = expf(scores[j] - greatest);
        total += weight;
        for (int64_t d = 0; d < view->size; d++)
            out[d] += weight * v[d];
    }
    for (int64_t d = 0; d < view->size; d++)
        out[d] /= total;
}

int sora_plain_attention(struct sora_stream *stream, const struct sora_attention *params)
{
    struct sora_cpu_device *device = sora_cpu_of(stream);
    struct attention_view view = {
        .queries = params->q.shape[0],
        .keys = params->k.shape[0],
        .heads = params->q.shape[1],
        .size = params->q.shape[2],
        .q = sora_cpu_data(&params->q),
        .k = sora_cpu_data(&params->k),
        .v = sora_cpu_data(&params->v),
        .key_bias = sora_cpu_data(&params->key_bias),
        .position_bias = sora_cpu_data(&params->position_bias),
        .out = sora_cpu_data(&params->out),
        .scale = params->scale,
        .device = device,
    };
    return sora_cpu_run(device, (size_t)view.keys * sizeof(float), view.queries * view.heads,
                        row_task, &view);
}
