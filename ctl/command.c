/* Finding a command, splitting its words, help. */
#include "ctl/command.h"

#include <stdlib.h>
#include <string.h>

/* Words of `name` that stand at the start of argv; 0 when they do not. */
static int words_matched(const char *name, int argc, char **argv)
{
    int words = 0;
    while (*name) {
        size_t length = strcspn(name, " ");
        if (words >= argc || strlen(argv[words]) != length || strncmp(argv[words], name, length))
            return 0;
        words++;
        name += length + (name[length] == ' ');
    }
    return words;
}

const struct sora_ctl_command *sora_ctl_command_find(int argc, char **argv, int *out_words)
{
    const struct sora_ctl_command *found = NULL;
    *out_words = 0;
    for (int i = 0; i < sora_ctl_command_count; i++) {
        int words = words_matched(sora_ctl_commands[i].name, argc, argv);
        if (words > *out_words) {
            *out_words = words;
            found = &sora_ctl_commands[i];
        }
    }
    return found;
}

const struct sora_ctl_command *sora_ctl_command_nearest(const char *word)
{
    struct sora_setting rows[64];
    int count = sora_ctl_command_count < 64 ? sora_ctl_command_count : 64;
    for (int i = 0; i < count; i++)
        rows[i] = (struct sora_setting){.name = sora_ctl_commands[i].name};
    const struct sora_settings_table table = {.rows = rows, .row_count = count};
    const struct sora_setting *nearest = sora_settings_nearest(&table, word);
    return nearest ? &sora_ctl_commands[nearest - rows] : NULL;
}

/* Whether an option takes the next word as its value. */
static bool takes_value(const struct sora_settings_table *table, const char *word)
{
    if (strchr(word, '='))
        return false;
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        bool named = word[1] == '-' ? strcmp(word + 2, row->name) == 0
                                    : row->letter && word[1] == row->letter && word[2] == '\0';
        if (named)
            return row->type != SORA_SETTING_FLAG;
    }
    return false;
}

/* Puts options before arguments; both keep their order. "--" ends the options. */
static void split(const struct sora_settings_table *table, int argc, char **argv, char **options,
                  int *out_options, char **arguments, int *out_arguments)
{
    int option_count = 1, argument_count = 0;
    options[0] = NULL;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                arguments[argument_count++] = argv[i];
        } else if (argv[i][0] != '-' || argv[i][1] == '\0') {
            arguments[argument_count++] = argv[i];
        } else {
            bool value = takes_value(table, argv[i]);
            options[option_count++] = argv[i];
            if (value && i + 1 < argc)
                options[option_count++] = argv[++i];
        }
    }
    *out_options = option_count;
    *out_arguments = argument_count;
}

static int check_arguments(struct sora_ctl_context *context)
{
    const struct sora_ctl_command *command = context->command;
    if (context->options.help)
        return 0;
    if (context->argument_count > command->argument_max)
        return sora_fault_set(&context->fault, SORA_E_INVALID,
                              "unexpected argument '%.60s'; usage: soractl %s %s (quote a prompt "
                              "that has spaces)",
                              context->arguments[command->argument_max], command->name,
                              command->arguments);
    if (context->argument_count < command->argument_min)
        return sora_fault_set(&context->fault, SORA_E_INVALID, "usage: soractl %s %s",
                              command->name, command->arguments);
    return 0;
}

int sora_ctl_command_parse(struct sora_ctl_context *context, int argc, char **argv)
{
    const struct sora_settings_table *table = context->command->table;
    memset(&context->options, 0, sizeof(context->options));
    sora_settings_init(table, &context->options);
    char **options = calloc((size_t)argc + 2, sizeof(char *));
    context->arguments = calloc((size_t)argc + 1, sizeof(char *));
    if (!options || !context->arguments) {
        free(options);
        return sora_fault_set(&context->fault, SORA_E_MEMORY, "out of memory");
    }
    int option_count = 0;
    split(table, argc, argv, options, &option_count, context->arguments, &context->argument_count);
    int error = sora_settings_parse_arguments(table, option_count, options, &context->options,
                                              &context->fault);
    free(options);
    return error ? error : check_arguments(context);
}

void sora_ctl_context_fini(struct sora_ctl_context *context)
{
    if (context->command) {
        sora_job_options_fini(&context->options.job);
        sora_settings_fini(context->command->table, &context->options);
    }
    free(context->arguments);
    context->arguments = NULL;
}

static const char *word_in_group(const struct sora_ctl_command *command, const char *word)
{
    size_t length = strlen(word);
    bool inside = length > 0 && strncmp(command->name, word, length) == 0;
    return inside && command->name[length] == ' ' ? command->name + length + 1 : NULL;
}

int sora_ctl_print_group(const char *word, bool words, FILE *out)
{
    int count = 0;
    for (int i = 0; i < sora_ctl_command_count; i++) {
        const struct sora_ctl_command *command = &sora_ctl_commands[i];
        const char *second = word_in_group(command, word);
        if (second && words)
            fprintf(out, "%s%s", count ? ", " : "", second);
        else if (second)
            fprintf(out, "  soractl %s %-*s  %s\n", command->name,
                    (int)(22 - strlen(command->name)), command->arguments, command->summary);
        count += second != NULL;
    }
    return count;
}

void sora_ctl_print_help(const struct sora_ctl_command *command, FILE *out)
{
    char usage[160];
    snprintf(usage, sizeof(usage), "soractl %s%s%s [options]", command->name,
             command->arguments[0] ? " " : "", command->arguments);
    struct sora_settings_table table = *command->table;
    table.usage = usage;
    if (!table.about)
        table.about = command->summary;
    sora_settings_print_help(&table, out);
    if (command->examples)
        fprintf(out, "\nexamples:\n%s", command->examples);
    for (int i = 0; i < sora_ctl_command_count; i++) {
        if (!word_in_group(&sora_ctl_commands[i], command->name))
            continue;
        fputs("\nmore:\n", out);
        sora_ctl_print_group(command->name, false, out);
        break;
    }
}

void sora_ctl_print_overview(FILE *out)
{
    fputs("usage: soractl COMMAND [options]\n\n"
          "Asks the daemon (sorad) of this machine to render video on the farm.\n\ncommands:\n",
          out);
    for (int i = 0; i < sora_ctl_command_count; i++)
        fprintf(out, "  %-14s %s\n", sora_ctl_commands[i].name, sora_ctl_commands[i].summary);
    fputs("\n'soractl COMMAND --help' tells its options. Exit status: 0 done, 1 failed, 2 bad "
          "input,\n3 refused, 4 partial, 130 interrupted.\n",
          out);
}
