/* The table of peers: states, connecting, losing, finding. */
#include "proto/link_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 8000 /* TCP, CURVE and greeting */

/* Which state may follow which; a bit each. */
static const unsigned moves[PEER_STATE_COUNT] = {
    [PEER_FREE] = 1u << PEER_CONNECTING | 1u << PEER_UP,
    [PEER_CONNECTING] = 1u << PEER_GREETING | 1u << PEER_UP | 1u << PEER_LOST | 1u << PEER_FREE,
    [PEER_GREETING] = 1u << PEER_UP | 1u << PEER_LOST | 1u << PEER_FREE,
    [PEER_UP] = 1u << PEER_LOST | 1u << PEER_FREE,
    [PEER_LOST] = 1u << PEER_WAITING | 1u << PEER_FREE,
    [PEER_WAITING] = 1u << PEER_CONNECTING | 1u << PEER_LOST | 1u << PEER_FREE,
};

void peer_move(struct peer *peer, enum peer_state next)
{
    SORA_ASSERT(moves[peer->state] & 1u << next);
    peer->state = next;
}

sora_peer peer_handle(const struct sora_link *link, const struct peer *peer)
{
    return (sora_peer)peer->generation << 16 | (sora_peer)(peer - link->peers + 1);
}

struct peer *peer_find(const struct sora_link *link, sora_peer handle)
{
    size_t index = (size_t)(handle & 0xffff);
    if (index == 0 || index > SORA_LINK_PEERS_MAX)
        return NULL;
    const struct peer *peer = &link->peers[index - 1];
    if (peer->state == PEER_FREE || peer_handle(link, peer) != handle)
        return NULL;
    return (struct peer *)(uintptr_t)peer;
}

struct peer *peer_new(struct sora_link *link, enum peer_side side)
{
    for (size_t i = 0; i < SORA_LINK_PEERS_MAX; i++) {
        struct peer *peer = &link->peers[i];
        if (peer->state != PEER_FREE || i == link->event_peer)
            continue;
        uint32_t generation = peer->generation + 1;
        sora_bytes_fini(&peer->request);
        *peer = (struct peer){.generation = generation, .side = side};
        peer->heard_at = peer->said_at = link->now;
        if (link->peer_end <= i)
            link->peer_end = (uint32_t)i + 1;
        for (int lane = 0; lane < LANE_COUNT; lane++) {
            peer->lanes[lane].socket = (struct sora_socket){.fd = -1, .monitor_fd = -1};
            peer->lanes[lane].fd = -1;
        }
        return peer;
    }
    return NULL;
}

void peer_cut(struct sora_link *link, struct peer *peer)
{
    (void)link;
    for (int i = 0; i < LANE_COUNT; i++) {
        struct lane *lane = &peer->lanes[i];
        sora_socket_close(&lane->socket);
        sora_connection_cut(lane->fd, lane->cookie);
        *lane = (struct lane){.fd = -1, .socket = {.fd = -1, .monitor_fd = -1}};
    }
}

void peer_free(struct sora_link *link, struct peer *peer)
{
    peer_cut(link, peer);
    sora_bytes_fini(&peer->request);
    peer_move(peer, PEER_FREE);
}

void peer_lose(struct sora_link *link, struct peer *peer, int reason, const char *text)
{
    if (peer->state == PEER_LOST || peer->state == PEER_FREE)
        return;
    peer->reason = reason;
    snprintf(peer->text, sizeof(peer->text), "%s", text);
    peer_cut(link, peer);
    peer_move(peer, PEER_LOST);
    bool known = peer->reported || peer->side == SIDE_DIALED || peer->side == SIDE_JOINING;
    if (!known)
        peer_free(link, peer);
    link->dirty = true;
}

/* ---- dialing ---- */

