/* Character references, in the lenient form of HTML5 parsers and in the strict form of ftfy. */
#include "model/text_fix.h"

#include <stdlib.h>
#include <string.h>

#define NAME_SIZE_MAX 32

struct entity_key {
    const char *name;
    size_t size;
};

static int compare_entity(const void *a, const void *b)
{
    const struct entity_key *key = a;
    const struct sora_text_entity *entity = b;
    int order = strncmp(key->name, entity->name, key->size);
    return order ? order : -(entity->name[key->size] != 0);
}

static const struct sora_text_entity *entity_find(const char *name, size_t size)
{
    struct entity_key key = {name, size};
    return bsearch(&key, sora_text_entities, sora_text_entity_count, sizeof(sora_text_entities[0]),
                   compare_entity);
}

static void append_entity(struct sora_runes *out, const struct sora_text_entity *entity)
{
    for (int i = 0; i < 2 && entity->chars[i]; i++)
        sora_runes_append(out, entity->chars[i]);
}

/* The longest name of at least 2 characters that needs no ';' and begins the text. */
static const struct sora_text_entity *entity_find_prefix(const char *name, size_t size)
{
    for (; size >= 2; size--) {
        const struct sora_text_entity *entity = entity_find(name, size);
        if (entity && entity->bare)
            return entity;
    }
    return NULL;
}

/* ---- numeric references ---- */

static bool is_noncharacter_or_control(uint32_t number)
{
    return (number >= 0x1 && number <= 0x8) || number == 0xb || (number >= 0xe && number <= 0x1f) ||
           (number >= 0x7f && number <= 0x9f) || (number >= 0xfdd0 && number <= 0xfdef) ||
           (number & 0xfffe) == 0xfffe;
}

static void append_number(struct sora_runes *out, uint32_t number)
{
    if (number == 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff))
        sora_runes_append(out, 0xfffd);
    else if (number >= 0x80 && number <= 0x9f)
        sora_runes_append(out, sora_text_c1_character(number));
    else if (!is_noncharacter_or_control(number))
        sora_runes_append(out, number);
}

static int digit_value(uint32_t rune)
{
    if (rune >= '0' && rune <= '9')
        return (int)rune - '0';
    rune |= 0x20;
    return rune >= 'a' && rune <= 'f' ? (int)rune - 'a' + 10 : 16;
}

/* Reads "#123", "#x1F" (without ';') at `items`. Returns its length, 0 when there is none. Numbers
 * stop growing above the largest code point. */
static size_t read_number(const uint32_t *items, size_t count, uint32_t *out_number)
{
    if (count < 2 || items[0] != '#')
        return 0;
    int base = items[1] == 'x' || items[1] == 'X' ? 16 : 10;
    size_t first = base == 16 ? 2 : 1, i = first;
    uint32_t number = 0;
    for (; i < count && digit_value(items[i]) < base; i++) {
        number = number * (uint32_t)base + (uint32_t)digit_value(items[i]);
        if (number > 0x10ffff)
            number = 0x110000;
    }
    *out_number = number;
    return i > first ? i : 0;
}

/* ---- the lenient form ---- */

static bool is_name_end(uint32_t rune)
{
    return rune == '\t' || rune == '\n' || rune == '\f' || rune == ' ' || rune == '<' ||
           rune == '&' || rune == '#' || rune == ';';
}

/* A named reference after '&': 1 to 32 characters and an optional ';'. Returns what it consumed. */
static size_t unescape_name(const uint32_t *items, size_t count, struct sora_runes *out)
{
    char name[NAME_SIZE_MAX];
    size_t size = 0, ascii = 0;
    for (; size < count && size < NAME_SIZE_MAX && !is_name_end(items[size]); size++) {
        if (ascii == size && items[size] > 0 && items[size] < 0x80)
            name[ascii++] = (char)items[size];
    }
    if (size == 0)
        return 0;
    bool closed = size < count && items[size] == ';';
    const struct sora_text_entity *entity = ascii == size ? entity_find(name, size) : NULL;
    if (entity && (closed || entity->bare)) {
        append_entity(out, entity);
        return size + closed;
    }
    entity = entity_find_prefix(name, ascii);
    if (!entity)
        return 0;
    append_entity(out, entity);
    return strlen(entity->name);
}

