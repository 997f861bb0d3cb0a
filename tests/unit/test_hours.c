/* Offer hours: ranges within a day and over midnight, lists, and what is refused. */
#include "node/hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct sora_hours parsed(const char *text)
{
    struct sora_hours hours = {.count = -1};
    struct sora_fault fault = {0};
    if (sora_hours_parse(text, &hours, &fault))
        fail_msg("%s", fault.text);
    return hours;
}

static int at(int hour, int minute)
{
    return hour * 60 + minute;
}

static void test_always(void **state)
{
    (void)state;
    struct sora_hours hours = parsed("");
    for (int minute = 0; minute < SORA_HOURS_DAY; minute++)
        assert_true(sora_hours_open(&hours, minute));
    hours = parsed("09:00-09:00");
    assert_true(sora_hours_open(&hours, at(8, 59)) && sora_hours_open(&hours, at(9, 0)));
}

static void test_over_midnight(void **state)
{
    (void)state;
    struct sora_hours hours = parsed("19:00-08:00");
    assert_false(sora_hours_open(&hours, at(18, 59)));
    assert_true(sora_hours_open(&hours, at(19, 0)));
    assert_true(sora_hours_open(&hours, at(23, 59)));
    assert_true(sora_hours_open(&hours, 0));
    assert_true(sora_hours_open(&hours, at(7, 59)));
    assert_false(sora_hours_open(&hours, at(8, 0)));
    assert_int_equal(sora_hours_next(&hours, at(8, 0)), at(19, 0));
}

static void test_several(void **state)
{
    (void)state;
    struct sora_hours hours = parsed("12:00-13:30,19:00-24:00");
    assert_int_equal(hours.count, 2);
    assert_true(sora_hours_open(&hours, at(13, 29)));
    assert_false(sora_hours_open(&hours, at(13, 30)));
    assert_true(sora_hours_open(&hours, at(23, 59)));
    assert_false(sora_hours_open(&hours, 0));
    assert_int_equal(sora_hours_next(&hours, at(14, 0)), at(19, 0));
    assert_int_equal(sora_hours_next(&hours, at(3, 0)), at(12, 0));
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"19-8",
                                        "19:00",
                                        "19:00-",
                                        "25:00-08:00",
                                        "19:60-08:00",
                                        "24:01-08:00",
                                        "-1:00-08:00",
                                        "19:00-08:00,",
                                        "9:00-10:00",
                                        "19:00 -08:00",
                                        "always",
                                        "00:00-01:00,02:00-03:00,04:00-05:00,"
                                        "06:00-07:00,08:00-09:00"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct sora_hours hours = {.count = 7};
        struct sora_fault fault = {0};
        assert_int_equal(sora_hours_parse(wrong[i], &hours, &fault), SORA_E_INVALID);
        assert_int_equal(hours.count, 7);
        assert_non_null(strstr(fault.text, "19:00-08:00"));
    }
}

static void test_local_minute(void **state)
{
    (void)state;
    setenv("TZ", "XYZ-2", 1); /* two hours ahead of UTC */
    tzset();
    assert_int_equal(sora_hours_minute(0), at(2, 0));
    assert_int_equal(sora_hours_minute(86400 * 3 + 22 * 3600 + 61), at(0, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_always),       cmocka_unit_test(test_over_midnight),
        cmocka_unit_test(test_several),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_local_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
