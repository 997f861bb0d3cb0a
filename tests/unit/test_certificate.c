/* Certificates: what they say, who is believed, until when; revocation lists. */
#include "proto/certificate.h"
#include "tests/unit/studio_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct studio north, south;
static struct sora_trust *trust;

static int setup(void **state)
{
    (void)state;
    studio_init(&north, "brook", SORA_ROLE_NODE | SORA_ROLE_SCHEDULER);
    studio_init(&south, "heath", SORA_ROLE_USER);
    return sora_trust_create(&trust) || sora_trust_add_root(trust, north.identity.root);
}

static int teardown(void **state)
{
    (void)state;
    studio_fini(&north);
    studio_fini(&south);
    sora_trust_destroy(&trust);
    return 0;
}

static int verify(const struct studio *studio, uint32_t roles, uint64_t wall_now_ms)
{
    struct sora_fault fault = {0};
    struct sora_identity identity;
    int rc = sora_trust_verify(trust, &studio->certificate, roles, wall_now_ms, &identity, &fault);
    if (rc == SORA_OK)
        assert_memory_equal(&identity, &studio->identity, sizeof(identity));
    return rc;
}

static void members_verify_and_strangers_do_not(void **state)
{
    (void)state;
    assert_int_equal(verify(&north, 0, STUDIO_NOW), SORA_OK);
    assert_int_equal(verify(&north, SORA_ROLE_NODE, STUDIO_NOW), SORA_OK);
    assert_int_equal(verify(&north, SORA_ROLE_USER, STUDIO_NOW), SORA_E_DENIED);
    assert_int_equal(verify(&north, SORA_ROLE_NODE | SORA_ROLE_USER, STUDIO_NOW), SORA_E_DENIED);
    assert_int_equal(verify(&south, 0, STUDIO_NOW), SORA_E_DENIED);
    assert_int_equal(sora_trust_add_root(trust, south.identity.root), SORA_OK);
    assert_int_equal(verify(&south, 0, STUDIO_NOW), SORA_OK);
    sora_trust_remove_root(trust, north.identity.root);
    assert_int_equal(verify(&north, 0, STUDIO_NOW), SORA_E_DENIED);
    assert_int_equal(verify(&south, 0, STUDIO_NOW), SORA_OK);
}

static void dates_have_five_minutes(void **state)
{
    (void)state;
    uint64_t end = north.identity.wall_not_after_ms;
    assert_int_equal(verify(&north, 0, end + SORA_CLOCK_TOLERANCE_MS), SORA_OK);
    assert_int_equal(verify(&north, 0, end + SORA_CLOCK_TOLERANCE_MS + 1), SORA_E_DENIED);
}

static void no_byte_may_change(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    struct sora_certificate again;
    struct sora_identity identity;
    struct sora_fault fault = {0};
    sora_bytes_init(&bytes, 4096);
    assert_int_equal(sora_certificate_pack(&north.certificate, &bytes), SORA_OK);
    assert_int_equal(sora_certificate_unpack(bytes.data, bytes.size, &again, &fault), SORA_OK);
    assert_int_equal(sora_certificate_read(&again, &identity, &fault), SORA_OK);
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 4;
        bool read = sora_certificate_unpack(bytes.data, bytes.size, &again, &fault) == SORA_OK &&
                    sora_certificate_read(&again, &identity, &fault) == SORA_OK;
        assert_false(read);
        bytes.data[i] ^= 4;
    }
    for (size_t cut = 0; cut < bytes.size; cut++)
        assert_int_not_equal(sora_certificate_unpack(bytes.data, cut, &again, &fault), SORA_OK);
    sora_bytes_fini(&bytes);
}

static void a_certificate_of_another_root_key_is_refused(void **state)
{
    (void)state;
    /* South signs a certificate that claims to be north's: the signature is south's. */
    struct sora_certificate forged = north.certificate;
    memcpy(forged.signature, south.certificate.signature, sizeof(forged.signature));
    struct sora_identity identity;
    struct sora_fault fault = {0};
    assert_int_equal(sora_trust_verify(trust, &forged, 0, STUDIO_NOW, &identity, &fault),
                     SORA_E_DENIED);
}

