/* Which neighbours give wrongly decoded UTF-8 away: a table of short sequences of classes. Only the
 * answer yes or no is needed, so the order of the rules does not matter. */
#include "model/text_fix.h"

#include <stdlib.h>
#include <utf8proc.h>

/* Classes that are computed, beside those of the table. */
enum {
    LATIN_LOWER = 1 << 20, /* a-z */
    LATIN_UPPER = 1 << 21, /* A-Z */
    WHITE = 1 << 22,       /* white space */
    WORD = 1 << 23,        /* letters, numbers and '_' */
    BLANK = 1 << 24,       /* U+0020 */
    OTHER = 1 << 25,       /* all but a-z and A-Z */
    ANY = 1 << 26,         /* all but the line feed */
};

enum {
    C1 = SORA_TEXT_C1,
    BAD = SORA_TEXT_BAD,
    COMMON = SORA_TEXT_COMMON,
    LAW = SORA_TEXT_LAW,
    CURRENCY = SORA_TEXT_CURRENCY,
    START = SORA_TEXT_START,
    END = SORA_TEXT_END,
    NUMERIC = SORA_TEXT_NUMERIC,
    KAOMOJI = SORA_TEXT_KAOMOJI,
    UPPER = SORA_TEXT_UPPER_ACCENTED,
    LOWER = SORA_TEXT_LOWER_ACCENTED,
    UPPER_COMMON = SORA_TEXT_UPPER_COMMON,
    LOWER_COMMON = SORA_TEXT_LOWER_COMMON,
    BOX = SORA_TEXT_BOX,
    LATIN = LATIN_LOWER | LATIN_UPPER,
    /* What makes an odd pair with a character that is bad in itself. */
    ODD = LOWER | UPPER | BOX | START | END | CURRENCY | NUMERIC | LAW,
    ARABIC_TAIL = COMMON | CURRENCY | BAD | NUMERIC | START,
    CYRILLIC_TAIL = C1 | BAD | START | END | CURRENCY,
};

#define RULE_ITEMS_MAX 7

/* One character: any of the classes, or one of `chars`. */
struct rule_item {
    uint32_t classes;
    const uint32_t *chars; /* 0 ends; NULL for none */
};

struct rule {
    int count;
    bool at_start; /* only at the start of the text */
    struct rule_item items[RULE_ITEMS_MAX];
};

#define CHARS(...) ((const uint32_t[]){__VA_ARGS__, 0})
#define CLASS(mask)                                                                                \
    {                                                                                              \
        (mask), NULL                                                                               \
    }
#define ONE(...)                                                                                   \
    {                                                                                              \
        0, CHARS(__VA_ARGS__)                                                                      \
    }
#define MIX(mask, ...)                                                                             \
    {                                                                                              \
        (mask), CHARS(__VA_ARGS__)                                                                 \
    }

static const struct rule rules[] = {
    {1, false, {CLASS(C1)}},
    {2, false, {CLASS(BAD | ODD), CLASS(BAD)}},
    {3, false, {CLASS(LATIN), CLASS(LOWER_COMMON | UPPER_COMMON), CLASS(BAD)}},
    {2, false, {CLASS(BAD), CLASS(ODD)}},
    {2, false, {CLASS(LOWER | LOWER_COMMON | BOX | END | CURRENCY | NUMERIC), CLASS(UPPER)}},
    {2, false, {CLASS(BOX | END | CURRENCY | NUMERIC), CLASS(LOWER)}},
    {2, false, {CLASS(LOWER | BOX | END), CLASS(CURRENCY)}},
    {3, false, {CLASS(WHITE), CLASS(UPPER), CLASS(CURRENCY)}},
    {2, false, {CLASS(UPPER | BOX), CLASS(NUMERIC | LAW)}},
    {3, false, {CLASS(LOWER | UPPER | BOX | CURRENCY | END), CLASS(START), CLASS(NUMERIC)}},
    {3, false, {CLASS(LOWER | UPPER | CURRENCY | NUMERIC | BOX | LAW), CLASS(END), CLASS(START)}},
    {2, false, {CLASS(CURRENCY | NUMERIC | BOX), CLASS(START)}},
    {3, false, {CLASS(LATIN_LOWER), CLASS(UPPER), CLASS(START | CURRENCY)}},
    {2, false, {CLASS(BOX), CLASS(KAOMOJI)}},
    {2, false, {CLASS(LOWER | UPPER | CURRENCY | NUMERIC | START | END | LAW), CLASS(BOX)}},
    {2, false, {CLASS(BOX), CLASS(END)}},
    {3, false, {CLASS(LOWER | UPPER), CLASS(START | END), CLASS(WORD)}},
    /* The ligature oe before anything but a Latin letter. */
    {2, false, {ONE(0x152, 0x153), CLASS(OTHER)}},
    /* A degree sign after a capital. */
    {2, false, {CLASS(UPPER), ONE(0xb0)}},
    /* Two-character readings by Windows-1252. */
    {2,
     false,
     {ONE(0xc2, 0xc3, 0xce, 0xd0),
      MIX(START | END, 0x20ac, 0x153, 0x160, 0x161, 0xa2, 0xa3, 0x178, 0x17e, 0xa0, 0xad, 0xae,
          0xa9, 0xb0, 0xb7, 0xbb, 0x2013, 0x2014, 0xb4)}},
    {2, false, {ONE(0xd7), ONE(0xb2, 0xb3)}},
    /* Arabic read by Windows-1252: common characters count, so four are needed. */
    {4,
     false,
     {ONE(0xd8, 0xd9), MIX(ARABIC_TAIL, 0x178, 0x160, 0xae, 0xb0, 0xb5, 0xbb), ONE(0xd8, 0xd9),
      MIX(ARABIC_TAIL, 0x178, 0x160, 0xae, 0xb0, 0xb5, 0xbb)}},
    /* South Asian alphabets read by Windows-1252. */
    {2, false, {ONE(0xe0), ONE(0xb2, 0xb5, 0xb9, 0xbc, 0xbd, 0xbe)}},
    /* Readings by MacRoman. */
    {2,
     false,
     {ONE(0x221a),
      ONE(0xb1, 0x2202, 0x2020, 0x2260, 0xae, 0x2122, 0xb4, 0x2264, 0x2265, 0xa5, 0xb5, 0xf8)}},
    {2, false, {ONE(0x2248), ONE(0xb0, 0xa2)}},
    {3,
     false,
     {ONE(0x201a), ONE(0xc4),
      ONE(0xec, 0xee, 0xef, 0xf2, 0xf4, 0xfa, 0xf9, 0xfb, 0x2020, 0xb0, 0xa2, 0x3c0)}},
    {3, false, {ONE(0x201a), ONE(0xe2, 0xf3), ONE(0xe0, 0xe4, 0xb0, 0xea)}},
    /* U+2000 to U+20FF read by Windows-1251, then Latin-1 or Cyrillic. */
    {2, false, {ONE(0x432), ONE(0x402)}},
    {3,
     false,
     {ONE(0x412, 0x413, 0x420, 0x421), MIX(CYRILLIC_TAIL, 0xb0, 0xb5),
      ONE(0x412, 0x413, 0x420, 0x421)}},
    {7,
     false,
     {ONE(0x413), ONE(0x45e), ONE(0x412), ONE(0x402), ONE(0x412), CLASS(ANY),
      CLASS(LATIN | BLANK)}},
    /* A-tilde and A-circumflex before what a no-break space became. */
    {2, false, {ONE(0xc3), ONE(0xa0, 0xa1)}},
    {3, false, {CLASS(LATIN_LOWER), ONE(0xc3, 0xc2), CLASS(BLANK)}},
    {4, false, {CLASS(LATIN_LOWER), CLASS(WHITE), ONE(0xc3, 0xc2), CLASS(BLANK)}},
    {2, true, {ONE(0xc3, 0xc2), CLASS(BLANK)}},
    {3, false, {MIX(LATIN_LOWER | END, '.', ',', '?', '!'), ONE(0xc2), CLASS(BLANK | START | END)}},
    /* Readings by Windows-1253 and Windows-1257. */
    {3, false, {ONE(0x3b2), ONE(0x20ac), ONE(0x2122, 0xa0, 0x386, 0xad, 0xae, 0xb0)}},
    {3,
     false,
     {ONE(0x392, 0x393, 0x39e, 0x39f), MIX(CYRILLIC_TAIL, 0xb0), ONE(0x392, 0x393, 0x39e, 0x39f)}},
    {2, false, {ONE(0x101), ONE(0x20ac)}},
};

