/* What soractl asks of jobs: Status, List, Logs, Cancel, Pause, Resume. */
#include "base/bytes.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 100
#define LINES_BYTES_MAX ((size_t)200 << 10)

/* ---- names ---- */

int home_name_job(struct sora_home *home, const Farm__JobName *name,
                  const struct sora_identity *who, struct home_job **out_job,
                  struct sora_fault *fault)
{
    char wanted[2 * SORA_JOB_ID_SIZE + 1];
    struct home_job *found = NULL;
    snprintf(wanted, sizeof(wanted), "%s", name->prefix);
    if (name->job.len == SORA_JOB_ID_SIZE)
        sora_hex(name->job.data, SORA_JOB_ID_SIZE, wanted);
    if (!*wanted)
        return sora_fault_set(fault, SORA_E_INVALID, "no job is named: give its id or its start");
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        if (job->dropped || strncmp(job->folder, wanted, strlen(wanted)) != 0 ||
            !home_may_see(home, job, who))
            continue;
        if (found)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "several jobs begin with '%s': give more of the id", wanted);
        found = job;
    }
    if (!found)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "no job begins with '%s': `soractl list --all` shows them", wanted);
    *out_job = found;
    return SORA_OK;
}

/* ---- Status and List ---- */

void home_take_status(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Status *status)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    if (home_name_job(home, status->job, origin->identity, &job, &fault)) {
        sora_post_refuse(home->params.post, origin, &fault);
        return;
    }
    Farm__StatusReply reply = FARM__STATUS_REPLY__INIT;
    reply.job = home_status(home, job, HOME_STATUS_SHARDS);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_STATUS_REPLY;
    message.status_reply = &reply;
    home_reply_message(home, origin, &message);
}

void home_take_list(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__List *list)
{
    Farm__JobStatus *jobs[256];
    uint32_t most = list->count_max > 0 && list->count_max < 256 ? list->count_max : LIST_DEFAULT;
    most = list->count_max == 256 ? 256 : most;
    Farm__ListReply reply = FARM__LIST_REPLY__INIT;
    reply.jobs = jobs;
    for (int i = home->job_count - 1; i >= 0; i--) { /* newest first */
        struct home_job *job = home->jobs[i];
        if ((job->ended && !list->all) || job->dropped ||
            !home_may_see(home, job, origin->identity))
            continue;
        if (reply.n_jobs == most) {
            reply.more = true;
            break;
        }
        jobs[reply.n_jobs] = home_status_in_list(home, job, (int)reply.n_jobs);
        reply.n_jobs++;
    }
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LIST_REPLY;
    message.list_reply = &reply;
    home_reply_message(home, origin, &message);
}

/* ---- Logs ---- */

void home_take_logs(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__Logs *logs)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    if (home_name_job(home, logs->job, origin->identity, &job, &fault)) {
        sora_post_refuse(home->params.post, origin, &fault);
        return;
    }
    char *lines[HOME_LOG_LINES];
    size_t most = logs->lines_max > 0 ? logs->lines_max : HOME_LOG_LINES, bytes = 0;
    size_t first = job->log.count > most ? job->log.count - most : 0;
    Farm__LogsReply reply = FARM__LOGS_REPLY__INIT;
    reply.lines = lines;
    for (size_t i = first; i < job->log.count; i++) {
        char *line = ((struct home_line *)sora_ring_at(&job->log, i))->text;
        bytes += strlen(line) + 8;
        if (bytes < LINES_BYTES_MAX)
            lines[reply.n_lines++] = line;
    }
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LOGS_REPLY;
    message.logs_reply = &reply;
    home_reply_message(home, origin, &message);
}

/* ---- Cancel, Pause, Resume ---- */

static const char *verb_of(enum sora_farm_event_kind kind)
{
    return kind == SORA_FARM_CANCEL ? "cancel" : kind == SORA_FARM_PAUSE ? "pause" : "resume";
}

/* To all takes. One that is past it (assembling, done) does not mind, if another took it. */
static int control(struct sora_home *home, struct home_job *job, enum sora_farm_event_kind kind,
                   struct sora_fault *fault)
{
    int taken = 0, rc = SORA_OK;
    if (job->final_state >= 0 &&
        !(job->final_state == SORA_JOB_CANCELLED && kind == SORA_FARM_CANCEL))
        return sora_fault_set(fault, SORA_E_BUSY, "cannot %s a job that is %s", verb_of(kind),
                              sora_job_state_text((enum sora_job_state)job->final_state));
    for (int32_t t = 0; job->final_state < 0 && t < job->take_count; t++) {
        struct sora_farm_event event = {.kind = kind, .job = job->takes[t].id};
        int one = home_farm_step(home, &event, rc ? NULL : fault);
        taken += one == SORA_OK;
        rc = rc ? rc : one;
    }
    if (taken == 0 && rc)
        return rc;
    *fault = (struct sora_fault){0};
    return SORA_OK;
}

void home_take_control(struct sora_home *home, const struct sora_origin *origin,
                       enum sora_farm_event_kind kind, const Farm__JobName *name)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    int rc = home_name_job(home, name, origin->identity, &job, &fault);
    if (rc == SORA_OK)
        rc = control(home, job, kind, &fault);
    struct home_held held = {.kind = HOME_HELD_ACK};
    held.reply = rc ? NULL : malloc(sizeof(*held.reply));
    if (rc == SORA_OK && !held.reply)
        rc = sora_fault_set(&fault, SORA_E_MEMORY, "not enough memory for an answer");
    if (rc) {
        sora_post_refuse(home->params.post, origin, &fault);
        return;
    }
    home_note(home, job, "%s by %s", verb_of(kind), origin->identity->name);
    home_reply_keep(origin, held.reply);
    job->settle_due = home->settle_due = true;
    held.job = job->id;
    home_hold(home, &held);     /* answered when it is stored */
    home->retry_at = home->now; /* at once, also when the disk was full a while ago */
}
