/* The render options as one table, and the rounding rules. */
#include "node/render_job.h"

#include <stdarg.h>

#define FRAMES_MAX 262144
#define PROMPT_MAX 65536
#define PATH_MAX_BYTES 4096

#define ROW(name, letter, type, field, min, max, choices, unit, help, command_only)                \
    {                                                                                              \
        name, letter, type, offsetof(struct sora_render_job, field), min, max, choices, unit,      \
            help, command_only                                                                     \
    }
#define FILE_ROW(name, letter, field, unit, help)                                                  \
    ROW(name, letter, SORA_SETTING_STRING, field, 1, PATH_MAX_BYTES, NULL, unit, help, false)

static const struct sora_setting job_rows[] = {
    ROW("job", 'j', SORA_SETTING_STRING, job, 1, PATH_MAX_BYTES, NULL, "FILE",
        "read settings from a YAML file; options win over it", true),
    FILE_ROW("model", 'm', model, "DIR", "model directory; default models/mini"),
    ROW("prompt", 'p', SORA_SETTING_STRING, prompt, 1, PROMPT_MAX, NULL, "TEXT",
        "what to show; required unless --prompt-embeds", false),
    ROW("negative", 'n', SORA_SETTING_STRING, negative, 0, PROMPT_MAX, NULL, "TEXT",
        "what to avoid; default the model's", false),
    ROW("seconds", 's', SORA_SETTING_NUMBER, seconds, 0.01, 7200, NULL, "SECONDS",
        "length; rounded to what the model can do", false),
    ROW("frames", 'f', SORA_SETTING_INT, frames, 1, FRAMES_MAX, NULL, "N",
        "length in frames instead of seconds", false),
    ROW("size", 0, SORA_SETTING_SIZE, size, 16, 8192, NULL, "WxH",
        "pixels; default the model's, rounded to what it can do", false),
    ROW("fps", 0, SORA_SETTING_NUMBER, fps, 1, 120, NULL, "N",
        "frames per second of the file; default the model's", false),
    ROW("seed", 0, SORA_SETTING_INT, seed, 0, 9007199254740991.0, NULL, "N",
        "same seed, same video; default 0", false),
    ROW("steps", 0, SORA_SETTING_INT, steps, 1, 1000, NULL, "N",
        "denoising steps; default the model's", false),
    ROW("guidance", 'g', SORA_SETTING_NUMBER, guidance, 1, 100, NULL, "X",
        "classifier-free guidance; 1 is off; default the model's", false),
    ROW("shift", 0, SORA_SETTING_NUMBER, shift, 0.01, 100, NULL, "X",
        "timestep shift; default the model's", false),
    ROW("solver", 0, SORA_SETTING_CHOICE, solver, 0, 0, "unipc|euler", "NAME",
        "default the model's", false),
    ROW("overlap", 0, SORA_SETTING_INT, overlap, 1, 1022, NULL, "N",
        "latents that neighbouring windows share; default the model's", false),
    ROW("noise-kind", 0, SORA_SETTING_CHOICE, noise_kind, 0, 0, "shared-mean|iid|freenoise", "NAME",
        "how windows' noise is related; default shared-mean", false),
    ROW("noise-share", 0, SORA_SETTING_NUMBER, noise_share, 0.01, 1, NULL, "A",
        "how much all windows' noise has in common; default the model's", false),
    ROW("threads", 't', SORA_SETTING_INT, threads, 1, 256, NULL, "N",
        "CPU threads; default all; changes no bit of the result", false),
    FILE_ROW("noise", 0, noise, "FILE",
             "start from this noise: safetensors, one tensor 'latents' [C,T,H,W]"),
    FILE_ROW("prompt-embeds", 0, prompt_embeds, "FILE",
             "safetensors with 'prompt_embeds' and 'negative_prompt_embeds' instead of text"),
    FILE_ROW("output", 'o', output, "FILE", "the video, .mp4 or .mkv; default out.mp4"),
    FILE_ROW("contact", 0, contact, "FILE", "also a contact sheet, .png"),
    FILE_ROW("report", 0, report, "FILE", "also a consistency report, .json"),
    FILE_ROW("dump-latents", 0, dump_latents, "FILE", "also the final latents, .safetensors"),
    FILE_ROW("dump-frames", 0, dump_frames, "DIR", "also every frame as .png"),
    ROW("quality", 'q', SORA_SETTING_INT, quality, 1, 51, NULL, "CRF",
        "H.264 rate factor, lower is better; default 16", false),
    ROW("json", 0, SORA_SETTING_FLAG, json, 0, 0, NULL, NULL, "one JSON object on standard output",
        true),
    ROW("quiet", 0, SORA_SETTING_FLAG, quiet, 0, 0, NULL, NULL, "no progress", true),
    ROW("help", 'h', SORA_SETTING_FLAG, help, 0, 0, NULL, NULL, "this text", true),
};

