/* From a prompt to ids: clean, split at special tokens, normalise, split into words, segment. */
#include "model/tokenizer.h"

#include "base/files.h"
#include "model/json_text.h"
#include "model/text_clean.h"
#include "model/text_runes.h"
#include "model/tokenizer_normalizer.h"
#include "model/tokenizer_special.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODEL_SIZE_MAX ((size_t)64 << 20)
#define BLANK "\xe2\x96\x81" /* U+2581, which pieces have for a blank */
#define BLANK_SIZE 3
#define PIECES_MAX (1 << 20)

struct sora_tokenizer {
    struct sora_sentencepiece *pieces;
    struct sora_unigram *unigram;
    struct sora_normalizer *normalizer;
    struct sora_special_tokens special;
    bool byte_fallback;
};

/* ---- opening ---- */

/* Whether tokenizer.json sets "byte_fallback". The file may be 20 MiB of vocabulary that
 * spiece.model holds, too, so it is searched, not parsed: in JSON, this text with its quotes can
 * only be a key. */
static int read_byte_fallback(const char *path, bool *out_value, struct sora_fault *fault)
{
    static const char key[] = "\"byte_fallback\"";
    struct stat status;
    *out_value = false;
    if (stat(path, &status) != 0)
        return SORA_OK;
    struct sora_bytes bytes;
    int rc = sora_file_read(path, MODEL_SIZE_MAX, &bytes, fault);
    if (rc)
        return rc;
    const char *found = memmem(bytes.data, bytes.size, key, sizeof(key) - 1);
    if (found) {
        found += sizeof(key) - 1;
        found += strspn(found, " \t\r\n:");
        *out_value = strncmp(found, "true", 4) == 0;
    }
    sora_bytes_fini(&bytes);
    return SORA_OK;
}

static int open_model(struct sora_tokenizer *tokenizer, const char *path, struct sora_fault *fault)
{
    const char *label = sora_path_tail(path);
    struct sora_bytes bytes;
    int rc = sora_file_read(path, MODEL_SIZE_MAX, &bytes, fault);
    if (rc)
        return rc;
    rc = sora_normalizer_create(bytes.data, bytes.size, label, &tokenizer->normalizer, fault);
    enum sora_sentencepiece_status status = SORA_SENTENCEPIECE_OK;
    if (!rc)
        status = sora_sentencepiece_create(bytes.data, bytes.size, &tokenizer->pieces);
    if (status == SORA_SENTENCEPIECE_BROKEN)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s: is not a sentencepiece model", label);
    else if (status == SORA_SENTENCEPIECE_MEMORY)
        rc = sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    sora_bytes_fini(&bytes);
    if (rc)
        return rc;
    int count = sora_sentencepiece_count(tokenizer->pieces);
    if (count < 1 || count > PIECES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: has %d pieces; the range is 1 to %d", label,
                              count, PIECES_MAX);
    return sora_unigram_create(tokenizer->pieces, &tokenizer->unigram, fault);
}

static int open_parts(struct sora_tokenizer *tokenizer, const char *dir, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    if (strlen(dir) > sizeof(path) - 32)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: the path is too long", sora_path_tail(dir));
    snprintf(path, sizeof(path), "%s/spiece.model", dir);
    int rc = open_model(tokenizer, path, fault);
    if (rc)
        return rc;
    rc = sora_special_tokens_load(dir, tokenizer->unigram,
                                  sora_sentencepiece_count(tokenizer->pieces), &tokenizer->special,
                                  fault);
    if (rc)
        return rc;
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    return read_byte_fallback(path, &tokenizer->byte_fallback, fault);
}

int sora_tokenizer_open(const char *dir, struct sora_tokenizer **out_tokenizer,
                        struct sora_fault *fault)
{
    struct sora_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
    int rc = open_parts(tokenizer, dir, fault);
    if (rc) {
        sora_tokenizer_destroy(&tokenizer);
        return rc;
    }
    *out_tokenizer = tokenizer;
    return SORA_OK;
}

void sora_tokenizer_destroy(struct sora_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer)
        return;
    sora_special_tokens_fini(&(*tokenizer)->special);
    sora_normalizer_destroy(&(*tokenizer)->normalizer);
    sora_unigram_destroy(&(*tokenizer)->unigram);
    sora_sentencepiece_destroy(&(*tokenizer)->pieces);
    free(*tokenizer);
    *tokenizer = NULL;
}

int sora_tokenizer_vocabulary_size(const struct sora_tokenizer *tokenizer)
{
    return tokenizer->special.id_end;
}

/* ---- encoding ---- */

/* Ids go to the caller's array; one place stays free for the end token. */
struct id_sink {
    int32_t *ids;
    int count;
};

static bool sink_put(void *context, int32_t id)
{
    struct id_sink *sink = context;
    if (sink->count < SORA_PROMPT_TOKENS_MAX - 1)
        sink->ids[sink->count++] = id;
    return sink->count < SORA_PROMPT_TOKENS_MAX - 1;
}

