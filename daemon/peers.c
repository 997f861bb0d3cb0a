/*
 * Who is connected, and dialing who is not. Of two nodes the one with the lower node id dials; the
 * other does so too after a while, for the case that only it knows an address. When both have
 * dialed, the one with the higher node id gives its connection up. Addresses are tried in turn:
 * what members told, what a beacon suggested, what the configuration names.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define MS (SORA_TIME_SECOND / 1000)
#define OTHERS_TURN_MS 3000 /* how long the higher node id waits for the lower */
#define PAUSE_MS_FIRST 250
#define PAUSE_MS_MAX 30000
#define NOWHERE_MS 5000 /* until the next look for an address when none is known */

static bool is_ours_to_dial(const struct sora_daemon *daemon, const struct sora_member *member)
{
    return memcmp(daemon->post.self, member->identity.node, SORA_NODE_ID_SIZE) < 0;
}

/* Up to half as much again, so that a farm that restarts does not dial in step. */
static sora_time spread_out(sora_time pause)
{
    uint16_t random;
    sora_key_random(&random, sizeof(random));
    return pause + pause / 2 * random / 65536;
}

/* ---- up and down ---- */

static void tell_parts(struct sora_daemon *daemon, const struct sora_member *member, bool up)
{
    parts_member(daemon->parts, &member->identity, up);
    sora_log(SORA_LOG_INFO, up ? "member connected name=%s" : "member disconnected name=%s",
             member->identity.name);
}

/* Of two connections the one that the lower node id dialed stays. */
static void give_up_second(struct sora_daemon *daemon, struct sora_member *member)
{
    struct sora_presence *presence = &member->presence;
    bool dialed_is_up = false;
    for (int i = 0; i < presence->up_count; i++)
        dialed_is_up |= presence->ups[i] == presence->dialed;
    bool inbound_is_up = presence->up_count > (dialed_is_up ? 1 : 0);
    if (!presence->dialed || !inbound_is_up || (dialed_is_up && is_ours_to_dial(daemon, member)))
        return;
    sora_link_hang_up(daemon->link, presence->dialed);
    for (int i = 0; i < presence->up_count; i++) {
        if (presence->ups[i] == presence->dialed)
            presence->ups[i--] = presence->ups[--presence->up_count];
    }
    presence->dialed = 0;
}

/* The greeting may hold a newer certificate than we know. */
static void take_greeting(struct sora_daemon *daemon, const struct sora_link_event *event,
                          sora_time now)
{
    struct sora_certificate certificate;
    struct sora_identity identity;
    bool changed = false;
    if (event->message && event->message->body_case == FARM__MESSAGE__BODY_HELLO &&
        event->message->hello->certificate &&
        sora_certificate_get(event->message->hello->certificate, &certificate, NULL) == SORA_OK &&
        sora_trust_verify(daemon->trust, &certificate, 0, sora_clock_wall_ms(), &identity, NULL) ==
            SORA_OK)
        membership_put(daemon, &certificate, &identity, &changed, now);
}

void peers_up(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now)
{
    unsigned char node[SORA_NODE_ID_SIZE];
    struct sora_fault fault = {0};
    memcpy(node, event->identity->node, sizeof(node));
    if (memcmp(node, daemon->self.user.node, sizeof(node)) == 0)
        return;
    take_greeting(daemon, event, now);
    struct sora_member *member = sora_members_find(&daemon->members, node);
    if (!member || member->out ||
        sora_trust_check(daemon->trust, &member->identity, 0, sora_clock_wall_ms(), &fault)) {
        sora_log(SORA_LOG_WARN, "a connection was refused: %s",
                 fault.text[0] ? fault.text : "no member");
        sora_link_dismiss(daemon->link, node);
        return;
    }
    struct sora_presence *presence = &member->presence;
    if (presence->up_count == SORA_MEMBER_UPS_MAX) {
        sora_link_hang_up(daemon->link, event->peer);
        return;
    }
    presence->ups[presence->up_count++] = event->peer;
    presence->heard_at = now;
    presence->fails = 0;
    give_up_second(daemon, member);
    membership_send(daemon, event->peer);
    if (presence->up_count == 1)
        tell_parts(daemon, member, true);
}

/* A dialing has failed, or a dialed connection was lost: the next address, after a pause. */
static void dialing_ended(struct sora_daemon *daemon, struct sora_member *member, bool was_up,
                          sora_time now)
{
    struct sora_presence *presence = &member->presence;
    sora_link_hang_up(daemon->link, presence->dialed);
    presence->dialed = 0;
    if (!was_up) {
        presence->next_place++;
        presence->fails += presence->fails < 16;
    }
    sora_time pause = (sora_time)PAUSE_MS_FIRST << (presence->fails < 8 ? presence->fails : 8);
    presence->dial_at = now + spread_out((pause < PAUSE_MS_MAX ? pause : PAUSE_MS_MAX) * MS);
}

