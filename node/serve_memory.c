/*
 * Memory of a card, which the phases of a shard share (node/device_plan.h says what each takes).
 *
 * What is there stays while there is room, since bringing weights back costs seconds. The ladder
 * when there is none: a decoder goes frame by frame, texts go block by block (both in model/, with
 * the same bits); the other phases' weights leave the card; texts go to the CPU; the shard fails
 * with what it needed. Weights never change their precision here: the device class would lie.
 */
#include "node/serve_parts.h"

#include "base/log.h"
#include "node/device_plan.h"

#define GB 1e9

static enum sora_gpu_precision precision_of(const struct sora_device_caps *caps)
{
    if (caps->matrix_type)
        return caps->matrix_type == SORA_DTYPE_F8 ? SORA_GPU_FP8 : SORA_GPU_INT8;
    return caps->product_type == SORA_DTYPE_F32   ? SORA_GPU_F32
           : caps->product_type == SORA_DTYPE_F16 ? SORA_GPU_F16
                                                  : SORA_GPU_BF16;
}

static bool is_card(const struct sora_serve *serve)
{
    return sora_gpu_device_card(serve->device) != NULL;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Keys and values of all texts of the shard, of which each has a row for the padding. */
static uint64_t contexts_bytes(const struct sora_transformer_config *config,
                               const struct sora_serve_shard *asked)
{
    uint64_t rows = 0;
    for (int i = 0; i < asked->text_count; i++) {
        rows += (uint64_t)asked->texts[i].prompt_rows + 1;
        rows += asked->guidance > 1.0 ? (uint64_t)asked->texts[i].negative_rows + 1 : 0;
    }
    return 2 * (uint64_t)config->layers * rows * (uint64_t)config->heads *
           (uint64_t)config->head_size * sizeof(float);
}

static int plan_make(const struct sora_serve *serve, const struct sora_serve_shard *asked,
                     struct sora_device_plan *plan, struct sora_fault *fault)
{
    const struct sora_timeline_params *timeline = &asked->timeline;
    int window = timeline->latent_count < timeline->window_latents ? timeline->latent_count
                                                                   : timeline->window_latents;
    struct sora_device_caps caps;
    sora_device_caps(serve->device, &caps);
    const struct sora_device_plan_shard shard = {
        .transformer = sora_transformer_config(serve->model.transformer),
        .vae = sora_vae_config(serve->model.vae),
        .height = asked->height,
        .width = asked->width,
        .latents = asked->owned.end - asked->owned.first + 2 * window,
        .window = window,
        .precision = precision_of(&caps),
        .device = is_card(serve) ? serve->device : NULL,
    };
    int error = sora_device_plan_shard_make(&shard, plan, fault);
    if (error)
        return error;
    plan->sampling_peak -= plan->contexts + plan->transformer;
    plan->transformer = sora_transformer_weight_size(serve->model.transformer);
    plan->contexts = contexts_bytes(shard.transformer, asked);
    plan->sampling_peak += plan->contexts + plan->transformer;
    return 0;
}

/* In host memory the weights are mapped files: what counts is what comes on top. */
static uint64_t needed(const struct sora_device_plan *plan, bool is_card)
{
    if (is_card)
        return larger(plan->sampling_peak, plan->decoding_peak_min);
    return plan->latent_state + larger(plan->activations, plan->decoding + plan->vae);
}

int sora_serve_check_memory(struct sora_serve *serve, const struct sora_serve_shard *asked,
                            struct sora_fault *fault)
{
    struct sora_device_plan plan;
    int error = plan_make(serve, asked, &plan, fault);
    if (error)
        return error;
    struct sora_device_caps caps;
    sora_device_caps(serve->device, &caps);
    uint64_t need = needed(&plan, !caps.host_memory), room = caps.memory_free;
    if (!caps.host_memory) {
        sora_vae_unload(serve->model.vae);
        sora_device_caps(serve->device, &caps);
        room = caps.memory_free + sora_transformer_held(serve->model.transformer);
    }
    if (serve->memory_max && serve->memory_max < room)
        room = serve->memory_max;
    if (need <= room)
        return 0;
    return sora_fault_set(
        fault, SORA_E_LIMIT,
        "latents [%d,%d) of %dx%d need %.1f GB of memory, %.1f GB are free; %s may fit",
        asked->owned.first, asked->owned.end, asked->width, asked->height, (double)need / GB,
        (double)room / GB,
        caps.host_memory || caps.matrix_type
            ? "a shorter shard or a smaller video"
            : "a shorter shard, a smaller video or a worker with --precision int8");
}

/* ---- room for a phase ---- */

/* The transformer's weights and activations, and what its contexts hold; they come back when a
 * window runs. */
static void leave_sampling(struct sora_serve *serve)
{
    struct sora_serve_work *work = serve->work;
    for (int i = 0; work && i < SORA_SERVE_TEXTS_MAX; i++) {
        sora_transformer_context_destroy(&work->contexts[i].prompt);
        sora_transformer_context_destroy(&work->contexts[i].negative);
    }
    sora_transformer_unload(serve->model.transformer);
}

void sora_serve_room_for_sampling(struct sora_serve *serve)
{
    if (is_card(serve) && sora_transformer_held(serve->model.transformer) == 0)
        sora_vae_unload(serve->model.vae);
}

bool sora_serve_more_for_sampling(struct sora_serve *serve)
{
    if (!is_card(serve))
        return false;
    sora_log(SORA_LOG_INFO, "memory is short: sampling begins again with nothing else on the card");
    leave_sampling(serve);
    sora_vae_unload(serve->model.vae);
    return true;
}

bool sora_serve_more_for_decoding(struct sora_serve *serve)
{
    if (!is_card(serve) || sora_transformer_held(serve->model.transformer) == 0)
        return false;
    sora_log(SORA_LOG_INFO, "memory is short: the transformer leaves the card bytes=%llu",
             (unsigned long long)sora_transformer_held(serve->model.transformer));
    leave_sampling(serve);
    return true;
}

void sora_serve_room_for_texts(struct sora_serve *serve, uint64_t need)
{
    struct sora_device_caps caps;
    sora_device_caps(serve->device, &caps);
    if (!is_card(serve) || caps.memory_free >= need)
        return;
    leave_sampling(serve);
    sora_vae_unload(serve->model.vae);
}

int sora_serve_memory_fault(const struct sora_serve *serve, enum sora_serve_phase phase, int error,
                            struct sora_fault *fault)
{
    static const char *const names[] = {"sampling", "decoding"};
    struct sora_device_plan plan;
    struct sora_device_caps caps;
    struct sora_fault first = {0};
    if (error != SORA_E_MEMORY || !is_card(serve) || !serve->work ||
        plan_make(serve, &serve->work->asked, &plan, &first))
        return error;
    sora_device_caps(serve->device, &caps);
    uint64_t need = phase == SORA_SERVE_SAMPLING ? plan.sampling_peak : plan.decoding_peak_min;
    uint64_t room = caps.memory_free + sora_transformer_held(serve->model.transformer);
    *fault = (struct sora_fault){0};
    return sora_fault_set(
        fault, SORA_E_MEMORY,
        "%s: latents of %dx%d need %.2f GB of the card, which has %.2f GB free of %.2f: close what "
        "else uses it, give the worker more memory, or make a smaller video%s",
        names[phase], serve->work->asked.width, serve->work->asked.height, (double)need / GB,
        (double)room / GB, (double)caps.memory_total / GB,
        caps.matrix_type ? "" : "; --precision int8 halves the weights");
}
