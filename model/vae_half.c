/* Weights of one half of the VAE: found, checked and packed. */
#include "model/vae_half.h"

#include <stdio.h>
#include <stdlib.h>

struct finder {
    struct sora_weights *weights;
    const struct sora_vae_block *block;
    struct sora_fault *fault;
};

/* `block`.`layer`.weight and .bias, or the block's own when layer is empty. */
struct pair_spec {
    const char *layer;
    int rank;
    int64_t shape[5]; /* outputs first */
};

static int find_conv(const struct finder *finder, const struct pair_spec *spec,
                     struct sora_vae_conv *out_conv)
{
    const char *name = finder->block->name, *point = spec->layer[0] ? "." : "";
    int error = sora_weights_get(finder->weights, spec->rank, spec->shape, &out_conv->weight,
                                 finder->fault, "%s%s%s.weight", name, point, spec->layer);
    if (error)
        return error;
    return sora_weights_get(finder->weights, 1, spec->shape, &out_conv->bias, finder->fault,
                            "%s%s%s.bias", name, point, spec->layer);
}

/* A 1x1 (rank 4) or 1x1x1 (rank 5) convolution as a matrix of its first `keep` rows. */
static int find_matrix(const struct finder *finder, const struct pair_spec *spec, int64_t keep,
                       struct sora_vae_matrix *out_matrix)
{
    char name[sizeof(finder->block->name) + 64];
    const char *point = spec->layer[0] ? "." : "";
    snprintf(name, sizeof(name), "%s%s%s.weight", finder->block->name, point, spec->layer);
    const struct sora_weight_ask ask = {name, spec->rank, spec->shape, SORA_WEIGHTS_OPERAND};
    struct sora_weight found;
    struct sora_tensor bias;
    int error = sora_weights_take(finder->weights, &ask, &found, finder->fault);
    if (!error)
        error = sora_weights_get(finder->weights, 1, spec->shape, &bias, finder->fault,
                                 "%s%s%s.bias", finder->block->name, point, spec->layer);
    if (error)
        return error;
    struct sora_tensor weight = sora_tensor_reshape(&found.tensor, 2, spec->shape);
    out_matrix->weight = sora_tensor_slice(&weight, 0, keep);
    out_matrix->bias = sora_tensor_slice(&bias, 0, keep);
    return SORA_OK;
}

/* Gammas are stored as [C,1,1,1], the attention's as [C,1,1]. */
static int find_norm(const struct finder *finder, const char *layer, int rank, int64_t channels,
                     struct sora_tensor *out_norm)
{
    const int64_t shape[] = {channels, 1, 1, 1};
    struct sora_tensor gamma;
    int error = sora_weights_get(finder->weights, rank, shape, &gamma, finder->fault, "%s.%s.gamma",
                                 finder->block->name, layer);
    if (!error)
        *out_norm = sora_tensor_reshape(&gamma, 1, shape);
    return error;
}

static int find_resnet(const struct finder *finder, struct sora_vae_block_weights *out)
{
    int64_t i = finder->block->in, o = finder->block->out;
    int error = find_norm(finder, "norm1", 4, i, &out->norms[0]);
    if (!error)
        error = find_conv(finder, &(struct pair_spec){"conv1", 5, {o, i, 3, 3, 3}}, &out->convs[0]);
    if (!error)
        error = find_norm(finder, "norm2", 4, o, &out->norms[1]);
    if (!error)
        error = find_conv(finder, &(struct pair_spec){"conv2", 5, {o, o, 3, 3, 3}}, &out->convs[1]);
    if (!error && i != o)
        error = find_matrix(finder, &(struct pair_spec){"conv_shortcut", 5, {o, i, 1, 1, 1}}, o,
                            &out->matrices[0]);
    return error;
}

static int find_attention(const struct finder *finder, struct sora_vae_block_weights *out)
{
    int64_t c = finder->block->in;
    int error = find_norm(finder, "norm", 3, c, &out->norms[0]);
    if (!error)
        error = find_matrix(finder, &(struct pair_spec){"to_qkv", 4, {3 * c, c, 1, 1}}, 3 * c,
                            &out->matrices[0]);
    if (!error)
        error =
            find_matrix(finder, &(struct pair_spec){"proj", 4, {c, c, 1, 1}}, c, &out->matrices[1]);
    return error;
}

