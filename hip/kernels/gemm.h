/*
 * Matrix products with 16-bit operands and f32 sums, and convolutions as such products.
 *
 * A block makes one tile of C. Steps of GEMM_DEPTH along k go through two buffers in shared memory:
 * while one is multiplied, the next step's elements are on their way into registers or, as an
 * asynchronous copy, into the other. One barrier a step. Waves share the tile as two rows of waves.
 *
 * Operands come as 16-bit elements or are rounded on the way (f32, int8, fp8, the pixels of
 * a convolution): `a_source` and `b_source` are constants, so each kernel has its own code.
 */
#ifndef SORA_HIP_KERNELS_GEMM_H
#define SORA_HIP_KERNELS_GEMM_H

#include "hip/kernels/conv_source.h"
#include "hip/kernels/epilogue.h"
#include "hip/kernels/mma.h"
#include "hip/kernels/tile.h"

#if GPU_KIND != GPU_SIMT

#define GEMM_WAVE_ROWS 2
#define GEMM_WAVE_COLUMNS (KERNEL_THREADS / GPU_WAVE / GEMM_WAVE_ROWS)
#define GEMM_DOWN (GEMM_ROWS / GEMM_WAVE_ROWS / 16) /* fragments of a wave */
#define GEMM_ACROSS (GEMM_COLUMNS / GEMM_WAVE_COLUMNS / 16)
#define GEMM_CHUNKS (GEMM_DEPTH / 8) /* of eight elements in a row of a step */
#define GEMM_A_COPIES (GEMM_ROWS * GEMM_CHUNKS / KERNEL_THREADS) /* of a thread */
#define GEMM_B_COPIES (GEMM_COLUMNS * GEMM_CHUNKS / KERNEL_THREADS)
#define GEMM_BUFFER ((GEMM_ROWS + GEMM_COLUMNS) * GEMM_STRIDE)

/* What a thread copies: always the same rows and place in a row. */
struct gemm_copies {
    struct tile_stage a[GEMM_A_COPIES], b[GEMM_B_COPIES];
    struct conv_pixel pixels[GEMM_A_COPIES]; /* of convolutions; so is the tap of the next step */
    struct conv_tap tap;
    int row, column; /* first row of the tile, first element of a step */
};

GPU_FN void gemm_copies_init(struct gemm_copies *copies, const struct gemm_args *p,
                             const struct conv_args *conv, int first_row, int a_source)
{
    copies->row = GPU_THREAD / GEMM_CHUNKS;
    copies->column = GPU_THREAD % GEMM_CHUNKS * 8;
    if (a_source != TILE_CONV)
        return;
    conv_tap_init(&copies->tap, conv, copies->column);
    GPU_UNROLL
    for (int i = 0; i < GEMM_A_COPIES; i++) {
        int row = first_row + copies->row + i * (KERNEL_THREADS / GEMM_CHUNKS);
        conv_pixel_init(&copies->pixels[i], conv, row < p->m ? row : -1);
    }
}

GPU_FN void gemm_begin_a(struct tile_stage *stage, const struct gemm_args *p,
                         const struct conv_args *conv, const struct conv_pixel *pixel,
                         const struct conv_tap *tap, int row, int k, u16 *to, int element,
                         int source)
{
    int count = row < p->m ? p->k - k : 0;
    i64 at = count > 0 ? (i64)row * p->a_stride + k : 0;
    if (source == TILE_HALF)
        tile_begin_half(stage, to, (const u16 *)p->a + at, count, 1);
    else if (source == TILE_F32)
        tile_load_f32(stage, (const float *)p->a + at, count, p->a_vector);
    else
        conv_load(stage, conv, pixel, tap, count > 0, element);
}

/* Rows of weights are whole vectors for convolutions, which pack them, and beside 16-bit rows
 * (sora_plan_gemm); registers for the other case would be lost to all. */
GPU_FN int gemm_b_vector(const struct gemm_args *p, int a_source)
{
    return a_source != TILE_F32 ? 1 : p->b_vector;
}

GPU_FN int gemm_a_vector(const struct gemm_args *p, int a_source)
{
    return a_source == TILE_HALF ? 1 : p->a_vector;
}

