/* completion: words for shells, from the command table. */
#include "ctl/commands.h"

#include <string.h>

static const char *const shells[] = {"bash", "zsh", "fish"};

static void print_options(const struct sora_ctl_command *command, FILE *out)
{
    for (int i = 0; i < command->table->row_count; i++)
        fprintf(out, " --%s", command->table->rows[i].name);
}

/* The first words; or the second ones of `first`, of which "farm" and "models" have some. */
static void print_words(const char *first, FILE *out)
{
    const char *last = "";
    for (int i = 0; i < sora_ctl_command_count; i++) {
        const char *name = sora_ctl_commands[i].name, *space = strchr(name, ' ');
        size_t length = space ? (size_t)(space - name) : strlen(name);
        bool same = strncmp(last, name, length) == 0 && (last[length] == ' ' || !last[length]);
        if (!first && !(same && *last))
            fprintf(out, " %.*s", (int)length, name);
        else if (first && space && strlen(first) == length && !strncmp(name, first, length))
            fprintf(out, " %s", space + 1);
        last = name;
    }
}

static void print_bash(FILE *out)
{
    fputs("_soractl() {\n    local words=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" list\n"
          "    case \"$words\" in\n    \"\") list=\"",
          out);
    print_words(NULL, out);
    fputs(" help\" ;;\n    farm) list=\"", out);
    print_words("farm", out);
    fputs("\" ;;\n", out);
    for (int i = sora_ctl_command_count - 1; i >= 0; i--) {
        const struct sora_ctl_command *command = &sora_ctl_commands[i];
        fprintf(out, "    \"%s\"*) list=\"", command->name);
        print_words(command->name, out);
        if (strcmp(command->name, "completion") == 0)
            fputs("bash zsh fish", out);
        print_options(command, out);
        fputs("\" ;;\n", out);
    }
    fputs("    esac\n    COMPREPLY=($(compgen -W \"$list\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
          "    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "
          "\"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _soractl soractl\n",
          out);
}

/* As one word for fish. */
static void print_quoted(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, *text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('\'', out);
}

static void print_fish_command(const struct sora_ctl_command *command, FILE *out)
{
    const char *space = strchr(command->name, ' ');
    int first = space ? (int)(space - command->name) : 0;
    if (space) /* the first word again for each: fish shows it once */
        fprintf(out,
                "complete -c soractl -n __fish_use_subcommand -a %.*s\n"
                "complete -c soractl -n '__fish_seen_subcommand_from %.*s' -f -a %s -d ",
                first, command->name, first, command->name, space + 1);
    else
        fprintf(out, "complete -c soractl -n __fish_use_subcommand -f -a %s -d ", command->name);
    print_quoted(command->summary, out);
    fputc('\n', out);
    for (int k = 0; k < command->table->row_count; k++) {
        const struct sora_setting *row = &command->table->rows[k];
        fprintf(out, "complete -c soractl -n '__fish_seen_subcommand_from %s' -l %s%s -d ",
                space ? space + 1 : command->name, row->name,
                row->type == SORA_SETTING_FLAG ? "" : " -r");
        print_quoted(row->help, out);
        fputc('\n', out);
    }
}

static void print_fish(FILE *out)
{
    for (int i = 0; i < sora_ctl_command_count; i++)
        print_fish_command(&sora_ctl_commands[i], out);
    fputs("complete -c soractl -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n",
          out);
}

int sora_ctl_completion(struct sora_ctl_context *context)
{
    const char *shell = context->arguments[0];
    if (strcmp(shell, shells[0]) == 0) {
        print_bash(stdout);
    } else if (strcmp(shell, shells[1]) == 0) {
        fputs("#compdef soractl\n"
              "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"
              "autoload -U +X bashcompinit && bashcompinit\n",
              stdout);
        print_bash(stdout);
    } else if (strcmp(shell, shells[2]) == 0) {
        print_fish(stdout);
    } else {
        return sora_fault_set(&context->fault, SORA_E_INVALID,
                              "completion: '%.40s' is none of bash, zsh, fish", shell);
    }
    return 0;
}
