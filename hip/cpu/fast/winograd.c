/*
 * One operation runs in two steps: all weights are transformed into shared scratch, in the panels
 * that the register tile reads; then each task takes a block of tiles and a block of output
 * channels through all frames.
 *
 * A task keeps the transformed input of the last kt frames in a ring, so each frame is transformed
 * once; per output frame it multiplies, for every place of the tile, [tiles, kt*I] by [kt*I, O] and
 * transforms the sums back, adding bias and residual. Blocks follow from the shape alone, and an
 * element's sums do not depend on them.
 */
#include "hip/cpu/fast/winograd.h"

#include "hip/cpu/fast/conv.h"
#include "hip/cpu/fast/tile.h"

#define PLACES_MAX 16
#define KERNEL_T_MAX 3
#define COLUMNS 128                    /* output channels of one task, at most */
#define GROUPS_MAX 4                   /* register tiles of rows in one task, at most */
#define TASKS_WANTED 8                 /* smaller blocks below it */
#define WEIGHTS_MAX ((size_t)64 << 20) /* bytes of transformed weights */
#define ROW_LARGE 256                  /* longer rows are kept apart by one vector */

struct view {
    struct sora_cpu_device *device;
    const float *in, *history, *residual;
    const struct sora_packed *packed;
    const void *bias;
    enum sora_dtype bias_type;
    float *out;
    int64_t history_frames, time_pad;
    int64_t height, width, channels; /* of the input */
    int64_t out_frames, out_height, out_width, out_channels;
    int64_t kernel_t, depth; /* depth: kernel_t * channels */
    int64_t tiles, tiles_x;
    bool doubled;
    int side, places; /* of a tile's input: 4 and 16, or 3 and 9 */
    int64_t row;      /* floats of one transformed pixel */
    int64_t block;    /* tiles of one task */
    int64_t blocks;
    float *transformed; /* weights, [places][panels] */
};

static int64_t round_up(int64_t count, int64_t unit)
{
    return sora_cpu_pieces(count, unit) * unit;
}

/* ---- weights ---- */

static inline __attribute__((always_inline)) void kernel_line(const bool doubled, const vf g[3],
                                                              vf out[4])
{
    vf ends = vf_add(g[0], g[2]);
    if (doubled) {
        out[0] = g[0];
        out[1] = vf_add(ends, g[1]);
        out[2] = g[2];
        return;
    }
    vf half = vf_set(0.5f);
    out[0] = g[0];
    out[1] = vf_mul(half, vf_add(ends, g[1]));
    out[2] = vf_mul(half, vf_sub(ends, g[1]));
    out[3] = g[2];
}

/* The kernels of input `k` = (kt, channel) for VF_LANES output channels; from[tap * I * lanes] and
 * to[place * stride]. */
static inline __attribute__((always_inline)) void
kernel_transform(const bool doubled, const float *from, int64_t tap, int64_t stride, float *to)
{
    const int side = doubled ? 3 : 4;
    vf lines[3][4];
    UNROLL for (int y = 0; y < 3; y++)
    {
        vf g[3];
        UNROLL for (int x = 0; x < 3; x++) g[x] = vf_load(from + (y * 3 + x) * tap);
        kernel_line(doubled, g, lines[y]);
    }
    UNROLL for (int x = 0; x < side; x++)
    {
        vf g[3] = {lines[0][x], lines[1][x], lines[2][x]}, column[4];
        kernel_line(doubled, g, column);
        UNROLL for (int y = 0; y < side; y++) vf_store(to + (y * side + x) * stride, column[y]);
    }
}

/* Task: one panel of output channels. */
static void weights_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct view *view = context;
    int64_t first = task * PANEL;
    int64_t lanes = fast_panel_vectors(view->out_channels, first) * VF_LANES;
    int64_t stride = view->depth * round_up(view->out_channels, VF_LANES);
    float *panel = view->transformed + first * view->depth;
    for (int64_t k = 0; k < view->depth; k++) {
        int64_t kt = k / view->channels, i = k % view->channels;
        const float *from = fast_panel(view->packed, first) + (kt * 9 * view->channels + i) * lanes;
        for (int64_t j = 0; j < lanes; j += VF_LANES) {
            float *to = panel + k * lanes + j;
            if (view->doubled)
                kernel_transform(true, from + j, view->channels * lanes, stride, to);
            else
                kernel_transform(false, from + j, view->channels * lanes, stride, to);
        }
    }
}

