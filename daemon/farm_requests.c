/*
 * `soractl farm init|invite|members|revoke`: what the local user, or a user of this studio,
 * changes. One change is written at a time; it is answered, and takes effect where it adds rights,
 * once it is on disk. A revocation takes effect at once.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A change under way; what is not used is zero. */
struct change {
    struct sora_daemon *daemon;
    struct sora_late late;
    struct sora_key *studio; /* a new root; owned */
    struct sora_certificate certificate;
    struct sora_invite invite; /* guarded by being wiped */
};

static void change_free(struct change **change)
{
    if (!*change)
        return;
    sora_key_destroy(&(*change)->studio);
    sora_invite_fini(&(*change)->invite);
    free(*change);
    *change = NULL;
}

bool farm_is_changing(struct sora_daemon *daemon, struct sora_fault *fault)
{
    if (daemon->changing)
        sora_fault_set(fault, SORA_E_BUSY,
                       "another change of the membership is being written; try again");
    return daemon->changing;
}

int farm_keep_invites(struct sora_daemon *daemon, struct sora_keep *keep)
{
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 1 << 20);
    sora_keep_add_book(keep, daemon->invites);
    int rc = sora_names_pack(&daemon->names, &bytes);
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, "invites.names", bytes.data, bytes.size);
    sora_bytes_fini(&bytes);
    return rc;
}

int farm_change(struct sora_daemon *daemon, struct sora_keep **keep, struct sora_fault *fault)
{
    int rc = sora_keep_post(keep, daemon->disk);
    if (rc)
        sora_fault_set(fault, rc, "too much is waiting to be written; try again");
    else
        daemon->changing = true;
    sora_keep_destroy(keep);
    return rc;
}

/* A change for this request, and what writes it. */
static int begin(struct sora_daemon *daemon, const struct sora_origin *origin, sora_keep_done done,
                 struct change **out_change, struct sora_keep **out_keep, struct sora_fault *fault)
{
    if (farm_is_changing(daemon, fault))
        return SORA_E_BUSY;
    struct change *change = calloc(1, sizeof(*change));
    struct sora_keep *keep = change ? sora_keep_create(&daemon->state, done, change) : NULL;
    if (!keep) {
        free(change);
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory");
    }
    change->daemon = daemon;
    change->late = (struct sora_late){origin->peer, origin->id};
    *out_change = change;
    *out_keep = keep;
    return SORA_OK;
}

/* Ends a change with an Ack, or a Refusal. */
static void finish(struct change *change, const struct sora_fault *fault)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Ack ack = FARM__ACK__INIT;
    message.body_case = FARM__MESSAGE__BODY_ACK;
    message.ack = &ack;
    if (fault->code)
        post_refuse_late(change->daemon, &change->late, fault);
    else
        post_reply_late(change->daemon, &change->late, &message);
    change_free(&change);
}

/* ---- init ---- */

static void init_done(void *context, const struct sora_fault *written)
{
    struct change *change = context;
    struct sora_daemon *daemon = change->daemon;
    struct sora_fault fault = *written;
    daemon->changing = false;
    if (!fault.code) {
        if (change->studio) {
            sora_key_destroy(&daemon->self.studio);
            daemon->self.studio = change->studio;
            change->studio = NULL;
        }
        int rc = membership_take_own(daemon, &change->certificate, &fault);
        if (rc)
            sora_fault_set(&fault, rc, "the new certificate does not hold");
        else
            sora_log(SORA_LOG_INFO, "a studio was made studio=%s", daemon->self.identity.studio);
    }
    finish(change, &fault);
}

