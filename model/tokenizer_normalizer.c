/*
 * The precompiled character map: u32 size of a trie, the trie (darts-clone: a double array of u32
 * units), then the replacements, each ended by NUL. All indexes come from a file and are checked.
 */
#include "model/tokenizer_normalizer.h"

#include "model/text_runes.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define CLUSTER_SIZE_MAX 5 /* bytes of a cluster that is looked up whole */
#define NO_VALUE UINT32_MAX

struct sora_normalizer {
    uint32_t *units;
    size_t unit_count;
    char *texts; /* ends with a NUL of our own */
    size_t texts_size;
};

/* ---- the field of the protobuf message ---- */

struct span {
    const unsigned char *data;
    size_t size;
};

static bool read_varint(struct span *in, uint64_t *out_value)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && in->size > 0; shift += 7) {
        unsigned char byte = *in->data++;
        in->size--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

/* Reads one field; *out_value holds the bytes of a length-delimited one, else is empty. */
static bool read_field(struct span *in, uint64_t *out_number, struct span *out_value)
{
    uint64_t key, number, size = 0;
    if (!read_varint(in, &key))
        return false;
    bool delimited = false;
    switch (key & 7) {
    case 0:
        if (!read_varint(in, &number))
            return false;
        break;
    case 1:
        size = 8;
        break;
    case 2:
        delimited = true;
        if (!read_varint(in, &size))
            return false;
        break;
    case 5:
        size = 4;
        break;
    default:
        return false;
    }
    if (size > in->size)
        return false;
    *out_number = key >> 3;
    *out_value = delimited ? (struct span){in->data, (size_t)size} : (struct span){NULL, 0};
    in->data += size;
    in->size -= (size_t)size;
    return true;
}

/* The last length-delimited field `number`; empty when there is none. False for broken bytes. */
static bool find_field(struct span message, uint64_t number, struct span *out_value)
{
    *out_value = (struct span){NULL, 0};
    while (message.size > 0) {
        uint64_t found;
        struct span value;
        if (!read_field(&message, &found, &value))
            return false;
        if (found == number && value.data)
            *out_value = value;
    }
    return true;
}

/* ---- loading ---- */

static int load_map(struct sora_normalizer *normalizer, struct span map, const char *label,
                    struct sora_fault *fault)
{
    uint32_t trie_size = 0;
    if (map.size >= 4)
        memcpy(&trie_size, map.data, 4);
    if (map.size < 4 || trie_size > map.size - 4 || trie_size % 4 != 0 || trie_size == 0)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: its character map of %zu bytes says that its trie has %u", label,
                              map.size, (unsigned)trie_size);
    normalizer->unit_count = trie_size / 4;
    normalizer->texts_size = map.size - 4 - trie_size;
    normalizer->units = malloc(trie_size);
    normalizer->texts = malloc(normalizer->texts_size + 1);
    if (!normalizer->units || !normalizer->texts)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    memcpy(normalizer->units, map.data + 4, trie_size);
    memcpy(normalizer->texts, map.data + 4 + trie_size, normalizer->texts_size);
    normalizer->texts[normalizer->texts_size] = 0;
    return SORA_OK;
}

int sora_normalizer_create(const void *model, size_t size, const char *label,
                           struct sora_normalizer **out_normalizer, struct sora_fault *fault)
{
    enum { normalizer_spec = 3, precompiled_charsmap = 2 };
    struct span spec, map;
    if (!find_field((struct span){model, size}, normalizer_spec, &spec) ||
        !find_field(spec, precompiled_charsmap, &map))
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: is not a sentencepiece model", label);
    struct sora_normalizer *normalizer = calloc(1, sizeof(*normalizer));
    if (!normalizer)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    int rc = map.size > 0 ? load_map(normalizer, map, label, fault) : SORA_OK;
    if (rc) {
        sora_normalizer_destroy(&normalizer);
        return rc;
    }
    *out_normalizer = normalizer;
    return SORA_OK;
}

void sora_normalizer_destroy(struct sora_normalizer **normalizer)
{
    if (!normalizer || !*normalizer)
        return;
    free((*normalizer)->units);
    free((*normalizer)->texts);
    free(*normalizer);
    *normalizer = NULL;
}

/* ---- looking up ---- */

static size_t unit_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

/* The value of the shortest key that begins the text, NO_VALUE when there is none. */
static uint32_t trie_find(const struct sora_normalizer *normalizer, const unsigned char *text,
                          size_t size)
{
    if (normalizer->unit_count == 0)
        return NO_VALUE;
    size_t at = unit_offset(normalizer->units[0]);
    for (size_t i = 0; i < size && text[i]; i++) {
        at ^= text[i];
        if (at >= normalizer->unit_count)
            return NO_VALUE;
        uint32_t unit = normalizer->units[at];
        if ((unit & 0x800000ffu) != text[i])
            return NO_VALUE;
        at ^= unit_offset(unit);
        if (unit & 0x100)
            return at < normalizer->unit_count ? normalizer->units[at] & 0x7fffffffu : NO_VALUE;
    }
    return NO_VALUE;
}

/* The replacement of the text, NULL when there is none. */
static const char *find_text(const struct sora_normalizer *normalizer, const unsigned char *text,
                             size_t size)
{
    uint32_t value = trie_find(normalizer, text, size);
    return value < normalizer->texts_size ? normalizer->texts + value : NULL;
}

static int append_cluster(const struct sora_normalizer *normalizer, const unsigned char *text,
                          size_t size, struct sora_bytes *out)
{
    const char *found = NULL;
    if (size <= CLUSTER_SIZE_MAX)
        found = find_text(normalizer, text, size);
    if (found)
        return sora_bytes_append(out, found, strlen(found));
    int rc = 0;
    for (size_t i = 0; i < size && !rc;) {
        uint32_t rune;
        size_t length = sora_utf8_read(text + i, size - i, &rune);
        SORA_ASSERT(length > 0);
        found = find_text(normalizer, text + i, length);
        rc = found ? sora_bytes_append(out, found, strlen(found))
                   : sora_bytes_append(out, text + i, length);
        i += length;
    }
    return rc;
}

/* Bytes of the grapheme cluster at the start of the text. */
static size_t cluster_size(const unsigned char *text, size_t size)
{
    uint32_t before, next;
    utf8proc_int32_t state = 0;
    size_t end = sora_utf8_read(text, size, &before);
    while (end < size) {
        size_t length = sora_utf8_read(text + end, size - end, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)next,
                                             &state))
            break;
        before = next;
        end += length;
    }
    return end;
}

int sora_normalizer_apply(const struct sora_normalizer *normalizer, const char *text, size_t size,
                          struct sora_bytes *out_text)
{
    const unsigned char *bytes = (const unsigned char *)text;
    int rc = 0;
    for (size_t i = 0; i < size && !rc;) {
        size_t length = cluster_size(bytes + i, size - i);
        rc = append_cluster(normalizer, bytes + i, length, out_text);
        i += length;
    }
    return rc;
}
