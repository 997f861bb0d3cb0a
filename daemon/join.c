/*
 * Joining, both sides. The inviter redeems the code, writes the book, the certificate and the
 * members, and only then answers. The guest tries the endpoints of the code in turn, checks the
 * reply, writes its certificate, and only then tells its user.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_SECONDS 20
#define RETRY_NS (SORA_TIME_SECOND / 4) /* when the inviter is writing another change */

/* ---- the inviter's side ---- */

/* A guest who waits for the disk. */
struct guest_change {
    struct sora_daemon *daemon;
    struct sora_late late;
    struct sora_certificate certificate;
    struct sora_identity identity;
    unsigned char proof[SORA_PROOF_SIZE];
};

/* What a guest is called: by the invite, else as it calls itself; never as another member. */
static void guest_name(struct sora_daemon *daemon, const Farm__JoinRequest *request,
                       char out_name[SORA_NAME_SIZE])
{
    const char *wanted = sora_names_find(&daemon->names, request->invite_id.data);
    if (!wanted)
        wanted = request->name;
    bool taken = strcmp(wanted, daemon->self.identity.name) == 0;
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        taken |= !member->out && strcmp(member->identity.name, wanted) == 0 &&
                 memcmp(member->identity.node, request->sign_public.data, SORA_NODE_ID_SIZE) != 0;
    }
    const uint8_t *id = request->sign_public.data;
    if (taken)
        snprintf(out_name, SORA_NAME_SIZE, "%.54s-%02x%02x%02x", wanted, id[0], id[1], id[2]);
    else
        snprintf(out_name, SORA_NAME_SIZE, "%s", wanted);
}

static int issue_guest(struct sora_daemon *daemon, const Farm__JoinRequest *request,
                       const struct sora_grant *grant, struct guest_change *change,
                       struct sora_fault *fault)
{
    const struct sora_key *root = sora_self_root(&daemon->self);
    struct sora_identity wanted = {.roles = grant->roles};
    if (!root)
        return sora_fault_set(fault, SORA_E_DENIED, "this node can no longer invite");
    memcpy(wanted.node, request->sign_public.data, sizeof(wanted.node));
    memcpy(wanted.curve, request->curve_public.data, sizeof(wanted.curve));
    memcpy(wanted.studio, daemon->self.identity.studio, sizeof(wanted.studio));
    guest_name(daemon, request, wanted.name);
    wanted.wall_not_after_ms = sora_clock_wall_ms() + SORA_CERTIFICATE_LIFETIME_MS;
    int rc = sora_certificate_issue(root, &wanted, &change->certificate, fault);
    if (rc == SORA_OK)
        rc = sora_certificate_read(&change->certificate, &change->identity, fault);
    if (rc == SORA_OK)
        rc = sora_issued_add(&daemon->issued, &change->certificate, sora_clock_wall_ms());
    if (rc == SORA_OK)
        sora_invites_prove(daemon->invites, grant, request, &change->certificate, change->proof);
    return rc;
}

static void reply_guest(struct guest_change *change)
{
    struct sora_daemon *daemon = change->daemon;
    const struct sora_members_packing packing = membership_packing(daemon, true);
    struct sora_members_wire *wire = NULL;
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__JoinReply reply = FARM__JOIN_REPLY__INIT;
    Farm__Certificate certificate;
    char *endpoints[SORA_OWN_PLACES_MAX];
    if (sora_members_wire_create(&packing, &wire) != SORA_OK)
        return; /* the guest runs into its time limit and says so */
    const Farm__Members *members = sora_members_wire_get(wire);
    sora_certificate_put(&change->certificate, &certificate);
    for (int i = 0; i < daemon->own_place_count; i++)
        endpoints[i] = daemon->own_places[i];
    reply.certificate = &certificate;
    reply.n_members = members->n_certificates;
    reply.members = members->certificates;
    reply.n_revocations = members->n_revocations;
    reply.revocations = members->revocations;
    reply.n_endpoints = (size_t)daemon->own_place_count;
    reply.endpoints = endpoints;
    reply.proof = (ProtobufCBinaryData){sizeof(change->proof), change->proof};
    message.body_case = FARM__MESSAGE__BODY_JOIN_REPLY;
    message.join_reply = &reply;
    post_reply_late(daemon, &change->late, &message);
    sora_members_wire_free(&wire);
}

