/*
 * Inside daemon/: the daemon's struct, and what its files do for each other. The thread and the
 * blocking rules are those of daemon/daemon.h.
 */
#ifndef SORA_DAEMON_DAEMON_PARTS_H
#define SORA_DAEMON_DAEMON_PARTS_H

#include "base/tasks.h"
#include "daemon/added_models.h"
#include "daemon/beacon.h"
#include "daemon/daemon.h"
#include "daemon/door.h"
#include "daemon/identity.h"
#include "daemon/keep.h"
#include "daemon/mail.h"
#include "daemon/members.h"
#include "daemon/names.h"
#include "daemon/parts.h"

#define SORA_OWN_PLACES_MAX SORA_PLACES_MAX

/* A request that is answered later. */
struct sora_late {
    sora_peer peer;
    uint64_t id;
};

/* `farm join` under way at the guest. */
struct sora_joining {
    bool active;
    struct sora_late late;
    struct sora_invite invite;
    struct sora_join join;
    int endpoint; /* of the invite, being tried */
    sora_peer peer;
    sora_time retry_at, deadline; /* retry_at 0: an answer is awaited */
    struct sora_fault fault;      /* why the last try failed */
};

struct sora_daemon {
    const struct sora_config *config;
    struct sora_state state;
    struct sora_self self;
    struct sora_trust *trust;
    struct sora_link *link;
    struct sora_tasks *disk, *digests;
    uint64_t boot;
    char endpoint[SORA_ADDRESS_SIZE]; /* the local user's */
    char own_places[SORA_OWN_PLACES_MAX][SORA_PLACE_SIZE];
    int own_place_count;

    /* Membership. */
    struct sora_members members;
    struct sora_issued issued;
    struct sora_invites *invites;
    struct sora_names names; /* of their guests */
    struct sora_joining joining;
    bool changing;      /* a change of the membership is being written */
    bool dirty, saving; /* the members file */
    sora_time sweep_at, refused_at;

    struct sora_post post;
    struct sora_mail *mail;
    struct sora_beacon *beacon; /* NULL when off */
    struct sora_door door;
    sora_time door_at;
    struct sora_late doctor; /* waits for the door's test; peer and id 0: nobody does */
    bool doctor_waits;
    struct sora_parts *parts;
    struct sora_added_models added; /* by `soractl models add` */

    /* Draining. */
    bool draining;
    int drain_tasks;
    sora_time drain_at; /* of the last change */
};

/* ---- post_office.c: the daemon's struct sora_post ---- */

void post_open(struct sora_daemon *daemon);
void post_reply_late(struct sora_daemon *daemon, const struct sora_late *late,
                     Farm__Message *message);
void post_refuse_late(struct sora_daemon *daemon, const struct sora_late *late,
                      const struct sora_fault *fault);

/* ---- dispatch.c ---- */

/* Hands a received message to whom it is for, or refuses it. */
void dispatch_message(struct sora_daemon *daemon, const struct sora_origin *origin,
                      const Farm__Message *message, const void *payload, size_t payload_size,
                      sora_time now);

/* ---- peers.c: who is connected, and dialing ---- */

void peers_up(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now);
void peers_down(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now);
void peers_learned(struct sora_daemon *daemon, struct sora_member *member, sora_time now);
/* Whosever turn it is: after a join only the guest knows where the others are. */
void peers_dial_now(struct sora_daemon *daemon, sora_time now);
void peers_step(struct sora_daemon *daemon, sora_time now);
sora_time peers_deadline(const struct sora_daemon *daemon);
/* Endpoints of ours that others may reach on `port`; returns how many. */
int peers_own_places(const struct sora_daemon *daemon, const char *endpoint,
                     char out_places[SORA_OWN_PLACES_MAX][SORA_PLACE_SIZE]);

/* ---- membership.c ---- */

int membership_open(struct sora_daemon *daemon, struct sora_fault *fault);
/* Hands what is not yet written to the disk's thread. */
void membership_finish(struct sora_daemon *daemon);
void membership_close(struct sora_daemon *daemon);
/* Lets a member of the table connect. */
void membership_admit(struct sora_daemon *daemon, struct sora_member *member, sora_time now);
/* Admits all members that verify. */
void membership_admit_all(struct sora_daemon *daemon, sora_time now);
/* What `from` tells of members (NULL: found on disk or in a reply to a join). */
void membership_merge(struct sora_daemon *daemon, const Farm__Members *told,
                      const struct sora_identity *from, sora_time now);
/* Puts a verified certificate in the table and admits its node. Errors: FULL, MEMORY. */
int membership_put(struct sora_daemon *daemon, const struct sora_certificate *certificate,
                   const struct sora_identity *identity, bool *out_changed, sora_time now);
/* Ends the membership of those that no longer verify. */
void membership_sweep(struct sora_daemon *daemon, sora_time now);
void membership_send(struct sora_daemon *daemon, sora_peer peer);
void membership_spread(struct sora_daemon *daemon);
void membership_step(struct sora_daemon *daemon, sora_time now);
sora_time membership_deadline(const struct sora_daemon *daemon);
/* What the wire and the members file hold. */
struct sora_members_packing membership_packing(struct sora_daemon *daemon, bool with_own);
/* Adds the members file and the issued file as they are now. */
int membership_keep(struct sora_daemon *daemon, struct sora_keep *keep);
/* A new certificate of ours is in force from now on: greets with it, trusts its root. */
int membership_take_own(struct sora_daemon *daemon, const struct sora_certificate *certificate,
                        struct sora_fault *fault);

/* ---- farm_requests.c, join.c ---- */

void farm_request(struct sora_daemon *daemon, const struct sora_origin *origin,
                  const Farm__Message *message, sora_time now);
/* What came on the invite channel, a DOWN included. */
void join_event(struct sora_daemon *daemon, const struct sora_link_event *event, sora_time now);
void join_start(struct sora_daemon *daemon, const struct sora_origin *origin, const char *code,
                sora_time now);
void join_step(struct sora_daemon *daemon, sora_time now);
sora_time join_deadline(const struct sora_daemon *daemon);
/* FULL-like refusal of a second change while one is written. */
bool farm_is_changing(struct sora_daemon *daemon, struct sora_fault *fault);
/* Adds the book and the names of its guests. */
int farm_keep_invites(struct sora_daemon *daemon, struct sora_keep *keep);
/* Posts the keep, with the daemon marked as changing; on error everything is undone and `keep` is
 * destroyed. */
int farm_change(struct sora_daemon *daemon, struct sora_keep **keep, struct sora_fault *fault);

/* ---- requests.c, model_requests.c, doctor.c ---- */

void request_message(struct sora_daemon *daemon, const struct sora_origin *origin,
                     const Farm__Message *message, sora_time now);
void request_advert(struct sora_daemon *daemon, const struct sora_origin *origin,
                    const Farm__Advert *advert);
void doctor_start(struct sora_daemon *daemon, const struct sora_origin *origin);
/* What the member's daemon said last; NULL: nothing yet. */
const Farm__Advert *request_advert_of(const struct sora_member *member);
/* Answers with the message, or for an `rc` other than 0 with a refusal. */
void request_answer(struct sora_daemon *daemon, const struct sora_late *late,
                    Farm__Message *message, int rc);
/* Lists models, after adding or removing one if asked. Errors are for the asker. */
int request_models(struct sora_daemon *daemon, const struct sora_origin *origin,
                   const Farm__Models *models, struct sora_fault *fault);
/* The door's test has ended: answers who waits for it. */
void doctor_answer(struct sora_daemon *daemon);

#endif
