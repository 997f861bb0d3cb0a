/*
 * Runs the blocks of one half.
 *
 * The value that flows from block to block lies in one of three scratch regions; a block writes to
 * the other two. Everything that a convolution must remember is copied out of the scratch right
 * after it ran.
 */
#include "model/vae_coder.h"

#include <math.h>
#include <stdlib.h>

#define REGIONS 3
#define STOPPED 1 /* beside the errors: the rest of this pass of context is not needed */
#define NORM_EPS 1e-12f

/* The last frames of a convolution's input, filled from the right. */
struct past {
    struct sora_tensor frames; /* [1 or 2,H,W,C]; absent where the block has none */
    int count;                 /* valid frames */
};

struct sora_vae_coder {
    const struct sora_vae_half *half;
    struct sora_stream *stream;
    struct sora_buffer *memory;
    struct past (*pasts)[2];       /* per block */
    struct sora_vae_stage *stages; /* per block */
    size_t region_offset;          /* the regions, then what is held, then the result */
    struct sora_vae_scratch scratch;
    int pass;   /* the next one, from the first whose frames are wanted: < 0 is context */
    bool first; /* the next pass is a shot's first */
};

/* What flows, and where it lies. */
struct flow {
    struct sora_tensor value; /* [T,H,W,C] f32 */
    int region;
};

struct step {
    struct sora_vae_coder *coder;
    const struct sora_vae_block *block;
    const struct sora_vae_block_weights *weights;
    struct past *pasts;
    const struct sora_vae_stage *stage;
    bool first;
};

/* ---- creation ---- */

/* Lays the pasts out from offset 0 and returns the bytes; with a buffer, makes the tensors too. */
static size_t lay_out(struct sora_vae_coder *coder, struct sora_vae_extent extent)
{
    size_t offset = 0;
    for (int i = 0; i < coder->half->blocks.count; i++) {
        const struct sora_vae_block *block = &coder->half->blocks.items[i];
        for (int k = 0; k < 2; k++) {
            struct sora_vae_cache cache = sora_vae_block_cache(block, extent, k);
            if (!cache.frames)
                continue;
            const int64_t shape[] = {cache.frames, cache.height, cache.width, cache.channels};
            enum sora_dtype type = sora_packed_input_type(coder->half->weights[i].convs[k].packed);
            struct sora_tensor frames = sora_tensor_make(coder->memory, offset, type, 4, shape);
            coder->pasts[i][k].frames = frames;
            offset += sora_vae_bytes_of(sora_tensor_count(&frames), sora_dtype_size(type));
        }
        extent = sora_vae_block_extent(block, extent, false);
    }
    return offset;
}

int sora_vae_coder_create(struct sora_device *device, const struct sora_vae_half *half,
                          struct sora_vae_extent in, bool by_frame,
                          struct sora_vae_coder **out_coder)
{
    struct sora_vae_coder *coder = calloc(1, sizeof(*coder));
    if (!coder)
        return SORA_E_MEMORY;
    int error = SORA_E_MEMORY;
    coder->half = half;
    coder->first = true;
    coder->pasts = calloc((size_t)half->blocks.count, sizeof(*coder->pasts));
    coder->stages = calloc((size_t)half->blocks.count, sizeof(*coder->stages));
    if (!coder->pasts || !coder->stages)
        goto fail;
    coder->region_offset = lay_out(coder, in);
    sora_vae_blocks_scratch(&half->blocks, in, by_frame, &coder->scratch);
    error = sora_buffer_create(
        device, coder->region_offset + sora_vae_scratch_size(&coder->scratch), &coder->memory);
    if (error)
        goto fail;
    lay_out(coder, in);
    error = sora_stream_create(device, &coder->stream);
    if (error)
        goto fail;
    *out_coder = coder;
    return SORA_OK;
fail:
    sora_vae_coder_destroy(&coder);
    return error;
}

void sora_vae_coder_destroy(struct sora_vae_coder **coder)
{
    if (!*coder)
        return;
    sora_stream_destroy(&(*coder)->stream);
    sora_buffer_destroy(&(*coder)->memory);
    free((*coder)->stages);
    free((*coder)->pasts);
    free(*coder);
    *coder = NULL;
}

