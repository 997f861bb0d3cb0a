/* The stages of a render, in order: plan, text, sampling, output. */
#include "node/render.h"

#include "hip/cpu/cpu.h"
#include "model/tensor_file.h"
#include "model/transformer.h"
#include "node/render_output.h"
#include "node/render_sample.h"
#include "node/render_text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PATH_SIZE 1024
#define DEFAULT_MODEL "models/mini"

/* Everything that stays open for the whole render. */
struct engine {
    struct sora_device *device;
    struct sora_bundle bundle;
    struct sora_transformer *transformer;
    struct sora_vae *vae;
    struct sora_transformer_context *prompt, *negative;
};

static void engine_close(struct engine *engine)
{
    sora_transformer_context_destroy(&engine->prompt);
    sora_transformer_context_destroy(&engine->negative);
    sora_vae_destroy(&engine->vae);
    sora_transformer_destroy(&engine->transformer);
    sora_bundle_fini(&engine->bundle);
    sora_device_destroy(&engine->device);
}

static int engine_open(struct engine *engine, const struct sora_render_job *job,
                       struct sora_fault *fault)
{
    int error = sora_bundle_open(job->model ? job->model : DEFAULT_MODEL, &engine->bundle, fault);
    if (error)
        return error;
    const struct sora_cpu_params params = {
        .thread_count = job->threads == SORA_SETTING_INT_UNSET ? 0 : (int)job->threads};
    error = sora_cpu_device_create(&params, &engine->device, fault);
    char path[PATH_SIZE];
    sora_bundle_path(&engine->bundle, "transformer", path, sizeof(path));
    if (!error)
        error = sora_transformer_open(path, engine->device, &engine->transformer, fault);
    sora_bundle_path(&engine->bundle, "vae", path, sizeof(path));
    if (!error)
        error = sora_vae_open(path, engine->device, &engine->vae, fault);
    return error;
}

static int make_plan(const struct engine *engine, const struct sora_render_job *job,
                     struct sora_render_result *result, struct sora_fault *fault)
{
    const struct sora_transformer_config *transformer =
        sora_transformer_config(engine->transformer);
    const struct sora_vae_config *vae = sora_vae_config(engine->vae);
    if (transformer->in_channels != vae->channels)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%.300s: the transformer takes %d channels, the VAE makes %d",
                              engine->bundle.directory, transformer->in_channels, vae->channels);
    const struct sora_render_rules rules = {
        .temporal_factor = vae->temporal_factor,
        .size_multiple = {vae->spatial_factor * transformer->patch_w,
                          vae->spatial_factor * transformer->patch_h},
        .spatial_factor = vae->spatial_factor,
        .channels = vae->channels,
    };
    return sora_render_plan_make(job, &engine->bundle, &rules, &result->plan, &result->notes,
                                 fault);
}

/* Refuses a job whose buffers do not fit, before anything is allocated. The latents are held once
 * per solver state and covering window, at most 8 times. */
static int check_memory(const struct engine *engine, const struct sora_render_plan *plan,
                        struct sora_fault *fault)
{
    const struct sora_timeline_params *timeline = &plan->timeline;
    int window = timeline->latent_count < timeline->window_latents ? timeline->latent_count
                                                                   : timeline->window_latents;
    struct sora_vae_plan decode;
    int error =
        sora_vae_decoder_plan(engine->vae, plan->latent_height, plan->latent_width, &decode, fault);
    if (error)
        return error;
    struct sora_device_caps caps;
    sora_device_caps(engine->device, &caps);
    double latents = 8.0 * sizeof(float) * plan->channels * plan->latent_height *
                     plan->latent_width * timeline->latent_count;
    double passes = (double)sora_transformer_activation_size(
        engine->transformer, window, plan->latent_height, plan->latent_width);
    double decoding =
        (double)decode.cache_bytes + (double)decode.activation_bytes + (double)decode.weight_bytes;
    double need = latents + (passes > decoding ? passes : decoding);
    if (need <= (double)caps.memory_free)
        return 0;
    return sora_fault_set(
        fault, SORA_E_LIMIT,
        "%dx%d with %d frames needs %.1f GB of memory, %.1f GB are free; choose a "
        "smaller --size or fewer --seconds",
        plan->width, plan->height, plan->frame_count, need / 1e9, (double)caps.memory_free / 1e9);
}

/* A small model is honest about what it knows. */
static void note_unknown_words(const struct engine *engine, const struct sora_render_job *job,
                               struct sora_render_notes *notes)
{
    char word[64];
    if (!job->prompt || !engine->bundle.knows || notes->count == SORA_RENDER_NOTES_MAX ||
        !sora_bundle_unknown_word(&engine->bundle, job->prompt, word, sizeof(word)))
        return;
    snprintf(notes->texts[notes->count++], sizeof(notes->texts[0]),
             "'%s' is new to %s, which knows %s", word, engine->bundle.name, engine->bundle.knows);
}

static int read_rows(const struct engine *engine, const struct sora_render_job *job,
                     bool with_negative, struct sora_text_rows *prompt,
                     struct sora_text_rows *negative, struct sora_fault *fault)
{
    const char *negative_text = job->negative ? job->negative : engine->bundle.negative;
    if (!job->prompt_embeds)
        return sora_render_text_encode(&engine->bundle, engine->device, job->prompt,
                                       with_negative ? negative_text : NULL, prompt, negative,
                                       fault);
    int width = sora_transformer_config(engine->transformer)->text_width;
    int error = sora_render_text_read(job->prompt_embeds, "prompt_embeds", width, prompt, fault);
    if (!error && with_negative)
        error = sora_render_text_read(job->prompt_embeds, "negative_prompt_embeds", width, negative,
                                      fault);
    return error;
}

