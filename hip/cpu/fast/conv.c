/*
 * Convolution as a product whose left matrix is never made: with channels last, the kw*I inputs
 * under one row of taps are contiguous, so the register tile reads them where they lie, a segment
 * per (frame, row) of the kernel.
 *
 * A task is a range of output pixels of some rows of one frame. Rows that need padding or doubling
 * are first copied into scratch with the zeros in place; a task's rows share those copies. Then
 * every panel of output channels goes over the task's pixels in groups of segments whose weights
 * fit the second-level cache. Frames of zeros in front of a sequence are skipped, not multiplied.
 * The groups depend on the weight's shape alone, so an output element does not depend on how many
 * frames a call brings.
 */
#include "hip/cpu/fast/conv.h"

#include "hip/cpu/fast/tile.h"
#include "hip/cpu/fast/winograd.h"

#include <stdlib.h>

#define GROUP_FLOATS 98304 /* weights of one group of segments: 384 KiB */
#define ROWS_FLOATS 98304  /* copied input of one task, where rows allow it */
#define PIXELS_WANTED 448  /* of one task: enough to use a panel often */
#define PIXELS_MAX 896
#define ROWS_MAX 8 /* output rows of one task */
#define TASKS_WANTED 24

struct conv_view {
    const struct sora_conv3d *params;
    const struct sora_packed *packed;
    struct sora_cpu_device *device;
    int64_t in_height, in_width, channels, history_frames;
    int64_t out_height, out_width, out_channels;
    int64_t rows, row_tasks, pixels, pixel_tasks; /* of one task, and tasks per frame */
    int64_t segment_depth, segments, group;
    int64_t copy_rows, copy_width; /* rows per frame and pixels per row; 0: read in place */
    const float *in, *history, *residual;
    const void *bias;
    float *out;
};

/* What one task works on. */
struct conv_task {
    int64_t t, y, x, rows, pixels;
    int first_frame; /* kernel frames before it are zeros */
    float *copy, *sums;
    const float **bases; /* [segments] of one output row */
};

int FAST(packed_create)(struct sora_device *device, const struct sora_tensor *weight,
                        struct sora_packed **out_packed)
{
    int64_t out_channels = weight->shape[0], in_channels = weight->shape[1];
    int64_t taps = sora_tensor_count(weight) / (out_channels * in_channels);
    int64_t depth = taps * in_channels;
    int64_t columns = sora_cpu_pieces(out_channels, VF_LANES) * VF_LANES;
    struct sora_cpu_packed *packed;
    int rc = sora_cpu_packed_alloc(device, weight, (size_t)(columns * depth), &packed);
    if (rc)
        return rc;
    memset(packed->data, 0, (size_t)(columns * depth) * sizeof(float));
    const void *data = sora_cpu_data(weight);
    for (int64_t o = 0; o < out_channels; o++) {
        int64_t first = o / PANEL * PANEL;
        int64_t width = fast_panel_vectors(out_channels, first) * VF_LANES;
        float *column = packed->data + first * depth + o - first;
        for (int64_t i = 0; i < in_channels; i++) {
            for (int64_t tap = 0; tap < taps; tap++)
                column[(tap * in_channels + i) * width] =
                    sora_float_load(data, weight->dtype, (o * in_channels + i) * taps + tap);
        }
    }
    *out_packed = &packed->base;
    return 0;
}

/* First pixel of the frame at `t` of the padded sequence; NULL for a frame of zeros. */
static const float *frame_at(const struct conv_view *view, int64_t t)
{
    int64_t size = view->in_height * view->in_width * view->channels;
    t -= view->params->time_pad;
    if (t >= 0)
        return view->in + t * size;
    return -t <= view->history_frames ? view->history + (view->history_frames + t) * size : NULL;
}

/* ---- input rows ---- */

/* Copies input columns [x, x+width) of row `y`, both in doubled and padded coordinates. */
static void row_copy(const struct conv_view *view, const float *frame, int64_t y, int64_t x,
                     float *out)
{
    const struct sora_conv3d *p = view->params;
    int64_t channels = view->channels, width = view->copy_width, doubling = p->upsample;
    size_t pixel = (size_t)channels * sizeof(float);
    if (y < 0 || y >= view->in_height * doubling) {
        memset(out, 0, (size_t)width * pixel);
        return;
    }
    const float *row = frame + y / doubling * view->in_width * channels;
    int64_t limit = view->in_width * doubling;
    int64_t left = sora_cpu_min(width, sora_cpu_max(0, -x));
    int64_t end = sora_cpu_max(left, sora_cpu_min(width, limit - x));
    memset(out, 0, (size_t)left * pixel);
    memset(out + end * channels, 0, (size_t)(width - end) * pixel);
    if (doubling == 1) {
        memcpy(out + left * channels, row + (x + left) * channels, (size_t)(end - left) * pixel);
        return;
    }
    for (int64_t i = left; i < end; i++)
        memcpy(out + i * channels, row + (x + i) / 2 * channels, pixel);
}

