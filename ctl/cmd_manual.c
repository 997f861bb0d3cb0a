/* manual: the page in roff, from the command table. */
#include "base/roff.h"
#include "ctl/commands.h"

static void print_command(const struct sora_ctl_command *command, FILE *out)
{
    fprintf(out, ".SS soractl %s %s\n", command->name, command->arguments);
    sora_roff_text(command->summary, out);
    fputs(".\n", out);
    sora_roff_options(command->table, out);
    if (command->examples) {
        fputs(".PP\n.nf\n", out);
        sora_roff_text(command->examples, out);
        fputs(".fi\n", out);
    }
}

int sora_ctl_manual(struct sora_ctl_context *context)
{
    (void)context;
    FILE *out = stdout;
    sora_roff_head("soractl", 1, "render long video on a farm", "soractl COMMAND [options]", out);
    fputs(
        "Asks the daemon, sorad, of this machine. Jobs are named by their id or the start of it.\n"
        ".SH COMMANDS\n",
        out);
    for (int i = 0; i < sora_ctl_command_count; i++)
        print_command(&sora_ctl_commands[i], out);
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 bad input, 3 refused, 4 partial, 130 interrupted "
          "(the job goes on).\n.SH ENVIRONMENT\n.TP\nSORAFARM_STATE\nthe daemon's state folder.\n"
          ".SH SEE ALSO\n.BR sorad (8),\n.BR sora\\-worker (1)\n",
          out);
    return 0;
}
