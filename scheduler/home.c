/* The home as a whole: create, the dispatch of messages, the loop. */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX 64

/* ---- create ---- */

static int copy_paths(struct sora_home *home, struct sora_fault *fault)
{
    const struct sora_home_params *params = &home->params;
    const char *incoming = sora_blob_store_incoming(params->blobs);
    const char *slash = strrchr(incoming, '/');
    if (strlen(params->results_directory) > sizeof(home->results) - 256 ||
        strlen(params->worker_program) >= sizeof(home->worker))
        return sora_fault_set(fault, SORA_E_LIMIT, "%.200s is too long for a path",
                              params->results_directory);
    snprintf(home->results, sizeof(home->results), "%s", params->results_directory);
    snprintf(home->worker, sizeof(home->worker), "%s", params->worker_program);
    snprintf(home->blob_folder, sizeof(home->blob_folder), "%.*s",
             slash ? (int)(slash - incoming) : 1, slash ? incoming : ".");
    return sora_file_make_dirs(home->results, fault);
}

static int make_parts(struct sora_home *home, struct sora_fault *fault)
{
    const struct sora_farm_params farm = {.nodes_max = HOME_NODES_MAX,
                                          .jobs_max = HOME_TAKES_MAX,
                                          .lease_ns = HOME_LEASE_MS * (SORA_TIME_SECOND / 1000)};
    home->nodes = calloc(HOME_NODES_MAX, sizeof(struct home_node *));
    home->fetches = calloc(HOME_FETCHES_MAX, sizeof(*home->fetches));
    home->room = home_room_create();
    int rc = home->nodes && home->fetches && home->room ? SORA_OK : SORA_E_MEMORY;
    if (rc == SORA_OK)
        rc = sora_ring_init(&home->held, HOME_HELD_MAX, sizeof(struct home_held));
    if (rc == SORA_OK)
        rc = sora_farm_create(&farm, &home->farm);
    if (rc == SORA_OK)
        rc = sora_replay_create(0, &home->replay);
    if (rc == SORA_OK)
        rc = sora_tasks_create("home", TASKS_MAX, &home->tasks, fault);
    return rc ? sora_fault_set(fault, rc, "not enough memory for a home") : SORA_OK;
}

int sora_home_create(const struct sora_home_params *params, struct sora_home **out_home,
                     struct sora_fault *fault)
{
    struct sora_home *home = calloc(1, sizeof(*home));
    if (!home)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a home");
    home->params = *params;
    home->now = sora_clock_now();
    home->event_sequence = sora_clock_wall_ms() * 1024;
    int rc = copy_paths(home, fault);
    if (rc == SORA_OK)
        rc = make_parts(home, fault);
    if (rc == SORA_OK)
        rc = home_load(home, fault);
    if (rc) {
        sora_home_destroy(&home);
        return rc;
    }
    *out_home = home;
    return SORA_OK;
}

static void free_exports(struct sora_home *home)
{
    for (int i = 0; i < HOME_EXPORTS_MAX; i++) {
        if (home->exports[i] && home->exports[i]->used)
            home->exports[i]->home = NULL; /* the blob store's answer frees it */
        else
            free(home->exports[i]);
    }
}

static void free_asks(struct sora_home *home)
{
    for (int i = 0; i < HOME_ASKS_MAX; i++) {
        sora_blob_transfer_forget(home->params.transfer, &home->asks[i]);
        sora_bytes_fini(&home->asks[i].envelope);
        sora_message_destroy(&home->asks[i].spec);
    }
}

