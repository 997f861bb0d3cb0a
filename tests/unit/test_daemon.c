/* Daemons that invite, join, find each other again and revoke, over real links on loopback. */
#include "base/clock.h"
#include "tests/unit/daemon_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

static int setup(void **state)
{
    box_count = 0;
    return scratch_setup(state);
}

static int teardown(void **state)
{
    for (int i = 0; i < BOXES_MAX; i++)
        box_stop(&boxes[i]);
    return scratch_teardown(state);
}

static struct box *start(const char *name)
{
    struct box *box = &boxes[box_count++];
    assert_int_equal(box_start(box, name, "scheduler"), SORA_OK);
    return box;
}

static const Farm__Message *ask_members(struct box *box)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmMembers request = FARM__FARM_MEMBERS__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_MEMBERS;
    message.farm_members = &request;
    const Farm__Message *answer = box_ask(box, &message);
    assert_non_null(answer);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_FARM_MEMBERS_REPLY);
    return answer;
}

/* An invite's code; to be freed. */
static char *invite(struct box *box, const char *name, uint32_t uses)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmInvite request = FARM__FARM_INVITE__INIT;
    request.name = (char *)(uintptr_t)name;
    request.uses = uses;
    request.lifetime_s = 3600;
    message.body_case = FARM__MESSAGE__BODY_FARM_INVITE;
    message.farm_invite = &request;
    const Farm__Message *answer = box_ask(box, &message);
    assert_non_null(answer);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_FARM_INVITE_REPLY);
    return strdup(answer->farm_invite_reply->code);
}

static const Farm__Message *join(struct box *box, const char *code)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmJoin request = FARM__FARM_JOIN__INIT;
    request.code = (char *)(uintptr_t)code;
    message.body_case = FARM__MESSAGE__BODY_FARM_JOIN;
    message.farm_join = &request;
    return box_ask(box, &message);
}

static const Farm__Message *ask_revoke(struct box *box, const char *name)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmRevoke request = FARM__FARM_REVOKE__INIT;
    request.name = (char *)(uintptr_t)name;
    message.body_case = FARM__MESSAGE__BODY_FARM_REVOKE;
    message.farm_revoke = &request;
    return box_ask(box, &message);
}

static int up_count(const struct box *box)
{
    int up = 0;
    for (int i = 0; i < box->daemon->members.count; i++)
        up += box->daemon->members.rows[i].presence.up_count > 0;
    return up;
}

/* Whether `box` has been told where `other` listens now. */
static bool knows_place(const struct box *box, const struct box *other)
{
    const struct sora_member *member =
        sora_members_find(&box->daemon->members, other->daemon->post.self);
    return box == other || (member && member->place_count == 1 &&
                            strcmp(member->places[0], other->daemon->own_places[0]) == 0);
}

/* Everybody sees everybody, and knows where they are. */
static bool all_up(void)
{
    for (int i = 0; i < box_count; i++) {
        if (up_count(&boxes[i]) != box_count - 1)
            return false;
        for (int k = 0; k < box_count; k++) {
            if (!knows_place(&boxes[i], &boxes[k]))
                return false;
        }
    }
    return true;
}

static void join_as_member(struct box *host, struct box *guest, const char *name)
{
    char *code = invite(host, name, 1);
    const Farm__Message *answer = join(guest, code);
    free(code);
    assert_non_null(answer);
    if (answer->body_case == FARM__MESSAGE__BODY_REFUSAL)
        fail_msg("%s", answer->refusal->text);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_ACK);
}

static void a_fresh_daemon_serves_its_user(void **state)
{
    (void)state;
    const Farm__Message *answer = ask_members(start("brook"));
    assert_int_equal(answer->farm_members_reply->n_members, 1);
    assert_string_equal(answer->farm_members_reply->members[0]->name, "brook");
    assert_string_equal(answer->farm_members_reply->studio, "brook");
}

static void three_daemons_find_each_other(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath"), *fen = start("fen");
    join_as_member(brook, heath, "");
    join_as_member(brook, fen, "mill"); /* the invite says what it is called */
    assert_true(boxes_run(0, all_up));
    const Farm__Message *answer = ask_members(heath);
    assert_int_equal(answer->farm_members_reply->n_members, 3);
    assert_string_equal(answer->farm_members_reply->studio, "brook");
    bool named = false;
    for (size_t i = 0; i < 3; i++) {
        assert_true(answer->farm_members_reply->members[i]->connected);
        named |= strcmp(answer->farm_members_reply->members[i]->name, "mill") == 0;
    }
    assert_true(named);
}

