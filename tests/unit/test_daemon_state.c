/* The state folder and the identity in it; names of invites; beacons; the daemon's mail. */
#include "daemon/beacon.h"
#include "daemon/identity.h"
#include "daemon/mail.h"
#include "daemon/names.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct sora_state place;
static struct sora_self self;

static int setup(void **state)
{
    int rc = scratch_setup(state);
    return rc ? rc : sora_state_open(scratch_path("state"), &place, NULL);
}

static int teardown(void **state)
{
    sora_self_close(&self);
    sora_state_close(&place);
    return scratch_teardown(state);
}

static int open_self(const char *name, uint32_t roles)
{
    const struct sora_self_params params = {&place, name, roles};
    return sora_self_open(&params, &self, NULL);
}

static void a_state_has_one_daemon(void **state)
{
    (void)state;
    struct sora_state second;
    struct sora_fault fault = {0};
    assert_int_equal(sora_state_open(scratch_path("state"), &second, &fault), SORA_E_BUSY);
    sora_state_close(&place);
    assert_int_equal(sora_state_open(scratch_path("state"), &place, NULL), SORA_OK);
}

static void a_newer_state_is_refused(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    char path[SORA_STATE_PATH_SIZE];
    sora_state_close(&place);
    sora_state_path(&place, "version", path);
    assert_int_equal(sora_file_write(path, "sorafarm-state 2\n", 17, NULL), SORA_OK);
    assert_int_equal(sora_state_open(scratch_path("state"), &place, &fault), SORA_E_UNSUPPORTED);
    assert_non_null(strstr(fault.text, "its version is 2"));
    fault = (struct sora_fault){0};
    assert_int_equal(sora_file_write(path, "something", 9, NULL), SORA_OK);
    assert_int_equal(sora_state_open(scratch_path("state"), &place, &fault), SORA_E_FORMAT);
}

static void a_folder_of_others_is_left_alone(void **state)
{
    (void)state;
    struct sora_state second;
    struct stat before, after;
    assert_int_equal(sora_file_make_dirs(scratch_path("photos"), NULL), SORA_OK);
    assert_int_equal(sora_file_write(scratch_path("photos/one"), "1", 1, NULL), SORA_OK);
    assert_int_equal(stat(scratch_path("photos"), &before), 0);
    assert_int_equal(sora_state_open(scratch_path("photos"), &second, NULL), SORA_E_FORMAT);
    assert_int_equal(stat(scratch_path("photos"), &after), 0);
    assert_int_equal(before.st_mode, after.st_mode);
}

static void where_the_state_is(void **state)
{
    (void)state;
    char path[256];
    setenv("SORAFARM_STATE", "/srv/farm", 1);
    assert_int_equal(sora_state_find(NULL, path, sizeof(path), NULL), SORA_OK);
    assert_string_equal(path, "/srv/farm");
    assert_int_equal(sora_state_find("/srv/option", path, sizeof(path), NULL), SORA_OK);
    assert_string_equal(path, "/srv/option");
    assert_int_equal(sora_state_find("/srv/option", path, 5, NULL), SORA_E_LIMIT);
    unsetenv("SORAFARM_STATE");
}

