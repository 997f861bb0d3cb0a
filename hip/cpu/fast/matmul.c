/*
 * Matrix product: weights are widened and transposed panel by panel into cache-sized scratch of the
 * thread that uses them, so no f32 copy of a weight ever stays.
 *
 * A task is a block of output rows and columns. For each block of k it packs the weights of its
 * columns, then walks its rows in groups of TILE_ROWS: the group's activations are copied side by
 * side (rows of a power-of-two width would fight for the same cache sets), the register tile runs
 * over all panels, and after the last block of k the epilogue goes over the finished rows while
 * they are hot. Blocks of k depend on K alone, so an element's sums do not depend on the cut.
 *
 * Few rows do not pay for packing: below SMALL_ROWS dot products along k read the weights once.
 */
#include "hip/cpu/fast/math.h"
#include "hip/cpu/fast/pack.h"
#include "hip/cpu/fast/tile.h"

#define DEPTH_MAX 384 /* k of one block: a panel of it stays in the first-level cache's reach */
#define COLUMNS 256   /* of one task */
#define ROWS_MAX 392  /* of one task: 784 x 128 sums are 392 KiB */
#define TASKS_WANTED 16
#define TASK_WORK_MIN 2000000 /* multiply-adds that are worth a task of their own */
#define SMALL_ROWS 64

struct matmul_view {
    int64_t m, n, k;
    int64_t depth, rows, row_tasks;
    const float *a, *factor, *gate, *residual;
    struct fast_source b;
    const void *bias;
    enum sora_dtype bias_type;
    float *out;
    enum sora_activation activation;
    struct sora_cpu_device *device;
};

/* Scratch of one thread, in floats. */
#define PANELS_SIZE ((size_t)DEPTH_MAX * COLUMNS)
#define GROUP_STRIDE (DEPTH_MAX + VF_LANES)
#define GROUP_SIZE ((size_t)TILE_ROWS * GROUP_STRIDE)

/* bias, activation, factor, gate and residual on up to VF_LANES sums of row i from column j. */
static inline void epilogue(const struct matmul_view *view, int64_t i, int64_t j, int count, vf x)
{
    int64_t at = i * view->n + j;
    if (view->bias)
        x = vf_add(x, vf_load_float_first(view->bias, view->bias_type, j, count));
    x = vf_activate(view->activation, x);
    if (view->factor)
        x = vf_mul(x, vf_load_first(view->factor + at, count));
    if (view->gate)
        x = vf_mul(x, vf_load_first(view->gate + j, count));
    if (view->residual)
        x = vf_add(vf_load_first(view->residual + at, count), x);
    vf_store_first(view->out + at, x, count);
}

static void panels_pack(const struct matmul_view *view, int64_t first, int64_t end, int64_t k0,
                        int64_t depth, float *panels)
{
    struct fast_source source = view->b;
    for (int64_t j = first; j < end; j += PANEL) {
        int columns = (int)sora_cpu_min(PANEL, end - j);
        source.offset = j * view->k + k0;
        FAST(pack_rows)
        (&source, columns, depth, columns > VF_LANES ? 2 : 1, panels + (j - first) * depth);
    }
}

/* TILE_ROWS rows or fewer, all panels, one block of k. */
static void group_run(const struct matmul_view *view, int64_t i, int rows, int64_t first,
                      int64_t end, int64_t k0, int64_t depth, const float *panels, float *group,
                      float *sums)
{
    for (int r = 0; r < rows; r++)
        memcpy(group + r * GROUP_STRIDE, view->a + (i + r) * view->k + k0,
               (size_t)depth * sizeof(float));
    const float *base = group;
    struct fast_tile tile = {
        .a = &base,
        .row_stride = GROUP_STRIDE,
        .depth = depth,
        .segments = 1,
        .c_stride = COLUMNS,
        .add = k0 > 0,
    };
    for (int64_t j = first; j < end; j += PANEL) {
        tile.b = panels + (j - first) * depth;
        tile.c = sums + (j - first);
        /* The copy's misses on the next group would cost a tenth of the whole product. */
        for (int ahead = 0; ahead < 2; ahead++) {
            int64_t row = i + TILE_ROWS + (j - first) / PANEL * 2 + ahead;
            tile.ahead[ahead] = row < view->m ? view->a + row * view->k + k0 : NULL;
        }
        FAST(tile)(rows, end - j > VF_LANES ? 2 : 1, &tile);
    }
}

