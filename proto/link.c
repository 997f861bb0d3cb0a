/*
 * The link's step: housekeeping, then one message at a time from all sockets in turn, until one is
 * an event. Nothing here waits.
 */
#include "proto/link.h"

#include "base/log.h"
#include "proto/link_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MS 5            /* housekeeping at most so often while messages come */
#define GUEST_LINGER_MS 2000 /* from our answer to a guest to its hanging up */
#define QUIET_FRAMES_MAX 64  /* messages without an event in one step */

static const enum sora_channel door_channels[DOOR_COUNT] = {
    [CONTROL] = SORA_CHANNEL_CONTROL, [BULK] = SORA_CHANNEL_BULK, [INVITE] = SORA_CHANNEL_INVITE};

/* ---- start and end ---- */

static int open_door(struct sora_link *link, int door, const char *endpoint,
                     struct sora_fault *fault)
{
    const struct sora_socket_params params = {
        .context = link->context,
        .curve = link->curve,
        .domain = door == INVITE ? SORA_ZAP_GUESTS : SORA_ZAP_MEMBERS,
        .endpoint = endpoint,
        .frame_bytes_max = door == BULK     ? SORA_PAYLOAD_BYTES_MAX + 4096
                           : door == INVITE ? 4096
                                            : SORA_MESSAGE_BYTES_MAX + 4096,
        .queue_max = door == CONTROL ? 256
                     : door == BULK  ? 64
                                     : 2,
    };
    int rc = sora_socket_listen(&params, &link->doors[door], link->endpoints[door], fault);
    if (rc == SORA_OK && door != INVITE)
        rc = link_test_door(link, door, fault);
    return rc;
}

static int open_doors(struct sora_link *link, const struct sora_link_params *params,
                      struct sora_fault *fault)
{
    const char *const endpoints[DOOR_COUNT] = {params->control_endpoint, params->bulk_endpoint,
                                               params->invite_endpoint};
    int rc = SORA_OK;
    for (int door = 0; door < DOOR_COUNT && rc == SORA_OK; door++) {
        if (endpoints[door])
            rc = open_door(link, door, endpoints[door], fault);
    }
    return rc;
}

void sora_link_set_certificate(struct sora_link *link, const struct sora_certificate *certificate)
{
    link->certificate = *certificate;
    link->has_certificate = true;
}

void sora_link_expect_refusal(struct sora_link *link)
{
    sora_zap_expect_refusal(link->zap);
}

static void take_params(struct sora_link *link, const struct sora_link_params *params)
{
    link->curve = params->curve;
    link->boot = params->boot;
    link->window_bytes = params->window_bytes ? params->window_bytes : SORA_LINK_WINDOW_BYTES;
    if (link->window_bytes < 2 * SORA_PAYLOAD_BYTES_MAX + SORA_MESSAGE_BYTES_MAX)
        link->window_bytes = 2 * SORA_PAYLOAD_BYTES_MAX + SORA_MESSAGE_BYTES_MAX;
    link->version_min = params->version_min ? params->version_min : SORA_PROTOCOL_VERSION_MIN;
    link->version_max = params->version_max ? params->version_max : SORA_PROTOCOL_VERSION_MAX;
    snprintf(link->software, sizeof(link->software), "%s", params->software);
    snprintf(link->name, sizeof(link->name), "%s", params->name ? params->name : "");
    if (params->certificate)
        sora_link_set_certificate(link, params->certificate);
    link->event_peer = SORA_LINK_PEERS_MAX;
    link->now = link->kept_at = sora_clock_now();
    link->idle = true;
    sora_frames_init(&link->frames);
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++)
        link->guests[i].fd = -1;
    for (int i = 0; i < DOOR_COUNT; i++)
        link->doors[i] = (struct sora_socket){.fd = -1, .monitor_fd = -1};
}

