/* fetch: results to files. */
#include "ctl/commands.h"
#include "ctl/fetch.h"
#include "ctl/output.h"

#include "base/files.h"

#include <string.h>
#include <unistd.h>

static const struct sora_setting rows[] = {
    SORA_CTL_ROW("output", 'o', STRING, output, 1, 4096, NULL, "FILE",
                 "where to; default the job's own name in this folder"),
    SORA_CTL_ROW("result", 'r', CHOICE, result, 0, 0, "video|preview|contact|report|latents",
                 "NAME", "which of the results; default the video"),
    SORA_CTL_ROW("quiet", 'q', FLAG, quiet, 0, 0, NULL, NULL, "no progress"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_fetch_table = SORA_CTL_TABLE(rows);

static void show_progress(void *context, uint64_t done, uint64_t size)
{
    char a[SORA_TEXT_SIZE], b[SORA_TEXT_SIZE];
    (void)context;
    fprintf(stderr, "\rfetching %s of %s ", sora_output_bytes(done, a), sora_output_bytes(size, b));
    if (done == size)
        fputs("\r\033[K", stderr);
}

static int ask(struct sora_client *client, const char *job, int kind,
               const Farm__FetchReply **out_reply, struct sora_fault *fault)
{
    Farm__JobName name = FARM__JOB_NAME__INIT;
    name.prefix = (char *)(uintptr_t)job;
    Farm__Fetch fetch = FARM__FETCH__INIT;
    fetch.job = &name;
    fetch.kind = (Farm__ResultKind)kind;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FETCH;
    message.fetch = &fetch;
    const Farm__Message *answer = NULL;
    int error =
        sora_client_call(client, &message, FARM__MESSAGE__BODY_FETCH_REPLY, 60, &answer, fault);
    if (!error)
        *out_reply = answer->fetch_reply;
    return error;
}

/* The daemon's suggestion is a name, never a path. */
static int choose_path(const char *wanted, const char *suggested, char *out_path, size_t size,
                       struct sora_fault *fault)
{
    if (!wanted && (strchr(suggested, '/') || suggested[0] == '.' || suggested[0] == '\0'))
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "the daemon suggests no good file name; give -o");
    snprintf(out_path, size, "%s", wanted ? wanted : suggested);
    return 0;
}

int sora_fetch_result(struct sora_client *client, const char *job, int kind, const char *path,
                      bool quiet, char *out_path, size_t size, struct sora_fault *fault)
{
    const Farm__FetchReply *reply = NULL;
    int error = ask(client, job, kind, &reply, fault);
    if (!error)
        error = choose_path(path, reply->file_name, out_path, size, fault);
    if (error)
        return error;
    unsigned char digest[SORA_DIGEST_SIZE];
    memcpy(digest, reply->digest.data, sizeof(digest));
    uint64_t bytes = reply->size;
    struct sora_file_part part;
    error = sora_file_part_open(out_path, &part, fault);
    if (error)
        return error;
    bool drawn = !quiet && isatty(STDERR_FILENO);
    error = sora_client_download(client, digest, bytes, part.fd, part.temporary,
                                 drawn ? show_progress : NULL, NULL, fault);
    if (!error)
        error = sora_file_part_publish(&part, fault);
    else
        sora_file_part_discard(&part);
    return error;
}

int sora_ctl_fetch(struct sora_ctl_context *context)
{
    const struct sora_ctl_options *options = &context->options;
    struct sora_client *client = NULL;
    char path[SORA_FILE_PATH_SIZE];
    int error = sora_client_open(options->state, &client, &context->fault);
    if (!error)
        error = sora_fetch_result(client, context->arguments[0],
                                  options->result < 0 ? 0 : options->result, options->output,
                                  options->quiet, path, sizeof(path), &context->fault);
    if (!error && options->json)
        sora_output_json(json_pack("{s:s}", "path", path));
    else if (!error)
        printf("%s\n", path);
    sora_client_close(&client);
    return error;
}
