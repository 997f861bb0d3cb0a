/*
 * Attention with f32 multiply-add and an online softmax: for results within rounding of the CPU's,
 * for heads wider than 128 (the VAE's), and for cards without matrix units, where 16-bit operands
 * are widened on the way.
 *
 * A block has 16 queries; 16 threads share one, each with two of a step's 32 keys. q and k pass
 * through shared memory in slices of the head. For the output a thread owns a column of the head
 * (or two) for some of the queries and reads values straight from memory, neighbours beside each
 * other.
 *
 * `element` is GPU_BF16, GPU_F16 or ATTENTION_F32_ELEMENTS; `size` is the constant row length of
 * 16-bit operands, or the limit of an f32 head.
 */
#ifndef SORA_HIP_KERNELS_ATTENTION_F32_H
#define SORA_HIP_KERNELS_ATTENTION_F32_H

#include "hip/kernels/args.h"
#include "hip/kernels/gpu.h"

#define F32_QUERIES ATTENTION_F32_QUERIES
#define F32_KEYS ATTENTION_F32_KEYS
#define F32_SLICE ATTENTION_F32_SLICE
#define F32_SLICE_STRIDE (F32_SLICE + 1)
#define F32_WEIGHT_STRIDE (F32_KEYS + 3)
#define ATTENTION_F32_ELEMENTS 2

/* How the output is shared out: threads side by side, and what each has. */
#define F32_ACROSS(size) ((size) < KERNEL_THREADS ? (size) : KERNEL_THREADS)
#define F32_COLUMNS(size) ((size) / F32_ACROSS(size))
#define F32_ROWS(size) (F32_QUERIES / (KERNEL_THREADS / F32_ACROSS(size)))
#define F32_SUMS_MAX (F32_QUERIES * F32_COLUMNS(ATTENTION_F32_SIZE_MAX))

struct attention_f32_shared {
    float q[F32_QUERIES * F32_SLICE_STRIDE], k[F32_KEYS * F32_SLICE_STRIDE];
    /* [query][key], then how much the sums so far shrink, then the total */
    float weights[F32_QUERIES * F32_WEIGHT_STRIDE];
};

/* Column `column` of a row of a head. */
GPU_FN float attention_f32_load(const void *from, const struct attention_args *p, int row,
                                int column, int element, int size)
{
    int length = element == ATTENTION_F32_ELEMENTS ? p->head_size : size;
    i64 at = ((i64)row * p->heads + GPU_BLOCK_Y) * length + column;
    if (element == ATTENTION_F32_ELEMENTS)
        return ((const float *)from)[at];
    return gpu_f32_from_half(((const u16 *)from)[at], element);
}

/* Rows row.. of a head, columns of one slice, zeros outside. */
GPU_FN void attention_f32_copy(float *to, const void *from, const struct attention_args *p, int row,
                               int row_count, int rows, int column, int element, int size)
{
    for (int i = GPU_THREAD; i < row_count * F32_SLICE; i += KERNEL_THREADS) {
        int at_row = i / F32_SLICE, at_column = i % F32_SLICE;
        float value = 0.0f;
        if (row + at_row < rows && column + at_column < p->head_size)
            value = attention_f32_load(from, p, row + at_row, column + at_column, element, size);
        to[at_row * F32_SLICE_STRIDE + at_column] = value;
    }
}

/* The thread's two scores for the keys key + t % 16 and 16 further. */
GPU_FN void attention_f32_scores(struct attention_f32_shared *shared,
                                 const struct attention_args *p, int query, int key, float *scores,
                                 int element, int size)
{
    int own = GPU_THREAD / 16, column = GPU_THREAD % 16;
    const float *q = shared->q + own * F32_SLICE_STRIDE;
    const float *k = shared->k + column * F32_SLICE_STRIDE;
    scores[0] = scores[1] = 0.0f;
    GPU_ROLLED
    for (int d = 0; d < p->head_size; d += F32_SLICE) {
        gpu_barrier();
        attention_f32_copy(shared->q, p->q, p, query, F32_QUERIES, p->queries, d, element, size);
        attention_f32_copy(shared->k, p->k, p, key, F32_KEYS, p->keys, d, element, size);
        gpu_barrier();
        GPU_UNROLL
        for (int i = 0; i < F32_SLICE; i++) {
            scores[0] = gpu_fma(q[i], k[i], scores[0]);
            scores[1] = gpu_fma(q[i], k[16 * F32_SLICE_STRIDE + i], scores[1]);
        }
    }
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        int at = key + column + 16 * i, row = query + own;
        scores[i] *= p->scale;
        if (p->key_bias && at < p->keys)
            scores[i] += p->key_bias[at];
        if (p->position_bias && at < p->keys && row < p->queries)
            scores[i] += p->position_bias[((i64)GPU_BLOCK_Y * p->queries + row) * p->keys + at];
        if (at >= p->keys)
            scores[i] = gpu_from_bits(0xff800000u); /* minus infinity */
    }
}

