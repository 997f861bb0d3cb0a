/* Two or three transfers and a post that delivers between them, loses, refuses and lies. */
#include "base/files.h"
#include "proto/blob_transfer.h"
#include "tests/unit/post_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MEGABYTE ((size_t)1 << 20)

static int done_count;

static int setup(void **state)
{
    now = 1000 * SORA_TIME_SECOND;
    chunk_bytes = gets = refusals = full_count = 0;
    lie = false;
    done_count = 0;
    int rc = scratch_setup(state);
    for (int i = 0; rc == 0 && i < ENDS; i++)
        start(i);
    return rc;
}

static int teardown(void **state)
{
    lose_all();
    for (int i = 0; i < ENDS; i++)
        stop(i);
    return scratch_teardown(state);
}

/* ---- blobs and fetches ---- */

static unsigned char *content;

static struct sora_blob put(int index, size_t size, unsigned seed)
{
    free(content);
    content = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        content[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
    assert_int_equal(sora_blob_store_put(ends[index].store, content, size, NULL, NULL), SORA_OK);
    finish_tasks(&ends[index]);
    struct sora_blob blob = {.size = size};
    sora_digest_of(content, size, &blob.digest);
    free(content);
    content = NULL;
    return blob;
}

static int last_code;
static char last_text[SORA_FAULT_TEXT_SIZE];
static struct sora_blob last_blob;

static void note_done(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    (void)context;
    done_count++;
    last_blob = *blob;
    last_code = fault->code;
    snprintf(last_text, sizeof(last_text), "%s", fault->text);
}

static void fetch(int to, int from, const struct sora_blob *blob)
{
    unsigned char node[SORA_NODE_ID_SIZE];
    node_id(from, node);
    assert_int_equal(
        sora_blob_transfer_fetch(ends[to].transfer, node, blob, note_done, &done_count), SORA_OK);
}

/* Runs until that many fetches are done; returns the last one's code. */
static int wait_done(int count)
{
    for (int i = 0; done_count < count; i++) {
        assert_true(i < 20000);
        turn();
        pass_time();
    }
    assert_int_equal(done_count, count);
    done_count = 0;
    return last_code;
}

static void assert_has(int index, const struct sora_blob *blob)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_blob is;
    assert_int_equal(
        sora_blob_store_path(ends[index].store, &blob->digest, path, sizeof(path), NULL), SORA_OK);
    assert_int_equal(sora_blob_of_file(path, &is, NULL), SORA_OK);
    assert_true(is.size == blob->size && sora_digest_equal(&is.digest, &blob->digest));
}

static void set_peer(int index, bool up)
{
    unsigned char node[SORA_NODE_ID_SIZE];
    node_id(index, node);
    ends[index].down = !up;
    if (!up)
        lose_all();
    for (int i = 0; i < ENDS; i++) {
        if (i != index)
            sora_blob_transfer_peer(ends[i].transfer, node, up);
    }
}

/* ---- tests ---- */

static void blobs_of_all_sizes_are_fetched(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, MEGABYTE - 1, MEGABYTE, 4 * MEGABYTE + 1, 13 * MEGABYTE};
    for (unsigned i = 0; i < 6; i++) {
        struct sora_blob blob = put(0, sizes[i], i);
        fetch(1, 0, &blob);
        assert_int_equal(wait_done(1), SORA_OK);
        assert_true(sora_digest_equal(&last_blob.digest, &blob.digest));
        assert_has(1, &blob);
    }
    assert_int_equal(scratch_entry_count("end1/incoming"), 0);
    assert_true(sora_blob_transfer_deadline(ends[1].transfer) == INT64_MAX ||
                sora_blob_transfer_deadline(ends[1].transfer) == 0);
}

static void what_is_here_is_not_asked_for(void **state)
{
    (void)state;
    struct sora_blob blob = put(1, 1000, 1);
    fetch(1, 0, &blob);
    assert_int_equal(done_count, 0);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_int_equal(gets, 0);
}

static void fetches_of_one_digest_are_one(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 3 * MEGABYTE, 1);
    for (int i = 0; i < 5; i++)
        fetch(1, 0, &blob);
    assert_int_equal(wait_done(5), SORA_OK);
    assert_int_equal(chunk_bytes, 3 * MEGABYTE);
}

static void many_fetches_wait_their_turn(void **state)
{
    (void)state;
    struct sora_blob blobs[40];
    for (unsigned i = 0; i < 40; i++) {
        blobs[i] = put(0, 2 * MEGABYTE + i, i);
        fetch(1, 0, &blobs[i]);
    }
    turn();
    turn();
    assert_int_equal(gets, 8);
    assert_int_equal(wait_done(40), SORA_OK);
    for (int i = 0; i < 40; i++)
        assert_has(1, &blobs[i]);
}

static void unknown_blobs_are_refused(void **state)
{
    (void)state;
    struct sora_blob blob = {.size = 100};
    sora_digest_of("nobody has this", 15, &blob.digest);
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_E_NOT_FOUND);
    assert_non_null(strstr(last_text, "anna: blob "));
    assert_int_equal(refusals, 1);
    assert_true(now < 1001 * SORA_TIME_SECOND);
    blob = put(0, 100, 1);
    blob.size = 50; /* of a size that it has not */
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_E_FORMAT);
}

