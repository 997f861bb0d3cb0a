/* The softmax of attention on matrix units: from one step's products to weights, while running
 * maximum, total and output follow. Scores are in base 2. */
#ifndef SORA_HIP_KERNELS_ATTENTION_SOFTMAX_H
#define SORA_HIP_KERNELS_ATTENTION_SOFTMAX_H

#include "hip/kernels/args.h"
#include "hip/kernels/mma.h"

#if GPU_KIND != GPU_SIMT

#define ATTENTION_ACROSS_MAX (128 / 16) /* fragments across a head */
#define ATTENTION_LOG2_E 1.4426950408889634f

/* What a wave keeps for 16 queries. Arrays are as long as the greatest head needs; a kernel of a
 * smaller one leaves the rest unused, which costs no registers. */
struct attention_rows {
    struct mma_a q[ATTENTION_ACROSS_MAX];
    struct mma_c out[ATTENTION_ACROSS_MAX];
    struct mma_rows greatest, total;
};

/* Adds the biases to a step's scores. Apart from the rest, as most attention has none. */
GPU_FN void attention_bias(const struct attention_args *p, struct mma_c *scores, int columns,
                           int query, int key)
{
    GPU_ROLLED
    for (int s = 0; s < MMA_SLOTS; s++) {
        int row = query + MMA_ROW(GPU_LANE, 2 * s);
        const float *position = 0;
        if (p->position_bias && row < p->queries)
            position = p->position_bias + ((i64)GPU_BLOCK_Y * p->queries + row) * p->keys;
        GPU_UNROLL
        for (int j = 0; j < columns; j++) {
            GPU_UNROLL
            for (int e = 0; e < MMA_C; e++) {
                int at = key + j * 16 + MMA_COLUMN(GPU_LANE, e);
                float bias = 0.0f;
                if (p->key_bias && at < p->keys)
                    bias = p->key_bias[at];
                if (position && at < p->keys)
                    bias += position[at];
                if (MMA_SLOT(e) == s)
                    scores[j].sums[e] = gpu_fma(bias, ATTENTION_LOG2_E, scores[j].sums[e]);
            }
        }
    }
}

/* Scores in base 2 from products: scaled, biased, minus infinity past the last key. */
GPU_FN void attention_scores(const struct attention_args *p, struct mma_c *scores, int columns,
                             int query, int key)
{
    float scale = p->scale * ATTENTION_LOG2_E;
    GPU_UNROLL
    for (int j = 0; j < columns; j++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++)
            scores[j].sums[e] *= scale;
    }
    if (p->key_bias || p->position_bias)
        attention_bias(p, scores, columns, query, key);
    if (key + columns * 16 <= p->keys)
        return;
    GPU_UNROLL
    for (int j = 0; j < columns; j++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++) {
            if (key + j * 16 + MMA_COLUMN(GPU_LANE, e) >= p->keys)
                scores[j].sums[e] = gpu_from_bits(0xff800000u);
        }
    }
}

/* Weights of a step from its scores; sums and output so far shrink to the new maximum. */
GPU_FN void attention_softmax(struct attention_rows *rows, struct mma_c *scores, int columns,
                              int across)
{
    struct mma_rows step, shrink;
    GPU_UNROLL
    for (int s = 0; s < MMA_SLOTS; s++)
        step.values[s] = rows->greatest.values[s];
    GPU_UNROLL
    for (int j = 0; j < columns; j++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++)
            step.values[MMA_SLOT(e)] = gpu_max(step.values[MMA_SLOT(e)], scores[j].sums[e]);
    }
    mma_rows_max(&step);
    GPU_UNROLL
    for (int s = 0; s < MMA_SLOTS; s++) {
        shrink.values[s] = gpu_exp2(rows->greatest.values[s] - step.values[s]);
        rows->greatest.values[s] = step.values[s];
        rows->total.values[s] *= shrink.values[s];
    }
    GPU_UNROLL
    for (int j = 0; j < columns; j++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++) {
            float weight = gpu_exp2(scores[j].sums[e] - step.values[MMA_SLOT(e)]);
            scores[j].sums[e] = weight;
            rows->total.values[MMA_SLOT(e)] += weight;
        }
    }
    /* Greatest scores soon stop to change: most steps have nothing to shrink. */
    if (shrink.values[0] == 1.0f && shrink.values[MMA_SLOTS - 1] == 1.0f)
        return;
    GPU_UNROLL
    for (int d = 0; d < across; d++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++)
            rows->out[d].sums[e] *= shrink.values[MMA_SLOT(e)];
    }
}

#endif /* GPU_KIND != GPU_SIMT */

#endif
