/* The stages of a render, in order: plan, text, sampling, output. */
#include "node/render.h"
#include "node/model_folder.h"

#include "hip/cpu/cpu.h"
#include "hip/gpu/gpu.h"
#include "model/tensor_file.h"
#include "model/transformer.h"
#include "node/device_open.h"
#include "node/device_plan.h"
#include "node/model_facts.h"
#include "node/render_output.h"
#include "node/render_sample.h"
#include "node/render_texts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PATH_SIZE 1024
#define DEFAULT_MODEL "models/mini"

/* Everything that stays open for the whole render. */
struct engine {
    struct sora_device *device, *text_device; /* text_device: NULL, or the CPU */
    struct sora_bundle bundle;
    struct sora_transformer *transformer;
    struct sora_vae *vae;
    struct sora_job_ask_shot shots[SORA_JOB_SHOTS_MAX];
    struct sora_job_ask ask;
    struct sora_render_texts *texts;
};

static void engine_close(struct engine *engine)
{
    sora_render_texts_destroy(&engine->texts);
    sora_vae_destroy(&engine->vae);
    sora_transformer_destroy(&engine->transformer);
    sora_bundle_fini(&engine->bundle);
    sora_device_destroy(&engine->text_device);
    sora_device_destroy(&engine->device);
}

/* ---- the device ---- */

/* What a card takes for the longest take, before any weight is read. */
static int check_card(const struct engine *engine, const struct sora_render_options *options,
                      const struct sora_job_plan *plan, struct sora_fault *fault)
{
    struct sora_device_plan_ask ask = {
        .model = engine->bundle.directory,
        .width = plan->width,
        .height = plan->height,
        .frames = 1,
        .precision =
            options->precision > 0 ? (enum sora_gpu_precision)options->precision : SORA_GPU_BF16};
    struct sora_device_plan needs;
    struct sora_device_caps caps;
    for (int32_t i = 0; i < plan->take_count; i++)
        ask.frames =
            plan->takes[i].frames_made > ask.frames ? plan->takes[i].frames_made : ask.frames;
    int error = sora_device_plan_make(&ask, &needs, fault);
    if (error)
        return error;
    sora_device_caps(engine->device, &caps);
    double need = (double)sora_device_plan_needed(&needs);
    if (need <= (double)caps.memory_free)
        return 0;
    return sora_fault_set(fault, SORA_E_LIMIT,
                          "%dx%d needs %.1f GB on the card, %.1f GB are free; choose a smaller "
                          "--size or --device cpu0",
                          plan->width, plan->height, need / 1e9, (double)caps.memory_free / 1e9);
}

static int open_named(struct engine *engine, const struct sora_render_options *options,
                      const char *name, const struct sora_job_plan *plan, struct sora_fault *fault)
{
    const struct sora_device_open_params params = {
        .name = name,
        .threads = options->threads == SORA_SETTING_INT_UNSET ? 0 : (int)options->threads,
        .precision = options->precision > 0 ? options->precision : 0};
    int error = sora_device_open(&params, &engine->device, fault);
    if (!error && sora_gpu_device_card(engine->device))
        error = check_card(engine, options, plan, fault);
    if (error)
        sora_device_destroy(&engine->device);
    return error;
}

/* The device that was asked for; else the first card, which need not be there or be good enough. */
static int open_device(struct engine *engine, const struct sora_render_options *options,
                       struct sora_render_result *result, struct sora_fault *fault)
{
    struct sora_fault why = {0};
    if (options->device)
        return open_named(engine, options, options->device, &result->plan, fault);
    int error = open_named(engine, options, "gpu0", &result->plan, &why);
    if (!error)
        return 0;
    if (error == SORA_E_INVALID) /* SORA_GPU */
        return sora_fault_set(fault, error, "%s", why.text);
    if (error != SORA_E_NOT_FOUND)
        sora_job_note(&result->notes, "the CPU is used: %s", why.text);
    return open_named(engine, options, "cpu0", &result->plan, fault);
}

static int open_parts(struct engine *engine, struct sora_fault *fault)
{
    char path[PATH_SIZE];
    sora_bundle_path(&engine->bundle, "transformer", path, sizeof(path));
    int error = sora_transformer_open(path, engine->device, &engine->transformer, fault);
    sora_bundle_path(&engine->bundle, "vae", path, sizeof(path));
    return error ? error : sora_vae_open(path, engine->device, &engine->vae, fault);
}

static int make_plan(struct engine *engine, const struct sora_render_options *options,
                     struct sora_render_result *result, struct sora_fault *fault)
{
    struct sora_model_facts facts;
    int error = sora_model_facts_read(&engine->bundle, &facts, fault);
    if (error)
        return error;
    sora_job_ask_from_options(&options->job, engine->shots, &engine->ask);
    error = sora_job_plan_make(&engine->ask, &facts, &result->plan, &result->notes, fault);
    if (!error)
        sora_job_note_unknown_words(&result->notes, &facts, &engine->ask);
    for (int32_t i = 0; !error && i < result->plan.take_count; i++)
        result->latent_count += result->plan.takes[i].timeline.latent_count;
    return error;
}

