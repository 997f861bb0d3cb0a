/* Job options: names of kinds, and job files with their list of shots. */
#include "base/job_options.h"

#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const char *const solver_names[SORA_SOLVER_KIND_COUNT] = {"unipc", "euler"};
static const char *const noise_names[SORA_NOISE_KIND_COUNT] = {"shared-mean", "iid", "freenoise"};
static const char *const codec_names[SORA_CODEC_COUNT] = {"h264", "h265", "av1", "prores", "ffv1"};

#define SHOT_ROW(name, kind, field, min, max, choices, help)                                       \
    {                                                                                              \
        name, 0, SORA_SETTING_##kind, offsetof(struct sora_job_shot, field), min, max, choices,    \
            NULL, help, false                                                                      \
    }
static const struct sora_setting shot_rows[] = {
    SHOT_ROW("prompt", STRING, prompt, 1, SORA_JOB_PROMPT_BYTES_MAX, NULL, "what to show"),
    SHOT_ROW("negative", STRING, negative, 0, SORA_JOB_NEGATIVE_BYTES_MAX, NULL,
             "what to avoid; default the job's"),
    SHOT_ROW("seconds", NUMBER, seconds, 0.01, SORA_JOB_SECONDS_MAX, NULL, "length"),
    SHOT_ROW("frames", INT, frames, 1, SORA_JOB_FRAMES_MAX, NULL, "length instead of seconds"),
    SHOT_ROW("seed", INT, seed, 0, (double)SORA_JOB_SEED_MAX, NULL, "default the job's"),
    SHOT_ROW("cut", CHOICE, cut, 0, 0, "false|true", "false continues the shot before"),
};
static const struct sora_settings_table shot_table = {"shots", "A shot of a job.", shot_rows,
                                                      COUNT_OF(shot_rows)};

static const char *const container_names[SORA_CONTAINER_COUNT] = {"mp4", "mov", "mkv"};

/* Index of `name`, -1 when it is not there. */
static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

/* The same as an enum's value. `what` and `known` are for the sentence. */
static int parse_name(const char *const *names, int count, const char *name, const char *what,
                      const char *known, int *out_index, struct sora_fault *fault)
{
    int index = find_name(names, count, name);
    if (index < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "%s \"%.40s\" does not exist: use %s", what,
                              name, known);
    *out_index = index;
    return 0;
}

const char *sora_solver_kind_name(enum sora_solver_kind kind)
{
    return (unsigned)kind < SORA_SOLVER_KIND_COUNT ? solver_names[kind] : NULL;
}

int sora_solver_kind_parse(const char *name, enum sora_solver_kind *out_kind,
                           struct sora_fault *fault)
{
    int index = 0;
    int rc = parse_name(solver_names, SORA_SOLVER_KIND_COUNT, name, "solver", "unipc or euler",
                        &index, fault);
    if (rc == 0)
        *out_kind = (enum sora_solver_kind)index;
    return rc;
}

const char *sora_noise_kind_name(enum sora_noise_kind kind)
{
    return (unsigned)kind < SORA_NOISE_KIND_COUNT ? noise_names[kind] : NULL;
}

int sora_noise_kind_parse(const char *name, enum sora_noise_kind *out_kind,
                          struct sora_fault *fault)
{
    int index = 0;
    int rc = parse_name(noise_names, SORA_NOISE_KIND_COUNT, name, "noise kind",
                        "shared-mean, iid or freenoise", &index, fault);
    if (rc == 0)
        *out_kind = (enum sora_noise_kind)index;
    return rc;
}

const char *sora_codec_name(enum sora_codec codec)
{
    return (unsigned)codec < SORA_CODEC_COUNT ? codec_names[codec] : NULL;
}

int sora_codec_parse(const char *name, enum sora_codec *out_codec, struct sora_fault *fault)
{
    int index = 0;
    int rc = parse_name(codec_names, SORA_CODEC_COUNT, name, "codec",
                        "h264, h265, av1, prores or ffv1", &index, fault);
    if (rc == 0)
        *out_codec = (enum sora_codec)index;
    return rc;
}