static void a_code_works_once(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath"), *fen = start("fen");
    char *code = invite(brook, "", 1);
    assert_int_equal(join(heath, code)->body_case, FARM__MESSAGE__BODY_ACK);
    const Farm__Message *answer = join(fen, code);
    free(code);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(answer->refusal->code, SORA_E_DENIED);
    assert_int_equal(sora_members_count(&brook->daemon->members), 1);
    assert_int_equal(sora_members_count(&fen->daemon->members), 0);
}

static sora_time revoked_at;

static bool fen_is_out(void)
{
    return up_count(&boxes[0]) == 1 && up_count(&boxes[1]) == 1 && up_count(&boxes[2]) == 0;
}

static void a_revoked_member_is_out_within_a_second(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath"), *fen = start("fen");
    join_as_member(brook, heath, "");
    join_as_member(brook, fen, "");
    assert_true(boxes_run(0, all_up));
    revoked_at = sora_clock_now();
    assert_int_equal(ask_revoke(brook, "fen")->body_case, FARM__MESSAGE__BODY_ACK);
    assert_true(boxes_run(0, fen_is_out));
    assert_in_range(sora_clock_now() - revoked_at, 0, SORA_TIME_SECOND);
    /* It stays out: its own dialing is refused, for the old and for a renewed certificate. */
    assert_false(boxes_run(1500, all_up));
    assert_true(fen_is_out());
    assert_int_equal(sora_members_count(&heath->daemon->members), 1);
    /* Only who holds the studio's key may do this. */
    const Farm__Message *answer = ask_revoke(heath, "brook");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(answer->refusal->code, SORA_E_DENIED);
    answer = ask_revoke(brook, "nobody");
    assert_int_equal(answer->refusal->code, SORA_E_NOT_FOUND);
}

static void membership_survives_a_restart(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    for (int i = 0; i < 2; i++) {
        box_stop(&boxes[i]);
        assert_int_equal(box_start(&boxes[i], i ? "heath" : "brook", "scheduler"), SORA_OK);
        /* Its ports are others now, so the address that the other has of it is wrong. */
        assert_true(boxes_run(0, all_up));
    }
    assert_string_equal(heath->daemon->self.identity.studio, "brook");
    assert_int_equal(ask_members(brook)->farm_members_reply->n_members, 2);
}

static uint64_t renewal_ms(const struct box *box)
{
    return box->daemon->self.identity.wall_not_after_ms;
}

static uint64_t soon_ms;

static bool both_are_renewed(void)
{
    return renewal_ms(&boxes[0]) > soon_ms && renewal_ms(&boxes[1]) > soon_ms &&
           boxes[1].daemon->members.rows[0].identity.wall_not_after_ms > soon_ms;
}

static void certificates_are_renewed_and_revoked_with_the_old_ones(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    const struct sora_certificate old = heath->daemon->self.certificate;
    struct sora_identity identity;
    /* As if two months had gone by. */
    soon_ms = sora_clock_wall_ms() + SORA_RENEW_MS;
    brook->daemon->self.identity.wall_not_after_ms = soon_ms - 1;
    brook->daemon->members.rows[0].identity.wall_not_after_ms = soon_ms - 1;
    heath->daemon->self.identity.wall_not_after_ms = soon_ms - 1;
    heath->daemon->members.rows[0].identity.wall_not_after_ms = soon_ms - 1;
    brook->daemon->sweep_at = 0;
    assert_true(boxes_run(0, both_are_renewed));
    assert_true(all_up());
    assert_memory_not_equal(&old, &heath->daemon->self.certificate, sizeof(old));
    const struct sora_trust *trust = brook->daemon->trust;
    assert_int_equal(sora_trust_verify(trust, &old, 0, sora_clock_wall_ms(), &identity, NULL),
                     SORA_OK);
    assert_int_equal(ask_revoke(brook, "heath")->body_case, FARM__MESSAGE__BODY_ACK);
    assert_int_equal(sora_trust_verify(trust, &old, 0, sora_clock_wall_ms(), &identity, NULL),
                     SORA_E_DENIED);
    assert_int_equal(sora_trust_verify(trust, &heath->daemon->self.certificate, 0,
                                       sora_clock_wall_ms(), &identity, NULL),
                     SORA_E_DENIED);
}

