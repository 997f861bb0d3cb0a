/*
 * Special tokens: texts that stand for one id wherever they occur ("</s>", "<extra_id_0>").
 *
 * The struct lives in its user; all-zero is empty; fini frees. After loading, any thread may find.
 */
#ifndef SORA_MODEL_TOKENIZER_SPECIAL_H
#define SORA_MODEL_TOKENIZER_SPECIAL_H

#include "model/tokenizer_unigram.h"

#define SORA_SPECIAL_TOKENS_MAX 1024
#define SORA_SPECIAL_TOKEN_SIZE 64 /* bytes with NUL */

struct sora_special_token {
    char text[SORA_SPECIAL_TOKEN_SIZE];
    size_t size;
    int32_t id;
};

struct sora_special_tokens {
    struct sora_special_token *items; /* owned */
    int count;
    int32_t id_end;   /* above every id of the pieces and of these */
    int32_t end_id;   /* of the end-of-sequence token */
    bool starts[256]; /* which bytes begin a token */
};

/* Loads `<dir>/tokenizer_config.json`, or T5's own tokens when there is none: the named tokens,
 * additional_special_tokens, added_tokens_decoder, and "<extra_id_N>" up to extra_ids. A token that
 * is a piece has the piece's id; the others follow the pieces. Errors name the file. */
int sora_special_tokens_load(const char *dir, const struct sora_unigram *unigram, int piece_count,
                             struct sora_special_tokens *out_tokens, struct sora_fault *fault);
void sora_special_tokens_fini(struct sora_special_tokens *tokens);

/* The longest token that begins the text, NULL when none does. */
const struct sora_special_token *sora_special_tokens_find(const struct sora_special_tokens *tokens,
                                                          const char *text, size_t size);

#endif
