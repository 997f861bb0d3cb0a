/*
 * Attention with 16-bit operands, f32 sums and an online softmax: scores exist for one step of keys
 * only. Heads are padded to 32, 64 or 128 columns.
 *
 * A wave has 16 queries (or 32, see kinds.h) whose q fragments and output sums stay in registers.
 * Keys and values of a step lie in shared memory, in two buffers: while one step is worked on, the
 * next is copied. q passes through the same memory once, before the first step. Scores are kept in
 * base 2. A running maximum starts at a finite lowest value, so masked scores (minus infinity) give
 * weight 0 and a query without any key gives zeros.
 */
#ifndef SORA_HIP_KERNELS_ATTENTION_H
#define SORA_HIP_KERNELS_ATTENTION_H

#include "hip/kernels/attention_softmax.h"
#include "hip/kernels/tile.h"

#if GPU_KIND != GPU_SIMT

#define ATTENTION_DOWN ATTENTION_FRAGMENTS(GPU_KIND)
#define ATTENTION_ROWS ATTENTION_QUERIES(GPU_KIND, GPU_WAVE)
/* 16-byte copies of a thread for one step's keys: the same for every head size. */
#define ATTENTION_COPIES(size) (ATTENTION_KEYS(size) * (size) / 8 / KERNEL_THREADS)
#define ATTENTION_COPIES_MAX 2

/* Keys whose scores are in registers at a time. */
#if GPU_KIND == GPU_NVIDIA
#define ATTENTION_GROUP(size) ((size) > 64 ? 16 : 32)
#else
#define ATTENTION_GROUP(size) ATTENTION_KEYS(size)
#endif

struct attention_stage {
    struct tile_stage k[ATTENTION_COPIES_MAX], v[ATTENTION_COPIES_MAX];
};

/* Where this thread's copy `i` of a step lies: row of the step, column of the head. */
#define ATTENTION_COPY_ROW(i, size) ((GPU_THREAD + (i)*KERNEL_THREADS) / ((size) / 8))
#define ATTENTION_COPY_COLUMN(i, size) ((GPU_THREAD + (i)*KERNEL_THREADS) % ((size) / 8) * 8)

GPU_FN void attention_begin_one(struct tile_stage *stage, u16 *to, const void *from, int row,
                                int rows, const struct attention_args *p, int i, int size)
{
    int at_row = ATTENTION_COPY_ROW(i, size), column = ATTENTION_COPY_COLUMN(i, size);
    int present = row + at_row < rows;
    i64 at = present ? ((i64)(row + at_row) * p->heads + GPU_BLOCK_Y) * size + column : 0;
    tile_begin_half(stage, to + at_row * ATTENTION_STRIDE(size) + column, (const u16 *)from + at,
                    present ? 8 : 0, 1);
}

/* Starts the copies of the keys and values from `key` on. */
GPU_FN void attention_begin(struct attention_stage *stage, u16 *buffer,
                            const struct attention_args *p, int key, int size)
{
    u16 *values = buffer + ATTENTION_KEYS(size) * ATTENTION_STRIDE(size);
    GPU_UNROLL
    for (int i = 0; i < ATTENTION_COPIES(size); i++) {
        attention_begin_one(&stage->k[i], buffer, p->k, key, p->keys, p, i, size);
        attention_begin_one(&stage->v[i], values, p->v, key, p->keys, p, i, size);
    }
    gpu_copy_commit();
}

GPU_FN void attention_finish(const struct attention_stage *stage, u16 *buffer, int size)
{
    u16 *values = buffer + ATTENTION_KEYS(size) * ATTENTION_STRIDE(size);
    GPU_UNROLL
    for (int i = 0; i < ATTENTION_COPIES(size); i++) {
        int at =
            ATTENTION_COPY_ROW(i, size) * ATTENTION_STRIDE(size) + ATTENTION_COPY_COLUMN(i, size);
        tile_end_half(&stage->k[i], buffer + at, 1);
        tile_end_half(&stage->v[i], values + at, 1);
    }
    gpu_copy_wait();
}

