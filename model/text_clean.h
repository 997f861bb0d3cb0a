/*
 * Text clean-up: what the reference does to a prompt before it counts tokens.
 *
 * Diffusers' Wan pipeline cleans with whitespace_clean(html.unescape(html.unescape(
 * ftfy.fix_text(text))).strip()): mojibake is repaired, character references are resolved, curly
 * quotes and wide forms become plain ones, control characters go, the rest becomes NFC, and runs of
 * white space become one blank. The result equals ftfy 6.3.1 on Python 3.11 for characters known to
 * Unicode 14. Pure; any thread may call.
 */
#ifndef SORA_MODEL_TEXT_CLEAN_H
#define SORA_MODEL_TEXT_CLEAN_H

#include "base/bytes.h"
#include "base/error.h"

/* Appends the cleaned form of the UTF-8 text to `out_text` (initialised by the caller; a few times
 * `size` is enough). `name` is what messages call the text ("prompt"). Errors: FORMAT (not UTF-8,
 * with the place of the first wrong byte; or a NUL), FULL, MEMORY. */
int sora_text_clean(const char *text, size_t size, const char *name, struct sora_bytes *out_text,
                    struct sora_fault *fault);

#endif
