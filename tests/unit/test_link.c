/* Links on loopback: greeting, messages, bulk credit, reconnecting, versions. */
#include "proto/link.h"
#include "tests/unit/link_pair.h"

static int setup(void **state)
{
    pair_setup(state);
    return sora_link_admit(home.link, &node.studio.identity);
}

static bool answer_nodes(struct end *end, const struct sora_link_event *event)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__NodesReply reply = FARM__NODES_REPLY__INIT;
    message.reply_to = event->message->id;
    message.body_case = FARM__MESSAGE__BODY_NODES_REPLY;
    message.nodes_reply = &reply;
    return sora_link_send(end->link, event->peer, &message, NULL, 0, NULL) == SORA_OK;
}

static int send_nodes(struct end *end, sora_peer peer)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Nodes nodes = FARM__NODES__INIT;
    message.body_case = FARM__MESSAGE__BODY_NODES;
    message.nodes = &nodes;
    return sora_link_send(end->link, peer, &message, NULL, 0, NULL);
}

static bool node_answered(struct end *const *ends)
{
    return ends[1]->messages > 0;
}

static void members_greet_and_ask(void **state)
{
    (void)state;
    sora_peer peer = dial();
    assert_int_equal(send_nodes(&node, peer), SORA_E_NOT_FOUND);
    assert_true(pump(both, 2, 0, are_up));
    assert_int_equal(sora_link_find(node.link, home.studio.identity.node), peer);
    assert_int_not_equal(sora_link_find(home.link, node.studio.identity.node), 0);
    home.on_message = answer_nodes;
    assert_int_equal(send_nodes(&node, peer), SORA_OK);
    assert_true(pump(both, 2, 0, node_answered));
    assert_int_equal(node.last_case, FARM__MESSAGE__BODY_NODES_REPLY);
    assert_int_equal(home.last_case, FARM__MESSAGE__BODY_NODES);
    /* Hanging up is seen at the other side at once. */
    sora_link_hang_up(node.link, peer);
    assert_int_equal(send_nodes(&node, peer), SORA_E_NOT_FOUND);
    struct end *const only[] = {&node, &home};
    assert_true(pump(only, 2, 0, node_down));
    assert_int_equal(home.downs, 1);
    assert_int_equal(sora_link_find(home.link, node.studio.identity.node), 0);
}

static unsigned char chunk[SORA_PAYLOAD_BYTES_MAX];

static int send_chunk(struct end *end, sora_peer peer)
{
    static unsigned char digest[SORA_DIGEST_SIZE];
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__BlobChunk blob = FARM__BLOB_CHUNK__INIT;
    blob.digest = (ProtobufCBinaryData){sizeof(digest), digest};
    blob.size = sizeof(chunk);
    message.body_case = FARM__MESSAGE__BODY_BLOB_CHUNK;
    message.blob_chunk = &blob;
    return sora_link_send(end->link, peer, &message, chunk, sizeof(chunk), NULL);
}

static sora_peer sender_peer;
static int chunks_sent;

/* Offers chunks at every turn; ends when `home` has 24 MiB. */
static bool home_has_24(struct end *const *ends)
{
    while (chunks_sent < 24 && send_chunk(ends[1], sender_peer) == SORA_OK)
        chunks_sent++;
    return ends[0]->payload_bytes == 24u << 20;
}

static bool never(struct end *const *ends)
{
    home_has_24(ends);
    return false;
}

static void bulk_flows_by_credit(void **state)
{
    (void)state;
    sender_peer = dial();
    chunks_sent = 0;
    assert_true(pump(both, 2, 0, are_up));
    assert_true(pump(both, 2, 0, home_has_24));
    assert_int_equal(chunks_sent, 24);
    assert_int_equal(home.messages, 24);
}

static bool window_is_full(struct end *const *ends)
{
    home_has_24(ends);
    return ends[0]->payload_bytes == 7u << 20;
}

static void credit_that_is_held_stops_the_sender(void **state)
{
    (void)state;
    sender_peer = dial();
    chunks_sent = 0;
    home.hold = true;
    assert_true(pump(both, 2, 0, are_up));
    assert_true(pump(both, 2, 0, window_is_full)); /* 8 MiB less the message frames */
    assert_false(pump(both, 2, 200, never));
    assert_int_equal(chunks_sent, 7);
    assert_int_equal(send_chunk(&node, sender_peer), SORA_E_FULL);
    uint64_t bytes = node.link->peers[0].sent;
    assert_true(bytes <= SORA_LINK_WINDOW_BYTES);
    home.hold = false;
    sora_link_release(home.link, home.peer, bytes);
    assert_true(pump(both, 2, 0, home_has_24));
}

static bool home_down(struct end *const *ends)
{
    return ends[0]->downs > 0;
}