static int prepare_text(struct engine *engine, const struct sora_render_job *job,
                        struct sora_render_result *result, struct sora_fault *fault)
{
    struct sora_text_rows prompt = {0}, negative = {0};
    bool with_negative = result->plan.guidance != 1.0;
    int error = read_rows(engine, job, with_negative, &prompt, &negative, fault);
    if (!error)
        error = sora_transformer_context_create(engine->transformer, prompt.values, prompt.count,
                                                SORA_RENDER_TEXT_ROWS, &engine->prompt, fault);
    if (!error && with_negative)
        error =
            sora_transformer_context_create(engine->transformer, negative.values, negative.count,
                                            SORA_RENDER_TEXT_ROWS, &engine->negative, fault);
    result->text_tokens = prompt.count;
    sora_text_rows_fini(&prompt);
    sora_text_rows_fini(&negative);
    return error;
}

static int dump_latents(const struct sora_render_job *job, const struct sora_render_plan *plan,
                        const float *latents, struct sora_fault *fault)
{
    struct sora_array array = {.rank = 4,
                               .shape = {plan->timeline.latent_count, plan->channels,
                                         plan->latent_height, plan->latent_width}};
    size_t size = (size_t)sora_array_count(&array) * sizeof(float);
    array.values = malloc(size);
    if (!array.values)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the latents' file");
    memcpy(array.values, latents, size);
    int error = sora_array_swap_frames(&array, fault);
    if (!error)
        error = sora_array_write(job->dump_latents, "latents", &array, fault);
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

static int sample(struct engine *engine, const struct sora_render_job *job,
                  const struct sora_render_control *control, struct sora_render_result *result,
                  float **out_latents, struct sora_fault *fault)
{
    sora_progress_begin(control->progress, "denoising");
    const struct sora_render_sample_params params = {
        .device = engine->device,
        .transformer = engine->transformer,
        .prompt = engine->prompt,
        .negative = engine->negative,
        .plan = &result->plan,
        .noise_path = job->noise,
        .control = control,
    };
    struct sora_fault sample_fault = {0};
    int error = sora_render_sample(&params, out_latents, &result->window_passes, &sample_fault);
    const char *weight =
        error == SORA_E_NUMERIC ? sora_transformer_find_nonfinite(engine->transformer) : NULL;
    if (weight)
        return sora_fault_set(fault, error, "%.200s/transformer: weight %.120s is not finite",
                              engine->bundle.directory, weight);
    if (error)
        return sora_fault_set(fault, error, "%s", sample_fault.text);
    char summary[80];
    snprintf(summary, sizeof(summary), "%d window passes", result->window_passes);
    sora_progress_end(control->progress, summary);
    return 0;
}

static int output(struct engine *engine, const struct sora_render_job *job,
                  const struct sora_render_control *control, struct sora_render_result *result,
                  const float *latents, struct sora_fault *fault)
{
    sora_progress_begin(control->progress, "decoding");
    const struct sora_render_output_params params = {
        .vae = engine->vae,
        .job = job,
        .plan = &result->plan,
        .model_name = engine->bundle.name,
        .latents = latents,
        .control = control,
    };
    int error = sora_render_output(&params, fault);
    if (error)
        return error;
    char summary[80];
    snprintf(summary, sizeof(summary), "%d frames", result->plan.frame_count);
    sora_progress_end(control->progress, summary);
    return job->dump_latents ? dump_latents(job, &result->plan, latents, fault) : 0;
}

static int run_stages(struct engine *engine, const struct sora_render_job *job,
                      const struct sora_render_control *control, struct sora_render_result *result,
                      struct sora_fault *fault)
{
    sora_time mark = sora_clock_now();
    int error = engine_open(engine, job, fault);
    if (!error)
        error = make_plan(engine, job, result, fault);
    if (!error)
        error = check_memory(engine, &result->plan, fault);
    if (error)
        return error;
    struct sora_device_caps caps;
    sora_device_caps(engine->device, &caps);
    snprintf(result->device_class, sizeof(result->device_class), "%s", caps.device_class);
    snprintf(result->model_name, sizeof(result->model_name), "%s", engine->bundle.name);
    note_unknown_words(engine, job, &result->notes);
    for (int i = 0; i < result->notes.count && control->progress->enabled; i++)
        fprintf(stderr, "note: %s\n", result->notes.texts[i]);
    result->load_seconds = seconds_since(&mark);
    error = prepare_text(engine, job, result, fault);
    result->text_seconds = seconds_since(&mark);
    float *latents = NULL;
    if (!error)
        error = sample(engine, job, control, result, &latents, fault);
    result->sample_seconds = seconds_since(&mark);
    if (!error)
        error = output(engine, job, control, result, latents, fault);
    result->decode_seconds = seconds_since(&mark);
    free(latents);
    return error;
}

int sora_render_run(const struct sora_render_job *job, const struct sora_render_control *control,
                    struct sora_render_result *out_result, struct sora_fault *fault)
{
    if (!job->prompt && !job->prompt_embeds)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "no prompt: give --prompt \"TEXT\" (or --prompt-embeds FILE)");
    int error = sora_render_output_check(job, fault);
    if (error)
        return error;
    struct sora_render_result result = {0};
    struct engine engine = {0};
    error = run_stages(&engine, job, control, &result, fault);
    engine_close(&engine);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    result.peak_memory = (uint64_t)usage.ru_maxrss * 1024;
    if (!error)
        *out_result = result;
    return error;
}
