/* Housekeeping of a link: what happens at its sockets without a message, silence, redialing. */
#include "proto/link_internal.h"

#include <sodium.h>
#include <string.h>

#define PING_MS 2000    /* silence of ours before a Ping */
#define SILENT_MS 15000 /* silence of theirs before a peer is lost */
#define GUEST_MS 10000  /* from a guest's connection to its request */
#define PAUSE_MS_FIRST 200
#define PAUSE_MS_MAX 30000

static void guest_arrived(struct sora_link *link, int fd)
{
    uint64_t cookie = sora_connection_cookie(fd);
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++) {
        if (link->guests[i].fd >= 0)
            continue;
        link->guests[i] = (struct guest){fd, cookie, link->now + GUEST_MS * MS};
        return;
    }
    sora_connection_cut(fd, cookie);
}

static void connection_gone(struct sora_link *link, int door, int fd)
{
    for (int i = 0; i < SORA_LINK_GUESTS_MAX && door == INVITE; i++) {
        if (link->guests[i].fd == fd)
            link->guests[i].fd = -1;
    }
    enum peer_side side = door == INVITE ? SIDE_GUEST : SIDE_INBOUND;
    int lane = door == BULK ? BULK : CONTROL;
    for (size_t i = 0; i < link->peer_end; i++) {
        struct peer *peer = &link->peers[i];
        if (peer->state == PEER_UP && peer->side == side && peer->lanes[lane].fd == fd)
            peer_lose(link, peer, SORA_E_IO, "the connection was lost");
    }
}

void keep_doors(struct sora_link *link)
{
    for (int door = 0; door < DOOR_COUNT; door++) {
        enum sora_socket_event event;
        int fd;
        while ((event = sora_socket_next_event(&link->doors[door], &fd)) != SORA_SOCKET_NONE) {
            if (event == SORA_SOCKET_ACCEPTED && door == INVITE)
                guest_arrived(link, fd);
            else if (event == SORA_SOCKET_GONE)
                connection_gone(link, door, fd);
        }
    }
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++) {
        struct guest *guest = &link->guests[i];
        if (guest->fd >= 0 && link->now >= guest->deadline) {
            sora_connection_cut(guest->fd, guest->cookie);
            guest->deadline = link->now + GUEST_ANSWER_MS * MS;
        }
    }
}

/* The handshake of a dialed lane is done: say what comes first on it. */
static void lane_ready(struct sora_link *link, struct peer *peer, int lane)
{
    struct lane *own = &peer->lanes[lane];
    own->ready = true;
    if (peer->side == SIDE_JOINING) {
        zmq_msg_t frame;
        peer_move(peer, PEER_UP);
        peer->reported = true;
        if (zmq_msg_init_size(&frame, peer->request.size) == 0) {
            memcpy(zmq_msg_data(&frame), peer->request.data, peer->request.size);
            sora_socket_send(&own->socket, NULL, 0, &frame, NULL, 0);
        }
        link->dirty = true;
    } else if (lane == CONTROL) {
        peer_move(peer, PEER_GREETING);
        greet_send(link, peer, CONTROL, 0, 0);
    } else if (greet_send(link, peer, BULK, 0, 0) == SORA_OK) {
        greet_credit(link, peer);
    }
}

static void watch_lane(struct sora_link *link, struct peer *peer, int lane)
{
    enum sora_socket_event event;
    int fd;
    while ((event = sora_socket_next_event(&peer->lanes[lane].socket, &fd)) != SORA_SOCKET_NONE) {
        if (event == SORA_SOCKET_READY)
            lane_ready(link, peer, lane);
        else if (event == SORA_SOCKET_REFUSED)
            peer_lose(link, peer, SORA_E_DENIED, "refused: this key is no member there");
        else if (event == SORA_SOCKET_GONE)
            peer_lose(link, peer, SORA_E_IO,
                      peer->state == PEER_CONNECTING ? "nobody with that key answers there"
                                                     : "the connection was lost");
    }
}

