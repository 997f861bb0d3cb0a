/* Credentials, the link's loop, requests. */
#include "ctl/client.h"

#include "base/files.h"
#include "proto/envelope.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_SECONDS 5.0
#define CALL_SECONDS 30.0

volatile sig_atomic_t sora_client_interrupted;

struct sora_client {
    char folder[SORA_FILE_PATH_SIZE];
    char endpoint[256];
    struct sora_key *sign, *curve;
    struct sora_certificate certificate, server_certificate;
    struct sora_identity server;
    struct sora_link *link;
    sora_peer peer;
    bool up, lost; /* lost: it was up before and a watch must be repeated */
    int reason;    /* of the last DOWN */
    char text[256];
    sora_client_on_event on_event;
    void *on_event_context;
    struct pollfd items[SORA_LINK_POLL_MAX];
};

const struct sora_key *sora_client_sign(const struct sora_client *client)
{
    return client->sign;
}

const struct sora_certificate *sora_client_certificate(const struct sora_client *client)
{
    return &client->certificate;
}

const struct sora_identity *sora_client_server(const struct sora_client *client)
{
    return &client->server;
}

/* ---- credentials ---- */

static void find_folder(const char *state, char *out_folder, size_t size)
{
    const char *home = getenv("HOME"), *xdg = getenv("XDG_STATE_HOME");
    if (!state || !*state)
        state = getenv("SORAFARM_STATE");
    if (state && *state)
        snprintf(out_folder, size, "%s/ctl", state);
    else if (geteuid() == 0)
        snprintf(out_folder, size, "/var/lib/sorafarm/ctl");
    else if (xdg && *xdg)
        snprintf(out_folder, size, "%s/sorafarm/ctl", xdg);
    else
        snprintf(out_folder, size, "%s/.local/state/sorafarm/ctl", home ? home : "");
}

static int read_file(const struct sora_client *client, const char *name, size_t size_max,
                     struct sora_bytes *out_bytes, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE + 32];
    snprintf(path, sizeof(path), "%s/%s", client->folder, name);
    return sora_file_read(path, size_max, out_bytes, fault);
}

static int read_certificate(const struct sora_client *client, const char *name,
                            struct sora_certificate *out_certificate, struct sora_fault *fault)
{
    struct sora_bytes bytes = {0};
    int error = read_file(client, name, 4096, &bytes, fault);
    if (!error)
        error = sora_certificate_unpack(bytes.data, bytes.size, out_certificate, fault);
    sora_bytes_fini(&bytes);
    return error;
}

static int read_key(const struct sora_client *client, const char *name, enum sora_key_kind kind,
                    struct sora_key **out_key, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE + 32];
    snprintf(path, sizeof(path), "%s/%s", client->folder, name);
    return sora_key_load(path, kind, out_key, fault);
}

static int read_endpoint(struct sora_client *client, struct sora_fault *fault)
{
    struct sora_bytes bytes = {0};
    int error = read_file(client, "endpoint", sizeof(client->endpoint) - 1, &bytes, fault);
    if (!error)
        snprintf(client->endpoint, sizeof(client->endpoint), "%.*s", (int)bytes.size,
                 (const char *)bytes.data);
    client->endpoint[strcspn(client->endpoint, "\r\n")] = '\0';
    sora_bytes_fini(&bytes);
    return error;
}

static int load_credentials(struct sora_client *client, struct sora_fault *fault)
{
    int error = read_endpoint(client, fault);
    if (!error)
        error = read_key(client, "sign.key", SORA_KEY_SIGN, &client->sign, fault);
    if (!error)
        error = read_key(client, "curve.key", SORA_KEY_CURVE, &client->curve, fault);
    if (!error)
        error = read_certificate(client, "certificate", &client->certificate, fault);
    if (!error)
        error = read_certificate(client, "server.certificate", &client->server_certificate, fault);
    if (!error)
        error = sora_certificate_read(&client->server_certificate, &client->server, fault);
    return error;
}

