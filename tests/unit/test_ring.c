/* The bounded queue: order, wrap-around, limits. */
#include "base/error.h"
#include "base/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
        cmocka_unit_test(ring_keeps_order_and_is_bounded),
        cmocka_unit_test(ring_refuses_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
