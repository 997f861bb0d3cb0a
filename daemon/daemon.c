/* Start, the turn of the loop, draining, end. */
#include "daemon/daemon.h"

#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_EVENTS_MAX 512 /* of one turn */
#define DOOR_SECONDS 3600
#define DRAIN_SECONDS 30 /* without change */
#define POLL_MAX (2 * SORA_LINK_POLL_MAX + SORA_PARTS_POLL_MAX + 8)

/* ---- start ---- */

static void endpoint_for(const struct sora_config *config, int64_t port, char *out, size_t size)
{
    char number[8] = "*";
    if (port != 0)
        snprintf(number, sizeof(number), "%d", (int)port);
    bool six = strchr(config->listen, ':') != NULL;
    snprintf(out, size, "tcp://%s%s%s:%s", six ? "[" : "", config->listen, six ? "]" : "", number);
}

static int open_link(struct sora_daemon *daemon, struct sora_fault *fault)
{
    const struct sora_config *config = daemon->config;
    char endpoints[3][SORA_ADDRESS_SIZE];
    endpoint_for(config, config->control_port, endpoints[0], SORA_ADDRESS_SIZE);
    endpoint_for(config, config->bulk_port, endpoints[1], SORA_ADDRESS_SIZE);
    endpoint_for(config, config->invite_port, endpoints[2], SORA_ADDRESS_SIZE);
    const struct sora_link_params params = {.curve = daemon->self.curve,
                                            .certificate = &daemon->self.certificate,
                                            .software = "sorad " SORA_VERSION,
                                            .name = daemon->self.identity.name,
                                            .boot = daemon->boot,
                                            .control_endpoint = endpoints[0],
                                            .bulk_endpoint = endpoints[1],
                                            .invite_endpoint = endpoints[2]};
    int rc = sora_link_create(&params, &daemon->link, fault);
    if (rc == SORA_OK)
        rc = sora_link_admit(daemon->link, &daemon->self.user);
    if (rc)
        return rc;
    const char *control = sora_link_endpoint(daemon->link, SORA_CHANNEL_CONTROL);
    const char *port = strrchr(control, ':');
    if (strcmp(config->listen, "0.0.0.0") == 0)
        snprintf(daemon->endpoint, sizeof(daemon->endpoint), "tcp://127.0.0.1%s", port);
    else if (strcmp(config->listen, "::") == 0)
        snprintf(daemon->endpoint, sizeof(daemon->endpoint), "tcp://[::1]%s", port);
    else
        snprintf(daemon->endpoint, sizeof(daemon->endpoint), "%s", control);
    daemon->own_place_count = peers_own_places(daemon, control, daemon->own_places);
    return SORA_OK;
}

static int open_parts(struct sora_daemon *daemon, struct sora_fault *fault)
{
    const struct sora_parts_params params = {.config = daemon->config,
                                             .state = &daemon->state,
                                             .added = &daemon->added,
                                             .self = &daemon->self,
                                             .trust = daemon->trust,
                                             .post = &daemon->post,
                                             .disk = daemon->disk,
                                             .digests = daemon->digests,
                                             .boot = daemon->boot};
    return parts_create(&params, &daemon->parts, fault);
}

static int open_beacon(struct sora_daemon *daemon, struct sora_fault *fault)
{
    const char *port = strrchr(daemon->endpoint, ':');
    if (!daemon->config->beacon)
        return SORA_OK;
    const struct sora_beacon_params params = {.node = daemon->post.self,
                                              .port = (uint16_t)atoi(port + 1)};
    return sora_beacon_create(&params, &daemon->beacon, fault);
}

static int open_all(struct sora_daemon *daemon, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    const struct sora_config *config = daemon->config;
    int rc = sora_state_find(config->state, path, sizeof(path), fault);
    if (rc == SORA_OK)
        rc = sora_state_open(path, &daemon->state, fault);
    const struct sora_self_params self = {&daemon->state, config->name, config->role_bits};
    if (rc == SORA_OK)
        rc = sora_self_open(&self, &daemon->self, fault);
    if (rc == SORA_OK)
        rc = sora_tasks_create("sora-disk", 4096, &daemon->disk, fault);
    if (rc == SORA_OK)
        rc = sora_tasks_create("sora-digest", 1024, &daemon->digests, fault);
    if (rc == SORA_OK)
        rc = sora_mail_create(&daemon->mail);
    if (rc == SORA_OK) {
        post_open(daemon);
        rc = membership_open(daemon, fault);
    }
    if (rc == SORA_OK)
        rc = sora_added_models_load(&daemon->state, &daemon->added, fault);
    if (rc == SORA_OK)
        rc = open_link(daemon, fault);
    if (rc == SORA_OK)
        rc = open_parts(daemon, fault);
    if (rc == SORA_OK)
        rc = open_beacon(daemon, fault);
    if (rc == SORA_OK)
        rc = sora_self_publish(&daemon->state, daemon->endpoint, fault);
    return rc;
}

