/* Following a job. */
#include "ctl/watch.h"

#include "ctl/output.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_SIZE 1024
#define REFRESH_SECONDS 1.0 /* without events */

struct watch {
    struct sora_client *client;
    const char *name;
    bool json, terminal, dirty;
    int lines_drawn, state, percent; /* what plain lines said last */
    char reason[512];
};

int sora_watch_status(struct sora_client *client, const char *name, const Farm__JobStatus **out_job,
                      struct sora_fault *fault)
{
    Farm__JobName job = FARM__JOB_NAME__INIT;
    job.prefix = (char *)(uintptr_t)name;
    Farm__Status status = FARM__STATUS__INIT;
    status.job = &job;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_STATUS;
    message.status = &status;
    const Farm__Message *answer = NULL;
    int error =
        sora_client_call(client, &message, FARM__MESSAGE__BODY_STATUS_REPLY, 0, &answer, fault);
    if (!error)
        *out_job = answer->status_reply->job;
    return error;
}

/* ---- drawing ---- */

static int terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void erase(struct watch *watch)
{
    if (watch->lines_drawn)
        fprintf(stderr, "\033[%dA\033[J", watch->lines_drawn);
    watch->lines_drawn = 0;
}

static void draw_line(struct watch *watch, const char *line, int columns)
{
    fprintf(stderr, "%.*s\n", columns - 1, line);
    watch->lines_drawn++;
}

static void draw_block(struct watch *watch, const Farm__JobStatus *job)
{
    char line[LINE_SIZE];
    int columns = terminal_columns();
    erase(watch);
    sora_output_job_line(job, line, sizeof(line));
    draw_line(watch, line, columns);
    for (size_t i = 0; i < job->n_shards; i++) {
        char text[LINE_SIZE];
        sora_output_shard_line(job, job->shards[i], text, sizeof(text));
        snprintf(line, sizeof(line), "  %.1000s", text);
        draw_line(watch, line, columns);
    }
    fflush(stderr);
}

/* A line when the state or the reason changes and at every tenth of the way. */
static void print_plain(struct watch *watch, const Farm__JobStatus *job)
{
    int percent = (int)(10 * job->progress) * 10;
    if ((int)job->state == watch->state && percent == watch->percent &&
        strncmp(job->reason, watch->reason, sizeof(watch->reason) - 1) == 0)
        return;
    char line[LINE_SIZE];
    sora_output_job_line(job, line, sizeof(line));
    fprintf(stderr, "%s\n", line);
    watch->percent = percent;
    watch->state = (int)job->state;
    snprintf(watch->reason, sizeof(watch->reason), "%s", job->reason);
}

static void show(struct watch *watch, const Farm__JobStatus *job)
{
    if (watch->json) {
        sora_output_json_line(sora_output_job_json(job));
    } else if (watch->terminal) {
        draw_block(watch, job);
    } else {
        print_plain(watch, job);
    }
}

/* ---- the loop ---- */

static void on_event(void *context, const Farm__Event *event)
{
    struct watch *watch = context;
    watch->dirty = true;
    if (event->kind != FARM__EVENT_KIND__EVENT_NOTE || watch->json || !event->text[0])
        return;
    erase(watch);
    fprintf(stderr, "  %s\n", event->text);
}

static int ask_watch(struct watch *watch, struct sora_fault *fault)
{
    Farm__JobName job = FARM__JOB_NAME__INIT;
    job.prefix = (char *)(uintptr_t)watch->name;
    Farm__Watch request = FARM__WATCH__INIT;
    request.job = &job;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_WATCH;
    message.watch = &request;
    uint64_t id = 0;
    return sora_client_send(watch->client, &message, &id, fault);
}

/* Waits for something new, at most the refresh time. */
static int wait_news(struct watch *watch, struct sora_fault *fault)
{
    struct sora_link_event event;
    watch->dirty = false;
    int got = sora_client_next(watch->client, REFRESH_SECONDS, &event, fault);
    if (got == SORA_E_STALE) {
        if (fault)
            *fault = (struct sora_fault){0};
        return ask_watch(watch, fault);
    }
    if (got == 1 && event.message->body_case == FARM__MESSAGE__BODY_EVENT)
        on_event(watch, event.message->event);
    return got < 0 ? got : 0;
}

/* A lost daemon may come back: only what it refuses ends the watch. */
static bool may_come_back(int error)
{
    return error == SORA_E_IO || error == SORA_E_TIMEOUT || error == SORA_E_NOT_FOUND;
}

static int follow(struct watch *watch, int *out_state, struct sora_fault *fault)
{
    int misses = 0;
    for (;;) {
        const Farm__JobStatus *job = NULL;
        struct sora_fault inner = {0};
        int error = sora_watch_status(watch->client, watch->name, &job, &inner);
        if (error && (!may_come_back(error) || ++misses > 20 || (misses == 1 && !watch->state)))
            return sora_fault_set(fault, error, "%s", inner.text);
        if (!error) {
            misses = 0;
            show(watch, job);
            watch->state = (int)job->state;
            *out_state = (int)job->state;
            if (sora_output_job_over(*out_state)) {
                snprintf(watch->reason, sizeof(watch->reason), "%s", job->reason);
                return 0;
            }
        }
        error = wait_news(watch, fault);
        if (error)
            return error;
    }
}

int sora_watch_job(struct sora_client *client, const char *name, bool json, int *out_state,
                   struct sora_fault *fault)
{
    struct watch watch = {.client = client,
                          .name = name,
                          .json = json,
                          .terminal = isatty(STDERR_FILENO) == 1,
                          .state = -1,
                          .percent = -1};
    sora_client_listen(client, on_event, &watch);
    struct sora_fault inner = {0};
    int error = ask_watch(&watch, &inner);
    if (!error)
        error = follow(&watch, out_state, &inner);
    sora_client_listen(client, NULL, NULL);
    if (error == SORA_E_CANCELLED)
        return sora_fault_set(fault, error,
                              "interrupted; the job goes on: 'soractl watch %s' follows it, "
                              "'soractl cancel %s' ends it",
                              name, name);
    return error ? sora_fault_set(fault, error, "%s", inner.text) : 0;
}

int sora_watch_result(int state, const char *name, struct sora_fault *fault)
{
    if (state == FARM__JOB_STATE__JOB_DONE)
        return 0;
    if (state == FARM__JOB_STATE__JOB_CANCELLED)
        return sora_fault_set(fault, SORA_E_IO, "job %s was cancelled", name);
    return sora_fault_set(fault, SORA_E_IO, "job %s failed ('soractl status %s' says why)", name,
                          name);
}
