/* Envelopes: one signer, one receiver, one domain, one time. */
#include "proto/envelope.h"
#include "tests/unit/studio_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct studio home, guest;
static struct sora_trust *trust;
static struct sora_replay *replay;
static unsigned char payload[] = "the payload as it is signed";

static int setup(void **state)
{
    (void)state;
    studio_init(&home, "brook", SORA_ROLE_NODE | SORA_ROLE_SCHEDULER);
    studio_init(&guest, "heath", SORA_ROLE_USER);
    return sora_trust_create(&trust) || sora_trust_add_root(trust, guest.identity.root) ||
           sora_replay_create(4, &replay);
}

static int teardown(void **state)
{
    (void)state;
    studio_fini(&home);
    studio_fini(&guest);
    sora_trust_destroy(&trust);
    sora_replay_destroy(&replay);
    return 0;
}

static void seal(const unsigned char *audience, uint64_t expires, struct sora_envelope *out)
{
    const struct sora_envelope_params params = {.key = guest.sign,
                                                .certificate = &guest.certificate,
                                                .domain = SORA_DOMAIN_SUBMIT,
                                                .audience = audience,
                                                .wall_expires_ms = expires,
                                                .payload = payload,
                                                .payload_size = sizeof(payload)};
    sora_envelope_seal(&params, out);
}

static struct sora_envelope_expect expect(void)
{
    return (struct sora_envelope_expect){.trust = trust,
                                         .replay = replay,
                                         .domain = SORA_DOMAIN_SUBMIT,
                                         .node = home.identity.node,
                                         .root = home.identity.root,
                                         .roles = SORA_ROLE_USER,
                                         .wall_now_ms = STUDIO_NOW};
}

static int open_with(const struct sora_envelope *envelope, struct sora_envelope_expect with)
{
    struct sora_identity signer;
    struct sora_fault fault = {0};
    int rc = sora_envelope_open(&envelope->wire, &with, &signer, &fault);
    if (rc == SORA_OK)
        assert_string_equal(signer.name, "heath");
    return rc;
}

static void an_envelope_opens_once(void **state)
{
    (void)state;
    struct sora_envelope envelope;
    seal(home.identity.node, STUDIO_NOW + 1000, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_OK);
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    struct sora_envelope_expect stored = expect();
    stored.replay = NULL;
    assert_int_equal(open_with(&envelope, stored), SORA_OK);
}

static void audience_domain_roles_and_studio_must_fit(void **state)
{
    (void)state;
    struct sora_envelope envelope;
    seal(guest.identity.node, STUDIO_NOW + 1000, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    seal(home.identity.root, STUDIO_NOW + 1000, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_OK);
    seal(NULL, STUDIO_NOW + 1000, &envelope);
    struct sora_envelope_expect with = expect();
    with.domain = SORA_DOMAIN_LEASE;
    assert_int_equal(open_with(&envelope, with), SORA_E_DENIED);
    with = expect();
    with.roles = SORA_ROLE_SCHEDULER;
    assert_int_equal(open_with(&envelope, with), SORA_E_DENIED);
    sora_trust_remove_root(trust, guest.identity.root);
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    sora_trust_add_root(trust, guest.identity.root);
    assert_int_equal(open_with(&envelope, expect()), SORA_OK);
}

static void time_is_kept(void **state)
{
    (void)state;
    struct sora_envelope envelope;
    seal(NULL, STUDIO_NOW - SORA_CLOCK_TOLERANCE_MS, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_OK);
    seal(NULL, STUDIO_NOW - SORA_CLOCK_TOLERANCE_MS - 1, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    seal(NULL, STUDIO_NOW + SORA_ENVELOPE_LIFETIME_MS + SORA_CLOCK_TOLERANCE_MS + 1, &envelope);
    assert_int_equal(open_with(&envelope, expect()), SORA_E_LIMIT);
    seal(NULL, UINT64_MAX, &envelope);
    assert_int_not_equal(open_with(&envelope, expect()), SORA_OK);
}

static void everything_signed_is_covered(void **state)
{
    (void)state;
    struct sora_envelope envelope;
    seal(home.identity.node, STUDIO_NOW + 1000, &envelope);
    payload[3] ^= 1;
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    payload[3] ^= 1;
    envelope.wire.wall_expires_ms++;
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    envelope.wire.wall_expires_ms--;
    envelope.nonce[0] ^= 1;
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    envelope.nonce[0] ^= 1;
    envelope.wire.audience.len = 0;
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    envelope.wire.audience.len = SORA_KEY_PUBLIC_SIZE;
    envelope.signature[63] ^= 1;
    assert_int_equal(open_with(&envelope, expect()), SORA_E_DENIED);
    envelope.signature[63] ^= 1;
    /* Another member's certificate under this signature. */
    struct sora_certificate kept = guest.certificate;
    guest.certificate = home.certificate;
    sora_certificate_put(&guest.certificate, &envelope.certificate);
    sora_trust_add_root(trust, home.identity.root);
    struct sora_envelope_expect any = expect();
    any.roles = 0;
    assert_int_equal(open_with(&envelope, any), SORA_E_DENIED);
    guest.certificate = kept;
    sora_certificate_put(&guest.certificate, &envelope.certificate);
    assert_int_equal(open_with(&envelope, expect()), SORA_OK);
}

static void the_window_of_nonces_is_bounded_and_fails_closed(void **state)
{
    (void)state;
    struct sora_envelope envelopes[6];
    for (int i = 0; i < 6; i++)
        seal(NULL, STUDIO_NOW + 1000, &envelopes[i]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(open_with(&envelopes[i], expect()), SORA_OK);
    assert_int_equal(open_with(&envelopes[4], expect()), SORA_E_FULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(open_with(&envelopes[i], expect()), SORA_E_DENIED);
    /* Later the four are past their date and make room. */
    struct sora_envelope_expect later = expect();
    later.wall_now_ms = STUDIO_NOW + 1001 + SORA_CLOCK_TOLERANCE_MS;
    struct sora_envelope fresh;
    seal(NULL, later.wall_now_ms + 1000, &fresh);
    assert_int_equal(open_with(&fresh, later), SORA_OK);
    assert_int_equal(open_with(&fresh, later), SORA_E_DENIED);
    assert_int_equal(open_with(&envelopes[0], later), SORA_E_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_envelope_opens_once, setup, teardown),
        cmocka_unit_test_setup_teardown(audience_domain_roles_and_studio_must_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(time_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_signed_is_covered, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_of_nonces_is_bounded_and_fails_closed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
