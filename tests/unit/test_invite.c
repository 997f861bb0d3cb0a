/* Invite codes and joining: one use, in time, by the secret, both ways. */
#include "proto/invite.h"
#include "tests/unit/scratch.h"
#include "tests/unit/studio_fixture.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct studio host, guest;
static struct sora_invites *book;
static struct sora_invite invite;

static int setup(void **state)
{
    studio_init(&host, "brook", SORA_ROLE_NODE | SORA_ROLE_SCHEDULER);
    studio_init(&guest, "heath", SORA_ROLE_NODE);
    invite =
        (struct sora_invite){.wall_expires_ms = STUDIO_NOW + SORA_INVITE_LIFETIME_MS,
                             .roles = SORA_ROLE_NODE,
                             .uses = 1,
                             .endpoint_count = 2,
                             .endpoints = {"tcp://192.0.2.7:7712", "tcp://[2001:db8::1]:7712"}};
    memcpy(invite.root, host.identity.root, sizeof(invite.root));
    memcpy(invite.curve, host.identity.curve, sizeof(invite.curve));
    return scratch_setup(state) || sora_invites_create(&book, NULL) ||
           sora_invites_add(book, &invite, STUDIO_NOW, NULL);
}

static int teardown(void **state)
{
    studio_fini(&host);
    studio_fini(&guest);
    sora_invites_destroy(&book);
    return scratch_teardown(state);
}

static void a_code_is_read_as_it_is_pasted(void **state)
{
    (void)state;
    char code[SORA_INVITE_CODE_SIZE], pasted[2 * SORA_INVITE_CODE_SIZE] = "  ";
    struct sora_invite read;
    assert_int_equal(sora_invite_format(&invite, code, NULL), SORA_OK);
    assert_int_equal(strncmp(code, "farm1-", 6), 0);
    assert_in_range(strlen(code), 200, 320);
    assert_int_equal(sora_invite_parse(code, &read, NULL), SORA_OK);
    assert_memory_equal(&read, &invite, sizeof(read));
    size_t to = 2;
    for (size_t i = 0; code[i]; i++) {
        pasted[to++] = (char)toupper((unsigned char)code[i]);
        if (i > 6 && i % 60 == 0)
            pasted[to++] = '\n';
    }
    assert_int_equal(sora_invite_parse(pasted, &read, NULL), SORA_OK);
    assert_memory_equal(&read, &invite, sizeof(read));
}

static void a_code_with_a_mistake_is_refused(void **state)
{
    (void)state;
    char code[SORA_INVITE_CODE_SIZE];
    struct sora_invite read = {.uses = 77};
    assert_int_equal(sora_invite_format(&invite, code, NULL), SORA_OK);
    size_t length = strlen(code);
    for (size_t i = 0; i < length; i++) {
        char kept = code[i];
        if (kept == '-')
            continue;
        code[i] = kept == 'a' ? 'b' : 'a';
        assert_int_not_equal(sora_invite_parse(code, &read, NULL), SORA_OK);
        code[i] = '!';
        assert_int_not_equal(sora_invite_parse(code, &read, NULL), SORA_OK);
        code[i] = kept;
    }
    for (size_t cut = 0; cut < length; cut++) {
        char kept = code[cut];
        code[cut] = '\0';
        assert_int_equal(sora_invite_parse(code, &read, NULL), SORA_E_FORMAT);
        code[cut] = kept;
    }
    static char endless[100000];
    memset(endless, 'a', sizeof(endless) - 1);
    memcpy(endless, "farm1-", 6);
    assert_int_equal(sora_invite_parse(endless, &read, NULL), SORA_E_FORMAT);
    assert_int_equal(read.uses, 77);
}

static int redeem(const struct sora_join *join, uint64_t wall_now_ms, struct sora_grant *out_grant)
{
    struct sora_fault fault = {0};
    return sora_invites_redeem(book, &join->wire, guest.identity.curve, wall_now_ms, out_grant,
                               &fault);
}

