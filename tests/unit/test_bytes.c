/* The growable byte buffer: growth, its maximum, formatting. */
#include "base/bytes.h"
#include "base/error.h"

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

static void hex_is_lower_case_and_ends(void **state)
{
    (void)state;
    char text[9] = "xxxxxxxx";
    assert_string_equal(sora_hex("\x00\x9f\xab", 3, text), "009fab");
    assert_string_equal(sora_hex(NULL, 0, text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_grow_up_to_the_maximum),
        cmocka_unit_test(bytes_refuse_absurd_sizes),
        cmocka_unit_test(bytes_format_text),
        cmocka_unit_test(hex_is_lower_case_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
