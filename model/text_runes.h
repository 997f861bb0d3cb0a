/*
 * Runes: a growable array of Unicode code points, the working form of the text clean-up.
 *
 * The struct lives on its user's stack; all-zero is an empty array; fini frees. Running out of
 * memory sets `failed`, which sticks and makes later calls do nothing, so that a chain of steps is
 * checked once at its end. One thread at a time.
 */
#ifndef SORA_MODEL_TEXT_RUNES_H
#define SORA_MODEL_TEXT_RUNES_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sora_runes {
    uint32_t *items;
    size_t count, capacity;
    bool failed;
};

void sora_runes_fini(struct sora_runes *runes);
void sora_runes_append(struct sora_runes *runes, uint32_t rune);
void sora_runes_append_all(struct sora_runes *runes, const uint32_t *items, size_t count);

/* Puts `from`'s content and failure into `to` and leaves `from` empty. */
void sora_runes_move(struct sora_runes *to, struct sora_runes *from);
bool sora_runes_equal(const struct sora_runes *a, const struct sora_runes *b);

/* Reads one code point of strict UTF-8 (shortest form, no surrogates, at most U+10FFFF) from the
 * `size` bytes: returns its length 1..4, or 0 when there is none. */
size_t sora_utf8_read(const unsigned char *bytes, size_t size, uint32_t *out_rune);

/* Appends the UTF-8 text; false (and perhaps a part appended) when it is not strict UTF-8. */
bool sora_runes_append_utf8(struct sora_runes *runes, const void *text, size_t size);

/* Appends the runes as UTF-8. Errors: those of sora_bytes_reserve. */
int sora_runes_to_utf8(const struct sora_runes *runes, struct sora_bytes *bytes);

#endif