int sora_link_create(const struct sora_link_params *params, struct sora_link **out_link,
                     struct sora_fault *fault)
{
    int rc = sora_keys_init(fault);
    if (rc)
        return rc;
    struct sora_link *link = calloc(1, sizeof(*link));
    if (!link)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a link");
    take_params(link, params);
    link->context = zmq_ctx_new();
    if (!link->context || zmq_ctx_set(link->context, ZMQ_MAX_SOCKETS, 4096) != 0)
        rc = sora_fault_set(fault, SORA_E_INTERNAL, "ZeroMQ does not start");
    if (rc == SORA_OK)
        rc = sora_zap_create(link->context, &link->zap, fault);
    if (rc == SORA_OK)
        rc = open_doors(link, params, fault);
    if (rc)
        sora_link_destroy(&link);
    else
        *out_link = link;
    return rc;
}

void sora_link_destroy(struct sora_link **link)
{
    if (!*link)
        return;
    struct sora_link *old = *link;
    sora_message_destroy(&old->message);
    sora_frames_fini(&old->frames);
    for (size_t i = 0; i < SORA_LINK_PEERS_MAX; i++) {
        peer_cut(old, &old->peers[i]);
        sora_bytes_fini(&old->peers[i].request);
    }
    for (int i = 0; i < DOOR_COUNT; i++)
        sora_socket_close(&old->doors[i]);
    sora_zap_destroy(&old->zap);
    if (old->context)
        zmq_ctx_term(old->context);
    free(old);
    *link = NULL;
}

const char *sora_link_endpoint(const struct sora_link *link, enum sora_channel channel)
{
    for (int i = 0; i < DOOR_COUNT; i++) {
        if (door_channels[i] == channel)
            return link->endpoints[i];
    }
    return "";
}

/* ---- sending ---- */

static int put_message(struct sora_socket *socket, const struct lane *lane,
                       const Farm__Message *message, size_t size, const void *payload,
                       size_t payload_size)
{
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, size) != 0)
        return SORA_E_MEMORY;
    sora_message_encode(message, zmq_msg_data(&frame));
    return sora_socket_send(socket, lane->routing_id, lane->routing_size, &frame, payload,
                            payload_size);
}

/* The socket that a peer's lane sends through. */
static struct sora_socket *socket_of(struct sora_link *link, struct peer *peer, int lane)
{
    if (peer->side == SIDE_GUEST)
        return &link->doors[INVITE];
    return peer->side == SIDE_INBOUND ? &link->doors[lane] : &peer->lanes[lane].socket;
}

static bool is_counted(const Farm__Message *message)
{
    const struct sora_message_type *type = sora_message_type_find((int)message->body_case);
    return type && type->payload_max > 0;
}

int link_send_on(struct sora_link *link, struct peer *peer, int lane, Farm__Message *message,
                 const void *payload, size_t payload_size, struct sora_fault *fault)
{
    size_t size;
    message->id = ++peer->next_id;
    int rc = sora_message_size(message, &size, fault);
    if (rc)
        return rc;
    uint64_t bytes = is_counted(message) ? size + payload_size : 0;
    if (peer->sent + bytes > peer->sent_max && bytes > 0)
        return SORA_E_FULL;
    rc = put_message(socket_of(link, peer, lane), &peer->lanes[lane], message, size, payload,
                     payload_size);
    if (rc == SORA_OK) {
        peer->sent += bytes;
        peer->said_at = link->now;
        link->dirty = true;
    } else if (rc != SORA_E_FULL && rc != SORA_E_MEMORY) {
        peer_lose(link, peer, SORA_E_IO, "the connection was lost");
        rc = SORA_E_NOT_FOUND;
    }
    return rc;
}