static void the_giver_may_say_the_size(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 2 * MEGABYTE + 5, 1), large = put(0, 5 * MEGABYTE, 2);
    blob.size = large.size = SORA_BLOB_SIZE_UNKNOWN;
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_int_equal(last_blob.size, 2 * MEGABYTE + 5);
    assert_has(1, &last_blob);
    fetch(1, 0, &large);
    assert_int_equal(wait_done(1), SORA_E_FORMAT);
    assert_true(chunk_bytes <= 7 * MEGABYTE);
}

static void the_next_node_is_asked(void **state)
{
    (void)state;
    struct sora_blob blob = put(2, 3 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    fetch(1, 2, &blob);
    assert_int_equal(wait_done(2), SORA_OK); /* the first one's failure came before */
    assert_int_equal(refusals, 1);
    assert_has(1, &blob);
}

static void a_lost_peer_is_waited_for(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 20 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    while (sora_blob_transfer_received(ends[1].transfer, &blob.digest) < 6 * MEGABYTE)
        turn();
    set_peer(0, false);
    turn();
    set_peer(0, true);
    sora_time before = now;
    assert_int_equal(wait_done(1), SORA_OK);
    assert_true(now - before < STALL);
    assert_has(1, &blob);
    assert_true(chunk_bytes < 40 * MEGABYTE);
}

static void a_peer_that_stays_away_is_a_timeout(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 20 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    while (sora_blob_transfer_received(ends[1].transfer, &blob.digest) < 6 * MEGABYTE)
        turn();
    set_peer(0, false);
    sora_time before = now;
    assert_int_equal(wait_done(1), SORA_E_TIMEOUT);
    assert_non_null(strstr(last_text, "nothing came from anna"));
    assert_true(now - before >= 4 * STALL && now - before < 5 * STALL);
    assert_int_equal(scratch_entry_count("end1/incoming"), 1);
    set_peer(0, true); /* and what came is not fetched again */
    uint64_t until_now = chunk_bytes;
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_true(chunk_bytes - until_now <= 14 * MEGABYTE);
}

static void lost_messages_are_asked_for_again(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 9 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    turn();
    turn();
    for (int i = 0; i < 3; i++) { /* three times whatever is under way */
        lose_all();
        for (int k = 0; k < 3; k++)
            turn();
        pass_time();
    }
    assert_int_equal(wait_done(1), SORA_OK);
    assert_has(1, &blob);
}

static void a_restart_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 20 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    while (sora_blob_transfer_received(ends[1].transfer, &blob.digest) < 10 * MEGABYTE)
        turn();
    lose_all();
    stop(1);
    start(1);
    sora_blob_transfer_peer(ends[0].transfer, ends[1].post.self, false);
    uint64_t until_now = chunk_bytes;
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_true(chunk_bytes - until_now <= 10 * MEGABYTE);
    assert_has(1, &blob);
}

static void wrong_bytes_are_fetched_anew_once(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 5 * MEGABYTE, 1);
    lie = true;
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_int_equal(chunk_bytes, 10 * MEGABYTE);
    assert_has(1, &blob);

    blob = put(0, 5 * MEGABYTE, 2);
    fetch(1, 0, &blob);
    for (int i = 0; done_count < 1; i++) {
        lie = true;
        assert_true(i < 1000);
        turn();
        pass_time();
    }
    assert_int_equal(last_code, SORA_E_FORMAT);
    done_count = 0;
    assert_int_equal(scratch_entry_count("end1/incoming"), 0);
    uint64_t size;
    assert_false(sora_blob_store_have(ends[1].store, &blob.digest, &size));
}

static void a_wrong_partial_file_is_replaced(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 3 * MEGABYTE, 1);
    char path[SORA_FILE_PATH_SIZE], text[SORA_DIGEST_TEXT_SIZE];
    snprintf(path, sizeof(path), "%s/fetch-%s", sora_blob_store_incoming(ends[1].store),
             sora_digest_text(&blob.digest, text));
    assert_int_equal(sora_file_write(path, "nonsense", 8, NULL), SORA_OK);
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
    assert_has(1, &blob);
    blob = put(0, 5, 2); /* and one that is longer than the blob */
    snprintf(path, sizeof(path), "%s/fetch-%s", sora_blob_store_incoming(ends[1].store),
             sora_digest_text(&blob.digest, text));
    assert_int_equal(sora_file_write(path, "nonsense", 8, NULL), SORA_OK);
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
}

static void a_full_link_is_tried_again(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 9 * MEGABYTE, 1);
    ends[0].credit = 0;
    fetch(1, 0, &blob);
    for (int i = 0; done_count < 1; i++) {
        assert_true(i < 1000);
        if (i % 4 == 3)
            ends[0].credit = 2;
        turn();
        sora_time wake = sora_blob_transfer_deadline(ends[0].transfer);
        assert_true(ends[0].credit != 0 || wake > now || wake == 0);
        pass_time();
    }
    assert_int_equal(last_code, SORA_OK);
    done_count = 0;
    assert_true(full_count > 0);
    assert_int_equal(chunk_bytes, 9 * MEGABYTE);
}

