/*
 * Repair of text that was UTF-8 and was decoded with an 8-bit encoding.
 *
 * The whole text is tried first: written back with each encoding that has all its characters, with
 * the usual small damages undone, it must be UTF-8. Else sequences that look like it are repaired
 * on their own, and at last C1 controls become what Windows-1252 has in their place.
 */
#include "model/text_fix.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 64 /* repeated repairs of one text; honest text needs 1 to 4 */
#define DEPTH_MAX 8   /* repairs inside repairs */

struct byte_array {
    unsigned char *items;
    size_t count;
};

/* ---- patterns of bytes ---- */

/* A letter of a pattern stands for a set of bytes, given as pairs of first and last. */
struct byte_class {
    char letter;
    const char *pairs;
};

static const struct byte_class byte_classes[] = {
    {' ', "\x20\x20"},
    {'?', "\x3f\x3f"},
    {'c', "\x80\xbf"},                 /* continuation */
    {'k', "\x80\x84\x86\x9f\xa1\xbf"}, /* continuation but 85 and A0 */
    {'a', "\xc2\xc3\xc5\xc5\xce\xce\xd0\xd0\xd9\xd9"},
    {'b', "\xe2\xe3"},
    {'e', "\xe0\xe3"},
    {'f', "\xf0\xf0"},
    {'s', "\x1a\x1a"},                 /* substitute: a lost byte */
    {'q', "\x1a\x1a\x3f\x3f"},         /* lost, or a question mark for it */
    {'x', "\x1a\x1a\x80\xbf"},         /* lost or continuation */
    {'y', "\x1a\x1a\x3f\x3f\x80\xbf"}, /* any of the three */
    {'2', "\xc2\xdf"},
    {'3', "\xc2\xc3"},
    {'E', "\xe0\xef"},
    {'F', "\xf0\xf4"},
    {'d', "\xed\xed"}, /* lead of a surrogate */
    {'h', "\xa0\xaf"}, /* second byte of a high surrogate */
    {'w', "\xb0\xbf"}, /* second byte of a low surrogate */
};

/* UTF-8 sequences in which one A0 became a space. */
static const char *const altered_patterns[] = {"a ", "b k", "ek ", "f cc", "fc c", "fcc ", NULL};

/* UTF-8 and CESU-8 sequences in which continuation bytes were lost. */
static const char *const lossy_patterns[] = {"2s",   "3?",   "dhqdwy", "dhydwq", "Eqx", "Exq",
                                             "Fqxx", "Fxqx", "Fxxq",   "s",      NULL};

static bool class_has(char letter, unsigned char byte)
{
    for (size_t i = 0; i < sizeof(byte_classes) / sizeof(byte_classes[0]); i++) {
        if (byte_classes[i].letter != letter)
            continue;
        for (const char *pair = byte_classes[i].pairs; *pair; pair += 2) {
            if (byte >= (unsigned char)pair[0] && byte <= (unsigned char)pair[1])
                return true;
        }
        return false;
    }
    return false;
}

/* Length of the first pattern that begins at `bytes`, 0 for none. */
static size_t pattern_match(const char *const *patterns, const unsigned char *bytes, size_t size)
{
    for (; *patterns; patterns++) {
        size_t i = 0;
        while ((*patterns)[i] && i < size && class_has((*patterns)[i], bytes[i]))
            i++;
        if (!(*patterns)[i])
            return i;
    }
    return 0;
}

static bool starts_with(const unsigned char *bytes, size_t size, const char *word)
{
    size_t length = strlen(word);
    return size >= length && memcmp(bytes, word, length) == 0;
}

/* ---- encoding ---- */

static int compare_character(const void *a, const void *b)
{
    uint32_t rune = *(const uint32_t *)a;
    uint16_t character = *(const uint16_t *)b;
    return rune < character ? -1 : rune > character;
}

/* The byte of `rune`, -1 when the encoding has none. */
static int charmap_byte(const struct sora_text_charmap *map, uint32_t rune)
{
    if (map->sloppy && rune == 0xfffd)
        return 0x1a;
    if (rune < 0x80)
        return map->sloppy && rune == 0x1a ? -1 : (int)rune;
    const void *row = bsearch(&rune, map->chars, 128, sizeof(map->chars[0]), compare_character);
    return row ? map->chars[((const char *)row - (const char *)map->chars) /
                            (ptrdiff_t)sizeof(map->chars[0])]
                     .byte
               : -1;
}

static bool charmap_encode(const struct sora_text_charmap *map, const struct sora_runes *text,
                           struct byte_array *bytes)
{
    for (size_t i = 0; i < text->count; i++) {
        int byte = charmap_byte(map, text->items[i]);
        if (byte < 0)
            return false;
        bytes->items[i] = (unsigned char)byte;
    }
    bytes->count = text->count;
    return true;
}

