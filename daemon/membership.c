/*
 * Membership as this daemon knows it: loaded, merged with what members tell, admitted to the link,
 * ended, renewed, told on. Whatever arrives is verified against the trusted roots first, so members
 * only carry certificates and lists, and vouch for nothing.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_SECONDS 60
#define FILE_BYTES_MAX ((size_t)4 << 20)

/* ---- files ---- */

struct sora_members_packing membership_packing(struct sora_daemon *daemon, bool with_own)
{
    return (struct sora_members_packing){
        .members = &daemon->members,
        .trust = daemon->trust,
        .own = with_own ? &daemon->self.certificate : NULL,
        .own_node = daemon->self.identity.node,
        .own_places = daemon->own_places,
        .own_place_count = daemon->own_place_count,
    };
}

int membership_keep(struct sora_daemon *daemon, struct sora_keep *keep)
{
    const struct sora_members_packing packing = membership_packing(daemon, false);
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, FILE_BYTES_MAX);
    int rc = sora_members_pack(&packing, &bytes);
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, "members", bytes.data, bytes.size);
    sora_bytes_clear(&bytes);
    if (rc == SORA_OK)
        rc = sora_issued_pack(&daemon->issued, &bytes);
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, "issued", bytes.data, bytes.size);
    sora_bytes_fini(&bytes);
    return rc;
}

static void saved(void *context, const struct sora_fault *fault)
{
    struct sora_daemon *daemon = context;
    daemon->saving = false;
    if (fault->code) {
        daemon->dirty = true;
        sora_log(SORA_LOG_WARN, "the members file was not written, trying again: %s", fault->text);
    }
}

static void save(struct sora_daemon *daemon)
{
    struct sora_keep *keep = sora_keep_create(&daemon->state, saved, daemon);
    if (keep && membership_keep(daemon, keep) == SORA_OK &&
        sora_keep_post(&keep, daemon->disk) == SORA_OK) {
        daemon->saving = true;
        daemon->dirty = false;
    }
    sora_keep_destroy(&keep);
}

/* Reads a file of the state; one that is not there is empty. */
static int read_file(struct sora_daemon *daemon, const char *name, struct sora_bytes *out_bytes,
                     struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_fault inner = {0};
    int rc = sora_file_read(sora_state_path(&daemon->state, name, path), FILE_BYTES_MAX, out_bytes,
                            &inner);
    if (rc == SORA_E_NOT_FOUND)
        return SORA_OK;
    return rc ? sora_fault_set(fault, rc, "%s", inner.text) : SORA_OK;
}

static int load_members(struct sora_daemon *daemon, struct sora_fault *fault)
{
    struct sora_bytes bytes;
    struct sora_message *message = NULL;
    int rc = read_file(daemon, "members", &bytes, fault);
    if (rc == SORA_OK && bytes.size > 0) {
        struct sora_fault inner = {0};
        rc = sora_message_decode_as(&farm__members__descriptor, bytes.data, bytes.size, true,
                                    &message, &inner);
        if (rc)
            sora_fault_set(fault, rc,
                           "%s/members is damaged (%s); remove it, members that dial "
                           "this node are found again",
                           daemon->state.directory, inner.text);
    }
    if (rc == SORA_OK && message)
        membership_merge(daemon, (const Farm__Members *)message->any, NULL, sora_clock_now());
    sora_message_destroy(&message);
    sora_bytes_fini(&bytes);
    return rc;
}

static int load_issued(struct sora_daemon *daemon, struct sora_fault *fault)
{
    struct sora_bytes bytes;
    int rc = read_file(daemon, "issued", &bytes, fault);
    if (rc == SORA_OK && bytes.size > 0)
        rc = sora_issued_unpack(&daemon->issued, bytes.data, bytes.size, sora_clock_wall_ms(),
                                fault);
    sora_bytes_fini(&bytes);
    return rc;
}

static int load_names(struct sora_daemon *daemon, struct sora_fault *fault)
{
    struct sora_bytes bytes;
    int rc = read_file(daemon, "invites.names", &bytes, fault);
    if (rc == SORA_OK && bytes.size > 0)
        sora_names_unpack(&daemon->names, (const char *)bytes.data);
    sora_bytes_fini(&bytes);
    return rc;
}