void sora_home_destroy(struct sora_home **out)
{
    struct sora_home *home = *out;
    if (!home)
        return;
    home->busy = true;
    if (home->tasks)
        sora_tasks_destroy(&home->tasks);
    if (home->fetches)
        home_forget_fetches(home, NULL); /* while rows still hold what they share with them */
    free_exports(home);
    free_asks(home);
    while (home->job_count > 0)
        home_remove_job(home, home->jobs[home->job_count - 1]);
    struct home_held held;
    while (home->held.items && sora_ring_pop(&home->held, &held))
        home_free_held(&held);
    sora_ring_fini(&home->held);
    if (home->commit)
        home->commit->home = NULL;
    for (int i = 0; i < home->node_count; i++)
        free(home->nodes[i]);
    sora_replay_destroy(&home->replay);
    sora_farm_destroy(&home->farm);
    free(home->nodes);
    free(home->jobs);
    free(home->fetches);
    free(home->room);
    free(home);
    *out = NULL;
}

/* ---- messages ---- */

enum { FROM_NODE = SORA_ROLE_NODE, FROM_USER = SORA_ROLE_USER, FROM_ANY = 0 };

/* Who may say it; -1: none of the home's. */
static int role_for(const Farm__Message *message)
{
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_ADVERT:
        return FROM_ANY;
    case FARM__MESSAGE__BODY_LEASE_GRANT:
    case FARM__MESSAGE__BODY_LEASE_RETURN:
    case FARM__MESSAGE__BODY_SHARD_PROGRESS:
    case FARM__MESSAGE__BODY_CHECKPOINT:
    case FARM__MESSAGE__BODY_SEGMENT:
    case FARM__MESSAGE__BODY_TEXT_ENCODED:
        return FROM_NODE;
    case FARM__MESSAGE__BODY_SUBMIT: /* the envelope's signer is checked */
        return FROM_ANY;
    case FARM__MESSAGE__BODY_LOGS:
        return message->logs->job &&
                       (message->logs->job->job.len > 0 || *message->logs->job->prefix)
                   ? FROM_USER
                   : -1;
    case FARM__MESSAGE__BODY_PLAN:
    case FARM__MESSAGE__BODY_STATUS:
    case FARM__MESSAGE__BODY_LIST:
    case FARM__MESSAGE__BODY_CANCEL:
    case FARM__MESSAGE__BODY_PAUSE:
    case FARM__MESSAGE__BODY_RESUME:
    case FARM__MESSAGE__BODY_ERASE:
    case FARM__MESSAGE__BODY_WATCH:
    case FARM__MESSAGE__BODY_FETCH:
        return FROM_USER;
    default:
        return -1;
    }
}

static void take_node_message(struct sora_home *home, const struct sora_origin *origin,
                              const Farm__Message *message)
{
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_LEASE_GRANT:
        home_take_grant(home, origin, message->lease_grant);
        return;
    case FARM__MESSAGE__BODY_LEASE_RETURN:
        home_take_return(home, origin, message->lease_return);
        return;
    case FARM__MESSAGE__BODY_SHARD_PROGRESS:
        home_take_progress(home, origin, message->shard_progress);
        return;
    case FARM__MESSAGE__BODY_CHECKPOINT:
        home_take_checkpoint(home, origin, message->checkpoint);
        return;
    case FARM__MESSAGE__BODY_SEGMENT:
        home_take_segment(home, origin, message->segment);
        return;
    default:
        home_take_text(home, origin, message->text_encoded);
    }
}

static void take_user_message(struct sora_home *home, const struct sora_origin *origin,
                              const Farm__Message *message)
{
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_PLAN:
        home_take_plan(home, origin, message->plan);
        return;
    case FARM__MESSAGE__BODY_STATUS:
        home_take_status(home, origin, message->status);
        return;
    case FARM__MESSAGE__BODY_LIST:
        home_take_list(home, origin, message->list);
        return;
    case FARM__MESSAGE__BODY_CANCEL:
        home_take_control(home, origin, SORA_FARM_CANCEL, message->cancel->job);
        return;
    case FARM__MESSAGE__BODY_PAUSE:
        home_take_control(home, origin, SORA_FARM_PAUSE, message->pause->job);
        return;
    case FARM__MESSAGE__BODY_RESUME:
        home_take_control(home, origin, SORA_FARM_RESUME, message->resume->job);
        return;
    case FARM__MESSAGE__BODY_ERASE:
        home_take_delete(home, origin, message->erase);
        return;
    case FARM__MESSAGE__BODY_WATCH:
        home_take_watch(home, origin, message->watch);
        return;
    case FARM__MESSAGE__BODY_FETCH:
        home_take_fetch(home, origin, message->fetch);
        return;
    default:
        home_take_logs(home, origin, message->logs);
    }
}

