/*
 * Staged warm-up: which convolutions of a decoder run in which passes of context.
 *
 * Walking the list from its end, `need` is the first frame, relative to the first frame that is
 * wanted and at the frame rate of that place, whose value must be right there: 0 after the last
 * block, 2 less before every convolution in time, half as much before a doubling of the rate. A
 * pass of context runs a convolution when it holds a frame from `need` on; in passes before that
 * the convolution only remembers its input. A pass that runs has the shape of any other, so its
 * right frames have the bits of the whole stream; its frames before `need` are made from a past
 * that was not there, and nothing wanted is made from them.
 */
#include "model/vae_blocks.h"

static int floor_divide(int value, int divisor)
{
    return value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
}

int sora_vae_blocks_stages(const struct sora_vae_blocks *blocks, struct sora_vae_stage *out_stages)
{
    int rate = 1; /* frames of a pass */
    for (int i = 0; i < blocks->count; i++)
        rate *= blocks->items[i].kind == SORA_VAE_UP && blocks->items[i].temporal ? 2 : 1;
    int need = 0;
    for (int i = blocks->count - 1; i >= 0; i--) {
        const struct sora_vae_block *block = &blocks->items[i];
        struct sora_vae_stage *stage = &out_stages[i];
        *stage = (struct sora_vae_stage){{0, 0}};
        bool doubles = block->kind == SORA_VAE_UP && block->temporal;
        if (doubles) {
            rate /= 2;
            need = floor_divide(need, 2);
        }
        if (block->kind == SORA_VAE_RESNET) {
            stage->from[1] = floor_divide(need, rate);
            need -= SORA_VAE_PAST;
        }
        if (doubles || block->kind == SORA_VAE_RESNET || block->kind == SORA_VAE_CONV ||
            block->kind == SORA_VAE_HEAD) {
            stage->from[0] = floor_divide(need, rate);
            need -= SORA_VAE_PAST;
        }
    }
    return -need;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

double sora_vae_blocks_context_work(const struct sora_vae_blocks *blocks,
                                    const struct sora_vae_stage *stages, struct sora_vae_extent in,
                                    int context)
{
    double work = 0, passes = context; /* passes that get as far as this block */
    for (int i = 0; i < blocks->count; i++) {
        const struct sora_vae_block *block = &blocks->items[i];
        struct sora_vae_extent out = sora_vae_block_extent(block, in, false);
        double here = (double)(in.frames * in.height * in.width);
        double there = (double)(out.frames * out.height * out.width);
        double area = (double)(in.height * in.width), ci = block->in, co = block->out;
        double run = smaller(passes, -stages[i].from[0]), again;
        switch (block->kind) {
        case SORA_VAE_POINT:
            work += passes * here * ci * co;
            break;
        case SORA_VAE_CONV:
        case SORA_VAE_HEAD:
            passes = run;
            work += passes * here * 27 * ci * co;
            break;
        case SORA_VAE_RESNET:
            again = smaller(run, -stages[i].from[1]);
            work += passes * here * (block->in != block->out ? ci * co : 0);
            work += here * 27 * (run * ci * co + again * co * co);
            passes = again;
            break;
        case SORA_VAE_ATTENTION:
            work += passes * here * (4 * ci * ci + area * 2 * ci);
            break;
        case SORA_VAE_UP:
            if (block->temporal)
                passes = run;
            work += passes * ((block->temporal ? here * 6 * ci * ci : 0) + there * 9 * ci * co);
            break;
        case SORA_VAE_DOWN: /* not in a decoder */
            break;
        }
        in = out;
    }
    return 2 * work;
}