void sora_vae_coder_reset(struct sora_vae_coder *coder)
{
    for (int i = 0; i < coder->half->blocks.count; i++)
        coder->pasts[i][0].count = coder->pasts[i][1].count = 0;
    coder->first = true;
    coder->pass = 0;
}

void sora_vae_coder_begin(struct sora_vae_coder *coder, int context, bool first)
{
    sora_vae_coder_reset(coder);
    sora_vae_blocks_stages(&coder->half->blocks, coder->stages);
    coder->first = first;
    coder->pass = -context;
}

bool sora_vae_coder_at_start(const struct sora_vae_coder *coder)
{
    return coder->first;
}

struct sora_stream *sora_vae_coder_stream(const struct sora_vae_coder *coder)
{
    return coder->stream;
}

struct sora_tensor sora_vae_coder_scratch(const struct sora_vae_coder *coder, int region,
                                          enum sora_dtype dtype, int rank, const int64_t *shape)
{
    size_t offset = coder->region_offset + (size_t)(region % REGIONS) * coder->scratch.region;
    struct sora_tensor tensor = sora_tensor_make(coder->memory, offset, dtype, rank, shape);
    SORA_ASSERT(sora_tensor_size(&tensor) <= coder->scratch.region);
    return tensor;
}

/* ---- parts of blocks ---- */

/* A value of other channels or extent in the region `ahead` of the given one. */
static struct flow flow_beside(const struct step *step, const struct flow *flow, int ahead,
                               const int64_t shape[4])
{
    struct flow other = {.region = (flow->region + ahead) % REGIONS};
    other.value = sora_vae_coder_scratch(step->coder, other.region, SORA_DTYPE_F32, 4, shape);
    return other;
}

/* All pixels as rows: [T*H*W,C]. */
static struct sora_tensor rows_of(const struct sora_tensor *value)
{
    const int64_t *s = value->shape;
    return sora_tensor_reshape(value, SORA_SHAPE(s[0] * s[1] * s[2], s[3]));
}

static int run_norm(const struct step *step, int index, const struct sora_tensor *in,
                    const struct sora_tensor *out)
{
    bool attention = step->block->kind == SORA_VAE_ATTENTION;
    const struct sora_rms_norm params = {
        .in = rows_of(in),
        .out = rows_of(out),
        .weight = step->weights->norms[index],
        .kind = SORA_NORM_L2,
        .activation = attention ? SORA_ACTIVATION_NONE : SORA_ACTIVATION_SILU,
        .eps = NORM_EPS,
    };
    return sora_op_rms_norm(step->coder->stream, &params);
}

/* Keeps the last frames of `in` as the past of the next pass. */
static int remember(const struct step *step, struct past *past, const struct sora_tensor *in)
{
    struct sora_stream *stream = step->coder->stream;
    int64_t capacity = past->frames.shape[0], fresh = in->shape[0];
    if (fresh > capacity)
        fresh = capacity;
    int64_t kept = capacity - fresh;
    if (kept > 0 && past->count > 0) { /* one of two frames stays: it moves to the left */
        struct sora_tensor from = sora_tensor_slice(&past->frames, fresh, kept);
        struct sora_tensor to = sora_tensor_slice(&past->frames, 0, kept);
        int error = sora_op_copy(stream, &from, &to);
        if (error)
            return error;
    }
    struct sora_tensor from = sora_tensor_slice(in, in->shape[0] - fresh, fresh);
    struct sora_tensor to = sora_tensor_slice(&past->frames, kept, fresh);
    int64_t count = past->count + fresh;
    past->count = (int)(count > capacity ? capacity : count);
    return from.dtype == to.dtype ? sora_op_copy(stream, &from, &to)
                                  : sora_op_convert(stream, &from, &to);
}

/* A convolution with its past, which then takes in the input. STOPPED when no output of this pass
 * reaches a frame that is wanted. */
