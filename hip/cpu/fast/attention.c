/*
 * Attention with an online softmax (Milakov and Gimelshein, "Online normalizer calculation for
 * softmax", 2018; tiled as in Dao et al., "FlashAttention", 2022): scores of QUERIES x KEYS at a
 * time, both products by the register tile.
 *
 * Keys and values of some heads are first packed into shared scratch, a head's keys transposed;
 * then each task takes a block of queries of one head over all keys. Per block of keys: scores,
 * new row maximum, exponentials in place, earlier sums scaled down when the maximum rose, and the
 * product with the values added. A row's result depends on its own query and the keys alone.
 */
#include "hip/cpu/fast/math.h"
#include "hip/cpu/fast/pack.h"
#include "hip/cpu/fast/tile.h"

#include <math.h>

#define QUERIES (4 * TILE_ROWS)
#define KEYS 256 /* of one block; a multiple of PANEL */
#define PACK_KEYS 128
#define PACKED_FLOATS                                                                              \
    ((int64_t)4 << 20)           /* keys and values of the heads that are worked on: 16 MiB */
#define SCORE_STRIDE (KEYS + 16) /* rows a power of two apart share cache sets */

struct attention_view {
    int64_t queries, keys, heads, size, columns; /* columns: size rounded up to vectors */
    int64_t first_head, head_count;              /* the heads of this round */
    const float *q, *k, *v, *key_bias, *position_bias;
    float *out, *packed_keys, *packed_values;
    float scale;
    struct sora_cpu_device *device;
};

/* Scratch of one task. */
struct block {
    int64_t head, first; /* query */
    int rows;
    float *q, *scores, *sums, *greatest, *total;
};

static int vectors_of(int64_t left)
{
    return left > VF_LANES ? 2 : 1;
}

static float *keys_of(const struct attention_view *view, int64_t head)
{
    int64_t rows = sora_cpu_pieces(view->keys, PANEL) * PANEL;
    return view->packed_keys + (head - view->first_head) * rows * view->size;
}

static float *values_of(const struct attention_view *view, int64_t head)
{
    return view->packed_values + (head - view->first_head) * view->keys * view->columns;
}

/* ---- packing ---- */

static void values_pack(const struct attention_view *view, int64_t head, int64_t first, int64_t end)
{
    float *values = values_of(view, head);
    for (int64_t d = 0; d < view->size; d += PANEL) {
        int width = vectors_of(view->size - d) * VF_LANES;
        float *panel = values + d * view->keys;
        for (int64_t j = first; j < end; j++) {
            const float *row = view->v + (j * view->heads + head) * view->size + d;
            for (int x = 0; x < width; x += VF_LANES) {
                int64_t left = sora_cpu_max(0, view->size - d - x);
                vf_store(panel + j * width + x,
                         vf_load_first(row + x, (int)sora_cpu_min(VF_LANES, left)));
            }
        }
    }
}

static void pack_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct attention_view *view = context;
    int64_t pieces = sora_cpu_pieces(view->keys, PACK_KEYS);
    int64_t head = view->first_head + task / pieces, first = task % pieces * PACK_KEYS;
    int64_t end = sora_cpu_min(first + PACK_KEYS, view->keys);
    struct fast_source source = {
        .data = view->k, .dtype = SORA_DTYPE_F32, .stride = view->heads * view->size};
    for (int64_t j = first; j < end; j += PANEL) {
        source.offset = (j * view->heads + head) * view->size;
        FAST(pack_rows)
        (&source, (int)sora_cpu_min(PANEL, end - j), view->size, vectors_of(view->keys - j),
         keys_of(view, head) + j * view->size);
    }
    values_pack(view, head, first, end);
}

/* ---- one block of queries ---- */

