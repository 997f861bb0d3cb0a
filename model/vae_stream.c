/*
 * The VAE's decoder and encoder, on top of sora_vae_coder: latents are permuted and (de)normalised
 * on the device, frames are checked, clamped and handed out.
 */
#include "base/log.h"
#include "model/vae_coder.h"
#include "model/vae_parts.h"

#include <math.h>
#include <stdlib.h>

/* Decoder and encoder are this one thing, used in one direction each. */
struct stream_state {
    struct sora_vae *vae;
    struct sora_vae_coder *coder;
    int64_t height, width; /* of latents */
    int64_t latent_index;  /* in the shot, for messages */
};
struct sora_vae_decoder {
    struct stream_state state;
};
struct sora_vae_encoder {
    struct stream_state state;
};

/* ---- the state of both ---- */

static int check_device(const struct sora_vae *vae, const struct sora_vae_half *half,
                        const struct sora_vae_plan *plan, struct sora_fault *fault)
{
    struct sora_device_caps caps;
    sora_device_caps(vae->device, &caps);
    for (int i = 0; i < half->blocks.count; i++) {
        const struct sora_vae_block *block = &half->blocks.items[i];
        if (block->kind == SORA_VAE_ATTENTION && block->in > caps.head_size_max)
            return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                                  "VAE: %s has one head of %d channels; the device can do %lld",
                                  block->name, block->in, (long long)caps.head_size_max);
    }
    uint64_t needed = (uint64_t)plan->cache_bytes + plan->activation_bytes_min +
                      (half->packed ? 0 : plan->weight_bytes);
    /* A card's own memory says so when it is taken. */
    if (caps.host_memory && needed > caps.memory_total)
        return sora_fault_set(fault, SORA_E_MEMORY,
                              "VAE: %.1f GB are needed for this frame size, the device has %.1f "
                              "GB: choose a smaller size",
                              (double)needed / 1e9, (double)caps.memory_total / 1e9);
    return SORA_OK;
}

/* A coder of whole passes that leaves room for what operations take, else one by frame. */
static int create_coder(struct stream_state *state, const struct sora_vae_half *half,
                        struct sora_vae_extent extent, const struct sora_vae_plan *plan)
{
    struct sora_device *device = state->vae->device;
    bool may_shrink = plan->activation_bytes_min < plan->activation_bytes;
    int error = sora_vae_coder_create(device, half, extent, false, &state->coder);
    struct sora_device_caps caps;
    sora_device_caps(device, &caps);
    if (!error && may_shrink && !caps.host_memory && caps.memory_free < plan->scratch_bytes) {
        sora_vae_coder_destroy(&state->coder);
        error = SORA_E_MEMORY;
    }
    if (error != SORA_E_MEMORY || !may_shrink)
        return error;
    sora_log(SORA_LOG_INFO, "memory is short: decoding frame by frame bytes=%zu instead_of=%zu",
             plan->cache_bytes + plan->activation_bytes_min,
             plan->cache_bytes + plan->activation_bytes);
    return sora_vae_coder_create(device, half, extent, true, &state->coder);
}

static int create_state(struct stream_state *state, struct sora_vae *vae,
                        struct sora_vae_half *half, struct sora_vae_extent extent,
                        struct sora_fault *fault)
{
    struct sora_vae_plan plan;
    struct sora_vae_passes passes = {extent, extent, sora_vae_element_size(vae)};
    passes.first.frames = 1;
    sora_vae_blocks_plan(&half->blocks, &passes, &plan);
    state->vae = vae;
    int error = check_device(vae, half, &plan, fault);
    if (error)
        return error;
    bool packed = half->packed;
    error = sora_vae_half_pack(half, vae->device, fault);
    if (error)
        return error;
    if (!packed) /* the stored form is read again only for the other half */
        sora_checkpoint_release_pages(vae->checkpoint);
    error = create_coder(state, half, extent, &plan);
    if (error)
        return sora_fault_set(fault, error, "VAE: %.1f GB of device memory could not be taken: %s",
                              (double)(plan.cache_bytes + plan.activation_bytes_min) / 1e9,
                              sora_error_text(error));
    return SORA_OK;
}

static void reset_state(struct stream_state *state)
{
    sora_vae_coder_reset(state->coder);
    state->latent_index = 0;
}

/* The innermost sentence stays; an operation's bare code gets one here. */
static int failed(const struct stream_state *state, const char *half, int error,
                  struct sora_fault *fault)
{
    return sora_fault_set(fault, error, "VAE %s: latent %lld: %s", half,
                          (long long)state->latent_index, sora_error_text(error));
}