static int run_causal(const struct step *step, int index, struct sora_conv3d *params)
{
    struct past *past = &step->pasts[index];
    if (step->coder->pass < step->stage->from[index]) {
        int error = remember(step, past, &params->in);
        return error ? error : STOPPED;
    }
    if (past->count > 0)
        params->history =
            sora_tensor_slice(&past->frames, past->frames.shape[0] - past->count, past->count);
    params->weight = step->weights->convs[index].packed;
    params->bias = step->weights->convs[index].bias;
    int error = sora_op_conv3d(step->coder->stream, params);
    return error ? error : remember(step, past, &params->in);
}

/* Causal 3x3x3. `residual` may be NULL. */
static int run_conv333(const struct step *step, int index, const struct sora_tensor *in,
                       const struct sora_tensor *residual, const struct sora_tensor *out)
{
    struct sora_conv3d params = {.in = *in,
                                 .out = *out,
                                 .time_pad = SORA_VAE_PAST,
                                 .pad_top = 1,
                                 .pad_bottom = 1,
                                 .pad_left = 1,
                                 .pad_right = 1};
    if (residual)
        params.residual = *residual;
    return run_causal(step, index, &params);
}

static int run_matrix(const struct step *step, int index, const struct sora_tensor *in,
                      const struct sora_tensor *residual, const struct sora_tensor *out)
{
    struct sora_matmul params = {.a = rows_of(in),
                                 .b = step->weights->matrices[index].weight,
                                 .bias = step->weights->matrices[index].bias,
                                 .out = rows_of(out)};
    if (residual)
        params.residual = rows_of(residual);
    return sora_op_matmul(step->coder->stream, &params);
}

/* ---- blocks: each replaces *flow ---- */

static int run_point(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    struct flow out =
        flow_beside(step, flow, 1, (const int64_t[]){s[0], s[1], s[2], step->block->out});
    int error = run_matrix(step, 0, &flow->value, NULL, &out.value);
    *flow = out;
    return error;
}

static int run_conv(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    struct flow out =
        flow_beside(step, flow, 1, (const int64_t[]){s[0], s[1], s[2], step->block->out});
    int error = run_conv333(step, 0, &flow->value, NULL, &out.value);
    *flow = out;
    return error;
}

static int run_resnet(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    const int64_t wide[] = {s[0], s[1], s[2], step->block->out};
    struct flow other = flow_beside(step, flow, 1, s);
    struct flow inner = flow_beside(step, flow, 2, wide);
    struct flow out = *flow;
    int error = SORA_OK;
    if (step->block->in != step->block->out) {
        /* The shortcut takes the place of the input, which is then normalised where it lies. */
        out = flow_beside(step, flow, 1, wide);
        other = *flow;
        error = run_matrix(step, 0, &flow->value, NULL, &out.value);
    }
    if (!error)
        error = run_norm(step, 0, &flow->value, &other.value);
    if (!error)
        error = run_conv333(step, 0, &other.value, NULL, &inner.value);
    if (!error)
        error = run_norm(step, 1, &inner.value, &inner.value);
    if (!error)
        error = run_conv333(step, 1, &inner.value, &out.value, &out.value);
    *flow = out;
    return error;
}

/* Queries, keys and values of all frames, [3][T*H*W,C] in one region. */
static int run_qkv(const struct step *step, const struct sora_tensor *in,
                   const struct sora_tensor *qkv)
{
    int64_t width = step->block->in;
    for (int i = 0; i < 3; i++) {
        const struct sora_vae_matrix *matrix = &step->weights->matrices[0];
        struct sora_matmul params = {.a = rows_of(in),
                                     .b = sora_tensor_slice(&matrix->weight, i * width, width),
                                     .bias = sora_tensor_slice(&matrix->bias, i * width, width),
                                     .out = qkv[i]};
        int error = sora_op_matmul(step->coder->stream, &params);
        if (error)
            return error;
    }
    return SORA_OK;
}

