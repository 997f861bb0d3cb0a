/* The door is tried from outside, with a key that nobody knows, before anybody else can. */
#include "proto/link_internal.h"

#include <stdio.h>
#include <string.h>

#define TEST_MS 3000

/* A listener on all addresses is tried on the loopback. */
static void reachable(const char *endpoint, char out[SORA_ENDPOINT_SIZE])
{
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://0.0.0.0:", 14) == 0)
        snprintf(out, SORA_ENDPOINT_SIZE, "tcp://127.0.0.1%s", colon);
    else if (strncmp(endpoint, "tcp://[::]:", 11) == 0)
        snprintf(out, SORA_ENDPOINT_SIZE, "tcp://[::1]%s", colon);
    else
        snprintf(out, SORA_ENDPOINT_SIZE, "%s", endpoint);
}

static enum sora_socket_event wait_for_verdict(struct sora_socket *socket)
{
    sora_time end = sora_clock_now() + TEST_MS * (SORA_TIME_SECOND / 1000);
    for (;;) {
        int fd;
        enum sora_socket_event event = sora_socket_next_event(socket, &fd);
        if (event == SORA_SOCKET_READY || event == SORA_SOCKET_REFUSED || event == SORA_SOCKET_GONE)
            return event;
        long left_ms = (long)((end - sora_clock_now()) / (SORA_TIME_SECOND / 1000));
        if (left_ms <= 0)
            return SORA_SOCKET_NONE;
        zmq_pollitem_t item = {.socket = socket->monitor, .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, left_ms);
    }
}

int link_test_door(struct sora_link *link, int door, struct sora_fault *fault)
{
    struct sora_key *stranger;
    struct sora_socket socket;
    char endpoint[SORA_ENDPOINT_SIZE];
    int rc = sora_key_create(SORA_KEY_CURVE, &stranger, fault);
    if (rc)
        return rc;
    reachable(link->endpoints[door], endpoint);
    const struct sora_socket_params params = {.context = link->context,
                                              .curve = stranger,
                                              .server = sora_key_public(link->curve),
                                              .endpoint = endpoint,
                                              .frame_bytes_max = 4096,
                                              .queue_max = 1};
    sora_zap_expect_refusal(link->zap);
    rc = sora_socket_dial(&params, &socket, fault);
    if (rc == SORA_OK) {
        enum sora_socket_event verdict = wait_for_verdict(&socket);
        sora_socket_close(&socket);
        if (verdict != SORA_SOCKET_REFUSED)
            rc = sora_fault_set(fault, SORA_E_DENIED,
                                "%s did not turn an unknown key away (%s); not listening", endpoint,
                                verdict == SORA_SOCKET_READY ? "let in" : "no answer");
    }
    sora_key_destroy(&stranger);
    return rc;
}
