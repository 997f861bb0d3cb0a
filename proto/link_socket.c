/* Sockets with CURVE, their limits, their events. docs/PROTOCOL.md says why each option is set. */
#include "proto/link_socket.h"

#include "proto/zap.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ZAP_ENFORCE_DOMAIN                                                                         \
    93 /* ZMQ_ZAP_ENFORCE_DOMAIN, which zmq.h names for draft builds only                          \
        */
#define MONITOR_EVENTS                                                                             \
    (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |                              \
     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                        \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct number_option {
    int option, value;
};

static int set_numbers(void *socket, const struct number_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)) != 0)
            return SORA_E_INTERNAL;
    }
    return SORA_OK;
}

/* What both sides have. */
static int set_limits(void *socket, const struct sora_socket_params *params)
{
    int64_t frame_bytes_max = (int64_t)params->frame_bytes_max;
    const struct number_option options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, params->queue_max},
        {ZMQ_RCVHWM, params->queue_max},
        {ZMQ_HANDSHAKE_IVL, 2000},
        {ZMQ_HEARTBEAT_IVL, 2000},
        {ZMQ_HEARTBEAT_TIMEOUT, 6000},
        {ZMQ_HEARTBEAT_TTL, 6000},
        {ZMQ_IPV6, strchr(params->endpoint, '[') != NULL},
    };
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof(frame_bytes_max)) != 0)
        return SORA_E_INTERNAL;
    return set_numbers(socket, options, sizeof(options) / sizeof(options[0]));
}

static int set_key(void *socket, const struct sora_key *curve)
{
    bool set = zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, sora_key_public(curve), 32) == 0 &&
               zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, sora_key_curve_secret(curve), 32) == 0;
    return set ? SORA_OK : SORA_E_INTERNAL;
}

/* Sets what keeps strangers out and reads it back: without any one of these, libzmq lets everybody
 * in (docs/PROTOCOL.md has the table). */
static int close_to_strangers(void *socket, const struct sora_socket_params *params)
{
    char domain[64] = "";
    int enforced = 0, server = 0, mechanism = -1;
    size_t domain_size = sizeof(domain), size = sizeof(int);
    const struct number_option options[] = {{ZMQ_CURVE_SERVER, 1},
                                            {ZAP_ENFORCE_DOMAIN, 1},
                                            {ZMQ_ROUTER_MANDATORY, 1},
                                            {ZMQ_ROUTER_HANDOVER, 0}};
    if (zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, params->domain, strlen(params->domain)) != 0 ||
        set_numbers(socket, options, sizeof(options) / sizeof(options[0])) != 0)
        return SORA_E_INTERNAL;
    bool held = zmq_getsockopt(socket, ZMQ_ZAP_DOMAIN, domain, &domain_size) == 0 &&
                strcmp(domain, params->domain) == 0 && domain[0] != '\0' &&
                zmq_getsockopt(socket, ZAP_ENFORCE_DOMAIN, &enforced, &size) == 0 &&
                enforced == 1 && zmq_getsockopt(socket, ZMQ_CURVE_SERVER, &server, &size) == 0 &&
                server == 1 && zmq_getsockopt(socket, ZMQ_MECHANISM, &mechanism, &size) == 0 &&
                mechanism == ZMQ_CURVE;
    return held ? SORA_OK : SORA_E_INTERNAL;
}