static void block_begin(const struct attention_view *view, struct block *block)
{
    vf scale = vf_set(view->scale);
    int64_t stride = view->columns + VF_LANES;
    for (int r = 0; r < block->rows; r++) {
        const float *from = view->q + ((block->first + r) * view->heads + block->head) * view->size;
        for (int64_t d = 0; d < view->size; d += VF_LANES) {
            int count = (int)sora_cpu_min(VF_LANES, view->size - d);
            vf_store(block->q + r * stride + d, vf_mul(vf_load_first(from + d, count), scale));
        }
        block->greatest[r] = -INFINITY;
        block->total[r] = 0.0f;
    }
}

static void scores_run(const struct attention_view *view, const struct block *block, int64_t first,
                       int64_t count)
{
    const float *q = block->q;
    const float *keys = keys_of(view, block->head);
    struct fast_tile tile = {
        .a = &q,
        .row_stride = view->columns + VF_LANES,
        .depth = view->size,
        .segments = 1,
        .c_stride = SCORE_STRIDE,
    };
    for (int64_t j = 0; j < count; j += PANEL) {
        tile.b = keys + (first + j) * view->size;
        for (int r = 0; r < block->rows; r += TILE_ROWS) {
            tile.a_offset = r * tile.row_stride;
            tile.c = block->scores + r * SCORE_STRIDE + j;
            FAST(tile)
            ((int)sora_cpu_min(TILE_ROWS, block->rows - r), vectors_of(view->keys - first - j),
             &tile);
        }
    }
}

/* Adds the biases to one row of scores, fills its last vector with -infinity, and returns its
 * greatest. */
static float row_bias(const struct attention_view *view, int64_t query, int64_t head, int64_t first,
                      int64_t count, float *scores)
{
    const float *key_bias = view->key_bias ? view->key_bias + first : NULL;
    const float *bias = view->position_bias;
    if (bias)
        bias += (head * view->queries + query) * view->keys + first;
    vf lowest = vf_set(-INFINITY), greatest = lowest;
    for (int64_t j = 0; j < count; j += VF_LANES) {
        int lanes = (int)sora_cpu_min(VF_LANES, count - j);
        vf x = vf_load(scores + j);
        if (key_bias)
            x = vf_add(x, vf_load_first(key_bias + j, lanes));
        if (bias)
            x = vf_add(x, vf_load_first(bias + j, lanes));
        if (lanes < VF_LANES)
            x = vf_first_or(x, lowest, lanes);
        if (key_bias || bias || lanes < VF_LANES)
            vf_store(scores + j, x);
        greatest = vf_max(x, greatest);
    }
    return vf_greatest(greatest);
}

static void row_scale(float *row, int64_t count, float factor)
{
    vf x = vf_set(factor);
    for (int64_t d = 0; d < count; d += VF_LANES)
        vf_store(row + d, vf_mul(vf_load(row + d), x));
}

/* Scores become weights relative to the new maximum; sums so far follow it. */
static void softmax_run(const struct attention_view *view, const struct block *block, int64_t first,
                        int64_t count)
{
    for (int r = 0; r < block->rows; r++) {
        float *scores = block->scores + r * SCORE_STRIDE;
        float greatest = row_bias(view, block->first + r, block->head, first, count, scores);
        greatest = greatest > block->greatest[r] ? greatest : block->greatest[r];
        /* While every key is masked, any finite maximum makes the weights 0. */
        vf shift = vf_set(greatest == -INFINITY ? 0.0f : greatest), total = vf_zero();
        for (int64_t j = 0; j < count; j += VF_LANES) {
            vf x = vf_exp(vf_sub(vf_load(scores + j), shift));
            vf_store(scores + j, x);
            total = vf_add(total, x);
        }
        if (first > 0 && greatest > block->greatest[r]) {
            float factor = expf(block->greatest[r] - greatest);
            block->total[r] *= factor;
            row_scale(block->sums + r * view->columns, view->columns, factor);
        }
        block->total[r] += vf_sum(total);
        block->greatest[r] = greatest;
    }
}