static void guest_written(void *context, const struct sora_fault *written)
{
    struct guest_change *change = context;
    struct sora_daemon *daemon = change->daemon;
    struct sora_member *member = sora_members_find(&daemon->members, change->identity.node);
    daemon->changing = false;
    if (written->code) {
        member->out = true;
        post_refuse_late(daemon, &change->late, written);
        sora_log(SORA_LOG_ERROR, "a guest could not be taken in: %s", written->text);
    } else {
        sora_log(SORA_LOG_INFO, "a member joined name=%s roles=%u", change->identity.name,
                 change->identity.roles);
        membership_admit(daemon, member, sora_clock_now());
        reply_guest(change);
        membership_spread(daemon);
    }
    free(change);
}

static int take_guest(struct sora_daemon *daemon, const struct sora_link_event *event,
                      struct sora_fault *fault)
{
    const Farm__JoinRequest *request = event->message->join_request;
    struct sora_grant grant;
    bool changed;
    if (farm_is_changing(daemon, fault))
        return SORA_E_BUSY;
    if (daemon->members.count == SORA_MEMBERS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "this farm has no room for more members");
    struct guest_change *change = calloc(1, sizeof(*change));
    struct sora_keep *keep =
        change ? sora_keep_create(&daemon->state, guest_written, change) : NULL;
    int rc = keep ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory");
    if (rc == SORA_OK) {
        change->daemon = daemon;
        change->late = (struct sora_late){event->peer, event->message->id};
        rc = sora_invites_redeem(daemon->invites, request, event->curve, sora_clock_wall_ms(),
                                 &grant, fault);
    }
    if (rc == SORA_OK)
        rc = issue_guest(daemon, request, &grant, change, fault);
    /* In the table and its file now, admitted when that is written. */
    if (rc == SORA_OK)
        rc = sora_members_put(&daemon->members, &change->certificate, &change->identity, &changed);
    if (rc == SORA_OK)
        rc = membership_keep(daemon, keep);
    if (rc == SORA_OK)
        rc = farm_keep_invites(daemon, keep);
    if (rc == SORA_OK)
        rc = farm_change(daemon, &keep, fault);
    sora_keep_destroy(&keep);
    if (rc)
        free(change);
    return rc;
}

/* ---- the guest's side ---- */

static void join_end(struct sora_daemon *daemon, const struct sora_fault *fault)
{
    struct sora_joining *joining = &daemon->joining;
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Ack ack = FARM__ACK__INIT;
    message.body_case = FARM__MESSAGE__BODY_ACK;
    message.ack = &ack;
    sora_link_hang_up(daemon->link, joining->peer);
    if (fault->code)
        post_refuse_late(daemon, &joining->late, fault);
    else
        post_reply_late(daemon, &joining->late, &message);
    sora_invite_fini(&joining->invite);
    *joining = (struct sora_joining){.active = false};
}

/* Dials the next endpoint of the code. */
static void join_try(struct sora_daemon *daemon, sora_time now)
{
    struct sora_joining *joining = &daemon->joining;
    joining->retry_at = 0;
    while (joining->endpoint < joining->invite.endpoint_count) {
        sora_join_request(&joining->invite, daemon->self.sign, daemon->self.curve,
                          daemon->config->name, &joining->join);
        int rc = sora_link_join(daemon->link, joining->invite.curve,
                                joining->invite.endpoints[joining->endpoint], &joining->join.wire,
                                &joining->peer, &joining->fault);
        if (rc == SORA_OK)
            return;
        joining->endpoint++;
    }
    if (!joining->fault.code)
        sora_fault_set(&joining->fault, SORA_E_NOT_FOUND, "nobody answers");
    struct sora_fault fault = {0};
    sora_fault_set(&fault, joining->fault.code,
                   "the inviter did not let us in (%.200s); it must be running and reachable at %s",
                   joining->fault.text, joining->invite.endpoints[0]);
    (void)now;
    join_end(daemon, &fault);
}