/* ---- input ---- */

static inline __attribute__((always_inline)) void input_line(const bool doubled, const vf d[4],
                                                             vf out[4])
{
    if (doubled) {
        out[0] = vf_sub(d[0], d[1]);
        out[1] = d[1];
        out[2] = vf_sub(d[2], d[1]);
        return;
    }
    out[0] = vf_sub(d[0], d[2]);
    out[1] = vf_add(d[1], d[2]);
    out[2] = vf_sub(d[2], d[1]);
    out[3] = vf_sub(d[1], d[3]);
}

/* One tile of one frame: pixels[y * side + x] point to its input pixels, NULL for zeros. */
static inline __attribute__((always_inline)) void input_transform(const bool doubled,
                                                                  const struct view *view,
                                                                  const float *const *pixels,
                                                                  int64_t stride, float *to)
{
    const int side = doubled ? 3 : 4;
    for (int64_t c = 0; c < view->channels; c += VF_LANES) {
        int count = (int)sora_cpu_min(VF_LANES, view->channels - c);
        vf lines[4][4];
        UNROLL for (int y = 0; y < side; y++)
        {
            vf d[4];
            UNROLL for (int x = 0; x < side; x++)
            {
                const float *pixel = pixels[y * side + x];
                d[x] = pixel ? vf_load_first(pixel + c, count) : vf_zero();
            }
            input_line(doubled, d, lines[y]);
        }
        UNROLL for (int x = 0; x < side; x++)
        {
            vf d[4], column[4];
            UNROLL for (int y = 0; y < side; y++) d[y] = lines[y][x];
            input_line(doubled, d, column);
            UNROLL for (int y = 0; y < side; y++)
                vf_store(to + (y * side + x) * stride + c, column[y]);
        }
    }
}

/* The input pixels of a tile: it starts one pixel before its first output. */
static void tile_pixels(const struct view *view, const float *frame, int64_t tile,
                        const float **out_pixels)
{
    int step = view->doubled ? 1 : 2;
    int64_t top = tile / view->tiles_x * step - 1, left = tile % view->tiles_x * step - 1;
    for (int y = 0; y < view->side; y++) {
        for (int x = 0; x < view->side; x++) {
            bool inside =
                top + y >= 0 && top + y < view->height && left + x >= 0 && left + x < view->width;
            int64_t at = ((top + y) * view->width + left + x) * view->channels;
            out_pixels[y * view->side + x] = inside ? frame + at : NULL;
        }
    }
}

static void block_input(const struct view *view, const float *frame, int64_t first, int64_t count,
                        float *to)
{
    int64_t stride = view->block * view->row;
    for (int64_t i = 0; i < count; i++) {
        const float *pixels[PLACES_MAX];
        tile_pixels(view, frame, first + i, pixels);
        if (view->doubled)
            input_transform(true, view, pixels, stride, to + i * view->row);
        else
            input_transform(false, view, pixels, stride, to + i * view->row);
    }
}

/* ---- sums and output ---- */

static inline __attribute__((always_inline)) void output_line(const bool doubled, const vf m[4],
                                                              vf out[2])
{
    if (doubled) {
        out[0] = vf_add(m[0], m[1]);
        out[1] = vf_add(m[1], m[2]);
        return;
    }
    out[0] = vf_add(vf_add(m[0], m[1]), m[2]);
    out[1] = vf_sub(vf_sub(m[1], m[2]), m[3]);
}

static inline void output_store(const struct view *view, int64_t at, int64_t o, vf x)
{
    int count = (int)sora_cpu_min(VF_LANES, view->out_channels - o);
    if (view->bias)
        x = vf_add(x, vf_load_float_first(view->bias, view->bias_type, o, count));
    if (view->residual)
        x = vf_add(vf_load_first(view->residual + at + o, count), x);
    vf_store_first(view->out + at + o, x, count);
}