/* ---- decoder ---- */

int sora_vae_decoder_create(struct sora_vae *vae, int height, int width,
                            struct sora_vae_decoder **out_decoder, struct sora_fault *fault)
{
    int error = sora_vae_check_latent_size(height, width, fault);
    if (error)
        return error;
    struct sora_vae_decoder *decoder = calloc(1, sizeof(*decoder));
    if (!decoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE decoder: out of memory");
    decoder->state.height = height;
    decoder->state.width = width;
    error = create_state(&decoder->state, vae, &vae->decoder,
                         (struct sora_vae_extent){1, height, width}, fault);
    if (error)
        sora_vae_decoder_destroy(&decoder);
    else
        *out_decoder = decoder;
    return error;
}

void sora_vae_decoder_destroy(struct sora_vae_decoder **decoder)
{
    if (*decoder)
        sora_vae_coder_destroy(&(*decoder)->state.coder);
    free(*decoder);
    *decoder = NULL;
}

void sora_vae_decoder_reset(struct sora_vae_decoder *decoder)
{
    reset_state(&decoder->state);
}

void sora_vae_decoder_begin(struct sora_vae_decoder *decoder, int first, int own)
{
    SORA_ASSERT(first >= 0 && first <= own);
    sora_vae_coder_begin(decoder->state.coder, own - first, first == 0);
    decoder->state.latent_index = first;
}

static bool all_finite(const float *values, int64_t count)
{
    float sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i] * 0.0f; /* NaN for an infinity or NaN */
    return sum == 0;
}

/* Uploads a latent and brings it into the model's space, [1,h,w,C] in region 0. */
static int upload_latent(const struct stream_state *state, const float *latent,
                         struct sora_tensor *out_latent)
{
    int64_t channels = state->vae->config.channels, h = state->height, w = state->width;
    struct sora_stream *stream = sora_vae_coder_stream(state->coder);
    struct sora_tensor planes =
        sora_vae_coder_scratch(state->coder, 1, SORA_DTYPE_F32, SORA_SHAPE(channels, h * w));
    struct sora_tensor pixels =
        sora_vae_coder_scratch(state->coder, 0, SORA_DTYPE_F32, SORA_SHAPE(h * w, channels));
    int error = sora_tensor_upload(stream, &planes, latent);
    if (!error)
        error = sora_op_permute(stream, &planes, (const int[]){1, 0}, &pixels);
    if (!error)
        error = sora_op_affine(stream, &pixels, &state->vae->decode_scale,
                               &state->vae->decode_shift, &pixels);
    *out_latent = sora_tensor_reshape(&pixels, SORA_SHAPE(1, h, w, channels));
    return error;
}

/* Names the first frame of [T,H,W,3] that is not finite. */
static int check_frames(const struct stream_state *state, const struct sora_tensor *frames,
                        struct sora_fault *fault)
{
    struct sora_stream *stream = sora_vae_coder_stream(state->coder);
    for (int64_t i = 0; i < frames->shape[0]; i++) {
        struct sora_tensor frame = sora_tensor_slice(frames, i, 1);
        bool finite = false;
        int error = sora_device_all_finite(stream, &frame, &finite);
        if (error)
            return error;
        if (!finite)
            return sora_fault_set(fault, SORA_E_NUMERIC,
                                  "VAE decoder: frame %lld of latent %lld is not finite: the "
                                  "weights or the latent are damaged",
                                  (long long)i, (long long)state->latent_index);
    }
    return SORA_OK;
}

static int hand_out(const struct stream_state *state, const struct sora_tensor *frames, int region,
                    float *out_frames, uint8_t *out_rgb)
{
    struct sora_stream *stream = sora_vae_coder_stream(state->coder);
    int error = SORA_OK;
    if (out_rgb) {
        struct sora_tensor rgb = sora_vae_coder_scratch(state->coder, region + 1, SORA_DTYPE_U8,
                                                        frames->rank, frames->shape);
        error = sora_op_to_rgb8(stream, frames, &rgb);
        if (!error)
            error = sora_tensor_download(stream, &rgb, out_rgb);
    }
    if (error || !out_frames)
        return error;
    error = sora_tensor_download(stream, frames, out_frames);
    int64_t count = error ? 0 : sora_tensor_count(frames);
    for (int64_t i = 0; i < count; i++)
        out_frames[i] = fminf(fmaxf(out_frames[i], -1.0f), 1.0f);
    return error;
}