GPU_FN void gemm_begin_b(struct tile_stage *stage, const struct gemm_args *p, int column, int k,
                         u16 *to, int vector, int source)
{
    int count = column < p->n ? p->k - k : 0;
    i64 at = count > 0 ? (i64)column * p->b_stride + k : 0;
    if (source == TILE_HALF)
        tile_begin_half(stage, to, (const u16 *)p->b + at, count, vector);
    else if (source == TILE_F32)
        tile_load_f32(stage, (const float *)p->b + at, count, vector);
    else
        tile_load_codes(stage, (const unsigned char *)p->b + at, count);
}

GPU_FN void gemm_end(const struct tile_stage *stage, u16 *to, int vector, int element, int source)
{
    if (source == TILE_HALF)
        tile_end_half(stage, to, vector);
    else if (source == TILE_INT8)
        tile_store_int8(stage, to, element);
    else if (source == TILE_FP8)
        tile_store_fp8(stage, to);
    else
        tile_store_f32(stage, to, element);
}

/* Starts the copies of the step that begins at `k`; steps come in order. */
GPU_FN void gemm_begin(struct gemm_copies *copies, const struct gemm_args *p,
                       const struct conv_args *conv, int first_row, int first_column, int k,
                       u16 *buffer, int element, int a_source, int b_source)
{
    const int step = KERNEL_THREADS / GEMM_CHUNKS;
    int row = copies->row, column = copies->column;
    u16 *to = buffer + row * GEMM_STRIDE + column;
    GPU_UNROLL
    for (int i = 0; i < GEMM_A_COPIES; i++)
        gemm_begin_a(&copies->a[i], p, conv, &copies->pixels[i], &copies->tap,
                     first_row + row + i * step, k + column, to + i * step * GEMM_STRIDE, element,
                     a_source);
    if (a_source == TILE_CONV)
        conv_tap_advance(&copies->tap, conv, GEMM_DEPTH);
    to += GEMM_ROWS * GEMM_STRIDE;
    GPU_UNROLL
    for (int i = 0; i < GEMM_B_COPIES; i++)
        gemm_begin_b(&copies->b[i], p, first_column + row + i * step, k + column,
                     to + i * step * GEMM_STRIDE, gemm_b_vector(p, a_source), b_source);
    gpu_copy_commit();
}

/* Finishes them: the buffer is whole after the next barrier. */
GPU_FN void gemm_finish(const struct gemm_copies *copies, const struct gemm_args *p, u16 *buffer,
                        int element, int a_source, int b_source)
{
    const int step = KERNEL_THREADS / GEMM_CHUNKS;
    u16 *to = buffer + copies->row * GEMM_STRIDE + copies->column;
    GPU_UNROLL
    for (int i = 0; i < GEMM_A_COPIES; i++)
        gemm_end(&copies->a[i], to + i * step * GEMM_STRIDE, gemm_a_vector(p, a_source), element,
                 a_source);
    to += GEMM_ROWS * GEMM_STRIDE;
    GPU_UNROLL
    for (int i = 0; i < GEMM_B_COPIES; i++)
        gemm_end(&copies->b[i], to + i * step * GEMM_STRIDE, gemm_b_vector(p, a_source), element,
                 b_source);
    gpu_copy_wait();
}

/* Adds one step's products to the wave's part of the tile. */
GPU_FN void gemm_multiply(struct mma_c c[GEMM_DOWN][GEMM_ACROSS], const u16 *buffer, int wave_row,
                          int wave_column, int element)
{
    const u16 *rows = buffer + (wave_row * GEMM_DOWN * 16 * GEMM_STRIDE + mma_lane_a(GEMM_STRIDE));
    const u16 *columns = buffer + ((GEMM_ROWS + wave_column * GEMM_ACROSS * 16) * GEMM_STRIDE +
                                   mma_lane_b_columns(GEMM_STRIDE));
    GPU_UNROLL
    for (int k = 0; k < GEMM_DEPTH; k += 16) {
        struct mma_a a[GEMM_DOWN];
        struct mma_b b[GEMM_ACROSS];
        GPU_UNROLL
        for (int i = 0; i < GEMM_DOWN; i++)
            mma_load_a(&a[i], rows + i * 16 * GEMM_STRIDE + k, GEMM_STRIDE);
        GPU_UNROLL
        for (int j = 0; j < GEMM_ACROSS; j++)
            mma_load_b_columns(&b[j], columns + j * 16 * GEMM_STRIDE + k, GEMM_STRIDE);
        GPU_UNROLL
        for (int i = 0; i < GEMM_DOWN; i++) {
            GPU_UNROLL
            for (int j = 0; j < GEMM_ACROSS; j++)
                mma_add(&c[i][j], &a[i], &b[j], element);
        }
    }
}