/* The reference after a '&' at `items`. Returns what it consumed, 0 when there is none. */
static size_t unescape_one(const uint32_t *items, size_t count, struct sora_runes *out)
{
    uint32_t number = 0;
    size_t size = read_number(items, count, &number);
    if (size == 0)
        return unescape_name(items, count, out);
    append_number(out, number);
    return size + (size < count && items[size] == ';');
}

void sora_text_unescape_html(struct sora_runes *text)
{
    struct sora_runes out = {0};
    for (size_t i = 0; i < text->count;) {
        size_t used = 0;
        if (text->items[i] == '&')
            used = unescape_one(text->items + i + 1, text->count - i - 1, &out);
        if (used)
            i += 1 + used;
        else
            sora_runes_append(&out, text->items[i++]);
    }
    sora_runes_move(text, &out);
}

/* ---- the strict form ---- */

static void append_upper(struct sora_runes *out, uint32_t rune)
{
    for (size_t i = 0; i < sora_text_upper_count; i++) {
        const struct sora_text_upper *row = &sora_text_uppers[i];
        if (row->character != rune)
            continue;
        for (int j = 0; j < 3 && row->upper[j]; j++)
            sora_runes_append(out, row->upper[j]);
        return;
    }
    sora_runes_append(out, rune);
}

/* "NTILDE": the upper case of a lower-case name, when no lenient reading of it exists. */
static bool unescape_upper(const char *name, size_t size, struct sora_runes *out)
{
    char lower[NAME_SIZE_MAX];
    for (size_t i = 0; i < size; i++) {
        if (name[i] >= 'a' && name[i] <= 'z')
            return false;
        lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 32) : name[i];
    }
    const struct sora_text_entity *entity = entity_find(lower, size);
    if (!entity || entity_find_prefix(name, size))
        return false;
    for (int i = 0; i < 2 && entity->chars[i]; i++)
        append_upper(out, entity->chars[i]);
    return true;
}

static size_t unescape_strict_name(const uint32_t *items, size_t size, struct sora_runes *out)
{
    char name[NAME_SIZE_MAX];
    for (size_t i = 0; i < size; i++)
        name[i] = (char)items[i];
    const struct sora_text_entity *entity = entity_find(name, size);
    if (entity)
        append_entity(out, entity);
    else if (!unescape_upper(name, size, out))
        return 0;
    return size + 1;
}

static bool is_alphanumeric(uint32_t rune)
{
    return (rune >= '0' && rune <= '9') || ((rune | 0x20) >= 'a' && (rune | 0x20) <= 'z');
}

/* '&', perhaps '#', 1 to 24 letters and digits, ';'. Returns what follows '&' and was consumed. */
static size_t unescape_strict_one(const uint32_t *items, size_t count, struct sora_runes *out)
{
    size_t hash = count > 0 && items[0] == '#', end = hash;
    while (end < count && end - hash < 25 && is_alphanumeric(items[end]))
        end++;
    if (end == hash || end - hash > 24 || end == count || items[end] != ';')
        return 0;
    if (!hash)
        return unescape_strict_name(items, end, out);
    uint32_t number = 0;
    /* A reading that leaves or makes a ';' is not taken. */
    if (read_number(items, end, &number) != end || number == ';')
        return 0;
    append_number(out, number);
    return end + 1;
}

void sora_text_unescape_strict(struct sora_runes *text)
{
    struct sora_runes out = {0};
    for (size_t i = 0; i < text->count;) {
        size_t used = 0;
        if (text->items[i] == '&')
            used = unescape_strict_one(text->items + i + 1, text->count - i - 1, &out);
        if (used)
            i += 1 + used;
        else
            sora_runes_append(&out, text->items[i++]);
    }
    sora_runes_move(text, &out);
}