static int check_join(struct sora_daemon *daemon, const char *code, struct sora_fault *fault)
{
    struct sora_joining *joining = &daemon->joining;
    int others = sora_members_count(&daemon->members);
    if (joining->active || farm_is_changing(daemon, NULL))
        return sora_fault_set(fault, SORA_E_BUSY, "a join is under way; wait for its end");
    int rc = sora_invite_parse(code, &joining->invite, fault);
    if (rc)
        return rc;
    /* Joining the same studio again is fine: for other roles, or after a revocation. */
    bool same = memcmp(joining->invite.root, daemon->self.identity.root, SORA_KEY_PUBLIC_SIZE) == 0;
    if (same && sora_self_root(&daemon->self))
        return sora_fault_set(fault, SORA_E_INVALID, "this node holds the key of studio %s already",
                              daemon->self.identity.studio);
    if (sora_invite_expired(&joining->invite, sora_clock_wall_ms()))
        return sora_fault_set(fault, SORA_E_DENIED, "the invite has expired; ask for a new one");
    if (others > 0 && !same)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "this node is in studio %s with %d other member%s; joining would "
                              "leave it: revoke them first, or use another --state",
                              daemon->self.identity.studio, others, others == 1 ? "" : "s");
    return SORA_OK;
}

void join_start(struct sora_daemon *daemon, const struct sora_origin *origin, const char *code,
                sora_time now)
{
    struct sora_joining *joining = &daemon->joining;
    struct sora_fault fault = {0};
    bool was_active = joining->active;
    if (check_join(daemon, code, &fault) != SORA_OK) {
        if (!was_active)
            sora_invite_fini(&joining->invite);
        sora_post_refuse(&daemon->post, origin, &fault);
        return;
    }
    joining->active = true;
    joining->late = (struct sora_late){origin->peer, origin->id};
    joining->endpoint = 0;
    joining->fault = (struct sora_fault){0};
    joining->deadline = now + JOIN_SECONDS * SORA_TIME_SECOND;
    join_try(daemon, now);
}

/* What the guest learned, between the reply and the disk. */
struct join_change {
    struct sora_daemon *daemon;
    struct sora_certificate certificate;
    struct sora_message *told; /* Farm__Members, owned */
};

static void join_written(void *context, const struct sora_fault *written)
{
    struct join_change *change = context;
    struct sora_daemon *daemon = change->daemon;
    struct sora_fault fault = *written;
    daemon->changing = false;
    if (!fault.code && membership_take_own(daemon, &change->certificate, &fault) == SORA_OK) {
        membership_merge(daemon, (const Farm__Members *)change->told->any, NULL, sora_clock_now());
        peers_dial_now(daemon, sora_clock_now());
        sora_log(SORA_LOG_INFO, "joined studio=%s as name=%s", daemon->self.identity.studio,
                 daemon->self.identity.name);
    }
    join_end(daemon, &fault);
    sora_message_destroy(&change->told);
    free(change);
}

/* The reply's members as the message that members tell each other, with the inviter's place;
 * packed and unpacked. */
static int reply_as_members(const struct sora_daemon *daemon, const Farm__JoinReply *reply,
                            struct sora_bytes *bytes, struct sora_message **out_told,
                            struct sora_fault *fault)
{
    Farm__Members members = FARM__MEMBERS__INIT;
    Farm__MemberPlace place = FARM__MEMBER_PLACE__INIT, *places[] = {&place};
    struct sora_identity identity;
    members.n_certificates = reply->n_members;
    members.certificates = reply->members;
    members.n_revocations = reply->n_revocations;
    members.revocations = reply->revocations;
    for (size_t i = 0; i < reply->n_members && !members.n_places; i++) {
        struct sora_certificate certificate;
        if (sora_certificate_get(reply->members[i], &certificate, NULL) != SORA_OK ||
            sora_certificate_read(&certificate, &identity, NULL) != SORA_OK ||
            memcmp(identity.curve, daemon->joining.invite.curve, sizeof(identity.curve)) != 0)
            continue;
        place.node = (ProtobufCBinaryData){sizeof(identity.node), identity.node};
        place.n_endpoints = reply->n_endpoints;
        place.endpoints = reply->endpoints;
        members.places = places;
        members.n_places = 1;
    }
    size_t size = farm__members__get_packed_size(&members);
    int rc = sora_bytes_reserve(bytes, size);
    if (rc == SORA_OK) {
        farm__members__pack(&members, bytes->data);
        sora_bytes_commit(bytes, size);
        rc = sora_message_decode_as(&farm__members__descriptor, bytes->data, size, false, out_told,
                                    fault);
    }
    return rc;
}