static int run_attention(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    int64_t tokens = s[1] * s[2], width = s[3];
    struct flow inner = flow_beside(step, flow, 1, s);
    struct sora_tensor qkv[3];
    for (int i = 0; i < 3; i++) {
        qkv[i] = rows_of(&flow->value);
        qkv[i].offset = step->coder->region_offset +
                        (size_t)((flow->region + 2) % REGIONS) * step->coder->scratch.region +
                        (size_t)i * sora_vae_bytes(sora_tensor_count(&flow->value));
    }
    int error = run_norm(step, 0, &flow->value, &inner.value);
    if (!error)
        error = run_qkv(step, &inner.value, qkv);
    for (int64_t t = 0; !error && t < s[0]; t++) {
        struct sora_tensor frames[4] = {qkv[0], qkv[1], qkv[2], rows_of(&inner.value)};
        for (int i = 0; i < 4; i++) {
            frames[i] = sora_tensor_slice(&frames[i], t * tokens, tokens);
            frames[i] = sora_tensor_reshape(&frames[i], SORA_SHAPE(tokens, 1, width));
        }
        const struct sora_attention params = {.q = frames[0],
                                              .k = frames[1],
                                              .v = frames[2],
                                              .out = frames[3],
                                              .scale = (float)(1.0 / sqrt((double)width))};
        error = sora_op_attention(step->coder->stream, &params);
    }
    if (!error)
        error = run_matrix(step, 1, &inner.value, &flow->value, &flow->value);
    return error;
}

/* Twice the frames: channel block k of frame j becomes frame 2j+k. */
static int run_double_frames(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    int64_t t = s[0], h = s[1], w = s[2], c = s[3];
    struct flow wide = flow_beside(step, flow, 1, (const int64_t[]){t, h, w, 2 * c});
    struct flow out = flow_beside(step, flow, 2, (const int64_t[]){2 * t, h, w, c});
    struct sora_conv3d params = {.in = flow->value, .out = wide.value, .time_pad = SORA_VAE_PAST};
    int error = run_causal(step, 0, &params);
    if (error)
        return error;
    struct sora_tensor from = sora_tensor_reshape(&wide.value, SORA_SHAPE(t, h * w, 2, c));
    struct sora_tensor to = sora_tensor_reshape(&out.value, SORA_SHAPE(t, 2, h * w, c));
    *flow = out;
    return sora_op_permute(step->coder->stream, &from, (const int[]){0, 2, 1, 3}, &to);
}

static int run_up(const struct step *step, struct flow *flow)
{
    if (step->block->temporal && !step->first) {
        int error = run_double_frames(step, flow);
        if (error)
            return error;
    }
    const int64_t *s = flow->value.shape;
    struct flow out =
        flow_beside(step, flow, 1, (const int64_t[]){s[0], 2 * s[1], 2 * s[2], step->block->out});
    const struct sora_conv3d params = {.in = flow->value,
                                       .weight = step->weights->convs[1].packed,
                                       .bias = step->weights->convs[1].bias,
                                       .out = out.value,
                                       .pad_top = 1,
                                       .pad_bottom = 1,
                                       .pad_left = 1,
                                       .pad_right = 1,
                                       .upsample = 2};
    *flow = out;
    return sora_op_conv3d(step->coder->stream, &params);
}

static int run_down(const struct step *step, struct flow *flow)
{
    const int64_t *s = flow->value.shape;
    struct flow out = flow_beside(step, flow, 1, (const int64_t[]){s[0], s[1] / 2, s[2] / 2, s[3]});
    const struct sora_conv3d space = {.in = flow->value,
                                      .weight = step->weights->convs[0].packed,
                                      .bias = step->weights->convs[0].bias,
                                      .out = out.value,
                                      .stride_h = 2,
                                      .stride_w = 2,
                                      .pad_bottom = 1,
                                      .pad_right = 1};
    int error = sora_op_conv3d(step->coder->stream, &space);
    *flow = out;
    if (error || !step->block->temporal)
        return error;
    if (step->first)
        return remember(step, &step->pasts[1], &flow->value);
    s = out.value.shape;
    struct flow half = flow_beside(step, flow, 1, (const int64_t[]){s[0] / 2, s[1], s[2], s[3]});
    struct sora_conv3d time = {.in = flow->value, .out = half.value, .time_pad = 1, .stride_t = 2};
    error = run_causal(step, 1, &time);
    *flow = half;
    return error;
}

