/* Datagrams to everybody on the local network. */
#include "daemon/beacon.h"

#include "base/files.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MARK "sorafarm-1"
#define MARK_SIZE 10
#define HEARD_PER_STEP 64 /* a flood does not hold up the loop */

struct sora_beacon {
    int fd;
    struct sockaddr_in to;
    unsigned char node[SORA_NODE_ID_SIZE];
    unsigned char datagram[SORA_BEACON_SIZE];
    sora_time send_at;
    bool failed; /* the last send; said once */
};

void sora_beacon_pack(const unsigned char node[SORA_NODE_ID_SIZE], uint16_t port,
                      unsigned char out_data[SORA_BEACON_SIZE])
{
    memcpy(out_data, MARK, MARK_SIZE);
    memcpy(out_data + MARK_SIZE, node, SORA_NODE_ID_SIZE);
    out_data[SORA_BEACON_SIZE - 2] = (unsigned char)(port >> 8);
    out_data[SORA_BEACON_SIZE - 1] = (unsigned char)port;
}

bool sora_beacon_unpack(const void *data, size_t size, uint32_t address,
                        struct sora_beacon_hint *out_hint)
{
    const unsigned char *bytes = data;
    char text[INET_ADDRSTRLEN];
    const struct in_addr in = {address};
    if (size != SORA_BEACON_SIZE || memcmp(bytes, MARK, MARK_SIZE) != 0 ||
        !inet_ntop(AF_INET, &in, text, sizeof(text)))
        return false;
    unsigned port = (unsigned)bytes[size - 2] << 8 | bytes[size - 1];
    if (port == 0)
        return false;
    memcpy(out_hint->node, bytes + MARK_SIZE, SORA_NODE_ID_SIZE);
    snprintf(out_hint->endpoint, sizeof(out_hint->endpoint), "tcp://%s:%u", text, port);
    return true;
}

int sora_beacon_create(const struct sora_beacon_params *params, struct sora_beacon **out_beacon,
                       struct sora_fault *fault)
{
    const char *address = params->address ? params->address : "255.255.255.255";
    struct in_addr to;
    if (inet_pton(AF_INET, address, &to) != 1)
        return sora_fault_set(fault, SORA_E_INVALID, "the beacon's address '%.40s' is none",
                              address);
    struct sora_beacon *beacon = calloc(1, sizeof(*beacon));
    if (!beacon)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the beacon");
    uint16_t udp_port = params->udp_port ? params->udp_port : SORA_BEACON_PORT;
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(udp_port)};
    beacon->to = any;
    beacon->to.sin_addr = to;
    int on = 1, rc = SORA_OK;
    beacon->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (beacon->fd < 0 || setsockopt(beacon->fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) != 0 ||
        setsockopt(beacon->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(beacon->fd, (const struct sockaddr *)&any, sizeof(any)) != 0)
        rc = sora_fault_set(fault, sora_error_from_errno(errno),
                            "the beacon cannot use UDP port %d: %s; turn it off with --beacon=off",
                            udp_port, strerror(errno));
    memcpy(beacon->node, params->node, sizeof(beacon->node));
    sora_beacon_pack(params->node, params->port, beacon->datagram);
    if (rc)
        sora_beacon_destroy(&beacon);
    else
        *out_beacon = beacon;
    return rc;
}

void sora_beacon_destroy(struct sora_beacon **beacon)
{
    if (!*beacon)
        return;
    if ((*beacon)->fd >= 0)
        close((*beacon)->fd);
    free(*beacon);
    *beacon = NULL;
}

int sora_beacon_fd(const struct sora_beacon *beacon)
{
    return beacon->fd;
}

sora_time sora_beacon_deadline(const struct sora_beacon *beacon)
{
    return beacon->send_at;
}

static void send_out(struct sora_beacon *beacon, sora_time now)
{
    bool failed = sendto(beacon->fd, beacon->datagram, sizeof(beacon->datagram), 0,
                         (const struct sockaddr *)&beacon->to, sizeof(beacon->to)) < 0;
    if (failed && !beacon->failed)
        sora_log(SORA_LOG_WARN, "the beacon does not get out, members tell our address: %s",
                 strerror(errno));
    beacon->failed = failed;
    beacon->send_at = now + SORA_BEACON_SECONDS * SORA_TIME_SECOND;
}

bool sora_beacon_step(struct sora_beacon *beacon, sora_time now, struct sora_beacon_hint *out_hint)
{
    if (now >= beacon->send_at)
        send_out(beacon, now);
    for (int i = 0; i < HEARD_PER_STEP; i++) {
        unsigned char data[SORA_BEACON_SIZE + 1];
        struct sockaddr_in from;
        socklen_t from_size = sizeof(from);
        ssize_t got =
            recvfrom(beacon->fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_size);
        if (got < 0)
            return false;
        if (sora_beacon_unpack(data, (size_t)got, from.sin_addr.s_addr, out_hint) &&
            memcmp(out_hint->node, beacon->node, SORA_NODE_ID_SIZE) != 0)
            return true;
    }
    return false;
}
