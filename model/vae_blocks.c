/* The layer lists of the VAE's two halves and the sizes and costs that follow from them. */
#include "model/vae_blocks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGNMENT 64

static void push(struct sora_vae_blocks *blocks, struct sora_vae_block block, const char *name, ...)
    __attribute__((format(printf, 3, 4)));

static void push(struct sora_vae_blocks *blocks, struct sora_vae_block block, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(block.name, sizeof(block.name), name, arguments);
    va_end(arguments);
    blocks->items[blocks->count++] = block;
}

/* Room for every level's resnets and resampling, the middle, and both ends. */
static int reserve(struct sora_vae_blocks *blocks, const struct sora_vae_config *config)
{
    size_t capacity = (size_t)config->levels * (size_t)(config->res_blocks + 2) + 6;
    *blocks = (struct sora_vae_blocks){.items = calloc(capacity, sizeof(*blocks->items))};
    return blocks->items ? SORA_OK : SORA_E_MEMORY;
}

void sora_vae_blocks_fini(struct sora_vae_blocks *blocks)
{
    free(blocks->items);
    *blocks = (struct sora_vae_blocks){0};
}

static void push_middle(struct sora_vae_blocks *blocks, const char *half, int width)
{
    const struct sora_vae_block resnet = {.kind = SORA_VAE_RESNET, .in = width, .out = width};
    push(blocks, resnet, "%s.mid_block.resnets.0", half);
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_ATTENTION, .in = width, .out = width},
         "%s.mid_block.attentions.0", half);
    push(blocks, resnet, "%s.mid_block.resnets.1", half);
}

/* Level i of the decoder works at dim_mult[levels-1-i]; what comes from the level before was halved
 * by its upsampling convolution. */
static void push_up_level(struct sora_vae_blocks *blocks, const struct sora_vae_config *config,
                          int level)
{
    int last = config->levels - 1;
    int out = config->decoder_base_width * config->multipliers[last - level];
    int before = config->decoder_base_width * config->multipliers[last - (level ? level - 1 : 0)];
    int in = level ? before / 2 : before;
    for (int i = 0; i <= config->res_blocks; i++) {
        push(blocks, (struct sora_vae_block){.kind = SORA_VAE_RESNET, .in = in, .out = out},
             "decoder.up_blocks.%d.resnets.%d", level, i);
        in = out;
    }
    if (level < last)
        push(blocks,
             (struct sora_vae_block){.kind = SORA_VAE_UP,
                                     .in = out,
                                     .out = out / 2,
                                     .temporal = config->temporal_down[last - 1 - level]},
             "decoder.up_blocks.%d.upsamplers.0", level);
}

int sora_vae_blocks_init_decoder(struct sora_vae_blocks *blocks,
                                 const struct sora_vae_config *config)
{
    int error = reserve(blocks, config);
    if (error)
        return error;
    int z = config->channels;
    int width = config->decoder_base_width * config->multipliers[config->levels - 1];
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_POINT, .in = z, .out = z, .rows = z},
         "post_quant_conv");
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_CONV, .in = z, .out = width},
         "decoder.conv_in");
    push_middle(blocks, "decoder", width);
    for (int level = 0; level < config->levels; level++)
        push_up_level(blocks, config, level);
    width = config->decoder_base_width * config->multipliers[0];
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_HEAD, .in = width, .out = 3}, "decoder");
    return SORA_OK;
}

int sora_vae_blocks_init_encoder(struct sora_vae_blocks *blocks,
                                 const struct sora_vae_config *config)
{
    int error = reserve(blocks, config);
    if (error)
        return error;
    int z = config->channels, width = config->base_width, index = 0;
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_CONV, .in = 3, .out = width},
         "encoder.conv_in");
    for (int level = 0; level < config->levels; level++) {
        int out = config->base_width * config->multipliers[level];
        for (int i = 0; i < config->res_blocks; i++) {
            push(blocks, (struct sora_vae_block){.kind = SORA_VAE_RESNET, .in = width, .out = out},
                 "encoder.down_blocks.%d", index++);
            width = out;
        }
        if (level < config->levels - 1)
            push(blocks,
                 (struct sora_vae_block){.kind = SORA_VAE_DOWN,
                                         .in = out,
                                         .out = out,
                                         .temporal = config->temporal_down[level]},
                 "encoder.down_blocks.%d", index++);
    }
    push_middle(blocks, "encoder", width);
    push(blocks, (struct sora_vae_block){.kind = SORA_VAE_HEAD, .in = width, .out = 2 * z},
         "encoder");
    /* The posterior's mode is its mean: the rows of the log variance are not computed. */
    push(blocks,
         (struct sora_vae_block){.kind = SORA_VAE_POINT, .in = 2 * z, .out = z, .rows = 2 * z},
         "quant_conv");
    return SORA_OK;
}

