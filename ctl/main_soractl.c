/*
 * soractl: a person's side of the farm. Finds the command in its table, reads its options, runs it,
 * and turns what went wrong into one line and an exit status.
 */
#include "ctl/client.h"
#include "ctl/command.h"

#include "base/log.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first signal ends the waiting, the second the process. */
static void on_signal(int number)
{
    if (sora_client_interrupted)
        _exit(128 + number);
    sora_client_interrupted = 1;
}

static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void print_failure(const struct sora_ctl_context *context, int error)
{
    const char *text = context->fault.text[0] ? context->fault.text : sora_error_text(error);
    if (context->options.json) {
        json_t *value = json_pack("{s:s,s:s}", "error", sora_error_name(error), "text", text);
        json_dumpf(value, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(value);
    }
    fprintf(stderr, "soractl: %s\n", text);
}

static int run(const struct sora_ctl_command *command, int argc, char **argv)
{
    struct sora_ctl_context context = {.command = command};
    int error = sora_ctl_command_parse(&context, argc, argv);
    if (!error && context.options.help)
        sora_ctl_print_help(command, stdout);
    else if (!error)
        error = command->run(&context);
    if (error)
        print_failure(&context, error);
    int status = context.exit_status ? context.exit_status : sora_error_exit_status(error);
    sora_ctl_context_fini(&context);
    if (fflush(stdout) != 0 || ferror(stdout))
        status = status ? status : 1;
    return status;
}

static bool asks_help(const char *word)
{
    return word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0);
}

/* The first word of a group, as "farm", without one of its second words. -1: it is none. */
static int group(const char *name, bool help)
{
    if (help && sora_ctl_print_group(name, false, stdout) > 0)
        return 0;
    char *words = NULL;
    size_t size = 0;
    FILE *list = open_memstream(&words, &size);
    int count = list ? sora_ctl_print_group(name, true, list) : 0;
    if (list)
        fclose(list);
    if (count > 0)
        fprintf(stderr, "soractl: '%s' wants one of %s after it; 'soractl %s --help' tells more\n",
                name, words, name);
    free(words);
    return count > 0 ? 2 : -1;
}

static int unknown_command(const char *name)
{
    const struct sora_ctl_command *nearest = sora_ctl_command_nearest(name);
    if (nearest)
        fprintf(stderr, "soractl: unknown command '%.60s'; did you mean '%s'?\n", name,
                nearest->name);
    else if (*name)
        fprintf(stderr, "soractl: unknown command '%.60s'; 'soractl help' lists all\n", name);
    else
        sora_ctl_print_overview(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    sora_log_set_level(SORA_LOG_ERROR);
    install_signals();
    const char *first = argc > 1 ? argv[1] : "";
    bool help = strcmp(first, "help") == 0;
    if (asks_help(first) || (help && argc == 2)) {
        sora_ctl_print_overview(stdout);
        return 0;
    }
    static char version[] = "version";
    if (strcmp(first, "--version") == 0)
        argv[1] = version;
    int skip = help ? 2 : 1, words = 0;
    const struct sora_ctl_command *command =
        sora_ctl_command_find(argc - skip, argv + skip, &words);
    const char *name = help ? argv[2] : first;
    int status = command ? 0 : group(name, help || asks_help(argv[2]));
    if (!command)
        return status >= 0 ? status : unknown_command(name);
    if (help) {
        sora_ctl_print_help(command, stdout);
        return 0;
    }
    return run(command, argc - skip - words, argv + skip + words);
}