/* ---- the loop ---- */

static sora_time after_seconds(double seconds)
{
    return sora_clock_now() + (sora_time)(seconds * 1e9);
}

/* One turn: an event if there is one (1), else waits until something can happen or `until`. */
static int turn(struct sora_client *client, sora_time until, struct sora_link_event *out_event,
                struct sora_fault *fault)
{
    if (sora_client_interrupted)
        return sora_fault_set(fault, SORA_E_CANCELLED, "interrupted");
    int got = sora_link_step(client->link, sora_clock_now(), out_event, fault);
    if (got != 0)
        return got;
    sora_time now = sora_clock_now(), wake = sora_link_deadline(client->link);
    if (now >= until)
        return 0;
    wake = wake < until ? wake : until;
    size_t count = sora_link_poll(client->link, client->items);
    poll(client->items, count, wake > now ? (int)((wake - now) / 1000000) + 1 : 0);
    return 0;
}

/* Notes ups and downs. */
static void note(struct sora_client *client, const struct sora_link_event *event)
{
    if (event->kind == SORA_LINK_UP) {
        client->up = true;
    } else if (event->kind == SORA_LINK_DOWN) {
        client->lost = client->lost || client->up;
        client->up = false;
        client->reason = event->reason;
        snprintf(client->text, sizeof(client->text), "%s", event->text ? event->text : "");
    }
}

/* A daemon that was started again may listen elsewhere. */
static void follow_endpoint(struct sora_client *client)
{
    char before[sizeof(client->endpoint)];
    memcpy(before, client->endpoint, sizeof(before));
    if (read_endpoint(client, NULL) != SORA_OK || strcmp(before, client->endpoint) == 0)
        return;
    sora_link_hang_up(client->link, client->peer);
    if (sora_link_dial(client->link, &client->server, client->endpoint, &client->peer, NULL))
        memcpy(client->endpoint, before, sizeof(before)); /* tried again */
}

static int wait_up(struct sora_client *client, double seconds, struct sora_fault *fault)
{
    if (client->lost)
        follow_endpoint(client);
    sora_time until = after_seconds(seconds);
    while (!client->up) {
        struct sora_link_event event;
        int got = turn(client, until, &event, fault);
        if (got < 0)
            return got;
        if (got == 1)
            note(client, &event);
        if (!client->up && client->reason == SORA_E_UNSUPPORTED)
            return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s", client->text);
        if (!client->up && sora_clock_now() >= until)
            return sora_fault_set(fault, SORA_E_NOT_FOUND,
                                  "no answer from sorad at %s; start it with 'sorad' (or "
                                  "'systemctl start sorad') and try again",
                                  client->endpoint);
    }
    return 0;
}

static int connect_daemon(struct sora_client *client, struct sora_fault *fault)
{
    const struct sora_link_params params = {
        .curve = client->curve,
        .certificate = &client->certificate,
        .software = "soractl " SORA_VERSION,
        .name = "soractl",
        .boot = (uint64_t)sora_clock_now(),
    };
    int error = sora_link_create(&params, &client->link, fault);
    if (!error)
        error =
            sora_link_dial(client->link, &client->server, client->endpoint, &client->peer, fault);
    return error ? error : wait_up(client, CONNECT_SECONDS, fault);
}

int sora_client_open(const char *state, struct sora_client **out_client, struct sora_fault *fault)
{
    struct sora_client *client = calloc(1, sizeof(*client));
    if (!client)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    find_folder(state, client->folder, sizeof(client->folder));
    struct sora_fault inner = {0};
    int error = load_credentials(client, &inner);
    if (error == SORA_E_NOT_FOUND)
        sora_fault_set(fault, error,
                       "no daemon has been started here (%.300s is missing); start one with "
                       "'sorad', or give --state DIR",
                       client->folder);
    else if (error)
        sora_fault_set(fault, error, "%s", inner.text);
    else
        error = connect_daemon(client, fault);
    if (error)
        sora_client_close(&client);
    *out_client = client;
    return error;
}

