/* Manual pages in roff (man(7)). */
#include "base/roff.h"

#include <ctype.h>
#include <stdbool.h>

void sora_roff_text(const char *text, FILE *out)
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

void sora_roff_head(const char *name, int section, const char *what, const char *synopsis,
                    FILE *out)
{
    fputs(".TH \"", out);
    for (const char *at = name; *at; at++)
        fputc(toupper((unsigned char)*at), out);
    fprintf(out, "\" %d \"\" \"Sorafarm " SORA_VERSION "\" \"Sorafarm\"\n.SH NAME\n", section);
    sora_roff_text(name, out);
    fputs(" \\- ", out);
    sora_roff_text(what, out);
    fputs("\n.SH SYNOPSIS\n", out);
    sora_roff_text(synopsis, out);
    fputs("\n.SH DESCRIPTION\n", out);
}

static void print_option(const struct sora_setting *row, FILE *out)
{
    fputs(".TP\n\\fB", out);
    if (row->letter)
        fprintf(out, "\\-%c\\fR, \\fB", row->letter);
    fputs("\\-\\-", out);
    sora_roff_text(row->name, out);
    fputs("\\fR", out);
    if (row->unit) {
        fputc(' ', out);
        sora_roff_text(row->unit, out);
    }
    fputc('\n', out);
    sora_roff_text(row->help, out);
    if (row->type == SORA_SETTING_INT || row->type == SORA_SETTING_NUMBER)
        fprintf(out, " (%.15g to %.15g)", row->min, row->max);
    else if (row->type == SORA_SETTING_CHOICE) {
        fputs(" (", out);
        sora_roff_text(row->choices, out);
        fputc(')', out);
    }
    fputc('\n', out);
}

void sora_roff_options(const struct sora_settings_table *table, FILE *out)
{
    for (int i = 0; i < table->row_count; i++)
        print_option(&table->rows[i], out);
}
