/* Every message there and back; what hostile bytes meet: truncation, repetition, size, memory. */
#include "proto/message.h"
#include "tests/unit/proto_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned char packed[SORA_MESSAGE_BYTES_MAX + 64];

/* Decodes from a block of exactly `size` bytes, so that a sanitizer sees a byte read past it. */
static int decode(const void *data, size_t size, struct sora_message **out_message)
{
    unsigned char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    if (size > 0)
        memcpy(exact, data, size);
    struct sora_fault fault = {0};
    int rc = sora_message_decode(exact, size, out_message, &fault);
    assert_true((rc == 0) == (fault.code == 0));
    free(exact);
    return rc;
}

static int decode_and_drop(const void *data, size_t size)
{
    struct sora_message *message = NULL;
    int rc = decode(data, size, &message);
    sora_message_destroy(&message);
    return rc;
}

static size_t make(const struct sora_message_type *row, uint64_t seed)
{
    struct sora_fault fault = {0};
    size_t size = 0;
    proto_reset(seed);
    Farm__Message *message = proto_make_farm(row);
    if (sora_message_size(message, &size, &fault))
        fail_msg("%s: %s", row->name, fault.text);
    assert_true(size <= sizeof(packed));
    sora_message_encode(message, packed);
    return size;
}

static void every_message_returns_as_it_was(void **state)
{
    (void)state;
    size_t count;
    const struct sora_message_type *rows = sora_message_types(&count);
    assert_int_equal(count, farm__message__descriptor.n_fields - 2);
    static unsigned char again[SORA_MESSAGE_BYTES_MAX];
    for (size_t i = 0; i < count; i++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            size_t size = make(&rows[i], seed);
            struct sora_message *message = NULL;
            assert_int_equal(decode(packed, size, &message), SORA_OK);
            assert_int_equal(message->farm->body_case, rows[i].body_case);
            assert_int_equal(farm__message__get_packed_size(message->farm), size);
            sora_message_encode(message->farm, again);
            assert_memory_equal(packed, again, size);
            sora_message_destroy(&message);
        }
    }
}

static void a_cut_message_never_passes_as_another_length(void **state)
{
    (void)state;
    size_t count;
    const struct sora_message_type *rows = sora_message_types(&count);
    for (size_t i = 0; i < count; i++) {
        size_t size = make(&rows[i], 3);
        for (size_t cut = 0; cut < size; cut++)
            assert_int_not_equal(decode_and_drop(packed, cut), SORA_OK);
    }
}

/* No assertion on the result: it must end, within its memory, and not read past the bytes. */
static void changed_bytes_are_survived(void **state)
{
    (void)state;
    size_t count;
    const struct sora_message_type *rows = sora_message_types(&count);
    for (size_t i = 0; i < count; i++) {
        size_t size = make(&rows[i], 5);
        for (size_t at = 0; at < size; at += 1 + size / 200) {
            for (int flip = 0; flip < 3; flip++) {
                unsigned char kept = packed[at];
                packed[at] ^= (unsigned char)(1u << (at + (size_t)flip * 3) % 8);
                decode_and_drop(packed, size);
                packed[at] = kept;
            }
        }
    }
}