int membership_open(struct sora_daemon *daemon, struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    int rc = sora_trust_create(&daemon->trust);
    if (rc == SORA_OK)
        rc = sora_trust_add_root(daemon->trust, sora_key_public(daemon->self.local));
    if (rc == SORA_OK)
        rc = sora_trust_add_root(daemon->trust, daemon->self.identity.root);
    if (rc == SORA_OK)
        rc = sora_invites_load(sora_state_path(&daemon->state, "invites", path), &daemon->invites,
                               fault);
    if (rc == SORA_OK)
        rc = load_names(daemon, fault);
    if (rc == SORA_OK)
        rc = load_issued(daemon, fault);
    if (rc == SORA_OK)
        rc = load_members(daemon, fault);
    daemon->dirty = false;
    return rc;
}

void membership_finish(struct sora_daemon *daemon)
{
    if (daemon->dirty && daemon->disk)
        save(daemon);
}

void membership_close(struct sora_daemon *daemon)
{
    sora_members_fini(&daemon->members);
    sora_issued_fini(&daemon->issued);
    sora_invites_destroy(&daemon->invites);
    sora_invite_fini(&daemon->joining.invite);
    sora_trust_destroy(&daemon->trust);
}

/* ---- who is in and who is out ---- */

void membership_admit(struct sora_daemon *daemon, struct sora_member *member, sora_time now)
{
    if (!member->presence.heard_at)
        member->presence.heard_at = now; /* silence is counted from here */
    if (!daemon->link)                   /* before the start: membership_admit_all follows */
        return;
    if (sora_link_admit(daemon->link, &member->identity) != SORA_OK)
        sora_log(SORA_LOG_WARN, "a member cannot be admitted, the link is full name=%s",
                 member->identity.name);
    peers_learned(daemon, member, now);
}

void membership_admit_all(struct sora_daemon *daemon, sora_time now)
{
    for (int i = 0; i < daemon->members.count; i++) {
        if (!daemon->members.rows[i].out)
            membership_admit(daemon, &daemon->members.rows[i], now);
    }
}

static void expel(struct sora_daemon *daemon, struct sora_member *member, const char *reason)
{
    member->out = true;
    daemon->dirty = true;
    sora_log(SORA_LOG_INFO, "a member left name=%s: %s", member->identity.name, reason);
    if (!daemon->link)
        return;
    sora_link_dismiss(daemon->link, member->identity.node);
    parts_member_left(daemon->parts, member->identity.node);
}

void membership_sweep(struct sora_daemon *daemon, sora_time now)
{
    uint64_t wall_now_ms = sora_clock_wall_ms();
    daemon->sweep_at = now + SWEEP_SECONDS * SORA_TIME_SECOND;
    for (int i = 0; i < daemon->members.count; i++) {
        struct sora_member *member = &daemon->members.rows[i];
        struct sora_fault fault = {0};
        if (!member->out &&
            sora_trust_check(daemon->trust, &member->identity, 0, wall_now_ms, &fault) != SORA_OK)
            expel(daemon, member, fault.text);
    }
}

int membership_put(struct sora_daemon *daemon, const struct sora_certificate *certificate,
                   const struct sora_identity *identity, bool *out_changed, sora_time now)
{
    int rc = sora_members_put(&daemon->members, certificate, identity, out_changed);
    if (rc)
        sora_log(SORA_LOG_WARN, "a member was not taken in name=%s: %s", identity->name,
                 sora_error_text(rc));
    if (rc == SORA_OK && *out_changed) {
        daemon->dirty = true;
        membership_admit(daemon, sora_members_find(&daemon->members, identity->node), now);
    }
    return rc;
}

int membership_take_own(struct sora_daemon *daemon, const struct sora_certificate *certificate,
                        struct sora_fault *fault)
{
    unsigned char before[SORA_KEY_PUBLIC_SIZE];
    memcpy(before, daemon->self.identity.root, sizeof(before));
    int rc = sora_self_take(&daemon->self, certificate, fault);
    if (rc == SORA_OK)
        rc = sora_trust_add_root(daemon->trust, daemon->self.identity.root);
    if (rc)
        return rc;
    if (memcmp(before, daemon->self.identity.root, sizeof(before)) != 0 &&
        memcmp(before, sora_key_public(daemon->self.local), sizeof(before)) != 0)
        sora_trust_remove_root(daemon->trust, before);
    if (daemon->link)
        sora_link_set_certificate(daemon->link, certificate);
    return SORA_OK;
}