static size_t latent_elements(const struct sora_job_plan *plan)
{
    return (size_t)plan->channels * (size_t)plan->latent_height * (size_t)plan->latent_width;
}

/* Refuses a job whose buffers do not fit, before anything is allocated. The latents of the take at
 * work are held once per solver state and covering window, at most 8 times; the others once. */
static int check_memory(const struct engine *engine, const struct sora_job_plan *plan,
                        struct sora_fault *fault)
{
    int window = 0, longest = 0, total = 0;
    for (int32_t i = 0; i < plan->take_count; i++) {
        const struct sora_timeline_params *timeline = &plan->takes[i].timeline;
        int count = timeline->latent_count;
        int length = count < timeline->window_latents ? count : timeline->window_latents;
        window = length > window ? length : window;
        longest = count > longest ? count : longest;
        total += count;
    }
    struct sora_vae_plan decode;
    int error =
        sora_vae_decoder_plan(engine->vae, plan->latent_height, plan->latent_width, &decode, fault);
    if (error)
        return error;
    struct sora_device_caps caps;
    sora_device_caps(engine->device, &caps);
    double latents =
        (double)sizeof(float) * (double)latent_elements(plan) * (7.0 * longest + total);
    double passes = (double)sora_transformer_activation_size(
        engine->transformer, window, plan->latent_height, plan->latent_width);
    double decoding = (double)decode.cache_bytes + (double)decode.weight_bytes;
    decoding += (double)(caps.host_memory ? decode.activation_bytes : decode.activation_bytes_min);
    if (!caps.host_memory)
        passes += (double)sora_transformer_weight_size(engine->transformer);
    double need = latents + (passes > decoding ? passes : decoding);
    if (need <= (double)caps.memory_free)
        return 0;
    return sora_fault_set(
        fault, SORA_E_LIMIT,
        "%dx%d with %d frames needs %.1f GB of memory, %.1f GB are free; choose a "
        "smaller --size or fewer --seconds",
        plan->width, plan->height, plan->frame_count, need / 1e9, (double)caps.memory_free / 1e9);
}

static int prepare_text(struct engine *engine, const struct sora_render_options *options,
                        struct sora_render_result *result, struct sora_fault *fault)
{
    struct sora_render_texts_params params = {
        .bundle = &engine->bundle,
        .device = engine->device,
        .transformer = engine->transformer,
        .ask = &engine->ask,
        .plan = &result->plan,
        .embeds_path = options->prompt_embeds,
    };
    struct sora_fault why = {0};
    int error = sora_render_texts_create(&params, &engine->texts, &why);
    if (error == SORA_E_MEMORY && sora_gpu_device_card(engine->device)) {
        /* No room on the card beside the transformer: the CPU reads the weights in place. */
        error = sora_cpu_device_create(NULL, &engine->text_device, fault);
        params.device = engine->text_device;
        if (!error)
            error = sora_render_texts_create(&params, &engine->texts, fault);
    } else if (error) {
        sora_fault_set(fault, error, "%s", why.text);
    }
    if (!error)
        result->text_tokens = sora_render_texts_tokens(engine->texts);
    return error;
}

static int dump_latents(const char *path, const struct sora_render_result *result,
                        const float *latents, struct sora_fault *fault)
{
    const struct sora_job_plan *plan = &result->plan;
    struct sora_array array = {
        .rank = 4,
        .shape = {result->latent_count, plan->channels, plan->latent_height, plan->latent_width}};
    size_t size = (size_t)sora_array_count(&array) * sizeof(float);
    array.values = malloc(size);
    if (!array.values)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the latents' file");
    memcpy(array.values, latents, size);
    int error = sora_array_swap_frames(&array, fault);
    if (!error)
        error = sora_array_write(path, "latents", &array, fault);
    sora_array_fini(&array);
    return error;
}

static double seconds_since(sora_time *mark)
{
    sora_time now = sora_clock_now();
    double seconds = (double)(now - *mark) / (double)SORA_TIME_SECOND;
    *mark = now;
    return seconds;
}

static int sample_take(struct engine *engine, const struct sora_render_options *options,
                       const struct sora_render_control *control,
                       const struct sora_render_result *result, int32_t take, float *out_latents,
                       struct sora_fault *fault)
{
    struct sora_text_contexts *contexts = NULL;
    int error = sora_render_texts_contexts(engine->texts, take, &contexts, fault);
    const struct sora_render_sample_params params = {
        .device = engine->device,
        .transformer = engine->transformer,
        .contexts = contexts,
        .plan = &result->plan,
        .take = take,
        .noise_path = options->noise,
        .control = control,
    };
    if (!error)
        error = sora_render_sample(&params, out_latents, fault);
    sora_text_contexts_destroy(&contexts);
    return error;
}

