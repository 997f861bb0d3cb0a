/*
 * Tokenizer: the reference's text clean-up and the UMT5 sentencepiece model.
 *
 * Owned by the opener; encode is thread-safe after opening. Opening reads one file (<= 64 MiB).
 */
#ifndef SORA_MODEL_TOKENIZER_H
#define SORA_MODEL_TOKENIZER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct sora_tokenizer;

#define SORA_PROMPT_SIZE_MAX 65536 /* bytes of UTF-8 */
#define SORA_PROMPT_TOKENS_MAX 512

/* Opens `<dir>/spiece.model` (and the special tokens of tokenizer_config.json if present). */
int sora_tokenizer_open(const char *dir, struct sora_tokenizer **out_tokenizer,
                        struct sora_fault *fault);
void sora_tokenizer_destroy(struct sora_tokenizer **tokenizer);

/* Cleans `text` (model/text_clean.h), encodes it, appends the end token and truncates to
 * SORA_PROMPT_TOKENS_MAX keeping the end token. `text` is `size` bytes; it must be UTF-8 without
 * NUL. Errors: FORMAT (not UTF-8), LIMIT (too long, with the limit). */
int sora_tokenizer_encode(const struct sora_tokenizer *tokenizer, const char *text, size_t size,
                          int32_t out_ids[SORA_PROMPT_TOKENS_MAX], int *out_count,
                          struct sora_fault *fault);

/* Number of pieces. */
int sora_tokenizer_vocabulary_size(const struct sora_tokenizer *tokenizer);

#endif