static int run_head(const struct step *step, struct flow *flow)
{
    int error = run_norm(step, 0, &flow->value, &flow->value);
    return error ? error : run_conv(step, flow);
}

/* ---- a pass ---- */

static struct step step_make(struct sora_vae_coder *coder, int block, bool first)
{
    return (struct step){.coder = coder,
                         .block = &coder->half->blocks.items[block],
                         .weights = &coder->half->weights[block],
                         .pasts = coder->pasts[block],
                         .stage = &coder->stages[block],
                         .first = first};
}

/* Blocks [from,end); `first` keeps UP and DOWN from changing the number of frames. */
static int run_blocks(struct sora_vae_coder *coder, int from, int end, bool first,
                      struct flow *flow)
{
    static int (*const runs[])(const struct step *, struct flow *) = {
        [SORA_VAE_POINT] = run_point,   [SORA_VAE_CONV] = run_conv,
        [SORA_VAE_RESNET] = run_resnet, [SORA_VAE_ATTENTION] = run_attention,
        [SORA_VAE_UP] = run_up,         [SORA_VAE_DOWN] = run_down,
        [SORA_VAE_HEAD] = run_head,
    };
    int error = SORA_OK;
    for (int i = from; !error && i < end; i++) {
        const struct step step = step_make(coder, i, first);
        error = runs[step.block->kind](&step, flow);
    }
    return error;
}

/* A tensor behind the regions: what the frames are made from, and what they become. */
static struct sora_tensor tensor_behind(const struct sora_vae_coder *coder, size_t offset,
                                        const int64_t shape[4])
{
    offset += coder->region_offset + REGIONS * coder->scratch.region;
    return sora_tensor_make(coder->memory, offset, SORA_DTYPE_F32, 4, shape);
}

/* The blocks from `split` on, whose doubling is done, for one frame after the other. STOPPED is the
 * same for all frames of a pass. */
static int run_frames(struct sora_vae_coder *coder, struct flow *flow)
{
    int split = coder->scratch.split, end = coder->half->blocks.count;
    struct sora_tensor held = tensor_behind(coder, 0, flow->value.shape), result = {0};
    int error = sora_op_copy(coder->stream, &flow->value, &held);
    for (int64_t t = 0; (!error || error == STOPPED) && t < held.shape[0]; t++) {
        struct flow frame = {.value = sora_tensor_slice(&held, t, 1)};
        error = run_blocks(coder, split, end, true, &frame);
        if (error)
            continue;
        const int64_t *s = frame.value.shape;
        result = tensor_behind(coder, coder->scratch.held,
                               (const int64_t[]){held.shape[0], s[1], s[2], s[3]});
        struct sora_tensor place = sora_tensor_slice(&result, t, 1);
        error = sora_op_copy(coder->stream, &frame.value, &place);
    }
    *flow = (struct flow){.value = result};
    return error;
}

static int run_pass(struct sora_vae_coder *coder, struct flow *flow)
{
    int split = coder->scratch.split;
    if (split < 0)
        return run_blocks(coder, 0, coder->half->blocks.count, coder->first, flow);
    int error = run_blocks(coder, 0, split, coder->first, flow);
    const struct step doubling = step_make(coder, split, coder->first);
    if (!error && !coder->first)
        error = run_double_frames(&doubling, flow);
    return error ? error : run_frames(coder, flow);
}

int sora_vae_coder_run(struct sora_vae_coder *coder, const struct sora_tensor *in,
                       struct sora_tensor *out_result, int *out_region)
{
    struct flow flow = {.value = *in, .region = 0};
    int error = run_pass(coder, &flow);
    if (error && error != STOPPED)
        return error;
    bool context = coder->pass < 0;
    SORA_ASSERT(context || !error);
    coder->first = false;
    coder->pass += context;
    *out_result = flow.value;
    *out_region = context ? -1 : flow.region;
    return SORA_OK;
}