static void keep_up(struct sora_link *link, struct peer *peer)
{
    bool member = peer->side == SIDE_INBOUND || peer->side == SIDE_DIALED;
    if (member && link->now - peer->heard_at > SILENT_MS * MS) {
        peer_lose(link, peer, SORA_E_TIMEOUT, "silent for 15 seconds");
    } else if (!member && peer->deadline && link->now >= peer->deadline) {
        peer_lose(link, peer, SORA_E_TIMEOUT, "no answer");
    } else if (member) {
        greet_credit(link, peer);
        if (peer->state == PEER_UP && link->now - peer->said_at > PING_MS * MS) {
            Farm__Message message = FARM__MESSAGE__INIT;
            Farm__Ping ping = FARM__PING__INIT;
            message.body_case = FARM__MESSAGE__BODY_PING;
            message.ping = &ping;
            link_send_on(link, peer, CONTROL, &message, NULL, 0, NULL);
        }
    }
}

static void keep_peer(struct sora_link *link, struct peer *peer)
{
    for (int lane = 0; lane < LANE_COUNT; lane++)
        watch_lane(link, peer, lane);
    switch (peer->state) {
    case PEER_CONNECTING:
    case PEER_GREETING:
        if (link->now >= peer->deadline)
            peer_lose(link, peer, SORA_E_TIMEOUT, "no answer");
        break;
    case PEER_UP:
        keep_up(link, peer);
        break;
    case PEER_WAITING:
        if (link->now >= peer->deadline && peer_connect(link, peer, NULL) != SORA_OK)
            peer_lose(link, peer, SORA_E_INTERNAL, "no socket");
        break;
    default:
        break;
    }
}

bool keep_report_lost(struct sora_link *link, struct sora_link_event *out_event)
{
    for (size_t i = 0; i < link->peer_end; i++) {
        struct peer *peer = &link->peers[i];
        if (peer->state != PEER_LOST)
            continue;
        bool invite = peer->side == SIDE_GUEST || peer->side == SIDE_JOINING;
        *out_event = (struct sora_link_event){
            .kind = SORA_LINK_DOWN,
            .peer = peer_handle(link, peer),
            .channel = invite ? SORA_CHANNEL_INVITE : SORA_CHANNEL_CONTROL,
            .identity = invite ? NULL : &peer->identity,
            .curve = peer->identity.curve,
            .reason = peer->reason,
            .text = peer->text,
        };
        link->event_peer = (uint32_t)i;
        if (peer->side != SIDE_DIALED || peer->ended) {
            peer_free(link, peer);
            return true;
        }
        int64_t pause = peer->pause_ms > 0 ? peer->pause_ms : PAUSE_MS_FIRST;
        peer->pause_ms = 2 * pause < PAUSE_MS_MAX ? 2 * pause : PAUSE_MS_MAX;
        pause += randombytes_uniform((uint32_t)pause / 2 + 1);
        peer_move(peer, PEER_WAITING);
        peer->deadline = link->now + pause * MS;
        return true;
    }
    return false;
}

void keep_all(struct sora_link *link)
{
    keep_doors(link);
    for (size_t i = 0; i < link->peer_end; i++) {
        if (link->peers[i].state != PEER_FREE)
            keep_peer(link, &link->peers[i]);
    }
}

/* ---- when to be called again ---- */

static sora_time peer_deadline(const struct peer *peer)
{
    sora_time ping = peer->said_at + PING_MS * MS, silent = peer->heard_at + SILENT_MS * MS;
    switch (peer->state) {
    case PEER_CONNECTING:
    case PEER_GREETING:
    case PEER_WAITING:
        return peer->deadline;
    case PEER_UP:
        if (peer->side == SIDE_GUEST || peer->side == SIDE_JOINING)
            return peer->deadline;
        return ping < silent ? ping : silent;
    default:
        return 0;
    }
}

sora_time sora_link_deadline(const struct sora_link *link)
{
    sora_time deadline = link->now + SORA_TIME_SECOND; /* a look at the ZAP thread */
    if (link->dirty || !link->idle)
        return 0;
    for (size_t i = 0; i < link->peer_end; i++) {
        sora_time own = peer_deadline(&link->peers[i]);
        if (link->peers[i].state != PEER_FREE && own < deadline)
            deadline = own;
    }
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++) {
        if (link->guests[i].fd >= 0 && link->guests[i].deadline < deadline)
            deadline = link->guests[i].deadline;
    }
    return deadline;
}