#define ALL_FORMATS "yuv420p, yuv422p, yuv444p, yuv420p10le, yuv422p10le, yuv444p10le"

static const struct {
    int quality_max; /* from 1; 0: it has none */
    bool bitrate;
    const char *formats;
    enum sora_container container; /* its own */
    const char *containers;
} codec_limits[SORA_CODEC_COUNT] = {
    [SORA_CODEC_H264] = {51, true, ALL_FORMATS, SORA_CONTAINER_MP4, "mp4, mov, mkv"},
    [SORA_CODEC_H265] = {51, true, ALL_FORMATS, SORA_CONTAINER_MP4, "mp4, mov, mkv"},
    [SORA_CODEC_AV1] = {63, true, "yuv420p, yuv420p10le", SORA_CONTAINER_MP4, "mp4, mkv"},
    [SORA_CODEC_PRORES] = {6, false, "yuv422p10le, yuv444p10le", SORA_CONTAINER_MOV, "mov, mkv"},
    [SORA_CODEC_FFV1] = {0, false, "bgr0, " ALL_FORMATS, SORA_CONTAINER_MKV, "mkv"},
};

static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += length) {
        bool begins = at == list || at[-1] == ' ';
        if (begins && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

static int check_rate(enum sora_codec codec, int64_t quality, int64_t bitrate,
                      struct sora_fault *fault)
{
    const char *name = codec_names[codec];
    int quality_max = codec_limits[codec].quality_max;
    if (quality != 0 && quality_max == 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "quality: %s is lossless and has none: leave it out", name);
    if (quality < 0 || quality > quality_max)
        return sora_fault_set(fault, SORA_E_INVALID, "quality: %d; with %s it must be 1 to %d",
                              (int)quality, name, quality_max);
    if (bitrate == 0)
        return 0;
    if (!codec_limits[codec].bitrate)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "bitrate: %s has none to choose: leave it out, or use h264, h265 or "
                              "av1",
                              name);
    if (bitrate < SORA_BITRATE_MIN || bitrate > SORA_BITRATE_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "bitrate: %lld bit/s; it must be %d to %lld",
                              (long long)bitrate, SORA_BITRATE_MIN, (long long)SORA_BITRATE_MAX);
    return quality == 0 ? 0
                        : sora_fault_set(fault, SORA_E_INVALID,
                                         "quality and bitrate are both set: choose one");
}

int sora_codec_check(enum sora_codec codec, int64_t quality, int64_t bitrate,
                     const char *pixel_format, struct sora_fault *fault)
{
    int rc = check_rate(codec, quality, bitrate, fault);
    if (rc == 0 && pixel_format && *pixel_format &&
        !is_listed(codec_limits[codec].formats, pixel_format))
        rc = sora_fault_set(fault, SORA_E_INVALID,
                            "pixel-format: %s has no '%.40s' here; choose one of %s",
                            codec_names[codec], pixel_format, codec_limits[codec].formats);
    return rc;
}

const char *sora_container_name(enum sora_container container)
{
    return (unsigned)container < SORA_CONTAINER_COUNT ? container_names[container] : NULL;
}

int sora_container_parse(const char *name, enum sora_container *out_container,
                         struct sora_fault *fault)
{
    int index = find_name(container_names, SORA_CONTAINER_COUNT, name);
    if (index < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "container: '%.40s' is none of mp4, mov, mkv",
                              name);
    *out_container = (enum sora_container)index;
    return 0;
}

int sora_container_of_path(const char *path)
{
    const char *dot = path ? strrchr(path, '.') : NULL;
    return dot ? find_name(container_names, SORA_CONTAINER_COUNT, dot + 1) : -1;
}

int sora_codec_container(enum sora_codec codec, int wanted, enum sora_container *out_container,
                         struct sora_fault *fault)
{
    enum sora_container container =
        wanted < 0 ? codec_limits[codec].container : (enum sora_container)wanted;
    if (!is_listed(codec_limits[codec].containers, container_names[container]))
        return sora_fault_set(
            fault, SORA_E_INVALID, "container: %s does not go into an .%s file; choose %s",
            codec_names[codec], container_names[container], codec_limits[codec].containers);
    *out_container = container;
    return 0;
}

/* What must be said in each shot cannot be said for the job too. */
static int check_beside_shots(const struct sora_job_options *options, const char *label,
                              struct sora_fault *fault)
{
    const char *twice = NULL;
    if (options->prompt)
        twice = "prompt";
    else if (!isnan(options->seconds))
        twice = "seconds";
    else if (options->frames != SORA_SETTING_INT_UNSET)
        twice = "frames";
    if (!twice)
        return 0;
    return sora_fault_set(fault, SORA_E_INVALID,
                          "%s: %s is given for the job, which has shots; give it in the shots only",
                          label, twice);
}

static int check_shots(const struct sora_job_shot *shots, int count, const char *label,
                       struct sora_fault *fault)
{
    for (int i = 0; i < count; i++) {
        const struct sora_job_shot *shot = &shots[i];
        bool by_frames = shot->frames != SORA_SETTING_INT_UNSET;
        if (!shot->prompt)
            return sora_fault_set(fault, SORA_E_INVALID, "%s: shot %d: no prompt", label, i + 1);
        if (by_frames != isnan(shot->seconds))
            return sora_fault_set(fault, SORA_E_INVALID, "%s: shot %d: %s", label, i + 1,
                                  by_frames ? "both frames and seconds are given; give one of them"
                                            : "no length: give seconds or frames");
        if (i == 0 && shot->cut == 0)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "%s: shot 1: cut is false, but there is no shot before it",
                                  label);
        if (shot->cut == 0 && shot->seed != SORA_SETTING_INT_UNSET)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "%s: shot %d: seed: a shot that continues has the noise of the "
                                  "shot before; remove seed or set cut: true",
                                  label, i + 1);
    }
    return 0;
}