static int check_init(struct sora_daemon *daemon, struct sora_fault *fault)
{
    int others = sora_members_count(&daemon->members);
    const struct sora_key *root = sora_self_root(&daemon->self);
    if (others > 0)
        return sora_fault_set(
            fault, SORA_E_BUSY,
            "this node is in studio %s with %d other member%s; a new studio would "
            "leave it: revoke them first, or use another --state",
            daemon->self.identity.studio, others, others == 1 ? "" : "s");
    if (root && root == daemon->self.studio)
        return sora_fault_set(fault, SORA_E_BUSY, "this node's studio is %s already",
                              daemon->self.identity.studio);
    return SORA_OK;
}

static int farm_init(struct sora_daemon *daemon, const struct sora_origin *origin,
                     const Farm__FarmInit *request, struct sora_fault *fault)
{
    struct change *change = NULL;
    struct sora_keep *keep = NULL;
    int rc = check_init(daemon, fault);
    if (rc == SORA_OK)
        rc = begin(daemon, origin, init_done, &change, &keep, fault);
    if (rc)
        return rc;
    /* A key that an earlier init left unused is used. */
    if (!daemon->self.studio) {
        rc = sora_key_create(SORA_KEY_ROOT, &change->studio, fault);
        if (rc == SORA_OK)
            sora_keep_add_key(keep, "studio.key", change->studio);
    }
    if (rc == SORA_OK)
        rc = sora_self_issue(&daemon->self, change->studio ? change->studio : daemon->self.studio,
                             request->studio, &change->certificate, fault);
    if (rc == SORA_OK)
        rc = sora_keep_add_certificate(keep, "certificate", &change->certificate);
    if (rc == SORA_OK)
        rc = sora_keep_add_certificate(keep, "ctl/server.certificate", &change->certificate);
    if (rc == SORA_OK)
        rc = farm_change(daemon, &keep, fault);
    sora_keep_destroy(&keep);
    if (rc)
        change_free(&change);
    return rc;
}

/* ---- invite ---- */

static void invite_done(void *context, const struct sora_fault *written)
{
    struct change *change = context;
    struct sora_daemon *daemon = change->daemon;
    struct sora_fault fault = *written;
    char code[SORA_INVITE_CODE_SIZE];
    daemon->changing = false;
    int rc = fault.code ? fault.code : sora_invite_format(&change->invite, code, &fault);
    if (rc) {
        sora_invites_remove(daemon->invites, change->invite.id);
        post_refuse_late(daemon, &change->late, &fault);
    } else {
        Farm__Message message = FARM__MESSAGE__INIT;
        Farm__FarmInviteReply reply = FARM__FARM_INVITE_REPLY__INIT;
        reply.code = code;
        reply.wall_expires_ms = change->invite.wall_expires_ms;
        message.body_case = FARM__MESSAGE__BODY_FARM_INVITE_REPLY;
        message.farm_invite_reply = &reply;
        post_reply_late(daemon, &change->late, &message);
        sora_log(SORA_LOG_INFO, "an invite was made roles=%u uses=%u", change->invite.roles,
                 change->invite.uses);
    }
    memset(code, 0, sizeof(code));
    change_free(&change);
}

static int fill_invite(struct sora_daemon *daemon, const Farm__FarmInvite *request,
                       struct sora_invite *invite, struct sora_fault *fault)
{
    char places[SORA_OWN_PLACES_MAX][SORA_PLACE_SIZE];
    const char *listening = sora_link_endpoint(daemon->link, SORA_CHANNEL_INVITE);
    if (!sora_self_root(&daemon->self))
        return sora_fault_set(fault, SORA_E_DENIED,
                              "only the node that holds the key of studio %s can invite; run this "
                              "there",
                              daemon->self.identity.studio);
    if (request->uses > 255)
        return sora_fault_set(fault, SORA_E_LIMIT, "an invite has 1 to 255 uses, not %u",
                              request->uses);
    *invite = (struct sora_invite){
        .wall_expires_ms = sora_clock_wall_ms() + request->lifetime_s * 1000,
        .roles = (uint8_t)(request->roles ? request->roles : SORA_ROLE_NODE | SORA_ROLE_SCHEDULER),
        .uses = (uint8_t)request->uses,
        .endpoint_count = peers_own_places(daemon, listening, places)};
    memcpy(invite->root, daemon->self.identity.root, sizeof(invite->root));
    memcpy(invite->curve, daemon->self.identity.curve, sizeof(invite->curve));
    for (int i = 0; i < invite->endpoint_count; i++)
        memcpy(invite->endpoints[i], places[i], SORA_PLACE_SIZE);
    return SORA_OK;
}

