/*
 * A home with its real store and blob store, members that speak the wire's messages, and a clock of
 * its own. The transfer is scripted (home_transfer.h). Single-threaded tests only; home_open first.
 */
#ifndef SORA_TESTS_UNIT_HOME_FIXTURE_H
#define SORA_TESTS_UNIT_HOME_FIXTURE_H

#include "scheduler/home_parts.h"
#include "tests/unit/home_transfer.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OAK, BROOK, REED, ANNA, MALLORY, MEMBERS }; /* home, nodes, user, user of another studio */

struct member {
    struct sora_key *sign;
    struct sora_certificate certificate;
    struct sora_identity identity;
};
struct sent {
    int to; /* member */
    bool reply, taken;
    uint64_t reply_to;
    struct sora_message *message;
};

static struct member members[MEMBERS];
static struct sora_key *roots[2];
static struct sora_trust *trust;
static struct sora_post post;
static struct sora_tasks *blob_tasks;
static struct sora_store *store;
static struct sora_home *home;
static sora_time now;
static struct sent sent[8192];
static size_t sent_count;
static uint64_t said;

/* ---- members ---- */

static inline void make_member(int index, struct sora_key *root, const char *name, uint32_t roles)
{
    struct member *member = &members[index];
    assert_int_equal(sora_key_create(SORA_KEY_SIGN, &member->sign, NULL), 0);
    struct sora_identity wanted = {.roles = roles,
                                   .wall_not_after_ms = sora_clock_wall_ms() + 86400000};
    memcpy(wanted.node, sora_key_public(member->sign), sizeof(wanted.node));
    sora_key_random(wanted.curve, sizeof(wanted.curve));
    snprintf(wanted.name, sizeof(wanted.name), "%s", name);
    snprintf(wanted.studio, sizeof(wanted.studio), "studio");
    assert_int_equal(sora_certificate_issue(root, &wanted, &member->certificate, NULL), 0);
    assert_int_equal(sora_certificate_read(&member->certificate, &member->identity, NULL), 0);
}

static inline int member_of(const unsigned char node[SORA_NODE_ID_SIZE])
{
    for (int i = 0; i < MEMBERS; i++) {
        if (memcmp(members[i].identity.node, node, SORA_NODE_ID_SIZE) == 0)
            return i;
    }
    fail_msg("a message to nobody");
    return -1;
}

/* As the link does: checked by all rules, packed and unpacked. */
static inline struct sora_message *over_the_wire(Farm__Message *message)
{
    struct sora_fault fault = {0};
    struct sora_message *copy = NULL;
    size_t size;
    message->id = ++said;
    if (sora_message_size(message, &size, &fault))
        fail_msg("%s", fault.text);
    unsigned char *bytes = malloc(size ? size : 1);
    sora_message_encode(message, bytes);
    if (sora_message_decode(bytes, size, &copy, &fault))
        fail_msg("%s", fault.text);
    free(bytes);
    return copy;
}

static inline int keep_sent(int to, bool reply, uint64_t reply_to, Farm__Message *message)
{
    assert_true(sent_count < sizeof(sent) / sizeof(sent[0]));
    sent[sent_count++] = (struct sent){
        .to = to, .reply = reply, .reply_to = reply_to, .message = over_the_wire(message)};
    return SORA_OK;
}

static inline int post_send(void *owner, const unsigned char node[SORA_NODE_ID_SIZE],
                            Farm__Message *message, const void *payload, size_t payload_size,
                            struct sora_fault *fault)
{
    (void)owner, (void)payload, (void)payload_size, (void)fault;
    return keep_sent(member_of(node), false, 0, message);
}

static inline int post_reply(void *owner, const struct sora_origin *origin, Farm__Message *message,
                             const void *payload, size_t payload_size, struct sora_fault *fault)
{
    (void)owner, (void)payload, (void)payload_size, (void)fault;
    return keep_sent((int)origin->peer, true, origin->id, message);
}

