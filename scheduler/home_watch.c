/*
 * Watching: events of one job or of all that a member may see. A change of state is sent at once,
 * progress at most twice a second. Nothing is queued for a watcher: what is sent is what is true
 * when its connection takes it. Sequence numbers grow over restarts of the home.
 */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_NS (SORA_TIME_SECOND / 2)

void home_changed(struct sora_home *home, struct home_job *job)
{
    job->event_sequence = ++home->event_sequence;
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        struct home_watcher *watcher = &home->watchers[i];
        if (watcher->used && (watcher->all || memcmp(&watcher->job, &job->id, 16) == 0))
            watcher->fresh = true;
    }
}

static int send_event(struct sora_home *home, struct home_watcher *watcher, Farm__Event *event)
{
    const struct sora_post *post = home->params.post;
    event->wall_ms = sora_clock_wall_ms();
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_EVENT;
    message.event = event;
    int rc = post->reply(post->owner, home_reply_origin(&watcher->reply), &message, NULL, 0, NULL);
    if (rc == SORA_E_NOT_FOUND)
        watcher->used = false;
    return rc;
}

static int send_status(struct sora_home *home, struct home_watcher *watcher, struct home_job *job)
{
    Farm__Event event = FARM__EVENT__INIT;
    event.sequence = job->event_sequence;
    event.kind = FARM__EVENT_KIND__EVENT_JOB;
    event.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, job->id.bytes};
    event.status = home_status(home, job, watcher->all ? HOME_STATUS_PLAIN : HOME_STATUS_SHARDS);
    return send_event(home, watcher, &event);
}

/* What changed since the last time, oldest change first, so that `sent` may rise with each. */
static struct home_job *next_change(const struct sora_home *home,
                                    const struct home_watcher *watcher)
{
    struct home_job *next = NULL;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        bool named = watcher->all ? home_may_see(home, job, &watcher->reply.identity)
                                  : memcmp(&watcher->job, &job->id, 16) == 0;
        if (named && job->event_sequence > watcher->sent &&
            (!next || job->event_sequence < next->event_sequence))
            next = job;
    }
    return next;
}

static void serve(struct sora_home *home, struct home_watcher *watcher)
{
    struct home_job *job;
    watcher->fresh = false;
    watcher->next_at = home->now + PROGRESS_NS;
    while (watcher->used && (job = next_change(home, watcher))) {
        bool over = job->ended && !watcher->all;
        int rc = send_status(home, watcher, job);
        if (rc == SORA_E_FULL)
            return; /* later */
        watcher->sent = job->event_sequence;
        if (over)
            watcher->used = false;
    }
    watcher->sent = home->event_sequence; /* nothing before that is left */
}

void home_send_events(struct sora_home *home)
{
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        struct home_watcher *watcher = &home->watchers[i];
        if (watcher->used && (watcher->fresh || (watcher->sent < home->event_sequence &&
                                                 home->now >= watcher->next_at)))
            serve(home, watcher);
    }
}

sora_time home_watch_deadline(const struct sora_home *home)
{
    sora_time next = INT64_MAX;
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        const struct home_watcher *watcher = &home->watchers[i];
        if (watcher->used && watcher->sent < home->event_sequence && watcher->next_at < next)
            next = watcher->next_at;
    }
    return next;
}

/* A line of the job's log, for those that watch it alone. */
void home_send_note(struct sora_home *home, struct home_job *job, const char *text)
{
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        struct home_watcher *watcher = &home->watchers[i];
        if (!watcher->used || watcher->all || memcmp(&watcher->job, &job->id, 16) != 0)
            continue;
        Farm__Event event = FARM__EVENT__INIT;
        event.sequence = ++home->event_sequence;
        event.kind = FARM__EVENT_KIND__EVENT_NOTE;
        event.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, job->id.bytes};
        event.text = (char *)text;
        send_event(home, watcher, &event);
    }
}

void home_send_node(struct sora_home *home, const struct home_node *node, const char *state)
{
    char text[SORA_NAME_SIZE + 32];
    snprintf(text, sizeof(text), "%s is %s", node->name, state);
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        struct home_watcher *watcher = &home->watchers[i];
        if (!watcher->used || !watcher->all)
            continue;
        Farm__Event event = FARM__EVENT__INIT;
        event.sequence = ++home->event_sequence;
        event.kind = FARM__EVENT_KIND__EVENT_NODE;
        event.node = (ProtobufCBinaryData){SORA_NODE_ID_SIZE, (uint8_t *)node->id};
        event.text = text;
        send_event(home, watcher, &event);
    }
}

/* ---- Watch ---- */

static void stop(struct sora_home *home, const struct sora_origin *origin,
                 const struct sora_job_id *job)
{
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        struct home_watcher *watcher = &home->watchers[i];
        if (watcher->used && watcher->reply.origin.peer == origin->peer &&
            (!job || memcmp(&watcher->job, job, sizeof(*job)) == 0))
            watcher->used = false;
    }
}

static bool is_named(const Farm__JobName *name)
{
    return name && (name->job.len > 0 || *name->prefix);
}

void home_take_watch(struct sora_home *home, const struct sora_origin *origin,
                     const Farm__Watch *watch)
{
    struct sora_fault fault = {0};
    struct home_job *job = NULL;
    struct home_watcher *place = NULL;
    int rc = is_named(watch->job) ? home_name_job(home, watch->job, origin->identity, &job, &fault)
                                  : SORA_OK;
    if (rc == SORA_OK && watch->off) {
        stop(home, origin, job ? &job->id : NULL);
        sora_post_ack(home->params.post, origin);
        return;
    }
    for (int i = 0; i < HOME_WATCHERS_MAX && !place; i++)
        place = home->watchers[i].used ? NULL : &home->watchers[i];
    if (rc == SORA_OK && !place)
        rc = sora_fault_set(&fault, SORA_E_FULL, "%d watch already, which is the limit",
                            HOME_WATCHERS_MAX);
    if (rc) {
        sora_post_refuse(home->params.post, origin, &fault);
        return;
    }
    *place = (struct home_watcher){.used = true, .all = !job, .fresh = true, .sent = watch->after};
    home_reply_keep(origin, &place->reply);
    if (job)
        place->job = job->id;
    if (job && job->ended)
        place->sent = 0; /* its last status ends the watching */
}

void sora_home_peer_down(struct sora_home *home, sora_peer peer)
{
    for (int i = 0; i < HOME_WATCHERS_MAX; i++) {
        if (home->watchers[i].used && home->watchers[i].reply.origin.peer == peer)
            home->watchers[i].used = false;
    }
}