static void who_sends_beyond_its_credit_is_dropped(void **state)
{
    (void)state;
    sender_peer = dial();
    chunks_sent = 0;
    home.hold = true;
    assert_true(pump(both, 2, 0, are_up));
    assert_true(pump(both, 2, 0, window_is_full));
    node.link->peers[0].sent_max = UINT64_MAX;
    assert_int_equal(send_chunk(&node, sender_peer), SORA_OK);
    assert_int_equal(send_chunk(&node, sender_peer), SORA_OK);
    assert_true(pump(both, 2, 0, home_down));
    assert_int_equal(home.reason, SORA_E_LIMIT);
}

static void messages_keep_to_their_channel_and_payload(void **state)
{
    (void)state;
    sora_peer peer = dial();
    assert_true(pump(both, 2, 0, are_up));
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Nodes nodes = FARM__NODES__INIT;
    message.body_case = FARM__MESSAGE__BODY_NODES;
    message.nodes = &nodes;
    assert_int_equal(sora_link_send(node.link, peer, &message, "x", 1, NULL), SORA_E_INVALID);
    message.body_case = FARM__MESSAGE__BODY__NOT_SET;
    assert_int_equal(sora_link_send(node.link, peer, &message, NULL, 0, NULL), SORA_E_INVALID);
    Farm__JoinReply reply = FARM__JOIN_REPLY__INIT;
    message.body_case = FARM__MESSAGE__BODY_JOIN_REPLY;
    message.join_reply = &reply;
    assert_int_equal(sora_link_send(node.link, peer, &message, NULL, 0, NULL), SORA_E_INVALID);
    assert_int_equal(node.downs + home.downs, 0);
}

static bool node_up_twice(struct end *const *ends)
{
    return ends[1]->ups > 1;
}

static void a_dialed_peer_comes_back_after_a_restart(void **state)
{
    (void)state;
    sora_peer peer = dial();
    assert_true(pump(both, 2, 0, are_up));
    char endpoints[3][SORA_ENDPOINT_SIZE];
    struct sora_link_params params = end_params(&home, true);
    strcpy(endpoints[0], sora_link_endpoint(home.link, SORA_CHANNEL_CONTROL));
    strcpy(endpoints[1], sora_link_endpoint(home.link, SORA_CHANNEL_BULK));
    params.control_endpoint = endpoints[0];
    params.bulk_endpoint = endpoints[1];
    params.invite_endpoint = NULL;
    sora_link_destroy(&home.link);
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(send_nodes(&node, peer), SORA_E_NOT_FOUND);
    end_open(&home, &params);
    assert_int_equal(sora_link_admit(home.link, &node.studio.identity), SORA_OK);
    assert_true(pump(both, 2, 0, node_up_twice));
    assert_int_equal(sora_link_find(node.link, home.studio.identity.node), peer);
    node.messages = 0;
    home.on_message = answer_nodes;
    assert_int_equal(send_nodes(&node, peer), SORA_OK);
    assert_true(pump(both, 2, 0, node_answered));
}

static void an_address_in_use_is_said(void **state)
{
    (void)state;
    struct sora_link *link = NULL;
    struct sora_fault fault = {0};
    struct sora_link_params params = end_params(&node, true);
    params.control_endpoint = sora_link_endpoint(home.link, SORA_CHANNEL_CONTROL);
    assert_int_equal(sora_link_create(&params, &link, &fault), SORA_E_BUSY);
    assert_non_null(strstr(fault.text, "another address or port"));
    fault = (struct sora_fault){0};
    params.control_endpoint = "ipc:///tmp/somewhere";
    assert_int_equal(sora_link_create(&params, &link, &fault), SORA_E_INVALID);
    assert_null(link);
}

static void versions_must_overlap(void **state)
{
    (void)state;
    sora_link_destroy(&node.link);
    struct sora_link_params params = end_params(&node, false);
    params.version_min = 7;
    params.version_max = 9;
    end_open(&node, &params);
    dial();
    assert_true(pump(both, 2, 0, node_down));
    assert_int_equal(node.reason, SORA_E_UNSUPPORTED);
    assert_non_null(strstr(node.text, "7 to 9"));
    assert_int_equal(home.ups, 0);
    sora_link_destroy(&node.link);
    params.version_min = 1;
    end_open(&node, &params);
    dial();
    assert_true(pump(both, 2, 0, are_up));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_greet_and_ask, setup, pair_teardown),
        cmocka_unit_test_setup_teardown(bulk_flows_by_credit, setup, pair_teardown),
        cmocka_unit_test_setup_teardown(credit_that_is_held_stops_the_sender, setup, pair_teardown),
        cmocka_unit_test_setup_teardown(who_sends_beyond_its_credit_is_dropped, setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(messages_keep_to_their_channel_and_payload, setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(a_dialed_peer_comes_back_after_a_restart, setup,
                                        pair_teardown),
        cmocka_unit_test_setup_teardown(an_address_in_use_is_said, setup, pair_teardown),
        cmocka_unit_test_setup_teardown(versions_must_overlap, setup, pair_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
