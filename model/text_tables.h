/*
 * Tables of the text clean-up; text_tables.c and text_entities.c are generated from Python's
 * standard library by tools/tables/make_text_tables.py, which also says what the classes mean.
 */
#ifndef SORA_MODEL_TEXT_TABLES_H
#define SORA_MODEL_TEXT_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a character behaves in text that was decoded with a wrong encoding. The first 19 come from
 * the table, the rest are computed by model/text_badness.c. */
enum sora_text_class {
    SORA_TEXT_C1 = 1 << 0,
    SORA_TEXT_BAD = 1 << 1,
    SORA_TEXT_COMMON = 1 << 2,
    SORA_TEXT_LAW = 1 << 3,
    SORA_TEXT_CURRENCY = 1 << 4,
    SORA_TEXT_START = 1 << 5,
    SORA_TEXT_END = 1 << 6,
    SORA_TEXT_NUMERIC = 1 << 7,
    SORA_TEXT_KAOMOJI = 1 << 8,
    SORA_TEXT_UPPER_ACCENTED = 1 << 9,
    SORA_TEXT_LOWER_ACCENTED = 1 << 10,
    SORA_TEXT_UPPER_COMMON = 1 << 11,
    SORA_TEXT_LOWER_COMMON = 1 << 12,
    SORA_TEXT_BOX = 1 << 13,
    SORA_TEXT_LEAD_2 = 1 << 14, /* some encoding's reading of the lead of a 2-byte sequence */
    SORA_TEXT_LEAD_3 = 1 << 15,
    SORA_TEXT_LEAD_4 = 1 << 16,
    SORA_TEXT_TRAIL = 1 << 17,        /* of a continuation byte, or a space in place of A0 */
    SORA_TEXT_TRAIL_STRICT = 1 << 18, /* of a continuation byte, and rare on its own */
};

/* All members of [first, last] have the classes of `mask`; sorted, without overlap. */
struct sora_text_range {
    uint32_t first, last, mask;
};
extern const struct sora_text_range sora_text_ranges[];
extern const size_t sora_text_range_count;

/* An 8-bit encoding: its characters for bytes 80 to FF, sorted by character. Bytes below stand for
 * themselves, except that a sloppy one reads U+FFFD as 1A and has no U+001A. */
#define SORA_TEXT_CHARMAP_COUNT 10
struct sora_text_charmap {
    const char *name;
    bool sloppy;
    struct {
        uint16_t character;
        uint8_t byte;
    } chars[128];
};
extern const struct sora_text_charmap sora_text_charmaps[SORA_TEXT_CHARMAP_COUNT];

#define SORA_TEXT_WIDTH_FIRST 0xff01u
#define SORA_TEXT_WIDTH_COUNT 239
extern const uint16_t sora_text_widths[SORA_TEXT_WIDTH_COUNT][2]; /* 0 ends */

struct sora_text_upper {
    uint32_t character;
    uint16_t upper[3]; /* 0 ends */
};
extern const struct sora_text_upper sora_text_uppers[];
extern const size_t sora_text_upper_count;

struct sora_text_entity {
    const char *name;  /* without '&' and ';' */
    uint32_t chars[2]; /* 0 ends */
    bool bare;         /* also recognised without ';' */
};
extern const struct sora_text_entity sora_text_entities[];
extern const size_t sora_text_entity_count;

#endif
