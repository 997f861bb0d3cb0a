/* report: what a viewer would notice, as a short table. */
#include "ctl/commands.h"
#include "ctl/fetch.h"
#include "ctl/output.h"

#include "base/files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The figures that people ask for first; `soractl fetch --result report` has all. */
static const struct {
    const char *key, *label, *meaning;
} figures[] = {
    {"seam_median", "seams, median", "largest change near window borders, in usual changes"},
    {"seam_max", "seams, worst", "the same of the border that changes most"},
    {"seam_chance", "seams, by chance", "the same at any place: a median far above it shows"},
    {"flicker", "flicker", "at the windows' period, over its neighbours"},
    {"drift", "colour drift", "delta E per minute"},
    {"sharpness_overlap", "sharpness", "in overlaps over outside"},
    {"repeat_peak", "repetition", "correlation peak over its surroundings"},
    {"motion", "motion", "pixels per frame"},
};

void sora_report_print(const json_t *report, FILE *out)
{
    if (!json_is_true(json_object_get(report, "moving")))
        fputs("  the video froze: no figure below counts\n", out);
    const json_t *devices = json_object_get(report, "devices");
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *name = json_string_value(json_array_get(devices, i));
        fprintf(out, "  %-18s %s\n", i ? "" : "made by", name ? name : "?");
    }
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        const json_t *value = json_object_get(report, figures[i].key);
        if (json_is_number(value))
            fprintf(out, "  %-18s %8.3f  %s\n", figures[i].label, json_number_value(value),
                    figures[i].meaning);
    }
}

int sora_report_get(struct sora_client *client, const char *job, json_t **out_report,
                    struct sora_fault *fault)
{
    const char *place = getenv("TMPDIR");
    char folder[SORA_FILE_PATH_SIZE], path[SORA_FILE_PATH_SIZE], file[SORA_FILE_PATH_SIZE];
    snprintf(folder, sizeof(folder), "%.4000s/soractl-XXXXXX", place && *place ? place : "/tmp");
    if (!mkdtemp(folder))
        return sora_fault_set(fault, SORA_E_IO, "cannot make a folder in %.200s", folder);
    snprintf(path, sizeof(path), "%.4080s/report.json", folder);
    int error = sora_fetch_result(client, job, FARM__RESULT_KIND__RESULT_REPORT, path, true, file,
                                  sizeof(file), fault);
    json_error_t where;
    *out_report = error ? NULL : json_load_file(path, 0, &where);
    if (!error && !*out_report)
        error = sora_fault_set(fault, SORA_E_FORMAT, "the report is no JSON: %s", where.text);
    unlink(path);
    rmdir(folder);
    return error;
}

int sora_ctl_report(struct sora_ctl_context *context)
{
    struct sora_client *client = NULL;
    json_t *report = NULL;
    int error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error)
        error = sora_report_get(client, context->arguments[0], &report, &context->fault);
    if (!error && context->options.json)
        sora_output_json(json_incref(report));
    else if (!error)
        sora_report_print(report, stdout);
    json_decref(report);
    sora_client_close(&client);
    return error;
}