int sora_link_send(struct sora_link *link, sora_peer handle, Farm__Message *message,
                   const void *payload, size_t payload_size, struct sora_fault *fault)
{
    struct peer *peer = peer_find(link, handle);
    const struct sora_message_type *type = sora_message_type_find((int)message->body_case);
    if (!type)
        return sora_fault_set(fault, SORA_E_INVALID, "a message without a body");
    if (payload_size > type->payload_max || (type->payload_max > 0 && payload_size == 0))
        return sora_fault_set(fault, SORA_E_INVALID, "%s with a payload of %zu bytes", type->name,
                              payload_size);
    if (!peer || peer->state != PEER_UP)
        return SORA_E_NOT_FOUND;
    bool invite = peer->side == SIDE_GUEST || peer->side == SIDE_JOINING;
    if (invite != ((type->channels & SORA_CHANNEL_INVITE) != 0) &&
        message->body_case != FARM__MESSAGE__BODY_REFUSAL)
        return sora_fault_set(fault, SORA_E_INVALID, "%s does not belong here", type->name);
    int lane = type->channels & (SORA_CHANNEL_CONTROL | SORA_CHANNEL_INVITE) ? CONTROL : BULK;
    if (lane == BULK && !peer->lanes[BULK].ready)
        return SORA_E_FULL;
    int rc = link_send_on(link, peer, lane, message, payload, payload_size, fault);
    if (rc == SORA_OK && peer->side == SIDE_GUEST)
        peer->deadline = link->now + GUEST_LINGER_MS * MS;
    return rc;
}

/* Tells a stranger why, and ends its connection. */
void link_refuse(struct sora_link *link, int door, const struct sora_frames *frames, int code,
                 const char *text)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Refusal refusal = FARM__REFUSAL__INIT;
    struct lane lane = {.routing_size = frames->routing_size};
    size_t size;
    refusal.code = code;
    refusal.text = (char *)(uintptr_t)text;
    message.id = 1;
    message.body_case = FARM__MESSAGE__BODY_REFUSAL;
    message.refusal = &refusal;
    memcpy(lane.routing_id, frames->routing_id, frames->routing_size);
    if (lane.routing_size > 0 && sora_message_size(&message, &size, NULL) == SORA_OK)
        put_message(&link->doors[door], &lane, &message, size, NULL, 0);
    link->dirty = true;
}

/* ---- receiving ---- */

/* Bulk bytes are counted against what was granted. False: more than that. */
static bool count_bulk(struct sora_link *link, struct peer *peer, const Farm__Message *message)
{
    if (!is_counted(message))
        return true;
    uint64_t bytes = zmq_msg_size(&link->frames.message) + zmq_msg_size(&link->frames.payload);
    peer->received += bytes;
    link->event_bytes = bytes;
    return peer->received <= peer->granted;
}

/* What the link itself answers. True when nothing is left to do. */
static bool handle_own(struct peer *peer, int lane, const Farm__Message *message)
{
    if (message->body_case == FARM__MESSAGE__BODY_CREDIT && lane == BULK) {
        if (message->credit->bytes_total > peer->sent_max)
            peer->sent_max = message->credit->bytes_total;
        return true;
    }
    return message->body_case == FARM__MESSAGE__BODY_PING;
}

static bool type_fits(const struct sora_link *link, const Farm__Message *message,
                      enum sora_channel channel)
{
    const struct sora_message_type *type = sora_message_type_find((int)message->body_case);
    size_t size = link->frames.count > 1 ? zmq_msg_size(&link->frames.payload) : 0;
    return (type->channels & channel) && size <= type->payload_max &&
           (size > 0) == (type->payload_max > 0) && link->frames.count <= 2;
}

static void fill_event(struct sora_link *link, struct peer *peer, enum sora_channel channel,
                       struct sora_link_event *out_event)
{
    bool invite = channel == SORA_CHANNEL_INVITE;
    out_event->peer = peer_handle(link, peer);
    out_event->channel = channel;
    out_event->identity = invite ? NULL : &peer->identity;
    out_event->curve = peer->identity.curve;
    out_event->message = link->message->farm;
    link->event_peer = (uint32_t)(peer - link->peers);
    if (link->frames.count > 1) {
        out_event->payload = zmq_msg_data(&link->frames.payload);
        out_event->payload_size = zmq_msg_size(&link->frames.payload);
    }
}

