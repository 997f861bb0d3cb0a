/* Code point arrays and strict UTF-8. */
#include "model/text_runes.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

void sora_runes_fini(struct sora_runes *runes)
{
    free(runes->items);
    *runes = (struct sora_runes){0};
}

void sora_runes_append(struct sora_runes *runes, uint32_t rune)
{
    sora_runes_append_all(runes, &rune, 1);
}

void sora_runes_append_all(struct sora_runes *runes, const uint32_t *items, size_t count)
{
    if (runes->failed || count == 0)
        return;
    if (runes->capacity - runes->count < count) {
        size_t capacity = (runes->count + count) * 2 + 32;
        uint32_t *grown = realloc(runes->items, capacity * sizeof(*grown));
        if (!grown) {
            runes->failed = true;
            return;
        }
        runes->items = grown;
        runes->capacity = capacity;
    }
    memcpy(runes->items + runes->count, items, count * sizeof(*items));
    runes->count += count;
}

void sora_runes_move(struct sora_runes *to, struct sora_runes *from)
{
    bool failed = to->failed || from->failed;
    free(to->items);
    *to = *from;
    to->failed = failed;
    *from = (struct sora_runes){0};
}

bool sora_runes_equal(const struct sora_runes *a, const struct sora_runes *b)
{
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->items, b->items, a->count * sizeof(*a->items)) == 0);
}

size_t sora_utf8_read(const unsigned char *bytes, size_t size, uint32_t *out_rune)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (size == 0)
        return 0;
    unsigned char lead = bytes[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length == 0 || length > size || lead > 0xf4)
        return 0;
    uint32_t rune = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        rune = rune << 6 | (bytes[i] & 0x3fu);
    }
    if (rune < smallest[length] || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff))
        return 0;
    *out_rune = rune;
    return length;
}

bool sora_runes_append_utf8(struct sora_runes *runes, const void *text, size_t size)
{
    const unsigned char *bytes = text;
    for (size_t i = 0; i < size;) {
        uint32_t rune;
        size_t length = sora_utf8_read(bytes + i, size - i, &rune);
        if (length == 0)
            return false;
        sora_runes_append(runes, rune);
        i += length;
    }
    return true;
}

/* Writes 1 to 4 bytes; returns how many. */
static size_t utf8_write(uint32_t rune, unsigned char bytes[4])
{
    if (rune < 0x80) {
        bytes[0] = (unsigned char)rune;
        return 1;
    }
    size_t length = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (unsigned char)(0x80 | (rune & 0x3f));
        rune >>= 6;
    }
    bytes[0] = (unsigned char)((0xf00u >> length) | rune);
    return length;
}

int sora_runes_to_utf8(const struct sora_runes *runes, struct sora_bytes *bytes)
{
    if (runes->failed)
        return SORA_E_MEMORY;
    for (size_t i = 0; i < runes->count; i++) {
        int rc = sora_bytes_reserve(bytes, 4);
        if (rc)
            return rc;
        sora_bytes_commit(bytes, utf8_write(runes->items[i], bytes->data + bytes->size));
    }
    return SORA_OK;
}
