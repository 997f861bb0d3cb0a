/* Greetings: versions, who is there, which bulk connection belongs to whom, first credit. */
#include "proto/link_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t port_of(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return colon ? (uint32_t)strtoul(colon + 1, NULL, 10) & 0xffff : 0;
}

int greet_send(struct sora_link *link, struct peer *peer, int lane, uint64_t reply_to,
               uint32_t version)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Hello hello = FARM__HELLO__INIT;
    Farm__Certificate certificate;
    hello.version_min = link->version_min;
    hello.version_max = link->version_max;
    hello.version = version;
    hello.software = link->software;
    hello.node_name = link->name;
    hello.boot = link->boot;
    hello.session = peer->session;
    hello.bulk_port = reply_to ? port_of(link->endpoints[BULK]) : 0;
    if (link->has_certificate) {
        sora_certificate_put(&link->certificate, &certificate);
        hello.certificate = &certificate;
    }
    message.reply_to = reply_to;
    message.body_case = FARM__MESSAGE__BODY_HELLO;
    message.hello = &hello;
    return link_send_on(link, peer, lane, &message, NULL, 0, NULL);
}

/* The highest version that both speak, 0 for none. */
static uint32_t choose_version(const struct sora_link *link, const Farm__Hello *hello)
{
    uint32_t high = hello->version_max < link->version_max ? hello->version_max : link->version_max;
    uint32_t low = hello->version_min > link->version_min ? hello->version_min : link->version_min;
    return low <= high ? high : 0;
}

/* A certificate in a greeting must be that of the one whom CURVE says it is. */
static bool certificate_fits(const Farm__Hello *hello, const struct sora_identity *identity)
{
    struct sora_certificate certificate;
    struct sora_identity said;
    if (!hello->certificate)
        return true;
    return sora_certificate_get(hello->certificate, &certificate, NULL) == SORA_OK &&
           sora_certificate_read(&certificate, &said, NULL) == SORA_OK &&
           memcmp(said.node, identity->node, sizeof(said.node)) == 0 &&
           memcmp(said.curve, identity->curve, sizeof(said.curve)) == 0;
}

static void attach(struct peer *peer, int lane, const struct sora_frames *frames)
{
    struct lane *own = &peer->lanes[lane];
    memcpy(own->routing_id, frames->routing_id, frames->routing_size);
    own->routing_size = frames->routing_size;
    own->fd = frames->fd;
    own->cookie = sora_connection_cookie(frames->fd);
    own->ready = true;
}

/* A member's first words on the control socket. */
static struct peer *greet_member(struct sora_link *link, const struct sora_frames *frames,
                                 const Farm__Message *message)
{
    const Farm__Hello *hello = message->hello;
    const struct sora_identity *identity = admitted_find(link, frames->user);
    uint32_t version = choose_version(link, hello);
    char text[160];
    if (!identity || !certificate_fits(hello, identity)) {
        link_refuse(link, CONTROL, frames, SORA_E_DENIED, "no member");
        return NULL;
    }
    if (version == 0) {
        snprintf(text, sizeof(text), "protocol versions %u to %u are spoken here, not %u to %u",
                 link->version_min, link->version_max, hello->version_min, hello->version_max);
        link_refuse(link, CONTROL, frames, SORA_E_UNSUPPORTED, text);
        return NULL;
    }
    struct peer *peer = peer_new(link, SIDE_INBOUND);
    if (!peer) {
        link_refuse(link, CONTROL, frames, SORA_E_FULL, "too many connections");
        return NULL;
    }
    peer->identity = *identity;
    sora_key_random(&peer->session, sizeof(peer->session));
    attach(peer, CONTROL, frames);
    peer_move(peer, PEER_UP);
    if (greet_send(link, peer, CONTROL, message->id, version) != SORA_OK) {
        peer_free(link, peer);
        return NULL;
    }
    peer->reported = true;
    return peer;
}