static int apply(const struct sora_key *root, uint64_t sequence,
                 unsigned char (*serials)[SORA_SERIAL_SIZE], size_t count, int damage)
{
    struct sora_bytes bytes;
    struct sora_fault fault = {0};
    struct sora_message *message = NULL;
    sora_bytes_init(&bytes, 65536);
    assert_int_equal(
        sora_revocation_issue(root, sequence, STUDIO_NOW, serials, count, &bytes, &fault), SORA_OK);
    assert_int_equal(sora_message_decode_as(&farm__revocation__descriptor, bytes.data, bytes.size,
                                            true, &message, &fault),
                     SORA_OK);
    Farm__Revocation *list = (Farm__Revocation *)message->any;
    if (damage)
        list->signature.data[0] ^= 1;
    int rc = sora_trust_apply(trust, list, &fault);
    sora_message_destroy(&message);
    sora_bytes_fini(&bytes);
    return rc;
}

static void the_revoked_are_out(void **state)
{
    (void)state;
    static unsigned char serials[SORA_REVOKED_MAX][SORA_SERIAL_SIZE];
    memcpy(serials[SORA_REVOKED_MAX - 1], north.identity.serial, SORA_SERIAL_SIZE);
    Farm__Revocation lists[SORA_TRUST_ROOTS_MAX];
    assert_int_equal(sora_trust_revocations(trust, lists), 0);
    assert_int_equal(apply(north.root, 5, serials, SORA_REVOKED_MAX, 1), SORA_E_DENIED);
    assert_int_equal(apply(south.root, 5, serials, SORA_REVOKED_MAX, 0), SORA_E_DENIED);
    assert_int_equal(verify(&north, 0, STUDIO_NOW), SORA_OK);
    assert_int_equal(apply(north.root, 5, serials, SORA_REVOKED_MAX, 0), SORA_OK);
    assert_int_equal(verify(&north, 0, STUDIO_NOW), SORA_E_DENIED);
    assert_int_equal(sora_trust_revocations(trust, lists), 1);
    /* An older or equal list does not bring the member back. */
    assert_int_equal(apply(north.root, 5, serials, 0, 0), SORA_E_STALE);
    assert_int_equal(apply(north.root, 4, serials, 0, 0), SORA_E_STALE);
    assert_int_equal(verify(&north, 0, STUDIO_NOW), SORA_E_DENIED);
    /* What is sent on is taken by another. */
    struct sora_trust *other;
    assert_int_equal(sora_trust_create(&other), SORA_OK);
    assert_int_equal(sora_trust_add_root(other, north.identity.root), SORA_OK);
    assert_int_equal(sora_trust_apply(other, &lists[0], NULL), SORA_OK);
    assert_int_equal(sora_trust_check(other, &north.identity, 0, STUDIO_NOW, NULL), SORA_E_DENIED);
    sora_trust_destroy(&other);
}

static void limits_hold(void **state)
{
    (void)state;
    unsigned char root[SORA_KEY_PUBLIC_SIZE] = {0};
    for (int i = 1; i < SORA_TRUST_ROOTS_MAX; i++) {
        root[0] = (unsigned char)i;
        assert_int_equal(sora_trust_add_root(trust, root), SORA_OK);
        assert_int_equal(sora_trust_add_root(trust, root), SORA_OK);
    }
    root[0] = 0;
    assert_int_equal(sora_trust_add_root(trust, root), SORA_E_FULL);
    struct sora_identity nameless = north.identity;
    struct sora_certificate certificate;
    struct sora_fault fault = {0};
    nameless.name[0] = '\0';
    assert_int_equal(sora_certificate_issue(north.root, &nameless, &certificate, &fault),
                     SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "name"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_verify_and_strangers_do_not, setup, teardown),
        cmocka_unit_test_setup_teardown(dates_have_five_minutes, setup, teardown),
        cmocka_unit_test_setup_teardown(no_byte_may_change, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_of_another_root_key_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_revoked_are_out, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_hold, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