static int get_fd(void *socket)
{
    int fd = -1;
    size_t size = sizeof(fd);
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

/* Starts the stream of events. Its inproc name must be new in the process. */
static int watch(const struct sora_socket_params *params, struct sora_socket *socket)
{
    static atomic_uint next;
    char name[64];
    int none = 0;
    snprintf(name, sizeof(name), "inproc://sora-monitor-%u", atomic_fetch_add(&next, 1));
    if (zmq_socket_monitor(socket->zmq, name, MONITOR_EVENTS) != 0)
        return SORA_E_INTERNAL;
    socket->monitor = zmq_socket(params->context, ZMQ_PAIR);
    if (!socket->monitor || zmq_setsockopt(socket->monitor, ZMQ_LINGER, &none, sizeof(none)) != 0 ||
        zmq_connect(socket->monitor, name) != 0)
        return SORA_E_INTERNAL;
    socket->fd = get_fd(socket->zmq);
    socket->monitor_fd = get_fd(socket->monitor);
    return socket->fd >= 0 && socket->monitor_fd >= 0 ? SORA_OK : SORA_E_INTERNAL;
}

static int make(const struct sora_socket_params *params, int type, struct sora_socket *socket,
                struct sora_fault *fault)
{
    *socket = (struct sora_socket){.fd = -1, .monitor_fd = -1};
    socket->zmq = zmq_socket(params->context, type);
    if (!socket->zmq)
        return sora_fault_set(fault, SORA_E_INTERNAL, "no socket: %s", zmq_strerror(zmq_errno()));
    if (set_limits(socket->zmq, params) == 0 && set_key(socket->zmq, params->curve) == 0 &&
        watch(params, socket) == 0)
        return SORA_OK;
    int error = zmq_errno();
    sora_socket_close(socket);
    return sora_fault_set(fault, SORA_E_INTERNAL, "a socket option does not hold: %s",
                          zmq_strerror(error));
}

int sora_socket_listen(const struct sora_socket_params *params, struct sora_socket *out_socket,
                       char out_endpoint[SORA_ENDPOINT_SIZE], struct sora_fault *fault)
{
    struct sora_socket socket;
    int rc = make(params, ZMQ_ROUTER, &socket, fault);
    if (rc)
        return rc;
    if (close_to_strangers(socket.zmq, params) != 0) {
        rc = sora_fault_set(fault, SORA_E_INTERNAL,
                            "libzmq does not keep strangers out (ZAP domain, option 93)");
    } else if (strncmp(params->endpoint, "tcp://", 6) != 0) {
        rc = sora_fault_set(fault, SORA_E_INVALID, "cannot listen on %s; write tcp://ADDRESS:PORT",
                            params->endpoint);
    } else if (zmq_bind(socket.zmq, params->endpoint) != 0) {
        rc = zmq_errno() == EADDRINUSE ? SORA_E_BUSY : SORA_E_INVALID;
        sora_fault_set(fault, rc, "cannot listen on %s: %s; choose another address or port",
                       params->endpoint, zmq_strerror(zmq_errno()));
    }
    size_t size = SORA_ENDPOINT_SIZE;
    if (rc == SORA_OK && zmq_getsockopt(socket.zmq, ZMQ_LAST_ENDPOINT, out_endpoint, &size) != 0)
        rc = sora_fault_set(fault, SORA_E_INTERNAL, "the listener has no address");
    if (rc)
        sora_socket_close(&socket);
    else
        *out_socket = socket;
    return rc;
}

int sora_socket_dial(const struct sora_socket_params *params, struct sora_socket *out_socket,
                     struct sora_fault *fault)
{
    struct sora_socket socket;
    int rc = make(params, ZMQ_DEALER, &socket, fault);
    if (rc)
        return rc;
    const struct number_option options[] = {
        {ZMQ_IMMEDIATE, 1}, {ZMQ_RECONNECT_IVL, -1}, {ZMQ_CONNECT_TIMEOUT, 5000}};
    if (zmq_setsockopt(socket.zmq, ZMQ_CURVE_SERVERKEY, params->server, 32) != 0 ||
        set_numbers(socket.zmq, options, sizeof(options) / sizeof(options[0])) != 0)
        rc = sora_fault_set(fault, SORA_E_INTERNAL, "a socket option does not hold");
    else if (strncmp(params->endpoint, "tcp://", 6) != 0 ||
             zmq_connect(socket.zmq, params->endpoint) != 0)
        rc = sora_fault_set(fault, SORA_E_INVALID, "cannot connect to %s; write tcp://ADDRESS:PORT",
                            params->endpoint);
    if (rc)
        sora_socket_close(&socket);
    else
        *out_socket = socket;
    return rc;
}

void sora_socket_close(struct sora_socket *socket)
{
    if (socket->zmq) {
        zmq_socket_monitor(socket->zmq, NULL, 0);
        zmq_close(socket->zmq);
    }
    if (socket->monitor)
        zmq_close(socket->monitor);
    *socket = (struct sora_socket){.fd = -1, .monitor_fd = -1};
}

/* ---- events ---- */

enum sora_socket_event sora_socket_next_event(struct sora_socket *socket, int *out_fd)
{
    unsigned char head[16];
    char address[SORA_ENDPOINT_SIZE];
    uint16_t event;
    uint32_t value;
    while (socket->monitor &&
           zmq_recv(socket->monitor, head, sizeof(head), ZMQ_DONTWAIT) == sizeof(event) + 4) {
        zmq_recv(socket->monitor, address, sizeof(address), ZMQ_DONTWAIT);
        memcpy(&event, head, sizeof(event));
        memcpy(&value, head + sizeof(event), sizeof(value));
        *out_fd = (int)value;
        switch (event) {
        case ZMQ_EVENT_ACCEPTED:
            return SORA_SOCKET_ACCEPTED;
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            return SORA_SOCKET_READY;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return SORA_SOCKET_REFUSED;
        case ZMQ_EVENT_DISCONNECTED:
        case ZMQ_EVENT_CLOSED:
            return SORA_SOCKET_GONE;
        default:
            break;
        }
    }
    return SORA_SOCKET_NONE;
}

uint64_t sora_connection_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

/* libzmq has no call for this. A duplicate of the descriptor names one connection for good, so the
 * look at the cookie and the shutdown are about the same one, whatever its I/O thread does. */
void sora_connection_cut(int fd, uint64_t cookie)
{
    int copy = fd >= 0 && cookie != 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy < 0)
        return;
    if (sora_connection_cookie(copy) == cookie)
        shutdown(copy, SHUT_RDWR);
    close(copy);
}