int sora_vae_decoder_next(struct sora_vae_decoder *decoder, const float *latent, float *out_frames,
                          uint8_t *out_rgb, int *out_count, struct sora_fault *fault)
{
    struct stream_state *state = &decoder->state;
    if (!all_finite(latent, state->vae->config.channels * state->height * state->width))
        return sora_fault_set(fault, SORA_E_NUMERIC,
                              "VAE decoder: latent %lld is not finite before decoding",
                              (long long)state->latent_index);
    struct sora_tensor in, frames;
    int region = 0;
    int error = upload_latent(state, latent, &in);
    if (!error)
        error = sora_vae_coder_run(state->coder, &in, &frames, &region);
    bool context = !error && region < 0;
    if (!error && !context)
        error = check_frames(state, &frames, fault);
    if (!error && !context)
        error = hand_out(state, &frames, region, out_frames, out_rgb);
    if (error)
        return failed(state, "decoder", error, fault);
    state->latent_index++;
    if (out_count)
        *out_count = context ? 0 : (int)frames.shape[0];
    return SORA_OK;
}

/* ---- encoder ---- */

int sora_vae_encoder_create(struct sora_vae *vae, int frame_height, int frame_width,
                            struct sora_vae_encoder **out_encoder, struct sora_fault *fault)
{
    int height = frame_height, width = frame_width;
    int error = sora_vae_latent_size(vae, &height, &width, fault);
    if (error)
        return error;
    struct sora_vae_encoder *encoder = calloc(1, sizeof(*encoder));
    if (!encoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE encoder: out of memory");
    encoder->state.height = height;
    encoder->state.width = width;
    error = create_state(
        &encoder->state, vae, &vae->encoder,
        (struct sora_vae_extent){vae->config.temporal_factor, frame_height, frame_width}, fault);
    if (error)
        sora_vae_encoder_destroy(&encoder);
    else
        *out_encoder = encoder;
    return error;
}

void sora_vae_encoder_destroy(struct sora_vae_encoder **encoder)
{
    if (*encoder)
        sora_vae_coder_destroy(&(*encoder)->state.coder);
    free(*encoder);
    *encoder = NULL;
}

void sora_vae_encoder_reset(struct sora_vae_encoder *encoder)
{
    reset_state(&encoder->state);
}

/* [1,h,w,C] in `region` to the transformer's space and the host's order. */
static int download_latent(const struct stream_state *state, const struct sora_tensor *latent,
                           int region, float *out_latent, struct sora_fault *fault)
{
    int64_t channels = state->vae->config.channels, count = state->height * state->width;
    struct sora_stream *stream = sora_vae_coder_stream(state->coder);
    struct sora_tensor pixels = sora_tensor_reshape(latent, SORA_SHAPE(count, channels));
    struct sora_tensor planes = sora_vae_coder_scratch(state->coder, region + 1, SORA_DTYPE_F32,
                                                       SORA_SHAPE(channels, count));
    bool finite = false;
    int error = sora_op_affine(stream, &pixels, &state->vae->encode_scale,
                               &state->vae->encode_shift, &pixels);
    if (!error)
        error = sora_op_permute(stream, &pixels, (const int[]){1, 0}, &planes);
    if (!error)
        error = sora_device_all_finite(stream, &planes, &finite);
    if (!error && !finite)
        return sora_fault_set(fault, SORA_E_NUMERIC,
                              "VAE encoder: latent %lld is not finite: the weights or the frames "
                              "are damaged",
                              (long long)state->latent_index);
    return error ? error : sora_tensor_download(stream, &planes, out_latent);
}

int sora_vae_encoder_next(struct sora_vae_encoder *encoder, const float *frames, float *out_latent,
                          struct sora_fault *fault)
{
    struct stream_state *state = &encoder->state;
    int64_t factor = state->vae->config.spatial_factor;
    int64_t count = sora_vae_coder_at_start(state->coder) ? 1 : state->vae->config.temporal_factor;
    struct sora_tensor in =
        sora_vae_coder_scratch(state->coder, 0, SORA_DTYPE_F32,
                               SORA_SHAPE(count, state->height * factor, state->width * factor, 3));
    if (!all_finite(frames, sora_tensor_count(&in)))
        return sora_fault_set(fault, SORA_E_NUMERIC,
                              "VAE encoder: the frames of latent %lld are not finite",
                              (long long)state->latent_index);
    struct sora_tensor latent;
    int region = 0;
    int error = sora_tensor_upload(sora_vae_coder_stream(state->coder), &in, frames);
    if (!error)
        error = sora_vae_coder_run(state->coder, &in, &latent, &region);
    if (!error)
        error = download_latent(state, &latent, region, out_latent, fault);
    if (error)
        return failed(state, "encoder", error, fault);
    state->latent_index++;
    return SORA_OK;
}