/* A message of a peer that has greeted, or the answer to our greeting. */
static bool from_peer(struct sora_link *link, struct peer *peer, int lane,
                      enum sora_channel channel, struct sora_link_event *out_event)
{
    const Farm__Message *message = link->message->farm;
    peer->heard_at = link->now;
    if (!type_fits(link, message, channel)) {
        peer_lose(link, peer, SORA_E_FORMAT, "sent a message that does not belong there");
        return false;
    }
    bool refused = message->body_case == FARM__MESSAGE__BODY_REFUSAL && message->reply_to == 0;
    if (refused && peer->side == SIDE_DIALED) {
        peer_lose(link, peer, message->refusal->code, message->refusal->text);
        return false;
    }
    if (peer->state == PEER_GREETING)
        return greet_receive(link, peer, lane, message, out_event);
    if (peer->state != PEER_UP || handle_own(peer, lane, message))
        return false;
    if (message->body_case == FARM__MESSAGE__BODY_HELLO) {
        peer_lose(link, peer, SORA_E_FORMAT, "greeted twice");
        return false;
    }
    if (!count_bulk(link, peer, message)) {
        peer_lose(link, peer, SORA_E_LIMIT, "sent more than its credit");
        return false;
    }
    *out_event = (struct sora_link_event){.kind = SORA_LINK_MESSAGE};
    return true;
}

/* A message at a door: of a known peer or of a stranger. */
static bool at_door(struct sora_link *link, int door, struct sora_link_event *out_event)
{
    struct sora_frames *frames = &link->frames;
    struct sora_fault fault = {0};
    struct peer *peer = door == INVITE ? NULL : peer_by_route(link, door, frames);
    if (frames->count == 0 || frames->count > 2 ||
        sora_message_decode(zmq_msg_data(&frames->message), zmq_msg_size(&frames->message),
                            &link->message, &fault) != SORA_OK) {
        if (peer)
            peer_lose(link, peer, SORA_E_FORMAT, fault.code ? fault.text : "sent odd frames");
        else
            sora_connection_cut(frames->fd, sora_connection_cookie(frames->fd));
        return false;
    }
    if (peer) {
        if (!from_peer(link, peer, door, door_channels[door], out_event))
            return false;
    } else {
        if (frames->count != 1 || !(peer = greet_stranger(link, door, frames, link->message->farm)))
            return false;
        bool guest = peer->side == SIDE_GUEST;
        *out_event = (struct sora_link_event){.kind = guest ? SORA_LINK_MESSAGE : SORA_LINK_UP};
        if (guest)
            peer->deadline = link->now + GUEST_ANSWER_MS * MS;
    }
    fill_event(link, peer, door_channels[door], out_event);
    return true;
}

static bool at_lane(struct sora_link *link, struct peer *peer, int lane,
                    struct sora_link_event *out_event)
{
    struct sora_frames *frames = &link->frames;
    struct sora_fault fault = {0};
    enum sora_channel channel =
        peer->side == SIDE_JOINING ? SORA_CHANNEL_INVITE : door_channels[lane];
    if (sora_message_decode(zmq_msg_data(&frames->message), zmq_msg_size(&frames->message),
                            &link->message, &fault) != SORA_OK) {
        peer_lose(link, peer, SORA_E_FORMAT, fault.text);
        return false;
    }
    if (!from_peer(link, peer, lane, channel, out_event))
        return false;
    fill_event(link, peer, channel, out_event);
    return true;
}

