/* The plan follows model/transformer_plan.c, model/vae and hip/gpu/ops_product.c. */
#include "node/device_plan.h"

#include "hip/gpu/launch_plan.h"
#include "model/bundle.h"
#include "model/transformer.h"
#include "model/vae.h"
#include "model/vae_config.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE 4352
#define TEXT_KEYS_MAX 513 /* 512 rows and one for all padding */
#define FFN_ROWS_MAX 2048 /* of one product of the feed-forward part (model/transformer_plan.c) */

struct configs {
    struct sora_bundle bundle;
    struct sora_transformer_config transformer;
    struct sora_vae_config vae;
};

/* Bytes of the weight files of a part; 0 when it has none. */
static uint64_t part_bytes(const struct sora_bundle *bundle, const char *part)
{
    char folder[PATH_SIZE], path[PATH_SIZE + 300];
    sora_bundle_path(bundle, part, folder, sizeof(folder));
    DIR *dir = opendir(folder);
    uint64_t bytes = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat status;
        const char *end = strrchr(entry->d_name, '.');
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (end && strcmp(end, ".safetensors") == 0 && stat(path, &status) == 0)
            bytes += (uint64_t)status.st_size;
    }
    if (dir)
        closedir(dir);
    return bytes;
}

static int read_configs(const char *model, struct configs *configs, struct sora_fault *fault)
{
    char path[PATH_SIZE];
    int error = sora_bundle_open(model, &configs->bundle, fault);
    if (error)
        return error;
    sora_bundle_path(&configs->bundle, "transformer", path, sizeof(path));
    error = sora_transformer_config_read(path, &configs->transformer, fault);
    sora_bundle_path(&configs->bundle, "vae", path, sizeof(path));
    return error ? error : sora_vae_config_read(path, &configs->vae, fault);
}

/* Where the weights are not here yet: counted from the configuration, at 2 bytes each. */
static uint64_t transformer_bytes(const struct configs *configs)
{
    uint64_t bytes = part_bytes(&configs->bundle, "transformer");
    const struct sora_transformer_config *c = &configs->transformer;
    uint64_t d = (uint64_t)c->heads * (uint64_t)c->head_size, f = (uint64_t)c->ffn_width;
    uint64_t block = 8 * d * d + 2 * d * f + 20 * d + f;
    uint64_t edges = 8 * d * d + ((uint64_t)c->freq_width + (uint64_t)c->text_width) * d;
    return bytes ? bytes : 2 * ((uint64_t)c->layers * block + edges);
}

/* The greatest pass that rounds operands: queries, keys and values of all heads, or a product's
 * rows. */
static uint64_t scratch_bytes(const struct sora_transformer_config *c, int64_t tokens,
                              enum sora_gpu_precision precision)
{
    if (precision == SORA_GPU_F32)
        return 0;
    int stride = sora_plan_head_stride(c->head_size);
    int64_t ffn_rows = tokens < FFN_ROWS_MAX ? tokens : FFN_ROWS_MAX;
    int64_t attention = 3 * tokens * c->heads * stride;
    int64_t rows = tokens * c->heads * c->head_size, hidden = ffn_rows * c->ffn_width;
    int64_t most = attention > rows ? attention : rows;
    return 2 * (uint64_t)(most > hidden ? most : hidden);
}

static int sizes_check(const struct sora_device_plan_ask *ask, const struct configs *configs,
                       struct sora_fault *fault)
{
    const struct sora_transformer_config *c = &configs->transformer;
    int across = configs->vae.spatial_factor * c->patch_w;
    int down = configs->vae.spatial_factor * c->patch_h;
    if (ask->frames < 1 || ask->width < across || ask->height < down || ask->width % across ||
        ask->height % down)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%dx%d with %d frames: this model takes a width in multiples of %d, "
                              "a height in multiples of %d and 1 frame or more",
                              ask->width, ask->height, ask->frames, across, down);
    return 0;
}

static int plan_fill(const struct sora_device_plan_ask *ask, const struct configs *configs,
                     struct sora_device_plan *plan, struct sora_fault *fault)
{
    const struct sora_transformer_config *c = &configs->transformer;
    int height = ask->height / configs->vae.spatial_factor;
    int width = ask->width / configs->vae.spatial_factor;
    struct sora_vae_plan vae;
    snprintf(plan->model, sizeof(plan->model), "%s", configs->bundle.name);
    plan->latents = (ask->frames - 2 + configs->vae.temporal_factor) / configs->vae.temporal_factor;
    plan->latents = ask->frames == 1 ? 1 : plan->latents + 1;
    plan->window_latents = plan->latents < configs->bundle.window_latents
                               ? plan->latents
                               : (int)configs->bundle.window_latents;
    size_t activations =
        sora_transformer_config_activation_size(c, plan->window_latents, height, width);
    if (activations == SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%dx%d is more than a forward pass takes",
                              ask->width, ask->height);
    int error = sora_vae_config_decoder_plan(&configs->vae, height, width, &vae, fault);
    if (error)
        return error;
    int64_t tokens =
        (int64_t)plan->window_latents / c->patch_t * (height / c->patch_h) * (width / c->patch_w);
    bool is_half = ask->precision != SORA_GPU_F32;
    plan->activations = activations;
    plan->scratch = scratch_bytes(c, tokens, ask->precision);
    plan->contexts = 2 * 2 * (uint64_t)c->layers * TEXT_KEYS_MAX * (uint64_t)c->heads *
                     (uint64_t)c->head_size * sizeof(float);
    plan->transformer = transformer_bytes(configs);
    plan->vae = part_bytes(&configs->bundle, "vae") + vae.weight_bytes / (is_half ? 2 : 1);
    plan->decoding = vae.cache_bytes + vae.activation_bytes;
    plan->text_encoder = part_bytes(&configs->bundle, "text_encoder");
    plan->sampling_peak = plan->transformer + plan->contexts + plan->activations + plan->scratch;
    plan->decoding_peak = plan->sampling_peak + plan->vae + plan->decoding;
    plan->text_peak = plan->transformer + plan->text_encoder;
    return 0;
}

int sora_device_plan_make(const struct sora_device_plan_ask *ask, struct sora_device_plan *out_plan,
                          struct sora_fault *fault)
{
    struct configs configs = {.vae = {0}};
    struct sora_device_plan plan = {.latents = 0};
    int error = read_configs(ask->model, &configs, fault);
    if (!error)
        error = sizes_check(ask, &configs, fault);
    if (!error)
        error = plan_fill(ask, &configs, &plan, fault);
    if (!error)
        *out_plan = plan;
    sora_bundle_fini(&configs.bundle);
    return error;
}

uint64_t sora_device_plan_needed(const struct sora_device_plan *plan)
{
    return plan->sampling_peak > plan->decoding_peak ? plan->sampling_peak : plan->decoding_peak;
}