static int dial(struct sora_link *link, struct peer *peer, int lane, const char *endpoint,
                struct sora_fault *fault)
{
    const struct sora_socket_params params = {
        .context = link->context,
        .curve = link->curve,
        .server = peer->identity.curve,
        .endpoint = endpoint,
        .frame_bytes_max =
            lane == BULK ? SORA_PAYLOAD_BYTES_MAX + 4096 : SORA_MESSAGE_BYTES_MAX + 4096,
        .queue_max = lane == BULK ? 64 : 256,
    };
    struct lane *to = &peer->lanes[lane];
    *to = (struct lane){.fd = -1, .socket = {.fd = -1, .monitor_fd = -1}};
    return sora_socket_dial(&params, &to->socket, fault);
}

int peer_connect(struct sora_link *link, struct peer *peer, struct sora_fault *fault)
{
    int rc = dial(link, peer, CONTROL, peer->endpoint, fault);
    if (rc)
        return rc;
    peer_move(peer, PEER_CONNECTING);
    peer->reported = false;
    peer->session = peer->next_id = 0;
    peer->sent = peer->sent_max = peer->received = peer->returned = peer->granted = 0;
    peer->heard_at = peer->said_at = link->now;
    peer->deadline = link->now + CONNECT_MS * (SORA_TIME_SECOND / 1000);
    link->dirty = true;
    return SORA_OK;
}

/* The bulk socket is on the same host; `port` is from the greeting. */
int peer_connect_bulk(struct sora_link *link, struct peer *peer, uint32_t port)
{
    char endpoint[SORA_ENDPOINT_SIZE];
    const char *colon = strrchr(peer->endpoint, ':');
    SORA_ASSERT(colon);
    int length = snprintf(endpoint, sizeof(endpoint), "%.*s:%u", (int)(colon - peer->endpoint),
                          peer->endpoint, port);
    if (length < 0 || (size_t)length >= sizeof(endpoint))
        return SORA_E_LIMIT;
    return dial(link, peer, BULK, endpoint, NULL);
}

static int start_dialing(struct sora_link *link, struct peer *peer, const char *endpoint,
                         struct sora_fault *fault)
{
    int rc = SORA_E_INVALID;
    if (strlen(endpoint) < sizeof(peer->endpoint) && strncmp(endpoint, "tcp://", 6) == 0 &&
        strrchr(endpoint + 6, ':')) {
        strcpy(peer->endpoint, endpoint);
        rc = peer_connect(link, peer, fault);
    }
    if (rc)
        sora_fault_set(fault, rc, "cannot connect to %.100s; write tcp://ADDRESS:PORT", endpoint);
    return rc;
}

int sora_link_dial(struct sora_link *link, const struct sora_identity *identity,
                   const char *endpoint, sora_peer *out_peer, struct sora_fault *fault)
{
    struct peer *peer = peer_new(link, SIDE_DIALED);
    if (!peer)
        return sora_fault_set(fault, SORA_E_FULL, "%d peers are connected", SORA_LINK_PEERS_MAX);
    peer->identity = *identity;
    int rc = start_dialing(link, peer, endpoint, fault);
    if (rc == SORA_OK)
        *out_peer = peer_handle(link, peer);
    return rc;
}

int sora_link_join(struct sora_link *link, const unsigned char server[SORA_KEY_PUBLIC_SIZE],
                   const char *endpoint, Farm__JoinRequest *request, sora_peer *out_peer,
                   struct sora_fault *fault)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    message.id = 1;
    message.body_case = FARM__MESSAGE__BODY_JOIN_REQUEST;
    message.join_request = request;
    size_t size;
    int rc = sora_message_size(&message, &size, fault);
    if (rc)
        return rc;
    struct peer *peer = peer_new(link, SIDE_JOINING);
    if (!peer)
        return sora_fault_set(fault, SORA_E_FULL, "%d peers are connected", SORA_LINK_PEERS_MAX);
    memcpy(peer->identity.curve, server, SORA_KEY_PUBLIC_SIZE);
    sora_bytes_init(&peer->request, SORA_MESSAGE_BYTES_MAX);
    rc = sora_bytes_reserve(&peer->request, size);
    if (rc)
        return sora_fault_set(fault, rc, "not enough memory to join");
    sora_message_encode(&message, peer->request.data);
    sora_bytes_commit(&peer->request, size);
    rc = start_dialing(link, peer, endpoint, fault);
    if (rc == SORA_OK)
        *out_peer = peer_handle(link, peer);
    return rc;
}