int sora_daemon_create(const struct sora_config *config, struct sora_daemon **out_daemon,
                       struct sora_fault *fault)
{
    int rc = sora_keys_init(fault);
    struct sora_daemon *daemon = rc ? NULL : calloc(1, sizeof(*daemon));
    if (!daemon)
        return rc ? rc : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory");
    sora_time now = sora_clock_now();
    daemon->config = config;
    daemon->state.lock = -1;
    sora_key_random(&daemon->boot, sizeof(daemon->boot));
    daemon->door.verdict = SORA_DOOR_CLOSED; /* the link has just tested it */
    daemon->door_at = now + DOOR_SECONDS * SORA_TIME_SECOND;
    rc = open_all(daemon, fault);
    if (rc) {
        sora_fault_set(fault, rc, "sorad cannot start: %s", sora_error_text(rc));
        sora_daemon_destroy(&daemon);
        return rc;
    }
    membership_admit_all(daemon, now);
    sora_log(SORA_LOG_INFO, "ready name=%s studio=%s endpoint=%s state=%s",
             daemon->self.identity.name, daemon->self.identity.studio,
             sora_link_endpoint(daemon->link, SORA_CHANNEL_CONTROL), daemon->state.directory);
    *out_daemon = daemon;
    return SORA_OK;
}

void sora_daemon_destroy(struct sora_daemon **daemon)
{
    if (!*daemon)
        return;
    struct sora_daemon *old = *daemon;
    parts_destroy(&old->parts);
    membership_finish(old);
    /* What waits for the disk is written; its `done` finds everything it needs. */
    sora_tasks_destroy(&old->disk);
    sora_tasks_destroy(&old->digests);
    sora_beacon_destroy(&old->beacon);
    sora_door_fini(&old->door);
    sora_mail_destroy(&old->mail);
    sora_link_destroy(&old->link);
    membership_close(old);
    sora_self_close(&old->self);
    sora_added_models_fini(&old->added);
    sora_state_close(&old->state);
    free(old);
    *daemon = NULL;
}

/* ---- the turn ---- */

static void take_event(struct sora_daemon *daemon, const struct sora_link_event *event,
                       sora_time now)
{
    if (event->channel == SORA_CHANNEL_INVITE) {
        join_event(daemon, event, now);
    } else if (event->kind == SORA_LINK_UP) {
        peers_up(daemon, event, now);
    } else if (event->kind == SORA_LINK_DOWN) {
        peers_down(daemon, event, now);
    } else {
        const struct sora_origin origin = {event->peer, event->message->id, event->identity};
        dispatch_message(daemon, &origin, event->message, event->payload, event->payload_size, now);
    }
}

static int take_events(struct sora_daemon *daemon, sora_time now, struct sora_fault *fault)
{
    struct sora_link_event event;
    int rc = 1;
    for (int i = 0; i < LINK_EVENTS_MAX && rc == 1; i++) {
        rc = sora_link_step(daemon->link, now, &event, fault);
        if (rc == 1)
            take_event(daemon, &event, now);
    }
    return rc < 0 ? rc : SORA_OK;
}

/* What is posted while this goes on waits for the next turn. */
static void take_mail(struct sora_daemon *daemon, sora_time now)
{
    struct sora_message *message = NULL;
    const void *payload;
    size_t payload_size;
    for (size_t i = sora_mail_count(daemon->mail);
         i > 0 && sora_mail_take(daemon->mail, &message, &payload, &payload_size); i--) {
        const struct sora_origin origin = {0, message->farm->id, &daemon->self.identity};
        dispatch_message(daemon, &origin, message->farm, payload, payload_size, now);
        sora_message_destroy(&message);
    }
}

static void take_hints(struct sora_daemon *daemon, sora_time now)
{
    struct sora_beacon_hint hint;
    while (daemon->beacon && sora_beacon_step(daemon->beacon, now, &hint)) {
        struct sora_member *member = sora_members_find(&daemon->members, hint.node);
        if (!member || member->out || strcmp(member->hint, hint.endpoint) == 0)
            continue;
        snprintf(member->hint, sizeof(member->hint), "%s", hint.endpoint);
        if (member->presence.up_count == 0)
            peers_learned(daemon, member, now);
    }
}

static int step_door(struct sora_daemon *daemon, sora_time now, struct sora_fault *fault)
{
    if (now >= daemon->door_at) {
        daemon->door_at = now + DOOR_SECONDS * SORA_TIME_SECOND;
        sora_door_test(&daemon->door, daemon->link, &daemon->self.identity, daemon->endpoint, now,
                       NULL);
    }
    if (!sora_door_step(&daemon->door, now))
        return SORA_OK;
    doctor_answer(daemon);
    if (daemon->door.verdict == SORA_DOOR_OPEN)
        return sora_fault_set(fault, SORA_E_DENIED,
                              "an unknown key was let in; the daemon ends to keep others out");
    if (daemon->door.verdict == SORA_DOOR_SILENT)
        sora_log(SORA_LOG_WARN, "the test of our own door had no answer, trying again in an hour");
    return SORA_OK;
}

