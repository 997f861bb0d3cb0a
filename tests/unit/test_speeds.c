/* Measured speeds: running means, the bounded table, and the file between runs. */
#include "node/speeds.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct sora_speed_key key_of(const char *device, unsigned char model, uint32_t width)
{
    struct sora_speed_key key = {.threads = 2, .width = width, .height = 10, .window = 9};
    snprintf(key.device, sizeof(key.device), "%s", device);
    memset(key.model.bytes, model, sizeof(key.model.bytes));
    return key;
}

static struct sora_speeds *opened(const char *path)
{
    struct sora_speeds *speeds = NULL;
    struct sora_fault fault = {0};
    if (sora_speeds_create(path, &speeds, &fault))
        fail_msg("%s", fault.text);
    return speeds;
}

static void test_follows(void **state)
{
    (void)state;
    struct sora_speeds *speeds = opened(NULL);
    const struct sora_speed_key a = key_of("cpu0", 1, 20), b = key_of("cpu0", 1, 40);
    assert_null(sora_speeds_at(speeds, 0));
    sora_speeds_note(speeds, &a, 100, 0);
    sora_speeds_note(speeds, &b, 400, 8);
    sora_speeds_note(speeds, &a, 200, 5);
    const struct sora_speed *first = sora_speeds_at(speeds, 0);
    assert_int_equal(first->key.width, 20);
    assert_true(first->window_ms > 129.9 && first->window_ms < 130.1);
    assert_true(first->decode_ms == 5);
    sora_speeds_note(speeds, &a, -1, 0); /* no measurement */
    assert_true(first->decode_ms == 5);
    for (int i = 0; i < 30; i++)
        sora_speeds_note(speeds, &a, 50, 0);
    assert_true(sora_speeds_at(speeds, 0)->window_ms < 51);
    assert_int_equal(sora_speeds_at(speeds, 1)->key.width, 40);
    assert_null(sora_speeds_at(speeds, 2));
    sora_speeds_destroy(&speeds);
}

static void test_bounded(void **state)
{
    (void)state;
    struct sora_speeds *speeds = opened(NULL);
    for (uint32_t i = 1; i <= SORA_SPEEDS_MAX + 3; i++) {
        const struct sora_speed_key key = key_of("cpu0", 1, i);
        sora_speeds_note(speeds, &key, i, 0);
    }
    assert_int_equal(sora_speeds_at(speeds, 0)->key.width, SORA_SPEEDS_MAX + 3);
    assert_int_equal(sora_speeds_at(speeds, SORA_SPEEDS_MAX - 1)->key.width, 4);
    assert_null(sora_speeds_at(speeds, SORA_SPEEDS_MAX));
    sora_speeds_destroy(&speeds);
}

static void test_file(void **state)
{
    (void)state;
    const char *path = scratch_path("speeds");
    struct sora_speeds *speeds = opened(path);
    const struct sora_speed_key a = key_of("cpu0", 0xab, 20), b = key_of("cpu1", 7, 20);
    sora_speeds_note(speeds, &a, 12.5, 3);
    sora_speeds_note(speeds, &b, 1, 0);
    assert_int_equal(sora_speeds_save(speeds, NULL), 0);
    sora_speeds_destroy(&speeds);

    FILE *file = fopen(path, "a");
    fputs("cpu0 2 abcd 1 2 3 4 5\nno line of ours\ncpu0 2 ", file);
    fclose(file);
    speeds = opened(path);
    const struct sora_speed *first = sora_speeds_at(speeds, 0), *second = sora_speeds_at(speeds, 1);
    assert_string_equal(first->key.device, "cpu1");
    assert_string_equal(second->key.device, "cpu0");
    assert_memory_equal(&second->key.model, &a.model, sizeof(a.model));
    assert_int_equal(second->key.threads, 2);
    assert_true(second->window_ms == 12.5 && second->decode_ms == 3);
    assert_null(sora_speeds_at(speeds, 2));
    sora_speeds_destroy(&speeds);
    assert_int_equal(scratch_entry_count(""), 1);
}

static void test_unwritable(void **state)
{
    (void)state;
    const char *path = scratch_path("missing/speeds");
    struct sora_speeds *speeds = opened(path);
    const struct sora_speed_key key = key_of("cpu0", 1, 20);
    assert_int_equal(sora_speeds_save(speeds, NULL), 0); /* nothing has changed */
    sora_speeds_note(speeds, &key, 1, 1);
    struct sora_fault fault = {0};
    assert_int_equal(sora_speeds_save(speeds, &fault), SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "missing/speeds"));
    sora_speeds_destroy(&speeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test_setup_teardown(test_file, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_unwritable, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