/* UP runs its convolution in time first, DOWN last; both store the spatial one as resample.1. */
static int find_resample(const struct finder *finder, struct sora_vae_block_weights *out)
{
    const struct sora_vae_block *block = finder->block;
    bool up = block->kind == SORA_VAE_UP;
    int64_t i = block->in, o = block->out;
    const struct pair_spec space = {"resample.1", 4, {o, i, 3, 3}};
    const struct pair_spec time = {"time_conv", 5, {up ? 2 * i : o, up ? i : o, 3, 1, 1}};
    int error = find_conv(finder, &space, &out->convs[up ? 1 : 0]);
    if (!error && block->temporal)
        error = find_conv(finder, &time, &out->convs[up ? 0 : 1]);
    return error;
}

static int find_block(const struct finder *finder, struct sora_vae_block_weights *out)
{
    const struct sora_vae_block *block = finder->block;
    int64_t i = block->in, o = block->out;
    int error;
    switch (block->kind) {
    case SORA_VAE_POINT:
        return find_matrix(finder, &(struct pair_spec){"", 5, {block->rows, i, 1, 1, 1}}, o,
                           &out->matrices[0]);
    case SORA_VAE_CONV:
        return find_conv(finder, &(struct pair_spec){"", 5, {o, i, 3, 3, 3}}, &out->convs[0]);
    case SORA_VAE_RESNET:
        return find_resnet(finder, out);
    case SORA_VAE_ATTENTION:
        return find_attention(finder, out);
    case SORA_VAE_UP:
    case SORA_VAE_DOWN:
        return find_resample(finder, out);
    case SORA_VAE_HEAD:
        error = find_norm(finder, "norm_out", 4, i, &out->norms[0]);
        if (error)
            return error;
        return find_conv(finder, &(struct pair_spec){"conv_out", 5, {o, i, 3, 3, 3}},
                         &out->convs[0]);
    }
    return SORA_E_INTERNAL;
}

int sora_vae_half_init(struct sora_vae_half *half, struct sora_vae_blocks *blocks,
                       struct sora_weights *weights, struct sora_fault *fault)
{
    *half = (struct sora_vae_half){.blocks = *blocks, .stored = weights};
    *blocks = (struct sora_vae_blocks){0};
    half->weights = calloc((size_t)half->blocks.count, sizeof(*half->weights));
    if (!half->weights)
        return sora_fault_set(fault, SORA_E_MEMORY, "VAE: out of memory for its layer list");
    sora_weights_check_only(weights, true);
    for (int i = 0; i < half->blocks.count; i++) {
        const struct finder finder = {weights, &half->blocks.items[i], fault};
        int error = find_block(&finder, &half->weights[i]);
        if (error)
            return error;
    }
    return SORA_OK;
}

void sora_vae_half_unpack(struct sora_vae_half *half)
{
    for (int i = 0; half->weights && i < half->blocks.count; i++) {
        for (int k = 0; k < 2; k++)
            sora_packed_destroy(&half->weights[i].convs[k].packed);
    }
    half->packed = false;
}

void sora_vae_half_fini(struct sora_vae_half *half)
{
    sora_vae_half_unpack(half);
    free(half->weights);
    sora_vae_blocks_fini(&half->blocks);
    *half = (struct sora_vae_half){0};
}

/* Stored weights in place were found when the model opened; others come now. */
static int pack_block(struct sora_vae_half *half, int index, struct sora_device *device,
                      struct sora_fault *fault)
{
    const struct finder finder = {half->stored, &half->blocks.items[index], fault};
    struct sora_vae_block_weights *weights = &half->weights[index];
    int error = find_block(&finder, weights);
    for (int k = 0; !error && k < 2; k++) {
        struct sora_vae_conv *conv = &weights->convs[k];
        if (!sora_tensor_present(&conv->weight))
            continue;
        error = sora_packed_create(device, &conv->weight, &conv->packed);
        if (error)
            return sora_fault_set(fault, error, "VAE: packing the weights of %s failed: %s",
                                  finder.block->name, sora_error_text(error));
        sora_weights_drop(half->stored, &conv->weight);
    }
    return error;
}

int sora_vae_half_pack(struct sora_vae_half *half, struct sora_device *device,
                       struct sora_fault *fault)
{
    int error = SORA_OK;
    sora_weights_check_only(half->stored, false);
    for (int i = 0; !half->packed && !error && i < half->blocks.count; i++)
        error = pack_block(half, i, device, fault);
    sora_weights_settle(half->stored);
    if (error)
        sora_vae_half_unpack(half);
    else
        half->packed = true;
    return error;
}