const struct sora_settings_table sora_render_job_table = {
    .usage = "sora-worker render --prompt TEXT --seconds N [options]",
    .about = "Renders one video on this machine's CPU, without a farm. Timelines longer than the\n"
             "model's window are rendered in overlapping windows that are fused at every step.",
    .rows = job_rows,
    .row_count = sizeof(job_rows) / sizeof(job_rows[0]),
};

__attribute__((format(printf, 2, 3))) static void note(struct sora_render_notes *notes,
                                                       const char *format, ...)
{
    if (notes->count == SORA_RENDER_NOTES_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notes->texts[notes->count++], sizeof(notes->texts[0]), format, arguments);
    va_end(arguments);
}

/* The nearest temporal_factor * n + 1 frames, at least 1. */
static int plan_length(const struct sora_render_job *job, const struct sora_render_rules *rules,
                       struct sora_render_plan *plan, struct sora_render_notes *notes,
                       struct sora_fault *fault)
{
    bool by_frames = job->frames != SORA_SETTING_INT_UNSET;
    if (by_frames && !isnan(job->seconds))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "both --frames and --seconds are given; give one of them");
    if (!by_frames && isnan(job->seconds))
        return sora_fault_set(fault, SORA_E_INVALID, "no length: give --seconds or --frames");
    double asked = by_frames ? (double)job->frames : job->seconds * plan->fps;
    if (asked > FRAMES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%g seconds at %g fps are %.0f frames; the limit is %d", job->seconds,
                              plan->fps, asked, FRAMES_MAX);
    int factor = rules->temporal_factor;
    int extra = (int)floor((asked - 1) / factor + 0.5);
    int latents = extra > 0 ? extra + 1 : 1;
    plan->timeline.latent_count = latents;
    plan->frame_count = (latents - 1) * factor + 1;
    if (by_frames && plan->frame_count != (int)job->frames)
        note(notes, "%d frames become %d: this model makes %dn+1", (int)job->frames,
             plan->frame_count, factor);
    if (!by_frames && fabs(asked - plan->frame_count) > 1.0)
        note(notes, "%g s become %d frames, %.2f s: this model makes %dn+1 frames", job->seconds,
             plan->frame_count, plan->frame_count / plan->fps, factor);
    return 0;
}

static int round_to(int value, int multiple)
{
    int rounded = (value + multiple / 2) / multiple * multiple;
    return rounded < multiple ? multiple : rounded;
}

static void plan_size(const struct sora_render_job *job, const struct sora_bundle *bundle,
                      const struct sora_render_rules *rules, struct sora_render_plan *plan,
                      struct sora_render_notes *notes)
{
    struct sora_setting_size asked = job->size.width ? job->size : bundle->size;
    plan->width = round_to(asked.width, rules->size_multiple[0]);
    plan->height = round_to(asked.height, rules->size_multiple[1]);
    if (plan->width != asked.width || plan->height != asked.height)
        note(notes, "%dx%d becomes %dx%d: this model makes multiples of %dx%d", asked.width,
             asked.height, plan->width, plan->height, rules->size_multiple[0],
             rules->size_multiple[1]);
    plan->latent_width = plan->width / rules->spatial_factor;
    plan->latent_height = plan->height / rules->spatial_factor;
    plan->channels = rules->channels;
}

int sora_render_plan_make(const struct sora_render_job *job, const struct sora_bundle *bundle,
                          const struct sora_render_rules *rules, struct sora_render_plan *out_plan,
                          struct sora_render_notes *out_notes, struct sora_fault *fault)
{
    struct sora_render_plan plan = {
        .fps = isnan(job->fps) ? bundle->fps : job->fps,
        .steps = (int32_t)(job->steps == SORA_SETTING_INT_UNSET ? bundle->steps : job->steps),
        .guidance = isnan(job->guidance) ? bundle->guidance : job->guidance,
        .shift = isnan(job->shift) ? bundle->shift : job->shift,
        .solver = (enum sora_solver_kind)(job->solver < 0 ? bundle->solver : job->solver),
        .noise_kind =
            job->noise_kind < 0 ? SORA_NOISE_SHARED_MEAN : (enum sora_noise_kind)job->noise_kind,
        .noise_share = isnan(job->noise_share) ? bundle->noise_share : job->noise_share,
        .seed = job->seed == SORA_SETTING_INT_UNSET ? 0 : (uint64_t)job->seed,
    };
    plan.timeline.window_latents = (int32_t)bundle->window_latents;
    plan.timeline.overlap_latents =
        (int32_t)(job->overlap == SORA_SETTING_INT_UNSET ? bundle->overlap_latents : job->overlap);
    int error = plan_length(job, rules, &plan, out_notes, fault);
    if (error)
        return error;
    plan_size(job, bundle, rules, &plan, out_notes);
    error = sora_timeline_check(&plan.timeline, fault);
    if (!error)
        *out_plan = plan;
    return error;
}