static void rows_copy(const struct conv_view *view, const struct conv_task *task)
{
    const struct sora_conv3d *p = view->params;
    int64_t rows = (task->rows - 1) * p->stride_h + view->packed->kernel_h;
    int64_t size = view->copy_width * view->channels;
    for (int64_t dt = task->first_frame; dt < view->packed->kernel_t; dt++) {
        const float *frame = frame_at(view, task->t * p->stride_t + dt);
        for (int64_t r = 0; r < rows; r++)
            row_copy(view, frame, task->y * p->stride_h + r - p->pad_top,
                     task->x * p->stride_w - p->pad_left,
                     task->copy + (dt * view->copy_rows + r) * size);
    }
}

/* Where each segment of output row `r` of the task begins, for its first pixel. */
static void bases_fill(const struct conv_view *view, const struct conv_task *task, int64_t r)
{
    const struct sora_conv3d *p = view->params;
    int64_t kernel_h = view->packed->kernel_h;
    for (int64_t dt = task->first_frame; dt < view->packed->kernel_t; dt++) {
        const float *frame = frame_at(view, task->t * p->stride_t + dt);
        for (int64_t dy = 0; dy < kernel_h; dy++) {
            const float **base = &task->bases[dt * kernel_h + dy];
            if (view->copy_width)
                *base = task->copy + (dt * view->copy_rows + r * p->stride_h + dy) *
                                         view->copy_width * view->channels;
            else
                *base = frame + (((task->y + r) * p->stride_h + dy) * view->in_width +
                                 task->x * p->stride_w) *
                                    view->channels;
        }
    }
}

/* ---- sums ---- */

static void row_store(const struct conv_view *view, const struct conv_task *task, int64_t r,
                      int64_t first, int vectors, const float *sums)
{
    int64_t row = (task->t * view->out_height + task->y + r) * view->out_width + task->x;
    for (int v = 0; v < vectors; v++) {
        int64_t o = first + v * VF_LANES;
        int count = (int)sora_cpu_min(VF_LANES, view->out_channels - o);
        vf bias = vf_zero();
        if (view->bias)
            bias = vf_load_float_first(view->bias, view->params->bias.dtype, o, count);
        for (int64_t x = 0; x < task->pixels; x++) {
            int64_t at = (row + x) * view->out_channels + o;
            vf sum = vf_add(vf_load(sums + x * PANEL + v * VF_LANES), bias);
            if (view->residual)
                sum = vf_add(vf_load_first(view->residual + at, count), sum);
            vf_store_first(view->out + at, sum, count);
        }
    }
}

/* One panel over one output row, segments [begin, end). */
static void row_sum(const struct conv_view *view, const struct conv_task *task, int64_t first,
                    int64_t begin, int64_t end, float *sums)
{
    int64_t skip = task->first_frame * view->packed->kernel_h;
    int vectors = fast_panel_vectors(view->out_channels, first);
    bool add = begin > skip;
    begin = sora_cpu_max(begin, skip);
    struct fast_tile tile = {
        .a = task->bases + begin,
        .row_stride = view->params->stride_w * view->channels,
        .depth = view->segment_depth,
        .segments = (int)(end - begin),
        .b = fast_panel(view->packed, first) + begin * view->segment_depth * vectors * VF_LANES,
        .c_stride = PANEL,
        .add = add,
    };
    /* Tiles of nearly equal size: a last tile of one row would waste its loads. */
    int64_t tiles = sora_cpu_pieces(task->pixels, TILE_ROWS);
    for (int64_t i = 0; i < tiles; i++) {
        int64_t x = task->pixels * i / tiles, next = task->pixels * (i + 1) / tiles;
        tile.a_offset = x * tile.row_stride;
        tile.c = sums + x * PANEL;
        FAST(tile)((int)(next - x), vectors, &tile);
    }
}

static void panel_run(const struct conv_view *view, struct conv_task *task, int64_t first)
{
    int64_t skip = task->first_frame * view->packed->kernel_h;
    for (int64_t begin = 0; begin < view->segments; begin += view->group) {
        int64_t end = sora_cpu_min(begin + view->group, view->segments);
        if (end <= skip)
            continue;
        for (int64_t r = 0; r < task->rows; r++) {
            float *sums = task->sums + r * view->pixels * PANEL;
            bases_fill(view, task, r);
            row_sum(view, task, first, begin, end, sums);
            if (end == view->segments)
                row_store(view, task, r, first, fast_panel_vectors(view->out_channels, first),
                          sums);
        }
    }
}

