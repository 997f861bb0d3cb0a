/* The bounded containers of base/: bytes and ring. */
#include "base/bytes.h"
#include "base/error.h"
#include "base/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void bytes_grow_up_to_the_maximum(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 1000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sora_bytes_append(&bytes, "0123456789", 10), SORA_OK);
    assert_int_equal(bytes.size, 1000);
    assert_true(bytes.capacity <= 1000);
    assert_int_equal(sora_bytes_append(&bytes, "x", 1), SORA_E_FULL);
    assert_int_equal(sora_bytes_append(&bytes, NULL, 0), SORA_OK);
    assert_int_equal(bytes.size, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(bytes.data[i], '0' + i % 10);
    assert_int_equal(bytes.data[1000], 0);
    sora_bytes_fini(&bytes);
    assert_null(bytes.data);
    assert_int_equal(sora_bytes_append(&bytes, "again", 5), SORA_OK);
    sora_bytes_fini(&bytes);
}

static void bytes_refuse_absurd_sizes(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 16);
    assert_int_equal(sora_bytes_reserve(&bytes, SIZE_MAX), SORA_E_FULL);
    assert_int_equal(sora_bytes_reserve(&bytes, 17), SORA_E_FULL);
    assert_int_equal(sora_bytes_reserve(&bytes, 16), SORA_OK);
    sora_bytes_fini(&bytes);
    sora_bytes_init(&bytes, 0);
    assert_int_equal(sora_bytes_append(&bytes, "", 0), SORA_OK);
    assert_int_equal(sora_bytes_append(&bytes, "x", 1), SORA_E_FULL);
    sora_bytes_fini(&bytes);
}

static void bytes_format_text(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, 12);
    assert_int_equal(sora_bytes_format(&bytes, "%d-%s", 42, "abc"), SORA_OK);
    assert_int_equal(sora_bytes_format(&bytes, "%07d", 1), SORA_E_FULL);
    assert_string_equal((char *)bytes.data, "42-abc");
    sora_bytes_clear(&bytes);
    assert_int_equal(bytes.size, 0);
    assert_int_equal(sora_bytes_format(&bytes, "%012d", 1), SORA_OK);
    assert_string_equal((char *)bytes.data, "000000000001");
    sora_bytes_fini(&bytes);
}

static void ring_keeps_order_and_is_bounded(void **state)
{
    (void)state;
    struct sora_ring ring;
    assert_int_equal(sora_ring_init(&ring, 3, sizeof(int)), SORA_OK);
    int next_in = 0, next_out = 0, out;
    assert_false(sora_ring_pop(&ring, &out));
    for (int round = 0; round < 50; round++) {
        int fill = round % 4;
        while ((int)ring.count < fill && ring.count < ring.capacity) {
            assert_int_equal(sora_ring_push(&ring, &next_in), SORA_OK);
            next_in++;
        }
        if (ring.count == ring.capacity)
            assert_int_equal(sora_ring_push(&ring, &next_in), SORA_E_FULL);
        for (size_t i = 0; i < ring.count; i++)
            assert_int_equal(*(int *)sora_ring_at(&ring, i), next_out + (int)i);
        assert_null(sora_ring_at(&ring, ring.count));
        if (sora_ring_pop(&ring, &out))
            assert_int_equal(out, next_out++);
    }
    while (sora_ring_pop(&ring, &out))
        assert_int_equal(out, next_out++);
    assert_int_equal(next_in, next_out);
    assert_true(next_in > 10);
    sora_ring_fini(&ring);
    sora_ring_fini(&ring);
}

static void ring_refuses_bad_sizes(void **state)
{
    (void)state;
    struct sora_ring ring;
    assert_int_equal(sora_ring_init(&ring, 0, 4), SORA_E_INVALID);
    assert_int_equal(sora_ring_init(&ring, 4, 0), SORA_E_INVALID);
    assert_int_equal(sora_ring_init(&ring, SIZE_MAX, 2), SORA_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_grow_up_to_the_maximum),
        cmocka_unit_test(bytes_refuse_absurd_sizes),
        cmocka_unit_test(bytes_format_text),
        cmocka_unit_test(ring_keeps_order_and_is_bounded),
        cmocka_unit_test(ring_refuses_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