/* Writes the tile: each row of waves in turn puts its part in shared memory, all threads store it.
 */
GPU_FN void gemm_write(const struct gemm_args *p, struct mma_c c[GEMM_DOWN][GEMM_ACROSS],
                       float *tile, int row, int column)
{
    const int stride = GEMM_OUT_STRIDE, rows = GEMM_DOWN * 16;
    int wave_row = GPU_WAVE_INDEX / GEMM_WAVE_COLUMNS;
    int wave_column = GPU_WAVE_INDEX % GEMM_WAVE_COLUMNS;
    for (int turn = 0; turn < GEMM_WAVE_ROWS; turn++) {
        float *to = tile + wave_column * GEMM_ACROSS * 16;
        GPU_UNROLL
        for (int i = 0; i < GEMM_DOWN * GEMM_ACROSS; i++) {
            GPU_UNROLL
            for (int e = 0; e < MMA_C; e++) {
                int at_row = i / GEMM_ACROSS * 16 + MMA_ROW(GPU_LANE, e);
                int at_column = i % GEMM_ACROSS * 16 + MMA_COLUMN(GPU_LANE, e);
                if (wave_row == turn)
                    to[at_row * stride + at_column] = c[i / GEMM_ACROSS][i % GEMM_ACROSS].sums[e];
            }
        }
        gpu_barrier();
        epilogue_run(p, tile, stride, rows, GEMM_COLUMNS, row + turn * rows, column);
        gpu_barrier();
    }
}

GPU_FN void gemm_run(const struct gemm_args *p, const struct conv_args *conv, int element,
                     int a_source, int b_source)
{
    GPU_SHARED(shared);
    u16 *buffers = (u16 *)shared;
    int wave_row = GPU_WAVE_INDEX / GEMM_WAVE_COLUMNS;
    int wave_column = GPU_WAVE_INDEX % GEMM_WAVE_COLUMNS;
    int row, column, current = 0;
    struct mma_c c[GEMM_DOWN][GEMM_ACROSS];
    struct gemm_copies copies;
    gemm_place(p, GEMM_ROWS, GEMM_COLUMNS, &row, &column);
    gemm_copies_init(&copies, p, conv, row, a_source);
    GPU_UNROLL
    for (int i = 0; i < GEMM_DOWN * GEMM_ACROSS; i++)
        mma_clear(&c[i / GEMM_ACROSS][i % GEMM_ACROSS]);
    gemm_begin(&copies, p, conv, row, column, 0, buffers, element, a_source, b_source);
    gemm_finish(&copies, p, buffers, element, a_source, b_source);
    gpu_barrier();
    GPU_ROLLED
    for (int k = 0; k < p->k; k += GEMM_DEPTH) {
        u16 *next = buffers + (current ^ 1) * GEMM_BUFFER;
        int more = k + GEMM_DEPTH < p->k;
        if (more)
            gemm_begin(&copies, p, conv, row, column, k + GEMM_DEPTH, next, element, a_source,
                       b_source);
        gemm_multiply(c, buffers + current * GEMM_BUFFER, wave_row, wave_column, element);
        if (more)
            gemm_finish(&copies, p, next, element, a_source, b_source);
        gpu_barrier();
        current ^= 1;
    }
    gemm_write(p, c, (float *)shared, row, column);
}

#endif /* GPU_KIND != GPU_SIMT */

#endif
