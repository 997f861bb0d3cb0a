/* The door: who gets in, who does not, what knocking costs; members who leave; guests. */
#include "proto/invite.h"
#include "proto/link.h"
#include "tests/unit/link_pair.h"

static void an_unknown_key_is_refused(void **state)
{
    (void)state;
    dial();
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(node.reason, SORA_E_DENIED);
    assert_int_equal(node.ups + home.ups, 0);
    /* Once admitted, the next try gets in by itself. */
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    assert_true(pump(both, 2, 0, are_up));
}

static void another_server_key_is_refused(void **state)
{
    (void)state;
    struct sora_identity wrong = home.studio.identity;
    sora_peer peer;
    wrong.curve[5] ^= 1;
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    assert_int_equal(sora_link_dial(node.link, &wrong,
                                    sora_link_endpoint(home.link, SORA_CHANNEL_CONTROL), &peer,
                                    NULL),
                     SORA_OK);
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(node.ups + home.ups, 0);
}

static int knocker;

static bool knocker_is_out(struct end *const *ends)
{
    (void)ends;
    return raw_is_closed(knocker);
}

static void a_peer_without_curve_is_refused(void **state)
{
    (void)state;
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    int none = 0;
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof(none));
    assert_int_equal(zmq_connect(socket, sora_link_endpoint(home.link, SORA_CHANNEL_CONTROL)), 0);
    assert_int_equal(zmq_send(socket, "hello", 5, 0), 5);
    dial();
    assert_true(pump(both, 2, 0, are_up)); /* a member comes in meanwhile */
    assert_int_equal(home.ups, 1);
    assert_int_equal(home.messages, 0);
    zmq_close(socket);
    zmq_ctx_term(context);
    /* A stranger who says nothing is put out by the handshake's time. */
    knocker = raw_connect(sora_link_endpoint(home.link, SORA_CHANNEL_BULK));
    assert_true(pump(both, 2, 0, knocker_is_out));
    close(knocker);
}

static void without_its_zap_thread_nobody_gets_in(void **state)
{
    (void)state;
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    sora_zap_stop(home.link->zap);
    dial();
    /* libzmq by itself, before our loop has noticed: only the node's link is stepped. */
    struct end *const only[] = {&node, &node};
    assert_true(pump(only, 1, 0, node_down));
    assert_int_equal(node.ups, 0);
    /* And the loop closes the doors. */
    struct sora_link_event event;
    struct sora_fault fault = {0};
    assert_int_equal(sora_link_step(home.link, sora_clock_now(), &event, &fault), SORA_E_DENIED);
    assert_non_null(strstr(fault.text, "ZAP"));
    assert_null(home.link->doors[CONTROL].zmq);
}