struct sora_vae_extent sora_vae_block_extent(const struct sora_vae_block *block,
                                             struct sora_vae_extent in, bool first)
{
    struct sora_vae_extent out = in;
    if (block->kind == SORA_VAE_UP) {
        out.height = 2 * in.height;
        out.width = 2 * in.width;
        if (block->temporal && !first)
            out.frames = 2 * in.frames;
    } else if (block->kind == SORA_VAE_DOWN) {
        out.height = in.height / 2;
        out.width = in.width / 2;
        if (block->temporal && !first)
            out.frames = in.frames / 2;
    }
    return out;
}

struct sora_vae_cache sora_vae_block_cache(const struct sora_vae_block *block,
                                           struct sora_vae_extent in, int index)
{
    struct sora_vae_cache cache = {
        .frames = SORA_VAE_PAST, .height = in.height, .width = in.width, .channels = block->in};
    const struct sora_vae_cache none = {0};
    switch (block->kind) {
    case SORA_VAE_RESNET:
        cache.channels = index ? block->out : block->in;
        return cache;
    case SORA_VAE_CONV:
    case SORA_VAE_HEAD:
        return index ? none : cache;
    case SORA_VAE_UP:
        return block->temporal && !index ? cache : none;
    case SORA_VAE_DOWN:
        cache = (struct sora_vae_cache){1, in.height / 2, in.width / 2, block->out};
        return block->temporal && index ? cache : none;
    case SORA_VAE_POINT:
    case SORA_VAE_ATTENTION:
        break;
    }
    return none;
}