static void an_identity_is_made_once(void **state)
{
    (void)state;
    struct stat status;
    char path[SORA_STATE_PATH_SIZE];
    assert_int_equal(open_self("brook", SORA_ROLE_NODE), SORA_OK);
    struct sora_identity first = self.identity, user = self.user;
    assert_int_equal(first.roles, SORA_ROLE_NODE);
    assert_string_equal(first.studio, "brook");
    assert_int_equal(user.roles, SORA_ROLE_USER);
    assert_ptr_equal(sora_self_root(&self), self.local);
    static const char *const secrets[] = {"sign.key", "curve.key", "local.key", "ctl/sign.key",
                                          "ctl/curve.key"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stat(sora_state_path(&place, secrets[i], path), &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    sora_self_close(&self);
    assert_int_equal(open_self("brook", SORA_ROLE_NODE), SORA_OK);
    assert_memory_equal(&self.identity, &first, sizeof(first));
    assert_memory_equal(self.user.node, user.node, sizeof(user.node));
    sora_self_close(&self);
    /* Other roles need another certificate, by the same root, for the same keys. */
    assert_int_equal(open_self("brook", SORA_ROLE_SCHEDULER), SORA_OK);
    assert_int_equal(self.identity.roles, SORA_ROLE_SCHEDULER);
    assert_memory_equal(self.identity.node, first.node, sizeof(first.node));
    assert_memory_equal(self.identity.root, first.root, sizeof(first.root));
}

static void open_keys_and_damaged_certificates_are_refused(void **state)
{
    (void)state;
    char path[SORA_STATE_PATH_SIZE];
    assert_int_equal(open_self("brook", SORA_ROLE_NODE), SORA_OK);
    sora_self_close(&self);
    assert_int_equal(chmod(sora_state_path(&place, "sign.key", path), 0644), 0);
    assert_int_equal(open_self("brook", SORA_ROLE_NODE), SORA_E_DENIED);
    sora_self_close(&self);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(
        sora_file_write(sora_state_path(&place, "certificate", path), "garbage", 7, NULL), SORA_OK);
    assert_int_equal(open_self("brook", SORA_ROLE_NODE), SORA_E_FORMAT);
}

static void names_of_invites_are_kept(void **state)
{
    (void)state;
    static struct sora_names names, read;
    const unsigned char a[16] = {1, 2, 0xab}, b[16] = {9};
    struct sora_bytes text;
    sora_names_put(&names, a, "the mill");
    sora_names_put(&names, b, "");
    assert_int_equal(names.count, 1);
    sora_bytes_init(&text, 4096);
    assert_int_equal(sora_names_pack(&names, &text), SORA_OK);
    sora_names_unpack(&read, (const char *)text.data);
    assert_string_equal(sora_names_find(&read, a), "the mill");
    assert_null(sora_names_find(&read, b));
    sora_names_unpack(&read, "zz\n\n0102 short\nno line at all");
    assert_int_equal(read.count, 1);
    for (int i = 0; i < 2 * SORA_INVITES_MAX; i++)
        sora_names_put(&names, b, "many");
    assert_int_equal(names.count, SORA_INVITES_MAX);
    sora_bytes_fini(&text);
}

static void a_beacon_says_who_and_where(void **state)
{
    (void)state;
    unsigned char data[SORA_BEACON_SIZE + 1] = {0}, node[SORA_NODE_ID_SIZE] = {7, 8, 9};
    unsigned char octets[4] = {192, 0, 2, 7};
    struct sora_beacon_hint hint;
    uint32_t address;
    memcpy(&address, octets, sizeof(address));
    sora_beacon_pack(node, 7710, data);
    assert_true(sora_beacon_unpack(data, SORA_BEACON_SIZE, address, &hint));
    assert_memory_equal(hint.node, node, sizeof(node));
    assert_string_equal(hint.endpoint, "tcp://192.0.2.7:7710");
    assert_false(sora_beacon_unpack(data, SORA_BEACON_SIZE + 1, address, &hint));
    assert_false(sora_beacon_unpack(data, SORA_BEACON_SIZE - 1, address, &hint));
    data[0] ^= 1;
    assert_false(sora_beacon_unpack(data, SORA_BEACON_SIZE, address, &hint));
    sora_beacon_pack(node, 0, data);
    assert_false(sora_beacon_unpack(data, SORA_BEACON_SIZE, address, &hint));
}

static void mail_comes_as_it_went(void **state)
{
    (void)state;
    static unsigned char chunk[SORA_PAYLOAD_BYTES_MAX], digest[SORA_DIGEST_SIZE] = {5};
    struct sora_mail *mail = NULL;
    struct sora_message *message = NULL;
    const void *payload = NULL;
    size_t payload_size = 0;
    Farm__Message letter = FARM__MESSAGE__INIT;
    Farm__BlobChunk blob = FARM__BLOB_CHUNK__INIT;
    assert_int_equal(sora_mail_create(&mail), SORA_OK);
    blob.digest = (ProtobufCBinaryData){sizeof(digest), digest};
    blob.size = sizeof(chunk);
    letter.body_case = FARM__MESSAGE__BODY_BLOB_CHUNK;
    letter.blob_chunk = &blob;
    chunk[77] = 99;
    assert_int_equal(sora_mail_post(mail, &letter, NULL, 0, NULL), SORA_E_INVALID);
    size_t sent = 0;
    while (sora_mail_post(mail, &letter, chunk, sizeof(chunk), NULL) == SORA_OK)
        sent++;
    assert_in_range(sent, 60, 64); /* 64 MiB */
    assert_int_equal(sora_mail_count(mail), sent);
    assert_true(sora_mail_take(mail, &message, &payload, &payload_size));
    assert_int_equal(payload_size, sizeof(chunk));
    assert_memory_equal(payload, chunk, sizeof(chunk));
    assert_memory_equal(message->farm->blob_chunk->digest.data, digest, sizeof(digest));
    assert_int_not_equal(message->farm->id, 0);
    sora_message_destroy(&message);
    assert_int_equal(sora_mail_post(mail, &letter, chunk, sizeof(chunk), NULL), SORA_OK);
    /* What breaks a rule is found where it is sent. */
    blob.digest.len = 3;
    assert_int_equal(sora_mail_post(mail, &letter, chunk, 1, NULL), SORA_E_FORMAT);
    sora_mail_destroy(&mail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_state_has_one_daemon, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_state_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_of_others_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(where_the_state_is, setup, teardown),
        cmocka_unit_test_setup_teardown(an_identity_is_made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(open_keys_and_damaged_certificates_are_refused, setup,
                                        teardown),
        cmocka_unit_test(names_of_invites_are_kept),
        cmocka_unit_test(a_beacon_says_who_and_where),
        cmocka_unit_test(mail_comes_as_it_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
