/* A prompt: clean-up and encoding, with and without byte fallback. Any bytes are refused or give
 * ids inside the vocabulary that end with the end token; what clean-up gives is clean of its kind.
 */
#include "model/text_clean.h"
#include "model/text_fix.h"
#include "model/tokenizer.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static struct sora_tokenizer *tokenizer;

static void open_once(void)
{
    struct sora_fault fault = {0};
    if (!tokenizer)
        SORA_ASSERT(sora_tokenizer_open(SORA_SOURCE_DIR "/tests/goldens/models/a_f32/tokenizer",
                                        &tokenizer, &fault) == 0);
}

static void check_ids(const int32_t *ids, int count)
{
    SORA_ASSERT(count >= 1 && count <= SORA_PROMPT_TOKENS_MAX);
    for (int i = 0; i < count; i++)
        SORA_ASSERT(ids[i] >= 0 && ids[i] < sora_tokenizer_vocabulary_size(tokenizer));
    SORA_ASSERT(ids[count - 1] == 1);
}

/* No white space but single blanks between other characters. */
static void check_cleaned(const struct sora_bytes *cleaned)
{
    struct sora_runes runes = {0};
    SORA_ASSERT(sora_runes_append_utf8(&runes, cleaned->data, cleaned->size));
    bool after_space = true;
    for (size_t i = 0; i < runes.count; i++) {
        bool space = sora_text_is_space(runes.items[i]);
        SORA_ASSERT(!space || (runes.items[i] == ' ' && !after_space));
        after_space = space;
    }
    SORA_ASSERT(runes.count == 0 || !after_space);
    sora_runes_fini(&runes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_once();
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    struct sora_fault fault = {0};
    int rc = sora_tokenizer_encode(tokenizer, (const char *)data, size, ids, &count, &fault);
    if (rc) {
        SORA_ASSERT(rc == SORA_E_FORMAT || rc == SORA_E_LIMIT);
        return 0;
    }
    check_ids(ids, count);
    struct sora_bytes cleaned;
    sora_bytes_init(&cleaned, size * 16 + 64);
    SORA_ASSERT(!sora_text_clean((const char *)data, size, "prompt", &cleaned, &fault));
    check_cleaned(&cleaned);
    sora_bytes_fini(&cleaned);
    return 0;
}