size_t sora_vae_bytes_of(int64_t count, size_t element_size)
{
    size_t size = (size_t)count * element_size;
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t sora_vae_bytes(int64_t count)
{
    return sora_vae_bytes_of(count, sizeof(float));
}

static int64_t pixels(struct sora_vae_extent extent)
{
    return extent.frames * extent.height * extent.width;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The largest tensor of a block for input `in`; `doubled`: its frames were doubled before. */
static size_t block_region(const struct sora_vae_block *block, struct sora_vae_extent in,
                           bool doubled)
{
    struct sora_vae_extent out = sora_vae_block_extent(block, in, doubled);
    size_t region =
        larger(sora_vae_bytes(pixels(in) * block->in), sora_vae_bytes(pixels(out) * block->out));
    if (block->kind == SORA_VAE_ATTENTION) /* q, k and v lie in one region */
        region = larger(region, 3 * sora_vae_bytes(pixels(in) * block->in));
    if (block->kind == SORA_VAE_UP && block->temporal && !doubled)
        region = larger(region, sora_vae_bytes(pixels(in) * 2 * block->in));
    if (block->kind == SORA_VAE_DOWN) /* between the two convolutions */
        region = larger(region, sora_vae_bytes(in.frames * out.height * out.width * block->in));
    return region;
}

void sora_vae_blocks_scratch(const struct sora_vae_blocks *blocks, struct sora_vae_extent in,
                             bool by_frame, struct sora_vae_scratch *out_scratch)
{
    struct sora_vae_scratch scratch = {.split = -1};
    int64_t frames = 0;
    for (int i = 0; by_frame && i < blocks->count; i++) {
        if (blocks->items[i].kind == SORA_VAE_UP && blocks->items[i].temporal)
            scratch.split = i;
    }
    for (int i = 0; i < blocks->count; i++) {
        const struct sora_vae_block *block = &blocks->items[i];
        if (i == scratch.split) {
            in.frames *= 2;
            scratch.held = sora_vae_bytes(pixels(in) * block->in);
            frames = in.frames;
            in.frames = 1;
        }
        bool doubled = i == scratch.split;
        /* What the doubling reads and gives is as large as `held`. */
        scratch.region = larger(scratch.region, doubled ? scratch.held : 0);
        scratch.region = larger(scratch.region, block_region(block, in, doubled));
        in = sora_vae_block_extent(block, in, doubled);
    }
    if (scratch.split >= 0) {
        scratch.result = sora_vae_bytes(frames * in.height * in.width * 3);
        scratch.region = larger(scratch.region, scratch.result / sizeof(float));
    }
    *out_scratch = scratch;
}

size_t sora_vae_scratch_size(const struct sora_vae_scratch *scratch)
{
    return 3 * scratch->region + scratch->held + scratch->result;
}

/* Multiply-adds per pass. */
static double block_work(const struct sora_vae_block *block, struct sora_vae_extent in, bool first)
{
    struct sora_vae_extent out = sora_vae_block_extent(block, in, first);
    double here = (double)pixels(in), there = (double)pixels(out);
    double i = block->in, o = block->out;
    switch (block->kind) {
    case SORA_VAE_POINT:
        return here * i * o;
    case SORA_VAE_CONV:
    case SORA_VAE_HEAD:
        return here * 27 * i * o;
    case SORA_VAE_RESNET:
        return here * (27 * (i * o + o * o) + (block->in != block->out ? i * o : 0));
    case SORA_VAE_ATTENTION:
        return here * 4 * i * i + here * (double)(in.height * in.width) * 2 * i;
    case SORA_VAE_UP:
        return there * 9 * i * o + (block->temporal && !first ? here * 3 * i * 2 * i : 0);
    case SORA_VAE_DOWN:
        return (double)(in.frames * out.height * out.width) * 9 * i * o +
               (block->temporal && !first ? there * 3 * o * o : 0);
    }
    return 0;
}

/* Elements of the weights that are packed for the device (matrices stay as stored). */
static int64_t block_packed(const struct sora_vae_block *block)
{
    int64_t i = block->in, o = block->out;
    switch (block->kind) {
    case SORA_VAE_CONV:
    case SORA_VAE_HEAD:
        return 27 * i * o;
    case SORA_VAE_RESNET:
        return 27 * (i * o + o * o);
    case SORA_VAE_UP:
        return 9 * i * o + (block->temporal ? 6 * i * i : 0);
    case SORA_VAE_DOWN:
        return 9 * i * o + (block->temporal ? 3 * o * o : 0);
    case SORA_VAE_POINT:
    case SORA_VAE_ATTENTION:
        break;
    }
    return 0;
}

/* Elements of the weights that are not packed, at most: matrices, norms and biases. */
static int64_t block_plain(const struct sora_vae_block *block)
{
    int64_t i = block->in, o = block->out;
    switch (block->kind) {
    case SORA_VAE_POINT:
        return block->rows * (i + 1);
    case SORA_VAE_ATTENTION:
        return 4 * i * (i + 1) + i;
    case SORA_VAE_RESNET:
        return (i != o ? o * (i + 1) : 0) + i + 3 * o;
    case SORA_VAE_UP:
    case SORA_VAE_DOWN:
    case SORA_VAE_CONV:
    case SORA_VAE_HEAD:
        break;
    }
    return i + 2 * i + o;
}

void sora_vae_blocks_plan(const struct sora_vae_blocks *blocks,
                          const struct sora_vae_passes *passes, struct sora_vae_plan *out_plan)
{
    struct sora_vae_extent first = passes->first, next = passes->next;
    struct sora_vae_scratch whole, by_frame;
    sora_vae_blocks_scratch(blocks, next, false, &whole);
    sora_vae_blocks_scratch(blocks, next, true, &by_frame);
    struct sora_vae_plan plan = {.activation_bytes = sora_vae_scratch_size(&whole),
                                 .activation_bytes_min = sora_vae_scratch_size(&by_frame)};
    if (plan.activation_bytes_min > plan.activation_bytes)
        plan.activation_bytes_min = plan.activation_bytes;
    for (int i = 0; i < blocks->count; i++) {
        const struct sora_vae_block *block = &blocks->items[i];
        for (int k = 0; k < 2; k++) {
            struct sora_vae_cache cache = sora_vae_block_cache(block, next, k);
            plan.cache_bytes += sora_vae_bytes_of(
                cache.frames * cache.height * cache.width * cache.channels, passes->element_size);
        }
        if (block->kind == SORA_VAE_ATTENTION)
            plan.scratch_bytes = larger(plan.scratch_bytes,
                                        3 * sora_vae_bytes(next.height * next.width * block->in));
        plan.weight_bytes += (size_t)block_packed(block) * passes->element_size;
        plan.plain_weight_bytes += (size_t)block_plain(block) * sizeof(float);
        plan.flops_first += 2 * block_work(block, first, true);
        plan.flops_next += 2 * block_work(block, next, false);
        first = sora_vae_block_extent(block, first, true);
        next = sora_vae_block_extent(block, next, false);
    }
    *out_plan = plan;
}

int sora_vae_decoder_warmup(const struct sora_vae_config *config)
{
    /* `reach` counts frames from the first latent fed on, at the current frame rate of `rate`
     * frames per latent: frames at or after it are those of the whole stream. */
    int64_t resnet = 2 * SORA_VAE_PAST, rate = 1;
    int64_t reach = SORA_VAE_PAST + 2 * resnet; /* conv_in and the middle */
    for (int level = 0; level < config->levels; level++) {
        reach += (config->res_blocks + 1) * resnet;
        if (level == config->levels - 1 || !config->temporal_down[config->levels - 2 - level])
            continue;
        /* The doubling convolution does not see the first latent fed. */
        reach = 2 * ((reach > rate ? reach : rate) + SORA_VAE_PAST);
        rate *= 2;
    }
    reach += SORA_VAE_PAST; /* conv_out */
    return (int)((reach + rate - 1) / rate);
}