void sora_client_close(struct sora_client **client)
{
    if (!*client)
        return;
    sora_link_destroy(&(*client)->link);
    sora_key_destroy(&(*client)->sign);
    sora_key_destroy(&(*client)->curve);
    free(*client);
    *client = NULL;
}

/* ---- requests ---- */

int sora_client_send(struct sora_client *client, Farm__Message *request, uint64_t *out_id,
                     struct sora_fault *fault)
{
    sora_time until = after_seconds(CALL_SECONDS);
    for (;;) {
        int error = client->up ? 0 : wait_up(client, CONNECT_SECONDS, fault);
        if (error)
            return error;
        error = sora_link_send(client->link, client->peer, request, NULL, 0, fault);
        if (error != SORA_E_FULL && error != SORA_E_NOT_FOUND) {
            *out_id = request->id;
            return error;
        }
        if (sora_clock_now() >= until)
            return error;
        if (fault)
            *fault = (struct sora_fault){0};
        struct sora_link_event event;
        error = turn(client, until, &event, fault);
        if (error < 0)
            return error;
        if (error == 1)
            note(client, &event);
    }
}

/* What an answer means for the caller: 0 when it is the one. */
static int judge(const Farm__Message *message, int expected, struct sora_fault *fault)
{
    if (message->body_case == FARM__MESSAGE__BODY_REFUSAL)
        return sora_fault_set(fault,
                              message->refusal->code < 0 ? message->refusal->code : SORA_E_DENIED,
                              "%s", message->refusal->text);
    if ((int)message->body_case != expected)
        return sora_fault_set(fault, SORA_E_FORMAT, "the daemon answered something else (%d)",
                              (int)message->body_case);
    return 0;
}

int sora_client_call(struct sora_client *client, Farm__Message *request, int expected,
                     double seconds, const Farm__Message **out_answer, struct sora_fault *fault)
{
    uint64_t id = 0;
    int error = sora_client_send(client, request, &id, fault);
    if (error)
        return error;
    double limit = seconds > 0 ? seconds : CALL_SECONDS;
    sora_time until = after_seconds(limit);
    while (sora_clock_now() < until) {
        struct sora_link_event event;
        int got = turn(client, until, &event, fault);
        if (got < 0)
            return got;
        if (got == 0)
            continue;
        note(client, &event);
        if (!client->up)
            return sora_fault_set(fault, SORA_E_IO, "the connection to sorad was lost: %s",
                                  client->text);
        if (client->on_event && event.kind == SORA_LINK_MESSAGE &&
            event.message->body_case == FARM__MESSAGE__BODY_EVENT)
            client->on_event(client->on_event_context, event.message->event);
        if (event.kind == SORA_LINK_MESSAGE && event.message->reply_to == id) {
            *out_answer = event.message;
            return judge(event.message, expected, fault);
        }
    }
    return sora_fault_set(fault, SORA_E_TIMEOUT, "sorad did not answer within %.0f s", limit);
}

void sora_client_listen(struct sora_client *client, sora_client_on_event on_event, void *context)
{
    client->on_event = on_event;
    client->on_event_context = context;
}

int sora_client_next(struct sora_client *client, double seconds, struct sora_link_event *out_event,
                     struct sora_fault *fault)
{
    sora_time until = after_seconds(seconds);
    do {
        int got = turn(client, until, out_event, fault);
        if (got < 0)
            return got;
        if (got == 0)
            continue;
        note(client, out_event);
        if (out_event->kind == SORA_LINK_UP && client->lost) {
            client->lost = false;
            return SORA_E_STALE;
        }
        if (out_event->kind == SORA_LINK_MESSAGE)
            return 1;
    } while (sora_clock_now() < until);
    return 0;
}
