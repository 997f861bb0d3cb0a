/* The error table, exit statuses, errno translation and the fault text. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void table_has_unique_codes_and_texts(void **state)
{
    (void)state;
    static const int codes[] = {
#define CODE(name, value, text, retry) value,
        SORA_ERROR_TABLE(CODE)
#undef CODE
    };
    size_t count = sizeof(codes) / sizeof(codes[0]);
    for (size_t i = 0; i < count; i++) {
        assert_true(codes[i] < 0);
        assert_string_not_equal(sora_error_text(codes[i]), "unknown error");
        for (size_t j = i + 1; j < count; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(sora_error_name(codes[i]), sora_error_name(codes[j]));
        }
    }
    assert_string_equal(sora_error_name(SORA_E_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(sora_error_text(SORA_OK), "ok");
    assert_string_equal(sora_error_text(-9999), "unknown error");
    assert_string_equal(sora_error_name(12), "UNKNOWN");
}

static void retry_follows_the_table(void **state)
{
    (void)state;
    assert_true(sora_error_retry(SORA_E_BUSY));
    assert_true(sora_error_retry(SORA_E_SPACE));
    assert_false(sora_error_retry(SORA_E_FORMAT));
    assert_false(sora_error_retry(SORA_OK));
    assert_false(sora_error_retry(-9999));
    assert_true(sora_error_of_input(SORA_E_NOT_FOUND));
    assert_true(sora_error_of_input(SORA_E_DENIED));
    assert_false(sora_error_of_input(SORA_E_SPACE));
    assert_false(sora_error_of_input(SORA_E_STALE));
}

static void exit_status_separates_bad_input_from_failure(void **state)
{
    (void)state;
    assert_int_equal(sora_error_exit_status(SORA_OK), 0);
    assert_int_equal(sora_error_exit_status(SORA_E_FORMAT), 2);
    assert_int_equal(sora_error_exit_status(SORA_E_LIMIT), 2);
    assert_int_equal(sora_error_exit_status(SORA_E_SPACE), 1);
    assert_int_equal(sora_error_exit_status(SORA_E_DENIED), 3);
    assert_int_equal(sora_error_exit_status(SORA_E_CANCELLED), 130);
    assert_int_equal(sora_error_exit_status(-9999), 1);
}

static void errno_is_translated(void **state)
{
    (void)state;
    assert_int_equal(sora_error_from_errno(0), SORA_OK);
    assert_int_equal(sora_error_from_errno(ENOENT), SORA_E_NOT_FOUND);
    assert_int_equal(sora_error_from_errno(EROFS), SORA_E_DENIED);
    assert_int_equal(sora_error_from_errno(ENOSPC), SORA_E_SPACE);
    assert_int_equal(sora_error_from_errno(ENOMEM), SORA_E_MEMORY);
    assert_int_equal(sora_error_from_errno(EPIPE), SORA_E_IO);
}

static void first_fault_wins_and_is_printable(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    assert_int_equal(sora_fault_set(&fault, SORA_E_LIMIT, "bad\nname %s", "\x1b[31m"),
                     SORA_E_LIMIT);
    assert_string_equal(fault.text, "bad?name ?[31m");
    assert_int_equal(sora_fault_set(&fault, SORA_E_IO, "later"), SORA_E_IO);
    assert_int_equal(fault.code, SORA_E_LIMIT);
    assert_string_equal(fault.text, "bad?name ?[31m");
    assert_int_equal(sora_fault_set(NULL, SORA_E_IO, "nobody asked"), SORA_E_IO);
}

static void fault_text_is_cut(void **state)
{
    (void)state;
    char longer[2 * SORA_FAULT_TEXT_SIZE];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    struct sora_fault fault = {0};
    sora_fault_set(&fault, SORA_E_FORMAT, "%s", longer);
    assert_int_equal(strlen(fault.text), SORA_FAULT_TEXT_SIZE - 1);
}

static void the_first_value_out_of_bounds_is_named(void **state)
{
    (void)state;
    const struct sora_bound bounds[] = {{"width", 8, 8, 64}, {"height", 65, 8, 64}, {"x", 0, 1, 2}};
    struct sora_fault fault = {0};
    assert_int_equal(sora_fault_bounds("frame", bounds, 1, &fault), SORA_OK);
    assert_int_equal(fault.code, 0);
    assert_int_equal(sora_fault_bounds("frame", bounds, 3, &fault), SORA_E_INVALID);
    assert_string_equal(fault.text, "frame: height is 65; it must be 8 to 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_has_unique_codes_and_texts),
        cmocka_unit_test(retry_follows_the_table),
        cmocka_unit_test(exit_status_separates_bad_input_from_failure),
        cmocka_unit_test(errno_is_translated),
        cmocka_unit_test(first_fault_wins_and_is_printable),
        cmocka_unit_test(fault_text_is_cut),
        cmocka_unit_test(the_first_value_out_of_bounds_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
