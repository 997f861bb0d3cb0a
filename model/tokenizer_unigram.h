/*
 * Unigram segmentation: the most probable way to write a word as pieces (Kudo 2018, the Viterbi
 * algorithm), with the reference's rules for ties and for text without pieces.
 *
 * Owned by whoever made it; keeps the pieces. Any thread may encode.
 */
#ifndef SORA_MODEL_TOKENIZER_UNIGRAM_H
#define SORA_MODEL_TOKENIZER_UNIGRAM_H

#include "base/error.h"
#include "model/tokenizer_sentencepiece.h"

#include <stdbool.h>
#include <stdint.h>

struct sora_unigram;

int sora_unigram_create(const struct sora_sentencepiece *pieces, struct sora_unigram **out_unigram,
                        struct sora_fault *fault);
void sora_unigram_destroy(struct sora_unigram **unigram);

/* The id of the piece with exactly this text, -1 when there is none. */
int sora_unigram_find(const struct sora_unigram *unigram, const char *text, size_t size);

/* Called for each id in order; returns false to stop. */
typedef bool (*sora_unigram_emit)(void *context, int32_t id);

struct sora_unigram_word {
    const char *text; /* strict UTF-8 */
    size_t size;
    bool byte_fallback; /* unknown text becomes the pieces <0x00>..<0xFF> where all exist */
};

/* Emits the ids of one word. A run of characters without pieces gives one unknown id. Errors:
 * MEMORY. */
int sora_unigram_encode(const struct sora_unigram *unigram, const struct sora_unigram_word *word,
                        sora_unigram_emit emit, void *context);

#endif
