/*
 * The pieces of a sentencepiece model: a C face of the C++ library, which reads and checks the
 * file.
 *
 * Owned by whoever opened it; after opening, any thread may read. No exception crosses this header.
 */
#ifndef SORA_MODEL_TOKENIZER_SENTENCEPIECE_H
#define SORA_MODEL_TOKENIZER_SENTENCEPIECE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sora_sentencepiece;

/* Plain numbers, because base/error.h is a C header: the caller translates. */
enum sora_sentencepiece_status {
    SORA_SENTENCEPIECE_OK = 0,
    SORA_SENTENCEPIECE_BROKEN, /* not a model */
    SORA_SENTENCEPIECE_MEMORY,
};

/* Parses the serialised model, which is borrowed for the call. Returns owned. */
enum sora_sentencepiece_status sora_sentencepiece_create(const void *model, size_t size,
                                                         struct sora_sentencepiece **out_pieces);
void sora_sentencepiece_destroy(struct sora_sentencepiece **pieces);

int sora_sentencepiece_count(const struct sora_sentencepiece *pieces);
int sora_sentencepiece_unknown_id(const struct sora_sentencepiece *pieces);

/* One piece, 0 <= id < count. The text borrows `pieces`; it is UTF-8 with U+2581 for a blank. */
struct sora_sentencepiece_item {
    const char *text;
    size_t size;  /* bytes */
    double score; /* logarithm of its probability; exact, although stored as f32 */
};
struct sora_sentencepiece_item sora_sentencepiece_at(const struct sora_sentencepiece *pieces,
                                                     int id);

#ifdef __cplusplus
}
#endif

#endif
