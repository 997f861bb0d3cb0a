/* Special tokens from tokenizer_config.json. */
#include "model/tokenizer_special.h"

#include "model/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXTRA_IDS_DEFAULT 100

static const struct sora_json_limits config_limits = {
    .size_max = (size_t)1 << 20,
    .depth_max = 16,
    .value_max = 65536,
};

/* What the steps of one load share. */
struct loader {
    const char *label;
    const struct sora_unigram *unigram;
    int piece_count;
    int extra_ids;
    struct sora_special_tokens *tokens;
    struct sora_fault *fault;
};

static bool is_known(const struct sora_special_tokens *tokens, const char *text)
{
    for (int i = 0; i < tokens->count; i++) {
        if (strcmp(tokens->items[i].text, text) == 0)
            return true;
    }
    return false;
}

/* N of "<extra_id_N>", -1 for other texts. */
static int extra_number(const char *text)
{
    int number = -1, end = 0;
    if (sscanf(text, "<extra_id_%4d>%n", &number, &end) != 1 || end == 0 || text[end])
        return -1;
    char again[SORA_SPECIAL_TOKEN_SIZE];
    snprintf(again, sizeof(again), "<extra_id_%d>", number);
    return strcmp(again, text) == 0 ? number : -1;
}

/* The id of a token that is not a piece: the extra ids follow the pieces in descending order, then
 * the others as they come. */
static int32_t new_id(const struct loader *loader, const char *text)
{
    int number = extra_number(text);
    if (number >= 0 && number < loader->extra_ids)
        return loader->piece_count + loader->extra_ids - 1 - number;
    return loader->tokens->id_end;
}

/* Adds one token; `id` < 0 asks for the piece's id or a new one. Known texts are left alone. */
static int add_token(const struct loader *loader, const char *text, int32_t id)
{
    struct sora_special_tokens *tokens = loader->tokens;
    size_t size = strlen(text);
    if (size == 0 || is_known(tokens, text))
        return SORA_OK;
    if (size >= SORA_SPECIAL_TOKEN_SIZE)
        return sora_fault_set(loader->fault, SORA_E_LIMIT,
                              "%s: special token %.40s... has %zu bytes; the limit is %d",
                              loader->label, text, size, SORA_SPECIAL_TOKEN_SIZE - 1);
    if (tokens->count == SORA_SPECIAL_TOKENS_MAX)
        return sora_fault_set(loader->fault, SORA_E_LIMIT, "%s: has more than %d special tokens",
                              loader->label, SORA_SPECIAL_TOKENS_MAX);
    if (id < 0)
        id = sora_unigram_find(loader->unigram, text, size);
    if (id < 0)
        id = new_id(loader, text);
    struct sora_special_token *token = &tokens->items[tokens->count++];
    memcpy(token->text, text, size + 1);
    token->size = size;
    token->id = id;
    tokens->starts[(unsigned char)text[0]] = true;
    if (id >= tokens->id_end)
        tokens->id_end = id + 1;
    return SORA_OK;
}

/* A token is a string or an object with its text as "content". */
static const char *token_text(const json_t *value)
{
    const char *text = json_string_value(value);
    return text ? text : json_string_value(json_object_get(value, "content"));
}

static int add_decoder(const struct loader *loader, json_t *decoder)
{
    const char *key;
    json_t *value;
    json_object_foreach(decoder, key, value)
    {
        char *end;
        long id = strtol(key, &end, 10);
        const char *text = token_text(value);
        if (*end || id < 0 || id > INT32_MAX / 2 || !text)
            return sora_fault_set(loader->fault, SORA_E_FORMAT,
                                  "%s: added_tokens_decoder entry %.40s is not an id with a text",
                                  loader->label, key);
        int rc = add_token(loader, text, (int32_t)id);
        if (rc)
            return rc;
    }
    return SORA_OK;
}

static int add_extra_ids(const struct loader *loader)
{
    int rc = SORA_OK;
    for (int i = 0; i < loader->extra_ids && !rc; i++) {
        char text[SORA_SPECIAL_TOKEN_SIZE];
        snprintf(text, sizeof(text), "<extra_id_%d>", i);
        rc = add_token(loader, text, -1);
    }
    return rc;
}