static void an_open_door_is_found_by_the_test(void **state)
{
    (void)state;
    /* The same test against a socket that lets everybody in. */
    struct sora_link link = {.context = zmq_ctx_new(), .curve = home.studio.curve};
    void *socket = zmq_socket(link.context, ZMQ_ROUTER);
    int one = 1, none = 0;
    size_t size = sizeof(link.endpoints[CONTROL]);
    struct sora_fault fault = {0};
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof(none));
    zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof(one));
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, sora_key_curve_secret(link.curve), 32);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, link.endpoints[CONTROL], &size);
    link.zap = home.link->zap;
    assert_int_equal(link_test_door(&link, CONTROL, &fault), SORA_E_DENIED);
    assert_non_null(strstr(fault.text, "let in"));
    zmq_close(socket);
    zmq_ctx_term(link.context);
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void a_declared_4_gib_frame_costs_no_memory(void **state)
{
    (void)state;
    /* ZMTP 3.0 greeting with CURVE, then a command frame that says it has 4 GiB. */
    static unsigned char greeting[64] = {0xff, 0, 0, 0,   0,   0,   0,   0,  1,
                                         0x7f, 3, 0, 'C', 'U', 'R', 'V', 'E'};
    static const unsigned char frame[] = {0x06, 0, 0, 0, 1, 0, 0, 0, 0};
    static unsigned char body[1 << 20];
    assert_false(pump(both, 2, 50, NULL));
    long before = resident_kib();
    for (int i = 0; i < 16; i++) {
        int door = i % 2 ? SORA_CHANNEL_BULK : SORA_CHANNEL_CONTROL;
        knocker = raw_connect(sora_link_endpoint(home.link, (enum sora_channel)door));
        assert_int_equal(send(knocker, greeting, sizeof(greeting), MSG_NOSIGNAL), 64);
        assert_int_equal(send(knocker, frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
        send(knocker, body, sizeof(body), MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(pump(both, 2, 0, knocker_is_out));
        close(knocker);
    }
    long grown = resident_kib() - before;
    print_message("16 frames of 4 GiB declared: %ld KiB\n", grown);
    assert_true(grown < 8192);
    /* The door still works. */
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    dial();
    assert_true(pump(both, 2, 0, are_up));
}

static void a_dismissed_member_is_out_within_a_second(void **state)
{
    (void)state;
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    dial();
    assert_true(pump(both, 2, 0, are_up));
    int fd = home.link->peers[0].lanes[CONTROL].fd;
    sora_time start = sora_clock_now();
    sora_link_dismiss(home.link, node.studio.identity.node);
    assert_true(pump(both, 2, 1000, node_down));
    double ms = (double)(sora_clock_now() - start) / 1e6;
    print_message("dismissed member down after %.1f ms\n", ms);
    assert_int_equal(home.downs, 1);
    assert_int_equal(home.reason, SORA_E_DENIED);
    assert_true(fd >= 0);
    /* It dials again, and is turned away. */
    node.downs = 0;
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(node.reason, SORA_E_DENIED);
    assert_int_equal(home.ups, 1);
}

static bool home_down(struct end *const *ends)
{
    return ends[0]->downs > 0;
}

static bool put_raw(int lane, const void *data, size_t size, int parts)
{
    void *socket = node.link->peers[0].lanes[lane].socket.zmq;
    bool sent = true;
    for (int i = 0; i < parts; i++)
        sent &= zmq_send(socket, data, size, i + 1 < parts ? ZMQ_SNDMORE : 0) >= 0;
    return sent;
}

static void a_member_who_sends_rubbish_is_dropped(void **state)
{
    (void)state;
    static const struct {
        int lane;
        const char *data;
        size_t size;
        int parts;
    } rows[] = {
        {CONTROL, "\xff\xff\xff", 3, 1},
        {CONTROL, "", 0, 1},
        {CONTROL, "\x08\x01\x6a\x00", 4, 3},         /* a Ping and two frames too many */
        {CONTROL, "\x08\x01\x6a\x00", 4, 2},         /* a Ping with a payload */
        {CONTROL, "\x08\x01\x72\x02\x08\x05", 6, 1}, /* Credit on the control socket */
    };
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        home.ups = home.downs = node.ups = node.downs = 0;
        sora_peer peer = dial();
        assert_true(pump(both, 2, 0, are_up));
        assert_true(put_raw(rows[i].lane, rows[i].data, rows[i].size, rows[i].parts));
        assert_true(pump(both, 2, 0, home_down));
        assert_int_equal(home.reason, SORA_E_FORMAT);
        sora_link_hang_up(node.link, peer);
    }
}

/* ---- guests ---- */

static struct sora_invites *book;
static struct sora_invite invite;
static struct sora_join join_request;

/* The home's side of joining, as a daemon does it. */
static bool answer_join(struct end *end, const struct sora_link_event *event)
{
    struct sora_grant grant;
    struct sora_fault fault = {0};
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Refusal refusal = FARM__REFUSAL__INIT;
    Farm__JoinReply reply = FARM__JOIN_REPLY__INIT;
    Farm__Certificate wire;
    struct sora_certificate certificate;
    unsigned char proof[SORA_PROOF_SIZE];
    const Farm__JoinRequest *request = event->message->join_request;
    message.reply_to = event->message->id;
    refusal.code = sora_invites_redeem(book, request, event->curve, STUDIO_NOW, &grant, &fault);
    if (refusal.code == SORA_OK) {
        struct sora_identity guest = {.roles = grant.roles, .wall_not_after_ms = STUDIO_NOW};
        memcpy(guest.node, request->sign_public.data, 32);
        memcpy(guest.curve, request->curve_public.data, 32);
        strcpy(guest.name, request->name);
        strcpy(guest.studio, "north");
        assert_int_equal(sora_certificate_issue(end->studio.root, &guest, &certificate, NULL), 0);
        sora_invites_prove(book, &grant, request, &certificate, proof);
        sora_certificate_put(&certificate, &wire);
        reply.certificate = &wire;
        reply.proof = (ProtobufCBinaryData){sizeof(proof), proof};
        message.body_case = FARM__MESSAGE__BODY_JOIN_REPLY;
        message.join_reply = &reply;
    } else {
        refusal.text = fault.text;
        message.body_case = FARM__MESSAGE__BODY_REFUSAL;
        message.refusal = &refusal;
    }
    return sora_link_send(end->link, event->peer, &message, NULL, 0, NULL) == SORA_OK;
}

static bool check_reply(struct end *end, const struct sora_link_event *event)
{
    struct sora_certificate certificate;
    struct sora_identity identity;
    (void)end;
    if (event->message->body_case == FARM__MESSAGE__BODY_JOIN_REPLY)
        assert_int_equal(sora_join_check_reply(&invite, &join_request, event->message->join_reply,
                                               &certificate, &identity, NULL),
                         SORA_OK);
    return true;
}

static void make_invite(void)
{
    invite = (struct sora_invite){
        .wall_expires_ms = STUDIO_NOW + 1000, .roles = 1, .uses = 1, .endpoint_count = 1};
    memcpy(invite.root, home.studio.identity.root, 32);
    memcpy(invite.curve, home.studio.identity.curve, 32);
    strcpy(invite.endpoints[0], sora_link_endpoint(home.link, SORA_CHANNEL_INVITE));
    assert_int_equal(sora_invites_create(&book, NULL), SORA_OK);
    assert_int_equal(sora_invites_add(book, &invite, STUDIO_NOW, NULL), SORA_OK);
    home.on_message = answer_join;
    node.on_message = check_reply;
}

static bool node_answered(struct end *const *ends)
{
    return ends[1]->messages > 0;
}

/* Joins once and returns the body of the answer. */
static int join(const struct sora_invite *with)
{
    sora_peer peer;
    node.messages = 0;
    sora_join_request(with, node.studio.sign, node.studio.curve, "heath", &join_request);
    assert_int_equal(
        sora_link_join(node.link, with->curve, with->endpoints[0], &join_request.wire, &peer, NULL),
        SORA_OK);
    assert_true(pump(both, 2, 0, node_answered));
    sora_link_hang_up(node.link, peer);
    return node.last_case;
}

static void a_guest_joins_once(void **state)
{
    (void)state;
    make_invite();
    struct sora_invite wrong = invite;
    wrong.secret[0] ^= 1;
    assert_int_equal(join(&wrong), FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(join(&invite), FARM__MESSAGE__BODY_JOIN_REPLY);
    assert_int_equal(join(&invite), FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(home.ups, 0);
    sora_invites_destroy(&book);
}

static int crowd[SORA_LINK_GUESTS_MAX];

static bool crowd_is_in(struct end *const *ends)
{
    int count = 0;
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++)
        count += ends[0]->link->guests[i].fd >= 0;
    return count == SORA_LINK_GUESTS_MAX;
}

static void the_ninth_guest_is_refused(void **state)
{
    (void)state;
    make_invite();
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++)
        crowd[i] = raw_connect(invite.endpoints[0]);
    assert_true(pump(both, 2, 0, crowd_is_in));
    sora_peer peer;
    sora_join_request(&invite, node.studio.sign, node.studio.curve, "heath", &join_request);
    assert_int_equal(sora_link_join(node.link, invite.curve, invite.endpoints[0],
                                    &join_request.wire, &peer, NULL),
                     SORA_OK);
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(node.messages, 0);
    for (int i = 0; i < SORA_LINK_GUESTS_MAX; i++)
        close(crowd[i]);
    node.downs = 0;
    /* Once they have left, there is room. */
    knocker = raw_connect(invite.endpoints[0]);
    for (int i = 0; i < 100 && crowd_is_in(both); i++)
        pump(both, 2, 20, NULL);
    close(knocker);
    assert_int_equal(join(&invite), FARM__MESSAGE__BODY_JOIN_REPLY);
    sora_invites_destroy(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_unknown_key_is_refused, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(another_server_key_is_refused, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(a_peer_without_curve_is_refused, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(without_its_zap_thread_nobody_gets_in, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(an_open_door_is_found_by_the_test, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(a_declared_4_gib_frame_costs_no_memory, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(a_dismissed_member_is_out_within_a_second, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(a_member_who_sends_rubbish_is_dropped, pair_setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(a_guest_joins_once, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(the_ninth_guest_is_refused, pair_setup, pair_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
