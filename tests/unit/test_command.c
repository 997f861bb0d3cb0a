/* soractl's commands: found by their words, options and arguments told apart, complete tables. */
#include "ctl/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(words) ((int)(sizeof(words) / sizeof((words)[0])))

static const struct sora_ctl_command *find(int argc, const char **argv, int *out_words)
{
    return sora_ctl_command_find(argc, (char **)(uintptr_t)argv, out_words);
}

static void longest_name_wins(void **state)
{
    (void)state;
    const char *plain[] = {"models", "--json"}, *two[] = {"models", "add", "dir"},
               *none[] = {"nothing"};
    int words = 0;
    assert_string_equal(find(COUNT(plain), plain, &words)->name, "models");
    assert_int_equal(words, 1);
    assert_string_equal(find(COUNT(two), two, &words)->name, "models add");
    assert_int_equal(words, 2);
    assert_null(find(COUNT(none), none, &words));
    assert_string_equal(sora_ctl_command_nearest("sumbit")->name, "submit");
    assert_null(sora_ctl_command_nearest("render-everything"));
}

static struct sora_ctl_context parse(const char *name, int argc, const char **argv, int expected)
{
    int count = 0;
    struct sora_ctl_context context = {.command = find(1, &name, &count)};
    assert_non_null(context.command);
    assert_int_equal(sora_ctl_command_parse(&context, argc, (char **)(uintptr_t)argv), expected);
    return context;
}

static void options_and_arguments_mix(void **state)
{
    (void)state;
    const char *words[] = {"3fa2", "-o", "out.mp4", "--json"};
    struct sora_ctl_context context = parse("fetch", COUNT(words), words, 0);
    assert_int_equal(context.argument_count, 1);
    assert_string_equal(context.arguments[0], "3fa2");
    assert_string_equal(context.options.output, "out.mp4");
    assert_true(context.options.json);
    sora_ctl_context_fini(&context);

    const char *after[] = {"--", "--json"};
    context = parse("fetch", COUNT(after), after, 0);
    assert_string_equal(context.arguments[0], "--json");
    assert_false(context.options.json);
    sora_ctl_context_fini(&context);
}

static void wrong_counts_are_refused(void **state)
{
    (void)state;
    const char *many[] = {"a", "b"}, *help[] = {"--help"};
    struct sora_ctl_context context = parse("fetch", COUNT(many), many, SORA_E_INVALID);
    assert_non_null(strstr(context.fault.text, "'b'"));
    sora_ctl_context_fini(&context);
    context = parse("fetch", 0, many, SORA_E_INVALID);
    assert_non_null(strstr(context.fault.text, "soractl fetch JOB"));
    sora_ctl_context_fini(&context);
    context = parse("fetch", COUNT(help), help, 0); /* help needs no argument */
    sora_ctl_context_fini(&context);
}

static void every_row_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < sora_ctl_command_count; i++) {
        const struct sora_ctl_command *command = &sora_ctl_commands[i];
        assert_true(command->summary[0] && command->run);
        assert_true(command->argument_min <= command->argument_max);
        int json = 0, help = 0;
        for (int k = 0; k < command->table->row_count; k++) {
            const struct sora_setting *row = &command->table->rows[k];
            assert_true(row->help && row->help[0]);
            json += strcmp(row->name, "json") == 0;
            help += strcmp(row->name, "help") == 0;
            for (int other = 0; other < k; other++) {
                assert_string_not_equal(row->name, command->table->rows[other].name);
                assert_false(row->letter && row->letter == command->table->rows[other].letter);
            }
        }
        assert_int_equal(json, 1);
        assert_int_equal(help, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_name_wins),
        cmocka_unit_test(options_and_arguments_mix),
        cmocka_unit_test(wrong_counts_are_refused),
        cmocka_unit_test(every_row_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
