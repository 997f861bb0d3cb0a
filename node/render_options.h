/*
 * Render options: what `sora-worker render` is asked to do, from options or a job file: the options
 * of a job (base/job_options.h) and those of a render on this machine.
 *
 * Plain values owned by the caller. Reading a job file blocks; the rest is pure.
 */
#ifndef SORA_NODE_RENDER_OPTIONS_H
#define SORA_NODE_RENDER_OPTIONS_H

#include "base/job_options.h"

struct sora_render_options {
    struct sora_job_options job;
    char *device;  /* NULL: the first card that is found, else the CPU */
    int precision; /* of a card, enum sora_gpu_precision; negative: not given */
    int64_t threads;
    char *noise, *prompt_embeds;
    char *output, *contact, *report;
    char *dump_latents, *dump_frames;
    int json, quiet, help;
    enum sora_container container; /* as asked, else as the output is named, else the codec's own */
};

extern const struct sora_settings_table sora_render_options_table;

void sora_render_options_init(struct sora_render_options *options);
void sora_render_options_fini(struct sora_render_options *options);

/* Options first, then what the job file adds, then the default output. With --help nothing but the
 * options is read. Errors: those of settings and job files; INVALID for a container that
 * is not that of the output's name, or does not hold the codec. */
int sora_render_options_read(int argc, char **argv, struct sora_render_options *options,
                             struct sora_fault *fault);

#endif
