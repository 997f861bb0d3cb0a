/* status, watch, list, cancel, pause, resume, delete, logs: about jobs that exist. */
#include "ctl/commands.h"
#include "ctl/output.h"
#include "ctl/watch.h"

#include <string.h>

static const struct sora_setting plain_rows[] = {SORA_CTL_COMMON_ROWS};
const struct sora_settings_table sora_ctl_plain_table = SORA_CTL_TABLE(plain_rows);

static const struct sora_setting list_rows[] = {
    SORA_CTL_ROW("all", 'a', FLAG, all, 0, 0, NULL, NULL, "also jobs that are over"),
    SORA_CTL_ROW("count", 'n', INT, count, 1, 1000, NULL, "N", "at most so many; default 100"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_list_table = SORA_CTL_TABLE(list_rows);

static const struct sora_setting logs_rows[] = {
    SORA_CTL_ROW("lines", 'n', INT, lines, 1, 1000, NULL, "N", "the last so many; default 100"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_logs_table = SORA_CTL_TABLE(logs_rows);

/* ---- list ---- */

static void print_list(const Farm__ListReply *list, bool json)
{
    if (json) {
        json_t *jobs = json_array();
        for (size_t i = 0; i < list->n_jobs; i++)
            json_array_append_new(jobs, sora_output_job_json(list->jobs[i]));
        sora_output_json(json_pack("{s:o,s:b}", "jobs", jobs, "more", list->more));
        return;
    }
    for (size_t i = 0; i < list->n_jobs; i++) {
        char line[1024], created[SORA_TEXT_SIZE];
        sora_output_job_line(list->jobs[i], line, sizeof(line));
        printf("%s  (%s)\n", line, sora_output_ago(list->jobs[i]->wall_created_ms, created));
    }
    if (list->n_jobs == 0)
        fprintf(stderr, "no jobs; 'soractl submit --prompt TEXT --seconds N' makes one\n");
    if (list->more)
        fprintf(stderr, "there are more; --count N shows them\n");
}

static int list_jobs(struct sora_ctl_context *context, struct sora_client *client, bool all,
                     uint32_t count)
{
    Farm__List list = FARM__LIST__INIT;
    list.all = all;
    list.count_max = count;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LIST;
    message.list = &list;
    const Farm__Message *answer = NULL;
    int error = sora_client_call(client, &message, FARM__MESSAGE__BODY_LIST_REPLY, 0, &answer,
                                 &context->fault);
    if (!error)
        print_list(answer->list_reply, context->options.json);
    return error;
}

int sora_ctl_list(struct sora_ctl_context *context)
{
    const struct sora_ctl_options *options = &context->options;
    struct sora_client *client = NULL;
    int error = sora_client_open(options->state, &client, &context->fault);
    if (!error)
        error =
            list_jobs(context, client, options->all,
                      options->count == SORA_SETTING_INT_UNSET ? 100 : (uint32_t)options->count);
    sora_client_close(&client);
    return error;
}

/* ---- status, watch ---- */

static int show_one(struct sora_ctl_context *context, struct sora_client *client)
{
    const Farm__JobStatus *job = NULL;
    int error = sora_watch_status(client, context->arguments[0], &job, &context->fault);
    if (!error && context->options.json)
        sora_output_json(sora_output_job_json(job));
    else if (!error)
        sora_output_job_text(job, stdout);
    return error;
}

int sora_ctl_status(struct sora_ctl_context *context)
{
    struct sora_client *client = NULL;
    int error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error)
        error = context->argument_count ? show_one(context, client)
                                        : list_jobs(context, client, false, 100);
    sora_client_close(&client);
    return error;
}

/* The only job that is not over; its name in hexadecimal. */
static int find_only_job(struct sora_ctl_context *context, struct sora_client *client,
                         char out_name[SORA_ID_TEXT_SIZE])
{
    Farm__List list = FARM__LIST__INIT;
    list.count_max = 2;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LIST;
    message.list = &list;
    const Farm__Message *answer = NULL;
    int error = sora_client_call(client, &message, FARM__MESSAGE__BODY_LIST_REPLY, 0, &answer,
                                 &context->fault);
    if (error)
        return error;
    if (answer->list_reply->n_jobs != 1)
        return sora_fault_set(&context->fault, SORA_E_INVALID,
                              answer->list_reply->n_jobs ? "several jobs are running; name one "
                                                           "('soractl list' shows them)"
                                                         : "no job is running");
    sora_output_hex(&answer->list_reply->jobs[0]->job, 16, out_name);
    return 0;
}

int sora_ctl_watch(struct sora_ctl_context *context)
{
    struct sora_client *client = NULL;
    char name[SORA_ID_TEXT_SIZE];
    int state = 0, error = sora_client_open(context->options.state, &client, &context->fault);
    if (!error && context->argument_count)
        snprintf(name, sizeof(name), "%s", context->arguments[0]);
    else if (!error)
        error = find_only_job(context, client, name);
    if (!error)
        error = sora_watch_job(client, name, context->options.json, &state, &context->fault);
    if (!error)
        error = sora_watch_result(state, name, &context->fault);
    sora_client_close(&client);
    return error;
}

/* ---- cancel, pause, resume, delete ---- */

static int control_one(struct sora_client *client, int kind, const char *name,
                       struct sora_fault *fault)
{
    Farm__JobName job = FARM__JOB_NAME__INIT;
    job.prefix = (char *)(uintptr_t)name;
    Farm__Cancel cancel = FARM__CANCEL__INIT;
    Farm__Pause pause = FARM__PAUSE__INIT;
    Farm__Resume resume = FARM__RESUME__INIT;
    Farm__Erase erase = FARM__ERASE__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = (Farm__Message__BodyCase)kind;
    cancel.job = pause.job = resume.job = erase.job = &job;
    if (kind == FARM__MESSAGE__BODY_CANCEL)
        message.cancel = &cancel;
    else if (kind == FARM__MESSAGE__BODY_PAUSE)
        message.pause = &pause;
    else if (kind == FARM__MESSAGE__BODY_RESUME)
        message.resume = &resume;
    else
        message.erase = &erase;
    const Farm__Message *answer = NULL;
    return sora_client_call(client, &message, FARM__MESSAGE__BODY_ACK, 0, &answer, fault);
}

/* A line for one that failed; all of them are in the JSON. */
static void report_failed(const struct sora_ctl_context *context, const char *job,
                          const struct sora_fault *fault)
{
    if (context->argument_count > 1)
        fprintf(stderr, "soractl: %s: %s\n", job, fault->text);
    else
        fprintf(stderr, "soractl: %s\n", fault->text);
}

static int control_all(struct sora_ctl_context *context, struct sora_client *client, int kind,
                       const char *done, json_t *results)
{
    int failed = 0, first = 0;
    for (int i = 0; i < context->argument_count; i++) {
        const char *job = context->arguments[i];
        struct sora_fault fault = {0};
        int one = control_one(client, kind, job, &fault);
        json_array_append_new(
            results, json_pack("{s:s,s:b,s:s}", "job", job, "done", !one, "text", fault.text));
        failed += one != 0;
        first = first ? first : one;
        if (one)
            report_failed(context, job, &fault);
        else if (!context->options.json)
            printf("%s %s\n", job, done);
    }
    return failed && failed < context->argument_count ? 4 : sora_error_exit_status(first);
}

/* Every job is tried; when some fail the status is 4, when all fail that of the first. */
static int control(struct sora_ctl_context *context, int kind, const char *done)
{
    struct sora_client *client = NULL;
    int error = sora_client_open(context->options.state, &client, &context->fault);
    json_t *results = json_array();
    if (!error)
        context->exit_status = control_all(context, client, kind, done, results);
    if (!error && context->options.json)
        sora_output_json(results);
    else
        json_decref(results);
    sora_client_close(&client);
    return error;
}

int sora_ctl_cancel(struct sora_ctl_context *context)
{
    return control(context, FARM__MESSAGE__BODY_CANCEL, "cancelled");
}

int sora_ctl_pause(struct sora_ctl_context *context)
{
    return control(context, FARM__MESSAGE__BODY_PAUSE, "pauses at its next checkpoint");
}

int sora_ctl_resume(struct sora_ctl_context *context)
{
    return control(context, FARM__MESSAGE__BODY_RESUME, "resumed");
}

int sora_ctl_delete(struct sora_ctl_context *context)
{
    return control(context, FARM__MESSAGE__BODY_ERASE, "deleted");
}

/* ---- logs ---- */

int sora_ctl_logs(struct sora_ctl_context *context)
{
    const struct sora_ctl_options *options = &context->options;
    Farm__JobName job = FARM__JOB_NAME__INIT;
    Farm__Logs logs = FARM__LOGS__INIT;
    if (context->argument_count) {
        job.prefix = context->arguments[0];
        logs.job = &job;
    }
    logs.lines_max = options->lines == SORA_SETTING_INT_UNSET ? 100 : (uint32_t)options->lines;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LOGS;
    message.logs = &logs;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = sora_client_open(options->state, &client, &context->fault);
    if (!error)
        error = sora_client_call(client, &message, FARM__MESSAGE__BODY_LOGS_REPLY, 0, &answer,
                                 &context->fault);
    json_t *lines = json_array();
    for (size_t i = 0; !error && i < answer->logs_reply->n_lines; i++) {
        if (options->json)
            json_array_append_new(lines, json_string(answer->logs_reply->lines[i]));
        else
            printf("%s\n", answer->logs_reply->lines[i]);
    }
    if (!error && options->json)
        sora_output_json(lines);
    else
        json_decref(lines);
    sora_client_close(&client);
    return error;
}