void sora_link_hang_up(struct sora_link *link, sora_peer handle)
{
    struct peer *peer = peer_find(link, handle);
    if (peer)
        peer_free(link, peer);
}

/* ---- finding ---- */

sora_peer sora_link_find(const struct sora_link *link, const unsigned char node[SORA_NODE_ID_SIZE])
{
    for (size_t i = 0; i < link->peer_end; i++) {
        const struct peer *peer = &link->peers[i];
        bool member = peer->side == SIDE_INBOUND || peer->side == SIDE_DIALED;
        if (peer->state == PEER_UP && member &&
            memcmp(peer->identity.node, node, SORA_NODE_ID_SIZE) == 0)
            return peer_handle(link, peer);
    }
    return 0;
}

/* The listener's peer that a message is from: by routing id, and by the key that CURVE proved. */
struct peer *peer_by_route(struct sora_link *link, int lane, const struct sora_frames *frames)
{
    for (size_t i = 0; i < link->peer_end; i++) {
        struct peer *peer = &link->peers[i];
        const struct lane *own = &peer->lanes[lane];
        if (peer->state == PEER_UP && peer->side == SIDE_INBOUND && own->routing_size > 0 &&
            own->routing_size == frames->routing_size && own->fd == frames->fd &&
            memcmp(own->routing_id, frames->routing_id, own->routing_size) == 0 &&
            memcmp(peer->identity.curve, frames->user, SORA_KEY_PUBLIC_SIZE) == 0)
            return peer;
    }
    return NULL;
}

/* ---- members ---- */

const struct sora_identity *admitted_find(const struct sora_link *link, const unsigned char *curve)
{
    for (size_t i = 0; i < link->admitted_count; i++) {
        if (memcmp(link->admitted[i].curve, curve, SORA_KEY_PUBLIC_SIZE) == 0)
            return &link->admitted[i];
    }
    return NULL;
}

/* Takes a node off the list; whether it was there. */
static bool forget(struct sora_link *link, const unsigned char *node)
{
    for (size_t i = 0; i < link->admitted_count; i++) {
        if (memcmp(link->admitted[i].node, node, SORA_NODE_ID_SIZE) != 0)
            continue;
        sora_zap_dismiss(link->zap, link->admitted[i].curve);
        link->admitted[i] = link->admitted[--link->admitted_count];
        return true;
    }
    return false;
}

int sora_link_admit(struct sora_link *link, const struct sora_identity *identity)
{
    forget(link, identity->node);
    if (link->admitted_count == SORA_ZAP_KEYS_MAX)
        return SORA_E_FULL;
    int rc = sora_zap_admit(link->zap, identity->curve);
    if (rc == SORA_OK)
        link->admitted[link->admitted_count++] = *identity;
    return rc;
}

void sora_link_dismiss(struct sora_link *link, const unsigned char node[SORA_NODE_ID_SIZE])
{
    forget(link, node);
    for (size_t i = 0; i < link->peer_end; i++) {
        struct peer *peer = &link->peers[i];
        if (peer->state == PEER_FREE || peer->side == SIDE_GUEST || peer->side == SIDE_JOINING ||
            memcmp(peer->identity.node, node, SORA_NODE_ID_SIZE) != 0)
            continue;
        peer->ended = true;
        peer_lose(link, peer, SORA_E_DENIED, "no member any more");
    }
}