static bool brook_is_out(void)
{
    return up_count(&boxes[1]) == 0;
}

/* As if brook's date were past, whatever certificate is still on its way. */
static bool brook_is_past(void)
{
    boxes[1].daemon->members.rows[0].identity.wall_not_after_ms =
        sora_clock_wall_ms() - SORA_CLOCK_TOLERANCE_MS - 1;
    boxes[1].daemon->sweep_at = 0;
    return up_count(&boxes[1]) == 0;
}

static void a_membership_ends_with_its_date(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    assert_true(boxes_run(0, brook_is_past));
    assert_int_equal(sora_members_count(&heath->daemon->members), 0);
}

static void a_guest_may_come_back_after_it_was_revoked(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    assert_int_equal(ask_revoke(brook, "heath")->body_case, FARM__MESSAGE__BODY_ACK);
    assert_true(boxes_run(0, brook_is_out));
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    assert_string_equal(heath->daemon->self.identity.name, "heath");
}

static void init_names_a_studio_once(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmInit request = FARM__FARM_INIT__INIT;
    request.studio = (char *)(uintptr_t) "Willow Pictures";
    message.body_case = FARM__MESSAGE__BODY_FARM_INIT;
    message.farm_init = &request;
    assert_int_equal(box_ask(brook, &message)->body_case, FARM__MESSAGE__BODY_ACK);
    assert_string_equal(ask_members(brook)->farm_members_reply->studio, "Willow Pictures");
    assert_int_equal(box_ask(brook, &message)->refusal->code, SORA_E_BUSY);
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    /* Who has members cannot leave them by accident. */
    assert_int_equal(box_ask(heath, &message)->refusal->code, SORA_E_BUSY);
    box_stop(brook);
    assert_int_equal(box_start(brook, "brook", "scheduler"), SORA_OK);
    assert_string_equal(brook->daemon->self.identity.studio, "Willow Pictures");
    assert_true(boxes_run(0, all_up));
}

static void bad_codes_are_refused(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    assert_int_equal(join(brook, "farm1-nonsense")->refusal->code, SORA_E_FORMAT);
    char *code = invite(brook, "", 1);
    assert_int_equal(join(brook, code)->refusal->code, SORA_E_INVALID); /* its own */
    free(code);
    /* Its invite socket is gone. */
    code = invite(brook, "", 1);
    box_stop(brook);
    const Farm__Message *answer = join(heath, code);
    free(code);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_non_null(strstr(answer->refusal->text, "reachable"));
}

static bool never(void)
{
    return false;
}

static void members_may_not_do_what_users_may(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    /* Asked by the node heath, not by a user. */
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__FarmInvite request = FARM__FARM_INVITE__INIT;
    request.uses = 1;
    request.lifetime_s = 3600;
    message.body_case = FARM__MESSAGE__BODY_FARM_INVITE;
    message.farm_invite = &request;
    const struct sora_post *post = &heath->daemon->post;
    assert_int_equal(post->send(post->owner, brook->daemon->post.self, &message, NULL, 0, NULL),
                     SORA_OK);
    assert_false(boxes_run(300, never));
    assert_int_equal(sora_invites_open(brook->daemon->invites, sora_clock_wall_ms()), 0);
}

