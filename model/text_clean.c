/* The order of the clean-up steps, and the small ones among them. */
#include "model/text_clean.h"

#include "model/text_fix.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define ROUNDS_MAX 64 /* repetitions of all steps for one line; honest text needs 2 */

/* ---- single characters ---- */

struct replacement {
    uint32_t character;
    uint32_t text[4]; /* 0 ends */
};

/* Ligatures and digraphs of Latin letters that are copying accidents more often than wished for. */
static const struct replacement ligatures[] = {
    {0x132, {'I', 'J'}},       {0x133, {'i', 'j'}},       {0x149, {0x2bc, 'n'}},
    {0x1f1, {'D', 'Z'}},       {0x1f2, {'D', 'z'}},       {0x1f3, {'d', 'z'}},
    {0x1c4, {'D', 0x17d}},     {0x1c5, {'D', 0x17e}},     {0x1c6, {'d', 0x17e}},
    {0x1c7, {'L', 'J'}},       {0x1c8, {'L', 'j'}},       {0x1c9, {'l', 'j'}},
    {0x1ca, {'N', 'J'}},       {0x1cb, {'N', 'j'}},       {0x1cc, {'n', 'j'}},
    {0xfb00, {'f', 'f'}},      {0xfb01, {'f', 'i'}},      {0xfb02, {'f', 'l'}},
    {0xfb03, {'f', 'f', 'i'}}, {0xfb04, {'f', 'f', 'l'}}, {0xfb05, {0x17f, 't'}},
    {0xfb06, {'s', 't'}},
};

static void append_ligature(struct sora_runes *out, uint32_t rune)
{
    for (size_t i = 0; i < sizeof(ligatures) / sizeof(ligatures[0]); i++) {
        if (ligatures[i].character != rune)
            continue;
        for (const uint32_t *c = ligatures[i].text; *c; c++)
            sora_runes_append(out, *c);
        return;
    }
    sora_runes_append(out, rune);
}

/* Full and half width forms to the standard ones. */
static void append_width(struct sora_runes *out, uint32_t rune)
{
    if (rune == 0x3000) {
        sora_runes_append(out, ' ');
    } else if (rune >= SORA_TEXT_WIDTH_FIRST &&
               rune < SORA_TEXT_WIDTH_FIRST + SORA_TEXT_WIDTH_COUNT) {
        const uint16_t *text = sora_text_widths[rune - SORA_TEXT_WIDTH_FIRST];
        for (int i = 0; i < 2 && text[i]; i++)
            sora_runes_append(out, text[i]);
    } else {
        sora_runes_append(out, rune);
    }
}

static void append_quote(struct sora_runes *out, uint32_t rune)
{
    if (rune == 0x2bc || (rune >= 0x2018 && rune <= 0x201b))
        rune = '\'';
    else if (rune >= 0x201c && rune <= 0x201f)
        rune = '"';
    sora_runes_append(out, rune);
}

static void append_printable(struct sora_runes *out, uint32_t rune)
{
    bool control = rune <= 0x08 || rune == 0x0b || (rune >= 0x0e && rune <= 0x1f) || rune == 0x7f ||
                   (rune >= 0x206a && rune <= 0x206f) || rune == 0xfeff ||
                   (rune >= 0xfff9 && rune <= 0xfffc);
    if (!control)
        sora_runes_append(out, rune);
}

static void map_all(struct sora_runes *text, void (*append)(struct sora_runes *, uint32_t))
{
    struct sora_runes out = {0};
    for (size_t i = 0; i < text->count; i++)
        append(&out, text->items[i]);
    sora_runes_move(text, &out);
}

/* ---- short sequences ---- */

/* CR LF, CR, NEL, LINE and PARAGRAPH SEPARATOR become LF. */
static void fix_line_breaks(struct sora_runes *text)
{
    struct sora_runes out = {0};
    for (size_t i = 0; i < text->count; i++) {
        uint32_t rune = text->items[i];
        if (rune == '\r' && i + 1 < text->count && text->items[i + 1] == '\n')
            continue;
        bool line_end = rune == '\r' || rune == 0x85 || rune == 0x2028 || rune == 0x2029;
        sora_runes_append(&out, line_end ? '\n' : rune);
    }
    sora_runes_move(text, &out);
}

/* Length of ESC '[' (digits and ';') letter at the start of the items, 0 when there is none. */
static size_t escape_length(const uint32_t *items, size_t count)
{
    if (count < 3 || items[0] != 0x1b || items[1] != '[')
        return 0;
    size_t i = 2;
    while (i < count && (items[i] == ';' ||
                         utf8proc_category((utf8proc_int32_t)items[i]) == UTF8PROC_CATEGORY_ND))
        i++;
    bool letter = i < count && (items[i] | 0x20) >= 'a' && (items[i] | 0x20) <= 'z';
    return letter ? i + 1 : 0;
}