void peers_down(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now)
{
    parts_peer_down(daemon->parts, event->peer);
    struct sora_member *member = sora_members_find(&daemon->members, event->identity->node);
    if (!member)
        return;
    struct sora_presence *presence = &member->presence;
    bool was_up = false;
    for (int i = 0; i < presence->up_count; i++) {
        if (presence->ups[i] != event->peer)
            continue;
        presence->ups[i--] = presence->ups[--presence->up_count];
        was_up = true;
    }
    if (event->peer == presence->dialed)
        dialing_ended(daemon, member, was_up, now);
    else if (was_up && presence->up_count == 0)
        presence->dial_at = now + (is_ours_to_dial(daemon, member) ? 0 : OTHERS_TURN_MS * MS);
    if (was_up && presence->up_count == 0)
        tell_parts(daemon, member, false);
    if (!was_up)
        sora_log(SORA_LOG_DEBUG, "not connected name=%s: %s", member->identity.name, event->text);
}

/* ---- dialing ---- */

void peers_learned(struct sora_daemon *daemon, struct sora_member *member, sora_time now)
{
    struct sora_presence *presence = &member->presence;
    presence->fails = 0;
    if (presence->up_count == 0 && !presence->dialed)
        presence->dial_at = now + (is_ours_to_dial(daemon, member) ? 0 : OTHERS_TURN_MS * MS);
}

void peers_dial_now(struct sora_daemon *daemon, sora_time now)
{
    for (int i = 0; i < daemon->members.count; i++)
        daemon->members.rows[i].presence.dial_at = now;
}

/* The address at `index` of all that may be tried; NULL when there is none. */
static const char *candidate(const struct sora_daemon *daemon, const struct sora_member *member,
                             int index)
{
    int hints = member->hint[0] != '\0';
    int count = member->place_count + hints + daemon->config->peer_count;
    if (count == 0)
        return NULL;
    index %= count;
    if (index < member->place_count)
        return member->places[index];
    index -= member->place_count;
    return index < hints ? member->hint : daemon->config->peer_rows[index - hints];
}

static void dial(struct sora_daemon *daemon, struct sora_member *member, sora_time now)
{
    struct sora_presence *presence = &member->presence;
    const char *endpoint = candidate(daemon, member, presence->next_place);
    struct sora_fault fault = {0};
    if (!endpoint) {
        presence->dial_at = now + NOWHERE_MS * MS;
        return;
    }
    sora_peer peer = 0;
    if (sora_link_dial(daemon->link, &member->identity, endpoint, &peer, &fault) == SORA_OK) {
        presence->dialed = peer;
        return;
    }
    sora_log(SORA_LOG_DEBUG, "cannot dial name=%s: %s", member->identity.name, fault.text);
    dialing_ended(daemon, member, false, now);
}

static bool wants_dial(const struct sora_member *member)
{
    /* Users call; nobody calls them. */
    return !member->out && member->presence.up_count == 0 && !member->presence.dialed &&
           (member->identity.roles & (SORA_ROLE_NODE | SORA_ROLE_SCHEDULER));
}

void peers_step(struct sora_daemon *daemon, sora_time now)
{
    for (int i = 0; i < daemon->members.count; i++) {
        struct sora_member *member = &daemon->members.rows[i];
        if (wants_dial(member) && now >= member->presence.dial_at)
            dial(daemon, member, now);
    }
}

sora_time peers_deadline(const struct sora_daemon *daemon)
{
    sora_time deadline = INT64_MAX;
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        if (wants_dial(member) && member->presence.dial_at < deadline)
            deadline = member->presence.dial_at;
    }
    return deadline;
}

/* ---- our own addresses ---- */

static bool is_reachable(const struct ifaddrs *address)
{
    return address->ifa_addr && address->ifa_addr->sa_family == AF_INET &&
           (address->ifa_flags & IFF_UP) && !(address->ifa_flags & IFF_LOOPBACK);
}

int peers_own_places(const struct sora_daemon *daemon, const char *endpoint,
                     char out_places[SORA_OWN_PLACES_MAX][SORA_PLACE_SIZE])
{
    const char *port = strrchr(endpoint, ':');
    struct ifaddrs *all = NULL;
    int count = 0;
    bool everywhere =
        strcmp(daemon->config->listen, "0.0.0.0") == 0 || strcmp(daemon->config->listen, "::") == 0;
    if (!port)
        return 0;
    if (!everywhere) {
        snprintf(out_places[0], SORA_PLACE_SIZE, "%s", endpoint);
        return 1;
    }
    if (getifaddrs(&all) != 0)
        all = NULL;
    for (const struct ifaddrs *at = all; at && count < SORA_OWN_PLACES_MAX; at = at->ifa_next) {
        char text[INET_ADDRSTRLEN];
        const struct sockaddr_in *address = (const void *)at->ifa_addr;
        if (is_reachable(at) && inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text)))
            snprintf(out_places[count++], SORA_PLACE_SIZE, "tcp://%s%s", text, port);
    }
    freeifaddrs(all);
    if (count == 0)
        snprintf(out_places[count++], SORA_PLACE_SIZE, "tcp://127.0.0.1%s", port);
    return count;
}