static void values_run(const struct attention_view *view, const struct block *block, int64_t first,
                       int64_t count)
{
    const float *scores = block->scores;
    const float *values = values_of(view, block->head);
    struct fast_tile tile = {
        .a = &scores,
        .row_stride = SCORE_STRIDE,
        .depth = count,
        .segments = 1,
        .c_stride = view->columns,
        .add = first > 0,
    };
    for (int64_t d = 0; d < view->size; d += PANEL) {
        int vectors = vectors_of(view->size - d);
        tile.b = values + d * view->keys + first * vectors * VF_LANES;
        for (int r = 0; r < block->rows; r += TILE_ROWS) {
            tile.a_offset = r * SCORE_STRIDE;
            tile.c = block->sums + r * view->columns + d;
            FAST(tile)((int)sora_cpu_min(TILE_ROWS, block->rows - r), vectors, &tile);
        }
    }
}

static void block_end(const struct attention_view *view, const struct block *block)
{
    for (int r = 0; r < block->rows; r++) {
        float *out = view->out + ((block->first + r) * view->heads + block->head) * view->size;
        bool masked = block->greatest[r] == -INFINITY && block->total[r] == 0.0f;
        vf inverse = vf_set(masked ? 0.0f : 1.0f / block->total[r]);
        for (int64_t d = 0; d < view->size; d += VF_LANES)
            vf_store_first(out + d, vf_mul(vf_load(block->sums + r * view->columns + d), inverse),
                           (int)sora_cpu_min(VF_LANES, view->size - d));
    }
}

static void queries_task(void *context, int64_t task, int worker)
{
    const struct attention_view *view = context;
    int64_t pieces = sora_cpu_pieces(view->queries, QUERIES);
    struct block block = {
        .head = view->first_head + task / pieces,
        .first = task % pieces * QUERIES,
        .greatest = sora_cpu_thread_scratch(view->device, worker),
    };
    block.rows = (int)sora_cpu_min(QUERIES, view->queries - block.first);
    block.total = block.greatest + QUERIES;
    block.scores = block.total + QUERIES;
    block.q = block.scores + QUERIES * SCORE_STRIDE;
    block.sums = block.q + QUERIES * (view->columns + VF_LANES);
    block_begin(view, &block);
    for (int64_t first = 0; first < view->keys; first += KEYS) {
        int64_t count = sora_cpu_min(KEYS, view->keys - first);
        scores_run(view, &block, first, count);
        softmax_run(view, &block, first, count);
        values_run(view, &block, first, count);
    }
    block_end(view, &block);
}

int FAST(attention)(struct sora_stream *stream, const struct sora_attention *params)
{
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
        .device = sora_cpu_of(stream),
    };
    view.columns = sora_cpu_pieces(view.size, VF_LANES) * VF_LANES;
    int64_t key_floats = sora_cpu_pieces(view.keys, PANEL) * PANEL * view.size;
    int64_t head_floats = key_floats + view.keys * view.columns;
    int64_t heads = sora_cpu_min(view.heads, sora_cpu_max(1, PACKED_FLOATS / head_floats));
    size_t thread_floats =
        (size_t)QUERIES * (size_t)(2 + SCORE_STRIDE + 2 * view.columns + VF_LANES);
    int rc = sora_cpu_begin(view.device, thread_floats * sizeof(float),
                            (size_t)(heads * head_floats) * sizeof(float));
    if (rc)
        return rc;
    view.packed_keys = sora_cpu_shared_scratch(view.device);
    view.packed_values = view.packed_keys + heads * key_floats;
    for (view.first_head = 0; view.first_head < view.heads; view.first_head += heads) {
        view.head_count = sora_cpu_min(heads, view.heads - view.first_head);
        sora_cpu_pool_run(view.device->pool,
                          view.head_count * sora_cpu_pieces(view.keys, PACK_KEYS), pack_task,
                          &view);
        sora_cpu_pool_run(view.device->pool,
                          view.head_count * sora_cpu_pieces(view.queries, QUERIES), queries_task,
                          &view);
    }
    sora_cpu_end(view.device);
    return 0;
}
