/*
 * Jobs that leave: asked for by a user, or older than results are kept. First the results go,
 * beside the loop, then the rows; a home that ends between the two still lists the job and is asked
 * again.
 */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (60 * SORA_TIME_SECOND) /* for jobs that are too old */

struct removal {
    struct sora_home *home;
    struct sora_job_id job;
    struct home_reply *reply; /* owned; NULL: nobody asked */
    char path[SORA_FILE_PATH_SIZE + 64];
    struct sora_fault fault;
};

static void run_removal(void *context)
{
    struct removal *removal = context;
    sora_file_remove_tree(removal->path, &removal->fault);
}

/* The rows follow; the answer waits for them. */
static void drop_job(struct sora_home *home, struct home_job *job, struct home_reply **reply)
{
    job->dropped = true;
    home_touch(home, job, &job->ticket);
    struct home_held held = {.kind = HOME_HELD_ACK, .reply = *reply, .job = job->id};
    *reply = NULL;
    if (held.reply)
        home_hold(home, &held);
}

static void removal_done(void *context)
{
    struct removal *removal = context;
    struct sora_home *home = removal->home;
    struct home_job *job = home_find_job(home, &removal->job);
    if (job)
        job->deleting = false;
    if (removal->fault.code)
        sora_log(SORA_LOG_WARN, "a job's results cannot be removed: %s", removal->fault.text);
    if (removal->fault.code && removal->reply)
        home_refuse(home, removal->reply, &removal->fault);
    else if (!removal->fault.code && job)
        drop_job(home, job, &removal->reply);
    home->settle_due = true;
    free(removal->reply);
    free(removal);
}

static bool is_fetched(const struct sora_home *home, const struct home_job *job)
{
    for (int i = 0; i < HOME_EXPORTS_MAX; i++) {
        const struct home_export *export = home->exports[i];
        if (export && export->used && memcmp(&export->job, &job->id, sizeof(job->id)) == 0)
            return true;
    }
    return false;
}

static int check(const struct sora_home *home, const struct home_job *job, struct sora_fault *fault)
{
    if (job->final_state < 0)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "the job is not over; `soractl cancel %.8s` ends it first",
                              job->folder);
    if (!job->ended || job->deleting || is_fetched(home, job))
        return sora_fault_set(fault, SORA_E_BUSY, "the job is being %s; try again",
                              !job->ended     ? "ended"
                              : job->deleting ? "deleted"
                                              : "fetched");
    return SORA_OK;
}

/* `origin` NULL: nobody asked. */
static int delete_job(struct sora_home *home, struct home_job *job,
                      const struct sora_origin *origin, struct sora_fault *fault)
{
    char folder[2 * SORA_JOB_ID_SIZE + 1];
    struct removal *removal = calloc(1, sizeof(*removal));
    if (removal && origin)
        removal->reply = malloc(sizeof(*removal->reply));
    int rc = removal && (!origin || removal->reply) ? SORA_OK : SORA_E_MEMORY;
    if (rc == SORA_OK) {
        removal->home = home;
        removal->job = job->id;
        if (origin)
            home_reply_keep(origin, removal->reply);
        sora_hex(job->id.bytes, SORA_JOB_ID_SIZE, folder);
        snprintf(removal->path, sizeof(removal->path), "%s/%s", home->results, folder);
        const struct sora_task task = {run_removal, removal_done, removal};
        rc = sora_tasks_post(home->tasks, &task);
    }
    if (rc && removal)
        free(removal->reply);
    if (rc)
        free(removal);
    job->deleting = rc == SORA_OK;
    return rc ? sora_fault_set(fault, rc, "the job cannot be deleted now; try again") : SORA_OK;
}

void home_take_delete(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Erase *message)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    int rc = home_name_job(home, message->job, origin->identity, &job, &fault);
    if (rc == SORA_OK)
        rc = check(home, job, &fault);
    if (rc == SORA_OK)
        rc = delete_job(home, job, origin, &fault);
    if (rc)
        sora_post_refuse(home->params.post, origin, &fault);
}

/* ---- results that are too old ---- */

void home_watch_keep(struct sora_home *home)
{
    if (!home->params.keep_ms || home->now < home->keep_at)
        return;
    uint64_t wall = sora_clock_wall_ms();
    home->keep_at = home->now + LOOK_NS;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        if (job->dropped || wall < job->wall_ended_ms + home->params.keep_ms ||
            check(home, job, NULL) != SORA_OK)
            continue;
        sora_log(SORA_LOG_INFO, "a job is deleted, older than results are kept job=%.8s",
                 job->folder);
        delete_job(home, job, NULL, NULL);
    }
}

sora_time home_keep_deadline(const struct sora_home *home)
{
    return home->params.keep_ms ? home->keep_at : INT64_MAX;
}