uint32_t sora_text_c1_character(uint32_t rune)
{
    static const uint16_t characters[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    return rune >= 0x80 && rune <= 0x9f ? characters[rune - 0x80] : rune;
}

/* ---- undoing damage to the bytes; each writes to `out`, which has room for three times as many */

/* The word "a-grave" keeps its space: C3 20 becomes C3 A0 20, but for Portuguese contractions. */
static void restore_grave_words(const struct byte_array *in, struct byte_array *out)
{
    static const char *const tails[] = {" ", "quele", "quela", "quilo", "s "};
    out->count = 0;
    for (size_t i = 0; i < in->count; i++) {
        out->items[out->count++] = in->items[i];
        if (in->items[i] != 0xc3 || i + 1 >= in->count || in->items[i + 1] != ' ')
            continue;
        bool contraction = false;
        for (size_t t = 0; t < sizeof(tails) / sizeof(tails[0]); t++)
            contraction |= starts_with(in->items + i + 2, in->count - i - 2, tails[t]);
        if (contraction)
            continue;
        out->items[out->count++] = 0xa0;
        out->items[out->count++] = ' ';
        i++;
    }
}

static void restore_altered(const struct byte_array *in, struct byte_array *out)
{
    out->count = 0;
    for (size_t i = 0; i < in->count;) {
        size_t length = pattern_match(altered_patterns, in->items + i, in->count - i);
        size_t end = i + (length ? length : 1);
        for (; i < end; i++)
            out->items[out->count++] = length && in->items[i] == ' ' ? 0xa0 : in->items[i];
    }
}

static void replace_lossy(const struct byte_array *in, struct byte_array *out)
{
    out->count = 0;
    for (size_t i = 0; i < in->count;) {
        size_t length = pattern_match(lossy_patterns, in->items + i, in->count - i);
        if (length) {
            memcpy(out->items + out->count, "\xef\xbf\xbd", 3);
            out->count += 3;
            i += length;
        } else {
            out->items[out->count++] = in->items[i++];
        }
    }
}

/* ---- decoding ---- */

/* Whether what follows is the last byte of the text and a line feed: the reference's patterns take
 * that for an end, too. */
static bool at_end(const unsigned char *bytes, size_t size)
{
    return size == 1 && bytes[0] == '\n';
}

/* UTF-8 in which a pair of surrogates may be written as two sequences, and U+0000 as C0 80. */
static size_t variant_read(const unsigned char *bytes, size_t size, uint32_t *out_rune)
{
    if (size >= 2 && bytes[0] == 0xc0 && (bytes[1] == 0x80 || at_end(bytes + 1, size - 1))) {
        *out_rune = 0;
        return 2;
    }
    if (size >= 6 && bytes[0] == 0xed && (bytes[1] & 0xf0) == 0xa0 && (bytes[2] & 0xc0) == 0x80 &&
        bytes[3] == 0xed && (bytes[4] & 0xf0) == 0xb0 &&
        ((bytes[5] & 0xc0) == 0x80 || at_end(bytes + 5, size - 5))) {
        *out_rune = 0x10000 + ((bytes[1] & 0x0fu) << 16) + ((bytes[2] & 0x3fu) << 10) +
                    ((bytes[4] & 0x0fu) << 6) + (bytes[5] & 0x3fu);
        return 6;
    }
    return sora_utf8_read(bytes, size, out_rune);
}

static bool decode(const struct byte_array *bytes, struct sora_runes *out)
{
    bool variant = bytes->count && (memchr(bytes->items, 0xed, bytes->count) ||
                                    memchr(bytes->items, 0xc0, bytes->count));
    for (size_t i = 0; i < bytes->count;) {
        uint32_t rune = 0;
        size_t length = variant ? variant_read(bytes->items + i, bytes->count - i, &rune)
                                : sora_utf8_read(bytes->items + i, bytes->count - i, &rune);
        if (length == 0)
            return false;
        sora_runes_append(out, rune);
        i += length;
    }
    return true;
}

/* Reads the text as UTF-8 behind `map`; false when it is not that. `a` and `b` are scratch. */
static bool redecode(const struct sora_text_charmap *map, const struct sora_runes *text,
                     struct byte_array *a, struct byte_array *b, struct sora_runes *out)
{
    if (!charmap_encode(map, text, a))
        return false;
    if (strcmp(map->name, "macroman") != 0) {
        restore_grave_words(a, b);
        restore_altered(b, a);
    }
    if (map->sloppy) {
        replace_lossy(a, b);
        struct byte_array swap = *a;
        *a = *b;
        *b = swap;
    }
    out->count = 0;
    return decode(a, out);
}

/* Tries all encodings; on success `out` holds the reading of the first that fits. */
static bool redecode_any(const struct sora_runes *text, struct sora_runes *out)
{
    /* Restoring adds at most one byte per two, replacing at most two per one. */
    size_t room = text->count * 6 + 16;
    struct byte_array a = {malloc(room), 0}, b = {malloc(room), 0};
    bool done = false;
    if (!a.items || !b.items)
        out->failed = true;
    for (int i = 0; !out->failed && !done && i < SORA_TEXT_CHARMAP_COUNT; i++)
        done = redecode(&sora_text_charmaps[i], text, &a, &b, out);
    free(a.items);
    free(b.items);
    return done;
}

/* ---- sequences inside other text ---- */

static void fix_encoding(struct sora_runes *text, int depth);

static bool has_trails(const uint32_t *items, size_t count, size_t trails)
{
    if (count < trails)
        return false;
    for (size_t i = 0; i < trails; i++) {
        if (!(sora_text_classes(items[i]) & SORA_TEXT_TRAIL))
            return false;
    }
    return true;
}

/* Length of the run of sequences that look like UTF-8 at the start of the items. */
static size_t suspect_run(const uint32_t *items, size_t count)
{
    size_t run = 0;
    while (run < count) {
        uint32_t mask = sora_text_classes(items[run]);
        const uint32_t *rest = items + run + 1;
        size_t left = count - run - 1;
        if ((mask & SORA_TEXT_LEAD_2) && has_trails(rest, left, 1))
            run += 2;
        else if ((mask & SORA_TEXT_LEAD_3) && has_trails(rest, left, 2))
            run += 3;
        else if ((mask & SORA_TEXT_LEAD_4) && has_trails(rest, left, 3))
            run += 4;
        else
            break;
    }
    return run;
}

static void append_fixed(const uint32_t *items, size_t count, size_t whole, int depth,
                         struct sora_runes *out)
{
    if (count >= whole || depth == 0 || !sora_text_is_bad(items, count)) {
        sora_runes_append_all(out, items, count);
        return;
    }
    struct sora_runes part = {0};
    sora_runes_append_all(&part, items, count);
    fix_encoding(&part, depth - 1);
    sora_runes_append_all(out, part.items, part.count);
    out->failed |= part.failed;
    sora_runes_fini(&part);
}

/* Repairs each run by itself, unless a strict continuation character stands before it. */
static void fix_runs(const struct sora_runes *text, int depth, struct sora_runes *out)
{
    out->count = 0;
    for (size_t i = 0; i < text->count;) {
        size_t run = 0;
        if (i == 0 || !(sora_text_classes(text->items[i - 1]) & SORA_TEXT_TRAIL_STRICT))
            run = suspect_run(text->items + i, text->count - i);
        if (run)
            append_fixed(text->items + i, run, text->count, depth, out);
        else
            sora_runes_append(out, text->items[i]);
        i += run ? run : 1;
    }
}

/* ---- C1 controls ---- */

/* C1 controls become what Windows-1252 has there. `strict`: nothing when one has no such character
 * or some character is not Latin-1. */
static void fix_controls(const struct sora_runes *text, bool strict, struct sora_runes *out)
{
    out->count = 0;
    for (size_t i = 0; i < text->count; i++) {
        uint32_t rune = text->items[i], fixed = sora_text_c1_character(rune);
        if (strict && (rune > 0xff || (rune >= 0x80 && rune <= 0x9f && fixed == rune))) {
            out->count = 0;
            sora_runes_append_all(out, text->items, text->count);
            return;
        }
        sora_runes_append(out, fixed);
    }
}

/* ---- the steps together ---- */

static bool is_ascii(const struct sora_runes *text)
{
    for (size_t i = 0; i < text->count; i++) {
        if (text->items[i] >= 0x80)
            return false;
    }
    return true;
}

/* One repair into `out`; when none applies, `out` is the text. */
static void fix_once(const struct sora_runes *text, int depth, struct sora_runes *out)
{
    if (redecode_any(text, out))
        return;
    fix_runs(text, depth, out);
    if (sora_runes_equal(text, out))
        fix_controls(text, true, out);
    if (sora_runes_equal(text, out))
        fix_controls(text, false, out);
}

static void fix_encoding(struct sora_runes *text, int depth)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (text->failed || is_ascii(text) || !sora_text_is_bad(text->items, text->count))
            return;
        struct sora_runes out = {0};
        fix_once(text, depth, &out);
        bool same = sora_runes_equal(text, &out);
        sora_runes_move(text, &out);
        if (same)
            return;
    }
}

void sora_text_fix_encoding(struct sora_runes *text)
{
    fix_encoding(text, DEPTH_MAX);
}