static void block_task(void *context, int64_t task, int worker)
{
    const struct matmul_view *view = context;
    int64_t first = task / view->row_tasks * COLUMNS;
    int64_t end = sora_cpu_min(first + COLUMNS, view->n);
    int64_t row = task % view->row_tasks * view->rows;
    int64_t row_end = sora_cpu_min(row + view->rows, view->m);
    float *panels = sora_cpu_thread_scratch(view->device, worker);
    float *group = panels + PANELS_SIZE, *sums = group + GROUP_SIZE;
    for (int64_t k0 = 0; k0 < view->k; k0 += view->depth) {
        int64_t depth = sora_cpu_min(view->depth, view->k - k0);
        panels_pack(view, first, end, k0, depth, panels);
        for (int64_t i = row; i < row_end; i += TILE_ROWS) {
            int rows = (int)sora_cpu_min(TILE_ROWS, row_end - i);
            float *to = sums + (i - row) * COLUMNS;
            group_run(view, i, rows, first, end, k0, depth, panels, group, to);
            if (k0 + depth < view->k)
                continue;
            for (int r = 0; r < rows; r++) {
                for (int64_t j = first; j < end; j += VF_LANES)
                    epilogue(view, i + r, j, (int)sora_cpu_min(VF_LANES, end - j),
                             vf_load(to + r * COLUMNS + j - first));
            }
        }
    }
}

/* ---- few rows ---- */

#define DOT_ROWS 4
#define DOT_COLUMNS 4
#define SMALL_COLUMNS 64 /* of one task, at most */

static inline __attribute__((always_inline)) void
dots_add(const struct matmul_view *view, const enum sora_dtype dtype, const int rows,
         const float *const *a, const int64_t *b, int64_t k, vf sums[DOT_ROWS][DOT_COLUMNS])
{
    vf weights[DOT_COLUMNS];
    UNROLL for (int c = 0; c < DOT_COLUMNS; c++) weights[c] =
        vf_load_float(view->b.data, dtype, b[c] + k);
    UNROLL for (int r = 0; r < rows; r++)
    {
        vf x = vf_load(a[r] + k);
        UNROLL for (int c = 0; c < DOT_COLUMNS; c++) sums[r][c] = vf_fma(x, weights[c], sums[r][c]);
    }
}

/* sums[r * SMALL_COLUMNS + c] of rows i.. and columns j..; rows and columns past the end repeat the
 * last one. */
static inline __attribute__((always_inline)) void dots_run(const struct matmul_view *view,
                                                           const enum sora_dtype dtype,
                                                           const int rows, int64_t i, int64_t j,
                                                           float *out)
{
    vf sums[DOT_ROWS][DOT_COLUMNS];
    const float *a[DOT_ROWS];
    int64_t b[DOT_COLUMNS];
    UNROLL for (int r = 0; r < rows; r++)
    {
        a[r] = view->a + sora_cpu_min(i + r, view->m - 1) * view->k;
        UNROLL for (int c = 0; c < DOT_COLUMNS; c++) sums[r][c] = vf_zero();
    }
    UNROLL for (int c = 0; c < DOT_COLUMNS; c++) b[c] = sora_cpu_min(j + c, view->n - 1) * view->k;
    int64_t k = 0;
    for (; k + VF_LANES <= view->k; k += VF_LANES)
        dots_add(view, dtype, rows, a, b, k, sums);
    int rest = (int)(view->k - k);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < DOT_COLUMNS; c++) {
            vf sum = sums[r][c];
            if (rest)
                sum = vf_fma(vf_load_first(a[r] + k, rest),
                             vf_load_float_first(view->b.data, dtype, b[c] + k, rest), sum);
            out[r * SMALL_COLUMNS + c] = vf_sum(sum);
        }
    }
}