/* The 2x2 outputs of one tile, VF_LANES channels from `o`; sums[place * stride]. */
static inline __attribute__((always_inline)) void
output_transform(const bool doubled, const struct view *view, int64_t frame, int64_t tile,
                 int64_t o, int64_t stride, const float *sums)
{
    const int side = doubled ? 3 : 4;
    vf lines[4][2];
    UNROLL for (int y = 0; y < side; y++)
    {
        vf m[4];
        UNROLL for (int x = 0; x < side; x++) m[x] = vf_load(sums + (y * side + x) * stride);
        output_line(doubled, m, lines[y]);
    }
    int64_t top = tile / view->tiles_x * 2, left = tile % view->tiles_x * 2;
    UNROLL for (int x = 0; x < 2; x++)
    {
        vf m[4], column[2];
        UNROLL for (int y = 0; y < side; y++) m[y] = lines[y][x];
        output_line(doubled, m, column);
        UNROLL for (int y = 0; y < 2; y++)
        {
            if (top + y < view->out_height && left + x < view->out_width) {
                int64_t pixel = (frame * view->out_height + top + y) * view->out_width + left + x;
                output_store(view, pixel * view->out_channels, o, column[y]);
            }
        }
    }
}

struct block {
    int64_t first, count;            /* tiles */
    int64_t column, columns;         /* output channels, columns a multiple of VF_LANES */
    const float *ring[KERNEL_T_MAX]; /* transformed input by segment, zero frames left out */
    int segments;
    float *sums; /* [places][block][columns] */
};

/* Sums of all places of the tile, for one output frame. */
static void block_multiply(const struct view *view, const struct block *block)
{
    int64_t lanes_all = round_up(view->out_channels, VF_LANES);
    int64_t skipped = (view->kernel_t - block->segments) * view->channels;
    struct fast_tile tile = {.a = block->ring,
                             .row_stride = view->row,
                             .depth = view->channels,
                             .segments = block->segments,
                             .c_stride = block->columns};
    for (int place = 0; place < view->places; place++) {
        const float *weights = view->transformed + place * view->depth * lanes_all;
        float *sums = block->sums + place * view->block * block->columns;
        for (int64_t j = 0; j < block->columns; j += PANEL) {
            int vectors = fast_panel_vectors(view->out_channels, block->column + j);
            tile.b = weights + (block->column + j) * view->depth + skipped * vectors * VF_LANES;
            for (int64_t i = 0; i < block->count; i += TILE_ROWS) {
                tile.a_offset = (place * view->block + i) * view->row;
                tile.c = sums + i * block->columns + j;
                FAST(tile)((int)sora_cpu_min(TILE_ROWS, block->count - i), vectors, &tile);
            }
        }
    }
}

static void block_output(const struct view *view, const struct block *block, int64_t frame)
{
    int64_t stride = view->block * block->columns;
    for (int64_t i = 0; i < block->count; i++) {
        for (int64_t j = 0; j < block->columns; j += VF_LANES) {
            const float *sums = block->sums + i * block->columns + j;
            int64_t o = block->column + j, tile = block->first + i;
            if (view->doubled)
                output_transform(true, view, frame, tile, o, stride, sums);
            else
                output_transform(false, view, frame, tile, o, stride, sums);
        }
    }
}

/* Frame `at` of the padded sequence; NULL for zeros. */
static const float *frame_at(const struct view *view, int64_t at)
{
    int64_t size = view->height * view->width * view->channels;
    at -= view->time_pad;
    if (at >= 0)
        return view->in + at * size;
    return -at <= view->history_frames ? view->history + (view->history_frames + at) * size : NULL;
}

static void block_task(void *context, int64_t task, int worker)
{
    const struct view *view = context;
    struct block block = {.first = task % view->blocks * view->block,
                          .column = task / view->blocks * COLUMNS};
    block.count = sora_cpu_min(view->block, view->tiles - block.first);
    block.columns = round_up(sora_cpu_min(COLUMNS, view->out_channels - block.column), VF_LANES);
    float *ring = sora_cpu_thread_scratch(view->device, worker);
    int64_t slot = view->places * view->block * view->row, ready = 0;
    block.sums = ring + view->kernel_t * slot;
    for (int64_t t = 0; t < view->out_frames; t++) {
        block.segments = 0;
        for (int64_t at = t; at < t + view->kernel_t; at++) {
            const float *frame = frame_at(view, at);
            if (!frame)
                continue; /* zeros stand in front of everything else */
            float *place = ring + at % view->kernel_t * slot;
            if (at >= ready)
                block_input(view, frame, block.first, block.count, place);
            block.ring[block.segments++] = place;
        }
        ready = t + view->kernel_t;
        block_multiply(view, &block);
        block_output(view, &block, t);
    }
}