/* Every take in turn, into one array. */
static int sample(struct engine *engine, const struct sora_render_options *options,
                  const struct sora_render_control *control, struct sora_render_result *result,
                  float **out_latents, struct sora_fault *fault)
{
    const struct sora_job_plan *plan = &result->plan;
    sora_progress_begin(control->progress, "denoising");
    size_t elements = latent_elements(plan);
    float *latents = malloc((size_t)result->latent_count * elements * sizeof(float));
    if (!latents)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %d latents",
                              (int)result->latent_count);
    struct sora_fault sample_fault = {0};
    int error = 0;
    float *at = latents;
    for (int32_t take = 0; !error && take < plan->take_count; take++) {
        error = sample_take(engine, options, control, result, take, at, &sample_fault);
        at += (size_t)plan->takes[take].timeline.latent_count * elements;
        result->window_passes += sora_render_sample_passes(plan, take);
    }
    sora_transformer_unload(engine->transformer); /* a decoder's turn */
    const char *weight =
        error == SORA_E_NUMERIC ? sora_transformer_find_nonfinite(engine->transformer) : NULL;
    if (error) {
        free(latents);
        return weight
                   ? sora_fault_set(fault, error, "%.200s/transformer: weight %.120s is not finite",
                                    engine->bundle.directory, weight)
                   : sora_fault_set(fault, error, "%s", sample_fault.text);
    }
    char summary[80];
    snprintf(summary, sizeof(summary), "%d window passes", result->window_passes);
    sora_progress_end(control->progress, summary);
    *out_latents = latents;
    return 0;
}

static int output(struct engine *engine, const struct sora_render_options *options,
                  const struct sora_render_control *control, struct sora_render_result *result,
                  const float *latents, struct sora_fault *fault)
{
    sora_progress_begin(control->progress, "decoding");
    const struct sora_render_output_params params = {
        .vae = engine->vae,
        .options = options,
        .plan = &result->plan,
        .model_name = engine->bundle.name,
        .device_class = result->device_class,
        .title = options->job.name ? options->job.name : engine->shots[0].prompt,
        .latents = latents,
        .control = control,
    };
    int error = sora_render_output(&params, fault);
    if (error)
        return error;
    char summary[80];
    snprintf(summary, sizeof(summary), "%d frames", result->plan.frame_count);
    sora_progress_end(control->progress, summary);
    return options->dump_latents ? dump_latents(options->dump_latents, result, latents, fault) : 0;
}

/* Everything that can be refused is, before anything is computed. */
static int open_all(struct engine *engine, const struct sora_render_options *options,
                    struct sora_render_result *result, struct sora_fault *fault)
{
    int error = sora_bundle_open(options->job.model ? options->job.model : DEFAULT_MODEL,
                                 &engine->bundle, fault);
    if (!error)
        error = sora_model_folder_check_links(engine->bundle.directory, fault);
    if (!error)
        error = make_plan(engine, options, result, fault);
    if (!error)
        error = open_device(engine, options, result, fault);
    if (!error)
        error = open_parts(engine, fault);
    if (!error && !sora_gpu_device_card(engine->device))
        error = check_memory(engine, &result->plan, fault);
    return error;
}

static int run_stages(struct engine *engine, const struct sora_render_options *options,
                      const struct sora_render_control *control, struct sora_render_result *result,
                      struct sora_fault *fault)
{
    struct sora_fault why;
    sora_time mark = sora_clock_now();
    int error = open_all(engine, options, result, fault);
    if (error)
        return error;
    struct sora_device_caps caps;
    sora_device_caps(engine->device, &caps);
    snprintf(result->device_class, sizeof(result->device_class), "%s", caps.device_class);
    snprintf(result->model_name, sizeof(result->model_name), "%s", engine->bundle.name);
    for (int i = 0; i < result->notes.count && control->progress->enabled; i++)
        fprintf(stderr, "note: %s\n", result->notes.texts[i]);
    result->load_seconds = seconds_since(&mark);
    error = prepare_text(engine, options, result, fault);
    result->text_seconds = seconds_since(&mark);
    float *latents = NULL;
    if (!error)
        error = sample(engine, options, control, result, &latents, fault);
    result->sample_seconds = seconds_since(&mark);
    sora_render_texts_destroy(&engine->texts);
    sora_transformer_destroy(&engine->transformer); /* room for decoding on a card */
    if (!error)
        error = output(engine, options, control, result, latents, fault);
    result->decode_seconds = seconds_since(&mark);
    free(latents);
    if (error != SORA_E_DEVICE)
        return error;
    why = *fault;
    *fault = (struct sora_fault){0};
    return sora_fault_set(fault, error, "%.400s; the card may be lost, --device cpu0 does without",
                          why.text);
}

int sora_render_run(const struct sora_render_options *options,
                    const struct sora_render_control *control,
                    struct sora_render_result *out_result, struct sora_fault *fault)
{
    if (options->job.shot_count == 0 && !options->job.prompt && !options->prompt_embeds)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "no prompt: give --prompt \"TEXT\" (or --prompt-embeds FILE)");
    int error = sora_render_output_check(options, fault);
    if (error)
        return error;
    struct sora_render_result result = {0};
    struct engine engine = {0};
    error = run_stages(&engine, options, control, &result, fault);
    engine_close(&engine);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    result.peak_memory = (uint64_t)usage.ru_maxrss * 1024;
    if (!error)
        *out_result = result;
    return error;
}