/* The end token's name, and all tokens of the config (an empty object for none). */
static int add_config(struct loader *loader, json_t *config)
{
    static const struct {
        const char *key, *text;
    } named[] = {
        {"pad_token", "<pad>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"bos_token", NULL}};
    int rc = add_decoder(loader, json_object_get(config, "added_tokens_decoder"));
    if (!rc)
        rc = add_extra_ids(loader);
    const char *end_text = "</s>";
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]) && !rc; i++) {
        const char *text = token_text(json_object_get(config, named[i].key));
        text = text ? text : named[i].text;
        if (i == 1)
            end_text = text;
        if (text)
            rc = add_token(loader, text, -1);
    }
    size_t index;
    json_t *value;
    json_array_foreach(json_object_get(config, "additional_special_tokens"), index, value)
    {
        const char *text = token_text(value);
        if (!rc && text)
            rc = add_token(loader, text, -1);
    }
    for (int i = 0; i < loader->tokens->count; i++) {
        if (strcmp(loader->tokens->items[i].text, end_text) == 0)
            loader->tokens->end_id = loader->tokens->items[i].id;
    }
    return rc;
}

/* How many "<extra_id_N>" there are; T5's own default is 100. */
static int read_extra_ids(struct loader *loader, const json_t *config)
{
    const json_t *value = json_object_get(config, "extra_ids");
    const char *class_name = json_string_value(json_object_get(config, "tokenizer_class"));
    bool is_t5 = !class_name || strncmp(class_name, "T5", 2) == 0;
    json_int_t count = value ? json_integer_value(value) : is_t5 ? EXTRA_IDS_DEFAULT : 0;
    if ((value && !json_is_integer(value)) || count < 0 || count > SORA_SPECIAL_TOKENS_MAX / 2)
        return sora_fault_set(loader->fault, SORA_E_LIMIT,
                              "%s: extra_ids is not a number from 0 to %d", loader->label,
                              SORA_SPECIAL_TOKENS_MAX / 2);
    loader->extra_ids = (int)count;
    return SORA_OK;
}

static int load_config(const char *path, json_t **out_config, struct sora_fault *fault)
{
    struct stat status;
    if (stat(path, &status) == 0)
        return sora_json_read_file(path, &config_limits, out_config, fault);
    *out_config = json_object();
    return *out_config ? SORA_OK : sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", path);
}

int sora_special_tokens_load(const char *dir, const struct sora_unigram *unigram, int piece_count,
                             struct sora_special_tokens *out_tokens, struct sora_fault *fault)
{
    char *path = NULL;
    json_t *config = NULL;
    struct sora_special_tokens tokens = {.id_end = piece_count, .end_id = -1};
    tokens.items = calloc(SORA_SPECIAL_TOKENS_MAX, sizeof(*tokens.items));
    int rc = SORA_E_MEMORY;
    if (tokens.items && asprintf(&path, "%s/tokenizer_config.json", dir) >= 0)
        rc = load_config(path, &config, fault);
    if (!rc) {
        struct loader loader = {.label = sora_path_tail(path),
                                .unigram = unigram,
                                .piece_count = piece_count,
                                .tokens = &tokens,
                                .fault = fault};
        rc = read_extra_ids(&loader, config);
        if (!rc)
            rc = add_config(&loader, config);
    }
    json_decref(config);
    free(path);
    if (rc)
        sora_special_tokens_fini(&tokens);
    else
        *out_tokens = tokens;
    return rc ? sora_fault_set(fault, rc, "%s: special tokens: %s", sora_path_tail(dir),
                               sora_error_text(rc))
              : SORA_OK;
}

void sora_special_tokens_fini(struct sora_special_tokens *tokens)
{
    free(tokens->items);
    *tokens = (struct sora_special_tokens){0};
}

const struct sora_special_token *sora_special_tokens_find(const struct sora_special_tokens *tokens,
                                                          const char *text, size_t size)
{
    const struct sora_special_token *best = NULL;
    if (size == 0 || !tokens->starts[(unsigned char)text[0]])
        return NULL;
    for (int i = 0; i < tokens->count; i++) {
        const struct sora_special_token *token = &tokens->items[i];
        if (token->size <= size && (!best || token->size > best->size) &&
            memcmp(token->text, text, token->size) == 0)
            best = token;
    }
    return best;
}