/* Forgets the last event, and gives the peer the credit that it took. */
static void release_event(struct sora_link *link)
{
    if (link->event_bytes > 0 && !link->holding && link->event_peer < SORA_LINK_PEERS_MAX) {
        struct peer *peer = &link->peers[link->event_peer];
        peer->returned += link->event_bytes;
        greet_credit(link, peer);
    }
    link->event_bytes = 0;
    link->event_peer = SORA_LINK_PEERS_MAX;
    link->holding = false;
    sora_message_destroy(&link->message);
    sora_frames_fini(&link->frames);
    sora_frames_init(&link->frames);
}

/* One message from source `index`: the doors, then two lanes of each dialed peer. */
static bool take_from(struct sora_link *link, uint32_t index, bool *out_got,
                      struct sora_link_event *out_event)
{
    *out_got = false;
    if (index < DOOR_COUNT) {
        *out_got = sora_socket_receive(&link->doors[index], true, &link->frames);
        return *out_got && at_door(link, (int)index, out_event);
    }
    struct peer *peer = &link->peers[(index - DOOR_COUNT) / LANE_COUNT];
    int lane = (int)((index - DOOR_COUNT) % LANE_COUNT);
    if (peer->state == PEER_FREE || !peer->lanes[lane].socket.zmq)
        return false;
    *out_got = sora_socket_receive(&peer->lanes[lane].socket, false, &link->frames);
    return *out_got && at_lane(link, peer, lane, out_event);
}

static bool receive_event(struct sora_link *link, struct sora_link_event *out_event)
{
    const uint32_t sources = DOOR_COUNT + LANE_COUNT * link->peer_end;
    uint32_t empty = 0;
    for (int quiet = 0; empty < sources && quiet < QUIET_FRAMES_MAX;) {
        bool got;
        link->next_poll = (link->next_poll + 1) % sources;
        if (take_from(link, link->next_poll, &got, out_event))
            return true;
        empty = got ? 0 : empty + 1;
        if (got) {
            quiet++;
            release_event(link);
        }
    }
    link->dirty |= empty < sources;
    return false;
}

int sora_link_step(struct sora_link *link, sora_time now, struct sora_link_event *out_event,
                   struct sora_fault *fault)
{
    release_event(link);
    link->now = now;
    if (!sora_zap_alive(link->zap)) {
        for (int i = 0; i < DOOR_COUNT; i++)
            sora_socket_close(&link->doors[i]);
        return sora_fault_set(fault, SORA_E_DENIED,
                              "the ZAP handler has ended; nobody can be let in");
    }
    if (link->idle || now - link->kept_at >= KEEP_MS * MS) {
        link->kept_at = now;
        link->dirty = false;
        keep_all(link);
    }
    bool event = keep_report_lost(link, out_event) || receive_event(link, out_event);
    link->idle = !event;
    return event;
}

/* ---- the loop's side ---- */

static size_t put_socket(const struct sora_socket *socket, struct pollfd *out_items)
{
    if (!socket->zmq)
        return 0;
    out_items[0] = (struct pollfd){.fd = socket->fd, .events = POLLIN};
    out_items[1] = (struct pollfd){.fd = socket->monitor_fd, .events = POLLIN};
    return 2;
}

size_t sora_link_poll(const struct sora_link *link, struct pollfd *out_items)
{
    size_t count = 0;
    for (int i = 0; i < DOOR_COUNT; i++)
        count += put_socket(&link->doors[i], out_items + count);
    for (size_t i = 0; i < link->peer_end; i++) {
        for (int lane = 0; lane < LANE_COUNT && link->peers[i].state != PEER_FREE; lane++)
            count += put_socket(&link->peers[i].lanes[lane].socket, out_items + count);
    }
    return count;
}

void sora_link_hold(struct sora_link *link)
{
    link->holding = true;
}

void sora_link_release(struct sora_link *link, sora_peer handle, uint64_t bytes)
{
    struct peer *peer = peer_find(link, handle);
    if (!peer)
        return;
    peer->returned += bytes;
    SORA_ASSERT(peer->returned <= peer->received);
    greet_credit(link, peer);
}
