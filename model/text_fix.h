/*
 * The steps of the text clean-up (text_clean.h), one per file. Internal to this layer.
 *
 * Each works in place on code points and is pure. They follow ftfy 6.3.1 and Python 3.11's html
 * module to the letter, because token ids must equal the reference's; the comments say what, not
 * whether it is wise.
 */
#ifndef SORA_MODEL_TEXT_FIX_H
#define SORA_MODEL_TEXT_FIX_H

#include "model/text_runes.h"
#include "model/text_tables.h"

/* ---- text_html.c ---- */

/* html.unescape: numeric and named references, with or without ';', the longest name winning. */
void sora_text_unescape_html(struct sora_runes *text);

/* ftfy.fixes.unescape_html: only references that end with ';', and upper-cased names. */
void sora_text_unescape_strict(struct sora_runes *text);

/* ---- text_badness.c ---- */

/* The classes of a character, from the table alone. */
uint32_t sora_text_classes(uint32_t rune);

/* Whether the characters hold a sequence that is much likelier in wrongly decoded UTF-8 than in
 * text (ftfy.badness.is_bad). */
bool sora_text_is_bad(const uint32_t *items, size_t count);

/* str.isspace of Python, also its \s. */
bool sora_text_is_space(uint32_t rune);

/* ---- text_encoding.c ---- */

/* Undoes wrong 8-bit decodings of UTF-8 until nothing changes (ftfy.fix_encoding). */
void sora_text_fix_encoding(struct sora_runes *text);

/* Windows-1252's reading of the byte `rune` (0x80..0x9f), or `rune` where it has none. */
uint32_t sora_text_c1_character(uint32_t rune);

#endif