/* ---- the cut, by shape alone ---- */

static void view_cut(struct view *view)
{
    int64_t column_blocks = sora_cpu_pieces(view->out_channels, COLUMNS);
    int groups = GROUPS_MAX;
    while (groups > 1 &&
           sora_cpu_pieces(view->tiles, groups * TILE_ROWS) * column_blocks < TASKS_WANTED)
        groups--;
    view->block = groups * TILE_ROWS;
    view->blocks = sora_cpu_pieces(view->tiles, view->block);
}

static size_t weights_size(const struct sora_conv3d *params)
{
    const struct sora_packed *packed = params->weight;
    int places = params->upsample == 2 ? 9 : 16;
    return (size_t)(places * packed->kernel_t * packed->in_channels) *
           (size_t)round_up(packed->out_channels, VF_LANES) * sizeof(float);
}

bool FAST(winograd_fits)(const struct sora_conv3d *params)
{
    const struct sora_packed *packed = params->weight;
    return packed->kernel_h == 3 && packed->kernel_w == 3 && packed->kernel_t <= KERNEL_T_MAX &&
           params->stride_t == 1 && params->stride_h == 1 && params->stride_w == 1 &&
           params->pad_top == 1 && params->pad_bottom == 1 && params->pad_left == 1 &&
           params->pad_right == 1 && weights_size(params) <= WEIGHTS_MAX;
}

int FAST(winograd)(struct sora_stream *stream, const struct sora_conv3d *params)
{
    const struct sora_packed *packed = params->weight;
    bool doubled = params->upsample == 2;
    struct view view = {
        .device = sora_cpu_of(stream),
        .in = sora_cpu_data(&params->in),
        .history = sora_cpu_data(&params->history),
        .packed = packed,
        .residual = sora_cpu_data(&params->residual),
        .bias = sora_cpu_data(&params->bias),
        .bias_type = params->bias.dtype,
        .out = sora_cpu_data(&params->out),
        .history_frames = params->history.buffer ? params->history.shape[0] : 0,
        .time_pad = params->time_pad,
        .height = params->in.shape[1],
        .width = params->in.shape[2],
        .channels = packed->in_channels,
        .out_frames = params->out.shape[0],
        .out_height = params->out.shape[1],
        .out_width = params->out.shape[2],
        .out_channels = packed->out_channels,
        .kernel_t = packed->kernel_t,
        .depth = packed->kernel_t * packed->in_channels,
        .doubled = doubled,
        .side = doubled ? 3 : 4,
        .places = doubled ? 9 : 16,
    };
    view.tiles_x = sora_cpu_pieces(view.out_width, 2);
    view.tiles = sora_cpu_pieces(view.out_height, 2) * view.tiles_x;
    view.row = round_up(view.channels, VF_LANES);
    if (view.row >= ROW_LARGE)
        view.row += VF_LANES;
    view_cut(&view);
    int64_t columns = sora_cpu_min(COLUMNS, round_up(view.out_channels, VF_LANES));
    size_t scratch = (size_t)(view.places * view.block) *
                     (size_t)(view.kernel_t * view.row + columns) * sizeof(float);
    int error = sora_cpu_begin(view.device, scratch, weights_size(params));
    if (error)
        return error;
    view.transformed = sora_cpu_shared_scratch(view.device);
    sora_cpu_pool_run(view.device->pool, sora_cpu_pieces(view.out_channels, PANEL), weights_task,
                      &view);
    sora_cpu_pool_run(view.device->pool, view.blocks * sora_cpu_pieces(view.out_channels, COLUMNS),
                      block_task, &view);
    sora_cpu_end(view.device);
    return 0;
}