/* Loads q through shared memory, as many queries at a time as a step has keys. */
GPU_FN void attention_load_q(struct attention_rows rows[ATTENTION_DOWN], u16 *buffer,
                             const struct attention_args *p, int size)
{
    const int pass = 2 * ATTENTION_KEYS(size), stride = ATTENTION_STRIDE(size);
    const u16 *from = buffer + mma_lane_a(stride);
    int own = GPU_WAVE_INDEX * ATTENTION_DOWN * 16, first = GPU_BLOCK_X * ATTENTION_ROWS;
    GPU_UNROLL
    for (int start = 0; start < ATTENTION_ROWS; start += pass) {
        struct tile_stage stage[2 * ATTENTION_COPIES_MAX];
        GPU_UNROLL
        for (int i = 0; i < 2 * ATTENTION_COPIES(size); i++)
            attention_begin_one(&stage[i], buffer, p->q, first + start, p->queries, p, i, size);
        gpu_copy_commit();
        GPU_UNROLL
        for (int i = 0; i < 2 * ATTENTION_COPIES(size); i++)
            tile_end_half(
                &stage[i],
                buffer + ATTENTION_COPY_ROW(i, size) * stride + ATTENTION_COPY_COLUMN(i, size), 1);
        gpu_copy_wait();
        gpu_barrier();
        GPU_UNROLL
        for (int f = 0; f < ATTENTION_DOWN; f++) {
            int row = own + f * 16 - start; /* the same for the whole wave */
            if (row >= 0 && row < pass) {
                GPU_UNROLL
                for (int d = 0; d < size / 16; d++)
                    mma_load_a(&rows[f].q[d], from + row * stride + d * 16, stride);
            }
        }
        gpu_barrier();
    }
}

/* `across` fragments of keys for all queries of a wave, the first of which is `query`: what is
 * loaded of keys and values is used for each 16 of them. */
GPU_FN void attention_keys(struct attention_rows rows[ATTENTION_DOWN],
                           const struct attention_args *p, const u16 *keys, const u16 *values,
                           int query, int key, int across, int element, int size)
{
    const int stride = ATTENTION_STRIDE(size);
    struct mma_c scores[ATTENTION_DOWN][ATTENTION_KEYS(64) / 16];
    struct mma_b b;
    GPU_UNROLL
    for (int j = 0; j < across; j++) {
        GPU_UNROLL
        for (int f = 0; f < ATTENTION_DOWN; f++)
            mma_clear(&scores[f][j]);
        GPU_UNROLL
        for (int d = 0; d < size / 16; d++) {
            mma_load_b_columns(&b, keys + j * 16 * stride + d * 16, stride);
            GPU_UNROLL
            for (int f = 0; f < ATTENTION_DOWN; f++)
                mma_add(&scores[f][j], &rows[f].q[d], &b, element);
        }
        GPU_UNROLL
        for (int f = 0; f < ATTENTION_DOWN; f++)
            mma_settle(&scores[f][j]);
    }
    GPU_UNROLL
    for (int f = 0; f < ATTENTION_DOWN; f++) {
        attention_scores(p, scores[f], across, query + f * 16, key);
        attention_softmax(&rows[f], scores[f], across, size / 16);
    }
    GPU_UNROLL
    for (int j = 0; j < across; j++) {
        struct mma_a weights[ATTENTION_DOWN];
        GPU_UNROLL
        for (int f = 0; f < ATTENTION_DOWN; f++)
            mma_a_from_c(&weights[f], &scores[f][j], element);
        GPU_UNROLL
        for (int d = 0; d < size / 16; d++) {
            mma_load_b_rows(&b, values + j * 16 * stride + d * 16, stride);
            GPU_UNROLL
            for (int f = 0; f < ATTENTION_DOWN; f++) {
                mma_add(&rows[f].out[d], &weights[f], &b, element);
                mma_settle(&rows[f].out[d]);
            }
        }
    }
}