static inline const char *post_name(void *owner, const unsigned char node[SORA_NODE_ID_SIZE])
{
    (void)owner;
    return members[member_of(node)].identity.name;
}

/* Hands a message of a member to the home; its id, which answers name. */
static inline uint64_t say(int member, Farm__Message *message)
{
    struct sora_message *copy = over_the_wire(message);
    struct sora_origin origin = {
        .peer = (sora_peer)member, .id = copy->farm->id, .identity = &members[member].identity};
    uint64_t id = origin.id;
    assert_true(sora_home_message(home, &origin, copy->farm, now));
    sora_message_destroy(&copy);
    return id;
}

/* The last answer to a message; NULL when there is none. */
static inline Farm__Message *answer_to(uint64_t id)
{
    for (size_t i = sent_count; i > 0; i--) {
        if (sent[i - 1].reply && sent[i - 1].reply_to == id)
            return sent[i - 1].message->farm;
    }
    return NULL;
}

/* ---- open and close ---- */

static inline void home_start(void)
{
    struct sora_fault fault = {0};
    char results[600];
    snprintf(results, sizeof(results), "%s", scratch_path("results"));
    const struct sora_home_params params = {.post = &post,
                                            .store = store,
                                            .blobs = blobs,
                                            .trust = trust,
                                            .sign = members[OAK].sign,
                                            .certificate = &members[OAK].certificate,
                                            .worker_program = "sora-worker",
                                            .results_directory = results,
                                            .checkpoint_steps = 2};
    if (sora_home_create(&params, &home, &fault))
        fail_msg("%s", fault.text);
}

static inline void stores_open(void)
{
    struct sora_fault fault = {0};
    assert_int_equal(sora_tasks_create("blobs", 256, &blob_tasks, &fault), 0);
    struct sora_blob_store_params params = {scratch_path("blobs"), 0, blob_tasks};
    assert_int_equal(sora_blob_store_open(&params, &blobs, &fault), 0);
    assert_int_equal(sora_store_open(scratch_path("home.db"), &store, &fault), 0);
}

static inline void stores_close(void)
{
    sora_store_close(&store);
    sora_blob_store_close(&blobs);
    sora_tasks_destroy(&blob_tasks);
}

static inline int home_open(void **state)
{
    assert_int_equal(scratch_setup(state), 0);
    now = sora_clock_now();
    for (int i = 0; i < 2; i++)
        assert_int_equal(sora_key_create(SORA_KEY_ROOT, &roots[i], NULL), 0);
    make_member(OAK, roots[0], "oak", SORA_ROLE_SCHEDULER | SORA_ROLE_NODE);
    make_member(BROOK, roots[0], "brook", SORA_ROLE_NODE);
    make_member(REED, roots[0], "reed", SORA_ROLE_NODE);
    make_member(ANNA, roots[0], "anna", SORA_ROLE_USER);
    make_member(MALLORY, roots[1], "mallory", SORA_ROLE_USER);
    assert_int_equal(sora_trust_create(&trust), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sora_trust_add_root(trust, members[i ? MALLORY : OAK].identity.root), 0);
    post = (struct sora_post){.send = post_send, .reply = post_reply, .name = post_name};
    memcpy(post.self, members[OAK].identity.node, sizeof(post.self));
    stores_open();
    home_start();
    return 0;
}

static inline int home_close(void **state)
{
    sora_home_destroy(&home);
    stores_close();
    for (size_t i = 0; i < sent_count; i++)
        sora_message_destroy(&sent[i].message);
    for (size_t i = 0; i < held_blob_count; i++)
        free(held_blobs[i].data);
    sent_count = held_blob_count = 0;
    for (int i = 0; i < MEMBERS; i++)
        sora_key_destroy(&members[i].sign);
    for (int i = 0; i < 2; i++)
        sora_key_destroy(&roots[i]);
    sora_trust_destroy(&trust);
    return scratch_teardown(state);
}

#endif
