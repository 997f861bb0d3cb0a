/*
 * sora-worker: drives one compute device. Its commands are the rows of one table.
 */
#include "node/commands.h"

#include "base/log.h"
#include "base/roff.h"
#include "node/render_options.h"

#include <stdio.h>
#include <string.h>

#define STRINGS_EQUAL(a, b) (strcmp((a), (b)) == 0)

struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
    const struct sora_settings_table *table; /* NULL: daemons start it */
};

static int command_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("sora-worker " SORA_VERSION);
    return 0;
}

static int command_manual(int argc, char **argv);

static const struct command commands[] = {
    {"render", "make one video on this machine", sora_command_render, &sora_render_options_table},
    {"serve", "drive a device for sorad, which starts this", sora_command_serve, NULL},
    {"assemble", "join segments to a video (a daemon starts this)", sora_command_assemble, NULL},
    {"devices", "list the CPU and the cards, plan a model's memory", sora_command_devices,
     &sora_devices_options_table},
    {"selftest", "run every operation on the cards against the CPU", sora_command_selftest,
     &sora_selftest_options_table},
    {"manual", "print the manual page (roff)", command_manual, NULL},
    {"version", "print the version", command_version, NULL},
};

static int command_manual(int argc, char **argv)
{
    (void)argc, (void)argv;
    FILE *out = stdout;
    sora_roff_head("sora-worker", 1, "make video on one device", "sora-worker COMMAND [options]",
                   out);
    fputs("Renders on this machine without a farm, tests its devices, and drives them for\n"
          ".BR sorad (8).\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        fprintf(out, ".SS sora\\-worker %s\n", commands[i].name);
        sora_roff_text(commands[i].help, out);
        fputs(".\n", out);
        if (commands[i].table)
            sora_roff_options(commands[i].table, out);
    }
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 bad input, 3 refused, 130 interrupted.\n"
          ".SH ENVIRONMENT\n.TP\nSORA_GPU\nemulator:KIND makes every card the emulator\\(aqs.\n"
          ".SH SEE ALSO\n.BR soractl (1),\n.BR sorad (8)\n",
          out);
    return 0;
}

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
