/*
 * Tokenizer: the reference's text clean-up and the UMT5 sentencepiece model.
 *
 * Token ids equal those of transformers' fast T5 tokenizer, which differs from sentencepiece:
 * special tokens are found in the text first, each word is segmented by itself, a literal "<0x41>"
 * is a piece, and text without pieces becomes one unknown id (not bytes, unless the directory has a
 * tokenizer.json that says "byte_fallback": true). The unknown id is the model file's, as in
 * transformers up to version 4; version 5 writes 2 for every T5 model.
 *
 * Owned by the opener; encode is thread-safe after opening. Opening reads one file (<= 64 MiB).
 */
#ifndef SORA_MODEL_TOKENIZER_H
#define SORA_MODEL_TOKENIZER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct sora_tokenizer;

#define SORA_PROMPT_SIZE_MAX 102400 /* bytes of UTF-8; what a job may have, base/job_options.h */
#define SORA_PROMPT_TOKENS_MAX 512

/* Opens `<dir>/spiece.model`, the special tokens of tokenizer_config.json if present, and the byte
 * fallback of tokenizer.json if present. Errors: NOT_FOUND, FORMAT, LIMIT, IO, MEMORY, each naming
 * the file. */
int sora_tokenizer_open(const char *dir, struct sora_tokenizer **out_tokenizer,
                        struct sora_fault *fault);
void sora_tokenizer_destroy(struct sora_tokenizer **tokenizer);

/* Cleans `text` (model/text_clean.h), encodes it, appends the end token and truncates to
 * SORA_PROMPT_TOKENS_MAX keeping the end token. `text` is `size` bytes; it must be UTF-8 without
 * NUL. Errors: FORMAT (not UTF-8), LIMIT (too long, with the limit). */
int sora_tokenizer_encode(const struct sora_tokenizer *tokenizer, const char *text, size_t size,
                          int32_t out_ids[SORA_PROMPT_TOKENS_MAX], int *out_count,
                          struct sora_fault *fault);

/* Cleans nothing: `text` is what sora_text_clean gave. */
int sora_tokenizer_encode_cleaned(const struct sora_tokenizer *tokenizer, const char *text,
                                  size_t size, int32_t out_ids[SORA_PROMPT_TOKENS_MAX],
                                  int *out_count, struct sora_fault *fault);

/* Number of pieces and added special tokens: ids are below it. */
int sora_tokenizer_vocabulary_size(const struct sora_tokenizer *tokenizer);

#endif
