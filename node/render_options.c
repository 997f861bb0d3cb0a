/* The options of `sora-worker render` as one table. */
#include "node/render_options.h"

#include <stdlib.h>
#include <string.h>

#define FILE_ROW(name, letter, field, unit, help)                                                  \
    {                                                                                              \
        name, letter, SORA_SETTING_STRING, offsetof(struct sora_render_options, field), 1,         \
            SORA_JOB_PATH_BYTES_MAX, NULL, unit, help, false                                       \
    }
#define FLAG_ROW(name, letter, field, help)                                                        \
    {                                                                                              \
        name, letter, SORA_SETTING_FLAG, offsetof(struct sora_render_options, field), 0, 0, NULL,  \
            NULL, help, true                                                                       \
    }

static const struct sora_setting option_rows[] = {
    SORA_JOB_OPTION_ROWS(struct sora_render_options, job),
    {"threads", 't', SORA_SETTING_INT, offsetof(struct sora_render_options, threads), 1, 256, NULL,
     "N", "CPU threads; default all; changes no bit of the result", false},
    FILE_ROW("noise", 0, noise, "FILE",
             "start from this noise: safetensors, one tensor 'latents' [C,T,H,W]"),
    FILE_ROW("prompt-embeds", 0, prompt_embeds, "FILE",
             "safetensors with 'prompt_embeds' and 'negative_prompt_embeds' instead of text"),
    FILE_ROW("output", 'o', output, "FILE", "the video, .mp4 or .mkv; default out.mp4"),
    FILE_ROW("contact", 0, contact, "FILE", "also a contact sheet, .png"),
    FILE_ROW("report", 0, report, "FILE", "also a consistency report, .json"),
    FILE_ROW("dump-latents", 0, dump_latents, "FILE", "also the final latents, .safetensors"),
    FILE_ROW("dump-frames", 0, dump_frames, "DIR", "also every frame as .png"),
    FLAG_ROW("json", 0, json, "one JSON object on standard output"),
    FLAG_ROW("quiet", 0, quiet, "no progress"),
    FLAG_ROW("help", 'h', help, "this text"),
};

const struct sora_settings_table sora_render_options_table = {
    .usage = "sora-worker render --prompt TEXT --seconds N [options]",
    .about = "Renders one video on this machine's CPU, without a farm. Timelines longer than the\n"
             "model's window are rendered in overlapping windows that are fused at every step.\n"
             "A job file may hold a list of shots.",
    .rows = option_rows,
    .row_count = sizeof(option_rows) / sizeof(option_rows[0]),
};

void sora_render_options_init(struct sora_render_options *options)
{
    *options = (struct sora_render_options){0};
    sora_settings_init(&sora_render_options_table, options);
}

void sora_render_options_fini(struct sora_render_options *options)
{
    sora_job_options_fini(&options->job);
    sora_settings_fini(&sora_render_options_table, options);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

/* What only a farm's home encodes. */
static int check_encoding(const struct sora_render_options *options, struct sora_fault *fault)
{
    const struct sora_job_options *job = &options->job;
    if (job->codec > SORA_CODEC_H264)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "codec: sora-worker render writes h264; a farm writes %s (soractl "
                              "submit)",
                              sora_codec_name((enum sora_codec)job->codec));
    if (job->bitrate != SORA_SETTING_INT_UNSET)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "bitrate: sora-worker render goes by --quality; remove it");
    if (job->pixel_format && strcmp(job->pixel_format, "yuv420p") != 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "pixel-format: sora-worker render writes yuv420p, not %.60s",
                              job->pixel_format);
    if (job->container && strcmp(job->container, "mp4") != 0 && strcmp(job->container, "mkv") != 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "container: '%.60s' is neither mp4 nor mkv", job->container);
    char end[32];
    snprintf(end, sizeof(end), ".%s", job->container ? job->container : "mp4");
    if (job->container && options->output && !ends_with(options->output, end))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "container is %s, but the output is '%.200s'; name it *%s",
                              job->container, options->output, end);
    return 0;
}

int sora_render_options_read(int argc, char **argv, struct sora_render_options *options,
                             struct sora_fault *fault)
{
    int error =
        sora_settings_parse_arguments(&sora_render_options_table, argc, argv, options, fault);
    if (error || options->help)
        return error;
    error = sora_job_options_load(&sora_render_options_table, options, &options->job, fault);
    if (!error)
        error = check_encoding(options, fault);
    if (error || options->output)
        return error;
    bool mkv = options->job.container && strcmp(options->job.container, "mkv") == 0;
    options->output = strdup(mkv ? "out.mkv" : "out.mp4");
    return options->output ? 0 : sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
}
