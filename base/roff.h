/*
 * Roff: parts of manual pages, made from the tables that make the help texts. Pure but for the
 * stream; one thread.
 */
#ifndef SORA_BASE_ROFF_H
#define SORA_BASE_ROFF_H

#include "base/settings.h"

/* Text with what roff would read as a command made harmless. */
void sora_roff_text(const char *text, FILE *out);
/* The page's head: .TH, NAME, SYNOPSIS and the beginning of DESCRIPTION. `section` is a digit. */
void sora_roff_head(const char *name, int section, const char *what, const char *synopsis,
                    FILE *out);
/* One tagged paragraph an option, with its range. */
void sora_roff_options(const struct sora_settings_table *table, FILE *out);

#endif