static int64_t copy_floats(const struct conv_view *view)
{
    return view->packed->kernel_t * view->copy_rows * view->copy_width * view->channels;
}

static void pixels_task(void *context, int64_t index, int worker)
{
    const struct conv_view *view = context;
    int64_t per_frame = view->row_tasks * view->pixel_tasks;
    struct conv_task task = {
        .t = index / per_frame,
        .y = index % per_frame / view->pixel_tasks * view->rows,
        .x = index % view->pixel_tasks * view->pixels,
        .sums = sora_cpu_thread_scratch(view->device, worker),
    };
    task.copy = task.sums + view->rows * view->pixels * PANEL;
    task.bases = (const float **)(task.copy + (copy_floats(view) + 15) / 16 * 16);
    task.rows = sora_cpu_min(view->rows, view->out_height - task.y);
    task.pixels = sora_cpu_min(view->pixels, view->out_width - task.x);
    while (!frame_at(view, task.t * view->params->stride_t + task.first_frame))
        task.first_frame++;
    if (view->copy_width)
        rows_copy(view, &task);
    for (int64_t first = 0; first < view->out_channels; first += PANEL)
        panel_run(view, &task, first);
}

/* ---- the cut, by shape alone ---- */

static void view_cut(struct conv_view *view, int64_t frames)
{
    const struct sora_conv3d *p = view->params;
    const struct sora_packed *packed = view->packed;
    bool in_place = packed->kernel_w == 1 && packed->kernel_h == 1 && p->upsample == 1 &&
                    !p->pad_left && !p->pad_right && !p->pad_top && !p->pad_bottom;
    if (in_place && p->stride_h == 1 && p->stride_w == 1) {
        view->in_width *= view->in_height; /* a frame is one long row */
        view->out_width *= view->out_height;
        view->in_height = view->out_height = 1;
    }
    int64_t pieces = sora_cpu_pieces(view->out_width, PIXELS_MAX);
    int64_t wanted = TASKS_WANTED / sora_cpu_max(1, frames * view->out_height);
    pieces = sora_cpu_max(pieces, sora_cpu_min(wanted, view->out_width / (2 * TILE_ROWS)));
    view->pixels = sora_cpu_pieces(view->out_width, sora_cpu_max(pieces, 1));
    view->pixel_tasks = sora_cpu_pieces(view->out_width, view->pixels);
    if (!in_place)
        view->copy_width = (view->pixels - 1) * p->stride_w + packed->kernel_w;
    int64_t tasks = frames * view->out_height * view->pixel_tasks;
    for (view->rows = 1; view->rows < ROWS_MAX; view->rows++) {
        view->copy_rows = view->rows * p->stride_h + packed->kernel_h; /* of one row more */
        if (tasks < TASKS_WANTED * (view->rows + 1) || view->rows >= view->out_height ||
            view->rows * view->pixels >= PIXELS_WANTED || copy_floats(view) > ROWS_FLOATS)
            break;
    }
    view->copy_rows = (view->rows - 1) * p->stride_h + packed->kernel_h;
    view->row_tasks = sora_cpu_pieces(view->out_height, view->rows);
    view->segment_depth = packed->kernel_w * view->channels;
    view->segments = packed->kernel_t * packed->kernel_h;
    view->group = sora_cpu_max(1, GROUP_FLOATS / (view->segment_depth * PANEL));
}

int FAST(conv3d)(struct sora_stream *stream, const struct sora_conv3d *params)
{
    if (FAST(winograd_fits)(params))
        return FAST(winograd)(stream, params);
    const struct sora_packed *packed = params->weight;
    int64_t frames = params->out.shape[0];
    struct conv_view view = {
        .params = params,
        .packed = packed,
        .device = sora_cpu_of(stream),
        .in_height = params->in.shape[1],
        .in_width = params->in.shape[2],
        .channels = packed->in_channels,
        .history_frames = params->history.buffer ? params->history.shape[0] : 0,
        .out_height = params->out.shape[1],
        .out_width = params->out.shape[2],
        .out_channels = packed->out_channels,
        .in = sora_cpu_data(&params->in),
        .history = sora_cpu_data(&params->history),
        .residual = sora_cpu_data(&params->residual),
        .bias = sora_cpu_data(&params->bias),
        .out = sora_cpu_data(&params->out),
    };
    view_cut(&view, frames);
    size_t floats = (size_t)(view.rows * view.pixels * PANEL + copy_floats(&view) + 2 * 16);
    size_t size = floats * sizeof(float) + (size_t)view.segments * sizeof(float *);
    return sora_cpu_run(view.device, size, frames * view.row_tasks * view.pixel_tasks, pixels_task,
                        &view);
}
