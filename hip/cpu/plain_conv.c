/*
 * Convolution, plain: weights packed as [kt,kh,kw,I,O] f32, one task per output row, and per pixel
 * a running sum over taps and input channels for all output channels at once.
 */
#include "hip/cpu/half.h"
#include "hip/cpu/internal.h"

struct conv_view {
    const struct sora_conv3d *params;
    int64_t in_frames, in_height, in_width, in_channels, history_frames;
    int64_t kernel_t, kernel_h, kernel_w;
    int64_t out_height, out_width, out_channels;
    const float *in, *history, *weight, *residual;
    const void *bias;
    float *out;
    struct sora_cpu_device *device;
};

int sora_plain_packed_create(struct sora_device *device, const struct sora_tensor *weight,
                             struct sora_packed **out_packed)
{
    int64_t out_channels = weight->shape[0], in_channels = weight->shape[1];
    int64_t count = sora_tensor_count(weight), taps = count / (out_channels * in_channels);
    struct sora_cpu_packed *packed;
    int rc = sora_cpu_packed_alloc(device, weight, (size_t)count, &packed);
    if (rc)
        return rc;
    const void *data = sora_cpu_data(weight);
    for (int64_t tap = 0; tap < taps; tap++) {
        for (int64_t i = 0; i < in_channels; i++) {
            for (int64_t o = 0; o < out_channels; o++)
                packed->data[(tap * in_channels + i) * out_channels + o] =
                    sora_float_load(data, weight->dtype, (o * in_channels + i) * taps + tap);
        }
    }
    *out_packed = &packed->base;
    return 0;
}

/* First pixel of the frame that stands at `t` of the padded sequence; NULL for a frame of zeros. */
static const float *frame_at(const struct conv_view *view, int64_t t)
{
    int64_t size = view->in_height * view->in_width * view->in_channels;
    t -= view->params->time_pad;
    if (t >= 0)
        return view->in + t * size;
    return -t <= view->history_frames ? view->history + (view->history_frames + t) * size : NULL;
}

/* The pixel under tap (kt,kh,kw) of output pixel (t,y,x); NULL for zeros. */
static const float *pixel_at(const struct conv_view *view, const int64_t out[3],
                             const int64_t tap[3])
{
    const struct sora_conv3d *p = view->params;
    const float *frame = frame_at(view, out[0] * p->stride_t + tap[0]);
    int64_t y = out[1] * p->stride_h + tap[1] - p->pad_top;
    int64_t x = out[2] * p->stride_w + tap[2] - p->pad_left;
    if (!frame || y < 0 || y >= view->in_height * p->upsample || x < 0 ||
        x >= view->in_width * p->upsample)
        return NULL;
    return frame + (y / p->upsample * view->in_width + x / p->upsample) * view->in_channels;
}

static void pixel_sum(const struct conv_view *view, const int64_t out[3], float *sums)
{
    const float *weight = view->weight;
    int64_t tap[3];
    for (tap[0] = 0; tap[0] < view->kernel_t; tap[0]++) {
        for (tap[1] = 0; tap[1] < view->kernel_h; tap[1]++) {
            for (tap[2] = 0; tap[2] < view->kernel_w; tap[2]++) {
                const float *pixel = pixel_at(view, out, tap);
                for (int64_t i = 0; pixel && i < view->in_channels; i++) {
                    const float *row = weight + i * view->out_channels;
                    for (int64_t o = 0; o < view->out_channels; o++)
                        sums[o] += pixel[i] * row[o];
                }
                weight += view->in_channels * view->out_channels;
            }
        }
    }
}

static void row_task(void *context, int64_t task, int worker)
{
    const struct conv_view *view = context;
    float *sums = sora_cpu_thread_scratch(view->device, worker);
    for (int64_t x = 0; x < view->out_width; x++) {
        const int64_t out[3] = {task / view->out_height, task % view->out_height, x};
        for (int64_t o = 0; o < view->out_channels; o++)
            sums[o] = 0.0f;
        pixel_sum(view, out, sums);
        int64_t base = (task * view->out_width + x) * view->out_channels;
        for (int64_t o = 0; o < view->out_channels; o++) {
            float value = sums[o];
            if (view->bias)
                value += sora_float_load(view->bias, view->params->bias.dtype, o);
            view->out[base + o] = view->residual ? view->residual[base + o] + value : value;
        }
    }
}

int sora_plain_conv3d(struct sora_stream *stream, const struct sora_conv3d *params)
{
    struct sora_cpu_device *device = sora_cpu_of(stream);
    const struct sora_packed *packed = params->weight;
    struct conv_view view = {
        .params = params,
        .in_frames = params->in.shape[0],
        .in_height = params->in.shape[1],
        .in_width = params->in.shape[2],
        .in_channels = packed->in_channels,
        .history_frames = params->history.buffer ? params->history.shape[0] : 0,
        .kernel_t = packed->kernel_t,
        .kernel_h = packed->kernel_h,
        .kernel_w = packed->kernel_w,
        .out_height = params->out.shape[1],
        .out_width = params->out.shape[2],
        .out_channels = packed->out_channels,
        .in = sora_cpu_data(&params->in),
        .history = sora_cpu_data(&params->history),
        .weight = ((const struct sora_cpu_packed *)packed)->data,
        .residual = sora_cpu_data(&params->residual),
        .bias = sora_cpu_data(&params->bias),
        .out = sora_cpu_data(&params->out),
        .device = device,
    };
    return sora_cpu_run(device, (size_t)view.out_channels * sizeof(float),
                        params->out.shape[0] * view.out_height, row_task, &view);
}
