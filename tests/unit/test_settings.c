/* Settings tables: command line, YAML, ranges, suggestions. */
#include "base/roff.h"
#include "base/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct target {
    int64_t steps;
    double guidance;
    char *prompt;
    int solver;
    struct sora_setting_size size;
    int json;
};

static const struct sora_setting rows[] = {
    {"steps", 0, SORA_SETTING_INT, offsetof(struct target, steps), 1, 1000, NULL, "N", "steps", 0},
    {"guidance", 'g', SORA_SETTING_NUMBER, offsetof(struct target, guidance), 0, 100, NULL, "X",
     "guidance", 0},
    {"prompt", 'p', SORA_SETTING_STRING, offsetof(struct target, prompt), 1, 100, NULL, "TEXT",
     "the prompt", 0},
    {"solver", 0, SORA_SETTING_CHOICE, offsetof(struct target, solver), 0, 0, "euler|unipc", "NAME",
     "solver", 0},
    {"size", 0, SORA_SETTING_SIZE, offsetof(struct target, size), 16, 8192, NULL, "WxH", "size", 0},
    {"json", 0, SORA_SETTING_FLAG, offsetof(struct target, json), 0, 0, NULL, NULL, "json", 1},
};
static const struct sora_settings_table table = {"test [options]", "A test.", rows, 6};

static int parse(struct target *target, struct sora_fault *fault, int count, const char **words)
{
    char *argv[16] = {(char *)(uintptr_t) "test"};
    for (int i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    sora_settings_init(&table, target);
    *fault = (struct sora_fault){0};
    return sora_settings_parse_arguments(&table, count + 1, argv, target, fault);
}

static void arguments_set_values(void **state)
{
    (void)state;
    struct target target;
    struct sora_fault fault;
    const char *words[] = {"--steps=12", "-g",    "3.5",    "--prompt", "a boat",
                           "--solver",   "unipc", "--size", "256x160",  "--json"};
    assert_int_equal(parse(&target, &fault, 10, words), 0);
    assert_int_equal(target.steps, 12);
    assert_true(target.guidance == 3.5);
    assert_string_equal(target.prompt, "a boat");
    assert_int_equal(target.solver, 1);
    assert_int_equal(target.size.width, 256);
    assert_int_equal(target.size.height, 160);
    assert_int_equal(target.json, 1);
    sora_settings_fini(&table, &target);
}

struct refusal {
    int code;
    const char *part;
    int count;
    const char *words[2];
};

static void bad_arguments_are_named(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {SORA_E_LIMIT, "1 to 1000", 2, {"--steps", "0"}},
        {SORA_E_LIMIT, "1 to 1000", 2, {"--steps", "99999999999999999999999"}},
        {SORA_E_INVALID, "whole number", 2, {"--steps", "1.5"}},
        {SORA_E_INVALID, "not a number", 2, {"-g", "nan"}},
        {SORA_E_INVALID, "euler|unipc", 2, {"--solver", "ddim"}},
        {SORA_E_INVALID, "WIDTHxHEIGHT", 2, {"--size", "256"}},
        {SORA_E_INVALID, "WIDTHxHEIGHT", 2, {"--size", "256x-4"}},
        {SORA_E_LIMIT, "16 to 8192", 2, {"--size", "9000x16"}},
        {SORA_E_INVALID, "did you mean --steps", 2, {"--stesp", "3"}},
        {SORA_E_INVALID, "needs a value", 1, {"--prompt"}},
        {SORA_E_INVALID, "must not be empty", 2, {"--prompt", ""}},
        {SORA_E_INVALID, "quote a prompt", 1, {"boat"}},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct refusal refusal = refusals[i];
        struct target target;
        struct sora_fault fault;
        int code = parse(&target, &fault, refusal.count, refusal.words);
        if (code != refusal.code || !strstr(fault.text, refusal.part))
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
        sora_settings_fini(&table, &target);
    }
}

static int parse_yaml(const char *text, struct target *target, struct sora_fault *fault)
{
    *fault = (struct sora_fault){0};
    return sora_settings_parse_yaml(&table, text, strlen(text), "job.yaml", target, fault);
}

static void yaml_fills_what_is_unset(void **state)
{
    (void)state;
    struct target target;
    struct sora_fault fault;
    assert_int_equal(parse(&target, &fault, 2, (const char *[]){"--steps", "7"}), 0);
    assert_int_equal(parse_yaml("steps: 9\nprompt: \"a red balloon: over the sea\"\nsize: 64x32\n"
                                "guidance: 2\n",
                                &target, &fault),
                     0);
    assert_int_equal(target.steps, 7);
    assert_string_equal(target.prompt, "a red balloon: over the sea");
    assert_int_equal(target.size.height, 32);
    sora_settings_fini(&table, &target);
}

static void bad_yaml_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *part;
    } cases[] = {
        {"stpes: 3\n", SORA_E_INVALID, "did you mean steps"},
        {"json: true\n", SORA_E_INVALID, "unknown key"},
        {"steps: many\n", SORA_E_INVALID, "job.yaml: steps: 'many'"},
        {"- a\n- b\n", SORA_E_FORMAT, "job.yaml"},
        {"", SORA_E_FORMAT, "empty"},
        {"# nothing\n", SORA_E_FORMAT, "job.yaml"},
        {"steps: [1, 2]\n", SORA_E_FORMAT, "job.yaml"},
        {"steps: &a 3\nguidance: *a\n", SORA_E_FORMAT, "job.yaml"},
        {"steps: {{{\n", SORA_E_FORMAT, "job.yaml"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct target target;
        struct sora_fault fault;
        sora_settings_init(&table, &target);
        int code = parse_yaml(cases[i].text, &target, &fault);
        if (code != cases[i].code || !strstr(fault.text, cases[i].part))
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
        sora_settings_fini(&table, &target);
    }
}

static void missing_file_is_named(void **state)
{
    (void)state;
    struct target target;
    struct sora_fault fault = {0};
    sora_settings_init(&table, &target);
    assert_int_equal(sora_settings_load_yaml(&table, "/nonexistent/job.yaml", &target, &fault),
                     SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "/nonexistent/job.yaml"));
}

/* Every option is in the manual page, and nothing of it is taken for a command of roff. */
static void manual_pages_have_all_options(void **state)
{
    (void)state;
    static const struct sora_setting odd[] = {
        {"a-b", 0, SORA_SETTING_CHOICE, 0, 0, 0, "x|y", "NAME", "\\-\n.so /etc/passwd", 0}};
    static const struct sora_settings_table odd_table = {"t", "a", odd, 1};
    char *page = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&page, &size);
    sora_roff_head("sora-test", 8, "tests", "sora-test [options]", out);
    sora_roff_options(&table, out);
    sora_roff_options(&odd_table, out);
    fclose(out);
    assert_non_null(strstr(page, ".TH \"SORA-TEST\" 8 "));
    for (int i = 0; i < table.row_count; i++)
        assert_non_null(strstr(page, table.rows[i].name));
    assert_non_null(strstr(page, "(1 to 1000)"));
    assert_non_null(strstr(page, "\\-\\-a\\-b\\fR NAME\n\\e\\-\n\\&.so /etc/passwd (x|y)"));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_set_values),     cmocka_unit_test(bad_arguments_are_named),
        cmocka_unit_test(yaml_fills_what_is_unset), cmocka_unit_test(bad_yaml_is_named),
        cmocka_unit_test(missing_file_is_named),    cmocka_unit_test(manual_pages_have_all_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