/* Turns scores into weights for all threads to read; the 16 threads of a query agree on both
 * running values. */
GPU_FN void attention_f32_softmax(struct attention_f32_shared *shared, const float *scores,
                                  float *greatest, float *total)
{
    float *weights = shared->weights + GPU_THREAD / 16 * F32_WEIGHT_STRIDE;
    float most = gpu_max(*greatest, gpu_max(scores[0], scores[1])), sum = 0.0f;
    for (int mask = 1; mask < 16; mask *= 2)
        most = gpu_max(most, gpu_shuffle_xor_f32(most, mask));
    for (int i = 0; i < 2; i++) {
        float weight = gpu_exp(scores[i] - most);
        weights[GPU_THREAD % 16 + 16 * i] = weight;
        sum += weight;
    }
    for (int mask = 1; mask < 16; mask *= 2)
        sum += gpu_shuffle_xor_f32(sum, mask);
    float shrink = gpu_exp(*greatest - most);
    *total = *total * shrink + sum;
    *greatest = most;
    if (GPU_THREAD % 16 == 0) {
        weights[F32_KEYS] = shrink;
        weights[F32_KEYS + 1] = *total;
    }
}

/* Adds the step's weighted values to the thread's sums, [row][column]. */
GPU_FN void attention_f32_values(const struct attention_f32_shared *shared,
                                 const struct attention_args *p, int key, float *sums, int element,
                                 int size)
{
    const int columns = F32_COLUMNS(size), rows = F32_ROWS(size);
    const float *weights =
        shared->weights + GPU_THREAD / F32_ACROSS(size) * rows * F32_WEIGHT_STRIDE;
    GPU_UNROLL
    for (int c = 0; c < columns; c++) {
        int column = GPU_THREAD % F32_ACROSS(size) + c * KERNEL_THREADS;
        if (column < p->head_size) {
            GPU_UNROLL
            for (int i = 0; i < rows; i++)
                sums[i * columns + c] *= weights[i * F32_WEIGHT_STRIDE + F32_KEYS];
            GPU_ROLLED
            for (int j = 0; j < F32_KEYS && key + j < p->keys; j++) {
                float value = attention_f32_load(p->v, p, key + j, column, element, size);
                GPU_UNROLL
                for (int i = 0; i < rows; i++)
                    sums[i * columns + c] =
                        gpu_fma(weights[i * F32_WEIGHT_STRIDE + j], value, sums[i * columns + c]);
            }
        }
    }
}

GPU_FN void attention_f32_write(const struct attention_f32_shared *shared,
                                const struct attention_args *p, int query, const float *sums,
                                int size)
{
    const int columns = F32_COLUMNS(size), rows = F32_ROWS(size);
    int first = GPU_THREAD / F32_ACROSS(size) * rows;
    GPU_UNROLL
    for (int i = 0; i < rows; i++) {
        float total = shared->weights[(first + i) * F32_WEIGHT_STRIDE + F32_KEYS + 1];
        GPU_UNROLL
        for (int c = 0; c < columns; c++) {
            int row = query + first + i;
            int column = GPU_THREAD % F32_ACROSS(size) + c * KERNEL_THREADS;
            i64 at = ((i64)row * p->heads + GPU_BLOCK_Y) * p->head_size + column;
            if (row < p->queries && column < p->head_size)
                p->out[at] = total > 0.0f ? sums[i * columns + c] / total : 0.0f;
        }
    }
}

GPU_FN void attention_f32_run(const struct attention_args *p, int element, int size)
{
    GPU_SHARED(memory);
    struct attention_f32_shared *shared = (struct attention_f32_shared *)memory;
    int query = GPU_BLOCK_X * F32_QUERIES;
    float sums[F32_SUMS_MAX], scores[2], greatest = GPU_LOWEST, total = 0.0f;
    GPU_UNROLL
    for (int i = 0; i < F32_SUMS_MAX; i++)
        sums[i] = 0.0f;
    GPU_ROLLED
    for (int key = 0; key < p->keys; key += F32_KEYS) {
        attention_f32_scores(shared, p, query, key, scores, element, size);
        attention_f32_softmax(shared, scores, &greatest, &total);
        gpu_barrier();
        attention_f32_values(shared, p, key, sums, element, size);
        gpu_barrier();
    }
    attention_f32_write(shared, p, query, sums, size);
}

#endif
