/* Facts from sora.yaml, transformer/config.json, vae/config.json and the sizes of the files. */
#include "node/model_facts.h"

#include "model/transformer.h"
#include "model/vae_config.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE 4096
#define DEPTH_MAX 4
#define ENTRIES_MAX 4096

/* Sum of the sizes of the files below `path`; what cannot be looked at counts nothing. */
static uint64_t folder_bytes(const char *path, int depth)
{
    DIR *folder = depth < DEPTH_MAX ? opendir(path) : NULL;
    uint64_t bytes = 0;
    const struct dirent *entry;
    for (int i = 0; folder && i < ENTRIES_MAX && (entry = readdir(folder)); i++) {
        char child[PATH_SIZE];
        struct stat status;
        int length = snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || length >= (int)sizeof(child) || stat(child, &status))
            continue;
        if (S_ISREG(status.st_mode))
            bytes += (uint64_t)status.st_size;
        else if (S_ISDIR(status.st_mode))
            bytes += folder_bytes(child, depth + 1);
    }
    if (folder)
        closedir(folder);
    return bytes;
}

static int read_configs(const struct sora_bundle *bundle,
                        struct sora_transformer_config *transformer, struct sora_vae_config *vae,
                        struct sora_fault *fault)
{
    char path[PATH_SIZE];
    sora_bundle_path(bundle, "transformer", path, sizeof(path));
    int error = sora_transformer_config_read(path, transformer, fault);
    sora_bundle_path(bundle, "vae", path, sizeof(path));
    if (!error)
        error = sora_vae_config_read(path, vae, fault);
    if (!error && transformer->in_channels != vae->channels)
        error = sora_fault_set(fault, SORA_E_FORMAT,
                               "%.300s: the transformer takes %d channels, the VAE makes %d",
                               bundle->directory, transformer->in_channels, vae->channels);
    return error;
}

/* Bytes of a decoder for each pixel, measured at the model's own size. */
static int decode_bytes(const struct sora_bundle *bundle, const struct sora_vae_config *vae,
                        int32_t *out_bytes, struct sora_fault *fault)
{
    int width = bundle->size.width / vae->spatial_factor;
    int height = bundle->size.height / vae->spatial_factor;
    width = width < 1 ? 1 : width;
    height = height < 1 ? 1 : height;
    struct sora_vae_plan plan;
    int error = sora_vae_config_decoder_plan(vae, height, width, SORA_DTYPE_F32, &plan, fault);
    double pixels = (double)width * height * vae->spatial_factor * vae->spatial_factor;
    double bytes = error ? 0 : ((double)plan.cache_bytes + (double)plan.activation_bytes) / pixels;
    if (!error)
        *out_bytes = bytes < INT_MAX ? (int32_t)ceil(bytes) : INT_MAX;
    return error;
}

static uint64_t part_bytes(const struct sora_bundle *bundle, const char *part)
{
    char path[PATH_SIZE];
    sora_bundle_path(bundle, part, path, sizeof(path));
    return folder_bytes(path, 1);
}

int sora_model_facts_read(const struct sora_bundle *bundle, struct sora_model_facts *out_facts,
                          struct sora_fault *fault)
{
    struct sora_transformer_config transformer;
    struct sora_vae_config vae;
    int32_t pixel_bytes = 0;
    int error = read_configs(bundle, &transformer, &vae, fault);
    if (!error)
        error = decode_bytes(bundle, &vae, &pixel_bytes, fault);
    if (error)
        return error;
    const struct sora_model_facts facts = {
        .name = bundle->name,
        .window = (int32_t)bundle->window_latents,
        .overlap = (int32_t)bundle->overlap_latents,
        .channels = vae.channels,
        .temporal_factor = vae.temporal_factor,
        .spatial_factor = vae.spatial_factor,
        .multiple_width = vae.spatial_factor * transformer.patch_w,
        .multiple_height = vae.spatial_factor * transformer.patch_h,
        .width = bundle->size.width,
        .height = bundle->size.height,
        .fps = bundle->fps,
        .steps = (int32_t)bundle->steps,
        .guidance = bundle->guidance,
        .shift = bundle->shift,
        .solver = bundle->solver,
        .noise_share = bundle->noise_share,
        .context_latents = sora_vae_decoder_warmup(&vae),
        .hidden = transformer.heads * transformer.head_size,
        .ffn = transformer.ffn_width,
        .layers = transformer.layers,
        .decode_pixel_bytes = pixel_bytes,
        .weight_bytes = folder_bytes(bundle->directory, 0),
        .text_weight_bytes = part_bytes(bundle, SORA_MODEL_TEXT_FOLDER),
        .vae_weight_bytes = part_bytes(bundle, SORA_MODEL_VAE_FOLDER),
        .negative = bundle->negative ? bundle->negative : "",
        .knows = bundle->knows ? bundle->knows : "",
        .words = bundle->words ? bundle->words : "",
    };
    error = sora_model_facts_check(&facts, fault);
    if (!error)
        *out_facts = facts;
    return error;
}