static void joining_proves_the_secret_both_ways(void **state)
{
    (void)state;
    struct sora_join join;
    struct sora_grant grant;
    struct sora_fault fault = {0};
    sora_join_request(&invite, guest.sign, guest.curve, "heath", &join);
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_OK);
    assert_int_equal(grant.roles, SORA_ROLE_NODE);

    struct sora_certificate issued, got;
    struct sora_identity identity = guest.identity;
    assert_int_equal(sora_certificate_issue(host.root, &identity, &issued, &fault), SORA_OK);
    unsigned char proof[SORA_PROOF_SIZE];
    sora_invites_prove(book, &grant, &join.wire, &issued, proof);
    Farm__JoinReply reply = FARM__JOIN_REPLY__INIT;
    Farm__Certificate wire;
    sora_certificate_put(&issued, &wire);
    reply.certificate = &wire;
    reply.proof = (ProtobufCBinaryData){sizeof(proof), proof};
    assert_int_equal(sora_join_check_reply(&invite, &join, &reply, &got, &identity, &fault),
                     SORA_OK);
    assert_memory_equal(identity.root, host.identity.root, sizeof(identity.root));
    proof[0] ^= 1;
    assert_int_equal(sora_join_check_reply(&invite, &join, &reply, &got, &identity, &fault),
                     SORA_E_DENIED);
    proof[0] ^= 1;
    /* The proof is for that certificate only. */
    fault = (struct sora_fault){0};
    sora_certificate_put(&guest.certificate, &wire);
    assert_int_equal(sora_join_check_reply(&invite, &join, &reply, &got, &identity, &fault),
                     SORA_E_DENIED);
    /* And a certificate with a good proof must be by the root that the code named. */
    fault = (struct sora_fault){0};
    sora_invites_prove(book, &grant, &join.wire, &guest.certificate, proof);
    assert_int_equal(sora_join_check_reply(&invite, &join, &reply, &got, &identity, &fault),
                     SORA_E_DENIED);
    assert_non_null(strstr(fault.text, "not for this node"));
}

static void an_invite_is_used_once(void **state)
{
    (void)state;
    struct sora_join join;
    struct sora_grant grant;
    sora_join_request(&invite, guest.sign, guest.curve, "heath", &join);
    assert_int_equal(sora_invites_open(book, STUDIO_NOW), 1);
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_OK);
    assert_int_equal(sora_invites_open(book, STUDIO_NOW), 0);
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
    /* Not after a restart either. */
    const char *path = scratch_path("invites");
    struct stat status;
    assert_int_equal(sora_invites_save(book, path, NULL), SORA_OK);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    sora_invites_destroy(&book);
    assert_int_equal(sora_invites_load(path, &book, NULL), SORA_OK);
    sora_join_request(&invite, guest.sign, guest.curve, "heath", &join);
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
}

static void late_wrong_and_borrowed_requests_are_refused(void **state)
{
    (void)state;
    struct sora_join join;
    struct sora_grant grant;
    sora_join_request(&invite, guest.sign, guest.curve, "heath", &join);
    assert_int_equal(redeem(&join, invite.wall_expires_ms + 1, &grant), SORA_E_DENIED);
    /* Over a connection with another key. */
    assert_int_equal(
        sora_invites_redeem(book, &join.wire, host.identity.curve, STUDIO_NOW, &grant, NULL),
        SORA_E_DENIED);
    /* Another name, another key, another secret. */
    join.wire.name = (char *)(uintptr_t) "mallory";
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
    struct sora_invite wrong = invite;
    wrong.secret[15] ^= 1;
    sora_join_request(&wrong, guest.sign, guest.curve, "heath", &join);
    for (int i = 0; i < 3; i++)
        assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
    sora_join_request(&invite, guest.sign, guest.curve, "heath", &join);
    assert_int_equal(sora_invites_open(book, STUDIO_NOW), 1);
    /* The fifth wrong proof made it void, the right one comes too late. */
    join.proof[0] ^= 1;
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
    join.proof[0] ^= 1;
    assert_int_equal(redeem(&join, STUDIO_NOW, &grant), SORA_E_DENIED);
    assert_int_equal(sora_invites_open(book, STUDIO_NOW), 0);
}

static void the_book_is_bounded(void **state)
{
    (void)state;
    struct sora_invite more = invite;
    for (int i = 1; i < SORA_INVITES_MAX; i++)
        assert_int_equal(sora_invites_add(book, &more, STUDIO_NOW, NULL), SORA_OK);
    assert_int_equal(sora_invites_add(book, &more, STUDIO_NOW, NULL), SORA_E_FULL);
    assert_true(sora_invites_remove(book, invite.id));
    assert_false(sora_invites_remove(book, invite.id));
    assert_int_equal(sora_invites_add(book, &more, STUDIO_NOW, NULL), SORA_OK);
    assert_int_equal(sora_invites_add(book, &more, more.wall_expires_ms + 1, NULL), SORA_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_code_is_read_as_it_is_pasted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_code_with_a_mistake_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(joining_proves_the_secret_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(an_invite_is_used_once, setup, teardown),
        cmocka_unit_test_setup_teardown(late_wrong_and_borrowed_requests_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_book_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
