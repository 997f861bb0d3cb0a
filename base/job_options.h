/*
 * Job options: what a person may ask of a render, as one table for `sora-worker render`, `soractl
 * submit` and job files.
 *
 * A job is one or more shots. Options describe one shot; a job file may hold a list:
 *
 *   size: 256x144
 *   shots:
 *     - prompt: a red balloon over the sea
 *       seconds: 20
 *     - prompt: a lantern over the sea at night
 *       seconds: 10
 *       cut: false        # continues the shot before; true (the default) is a hard cut
 *
 * Plain values owned by the caller, unset as base/settings.h says. Reading a file blocks.
 */
#ifndef SORA_BASE_JOB_OPTIONS_H
#define SORA_BASE_JOB_OPTIONS_H

#include "base/settings.h"

#define SORA_JOB_SHOTS_MAX 256
#define SORA_JOB_PROMPT_BYTES_MAX (100 << 10)

enum sora_solver_kind { SORA_SOLVER_EULER, SORA_SOLVER_UNIPC };
enum sora_noise_kind { SORA_NOISE_SHARED_MEAN, SORA_NOISE_IID, SORA_NOISE_FREENOISE };

struct sora_job_shot {
    char *prompt, *negative; /* owned */
    double seconds;
    int64_t frames, seed;
    int cut; /* -1 unset: a cut */
};

struct sora_job_options {
    char *job; /* the file itself */
    char *name;
    char *model;
    char *prompt, *negative;
    double seconds;
    int64_t frames;
    struct sora_setting_size size;
    double fps;
    int64_t seed, steps, overlap;
    double guidance, shift;
    int solver;     /* enum sora_solver_kind */
    int noise_kind; /* enum sora_noise_kind */
    double noise_share;
    /* output */
    int codec; /* h264|h265|av1|prores|ffv1 */
    int64_t quality, bitrate;
    char *pixel_format, *container;
    /* from a job file's `shots:`; 0: prompt, seconds and frames above are the only shot */
    int shot_count;
    struct sora_job_shot *shots; /* owned */
};

/* Rows for the tables of programs; `type` is the program's struct, `member` its struct
 * sora_job_options. */
#define SORA_JOB_OPTION_ROWS(type, member) /* defined with the table by its owner */

/* Reads `options->job`, if set, into what is unset; the command line wins. Errors as
 * sora_settings_load_yaml, naming the shot. */
int sora_job_options_load(const struct sora_settings_table *table, void *target,
                          struct sora_job_options *options, struct sora_fault *fault);
void sora_job_options_fini(struct sora_job_options *options); /* the shots only */

#endif
