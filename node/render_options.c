/* The options of `sora-worker render` as one table. */
#include "node/render_options.h"

#include "hip/gpu/gpu.h"

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
    {"device", 'd', SORA_SETTING_STRING, offsetof(struct sora_render_options, device), 1, 32, NULL,
     "NAME", "cpu0, gpu0, ...; default the first card that is found, else cpu0", true},
    {"precision", 0, SORA_SETTING_CHOICE, offsetof(struct sora_render_options, precision), 0, 0,
     SORA_GPU_PRECISION_CHOICES, NULL,
     "of products on a card; int8 (error 0.5 %), fp8 (3 %): of weights; default bf16", true},
    {"threads", 't', SORA_SETTING_INT, offsetof(struct sora_render_options, threads), 1, 256, NULL,
     "N", "CPU threads; default all; changes no bit of the result", false},
    FILE_ROW("noise", 0, noise, "FILE",
             "start from this noise: safetensors, one tensor 'latents' [C,T,H,W]"),
    FILE_ROW("prompt-embeds", 0, prompt_embeds, "FILE",
             "safetensors with 'prompt_embeds' and 'negative_prompt_embeds' instead of text"),
    FILE_ROW("output", 'o', output, "FILE", "the video, .mp4, .mov or .mkv; default out.mp4"),
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
    .about =
        "Renders one video on one device of this machine, without a farm. Timelines longer than\n"
        "the model's window are rendered in overlapping windows that are fused at every step.\n"
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

static int check_container(struct sora_render_options *options, struct sora_fault *fault)
{
    int asked = options->job.container, named = sora_container_of_path(options->output);
    int codec = options->job.codec < 0 ? SORA_CODEC_H264 : options->job.codec;
    if (asked >= 0 && named >= 0 && named != asked)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "container is %s, but the output is '%.200s'; name it *.%s",
                              sora_container_name((enum sora_container)asked), options->output,
                              sora_container_name((enum sora_container)asked));
    return sora_codec_container((enum sora_codec)codec, asked >= 0 ? asked : named,
                                &options->container, fault);
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
        error = check_container(options, fault);
    if (error || options->output)
        return error;
    char name[16];
    snprintf(name, sizeof(name), "out.%s", sora_container_name(options->container));
    options->output = strdup(name);
    return options->output ? 0 : sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
}