static void take_advert(struct sora_home *home, const struct sora_origin *origin,
                        const Farm__Advert *advert)
{
    home_take_advert(home, origin, advert);
    home_watch_asks(home); /* it may name the models that they wait for */
}

static void refuse_role(struct sora_home *home, const struct sora_origin *origin, int role)
{
    struct sora_fault fault = {0};
    if (role == FROM_NODE)
        return; /* nobody waits for an answer */
    sora_fault_set(&fault, SORA_E_DENIED,
                   "%s may not ask for jobs: its certificate lacks the role of a user",
                   origin->identity->name);
    sora_post_refuse(home->params.post, origin, &fault);
}

bool sora_home_message(struct sora_home *home, const struct sora_origin *origin,
                       const Farm__Message *message, sora_time now)
{
    int role = role_for(message);
    if (role < 0 || !origin->identity)
        return false;
    home->now = now > home->now ? now : home->now;
    home_look_at_root(home);
    if ((origin->identity->roles & (uint32_t)role) != (uint32_t)role)
        refuse_role(home, origin, role);
    else if (message->body_case == FARM__MESSAGE__BODY_ADVERT)
        take_advert(home, origin, message->advert);
    else if (message->body_case == FARM__MESSAGE__BODY_SUBMIT)
        home_take_submit(home, origin, message->submit);
    else if (role == FROM_NODE)
        take_node_message(home, origin, message);
    else
        take_user_message(home, origin, message);
    home_settle(home);
    home_send_events(home);
    return true;
}

/* ---- the loop ---- */

size_t sora_home_poll(const struct sora_home *home, struct pollfd *out_items)
{
    size_t count = home_assembly_poll(home, out_items);
    out_items[count++] = (struct pollfd){.fd = sora_store_fd(home->params.store), .events = POLLIN};
    out_items[count++] = (struct pollfd){.fd = sora_tasks_fd(home->tasks), .events = POLLIN};
    return count;
}

static sora_time earlier(sora_time a, sora_time b)
{
    return a < b ? a : b;
}

sora_time sora_home_deadline(const struct sora_home *home)
{
    sora_time next = sora_farm_next_deadline(home->farm);
    const struct home_held *held = sora_ring_at(&home->held, 0);
    next = earlier(next, home_watch_deadline(home));
    next = earlier(next, home_assembly_deadline(home));
    next = earlier(next, home_keep_deadline(home));
    for (int i = 0; i < HOME_ASKS_MAX; i++) {
        if (home->asks[i].used)
            next = earlier(next, home->asks[i].until);
    }
    if (!home->commit && home->dirty > home->durable)
        next = earlier(next, home->retry_at);
    if ((held && held->ticket <= home->durable) || home->settle_due || home->assembly_due)
        next = earlier(next, home->now);
    return next;
}

void sora_home_step(struct sora_home *home, sora_time now)
{
    home->now = now > home->now ? now : home->now;
    home_look_at_root(home);
    sora_tasks_step(home->tasks);
    sora_store_step(home->params.store);
    home_step_assemblies(home);
    if (sora_farm_next_deadline(home->farm) <= home->now)
        home_farm_step(home, &(struct sora_farm_event){.kind = SORA_FARM_TICK}, NULL);
    home_watch_asks(home);
    home_watch_keep(home);
    home_settle(home);
    home_send_events(home);
}

int sora_home_open_jobs(const struct sora_home *home)
{
    int count = 0;
    for (int i = 0; i < home->job_count; i++)
        count += home->jobs[i]->final_state < 0;
    return count;
}