static void watch_drain(struct sora_daemon *daemon, sora_time now)
{
    int tasks = parts_tasks(daemon->parts);
    if (daemon->draining && tasks != daemon->drain_tasks) {
        daemon->drain_tasks = tasks;
        daemon->drain_at = now;
    }
}

static sora_time earlier(sora_time a, sora_time b)
{
    return a < b ? a : b;
}

static sora_time next_deadline(const struct sora_daemon *daemon, sora_time deadline)
{
    if (sora_mail_count(daemon->mail) > 0)
        return 0;
    deadline = earlier(deadline, sora_link_deadline(daemon->link));
    deadline = earlier(deadline, membership_deadline(daemon));
    deadline = earlier(deadline, peers_deadline(daemon));
    deadline = earlier(deadline, parts_deadline(daemon->parts));
    deadline = earlier(deadline, sora_door_deadline(&daemon->door));
    deadline = earlier(deadline, daemon->door_at);
    if (daemon->beacon)
        deadline = earlier(deadline, sora_beacon_deadline(daemon->beacon));
    return deadline;
}

static void wait_for(struct sora_daemon *daemon, sora_time deadline, int wake_fd)
{
    static struct pollfd items[POLL_MAX]; /* too large for the stack; used within this call */
    size_t count = 0;
    deadline = next_deadline(daemon, deadline);
    if (wake_fd >= 0)
        items[count++] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    items[count++] = (struct pollfd){.fd = sora_tasks_fd(daemon->disk), .events = POLLIN};
    items[count++] = (struct pollfd){.fd = sora_tasks_fd(daemon->digests), .events = POLLIN};
    if (daemon->beacon)
        items[count++] = (struct pollfd){.fd = sora_beacon_fd(daemon->beacon), .events = POLLIN};
    count += sora_link_poll(daemon->link, items + count);
    count += sora_door_poll(&daemon->door, items + count);
    count += parts_poll(daemon->parts, items + count);
    sora_time now = sora_clock_now();
    sora_time wait = deadline > now ? deadline - now : 0; /* a deadline may be INT64_MIN: at once */
    int wait_ms = wait <= 0 ? 0
                  : wait > 60 * SORA_TIME_SECOND
                      ? 60000
                      : (int)((wait + SORA_TIME_SECOND / 1000 - 1) / (SORA_TIME_SECOND / 1000));
    poll(items, count, wait_ms);
}

int sora_daemon_turn(struct sora_daemon *daemon, sora_time deadline, int wake_fd,
                     struct sora_fault *fault)
{
    wait_for(daemon, deadline, wake_fd);
    sora_time now = sora_clock_now();
    int rc = take_events(daemon, now, fault);
    if (rc)
        return rc;
    take_mail(daemon, now);
    sora_tasks_step(daemon->disk);
    sora_tasks_step(daemon->digests);
    parts_step(daemon->parts, now);
    take_hints(daemon, now);
    membership_step(daemon, now);
    peers_step(daemon, now);
    watch_drain(daemon, now);
    return step_door(daemon, now, fault);
}

/* ---- draining, status ---- */

void sora_daemon_drain(struct sora_daemon *daemon)
{
    if (daemon->draining)
        return;
    daemon->draining = true;
    daemon->drain_at = sora_clock_now();
    daemon->drain_tasks = parts_tasks(daemon->parts);
    parts_drain(daemon->parts);
}

/* Whether another node could take over what runs here. */
static bool has_other_nodes(const struct sora_daemon *daemon)
{
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        if (member->presence.up_count > 0 && !member->out &&
            (member->identity.roles & SORA_ROLE_NODE))
            return true;
    }
    return false;
}

bool sora_daemon_is_drained(const struct sora_daemon *daemon, sora_time now)
{
    return daemon->draining && (parts_tasks(daemon->parts) == 0 || !has_other_nodes(daemon) ||
                                now - daemon->drain_at >= DRAIN_SECONDS * SORA_TIME_SECOND);
}

void sora_daemon_status(const struct sora_daemon *daemon, char *out_text, size_t size)
{
    int up = 0;
    for (int i = 0; i < daemon->members.count; i++)
        up += daemon->members.rows[i].presence.up_count > 0;
    snprintf(out_text, size, "%s%d jobs, %d tasks, %d members connected",
             daemon->draining ? "draining: " : "", parts_open_jobs(daemon->parts),
             parts_tasks(daemon->parts), up);
}

const char *sora_daemon_endpoint(const struct sora_daemon *daemon)
{
    return daemon->endpoint;
}