/* ---- merging ---- */

static bool is_self(const struct sora_daemon *daemon, const unsigned char *node)
{
    return memcmp(node, daemon->self.identity.node, SORA_NODE_ID_SIZE) == 0;
}

static void own_renewed(void *context, const struct sora_fault *fault)
{
    (void)context;
    if (fault->code)
        sora_log(SORA_LOG_WARN, "the renewed certificate was not written: %s", fault->text);
}

/* The studio has renewed our certificate. */
static void take_renewed(struct sora_daemon *daemon, const struct sora_certificate *certificate,
                         const struct sora_identity *identity)
{
    if (identity->wall_not_after_ms <= daemon->self.identity.wall_not_after_ms ||
        memcmp(identity->root, daemon->self.identity.root, SORA_KEY_PUBLIC_SIZE) != 0 ||
        membership_take_own(daemon, certificate, NULL) != SORA_OK)
        return;
    struct sora_keep *keep = sora_keep_create(&daemon->state, own_renewed, daemon);
    sora_log(SORA_LOG_INFO, "our certificate was renewed by the studio studio=%s",
             identity->studio);
    if (keep && sora_keep_add_certificate(keep, "certificate", certificate) == SORA_OK &&
        sora_keep_add_certificate(keep, "ctl/server.certificate", certificate) == SORA_OK)
        sora_keep_post(&keep, daemon->disk);
    sora_keep_destroy(&keep);
}

static bool merge_certificates(struct sora_daemon *daemon, const Farm__Members *told, sora_time now)
{
    bool changed = false;
    for (size_t i = 0; i < told->n_certificates; i++) {
        struct sora_certificate certificate;
        struct sora_identity identity;
        bool news = false;
        if (sora_certificate_get(told->certificates[i], &certificate, NULL) != SORA_OK ||
            sora_trust_verify(daemon->trust, &certificate, 0, sora_clock_wall_ms(), &identity,
                              NULL) != SORA_OK)
            continue; /* of another studio, revoked or past its date: none of ours */
        if (is_self(daemon, identity.node))
            take_renewed(daemon, &certificate, &identity);
        else if (memcmp(identity.node, daemon->self.user.node, SORA_NODE_ID_SIZE) != 0)
            membership_put(daemon, &certificate, &identity, &news, now);
        changed |= news;
    }
    return changed;
}

static bool merge_places(struct sora_daemon *daemon, const Farm__Members *told,
                         const struct sora_identity *from, sora_time now)
{
    bool changed = false;
    for (size_t i = 0; i < told->n_places; i++) {
        const Farm__MemberPlace *place = told->places[i];
        struct sora_member *member = sora_members_find(&daemon->members, place->node.data);
        if (!member || member->out)
            continue;
        bool own = from && memcmp(from->node, place->node.data, SORA_NODE_ID_SIZE) == 0;
        if (!own && member->presence.up_count > 0)
            continue; /* it has told us itself */
        if (sora_members_place(member, place->endpoints, place->n_endpoints, own)) {
            changed = true;
            peers_learned(daemon, member, now);
        }
    }
    return changed;
}

void membership_merge(struct sora_daemon *daemon, const Farm__Members *told,
                      const struct sora_identity *from, sora_time now)
{
    bool revoked = false;
    for (size_t i = 0; i < told->n_revocations; i++)
        revoked |= sora_trust_apply(daemon->trust, told->revocations[i], NULL) == SORA_OK;
    if (revoked)
        membership_sweep(daemon, now);
    bool changed = merge_certificates(daemon, told, now);
    changed |= merge_places(daemon, told, from, now);
    if (!changed && !revoked)
        return;
    daemon->dirty = true;
    /* Only news travel on, so telling ends. */
    if (daemon->link && from)
        membership_spread(daemon);
}

/* ---- telling ---- */

static void send_wire(struct sora_daemon *daemon, sora_peer peer, struct sora_members_wire *wire)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    struct sora_fault fault = {0};
    message.body_case = FARM__MESSAGE__BODY_MEMBERS;
    message.members = sora_members_wire_get(wire);
    int rc = sora_link_send(daemon->link, peer, &message, NULL, 0, &fault);
    if (rc && rc != SORA_E_NOT_FOUND)
        sora_log(SORA_LOG_WARN, "members were not told: %s",
                 fault.text[0] ? fault.text : sora_error_text(rc));
}

