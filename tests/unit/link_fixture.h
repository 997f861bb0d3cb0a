/*
 * Links on loopback, all stepped by one loop until a condition holds. Bounded; nothing sleeps but
 * poll. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_LINK_FIXTURE_H
#define SORA_TESTS_UNIT_LINK_FIXTURE_H

#include "proto/link_internal.h"
#include "tests/unit/studio_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PUMP_SECONDS 20

/* One node and what its link said. */
struct end {
    struct studio studio;
    struct sora_link *link;
    int ups, downs, messages;
    int last_case; /* body of the last message */
    int reason;    /* of the last DOWN */
    uint64_t last_id;
    sora_peer peer; /* of the last event */
    uint64_t payload_bytes;
    bool hold; /* keep bulk credit */
    bool (*on_message)(struct end *end, const struct sora_link_event *event);
    char text[160];
    int rc; /* of step */
};

static inline void end_init(struct end *end, const char *name)
{
    *end = (struct end){.ups = 0};
    studio_init(&end->studio, name, SORA_ROLE_NODE | SORA_ROLE_SCHEDULER);
}

static inline struct sora_link_params end_params(struct end *end, bool listens)
{
    return (struct sora_link_params){
        .curve = end->studio.curve,
        .certificate = &end->studio.certificate,
        .software = "test",
        .name = end->studio.identity.name,
        .boot = 1,
        .control_endpoint = listens ? "tcp://127.0.0.1:*" : NULL,
        .bulk_endpoint = listens ? "tcp://127.0.0.1:*" : NULL,
        .invite_endpoint = listens ? "tcp://127.0.0.1:*" : NULL,
    };
}

static inline void end_open(struct end *end, const struct sora_link_params *params)
{
    struct sora_fault fault = {0};
    if (sora_link_create(params, &end->link, &fault)) {
        fprintf(stderr, "%s\n", fault.text);
        SORA_ASSERT(!"sora_link_create");
    }
}

static inline void end_fini(struct end *end)
{
    sora_link_destroy(&end->link);
    studio_fini(&end->studio);
}

static inline void end_take(struct end *end, const struct sora_link_event *event)
{
    end->peer = event->peer;
    if (event->kind == SORA_LINK_UP) {
        end->ups++;
    } else if (event->kind == SORA_LINK_DOWN) {
        end->downs++;
        end->reason = event->reason;
        snprintf(end->text, sizeof(end->text), "%s", event->text);
    } else {
        end->messages++;
        end->last_case = (int)event->message->body_case;
        end->last_id = event->message->id;
        end->payload_bytes += event->payload_size;
        if (end->hold)
            sora_link_hold(end->link);
        if (end->on_message)
            end->on_message(end, event);
    }
}

static inline void end_step(struct end *end)
{
    struct sora_link_event event;
    while (end->link && (end->rc = sora_link_step(end->link, sora_clock_now(), &event, NULL)) == 1)
        end_take(end, &event);
}

typedef bool (*pump_until)(struct end *const *ends);

/* Runs the links until the condition holds; false after PUMP_SECONDS or `ms` (when not 0). */
static inline bool pump(struct end *const *ends, int count, int ms, pump_until until)
{
    static struct pollfd items[8 * SORA_LINK_POLL_MAX];
    sora_time now = sora_clock_now();
    sora_time end = now + (ms ? ms * (SORA_TIME_SECOND / 1000) : PUMP_SECONDS * SORA_TIME_SECOND);
    for (;;) {
        size_t polled = 0;
        sora_time wake = end;
        for (int i = 0; i < count; i++)
            end_step(ends[i]);
        if (until && until(ends))
            return true;
        now = sora_clock_now();
        if (now >= end)
            return false;
        for (int i = 0; i < count; i++) {
            if (!ends[i]->link)
                continue;
            polled += sora_link_poll(ends[i]->link, items + polled);
            sora_time own = sora_link_deadline(ends[i]->link);
            wake = own < wake ? own : wake;
        }
        int wait_ms = wake > now ? (int)((wake - now) / (SORA_TIME_SECOND / 1000)) + 1 : 0;
        poll(items, polled, wait_ms);
    }
}

/* Plain TCP to an endpoint of ours. */
static inline int raw_connect(const char *endpoint)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    SORA_ASSERT(fd >= 0);
    SORA_ASSERT(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

/* True when the other side has closed; reads away what it said. */
static inline bool raw_is_closed(int fd)
{
    char bytes[256];
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
    }
    return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

#endif
