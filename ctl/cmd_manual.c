/* manual: the page in roff, from the command table. */
#include "ctl/commands.h"

/* Text with what roff would read as a command made harmless. */
static void print_roff(const char *text, FILE *out)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        line_start = *text == '\n';
    }
}

static void print_option(const struct sora_setting *row, FILE *out)
{
    fputs(".TP\n\\fB", out);
    if (row->letter)
        fprintf(out, "\\-%c\\fR, \\fB", row->letter);
    fputs("\\-\\-", out);
    print_roff(row->name, out);
    fprintf(out, "\\fR%s%s\n", row->unit ? " " : "", row->unit ? row->unit : "");
    print_roff(row->help, out);
    if (row->type == SORA_SETTING_INT || row->type == SORA_SETTING_NUMBER)
        fprintf(out, " (%g to %g)", row->min, row->max);
    else if (row->type == SORA_SETTING_CHOICE) {
        fputs(" (", out);
        print_roff(row->choices, out);
        fputc(')', out);
    }
    fputc('\n', out);
}

static void print_command(const struct sora_ctl_command *command, FILE *out)
{
    fprintf(out, ".SS soractl %s %s\n", command->name, command->arguments);
    print_roff(command->summary, out);
    fputs(".\n", out);
    for (int i = 0; i < command->table->row_count; i++)
        print_option(&command->table->rows[i], out);
    if (command->examples) {
        fputs(".PP\n.nf\n", out);
        print_roff(command->examples, out);
        fputs(".fi\n", out);
    }
}

int sora_ctl_manual(struct sora_ctl_context *context)
{
    (void)context;
    FILE *out = stdout;
    fputs(
        ".TH SORACTL 1 \"\" \"Sorafarm " SORA_VERSION "\" \"Sorafarm\"\n.SH NAME\n"
        "soractl \\- render long video on a farm\n.SH SYNOPSIS\n.B soractl\n"
        ".I COMMAND\n[options]\n.SH DESCRIPTION\n"
        "Asks the daemon, sorad, of this machine. Jobs are named by their id or the start of it.\n"
        ".SH COMMANDS\n",
        out);
    for (int i = 0; i < sora_ctl_command_count; i++)
        print_command(&sora_ctl_commands[i], out);
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 bad input, 3 refused, 4 partial, 130 interrupted "
          "(the job goes on).\n.SH ENVIRONMENT\n.TP\nSORAFARM_STATE\nthe daemon's state folder.\n"
          ".SH SEE ALSO\n.BR sorad (8)\n",
          out);
    return 0;
}
