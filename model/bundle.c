/* Bundle: model_index.json, scheduler_config.json and sora.yaml of a model directory. */
#include "model/bundle.h"

#include "model/config.h"
#include "model/noise.h"
#include "model/schedule_config.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 1024

/* Limits of sora.yaml. The rows fill struct sora_bundle directly. */
#define ROW(name, type, field, min, max, choices)                                                  \
    {                                                                                              \
        name, 0, type, offsetof(struct sora_bundle, field), min, max, choices, NULL, "", false     \
    }
static const struct sora_setting bundle_rows[] = {
    ROW("name", SORA_SETTING_STRING, name, 1, 200, NULL),
    ROW("window-latents", SORA_SETTING_INT, window_latents, 2, 1024, NULL),
    ROW("overlap-latents", SORA_SETTING_INT, overlap_latents, 1, 1022, NULL),
    ROW("size", SORA_SETTING_SIZE, size, 16, 8192, NULL),
    ROW("fps", SORA_SETTING_NUMBER, fps, 1, 120, NULL),
    ROW("steps", SORA_SETTING_INT, steps, 1, 1000, NULL),
    ROW("guidance", SORA_SETTING_NUMBER, guidance, 1, 100, NULL),
    ROW("shift", SORA_SETTING_NUMBER, shift, 0.01, 100, NULL),
    ROW("noise-share", SORA_SETTING_NUMBER, noise_share, 0.01, 1, NULL),
    ROW("solver", SORA_SETTING_CHOICE, solver, 0, 0, "unipc|euler"),
    ROW("negative", SORA_SETTING_STRING, negative, 0, 65536, NULL),
    ROW("knows", SORA_SETTING_STRING, knows, 1, 1000, NULL),
    ROW("words", SORA_SETTING_STRING, words, 1, 65536, NULL),
};
static const struct sora_settings_table bundle_table = {
    "sora.yaml", "Defaults of a model.", bundle_rows, sizeof(bundle_rows) / sizeof(bundle_rows[0])};

void sora_bundle_path(const struct sora_bundle *bundle, const char *part, char *out_path,
                      size_t size)
{
    snprintf(out_path, size, "%s/%s", bundle->directory, part);
}

static int check_index(const struct sora_bundle *bundle, struct sora_fault *fault)
{
    char path[PATH_SIZE];
    sora_bundle_path(bundle, "model_index.json", path, sizeof(path));
    struct sora_config *index = NULL;
    int error = sora_config_open(path, &index, fault);
    if (error)
        return error;
    const char *class_name = NULL;
    error = sora_config_get_string(index, "_class_name", "", &class_name, fault);
    if (!error && strcmp(class_name, "WanPipeline") != 0)
        error = sora_fault_set(fault, SORA_E_UNSUPPORTED,
                               "%.300s: _class_name is %.80s; this build runs WanPipeline", path,
                               class_name);
    double boundary = 0;
    const struct sora_config_number spec = {"boundary_ratio", -1, -1, 1};
    if (!error)
        error = sora_config_get_number(index, &spec, &boundary, fault);
    if (!error && boundary > 0)
        error = sora_fault_set(fault, SORA_E_UNSUPPORTED,
                               "%.300s: two transformers (boundary_ratio %g); this build runs "
                               "models with one",
                               path, boundary);
    sora_config_destroy(&index);
    return error;
}

/* Solver and shift from the scheduler's own configuration, where sora.yaml says nothing. */
static int read_scheduler(struct sora_bundle *bundle, struct sora_fault *fault)
{
    char path[PATH_SIZE];
    sora_bundle_path(bundle, "scheduler/scheduler_config.json", path, sizeof(path));
    struct sora_config *config = NULL;
    struct sora_schedule_params params = {0};
    int error = sora_config_open(path, &config, fault);
    if (!error)
        error = sora_schedule_params_read(config, &params, fault);
    sora_config_destroy(&config);
    if (error)
        return error;
    if (bundle->solver < 0)
        bundle->solver = params.solver;
    if (isnan(bundle->shift))
        bundle->shift = params.shift > 0 ? params.shift : SORA_SCHEDULE_SHIFT;
    return 0;
}

static char *last_part(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return strndup(path + start, end - start);
}

/* The folder's name; in a hub's cache, models--ORG--NAME/snapshots/REVISION, it is NAME. */
static char *name_of(const char *path)
{
    static const char snapshots[] = "/snapshots/";
    const char *mark = strstr(path, snapshots), *start = mark;
    while (start && start > path && start[-1] != '/')
        start--;
    if (!start || strncmp(start, "models--", 8) != 0 || strchr(mark + strlen(snapshots), '/'))
        return last_part(path);
    for (const char *at = start; at + 1 < mark; at++) {
        if (at[0] == '-' && at[1] == '-')
            start = at + 2;
    }
    return strndup(start, (size_t)(mark - start));
}

static int fill_gaps(struct sora_bundle *bundle, struct sora_fault *fault)
{
    if (bundle->window_latents == SORA_SETTING_INT_UNSET)
        bundle->window_latents = 21;
    if (bundle->overlap_latents == SORA_SETTING_INT_UNSET)
        bundle->overlap_latents = bundle->window_latents >= 8 ? 5 : 1;
    if (bundle->overlap_latents > bundle->window_latents - 2)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%.300s/sora.yaml: overlap_latents %d must be at most "
                              "window_latents - 2 = %d",
                              bundle->directory, (int)bundle->overlap_latents,
                              (int)bundle->window_latents - 2);
    if (bundle->size.width == 0)
        bundle->size = (struct sora_setting_size){832, 480};
    if (isnan(bundle->fps))
        bundle->fps = 16;
    if (bundle->steps == SORA_SETTING_INT_UNSET)
        bundle->steps = 50;
    if (isnan(bundle->guidance))
        bundle->guidance = 5;
    if (isnan(bundle->noise_share))
        bundle->noise_share = SORA_NOISE_AMPLITUDE;
    if (!bundle->name)
        bundle->name = name_of(bundle->directory);
    if (!bundle->negative)
        bundle->negative = strdup("");
    if (!bundle->name || !bundle->negative)
        return sora_fault_set(fault, SORA_E_MEMORY, "%.300s: out of memory", bundle->directory);
    return 0;
}

int sora_bundle_open(const char *path, struct sora_bundle *out_bundle, struct sora_fault *fault)
{
    struct sora_bundle bundle = {0};
    sora_settings_init(&bundle_table, &bundle);
    bundle.directory = strdup(path);
    if (!bundle.directory)
        return sora_fault_set(fault, SORA_E_MEMORY, "%.300s: out of memory", path);
    int error = check_index(&bundle, fault);
    char yaml[PATH_SIZE];
    sora_bundle_path(&bundle, "sora.yaml", yaml, sizeof(yaml));
    if (!error) {
        struct sora_fault yaml_fault = {0};
        error = sora_settings_load_yaml(&bundle_table, yaml, &bundle, &yaml_fault);
        if (error == SORA_E_NOT_FOUND)
            error = 0;
        else if (error)
            sora_fault_set(fault, error, "%s", yaml_fault.text);
    }
    if (!error)
        error = read_scheduler(&bundle, fault);
    if (!error)
        error = fill_gaps(&bundle, fault);
    if (error)
        sora_bundle_fini(&bundle);
    else
        *out_bundle = bundle;
    return error;
}

void sora_bundle_fini(struct sora_bundle *bundle)
{
    sora_settings_fini(&bundle_table, bundle);
    free(bundle->directory);
    bundle->directory = NULL;
}