static void remove_escapes(struct sora_runes *text)
{
    struct sora_runes out = {0};
    for (size_t i = 0; i < text->count;) {
        size_t length = escape_length(text->items + i, text->count - i);
        if (length == 0)
            sora_runes_append(&out, text->items[i++]);
        i += length;
    }
    sora_runes_move(text, &out);
}

/* NFC of the whole text. */
static void normalize(struct sora_runes *text)
{
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, text->count * 4);
    if (text->failed || text->count == 0)
        return;
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t size = UTF8PROC_ERROR_NOMEM;
    if (sora_runes_to_utf8(text, &bytes) == 0)
        size = utf8proc_map(bytes.data, (utf8proc_ssize_t)bytes.size, &mapped,
                            UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    struct sora_runes out = {0};
    if (size < 0 || !sora_runes_append_utf8(&out, mapped, (size_t)size))
        out.failed = true;
    free(mapped);
    sora_bytes_fini(&bytes);
    sora_runes_move(text, &out);
}

/* ---- all steps ---- */

/* One line until nothing changes. The reference also joins surrogates; strict UTF-8 has none. */
static void fix_line(struct sora_runes *line, bool unescape)
{
    for (int round = 0; round < ROUNDS_MAX && !line->failed; round++) {
        struct sora_runes before = {0};
        sora_runes_append_all(&before, line->items, line->count);
        if (unescape)
            sora_text_unescape_strict(line);
        sora_text_fix_encoding(line);
        /* Controls of Windows-1252 are left when the text did not look broken. */
        for (size_t i = 0; i < line->count; i++)
            line->items[i] = sora_text_c1_character(line->items[i]);
        map_all(line, append_ligature);
        map_all(line, append_width);
        map_all(line, append_quote);
        fix_line_breaks(line);
        remove_escapes(line);
        map_all(line, append_printable);
        normalize(line);
        bool same = sora_runes_equal(&before, line);
        sora_runes_fini(&before);
        if (same)
            return;
    }
}

/* Fixes line by line; from the first '<' on, character references are taken for markup. */
static void fix_text(struct sora_runes *text)
{
    struct sora_runes out = {0};
    bool unescape = true;
    for (size_t first = 0; first < text->count && !out.failed;) {
        size_t end = first;
        while (end < text->count && text->items[end] != '\n')
            unescape &= text->items[end++] != '<';
        end += end < text->count;
        struct sora_runes line = {0};
        sora_runes_append_all(&line, text->items + first, end - first);
        fix_line(&line, unescape);
        sora_runes_append_all(&out, line.items, line.count);
        out.failed |= line.failed;
        sora_runes_fini(&line);
        first = end;
    }
    sora_runes_move(text, &out);
}

/* No white space at the ends, one blank for each run inside. */
static void collapse_space(struct sora_runes *text)
{
    size_t count = 0;
    bool pending = false;
    for (size_t i = 0; i < text->count; i++) {
        if (sora_text_is_space(text->items[i])) {
            pending = count > 0;
            continue;
        }
        if (pending)
            text->items[count++] = ' ';
        pending = false;
        text->items[count++] = text->items[i];
    }
    text->count = count;
}

/* The place of the first byte that is not UTF-8 or is NUL; `size` when there is none. */
static size_t find_wrong(const unsigned char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint32_t rune = 0;
        size_t length = sora_utf8_read(text + i, size - i, &rune);
        if (length == 0 || rune == 0)
            return i;
        i += length;
    }
    return size;
}

int sora_text_clean(const char *text, size_t size, const char *name, struct sora_bytes *out_text,
                    struct sora_fault *fault)
{
    size_t wrong = find_wrong((const unsigned char *)text, size);
    if (wrong < size)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: byte %zu (0x%02x) is not part of UTF-8 text; save it as UTF-8",
                              name, wrong, (unsigned)(unsigned char)text[wrong]);
    struct sora_runes runes = {0};
    sora_runes_append_utf8(&runes, text, size);
    fix_text(&runes);
    sora_text_unescape_html(&runes);
    sora_text_unescape_html(&runes);
    collapse_space(&runes);
    int rc = sora_runes_to_utf8(&runes, out_text);
    sora_runes_fini(&runes);
    return rc ? sora_fault_set(fault, rc, "%s: cleaning %zu bytes of text: %s", name, size,
                               sora_error_text(rc))
              : SORA_OK;
}
