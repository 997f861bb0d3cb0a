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
#define SORA_JOB_FRAMES_MAX 262144 /* of a whole job */
#define SORA_JOB_SECONDS_MAX 7200
#define SORA_JOB_FPS_MAX 120
#define SORA_JOB_PROMPT_BYTES_MAX (100 << 10)
#define SORA_JOB_NEGATIVE_BYTES_MAX (16 << 10)
#define SORA_JOB_SEED_MAX INT64_C(9007199254740991) /* what a double in JSON holds exactly */
#define SORA_JOB_PATH_BYTES_MAX 4096

enum sora_solver_kind {
    /* UniPC (Zhao et al., NeurIPS 2023): bh2, order 2, on x0 predictions, order 1 in the last step
     * and in the first. */
    SORA_SOLVER_UNIPC = 0,
    SORA_SOLVER_EULER, /* x += (sigma' - sigma) v */
};
#define SORA_SOLVER_KIND_COUNT 2

/* How the noise of a timeline's windows is related; formulas in model/noise.h. */
enum sora_noise_kind {
    SORA_NOISE_SHARED_MEAN = 0,
    SORA_NOISE_IID,
    SORA_NOISE_FREENOISE,
};
#define SORA_NOISE_KIND_COUNT 3

enum sora_codec {
    SORA_CODEC_H264 = 0,
    SORA_CODEC_H265,
    SORA_CODEC_AV1,
    SORA_CODEC_PRORES,
    SORA_CODEC_FFV1,
};
#define SORA_CODEC_COUNT 5
#define SORA_BITRATE_MIN 10000 /* bit/s */
#define SORA_BITRATE_MAX ((int64_t)4000 * 1000 * 1000)

enum sora_container {
    SORA_CONTAINER_MP4 = 0,
    SORA_CONTAINER_MOV,
    SORA_CONTAINER_MKV,
};
#define SORA_CONTAINER_COUNT 3

/* The kinds' names as a CHOICE row has them. */
#define SORA_SOLVER_CHOICES "unipc|euler"
#define SORA_NOISE_CHOICES "shared-mean|iid|freenoise"
#define SORA_CODEC_CHOICES "h264|h265|av1|prores|ffv1"
#define SORA_CONTAINER_CHOICES "mp4|mov|mkv"

/* "unipc", "euler"; NULL for another value. */
const char *sora_solver_kind_name(enum sora_solver_kind kind);
/* Errors: INVALID with the names that exist. */
int sora_solver_kind_parse(const char *name, enum sora_solver_kind *out_kind,
                           struct sora_fault *fault);
/* "shared-mean", "iid", "freenoise"; NULL for another value. */
const char *sora_noise_kind_name(enum sora_noise_kind kind);
int sora_noise_kind_parse(const char *name, enum sora_noise_kind *out_kind,
                          struct sora_fault *fault);
/* "h264", "h265", "av1", "prores", "ffv1"; NULL for another value. */
const char *sora_codec_name(enum sora_codec codec);
int sora_codec_parse(const char *name, enum sora_codec *out_codec, struct sora_fault *fault);
/* Whether a codec has that quality (0: its own), bits per second (0: by quality) and pixel format
 * (NULL or "": its own); the same rules as media/video_codec.c, for those who only take jobs.
 * Errors: INVALID. */
int sora_codec_check(enum sora_codec codec, int64_t quality, int64_t bitrate,
                     const char *pixel_format, struct sora_fault *fault);

/* "mp4", "mov", "mkv": also the ending of a file; NULL for another value. */
const char *sora_container_name(enum sora_container container);
int sora_container_parse(const char *name, enum sora_container *out_container,
                         struct sora_fault *fault);
/* The container that a file's ending names; -1 when it names none. `path` may be NULL. */
int sora_container_of_path(const char *path);
/* The container of a video: `wanted`, or the codec's own for -1. The same rules as
 * media/video_codec.c. Errors: INVALID (it does not hold this codec), naming those that do. */
int sora_codec_container(enum sora_codec codec, int wanted, enum sora_container *out_container,
                         struct sora_fault *fault);

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
    int codec; /* enum sora_codec */
    int64_t quality, bitrate;
    char *pixel_format;
    int container; /* enum sora_container */
    /* From a job file's `shots:`; 0: prompt, seconds and frames above are the only shot. No row
     * sets them: zero the struct before sora_settings_init. */
    int shot_count;
    struct sora_job_shot *shots; /* owned */
};

#define SORA_JOB_ROW(type, member, name, letter, kind, field, min, max, choices, unit, help)       \
    {                                                                                              \
        name, letter, SORA_SETTING_##kind, offsetof(type, member.field), min, max, choices, unit,  \
            help, false                                                                            \
    }

/* Rows for the tables of programs, initialisers of struct sora_setting separated by commas; `type`
 * is the program's struct, `member` its struct sora_job_options. What is made: */
