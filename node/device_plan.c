/* The plan follows model/transformer_plan.c, model/vae and hip/gpu/ops_product.c. */
#include "node/device_plan.h"

#include "hip/gpu/launch_plan.h"
#include "model/bundle.h"
#include "model/text_encoder.h"
#include "model/vae_config.h"

#include <stdio.h>
#include <unistd.h>

#define PATH_SIZE 4352
#define TEXT_KEYS_MAX 513 /* 512 rows and one for all padding */
#define STATE_COPIES 8    /* of a latent, at most: the solver's and one for each window over it */

struct configs {
    struct sora_bundle bundle;
    struct sora_transformer_config transformer;
    struct sora_vae_config vae;
};

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

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t products_bytes(const struct sora_device *device, int count,
                               const struct sora_gpu_product *products)
{
    uint64_t most = 0;
    for (int i = 0; i < count; i++)
        most = larger(most, sora_gpu_product_scratch(device, &products[i]));
    return most;
}

/* The greatest pass that rounds operands: queries, keys and values of all heads, or a product's
 * rows with what a library needs beside them. */
static uint64_t scratch_bytes(const struct sora_device_plan_shard *shard, int64_t tokens)
{
    const struct sora_transformer_config *c = shard->transformer;
    if (shard->precision == SORA_GPU_F32)
        return 0;
    int64_t ffn_rows = sora_transformer_config_ffn_rows(c, tokens);
    int64_t d = (int64_t)c->heads * c->head_size;
    const struct sora_gpu_product products[] = {
        {tokens, d, d, .in_place = true},
        {ffn_rows, c->ffn_width, d, .in_place = false},
        {ffn_rows, d, c->ffn_width, .in_place = true},
        {TEXT_KEYS_MAX, d, c->text_width > d ? c->text_width : d, .in_place = false},
    };
    uint64_t attention =
        6 * (uint64_t)tokens * (uint64_t)c->heads * (uint64_t)sora_plan_head_stride(c->head_size);
    return larger(attention, products_bytes(shard->device, 4, products));
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

static uint64_t contexts_bytes(const struct sora_transformer_config *c)
{
    return 2 * 2 * (uint64_t)c->layers * TEXT_KEYS_MAX * (uint64_t)c->heads *
           (uint64_t)c->head_size * sizeof(float);
}

/* What f32 operands of products are rounded to. */
static enum sora_dtype operand_type(enum sora_gpu_precision precision)
{
    return precision == SORA_GPU_F32   ? SORA_DTYPE_F32
           : precision == SORA_GPU_F16 ? SORA_DTYPE_F16
                                       : SORA_DTYPE_BF16;
}

static bool is_quantised(enum sora_gpu_precision precision)
{
    return precision == SORA_GPU_INT8 || precision == SORA_GPU_FP8;
}

int sora_device_plan_shard_make(const struct sora_device_plan_shard *shard,
                                struct sora_device_plan *out_plan, struct sora_fault *fault)
{
    const struct sora_transformer_config *c = shard->transformer;
    enum sora_dtype type = operand_type(shard->precision);
    struct sora_vae_plan vae;
    size_t activations =
        sora_transformer_config_activation_size(c, shard->window, shard->height, shard->width);
    if (activations == SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "latents of %dx%d are more than a forward pass takes", shard->width,
                              shard->height);
    int error =
        sora_vae_config_decoder_plan(shard->vae, shard->height, shard->width, type, &vae, fault);
    if (error)
        return error;
    int64_t tokens = (int64_t)shard->window / c->patch_t * (shard->height / c->patch_h) *
                     (shard->width / c->patch_w);
    struct sora_device_plan plan = {
        .latents = shard->latents,
        .window_latents = shard->window,
        .transformer = sora_transformer_config_weight_size(c, type, is_quantised(shard->precision)),
        .contexts = contexts_bytes(c),
        .latent_state = STATE_COPIES * sizeof(float) * (uint64_t)c->in_channels *
                        (uint64_t)shard->latents * (uint64_t)shard->height * (uint64_t)shard->width,
        .activations = activations,
        .scratch = scratch_bytes(shard, tokens),
        .vae = vae.weight_bytes + vae.plain_weight_bytes,
        .decoding = vae.cache_bytes + vae.activation_bytes + vae.scratch_bytes,
        .decoding_min = vae.cache_bytes + vae.activation_bytes_min + vae.scratch_bytes,
    };
    plan.sampling_peak =
        plan.transformer + plan.contexts + plan.latent_state + plan.activations + plan.scratch;
    plan.decoding_peak = plan.latent_state + plan.vae + plan.decoding;
    plan.decoding_peak_min = plan.latent_state + plan.vae + plan.decoding_min;
    *out_plan = plan;
    return 0;
}

/* A model whose text encoder is not here is planned without. */
static int plan_texts(const struct configs *configs, enum sora_gpu_precision precision,
                      struct sora_device_plan *plan, struct sora_fault *fault)
{
    char path[PATH_SIZE], file[PATH_SIZE + 16];
    struct sora_text_encoder_plan text;
    sora_bundle_path(&configs->bundle, "text_encoder", path, sizeof(path));
    snprintf(file, sizeof(file), "%s/config.json", path);
    if (access(file, R_OK))
        return 0;
    int error = sora_text_encoder_plan_read(path, operand_type(precision), &text, fault);
    if (error)
        return error;
    const struct sora_gpu_product products[] = {
        {text.rows, text.inner, text.width, .in_place = false},
        {text.rows, text.width, text.inner, .in_place = true},
        {text.rows, text.ffn_width, text.width, .in_place = false},
        {text.rows, text.width, text.ffn_width, .in_place = true},
    };
    plan->text_encoder = text.weights;
    plan->text_block = text.layer;
    plan->text_activations = text.activations;
    if (precision != SORA_GPU_F32)
        plan->text_activations += products_bytes(NULL, 4, products);
    plan->text_peak = text.weights + plan->text_activations;
    plan->text_peak_min = text.layer + plan->text_activations;
    return 0;
}

static int plan_fill(const struct sora_device_plan_ask *ask, const struct configs *configs,
                     struct sora_device_plan *plan, struct sora_fault *fault)
{
    int factor = configs->vae.temporal_factor;
    int latents = ask->frames == 1 ? 1 : (ask->frames - 2 + factor) / factor + 1;
    int window = (int)configs->bundle.window_latents;
    const struct sora_device_plan_shard shard = {
        .transformer = &configs->transformer,
        .vae = &configs->vae,
        .height = ask->height / configs->vae.spatial_factor,
        .width = ask->width / configs->vae.spatial_factor,
        .latents = latents < 3 * window ? latents : 3 * window,
        .window = latents < window ? latents : window,
        .precision = ask->precision,
    };
    int error = sora_device_plan_shard_make(&shard, plan, fault);
    if (!error)
        error = plan_texts(configs, ask->precision, plan, fault);
    plan->latents = latents;
    snprintf(plan->model, sizeof(plan->model), "%s", configs->bundle.name);
    return error;
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
    return larger(plan->sampling_peak, larger(plan->decoding_peak_min, plan->text_peak_min));
}
