/*
 * Link sockets: the one place that makes ZeroMQ sockets for TCP, each with CURVE, limits and a
 * monitor, and the frames that go through them.
 *
 * For proto/ and its tests. The owning thread alone uses a socket; nothing blocks.
 */
#ifndef SORA_PROTO_LINK_SOCKET_H
#define SORA_PROTO_LINK_SOCKET_H

#include "base/error.h"
#include "proto/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <zmq.h>

#define SORA_ENDPOINT_SIZE 256
#define SORA_ROUTING_SIZE 32 /* longer routing ids are refused; libzmq's own have 5 bytes */

/* A TCP socket of ours and the stream of its connections' events. */
struct sora_socket {
    void *zmq;     /* NULL: closed */
    void *monitor; /* PAIR */
    int fd, monitor_fd;
};

struct sora_socket_params {
    void *context;
    const struct sora_key *curve;
    const char *domain;          /* listener: the ZAP domain */
    const unsigned char *server; /* dialer: [32] key that the other side must have */
    const char *endpoint;
    size_t frame_bytes_max;
    int queue_max; /* messages, each way and connection */
};

/* A ROUTER that only lets in whom the ZAP handler admits: domain and enforcement are read back.
 * `out_endpoint` is where it listens. Errors: BUSY (address in use), INVALID (address), INTERNAL
 * (an option does not hold). */
int sora_socket_listen(const struct sora_socket_params *params, struct sora_socket *out_socket,
                       char out_endpoint[SORA_ENDPOINT_SIZE], struct sora_fault *fault);

/* A DEALER that connects once: libzmq never reconnects it. Errors: INVALID, INTERNAL. */
int sora_socket_dial(const struct sora_socket_params *params, struct sora_socket *out_socket,
                     struct sora_fault *fault);

/* Accepts closed sockets. Unsent messages are dropped. */
void sora_socket_close(struct sora_socket *socket);

enum sora_socket_event {
    SORA_SOCKET_NONE,
    SORA_SOCKET_ACCEPTED, /* a TCP connection; nobody is known yet */
    SORA_SOCKET_READY,    /* dialer: the handshake is done */
    SORA_SOCKET_REFUSED,  /* the other side turned our key down, or is not who it should be */
    SORA_SOCKET_GONE,
};

/* The next event; `out_fd` is the connection's descriptor for ACCEPTED and GONE. */
enum sora_socket_event sora_socket_next_event(struct sora_socket *socket, int *out_fd);

/* One message as it came. `count` is 0 for none; more than 3 frames are read and dropped. */
struct sora_frames {
    zmq_msg_t routing, message, payload;
    unsigned char routing_id[SORA_ROUTING_SIZE];
    size_t routing_size;
    int count; /* frames behind the routing id */
    int fd;    /* connection that brought it, or -1 */
    bool has_user;
    unsigned char user[SORA_KEY_PUBLIC_SIZE]; /* its CURVE key, by the ZAP handler */
};

void sora_frames_init(struct sora_frames *frames);
void sora_frames_fini(struct sora_frames *frames);

/* Receives without waiting; `router` tells whether a routing id comes first. False: nothing. */
bool sora_socket_receive(struct sora_socket *socket, bool router, struct sora_frames *frames);

/* Sends without waiting. `message` is taken, also on error; `payload` is copied. `routing_size` 0
 * for a dialer. Errors: FULL, NOT_FOUND (no such connection), IO. */
int sora_socket_send(struct sora_socket *socket, const void *routing_id, size_t routing_size,
                     zmq_msg_t *message, const void *payload, size_t payload_size);

/* A number that tells a connection from a later one with the same descriptor; 0: no connection. */
uint64_t sora_connection_cookie(int fd);

/* Ends the connection if it is still the one with `cookie`. */
void sora_connection_cut(int fd, uint64_t cookie);

#endif
