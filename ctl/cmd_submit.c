/* submit: a job to the farm, and with --wait or -o to the finished file. */
#include "ctl/commands.h"
#include "ctl/fetch.h"
#include "ctl/output.h"
#include "ctl/spec.h"
#include "ctl/watch.h"

#include "base/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct sora_setting rows[] = {
    SORA_JOB_OPTION_ROWS(struct sora_ctl_options, job),
    SORA_CTL_ROW("output", 'o', STRING, output, 1, 4096, NULL, "FILE",
                 "wait, then put the video there"),
    SORA_CTL_ROW("wait", 'w', FLAG, wait, 0, 0, NULL, NULL, "follow the job until it is over"),
    SORA_CTL_ROW("priority", 0, INT, priority, -100, 100, NULL, "N", "higher first; default 0"),
    SORA_CTL_ROW("keep-latents", 0, FLAG, keep_latents, 0, 0, NULL, NULL,
                 "keep the final latents; 'soractl fetch --result latents' gets them"),
    SORA_CTL_ROW("dry-run", 0, FLAG, dry_run, 0, 0, NULL, NULL,
                 "only show the plan, as 'soractl plan' does"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_submit_table = SORA_CTL_TABLE(rows);

static void report_submitted(const struct sora_ctl_options *options, const char *name,
                             const struct sora_spec *spec)
{
    const ProtobufCBinaryData id = {sizeof(spec->id), (uint8_t *)(uintptr_t)spec->id};
    bool waits = options->wait || options->output;
    json_t *job = options->json ? json_pack("{s:o}", "job", sora_output_hex_json(&id)) : NULL;
    if (job && waits)
        sora_output_json_line(job);
    else if (job)
        sora_output_json(job);
    else if (waits)
        fprintf(stderr, "job %s\n", name);
    else
        printf("%s\n", name);
    fflush(stdout);
}

/* A job without a report is fine. */
static void print_report(struct sora_client *client, const char *name)
{
    json_t *report = NULL;
    if (sora_report_get(client, name, &report, NULL) == 0)
        sora_report_print(report, stderr);
    json_decref(report);
}

static int wait_and_fetch(struct sora_ctl_context *context, struct sora_client *client,
                          const char *name)
{
    const struct sora_ctl_options *options = &context->options;
    int state = 0;
    int error = sora_watch_job(client, name, options->json, &state, &context->fault);
    if (!error)
        error = sora_watch_result(state, name, &context->fault);
    if (!error && !options->json)
        print_report(client, name);
    if (error || !options->output)
        return error;
    char path[SORA_FILE_PATH_SIZE];
    error = sora_fetch_result(client, name, FARM__RESULT_KIND__RESULT_VIDEO, options->output, false,
                              path, sizeof(path), &context->fault);
    if (!error && options->json)
        sora_output_json_line(json_pack("{s:s,s:s}", "job", name, "output", path));
    else if (!error)
        fprintf(stderr, "wrote %s\n", path);
    return error;
}

/* Nobody should wait for a video that has no place to go. */
static int check_place(const char *output, struct sora_fault *fault)
{
    char folder[SORA_FILE_PATH_SIZE];
    struct stat status;
    if (!output || (stat(output, &status) == 0 && S_ISDIR(status.st_mode)))
        return 0;
    const char *slash = strrchr(output, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - output) + 1 : 1,
             slash ? output : ".");
    if (access(folder, W_OK) == 0)
        return 0;
    struct sora_fault inner = {0};
    sora_file_fault(&inner, errno, "write", output);
    return sora_fault_set(fault, SORA_E_INVALID, "output: %.600s", inner.text);
}

int sora_ctl_submit(struct sora_ctl_context *context)
{
    if (context->options.dry_run)
        return sora_ctl_plan(context);
    struct sora_spec *spec = malloc(sizeof(*spec));
    if (!spec)
        return sora_fault_set(&context->fault, SORA_E_MEMORY, "out of memory");
    struct sora_client *client = NULL;
    int error = check_place(context->options.output, &context->fault);
    if (!error)
        error = sora_spec_make(context, spec);
    if (!error)
        error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error)
        error = sora_spec_submit(client, spec, &context->fault);
    char name[SORA_ID_TEXT_SIZE];
    const ProtobufCBinaryData id = {sizeof(spec->id), spec->id};
    sora_output_job(&id, name);
    if (!error)
        report_submitted(&context->options, name, spec);
    if (!error && (context->options.wait || context->options.output))
        error = wait_and_fetch(context, client, name);
    sora_client_close(&client);
    free(spec);
    return error;
}
