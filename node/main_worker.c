/*
 * sora-worker: drives one compute device. Its commands are the rows of one table.
 */
#include "node/commands.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define STRINGS_EQUAL(a, b) (strcmp((a), (b)) == 0)

struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
};

static int command_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("sora-worker " SORA_VERSION);
    return 0;
}

static const struct command commands[] = {
    {"render", "make one video on this machine", sora_command_render},
    {"serve", "drive a device for sorad, which starts this", sora_command_serve},
    {"assemble", "join segments to a video (a daemon starts this)", sora_command_assemble},
    {"devices", "list the CPU and the cards, plan a model's memory", sora_command_devices},
    {"selftest", "run every operation on the cards against the CPU", sora_command_selftest},
    {"version", "print the version", command_version},
};

static void print_usage(FILE *out)
{
    fputs("usage: sora-worker COMMAND [options]\n\ncommands:\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs("\n'sora-worker COMMAND --help' tells its options.\n", out);
}

int main(int argc, char **argv)
{
    sora_log_set_level(SORA_LOG_WARN);
    const char *name = argc > 1 ? argv[1] : "";
    if (STRINGS_EQUAL(name, "help") || STRINGS_EQUAL(name, "--help") || STRINGS_EQUAL(name, "-h")) {
        print_usage(stdout);
        return 0;
    }
    if (STRINGS_EQUAL(name, "--version"))
        name = "version";
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (STRINGS_EQUAL(name, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    }
    if (*name)
        fprintf(stderr, "sora-worker: unknown command '%.60s'\n\n", name);
    print_usage(stderr);
    return 2;
}