static int take_reply(struct sora_daemon *daemon, const Farm__JoinReply *reply,
                      struct sora_fault *fault)
{
    struct join_change *change = calloc(1, sizeof(*change));
    struct sora_keep *keep = change ? sora_keep_create(&daemon->state, join_written, change) : NULL;
    struct sora_identity identity;
    struct sora_bytes members;
    sora_bytes_init(&members, (size_t)1 << 20);
    int rc = keep ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "not enough memory");
    if (rc == SORA_OK) {
        change->daemon = daemon;
        rc = sora_join_check_reply(&daemon->joining.invite, &daemon->joining.join, reply,
                                   &change->certificate, &identity, fault);
    }
    if (rc == SORA_OK)
        rc = reply_as_members(daemon, reply, &members, &change->told, fault);
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, "members", members.data, members.size);
    if (rc == SORA_OK)
        rc = sora_keep_add_certificate(keep, "certificate", &change->certificate);
    if (rc == SORA_OK)
        rc = sora_keep_add_certificate(keep, "ctl/server.certificate", &change->certificate);
    if (rc == SORA_OK && !farm_is_changing(daemon, fault))
        rc = farm_change(daemon, &keep, fault);
    else if (rc == SORA_OK)
        rc = SORA_E_BUSY;
    sora_keep_destroy(&keep);
    sora_bytes_fini(&members);
    if (rc && change) {
        sora_message_destroy(&change->told);
        free(change);
    }
    return rc;
}

/* An answer, or the end of the connection, at the guest. */
static void joining_event(struct sora_daemon *daemon, const struct sora_link_event *event,
                          sora_time now)
{
    struct sora_joining *joining = &daemon->joining;
    struct sora_fault fault = {0};
    if (event->kind == SORA_LINK_DOWN) {
        if (daemon->changing || joining->retry_at)
            return; /* the answer was taken, or another try comes anyway */
        joining->fault = (struct sora_fault){0};
        sora_fault_set(&joining->fault, event->reason ? event->reason : SORA_E_IO, "%s",
                       event->text);
        joining->endpoint++;
        join_try(daemon, now);
    } else if (event->message->body_case == FARM__MESSAGE__BODY_REFUSAL) {
        const Farm__Refusal *refusal = event->message->refusal;
        if (refusal->code == SORA_E_BUSY || refusal->code == SORA_E_FULL) {
            sora_link_hang_up(daemon->link, joining->peer);
            joining->retry_at = now + RETRY_NS;
            return;
        }
        sora_fault_set(&fault, refusal->code ? refusal->code : SORA_E_DENIED, "%s", refusal->text);
        join_end(daemon, &fault);
    } else if (event->message->body_case == FARM__MESSAGE__BODY_JOIN_REPLY &&
               take_reply(daemon, event->message->join_reply, &fault) != SORA_OK) {
        sora_fault_set(&fault, SORA_E_FORMAT, "the inviter's answer could not be used");
        join_end(daemon, &fault);
    }
}

void join_event(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now)
{
    struct sora_fault fault = {0};
    if (daemon->joining.active && event->peer == daemon->joining.peer) {
        joining_event(daemon, event, now);
        return;
    }
    if (event->kind != SORA_LINK_MESSAGE ||
        event->message->body_case != FARM__MESSAGE__BODY_JOIN_REQUEST)
        return;
    int rc = take_guest(daemon, event, &fault);
    if (rc) {
        const struct sora_late late = {event->peer, event->message->id};
        sora_fault_set(&fault, rc, "%s", sora_error_text(rc));
        post_refuse_late(daemon, &late, &fault);
        sora_log(SORA_LOG_INFO, "a guest was refused: %s", fault.text);
    }
}

void join_step(struct sora_daemon *daemon, sora_time now)
{
    struct sora_joining *joining = &daemon->joining;
    if (!joining->active || daemon->changing)
        return;
    if (now >= joining->deadline) {
        struct sora_fault fault = {0};
        sora_fault_set(&fault, SORA_E_TIMEOUT,
                       "the inviter did not answer within %d seconds; it must be running and "
                       "reachable at %s",
                       JOIN_SECONDS, joining->invite.endpoints[0]);
        join_end(daemon, &fault);
    } else if (joining->retry_at && now >= joining->retry_at) {
        join_try(daemon, now);
    }
}

sora_time join_deadline(const struct sora_daemon *daemon)
{
    const struct sora_joining *joining = &daemon->joining;
    if (!joining->active || daemon->changing)
        return INT64_MAX;
    return joining->retry_at ? joining->retry_at : joining->deadline;
}
