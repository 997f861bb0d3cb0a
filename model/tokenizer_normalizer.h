/*
 * The character map of a sentencepiece model (a superset of NFKC), applied as the reference does.
 *
 * The reference does not run sentencepiece's own normaliser: it looks up whole grapheme clusters of
 * up to 5 bytes first, then single characters, and takes the shortest entry that begins the cluster
 * for all of it (tokenizers' Precompiled). Owned by whoever made it; any thread may apply it.
 */
#ifndef SORA_MODEL_TOKENIZER_NORMALIZER_H
#define SORA_MODEL_TOKENIZER_NORMALIZER_H

#include "base/bytes.h"
#include "base/error.h"

struct sora_normalizer;

/* Takes the map out of the serialised model (borrowed for the call); a model without one gives a
 * normaliser that changes nothing. Errors: FORMAT, MEMORY. */
int sora_normalizer_create(const void *model, size_t size, const char *label,
                           struct sora_normalizer **out_normalizer, struct sora_fault *fault);
void sora_normalizer_destroy(struct sora_normalizer **normalizer);

/* Appends the normalised form of strict UTF-8 text. Errors: FULL, MEMORY. */
int sora_normalizer_apply(const struct sora_normalizer *normalizer, const char *text, size_t size,
                          struct sora_bytes *out_text);

#endif