/* ---- frames ---- */

void sora_frames_init(struct sora_frames *frames)
{
    *frames = (struct sora_frames){.fd = -1};
    zmq_msg_init(&frames->routing);
    zmq_msg_init(&frames->message);
    zmq_msg_init(&frames->payload);
}

void sora_frames_fini(struct sora_frames *frames)
{
    zmq_msg_close(&frames->routing);
    zmq_msg_close(&frames->message);
    zmq_msg_close(&frames->payload);
    frames->count = 0;
}

/* Who sent it: from a body frame, because libzmq 4.3.4 may leave the first without. */
static void read_sender(struct sora_frames *frames)
{
    const char *user = zmq_msg_gets(&frames->message, "User-Id");
    size_t size = 0;
    frames->has_user = user && strlen(user) == 2 * sizeof(frames->user) &&
                       sodium_hex2bin(frames->user, sizeof(frames->user), user, strlen(user), NULL,
                                      &size, NULL) == 0 &&
                       size == sizeof(frames->user);
    frames->fd = zmq_msg_get(&frames->message, ZMQ_SRCFD);
}

static bool receive_frame(struct sora_socket *socket, zmq_msg_t *frame, bool *out_more)
{
    if (zmq_msg_recv(frame, socket->zmq, ZMQ_DONTWAIT) < 0)
        return false;
    *out_more = zmq_msg_more(frame);
    return true;
}

bool sora_socket_receive(struct sora_socket *socket, bool router, struct sora_frames *frames)
{
    bool more = true;
    frames->count = 0;
    frames->routing_size = 0;
    if (!socket->zmq)
        return false;
    if (router) {
        if (!receive_frame(socket, &frames->routing, &more))
            return false;
        size_t size = zmq_msg_size(&frames->routing);
        if (size <= sizeof(frames->routing_id)) {
            memcpy(frames->routing_id, zmq_msg_data(&frames->routing), size);
            frames->routing_size = size;
        }
    }
    zmq_msg_t *const places[] = {&frames->message, &frames->payload};
    while (more) {
        zmq_msg_t spare;
        bool wanted = frames->count < 2;
        zmq_msg_t *place = wanted ? places[frames->count] : &spare;
        if (!wanted)
            zmq_msg_init(&spare);
        bool got = receive_frame(socket, place, &more);
        if (!wanted)
            zmq_msg_close(&spare);
        if (!got)
            break;
        frames->count++;
    }
    if (frames->count > 0)
        read_sender(frames);
    return frames->count > 0 || router;
}

int sora_socket_send(struct sora_socket *socket, const void *routing_id, size_t routing_size,
                     zmq_msg_t *message, const void *payload, size_t payload_size)
{
    int rc = 0;
    if (!socket->zmq) {
        zmq_msg_close(message);
        return SORA_E_NOT_FOUND;
    }
    if (routing_size > 0)
        rc = zmq_send(socket->zmq, routing_id, routing_size, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    /* The first frame decides: once it is taken, the others are. */
    if (rc >= 0)
        rc = zmq_msg_send(message, socket->zmq, ZMQ_DONTWAIT | (payload_size ? ZMQ_SNDMORE : 0));
    if (rc >= 0 && payload_size > 0)
        rc = zmq_send(socket->zmq, payload, payload_size, ZMQ_DONTWAIT);
    if (rc >= 0)
        return SORA_OK;
    int error = zmq_errno();
    zmq_msg_close(message);
    return error == EAGAIN ? SORA_E_FULL : error == EHOSTUNREACH ? SORA_E_NOT_FOUND : SORA_E_IO;
}