static void nodes_logs_and_doctor_answer(void **state)
{
    (void)state;
    struct box *brook = start("brook");
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Doctor doctor = FARM__DOCTOR__INIT;
    message.body_case = FARM__MESSAGE__BODY_DOCTOR;
    message.doctor = &doctor;
    const Farm__Message *answer = box_ask(brook, &message);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_DOCTOR_REPLY);
    bool closed = false;
    for (size_t i = 0; i < answer->doctor_reply->n_checks; i++) {
        const Farm__DoctorCheck *check = answer->doctor_reply->checks[i];
        closed |= strcmp(check->name, "door") == 0 && check->good;
    }
    assert_true(closed);
    Farm__Nodes nodes = FARM__NODES__INIT;
    message.body_case = FARM__MESSAGE__BODY_NODES;
    message.nodes = &nodes;
    answer = box_ask(brook, &message);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_NODES_REPLY);
    assert_int_equal(answer->nodes_reply->n_nodes, 1);
    assert_true(answer->nodes_reply->nodes[0]->self);
    Farm__Logs logs = FARM__LOGS__INIT;
    message.body_case = FARM__MESSAGE__BODY_LOGS;
    message.logs = &logs;
    assert_int_equal(box_ask(brook, &message)->body_case, FARM__MESSAGE__BODY_LOGS_REPLY);
    Farm__Models models = FARM__MODELS__INIT;
    message.body_case = FARM__MESSAGE__BODY_MODELS;
    message.models = &models;
    assert_int_equal(box_ask(brook, &message)->body_case, FARM__MESSAGE__BODY_MODELS_REPLY);
}

static bool client_is_refused(void)
{
    return !boxes[0].up;
}

static void an_unknown_key_is_turned_away(void **state)
{
    (void)state;
    struct box *brook = start("brook");
    assert_int_equal(box_client_open(brook), SORA_OK);
    sora_link_destroy(&brook->client);
    struct sora_key *stranger = NULL;
    assert_int_equal(sora_key_create(SORA_KEY_CURVE, &stranger, NULL), SORA_OK);
    const struct sora_link_params params = {
        .curve = stranger, .software = "test", .name = "stranger", .boot = 1};
    assert_int_equal(sora_link_create(&params, &brook->client, NULL), SORA_OK);
    assert_int_equal(sora_link_dial(brook->client, &brook->daemon->self.identity,
                                    sora_daemon_endpoint(brook->daemon), &brook->peer, NULL),
                     SORA_OK);
    asked = brook;
    assert_false(boxes_run(700, client_is_up));
    assert_true(client_is_refused());
    sora_link_destroy(&brook->client);
    sora_key_destroy(&stranger);
}

static void what_is_in_use_is_said(void **state)
{
    (void)state;
    struct box *brook = start("brook");
    struct sora_daemon *second = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_daemon_create(&brook->config, &second, &fault), SORA_E_BUSY);
    assert_non_null(strstr(fault.text, "another sorad"));
    assert_null(second);
}

/* ---- the beacon ---- */

/* A UDP port that nobody uses. */
static uint16_t free_udp_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static struct sora_beacon *open_beacon(const unsigned char *node, uint16_t port, uint16_t udp_port)
{
    struct sora_fault fault = {0};
    struct sora_beacon *beacon = NULL;
    const struct sora_beacon_params params = {
        .node = node, .port = port, .udp_port = udp_port, .address = "127.255.255.255"};
    if (sora_beacon_create(&params, &beacon, &fault))
        fail_msg("%s", fault.text);
    return beacon;
}

static bool heath_is_suggested(void)
{
    const struct sora_member *member =
        sora_members_find(&boxes[0].daemon->members, boxes[1].daemon->post.self);
    return member && strcmp(member->hint, "tcp://127.0.0.1:4242") == 0;
}

/* Broadcast over loopback: a stranger's datagram, then a member's. */
static void a_beacon_suggests_addresses_of_members_alone(void **state)
{
    (void)state;
    struct box *brook = start("brook"), *heath = start("heath");
    join_as_member(brook, heath, "");
    assert_true(boxes_run(0, all_up));
    uint16_t udp_port = free_udp_port();
    unsigned char stranger[SORA_NODE_ID_SIZE] = {7};
    brook->daemon->beacon = open_beacon(brook->daemon->post.self, 4240, udp_port);
    struct sora_beacon *others[] = {open_beacon(stranger, 4241, udp_port),
                                    open_beacon(heath->daemon->post.self, 4242, udp_port)};
    struct sora_beacon_hint hint;
    sora_time now = sora_clock_now();
    while (sora_beacon_step(others[0], now, &hint)) {
    }
    assert_true(sora_beacon_deadline(others[0]) > now); /* it was sent */
    int members = brook->daemon->members.count;
    bool heard = false;
    while (sora_beacon_step(others[1], now, &hint)) /* sends, and hears who sent before */
        heard |= memcmp(hint.node, stranger, sizeof(stranger)) == 0 &&
                 strcmp(hint.endpoint, "tcp://127.0.0.1:4241") == 0;
    assert_true(heard);
    assert_true(boxes_run(0, heath_is_suggested));
    assert_int_equal(brook->daemon->members.count, members);
    assert_null(sora_members_find(&brook->daemon->members, stranger));
    sora_beacon_destroy(&others[0]);
    sora_beacon_destroy(&others[1]);
}

