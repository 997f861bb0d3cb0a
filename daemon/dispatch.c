/*
 * Dispatch: one row per kind of message says who may send it and which part it is for. What the
 * table does not name comes only in greetings and is refused.
 */
#include "base/log.h"
#include "daemon/daemon_parts.h"

#include <string.h>

enum receiver {
    TO_TRANSFER,
    TO_AGENT,
    TO_HOME,
    TO_MEMBERS,
    TO_FARM,    /* membership requests */
    TO_REQUEST, /* questions about this daemon */
    TO_ADVERT,  /* noted here, then the home's */
    TO_LOGS,    /* of a job the home's, else a request */
    TO_NOBODY,  /* an answer that nobody waits for */
};

#define NODE SORA_ROLE_NODE
#define HOME SORA_ROLE_SCHEDULER
#define USER SORA_ROLE_USER
#define ANY (NODE | HOME | USER)
#define ROW(body, to_, roles_)                                                                     \
    {                                                                                              \
        FARM__MESSAGE__BODY_##body, to_, roles_                                                    \
    }

struct row {
    int body_case;
    enum receiver to;
    uint32_t roles; /* the sender has one of them */
};

static const struct row rows[] = {
    ROW(REFUSAL, TO_TRANSFER, ANY),
    ROW(ACK, TO_NOBODY, ANY),
    ROW(BLOB_GET, TO_TRANSFER, ANY),
    ROW(BLOB_CHUNK, TO_TRANSFER, NODE | HOME),
    ROW(BLOB_HAVE, TO_TRANSFER, ANY),
    ROW(BLOB_HAVE_REPLY, TO_TRANSFER, NODE | HOME),

    ROW(MEMBERS, TO_MEMBERS, NODE | HOME),
    ROW(FARM_INIT, TO_FARM, USER),
    ROW(FARM_INVITE, TO_FARM, USER),
    ROW(FARM_JOIN, TO_FARM, USER),
    ROW(FARM_MEMBERS, TO_FARM, USER),
    ROW(FARM_REVOKE, TO_FARM, USER),
    ROW(NODES, TO_REQUEST, USER),
    ROW(MODELS, TO_REQUEST, USER),
    ROW(DOCTOR, TO_REQUEST, USER),
    ROW(LOGS, TO_LOGS, USER),

    ROW(SUBMIT, TO_HOME, USER),
    ROW(PLAN, TO_HOME, USER),
    ROW(STATUS, TO_HOME, USER),
    ROW(LIST, TO_HOME, USER),
    ROW(CANCEL, TO_HOME, USER),
    ROW(PAUSE, TO_HOME, USER),
    ROW(RESUME, TO_HOME, USER),
    ROW(ERASE, TO_HOME, USER),
    ROW(WATCH, TO_HOME, USER),
    ROW(FETCH, TO_HOME, USER),

    ROW(ADVERT, TO_ADVERT, NODE),
    ROW(LEASE_GRANT, TO_HOME, NODE),
    ROW(LEASE_RETURN, TO_HOME, NODE),
    ROW(SHARD_PROGRESS, TO_HOME, NODE),
    ROW(CHECKPOINT, TO_HOME, NODE),
    ROW(SEGMENT, TO_HOME, NODE),
    ROW(TEXT_ENCODED, TO_HOME, NODE),

    ROW(LEASE_OFFER, TO_AGENT, HOME),
    ROW(LEASE_RENEW, TO_AGENT, HOME),
    ROW(LEASE_REVOKE, TO_AGENT, HOME),
    ROW(SHARD_ASSIGN, TO_AGENT, HOME),
    ROW(CHECKPOINT_STORED, TO_AGENT, HOME),
    ROW(SEGMENT_STORED, TO_AGENT, HOME),
    ROW(TEXT_ENCODE, TO_AGENT, HOME),
    ROW(HALO, TO_AGENT, NODE),
    ROW(HALO_AT, TO_AGENT, NODE),
};

static const struct row *find_row(int body_case)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].body_case == body_case)
            return &rows[i];
    }
    return NULL;
}

/* Users of other studios may not ask here: roles say what, the root says where. */
static bool is_own_user(const struct sora_daemon *daemon, const struct sora_identity *identity)
{
    return memcmp(identity->root, sora_key_public(daemon->self.local), SORA_KEY_PUBLIC_SIZE) == 0 ||
           memcmp(identity->root, daemon->self.identity.root, SORA_KEY_PUBLIC_SIZE) == 0;
}

static bool may_send(const struct sora_daemon *daemon, const struct row *row,
                     const struct sora_identity *identity)
{
    bool allowed = row && (identity->roles & row->roles) != 0;
    return allowed && (row->roles != USER || is_own_user(daemon, identity));
}

/* Answers are not answered, so that two daemons never refuse each other's refusals. */
static void refuse(struct sora_daemon *daemon, const struct sora_origin *origin,
                   const Farm__Message *message, int code, const char *why, sora_time now)
{
    const struct sora_message_type *type = sora_message_type_find((int)message->body_case);
    struct sora_fault fault = {0};
    sora_fault_set(&fault, code, "%s: %s", type ? type->name : "message", why);
    if (now - daemon->refused_at > SORA_TIME_SECOND) { /* a member cannot fill the log */
        daemon->refused_at = now;
        sora_log(SORA_LOG_WARN, "a message was refused from=%s %s", origin->identity->name,
                 fault.text);
    }
    if (!message->reply_to)
        sora_post_refuse(&daemon->post, origin, &fault);
}

static bool deliver(struct sora_daemon *daemon, enum receiver to, const struct sora_origin *origin,
                    const Farm__Message *message, const void *payload, size_t payload_size,
                    sora_time now)
{
    struct sora_parts *parts = daemon->parts;
    switch (to) {
    case TO_TRANSFER:
        return parts_message(parts, SORA_PART_TRANSFER, origin, message, payload, payload_size,
                             now) ||
               message->reply_to;
    case TO_AGENT:
        return parts_message(parts, SORA_PART_AGENT, origin, message, payload, payload_size, now);
    case TO_ADVERT:
        request_advert(daemon, origin, message->advert);
        parts_message(parts, SORA_PART_HOME, origin, message, payload, payload_size, now);
        return true;
    case TO_LOGS:
        if (message->logs->job)
            return parts_message(parts, SORA_PART_HOME, origin, message, NULL, 0, now);
        request_message(daemon, origin, message, now);
        return true;
    case TO_HOME:
        return parts_message(parts, SORA_PART_HOME, origin, message, payload, payload_size, now);
    case TO_MEMBERS:
        membership_merge(daemon, message->members, origin->identity, now);
        return true;
    case TO_FARM:
        farm_request(daemon, origin, message, now);
        return true;
    case TO_REQUEST:
        request_message(daemon, origin, message, now);
        return true;
    case TO_NOBODY:
        return true;
    }
    return false;
}

void dispatch_message(struct sora_daemon *daemon, const struct sora_origin *origin,
                      const Farm__Message *message, const void *payload, size_t payload_size,
                      sora_time now)
{
    const struct row *row = find_row((int)message->body_case);
    struct sora_member *member = sora_members_find(&daemon->members, origin->identity->node);
    if (member)
        member->presence.heard_at = now;
    if (!may_send(daemon, row, origin->identity))
        refuse(daemon, origin, message, SORA_E_DENIED, "the sender has not the role for it", now);
    else if (!deliver(daemon, row->to, origin, message, payload, payload_size, now))
        refuse(daemon, origin, message, SORA_E_UNSUPPORTED, "this daemon has not the role for it",
               now);
}
