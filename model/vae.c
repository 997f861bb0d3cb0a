/* The VAE: opening, sizes and plans. The streaming coders are model/vae_stream.c. */
#include "model/vae.h"

#include "model/vae_config.h"
#include "model/vae_parts.h"

#include <stdlib.h>

#define LATENT_SIZE_MAX 1024

/* ---- opening ---- */

static int upload_statistics(struct sora_vae *vae)
{
    int64_t channels = vae->config.channels;
    float values[4][SORA_VAE_CHANNELS_MAX];
    for (int i = 0; i < channels; i++) {
        double mean = vae->config.latents_mean[i], std = vae->config.latents_std[i];
        values[0][i] = (float)std;
        values[1][i] = (float)mean;
        values[2][i] = (float)(1 / std);
        values[3][i] = (float)(-mean / std);
    }
    struct sora_stream *stream = NULL;
    int error = sora_buffer_create(vae->device, 4 * sora_vae_bytes(channels), &vae->statistics);
    if (!error)
        error = sora_stream_create(vae->device, &stream);
    struct sora_tensor *tensors[] = {&vae->decode_scale, &vae->decode_shift, &vae->encode_scale,
                                     &vae->encode_shift};
    for (int i = 0; !error && i < 4; i++) {
        *tensors[i] = sora_tensor_make(vae->statistics, (size_t)i * sora_vae_bytes(channels),
                                       SORA_DTYPE_F32, 1, &channels);
        error = sora_tensor_upload(stream, tensors[i], values[i]);
    }
    sora_stream_destroy(&stream);
    return error;
}

static int find_weights(struct sora_vae *vae, struct sora_fault *fault)
{
    struct sora_vae_blocks blocks = {0};
    int error = sora_vae_blocks_init_decoder(&blocks, &vae->config);
    if (!error)
        error = sora_vae_half_init(&vae->decoder, &blocks, vae->weights, fault);
    if (!error)
        error = sora_vae_blocks_init_encoder(&blocks, &vae->config);
    if (!error)
        error = sora_vae_half_init(&vae->encoder, &blocks, vae->weights, fault);
    sora_vae_blocks_fini(&blocks);
    return error;
}

int sora_vae_open(const char *dir, struct sora_device *device, struct sora_vae **out_vae,
                  struct sora_fault *fault)
{
    struct sora_vae *vae = calloc(1, sizeof(*vae));
    if (!vae)
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE: out of memory");
    vae->device = device;
    int error = sora_vae_config_read(dir, &vae->config, fault);
    if (!error)
        error = sora_checkpoint_open(dir, &vae->checkpoint, fault);
    if (!error)
        error = sora_weights_create(vae->checkpoint, device, &vae->weights, fault);
    if (!error)
        error = find_weights(vae, fault);
    if (!error)
        error = upload_statistics(vae);
    if (error) {
        sora_vae_destroy(&vae);
        return sora_fault_set(fault, error, "VAE %s: %s", dir, sora_error_text(error));
    }
    *out_vae = vae;
    return SORA_OK;
}

void sora_vae_destroy(struct sora_vae **vae)
{
    if (!*vae)
        return;
    sora_buffer_destroy(&(*vae)->statistics);
    sora_vae_half_fini(&(*vae)->encoder);
    sora_vae_half_fini(&(*vae)->decoder);
    sora_weights_destroy(&(*vae)->weights);
    sora_checkpoint_destroy(&(*vae)->checkpoint);
    free(*vae);
    *vae = NULL;
}

void sora_vae_unload(struct sora_vae *vae)
{
    if (!sora_weights_are_copies(vae->weights))
        return;
    sora_vae_half_unpack(&vae->decoder);
    sora_vae_half_unpack(&vae->encoder);
    sora_weights_unload(vae->weights);
}

const struct sora_vae_config *sora_vae_config(const struct sora_vae *vae)
{
    return &vae->config;
}

/* ---- sizes ---- */

int sora_vae_check_latent_size(int height, int width, struct sora_fault *fault)
{
    if (height >= 1 && height <= LATENT_SIZE_MAX && width >= 1 && width <= LATENT_SIZE_MAX)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_LIMIT,
                          "VAE: the latent size %dx%d is outside 1x1 to %dx%d: choose another "
                          "frame size",
                          width, height, LATENT_SIZE_MAX, LATENT_SIZE_MAX);
}

int sora_vae_latent_size(const struct sora_vae *vae, int *height, int *width,
                         struct sora_fault *fault)
{
    int factor = vae->config.spatial_factor;
    if (*height < 1 || *width < 1 || *height % factor || *width % factor)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "VAE: the frame size %dx%d must be a multiple of %d both ways",
                              *width, *height, factor);
    *height /= factor;
    *width /= factor;
    return sora_vae_check_latent_size(*height, *width, fault);
}

size_t sora_vae_element_size(const struct sora_vae *vae)
{
    struct sora_device_caps caps;
    sora_device_caps(vae->device, &caps);
    return sora_dtype_size(caps.product_type);
}

struct decoder_size {
    int height, width;
    size_t element_size;
};

static int plan_decoder(const struct sora_vae_blocks *blocks, const struct decoder_size *size,
                        struct sora_vae_plan *out_plan, struct sora_fault *fault)
{
    int height = size->height, width = size->width;
    int error = sora_vae_check_latent_size(height, width, fault);
    if (error)
        return error;
    struct sora_vae_stage *stages = calloc((size_t)blocks->count, sizeof(*stages));
    if (!stages)
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE: out of memory");
    const struct sora_vae_extent extent = {1, height, width};
    const struct sora_vae_passes passes = {extent, extent, size->element_size};
    sora_vae_blocks_plan(blocks, &passes, out_plan);
    int context = sora_vae_blocks_stages(blocks, stages);
    out_plan->flops_context = sora_vae_blocks_context_work(blocks, stages, extent, context);
    free(stages);
    return SORA_OK;
}

int sora_vae_decoder_plan(const struct sora_vae *vae, int height, int width,
                          struct sora_vae_plan *out_plan, struct sora_fault *fault)
{
    const struct decoder_size size = {height, width, sora_vae_element_size(vae)};
    return plan_decoder(&vae->decoder.blocks, &size, out_plan, fault);
}

int sora_vae_config_decoder_plan(const struct sora_vae_config *config, int height, int width,
                                 enum sora_dtype type, struct sora_vae_plan *out_plan,
                                 struct sora_fault *fault)
{
    struct sora_vae_blocks blocks = {0};
    if (sora_vae_blocks_init_decoder(&blocks, config))
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE: out of memory");
    const struct decoder_size size = {height, width, sora_dtype_size(type)};
    int error = plan_decoder(&blocks, &size, out_plan, fault);
    sora_vae_blocks_fini(&blocks);
    return error;
}

int sora_vae_encoder_plan(const struct sora_vae *vae, int frame_height, int frame_width,
                          struct sora_vae_plan *out_plan, struct sora_fault *fault)
{
    int height = frame_height, width = frame_width;
    int error = sora_vae_latent_size(vae, &height, &width, fault);
    if (error)
        return error;
    const struct sora_vae_passes passes = {{1, frame_height, frame_width},
                                           {vae->config.temporal_factor, frame_height, frame_width},
                                           sora_vae_element_size(vae)};
    sora_vae_blocks_plan(&vae->encoder.blocks, &passes, out_plan);
    return SORA_OK;
}