#define SORA_JOB_RENDER_ROWS(type, member)                                                         \
    {"job",                                                                                        \
     'j',                                                                                          \
     SORA_SETTING_STRING,                                                                          \
     offsetof(type, member.job),                                                                   \
     1,                                                                                            \
     SORA_JOB_PATH_BYTES_MAX,                                                                      \
     NULL,                                                                                         \
     "FILE",                                                                                       \
     "read settings from a YAML file; options win over it",                                        \
     true},                                                                                        \
        SORA_JOB_ROW(type, member, "name", 0, STRING, name, 1, 128, NULL, "TEXT",                  \
                     "the job's name in lists; default the beginning of the prompt"),              \
        SORA_JOB_ROW(type, member, "model", 'm', STRING, model, 1, SORA_JOB_PATH_BYTES_MAX, NULL,  \
                     "MODEL",                                                                      \
                     "a model's folder or, on a farm, its name; default mini, else the only one"), \
        SORA_JOB_ROW(type, member, "prompt", 'p', STRING, prompt, 1, SORA_JOB_PROMPT_BYTES_MAX,    \
                     NULL, "TEXT", "what to show"),                                                \
        SORA_JOB_ROW(type, member, "negative", 'n', STRING, negative, 0,                           \
                     SORA_JOB_NEGATIVE_BYTES_MAX, NULL, "TEXT",                                    \
                     "what to avoid; default the model's"),                                        \
        SORA_JOB_ROW(type, member, "seconds", 's', NUMBER, seconds, 0.01, SORA_JOB_SECONDS_MAX,    \
                     NULL, "SECONDS", "length; rounded to what the model can do"),                 \
        SORA_JOB_ROW(type, member, "frames", 'f', INT, frames, 1, SORA_JOB_FRAMES_MAX, NULL, "N",  \
                     "length in frames instead of seconds"),                                       \
        SORA_JOB_ROW(type, member, "size", 0, SIZE, size, 16, 8192, NULL, "WxH",                   \
                     "pixels; default the model's, rounded to what it can do"),                    \
        SORA_JOB_ROW(type, member, "fps", 0, NUMBER, fps, 1, SORA_JOB_FPS_MAX, NULL, "N",          \
                     "frames per second of the file; default the model's"),                        \
        SORA_JOB_ROW(type, member, "seed", 0, INT, seed, 0, (double)SORA_JOB_SEED_MAX, NULL, "N",  \
                     "same seed, same video; default 0"),                                          \
        SORA_JOB_ROW(type, member, "steps", 0, INT, steps, 1, 1000, NULL, "N",                     \
                     "denoising steps; default the model's"),                                      \
        SORA_JOB_ROW(type, member, "guidance", 'g', NUMBER, guidance, 1, 100, NULL, "X",           \
                     "classifier-free guidance; 1 is off; default the model's"),                   \
        SORA_JOB_ROW(type, member, "shift", 0, NUMBER, shift, 0.01, 100, NULL, "X",                \
                     "timestep shift; default the model's"),                                       \
        SORA_JOB_ROW(type, member, "solver", 0, CHOICE, solver, 0, 0, SORA_SOLVER_CHOICES, "NAME", \
                     "default the model's"),                                                       \
        SORA_JOB_ROW(type, member, "overlap", 0, INT, overlap, 1, 1022, NULL, "N",                 \
                     "latents that neighbouring windows share; default the model's"),              \
        SORA_JOB_ROW(type, member, "noise-kind", 0, CHOICE, noise_kind, 0, 0, SORA_NOISE_CHOICES,  \
                     "NAME", "how windows' noise is related; default shared-mean"),                \
        SORA_JOB_ROW(type, member, "noise-share", 0, NUMBER, noise_share, 0.01, 1, NULL, "A",      \
                     "how much all windows' noise has in common; default the model's")
/* How it is stored: */
#define SORA_JOB_OUTPUT_ROWS(type, member)                                                         \
    SORA_JOB_ROW(type, member, "codec", 0, CHOICE, codec, 0, 0, SORA_CODEC_CHOICES, "NAME",        \
                 "of the video; default h264"),                                                    \
        SORA_JOB_ROW(type, member, "quality", 'q', INT, quality, 1, 63, NULL, "CRF",               \
                     "the codec's rate factor, lower is better; default 16 for h264"),             \
        SORA_JOB_ROW(type, member, "bitrate", 0, INT, bitrate, SORA_BITRATE_MIN, SORA_BITRATE_MAX, \
                     NULL, "BITS", "bits per second instead of a quality"),                        \
        SORA_JOB_ROW(type, member, "pixel-format", 0, STRING, pixel_format, 1, 32, NULL, "NAME",   \
                     "default the codec's, yuv420p for h264"),                                     \
        SORA_JOB_ROW(type, member, "container", 0, CHOICE, container, 0, 0,                        \
                     SORA_CONTAINER_CHOICES, "NAME",                                               \
                     "mp4, mov or mkv; default as the output is named")
#define SORA_JOB_OPTION_ROWS(type, member)                                                         \
    SORA_JOB_RENDER_ROWS(type, member), SORA_JOB_OUTPUT_ROWS(type, member)

/* Reads `options->job`, if set, into what is unset; the command line wins. `table` and `target` are
 * the program's own, `options` lies in `target`. Errors as sora_settings_load_yaml, naming the
 * shot; INVALID when shots meet what belongs into them: a prompt, a length, a seed of a shot that
 * continues, a first shot that continues nothing. */
int sora_job_options_load(const struct sora_settings_table *table, void *target,
                          struct sora_job_options *options, struct sora_fault *fault);
/* The same from text in memory; `label` stands for the file in messages. */
int sora_job_options_parse(const struct sora_settings_table *table, const char *text, size_t size,
                           const char *label, void *target, struct sora_job_options *options,
                           struct sora_fault *fault);
void sora_job_options_fini(struct sora_job_options *options); /* the shots only */

#endif