/* The first words on the bulk socket name the control connection that they belong to. */
static void greet_bulk(struct sora_link *link, const struct sora_frames *frames,
                       const Farm__Hello *hello)
{
    for (size_t i = 0; i < link->peer_end; i++) {
        struct peer *peer = &link->peers[i];
        if (peer->state != PEER_UP || peer->side != SIDE_INBOUND || hello->session == 0 ||
            peer->session != hello->session || peer->lanes[BULK].routing_size > 0 ||
            memcmp(peer->identity.curve, frames->user, SORA_KEY_PUBLIC_SIZE) != 0)
            continue;
        attach(peer, BULK, frames);
        greet_credit(link, peer);
        return;
    }
    link_refuse(link, BULK, frames, SORA_E_DENIED, "no such session");
}

/* A request on the invite socket. */
static struct peer *greet_guest(struct sora_link *link, const struct sora_frames *frames)
{
    struct peer *peer = NULL;
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++) {
        if (link->guests[i].fd == frames->fd && frames->fd >= 0)
            peer = peer_new(link, SIDE_GUEST);
    }
    if (!peer) {
        link_refuse(link, INVITE, frames, SORA_E_FULL, "too many are joining; try again");
        return NULL;
    }
    memcpy(peer->identity.curve, frames->user, SORA_KEY_PUBLIC_SIZE);
    attach(peer, CONTROL, frames);
    peer_move(peer, PEER_UP);
    peer->reported = true;
    return peer;
}

struct peer *greet_stranger(struct sora_link *link, int door, const struct sora_frames *frames,
                            const Farm__Message *message)
{
    /* What libzmq said about the descriptor's earlier connections must be dealt with first. */
    keep_doors(link);
    if (frames->has_user && frames->routing_size > 0) {
        if (door == CONTROL && message->body_case == FARM__MESSAGE__BODY_HELLO)
            return greet_member(link, frames, message);
        if (door == INVITE && message->body_case == FARM__MESSAGE__BODY_JOIN_REQUEST)
            return greet_guest(link, frames);
        if (door == BULK && message->body_case == FARM__MESSAGE__BODY_HELLO) {
            greet_bulk(link, frames, message->hello);
            return NULL;
        }
    }
    link_refuse(link, door, frames, SORA_E_DENIED, "greet first");
    return NULL;
}

/* The answer to our Hello. True when the peer is up. */
bool greet_receive(struct sora_link *link, struct peer *peer, int lane,
                   const Farm__Message *message, struct sora_link_event *out_event)
{
    if (lane != CONTROL || message->body_case != FARM__MESSAGE__BODY_HELLO) {
        peer_lose(link, peer, SORA_E_FORMAT, "the other side did not greet");
        return false;
    }
    const Farm__Hello *hello = message->hello;
    if (hello->version < link->version_min || hello->version > link->version_max) {
        peer_lose(link, peer, SORA_E_UNSUPPORTED, "the other side chose a version unknown here");
        return false;
    }
    if (!certificate_fits(hello, &peer->identity)) {
        peer_lose(link, peer, SORA_E_DENIED, "the other side has another's certificate");
        return false;
    }
    peer->session = hello->session;
    peer_move(peer, PEER_UP);
    peer->reported = true;
    peer->pause_ms = 0;
    if (hello->bulk_port > 0)
        peer_connect_bulk(link, peer, hello->bulk_port);
    *out_event = (struct sora_link_event){.kind = SORA_LINK_UP, .channel = SORA_CHANNEL_CONTROL};
    return true;
}

/* Raises the peer's limit when half of the window is free to give. */
void greet_credit(struct sora_link *link, struct peer *peer)
{
    const struct lane *lane = &peer->lanes[BULK];
    uint64_t target = peer->returned + link->window_bytes;
    if (peer->state != PEER_UP || !lane->ready || target - peer->granted < link->window_bytes / 2)
        return;
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Credit credit = FARM__CREDIT__INIT;
    credit.bytes_total = target;
    message.body_case = FARM__MESSAGE__BODY_CREDIT;
    message.credit = &credit;
    if (link_send_on(link, peer, BULK, &message, NULL, 0, NULL) == SORA_OK)
        peer->granted = target;
}
