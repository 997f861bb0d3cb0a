/* soractl's commands: found by their words, options and arguments told apart, complete tables. */
#include "ctl/command.h"
#include "ctl/output.h"

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

/* What the function prints. */
static char *printed(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    print(out);
    fclose(out);
    return text;
}

static void print_farm(FILE *out)
{
    assert_int_equal(sora_ctl_print_group("farm", true, out), 5);
    assert_int_equal(sora_ctl_print_group("far", true, out), 0);
    assert_int_equal(sora_ctl_print_group("", true, out), 0);
}

static void print_models_help(FILE *out)
{
    int words = 0;
    const char *name = "models";
    sora_ctl_print_help(find(1, &name, &words), out);
}

static void a_group_names_its_commands(void **state)
{
    (void)state;
    char *farm = printed(print_farm), *models = printed(print_models_help);
    assert_string_equal(farm, "init, invite, join, members, revoke");
    assert_non_null(strstr(models, "soractl models remove MODEL"));
    free(farm);
    free(models);
}

static Farm__JobStatus job;

static void print_job(FILE *out)
{
    sora_output_job_text(&job, out);
}

static void a_job_says_how_much_and_how_long(void **state)
{
    (void)state;
    Farm__ShardStatus shard = FARM__SHARD_STATUS__INIT, *shards[] = {&shard};
    char name[] = "balloon", reason[] = "needs 6.1 GB", owner[] = "anna", place[] = "brook",
         device[] = "gpu0";
    farm__job_status__init(&job);
    unsigned char id[16] = {0x3f, 0xa2};
    job.job = (ProtobufCBinaryData){sizeof(id), id};
    job.name = name;
    job.reason = reason;
    job.owner = owner;
    job.frames_total = 720;
    job.state = FARM__JOB_STATE__JOB_QUEUED;
    char *text = printed(print_job);
    assert_non_null(strstr(text, "balloon  waiting: needs 6.1 GB\n"));
    assert_non_null(strstr(text, "\n  0 of 720 frames, submitted never by anna\n"));
    free(text);
    reason[0] = '\0';
    job.state = FARM__JOB_STATE__JOB_DONE;
    job.frames_done = 720;
    job.wall_started_ms = 1000;
    job.wall_ended_ms = 66000;
    job.restarts = 1;
    job.priority = -5;
    job.takes = 2;
    job.steps = 4;
    job.shards = shards;
    job.n_shards = 1;
    shard.end = 9;
    shard.step = 4;
    shard.node_name = place;
    shard.device = device;
    shard.state = FARM__SHARD_STATE__SHARD_DONE;
    text = printed(print_job);
    assert_non_null(strstr(text, "by anna, priority -5, took 1:05, shards moved 1 time\n"));
    assert_non_null(strstr(text, "  take 0 shard 0  latents 0-8  brook/gpu0"));
    assert_non_null(strstr(text, "step 4/4\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_name_wins),
        cmocka_unit_test(options_and_arguments_mix),
        cmocka_unit_test(wrong_counts_are_refused),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(a_group_names_its_commands),
        cmocka_unit_test(a_job_says_how_much_and_how_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