/* White space as Unicode has it (unlike Python's, without U+001C to U+001F). */
static bool splits_words(uint32_t rune)
{
    return (rune >= 0x9 && rune <= 0xd) || rune == 0x20 || rune == 0x85 || rune == 0xa0 ||
           rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 ||
           rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

/* Where the word at the start of the text ends: before white space or a later U+2581. */
static size_t word_size(const char *text, size_t size)
{
    size_t end = 0;
    while (end < size) {
        uint32_t rune = 0;
        size_t length = sora_utf8_read((const unsigned char *)text + end, size - end, &rune);
        if (length == 0 || splits_words(rune) || (end > 0 && rune == 0x2581))
            break;
        end += length;
    }
    return end;
}

/* One word with a blank in front, unless it brings its own. `scratch` is reused. */
static int encode_word(const struct sora_tokenizer *tokenizer, const char *text, size_t size,
                       struct sora_bytes *scratch, struct id_sink *sink)
{
    int rc = 0;
    sora_bytes_clear(scratch);
    if (size < BLANK_SIZE || memcmp(text, BLANK, BLANK_SIZE) != 0)
        rc = sora_bytes_append(scratch, BLANK, BLANK_SIZE);
    if (!rc)
        rc = sora_bytes_append(scratch, text, size);
    if (rc)
        return rc;
    struct sora_unigram_word word = {(const char *)scratch->data, scratch->size,
                                     tokenizer->byte_fallback};
    return sora_unigram_encode(tokenizer->unigram, &word, sink_put, sink);
}

static int encode_words(const struct sora_tokenizer *tokenizer, const struct sora_bytes *text,
                        struct id_sink *sink)
{
    struct sora_bytes scratch;
    sora_bytes_init(&scratch, text->size + BLANK_SIZE);
    int rc = 0;
    for (size_t i = 0; i < text->size && !rc;) {
        size_t size = word_size((const char *)text->data + i, text->size - i);
        if (size > 0) {
            rc = encode_word(tokenizer, (const char *)text->data + i, size, &scratch, sink);
            i += size;
        } else {
            uint32_t rune;
            size_t length = sora_utf8_read(text->data + i, text->size - i, &rune);
            i += length ? length : 1;
        }
    }
    sora_bytes_fini(&scratch);
    return rc;
}

/* A part of the text without special tokens. */
static int encode_plain(const struct sora_tokenizer *tokenizer, const char *text, size_t size,
                        struct id_sink *sink)
{
    if (size == 0)
        return SORA_OK;
    struct sora_bytes normal;
    sora_bytes_init(&normal, size * 32 + 64);
    int rc = sora_normalizer_apply(tokenizer->normalizer, text, size, &normal);
    if (!rc)
        rc = encode_words(tokenizer, &normal, sink);
    sora_bytes_fini(&normal);
    return rc;
}

int sora_tokenizer_encode_cleaned(const struct sora_tokenizer *tokenizer, const char *text,
                                  size_t size, int32_t out_ids[SORA_PROMPT_TOKENS_MAX],
                                  int *out_count, struct sora_fault *fault)
{
    struct id_sink sink = {out_ids, 0};
    size_t plain = 0;
    int rc = 0;
    for (size_t i = 0; i < size && !rc;) {
        const struct sora_special_token *token =
            sora_special_tokens_find(&tokenizer->special, text + i, size - i);
        if (!token) {
            i++;
            continue;
        }
        rc = encode_plain(tokenizer, text + plain, i - plain, &sink);
        sink_put(&sink, token->id);
        plain = i += token->size;
    }
    if (!rc)
        rc = encode_plain(tokenizer, text + plain, size - plain, &sink);
    if (rc)
        return sora_fault_set(fault, rc, "prompt: encoding %zu bytes: %s", size,
                              sora_error_text(rc));
    if (tokenizer->special.end_id >= 0)
        out_ids[sink.count++] = tokenizer->special.end_id;
    *out_count = sink.count;
    return SORA_OK;
}

int sora_tokenizer_encode(const struct sora_tokenizer *tokenizer, const char *text, size_t size,
                          int32_t out_ids[SORA_PROMPT_TOKENS_MAX], int *out_count,
                          struct sora_fault *fault)
{
    if (size > SORA_PROMPT_SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "prompt: has %zu bytes; the limit is %d: shorten it (the model reads "
                              "its first %d tokens)",
                              size, SORA_PROMPT_SIZE_MAX, SORA_PROMPT_TOKENS_MAX);
    struct sora_bytes cleaned;
    sora_bytes_init(&cleaned, size * 16 + 64);
    int rc = sora_text_clean(text, size, "prompt", &cleaned, fault);
    if (!rc)
        rc =
            sora_tokenizer_encode_cleaned(tokenizer, cleaned.data ? (const char *)cleaned.data : "",
                                          cleaned.size, out_ids, out_count, fault);
    sora_bytes_fini(&cleaned);
    return rc;
}
