/*
 * Commands: one table row and one file per command of soractl. Help, completion and manual pages
 * are made from the table.
 *
 * A command's run function gets what was parsed and returns 0 or a negative SORA_E_*, with a
 * sentence in `fault`; the program's exit status follows from it (base/error.h), except where
 * `exit_status` is set. One thread.
 */
#ifndef SORA_CTL_COMMAND_H
#define SORA_CTL_COMMAND_H

#include "base/job_options.h"

/* Everything that any command's options set; each table points at the fields that it has. */
struct sora_ctl_options {
    char *state; /* folder of the daemon's state, for the credentials */
    int json, help, quiet;
    struct sora_job_options job;
    char *output;
    int wait, dry_run, keep_latents;
    int64_t priority;
    int all;
    int64_t count, lines;
    int result; /* of fetch: enum Farm__ResultKind by the choices' order */
    char *name, *role, *studio, *reason;
    int64_t uses;
    double hours;
};

struct sora_ctl_command;

struct sora_ctl_context {
    const struct sora_ctl_command *command;
    struct sora_ctl_options options;
    int argument_count;
    char **arguments; /* what is no option, in order */
    struct sora_fault fault;
    int exit_status; /* used instead of the error's when not 0 */
};

struct sora_ctl_command {
    const char *name;      /* "submit", "farm invite" */
    const char *arguments; /* for the usage line: "JOB", "[FILE]", "" */
    int argument_min, argument_max;
    const char *summary; /* one line for lists */
    const struct sora_settings_table *table;
    int (*run)(struct sora_ctl_context *context);
    const char *examples; /* lines, or NULL */
};

extern const struct sora_ctl_command sora_ctl_commands[];
extern const int sora_ctl_command_count;

/* The command whose words begin argv (argv[0] is the first word); *out_words is how many words its
 * name has. NULL when there is none. */
const struct sora_ctl_command *sora_ctl_command_find(int argc, char **argv, int *out_words);

/* The command whose first word is nearest to `word`, NULL when none is near. */
const struct sora_ctl_command *sora_ctl_command_nearest(const char *word);

/* Splits what follows the name into options and arguments and reads the options. Errors: INVALID,
 * LIMIT, with the way out. */
int sora_ctl_command_parse(struct sora_ctl_context *context, int argc, char **argv);
void sora_ctl_context_fini(struct sora_ctl_context *context);

/* The commands whose name has `word` before another one, as "farm" and "models" have: a line for
 * each, or with `words` the second words alone, separated by commas. Returns how many there are. */
int sora_ctl_print_group(const char *word, bool words, FILE *out);

/* Usage, options and examples; and the list of all commands. */
void sora_ctl_print_help(const struct sora_ctl_command *command, FILE *out);
void sora_ctl_print_overview(FILE *out);

/* Row makers; every command has SORA_CTL_COMMON_ROWS. */
#define SORA_CTL_ROW(name, letter, type, field, min, max, choices, unit, help)                     \
    {                                                                                              \
        name, letter, SORA_SETTING_##type, offsetof(struct sora_ctl_options, field), min, max,     \
            choices, unit, help, true                                                              \
    }
#define SORA_CTL_COMMON_ROWS                                                                       \
    SORA_CTL_ROW("state", 0, STRING, state, 1, 4096, NULL, "DIR",                                  \
                 "the daemon's state; default $SORAFARM_STATE, else as sorad chooses it"),         \
        SORA_CTL_ROW("json", 0, FLAG, json, 0, 0, NULL, NULL, "JSON on standard output"),          \
        SORA_CTL_ROW("help", 'h', FLAG, help, 0, 0, NULL, NULL, "this text")
#define SORA_CTL_TABLE(rows_)                                                                      \
    {                                                                                              \
        .rows = rows_, .row_count = sizeof(rows_) / sizeof((rows_)[0])                             \
    }

#endif