static size_t put_varint(unsigned char *to, uint64_t value)
{
    size_t size = 0;
    do {
        to[size++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value);
    return size;
}

/* A message with body `number` of the given bytes. */
static size_t wrap(unsigned number, const unsigned char *body, size_t size)
{
    size_t at = put_varint(packed, 1 << 3);
    at += put_varint(packed + at, 7);
    at += put_varint(packed + at, (uint64_t)number << 3 | 2);
    at += put_varint(packed + at, size);
    if (size > 0)
        memcpy(packed + at, body, size);
    return at + size;
}

static void amplification_is_stopped_before_memory_is_taken(void **state)
{
    (void)state;
    /* 120,000 empty job states in 240 KB would unpack to 30 MB. */
    static unsigned char body[240000];
    for (size_t i = 0; i + 1 < sizeof(body); i += 2) {
        body[i] = 1 << 3 | 2; /* ListReply.jobs */
        body[i + 1] = 0;
    }
    size_t size = wrap(FARM__MESSAGE__BODY_LIST_REPLY, body, sizeof(body));
    assert_int_equal(decode_and_drop(packed, size), SORA_E_LIMIT);
    /* The same with unknown fields. */
    for (size_t i = 0; i + 1 < sizeof(body); i += 2) {
        body[i] = 15 << 3 | 0;
        body[i + 1] = 1;
    }
    size = wrap(FARM__MESSAGE__BODY_LIST_REPLY, body, sizeof(body));
    assert_int_equal(decode_and_drop(packed, size), SORA_E_LIMIT);
}

static void depth_has_no_place_to_go(void **state)
{
    (void)state;
    /* Length-delimited fields in one another; no type of ours follows, so they are unknown. */
    static unsigned char body[4096];
    size_t at = sizeof(body), inside = 0;
    while (at > 8) {
        unsigned char head[8];
        size_t size = put_varint(head, 1 << 3 | 2);
        size += put_varint(head + size, inside);
        at -= size;
        memcpy(body + at, head, size);
        inside += size;
    }
    size_t size = wrap(FARM__MESSAGE__BODY_WATCH, body + at, sizeof(body) - at);
    assert_int_not_equal(decode_and_drop(packed, size), SORA_OK);
}

static void a_message_over_its_cap_is_refused(void **state)
{
    (void)state;
    static unsigned char body[SORA_MESSAGE_BYTES_MAX];
    size_t size = wrap(FARM__MESSAGE__BODY_PING, body, 2000); /* zeros are malformed anyway */
    assert_int_not_equal(decode_and_drop(packed, size), SORA_OK);
    memset(packed, 0, sizeof(packed));
    assert_int_equal(decode_and_drop(packed, sizeof(packed)), SORA_E_LIMIT);
    /* A Ping with an unknown field of 1,500 bytes is well-formed but longer than a Ping may be. */
    size_t head = put_varint(body, 9 << 3 | 2);
    head += put_varint(body + head, 1500);
    memset(body + head, 0, 1500);
    size = wrap(FARM__MESSAGE__BODY_PING, body, head + 1500);
    assert_int_equal(decode_and_drop(packed, size), SORA_E_LIMIT);
    size = wrap(FARM__MESSAGE__BODY_PING, body, 0);
    assert_int_equal(decode_and_drop(packed, size), SORA_OK);
}

static void two_bodies_and_double_fields_are_refused(void **state)
{
    (void)state;
    size_t size = wrap(FARM__MESSAGE__BODY_PING, NULL, 0);
    size += put_varint(packed + size, FARM__MESSAGE__BODY_ACK << 3 | 2);
    packed[size++] = 0;
    assert_int_equal(decode_and_drop(packed, size), SORA_E_FORMAT);
    size = wrap(FARM__MESSAGE__BODY_PING, NULL, 0);
    size += put_varint(packed + size, 1 << 3); /* id again */
    packed[size++] = 9;
    assert_int_equal(decode_and_drop(packed, size), SORA_E_LIMIT);
    assert_int_equal(decode_and_drop(NULL, 0), SORA_E_FORMAT);
}

static void signed_payloads_know_no_unknown_fields(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    proto_reset(1);
    ProtobufCMessage *spec = proto_make(&farm__job_spec__descriptor);
    size_t size = protobuf_c_message_pack(spec, packed);
    struct sora_message *message = NULL;
    assert_int_equal(
        sora_message_decode_as(&farm__job_spec__descriptor, packed, size, true, &message, &fault),
        SORA_OK);
    assert_null(message->farm);
    sora_message_destroy(&message);
    size += put_varint(packed + size, 99 << 3);
    packed[size++] = 1;
    assert_int_equal(
        sora_message_decode_as(&farm__job_spec__descriptor, packed, size, false, &message, &fault),
        SORA_OK);
    sora_message_destroy(&message);
    assert_int_equal(
        sora_message_decode_as(&farm__job_spec__descriptor, packed, size, true, &message, &fault),
        SORA_E_FORMAT);
    assert_null(message);
}

static void our_own_mistakes_are_not_sent(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    size_t size;
    proto_reset(2);
    Farm__Message *message = proto_make_farm(sora_message_type_find(FARM__MESSAGE__BODY_REFUSAL));
    message->refusal->text = (char *)(uintptr_t) "\x1b[31mred";
    assert_int_equal(sora_message_size(message, &size, &fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "text"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_returns_as_it_was),
        cmocka_unit_test(a_cut_message_never_passes_as_another_length),
        cmocka_unit_test(changed_bytes_are_survived),
        cmocka_unit_test(amplification_is_stopped_before_memory_is_taken),
        cmocka_unit_test(depth_has_no_place_to_go),
        cmocka_unit_test(a_message_over_its_cap_is_refused),
        cmocka_unit_test(two_bodies_and_double_fields_are_refused),
        cmocka_unit_test(signed_payloads_know_no_unknown_fields),
        cmocka_unit_test(our_own_mistakes_are_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