/* A small blob is not held up by seven large ones: its chunk is among the first eight. */
static void serving_is_fair(void **state)
{
    (void)state;
    struct sora_blob large[7];
    for (unsigned i = 0; i < 7; i++) {
        large[i] = put(0, 12 * MEGABYTE, i);
        fetch(1, 0, &large[i]);
    }
    struct sora_blob small = put(0, 100, 99);
    unsigned char node[SORA_NODE_ID_SIZE];
    node_id(0, node);
    fetch(2, 0, &small);
    ends[0].credit = 8;
    for (int i = 0; i < 6; i++)
        turn();
    assert_int_equal(done_count, 1);
    ends[0].credit = -1;
    assert_int_equal(wait_done(8), SORA_OK);
}

static void forgotten_fetches_end(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 20 * MEGABYTE, 1);
    fetch(1, 0, &blob);
    turn();
    turn();
    sora_blob_transfer_forget(ends[1].transfer, &done_count);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(done_count, 0);
    assert_int_equal(sora_blob_transfer_received(ends[1].transfer, &blob.digest), 0);
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_OK);
}

static void damaged_blobs_are_not_given(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 3 * MEGABYTE, 1);
    char path[SORA_FILE_PATH_SIZE];
    assert_int_equal(sora_blob_store_path(ends[0].store, &blob.digest, path, sizeof(path), NULL),
                     SORA_OK);
    stop(0);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, MEGABYTE), 1);
    close(fd);
    start(0);
    struct sora_blob good = put(2, 1000, 3);
    fetch(1, 0, &blob);
    assert_int_equal(wait_done(1), SORA_E_NOT_FOUND);
    assert_int_equal(chunk_bytes, 0);
    stop(2);
    start(2); /* a good one is read before it is given, too */
    fetch(1, 2, &good);
    assert_int_equal(wait_done(1), SORA_OK);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    unsigned char node[SORA_NODE_ID_SIZE];
    node_id(0, node);
    set_peer(0, false);
    int rc = SORA_OK;
    for (unsigned i = 0; rc == SORA_OK; i++) {
        struct sora_blob blob = {.size = 10};
        sora_digest_of(&i, sizeof(i), &blob.digest);
        rc = sora_blob_transfer_fetch(ends[1].transfer, node, &blob, note_done, &done_count);
        assert_true(i <= 1024);
    }
    assert_int_equal(rc, SORA_E_FULL);
    sora_blob_transfer_forget(ends[1].transfer, &done_count);
}

static bool have_answer;
static int note_have(void *owner, const struct sora_origin *origin, Farm__Message *message,
                     const void *payload, size_t size, struct sora_fault *fault)
{
    (void)owner;
    (void)origin;
    (void)payload;
    (void)size;
    (void)fault;
    assert_int_equal(message->body_case, FARM__MESSAGE__BODY_BLOB_HAVE_REPLY);
    have_answer = message->blob_have_reply->have;
    return SORA_OK;
}

static void have_is_answered(void **state)
{
    (void)state;
    struct sora_blob blob = put(0, 10, 1);
    ends[0].post.reply = note_have;
    struct sora_identity identity = {.roles = 1};
    struct sora_origin origin = {2, 1, &identity};
    Farm__BlobHave have = FARM__BLOB_HAVE__INIT;
    have.digest.data = blob.digest.bytes;
    have.digest.len = SORA_DIGEST_SIZE;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_BLOB_HAVE;
    message.blob_have = &have;
    assert_true(sora_blob_transfer_message(ends[0].transfer, &origin, &message, NULL, 0, now));
    assert_true(have_answer);
    blob.digest.bytes[0] ^= 1;
    assert_true(sora_blob_transfer_message(ends[0].transfer, &origin, &message, NULL, 0, now));
    assert_false(have_answer);
    Farm__Ping ping = FARM__PING__INIT;
    message.body_case = FARM__MESSAGE__BODY_PING;
    message.ping = &ping;
    assert_false(sora_blob_transfer_message(ends[0].transfer, &origin, &message, NULL, 0, now));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(blobs_of_all_sizes_are_fetched),
        TEST(what_is_here_is_not_asked_for),
        TEST(fetches_of_one_digest_are_one),
        TEST(many_fetches_wait_their_turn),
        TEST(unknown_blobs_are_refused),
        TEST(the_giver_may_say_the_size),
        TEST(the_next_node_is_asked),
        TEST(a_lost_peer_is_waited_for),
        TEST(a_peer_that_stays_away_is_a_timeout),
        TEST(lost_messages_are_asked_for_again),
        TEST(a_restart_goes_on_where_it_stopped),
        TEST(wrong_bytes_are_fetched_anew_once),
        TEST(a_wrong_partial_file_is_replaced),
        TEST(a_full_link_is_tried_again),
        TEST(serving_is_fair),
        TEST(forgotten_fetches_end),
        TEST(damaged_blobs_are_not_given),
        TEST(the_queue_is_bounded),
        TEST(have_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