void membership_send(struct sora_daemon *daemon, sora_peer peer)
{
    const struct sora_members_packing packing = membership_packing(daemon, true);
    struct sora_members_wire *wire = NULL;
    if (sora_members_wire_create(&packing, &wire) == SORA_OK)
        send_wire(daemon, peer, wire);
    sora_members_wire_free(&wire);
}

void membership_spread(struct sora_daemon *daemon)
{
    const struct sora_members_packing packing = membership_packing(daemon, true);
    struct sora_members_wire *wire = NULL;
    if (sora_members_wire_create(&packing, &wire) != SORA_OK)
        return;
    for (int i = 0; i < daemon->members.count; i++) {
        const struct sora_member *member = &daemon->members.rows[i];
        if (member->presence.up_count > 0 && !member->out)
            send_wire(daemon, member->presence.ups[0], wire);
    }
    sora_members_wire_free(&wire);
}

/* ---- from time to time ---- */

/* The studio's key is here: certificates that end soon are issued anew, roles and names as they
 * were. The old ones stay in `issued`, so that a revocation names them too. */
static bool renew_members(struct sora_daemon *daemon, const struct sora_key *root, sora_time now)
{
    uint64_t wall_now_ms = sora_clock_wall_ms();
    bool renewed = false;
    for (int i = 0; i < daemon->members.count; i++) {
        struct sora_identity identity = daemon->members.rows[i].identity;
        struct sora_certificate fresh;
        bool changed;
        if (daemon->members.rows[i].out ||
            memcmp(identity.root, sora_key_public(root), SORA_KEY_PUBLIC_SIZE) != 0 ||
            identity.wall_not_after_ms > wall_now_ms + SORA_RENEW_MS)
            continue;
        identity.wall_not_after_ms = wall_now_ms + SORA_CERTIFICATE_LIFETIME_MS;
        if (sora_certificate_issue(root, &identity, &fresh, NULL) == SORA_OK &&
            sora_issued_add(&daemon->issued, &fresh, wall_now_ms) == SORA_OK &&
            sora_certificate_read(&fresh, &identity, NULL) == SORA_OK &&
            membership_put(daemon, &fresh, &identity, &changed, now) == SORA_OK)
            renewed = true;
    }
    return renewed;
}

static void renew(struct sora_daemon *daemon, sora_time now)
{
    const struct sora_key *root = sora_self_root(&daemon->self);
    uint64_t wall_soon_ms = sora_clock_wall_ms() + SORA_RENEW_MS;
    struct sora_certificate fresh;
    struct sora_identity identity;
    if (root && daemon->self.identity.wall_not_after_ms < wall_soon_ms &&
        sora_self_issue(&daemon->self, root, daemon->self.identity.studio, &fresh, NULL) ==
            SORA_OK &&
        sora_certificate_read(&fresh, &identity, NULL) == SORA_OK) {
        take_renewed(daemon, &fresh, &identity);
        membership_spread(daemon);
    }
    if (root && renew_members(daemon, root, now))
        membership_spread(daemon);
    if (daemon->self.user.wall_not_after_ms < wall_soon_ms &&
        sora_self_issue_user(&daemon->self, &fresh, NULL) == SORA_OK) {
        struct sora_keep *keep = sora_keep_create(&daemon->state, own_renewed, daemon);
        sora_link_admit(daemon->link, &daemon->self.user);
        if (keep && sora_keep_add_certificate(keep, "ctl/certificate", &fresh) == SORA_OK)
            sora_keep_post(&keep, daemon->disk);
        sora_keep_destroy(&keep);
    }
}

void membership_step(struct sora_daemon *daemon, sora_time now)
{
    if (now >= daemon->sweep_at) {
        membership_sweep(daemon, now);
        renew(daemon, now);
        if (!sora_self_root(&daemon->self) &&
            daemon->self.identity.wall_not_after_ms < sora_clock_wall_ms())
            sora_log(SORA_LOG_ERROR, "our certificate has expired; join the studio again");
    }
    if (daemon->dirty && !daemon->saving && !daemon->changing)
        save(daemon);
    join_step(daemon, now);
}

sora_time membership_deadline(const struct sora_daemon *daemon)
{
    sora_time join = join_deadline(daemon);
    return join < daemon->sweep_at ? join : daemon->sweep_at;
}