/* Takes the list's entries when they are sound. */
static int accept(struct sora_settings_list *list, const char *label,
                  struct sora_job_options *options, struct sora_fault *fault)
{
    if (list->count == 0)
        return 0;
    int error = check_beside_shots(options, label, fault);
    if (!error)
        error = check_shots(list->entries, list->count, label, fault);
    if (error) {
        sora_settings_list_fini(list);
        return error;
    }
    sora_job_options_fini(options);
    options->shots = list->entries;
    options->shot_count = list->count;
    return 0;
}

static struct sora_settings_list shot_list(void)
{
    return (struct sora_settings_list){
        .key = "shots",
        .entry = "shot",
        .table = &shot_table,
        .entry_size = sizeof(struct sora_job_shot),
        .count_max = SORA_JOB_SHOTS_MAX,
    };
}

int sora_job_options_parse(const struct sora_settings_table *table, const char *text, size_t size,
                           const char *label, void *target, struct sora_job_options *options,
                           struct sora_fault *fault)
{
    struct sora_settings_list list = shot_list();
    int error = sora_settings_parse_yaml_list(table, text, size, label, target, &list, fault);
    return error ? error : accept(&list, label, options, fault);
}

int sora_job_options_load(const struct sora_settings_table *table, void *target,
                          struct sora_job_options *options, struct sora_fault *fault)
{
    if (!options->job)
        return 0;
    struct sora_settings_list list = shot_list();
    int error = sora_settings_load_yaml_list(table, options->job, target, &list, fault);
    return error ? error : accept(&list, options->job, options, fault);
}

void sora_job_options_fini(struct sora_job_options *options)
{
    struct sora_settings_list list = shot_list();
    list.entries = options->shots;
    list.count = options->shot_count;
    sora_settings_list_fini(&list);
    options->shots = NULL;
    options->shot_count = 0;
}