static inline __attribute__((always_inline)) void
dots_rows(const struct matmul_view *view, const enum sora_dtype dtype, int64_t j, float *out)
{
    if (view->m == 1) {
        dots_run(view, dtype, 1, 0, j, out);
        return;
    }
    for (int64_t i = 0; i < view->m; i += DOT_ROWS)
        dots_run(view, dtype, DOT_ROWS, i, j, out + i * SMALL_COLUMNS);
}

static void small_task(void *context, int64_t task, int worker)
{
    const struct matmul_view *view = context;
    int64_t first = task * view->rows; /* `rows` counts the columns of a task here */
    int64_t end = sora_cpu_min(first + view->rows, view->n);
    float *sums = sora_cpu_thread_scratch(view->device, worker);
    for (int64_t j = first; j < end; j += DOT_COLUMNS) {
        float *to = sums + j - first;
        if (view->b.dtype == SORA_DTYPE_F32)
            dots_rows(view, SORA_DTYPE_F32, j, to);
        else if (view->b.dtype == SORA_DTYPE_F16)
            dots_rows(view, SORA_DTYPE_F16, j, to);
        else
            dots_rows(view, SORA_DTYPE_BF16, j, to);
    }
    for (int64_t i = 0; i < view->m; i++) {
        for (int64_t j = first; j < end; j += VF_LANES)
            epilogue(view, i, j, (int)sora_cpu_min(VF_LANES, end - j),
                     vf_load(sums + i * SMALL_COLUMNS + j - first));
    }
}

static int small_run(struct matmul_view *view)
{
    int64_t work = 100000 / (view->m * view->k);
    view->rows = sora_cpu_min(SMALL_COLUMNS, sora_cpu_max(1, work / VF_LANES) * VF_LANES);
    size_t size = (size_t)(SMALL_ROWS + DOT_ROWS) * SMALL_COLUMNS * sizeof(float);
    return sora_cpu_run(view->device, size, sora_cpu_pieces(view->n, view->rows), small_task, view);
}

/* ---- the cut, by shape alone ---- */

static int block_run(struct matmul_view *view)
{
    int64_t depth_pieces = sora_cpu_pieces(view->k, DEPTH_MAX);
    view->depth = sora_cpu_pieces(sora_cpu_pieces(view->k, depth_pieces), VF_LANES) * VF_LANES;
    int64_t columns = sora_cpu_pieces(view->n, COLUMNS);
    int64_t by_work = (view->m * view->n * view->k / TASK_WORK_MIN + columns - 1) / columns;
    int64_t wanted = sora_cpu_min(sora_cpu_pieces(TASKS_WANTED, columns), by_work);
    int64_t pieces = sora_cpu_max(sora_cpu_max(wanted, 1), sora_cpu_pieces(view->m, ROWS_MAX));
    view->rows = sora_cpu_pieces(sora_cpu_pieces(view->m, pieces), TILE_ROWS) * TILE_ROWS;
    view->row_tasks = sora_cpu_pieces(view->m, view->rows);
    size_t size = PANELS_SIZE + GROUP_SIZE + (size_t)view->rows * COLUMNS;
    return sora_cpu_run(view->device, size * sizeof(float), columns * view->row_tasks, block_task,
                        view);
}

int FAST(matmul)(struct sora_stream *stream, const struct sora_matmul *params)
{
    if (params->b.dtype == SORA_DTYPE_I8 || params->b.dtype == SORA_DTYPE_F8)
        return sora_plain_matmul(stream, params);
    struct matmul_view view = {
        .m = params->a.shape[0],
        .n = params->b.shape[0],
        .k = params->a.shape[1],
        .a = sora_cpu_data(&params->a),
        .b = {.data = sora_cpu_data(&params->b),
              .dtype = params->b.dtype,
              .stride = params->b.shape[1]},
        .bias = sora_cpu_data(&params->bias),
        .factor = sora_cpu_data(&params->factor),
        .gate = sora_cpu_data(&params->gate),
        .residual = sora_cpu_data(&params->residual),
        .out = sora_cpu_data(&params->out),
        .bias_type = params->bias.dtype,
        .activation = params->activation,
        .device = sora_cpu_of(stream),
    };
    return view.m < SMALL_ROWS ? small_run(&view) : block_run(&view);
}