static int compare_range(const void *a, const void *b)
{
    uint32_t rune = *(const uint32_t *)a;
    const struct sora_text_range *range = b;
    return rune < range->first ? -1 : rune > range->last;
}

uint32_t sora_text_classes(uint32_t rune)
{
    const struct sora_text_range *range =
        bsearch(&rune, sora_text_ranges, sora_text_range_count, sizeof(*range), compare_range);
    return range ? range->mask : 0;
}

bool sora_text_is_space(uint32_t rune)
{
    return (rune >= 0x9 && rune <= 0xd) || (rune >= 0x1c && rune <= 0x20) || rune == 0x85 ||
           rune == 0xa0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 ||
           rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

static bool is_word(uint32_t rune)
{
    switch (utf8proc_category((utf8proc_int32_t)rune)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return rune == '_';
    }
}

static uint32_t all_classes(uint32_t rune)
{
    uint32_t mask = sora_text_classes(rune);
    if (rune >= 'a' && rune <= 'z')
        mask |= LATIN_LOWER;
    else if (rune >= 'A' && rune <= 'Z')
        mask |= LATIN_UPPER;
    else
        mask |= OTHER;
    if (sora_text_is_space(rune))
        mask |= WHITE;
    if (rune == ' ')
        mask |= BLANK;
    if (rune != '\n')
        mask |= ANY;
    if (is_word(rune))
        mask |= WORD;
    return mask;
}

static bool item_matches(const struct rule_item *item, uint32_t rune, uint32_t mask)
{
    if (item->classes & mask)
        return true;
    for (const uint32_t *c = item->chars; c && *c; c++) {
        if (*c == rune)
            return true;
    }
    return false;
}

static bool rule_matches(const struct rule *rule, const uint32_t *items, const uint32_t *masks,
                         size_t count)
{
    if ((size_t)rule->count > count)
        return false;
    for (int i = 0; i < rule->count; i++) {
        if (!item_matches(&rule->items[i], items[i], masks[i]))
            return false;
    }
    return true;
}

bool sora_text_is_bad(const uint32_t *items, size_t count)
{
    /* Classes of the characters ahead; rules look at no more than these. */
    uint32_t masks[RULE_ITEMS_MAX + 1] = {0};
    for (size_t i = 0; i < count && i < RULE_ITEMS_MAX; i++)
        masks[i] = all_classes(items[i]);
    for (size_t i = 0; i < count; i++) {
        for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
            if ((!rules[r].at_start || i == 0) &&
                rule_matches(&rules[r], items + i, masks, count - i))
                return true;
        }
        for (int j = 0; j < RULE_ITEMS_MAX; j++)
            masks[j] = masks[j + 1];
        size_t next = i + RULE_ITEMS_MAX;
        masks[RULE_ITEMS_MAX - 1] = next < count ? all_classes(items[next]) : 0;
    }
    return false;
}