static int farm_invite(struct sora_daemon *daemon, const struct sora_origin *origin,
                       const Farm__FarmInvite *request, struct sora_fault *fault)
{
    struct change *change = NULL;
    struct sora_keep *keep = NULL;
    bool added = false;
    int rc = begin(daemon, origin, invite_done, &change, &keep, fault);
    if (rc)
        return rc;
    rc = fill_invite(daemon, request, &change->invite, fault);
    if (rc == SORA_OK) {
        rc = sora_invites_add(daemon->invites, &change->invite, sora_clock_wall_ms(), fault);
        added = rc == SORA_OK;
    }
    if (added) {
        sora_names_put(&daemon->names, change->invite.id, request->name);
        rc = farm_keep_invites(daemon, keep);
    }
    if (rc == SORA_OK)
        rc = farm_change(daemon, &keep, fault);
    if (rc && added)
        sora_invites_remove(daemon->invites, change->invite.id);
    sora_keep_destroy(&keep);
    if (rc)
        change_free(&change);
    return rc;
}

/* ---- revoke ---- */

static void revoke_done(void *context, const struct sora_fault *written)
{
    struct change *change = context;
    change->daemon->changing = false;
    change->daemon->dirty |= written->code != 0; /* it holds, and is tried again */
    finish(change, written);
}

