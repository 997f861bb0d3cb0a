/* Pieces in a hash table, asked for every prefix of what is left; the hash grows byte by byte. */
#include "model/tokenizer_unigram.h"

#include "model/text_runes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0 /* below the least probable piece, per character */
#define HASH_START 0xcbf29ce484222325u

struct sora_unigram {
    const struct sora_sentencepiece *pieces;
    int32_t *slots; /* id + 1; 0 is empty */
    size_t slot_mask;
    size_t size_max; /* of a piece, bytes */
    double unknown_score;
    int unknown_id;
    int byte_ids[256]; /* -1 where the model has no such piece */
};

static uint64_t hash_step(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * 0x100000001b3u;
}

static uint64_t hash_all(const char *text, size_t size)
{
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < size; i++)
        hash = hash_step(hash, (unsigned char)text[i]);
    return hash;
}

/* The slot of the text, or the empty one where it belongs. */
static size_t find_slot(const struct sora_unigram *unigram, uint64_t hash, const char *text,
                        size_t size)
{
    size_t slot = (size_t)(hash ^ hash >> 32) & unigram->slot_mask;
    for (; unigram->slots[slot]; slot = (slot + 1) & unigram->slot_mask) {
        struct sora_sentencepiece_item item =
            sora_sentencepiece_at(unigram->pieces, unigram->slots[slot] - 1);
        if (item.size == size && memcmp(item.text, text, size) == 0)
            break;
    }
    return slot;
}

int sora_unigram_find(const struct sora_unigram *unigram, const char *text, size_t size)
{
    return unigram->slots[find_slot(unigram, hash_all(text, size), text, size)] - 1;
}

/* Of two pieces with one text the later counts. */
static void add_pieces(struct sora_unigram *unigram, int count)
{
    double score_min = 0;
    for (int id = 0; id < count; id++) {
        struct sora_sentencepiece_item item = sora_sentencepiece_at(unigram->pieces, id);
        size_t slot = find_slot(unigram, hash_all(item.text, item.size), item.text, item.size);
        unigram->slots[slot] = id + 1;
        if (item.size > unigram->size_max)
            unigram->size_max = item.size;
        if (item.score < score_min)
            score_min = item.score;
    }
    unigram->unknown_score = score_min - UNKNOWN_PENALTY;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        int size = snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte);
        unigram->byte_ids[byte] = sora_unigram_find(unigram, name, (size_t)size);
    }
}

int sora_unigram_create(const struct sora_sentencepiece *pieces, struct sora_unigram **out_unigram,
                        struct sora_fault *fault)
{
    int count = sora_sentencepiece_count(pieces);
    size_t slot_count = 64;
    while (slot_count < (size_t)count * 2)
        slot_count *= 2;
    struct sora_unigram *unigram = calloc(1, sizeof(*unigram));
    int32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!unigram || !slots) {
        free(unigram);
        free(slots);
        return sora_fault_set(fault, SORA_E_MEMORY, "tokenizer: no memory for %d pieces", count);
    }
    unigram->pieces = pieces;
    unigram->slots = slots;
    unigram->slot_mask = slot_count - 1;
    unigram->unknown_id = sora_sentencepiece_unknown_id(pieces);
    add_pieces(unigram, count);
    *out_unigram = unigram;
    return SORA_OK;
}

void sora_unigram_destroy(struct sora_unigram **unigram)
{
    if (!unigram || !*unigram)
        return;
    free((*unigram)->slots);
    free(*unigram);
    *unigram = NULL;
}

/* ---- the best path ---- */

/* The best way to reach a byte position. */
struct node {
    double score;
    size_t start; /* SIZE_MAX: not reached */
    int32_t id;   /* -1: unknown */
};

static void node_offer(struct node *node, const struct node *candidate)
{
    if (node->start == SIZE_MAX || candidate->score > node->score)
        *node = *candidate;
}

/* Offers every piece that begins at `start`, and unknown when none is one character long. */
static void extend(const struct sora_unigram *unigram, const struct sora_unigram_word *word,
                   size_t start, size_t character_size, struct node *nodes)
{
    bool has_single = false;
    uint64_t hash = HASH_START;
    const char *text = word->text + start;
    for (size_t size = 1; size <= unigram->size_max && size <= word->size - start; size++) {
        hash = hash_step(hash, (unsigned char)text[size - 1]);
        int id = unigram->slots[find_slot(unigram, hash, text, size)] - 1;
        if (id < 0)
            continue;
        double score = nodes[start].score + sora_sentencepiece_at(unigram->pieces, id).score;
        node_offer(&nodes[start + size], &(struct node){score, start, id});
        has_single |= size == character_size;
    }
    if (!has_single)
        node_offer(&nodes[start + character_size],
                   &(struct node){nodes[start].score + unigram->unknown_score, start, -1});
}

/* ---- emitting ---- */

static bool emit_unknown(const struct sora_unigram *unigram, const char *text, size_t size,
                         bool byte_fallback, sora_unigram_emit emit, void *context)
{
    for (size_t i = 0; i < size; i++)
        byte_fallback &= unigram->byte_ids[(unsigned char)text[i]] >= 0;
    if (!byte_fallback)
        return emit(context, unigram->unknown_id);
    bool more = true;
    for (size_t i = 0; i < size && more; i++)
        more = emit(context, unigram->byte_ids[(unsigned char)text[i]]);
    return more;
}

/* Turns the backward links into forward ones: nodes[start].start becomes the end of its piece. */
static void reverse_path(struct node *nodes, size_t size)
{
    size_t end = size, next = SIZE_MAX;
    int32_t id = -1;
    while (true) {
        struct node node = nodes[end];
        nodes[end].start = next;
        nodes[end].id = id;
        if (end == 0)
            return;
        next = end;
        id = node.id;
        end = node.start;
    }
}

static void emit_path(const struct sora_unigram *unigram, const struct sora_unigram_word *word,
                      const struct node *nodes, sora_unigram_emit emit, void *context)
{
    bool more = true;
    for (size_t at = 0; at < word->size && more;) {
        size_t end = nodes[at].start;
        if (nodes[at].id >= 0) {
            more = emit(context, nodes[at].id);
        } else {
            while (end < word->size && nodes[end].id < 0)
                end = nodes[end].start;
            more = emit_unknown(unigram, word->text + at, end - at, word->byte_fallback, emit,
                                context);
        }
        at = end;
    }
}

int sora_unigram_encode(const struct sora_unigram *unigram, const struct sora_unigram_word *word,
                        sora_unigram_emit emit, void *context)
{
    struct node *nodes = malloc((word->size + 1) * sizeof(*nodes));
    if (!nodes)
        return SORA_E_MEMORY;
    for (size_t i = 0; i <= word->size; i++)
        nodes[i] = (struct node){0, SIZE_MAX, -1};
    for (size_t start = 0; start < word->size;) {
        uint32_t rune;
        size_t length =
            sora_utf8_read((const unsigned char *)word->text + start, word->size - start, &rune);
        SORA_ASSERT(length > 0);
        extend(unigram, word, start, length, nodes);
        start += length;
    }
    reverse_path(nodes, word->size);
    emit_path(unigram, word, nodes, emit, context);
    free(nodes);
    return SORA_OK;
}