/* ---- added models ---- */

static const Farm__Message *ask_models(struct box *box, const char *add, const char *remove)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Models request = FARM__MODELS__INIT;
    if (add)
        request.add_path = (char *)(uintptr_t)add;
    if (remove)
        request.remove = (char *)(uintptr_t)remove;
    message.body_case = FARM__MESSAGE__BODY_MODELS;
    message.models = &request;
    const Farm__Message *answer = box_ask(box, &message);
    assert_non_null(answer);
    return answer;
}

/* mini under another name, in the scratch folder. */
static const char *copy_mini(void)
{
    static const char *const files[] = {"sora.yaml",
                                        "model_index.json",
                                        "scheduler/scheduler_config.json",
                                        "transformer/config.json",
                                        "vae/config.json",
                                        "transformer/diffusion_pytorch_model.safetensors"};
    static char folder[1024];
    snprintf(folder, sizeof(folder), "%s", scratch_path("other"));
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char from[1200], to[1200], parent[1200];
        struct sora_bytes bytes;
        snprintf(from, sizeof(from), "%s/models/mini/%s", SORA_SOURCE_DIR, files[i]);
        snprintf(to, sizeof(to), "%s/%s", folder, files[i]);
        snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(to, '/') - to), to);
        assert_int_equal(sora_file_make_dirs(parent, NULL), SORA_OK);
        assert_int_equal(sora_file_read(from, (size_t)64 << 20, &bytes, NULL), SORA_OK);
        char *name = i == 0 ? strstr((char *)bytes.data, "name: mini") : NULL;
        if (name)
            memcpy(name, "name: mine", strlen("name: mine"));
        assert_int_equal(sora_file_write(to, bytes.data, bytes.size, NULL), SORA_OK);
        sora_bytes_fini(&bytes);
    }
    return folder;
}

static bool models_are_read(void)
{
    return !sora_model_store_reading(parts_models(boxes[0].daemon->parts));
}

static size_t count_models_after_restart(struct box *box)
{
    box_stop(box);
    assert_int_equal(box_start(box, "brook", "scheduler"), SORA_OK);
    assert_true(boxes_run(0, models_are_read));
    return ask_models(box, NULL, NULL)->models_reply->n_models;
}

static void added_models_are_remembered_until_removed(void **state)
{
    (void)state;
    struct box *brook = start("brook");
    const char *folder = copy_mini();
    const Farm__Message *answer = ask_models(brook, folder, NULL);
    if (answer->body_case == FARM__MESSAGE__BODY_REFUSAL)
        fail_msg("%s", answer->refusal->text);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_MODELS_REPLY);
    assert_true(boxes_run(0, models_are_read));
    assert_int_equal(count_models_after_restart(brook), 2);

    answer = ask_models(brook, NULL, "mini");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_non_null(strstr(answer->refusal->text, "configuration"));
    answer = ask_models(brook, NULL, "nothing");
    assert_non_null(strstr(answer->refusal->text, "soractl models"));

    answer = ask_models(brook, NULL, "mine");
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_MODELS_REPLY);
    assert_int_equal(answer->models_reply->n_models, 1);
    assert_string_equal(answer->models_reply->models[0]->model->name, "mini");
    assert_int_equal(count_models_after_restart(brook), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fresh_daemon_serves_its_user, setup, teardown),
        cmocka_unit_test_setup_teardown(three_daemons_find_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_code_works_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_revoked_member_is_out_within_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(membership_survives_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(certificates_are_renewed_and_revoked_with_the_old_ones,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_membership_ends_with_its_date, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_may_come_back_after_it_was_revoked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(init_names_a_studio_once, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_codes_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(members_may_not_do_what_users_may, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_logs_and_doctor_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_key_is_turned_away, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_in_use_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_beacon_suggests_addresses_of_members_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(added_models_are_remembered_until_removed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