/* Signs the new list and puts it in force here: links end at once. */
static int revoke_now(struct sora_daemon *daemon, const struct sora_identity *member,
                      struct sora_fault *fault)
{
    const struct sora_key *root = sora_self_root(&daemon->self);
    struct sora_message *list = NULL;
    struct sora_bytes bytes;
    if (!root || memcmp(sora_key_public(root), member->root, SORA_KEY_PUBLIC_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_DENIED,
                              "only the node that holds the key of studio %s can revoke; run this "
                              "there",
                              member->studio);
    sora_bytes_init(&bytes, 1 << 16);
    int rc = sora_issued_revoke(&daemon->issued, root, daemon->trust, member, sora_clock_wall_ms(),
                                &bytes, fault);
    if (rc == SORA_OK)
        rc = sora_message_decode_as(&farm__revocation__descriptor, bytes.data, bytes.size, true,
                                    &list, fault);
    if (rc == SORA_OK)
        rc = sora_trust_apply(daemon->trust, (const Farm__Revocation *)list->any, fault);
    sora_message_destroy(&list);
    sora_bytes_fini(&bytes);
    return rc;
}

static int farm_revoke(struct sora_daemon *daemon, const struct sora_origin *origin,
                       const Farm__FarmRevoke *request, sora_time now, struct sora_fault *fault)
{
    struct change *change = NULL;
    struct sora_keep *keep = NULL;
    int index = 0;
    if (strcmp(request->name, daemon->self.identity.name) == 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%s is this node; to leave a studio, join another", request->name);
    int rc = sora_members_named(&daemon->members, request->name, &index, fault);
    if (rc == SORA_OK)
        rc = begin(daemon, origin, revoke_done, &change, &keep, fault);
    if (rc)
        return rc;
    rc = revoke_now(daemon, &daemon->members.rows[index].identity, fault);
    if (rc == SORA_OK) {
        sora_log(SORA_LOG_INFO, "a member is revoked name=%s reason=%s",
                 daemon->members.rows[index].identity.name,
                 request->reason[0] ? request->reason : "none");
        membership_sweep(daemon, now);
        membership_spread(daemon);
        rc = membership_keep(daemon, keep);
        if (rc == SORA_OK)
            rc = farm_change(daemon, &keep, fault);
    }
    sora_keep_destroy(&keep);
    if (rc)
        change_free(&change);
    return rc;
}

/* ---- members ---- */

static void fill_member(const struct sora_identity *identity, Farm__FarmMember *out)
{
    *out = (Farm__FarmMember)FARM__FARM_MEMBER__INIT;
    out->node = (ProtobufCBinaryData){SORA_NODE_ID_SIZE, (uint8_t *)(uintptr_t)identity->node};
    out->root_public =
        (ProtobufCBinaryData){SORA_KEY_PUBLIC_SIZE, (uint8_t *)(uintptr_t)identity->root};
    out->serial = (ProtobufCBinaryData){SORA_SERIAL_SIZE, (uint8_t *)(uintptr_t)identity->serial};
    out->name = (char *)(uintptr_t)identity->name;
    out->studio = (char *)(uintptr_t)identity->studio;
    out->roles = identity->roles;
    out->wall_not_after_ms = identity->wall_not_after_ms;
}

static int farm_members(struct sora_daemon *daemon, const struct sora_origin *origin, sora_time now,
                        struct sora_fault *fault)
{
    size_t count = (size_t)daemon->members.count + 1;
    Farm__FarmMember *rows = calloc(count, sizeof(*rows));
    Farm__FarmMember **list = calloc(count, sizeof(Farm__FarmMember *));
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmMembersReply reply = FARM__FARM_MEMBERS_REPLY__INIT;
    char words[SORA_KEY_WORDS_SIZE];
    int rc = rows && list ? SORA_OK : SORA_E_MEMORY;
    for (size_t i = 0; i < count && rc == SORA_OK; i++) {
        list[i] = &rows[i];
        fill_member(i ? &daemon->members.rows[i - 1].identity : &daemon->self.identity, &rows[i]);
        rows[i].connected = i == 0;
        if (i == 0)
            continue;
        const struct sora_member *member = &daemon->members.rows[i - 1];
        rows[i].revoked = member->out;
        rows[i].connected = member->presence.up_count > 0;
        rows[i].silent_ms = sora_presence_silent_ms(&member->presence, now);
    }
    if (rc == SORA_OK) {
        sora_key_words(daemon->self.identity.root, words);
        reply.studio = daemon->self.identity.studio;
        reply.words = words;
        reply.root_public = rows[0].root_public;
        reply.n_members = count;
        reply.members = list;
        message.body_case = FARM__MESSAGE__BODY_FARM_MEMBERS_REPLY;
        message.farm_members_reply = &reply;
        rc = daemon->post.reply(daemon, origin, &message, NULL, 0, fault);
    }
    free(rows);
    free(list);
    return rc;
}

void farm_request(struct sora_daemon *daemon, const struct sora_origin *origin,
                  const Farm__Message *message, sora_time now)
{
    struct sora_fault fault = {0};
    int rc = SORA_E_INTERNAL;
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_FARM_INIT:
        rc = farm_init(daemon, origin, message->farm_init, &fault);
        break;
    case FARM__MESSAGE__BODY_FARM_INVITE:
        rc = farm_invite(daemon, origin, message->farm_invite, &fault);
        break;
    case FARM__MESSAGE__BODY_FARM_JOIN:
        join_start(daemon, origin, message->farm_join->code, now);
        return;
    case FARM__MESSAGE__BODY_FARM_MEMBERS:
        rc = farm_members(daemon, origin, now, &fault);
        break;
    case FARM__MESSAGE__BODY_FARM_REVOKE:
        rc = farm_revoke(daemon, origin, message->farm_revoke, now, &fault);
        break;
    default:
        break;
    }
    if (rc) {
        sora_fault_set(&fault, rc, "%s", sora_error_text(rc));
        sora_post_refuse(&daemon->post, origin, &fault);
    }
}
