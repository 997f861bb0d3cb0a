/* Config: typed reads, defaults, ranges, and what a broken file says. */
#include "model/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sora_config *parse(const char *text)
{
    struct sora_config *config = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_config_parse(text, strlen(text), "c.json", &config, &fault), 0);
    return config;
}

static void expect_broken(const char *text, size_t size, int code, const char *words)
{
    struct sora_config *config = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_config_parse(text, size, "dir/c.json", &config, &fault), code);
    assert_non_null(strstr(fault.text, "dir/c.json"));
    if (!strstr(fault.text, words))
        fail_msg("\"%s\" lacks \"%s\"", fault.text, words);
    assert_null(config);
}

static void test_broken_json(void **state)
{
    (void)state;
    expect_broken("{\n\"a\": 1,\n}", 11, SORA_E_FORMAT, "line 3");
    expect_broken("", 0, SORA_E_FORMAT, "line 1");
    expect_broken("[1]", 3, SORA_E_FORMAT, "not an object");
    expect_broken("{\"a\":1,\"a\":2}", 13, SORA_E_FORMAT, "duplicate");
    expect_broken("{\"a\":\"\xc3\"}", 8, SORA_E_FORMAT, "unable to decode byte 0xc3");
    char *deep = malloc(5000);
    memset(deep, '[', 5000);
    expect_broken(deep, 5000, SORA_E_LIMIT, "nested 5000 levels deep; the limit is 32");
    free(deep);
    char *large = calloc(1, (1 << 20) + 1);
    memset(large, ' ', 1 << 20);
    expect_broken(large, (1 << 20) + 1, SORA_E_LIMIT, "1048577 bytes; the limit is 1048576");
    free(large);
}

static void test_open_errors(void **state)
{
    (void)state;
    struct sora_config *config = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_config_open("/nonexistent/config.json", &config, &fault),
                     SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "/nonexistent/config.json"));
    fault = (struct sora_fault){0};
    assert_int_equal(sora_config_open("/", &config, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "folder"));
}

static void test_integers(void **state)
{
    (void)state;
    struct sora_config *config = parse("{\"a\": 7, \"b\": 7.5, \"c\": null}");
    struct sora_fault fault = {0};
    int64_t value = 0;
    struct sora_config_int spec = {"a", 3, 1, 10};
    assert_int_equal(sora_config_get_int(config, &spec, &value, &fault), 0);
    assert_int_equal(value, 7);
    spec.max = 6;
    assert_int_equal(sora_config_get_int(config, &spec, &value, &fault), SORA_E_LIMIT);
    assert_string_equal(fault.text, "c.json: a is 7; the range is 1 to 6");
    fault = (struct sora_fault){0};
    spec.key = "b";
    assert_int_equal(sora_config_get_int(config, &spec, &value, &fault), SORA_E_FORMAT);
    assert_string_equal(fault.text, "c.json: b is not an integer");
    spec.key = "c";
    assert_int_equal(sora_config_get_int(config, &spec, &value, &fault), 0);
    assert_int_equal(value, 3);
    assert_false(sora_config_has(config, "c"));
    assert_true(sora_config_has(config, "b"));
    sora_config_destroy(&config);
    assert_null(config);
    sora_config_destroy(&config);
}

static void test_other_scalars(void **state)
{
    (void)state;
    struct sora_config *config = parse("{\"n\": 1e-6, \"i\": 2, \"t\": true, \"s\": \"x\"}");
    struct sora_fault fault = {0};
    double number = 0;
    struct sora_config_number spec = {"n", 1, 0, 2};
    assert_int_equal(sora_config_get_number(config, &spec, &number, &fault), 0);
    assert_true(number == 1e-6);
    spec.key = "i";
    assert_int_equal(sora_config_get_number(config, &spec, &number, &fault), 0);
    assert_true(number == 2);
    spec.max = 1;
    assert_int_equal(sora_config_get_number(config, &spec, &number, &fault), SORA_E_LIMIT);
    spec.key = "s";
    fault = (struct sora_fault){0};
    assert_int_equal(sora_config_get_number(config, &spec, &number, &fault), SORA_E_FORMAT);
    assert_string_equal(fault.text, "c.json: s is not a number");

    bool flag = false;
    assert_int_equal(sora_config_get_bool(config, "t", false, &flag, NULL), 0);
    assert_true(flag);
    assert_int_equal(sora_config_get_bool(config, "none", true, &flag, NULL), 0);
    assert_true(flag);
    assert_int_equal(sora_config_get_bool(config, "i", false, &flag, NULL), SORA_E_FORMAT);
    const char *text = NULL;
    assert_int_equal(sora_config_get_string(config, "s", NULL, &text, NULL), 0);
    assert_string_equal(text, "x");
    assert_int_equal(sora_config_get_string(config, "none", NULL, &text, NULL), 0);
    assert_null(text);
    assert_int_equal(sora_config_get_string(config, "i", NULL, &text, NULL), SORA_E_FORMAT);
    sora_config_destroy(&config);
}

static void test_arrays(void **state)
{
    (void)state;
    struct sora_config *config = parse("{\"i\": [1, true, false], \"n\": [0.5, 2], \"x\": 1}");
    struct sora_fault fault = {0};
    int64_t ints[3];
    double numbers[3];
    int count = -1;
    assert_int_equal(sora_config_get_ints(config, "i", 3, ints, &count, &fault), 0);
    assert_int_equal(count, 3);
    assert_int_equal(ints[0] * 100 + ints[1] * 10 + ints[2], 110);
    assert_int_equal(sora_config_get_numbers(config, "n", 2, numbers, &count, &fault), 0);
    assert_true(count == 2 && numbers[0] == 0.5 && numbers[1] == 2);
    assert_int_equal(sora_config_get_ints(config, "none", 3, ints, &count, &fault), 0);
    assert_int_equal(count, 0);
    assert_int_equal(sora_config_get_ints(config, "i", 2, ints, &count, &fault), SORA_E_LIMIT);
    assert_string_equal(fault.text, "c.json: i has 3 items; the limit is 2");
    assert_int_equal(sora_config_get_ints(config, "n", 3, ints, &count, NULL), SORA_E_FORMAT);
    assert_int_equal(sora_config_get_numbers(config, "i", 3, numbers, &count, NULL), SORA_E_FORMAT);
    assert_int_equal(sora_config_get_numbers(config, "x", 3, numbers, &count, NULL), SORA_E_FORMAT);
    sora_config_destroy(&config);
}

static void test_require_class(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_config *config = parse("{\"_class_name\": \"FluxTransformer2DModel\"}");
    assert_int_equal(
        sora_config_require_class(config, "transformer", "WanTransformer3DModel", &fault),
        SORA_E_UNSUPPORTED);
    assert_string_equal(fault.text, "transformer/_class_name is FluxTransformer2DModel; this build "
                                    "runs WanTransformer3DModel");
    sora_config_destroy(&config);
    config = parse("{\"architectures\": [\"UMT5EncoderModel\"]}");
    assert_int_equal(sora_config_require_class(config, "text_encoder", "UMT5EncoderModel", NULL),
                     0);
    assert_int_equal(sora_config_require_class(config, "text_encoder", "T5", NULL),
                     SORA_E_UNSUPPORTED);
    sora_config_destroy(&config);
    config = parse("{\"architectures\": 3}");
    assert_int_equal(sora_config_require_class(config, "vae", "T5", NULL), SORA_E_FORMAT);
    sora_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_json), cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_integers),    cmocka_unit_test(test_other_scalars),
        cmocka_unit_test(test_arrays),      cmocka_unit_test(test_require_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
