/*
 * Daemons in one process, each with a state folder of its own below the scratch folder, and clients
 * with the credentials of their local users; all are turned by one loop until a condition holds.
 * Bounded; nothing sleeps but poll. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_DAEMON_FIXTURE_H
#define SORA_TESTS_UNIT_DAEMON_FIXTURE_H

#include "daemon/daemon_parts.h"
#include "tests/unit/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOXES_MAX 4
#define BOX_SECONDS 30

/* A daemon and a client of its local user. */
struct box {
    struct sora_config config;
    struct sora_daemon *daemon;
    struct sora_link *client;
    struct sora_key *sign, *curve;
    sora_peer peer;
    bool up;
    struct sora_message *answer; /* the last that came to the client */
    int rc;                      /* of the turn */
};

static struct box boxes[BOXES_MAX];
static int box_count;

/* Roles: "scheduler" alone starts no worker. */
static inline int box_start(struct box *box, const char *name, const char *roles)
{
    char state[1024];
    struct sora_fault fault = {0};
    snprintf(state, sizeof(state), "--state=%s", scratch_path(name));
    char name_option[80], roles_option[80];
    snprintf(name_option, sizeof(name_option), "--name=%s", name);
    snprintf(roles_option, sizeof(roles_option), "--roles=%s", roles);
    char *argv[] = {(char *)(uintptr_t) "sorad",
                    state,
                    name_option,
                    roles_option,
                    (char *)(uintptr_t) "--listen=127.0.0.1",
                    (char *)(uintptr_t) "--control-port=0",
                    (char *)(uintptr_t) "--bulk-port=0",
                    (char *)(uintptr_t) "--invite-port=0",
                    (char *)(uintptr_t) "--worker=/bin/false"};
    /* No file: the machine's own configuration must not change a test. */
    setenv("XDG_CONFIG_HOME", scratch_dir, 1);
    int rc = sora_config_load(9, argv, &box->config, &fault);
    if (rc == SORA_OK)
        rc = sora_daemon_create(&box->config, &box->daemon, &fault);
    if (rc)
        fprintf(stderr, "%s\n", fault.text);
    return rc;
}

static inline void box_client_close(struct box *box)
{
    sora_link_destroy(&box->client);
    sora_key_destroy(&box->sign);
    sora_key_destroy(&box->curve);
    sora_message_destroy(&box->answer);
    box->up = false;
}

static inline void box_stop(struct box *box)
{
    box_client_close(box);
    sora_daemon_destroy(&box->daemon);
    sora_config_fini(&box->config);
    *box = (struct box){.daemon = NULL};
}

static inline int box_read_certificate(const struct box *box, const char *name,
                                       struct sora_identity *out)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes bytes;
    struct sora_certificate certificate;
    int rc = sora_file_read(sora_state_path(&box->daemon->state, name, path), 4096, &bytes, NULL);
    if (rc)
        return rc;
    rc = sora_certificate_unpack(bytes.data, bytes.size, &certificate, NULL);
    sora_bytes_fini(&bytes);
    return rc ? rc : sora_certificate_read(&certificate, out, NULL);
}

/* Connects as soractl does: from the files of ctl/ alone. */
static inline int box_client_open(struct box *box)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes endpoint;
    struct sora_identity server;
    const struct sora_state *state = &box->daemon->state;
    int rc = sora_key_load(sora_state_path(state, "ctl/sign.key", path), SORA_KEY_SIGN, &box->sign,
                           NULL);
    if (rc == SORA_OK)
        rc = sora_key_load(sora_state_path(state, "ctl/curve.key", path), SORA_KEY_CURVE,
                           &box->curve, NULL);
    if (rc == SORA_OK)
        rc = box_read_certificate(box, "ctl/server.certificate", &server);
    if (rc == SORA_OK)
        rc = sora_file_read(sora_state_path(state, "ctl/endpoint", path), 200, &endpoint, NULL);
    if (rc)
        return rc;
    endpoint.data[strcspn((char *)endpoint.data, "\n")] = '\0';
    const struct sora_link_params params = {
        .curve = box->curve, .software = "test", .name = "client", .boot = 1};
    rc = sora_link_create(&params, &box->client, NULL);
    if (rc == SORA_OK)
        rc = sora_link_dial(box->client, &server, (char *)endpoint.data, &box->peer, NULL);
    sora_bytes_fini(&endpoint);
    return rc;
}

static inline void box_client_step(struct box *box)
{
    struct sora_link_event event;
    while (box->client && sora_link_step(box->client, sora_clock_now(), &event, NULL) == 1) {
        if (event.kind == SORA_LINK_UP)
            box->up = true;
        if (event.kind == SORA_LINK_DOWN)
            box->up = false;
        if (event.kind != SORA_LINK_MESSAGE)
            continue;
        size_t size;
        unsigned char *data = NULL;
        if (sora_message_size(event.message, &size, NULL) == SORA_OK && (data = malloc(size))) {
            sora_message_encode(event.message, data);
            sora_message_destroy(&box->answer);
            sora_message_decode(data, size, &box->answer, NULL);
        }
        free(data);
    }
}

typedef bool (*box_until)(void);

/* Turns all daemons and clients until the condition holds; false after `ms`, or BOX_SECONDS for
 * 0. */
static inline bool boxes_run(int ms, box_until until)
{
    sora_time end =
        sora_clock_now() + (ms ? ms * (SORA_TIME_SECOND / 1000) : BOX_SECONDS * SORA_TIME_SECOND);
    while (!until()) {
        sora_time now = sora_clock_now();
        if (now >= end)
            return false;
        for (int i = 0; i < box_count; i++) {
            /* A short wait each: they share one thread. */
            sora_time wake = sora_clock_now() + SORA_TIME_SECOND / 1000;
            if (boxes[i].daemon && boxes[i].rc == SORA_OK)
                boxes[i].rc = sora_daemon_turn(boxes[i].daemon, wake, -1, NULL);
            box_client_step(&boxes[i]);
        }
    }
    return true;
}

static struct box *asked;

static inline bool has_answer(void)
{
    return asked->answer != NULL;
}

static inline bool client_is_up(void)
{
    return asked->up;
}

/* Sends a request from a client and waits for what comes. NULL when nothing does. */
static inline const Farm__Message *box_ask(struct box *box, Farm__Message *message)
{
    asked = box;
    if (!box->client && box_client_open(box) != SORA_OK)
        return NULL;
    if (!boxes_run(0, client_is_up))
        return NULL;
    sora_message_destroy(&box->answer);
    if (sora_link_send(box->client, box->peer, message, NULL, 0, NULL) != SORA_OK)
        return NULL;
    return boxes_run(0, has_answer) ? box->answer->farm : NULL;
}

#endif