/* One step of keys, ATTENTION_GROUP at a time. */
GPU_FN void attention_step(struct attention_rows rows[ATTENTION_DOWN],
                           const struct attention_args *p, const u16 *buffer, int query, int key,
                           int element, int size)
{
    const int stride = ATTENTION_STRIDE(size), group = ATTENTION_GROUP(size);
    const u16 *keys = buffer + mma_lane_b_columns(stride);
    const u16 *values = buffer + (ATTENTION_KEYS(size) * stride + mma_lane_b_rows(stride));
    GPU_ROLLED
    for (int i = 0; i < ATTENTION_KEYS(size); i += group)
        attention_keys(rows, p, keys + i * stride, values + i * stride, query, key + i, group / 16,
                       element, size);
}

GPU_FN void attention_write(struct attention_rows *rows, const struct attention_args *p, int query,
                            int size)
{
    mma_rows_sum(&rows->total);
    GPU_UNROLL
    for (int s = 0; s < MMA_SLOTS; s++)
        rows->total.values[s] = rows->total.values[s] > 0.0f ? 1.0f / rows->total.values[s] : 0.0f;
    GPU_UNROLL
    for (int d = 0; d < size / 16; d++) {
        GPU_UNROLL
        for (int e = 0; e < MMA_C; e++) {
            int row = query + MMA_ROW(GPU_LANE, e), column = d * 16 + MMA_COLUMN(GPU_LANE, e);
            i64 at = ((i64)row * p->heads + GPU_BLOCK_Y) * p->head_size + column;
            if (row < p->queries && column < p->head_size)
                p->out[at] = rows->out[d].sums[e] * rows->total.values[MMA_SLOT(e)];
        }
    }
}

GPU_FN void attention_run(const struct attention_args *p, int element, int size)
{
    GPU_SHARED(shared);
    u16 *buffers = (u16 *)shared;
    const int buffer_size = 2 * ATTENTION_KEYS(size) * ATTENTION_STRIDE(size);
    struct attention_rows rows[ATTENTION_DOWN];
    struct attention_stage stage;
    int query = GPU_BLOCK_X * ATTENTION_ROWS + GPU_WAVE_INDEX * ATTENTION_DOWN * 16;
    attention_load_q(rows, buffers, p, size);
    GPU_UNROLL
    for (int f = 0; f < ATTENTION_DOWN; f++) {
        GPU_UNROLL
        for (int d = 0; d < size / 16; d++)
            mma_clear(&rows[f].out[d]);
        GPU_UNROLL
        for (int s = 0; s < MMA_SLOTS; s++) {
            rows[f].greatest.values[s] = GPU_LOWEST;
            rows[f].total.values[s] = 0.0f;
        }
    }
    attention_begin(&stage, buffers, p, 0, size);
    attention_finish(&stage, buffers, size);
    gpu_barrier();
    GPU_ROLLED
    for (int key = 0; key < p->keys; key += ATTENTION_KEYS(size)) {
        int current = key / ATTENTION_KEYS(size) & 1;
        u16 *next = buffers + (current ^ 1) * buffer_size;
        int more = key + ATTENTION_KEYS(size) < p->keys;
        if (more)
            attention_begin(&stage, next, p, key + ATTENTION_KEYS(size), size);
        attention_step(rows, p, buffers + current * buffer_size, query, key, element, size);
        if (more)
            attention_finish(&stage, next, size);
        gpu_barrier();
    }
    GPU_UNROLL
    for (int f = 0; f < ATTENTION_DOWN; f++)
        attention_write(&rows[f], p, query + f * 16, size);
}

#endif /* GPU_KIND != GPU_SIMT */

#endif
