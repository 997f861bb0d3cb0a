/* The tokenizer against the reference's ids, and against broken model directories. */
#include "model/json_text.h"
#include "model/text_clean.h"
#include "model/tokenizer.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDENS SORA_SOURCE_DIR "/tests/goldens"
#define MODEL GOLDENS "/models/a_f32/tokenizer"

static struct sora_tokenizer *open_model(const char *dir)
{
    struct sora_tokenizer *tokenizer = NULL;
    struct sora_fault fault = {0};
    if (sora_tokenizer_open(dir, &tokenizer, &fault))
        fail_msg("%s", fault.text);
    return tokenizer;
}

static bool same_ids(const json_t *expected, const int32_t *ids, int count)
{
    bool same = json_array_size(expected) == (size_t)count;
    for (int i = 0; i < count && same; i++)
        same = json_integer_value(json_array_get(expected, (size_t)i)) == ids[i];
    return same;
}

/* One line of prompts.jsonl: the cleaned text and the ids. Where transformers 5 writes 2 for
 * unknown text, ids_unk3 holds the list with the model's own unknown id. */
static bool check_case(const struct sora_tokenizer *tokenizer, const json_t *item, int line)
{
    const json_t *prompt = json_object_get(item, "prompt"),
                 *unk3 = json_object_get(item, "ids_unk3");
    const char *expected = json_string_value(json_object_get(item, "cleaned"));
    struct sora_fault fault = {0};
    struct sora_bytes cleaned;
    sora_bytes_init(&cleaned, 1 << 20);
    assert_int_equal(sora_text_clean(json_string_value(prompt), json_string_length(prompt),
                                     "prompt", &cleaned, &fault),
                     0);
    bool good = cleaned.size == strlen(expected) &&
                (cleaned.size == 0 || memcmp(cleaned.data, expected, cleaned.size) == 0);
    if (!good)
        print_error("line %d: cleaned \"%s\", expected \"%s\"\n", line, (char *)cleaned.data,
                    expected);
    sora_bytes_fini(&cleaned);

    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    assert_int_equal(sora_tokenizer_encode(tokenizer, json_string_value(prompt),
                                           json_string_length(prompt), ids, &count, &fault),
                     0);
    if (!same_ids(unk3 ? unk3 : json_object_get(item, "ids"), ids, count)) {
        good = false;
        print_error("line %d: ids of \"%s\" differ:", line, expected);
        for (int i = 0; i < count; i++)
            print_error(" %d", (int)ids[i]);
        print_error("\n");
    }
    return good;
}

static void test_reference_prompts(void **state)
{
    (void)state;
    struct sora_tokenizer *tokenizer = open_model(MODEL);
    FILE *file = fopen(GOLDENS "/tokenizer/prompts.jsonl", "r");
    assert_non_null(file);
    char *line = NULL;
    size_t capacity = 0;
    int count = 0, wrong = 0;
    while (getline(&line, &capacity, file) > 0) {
        json_t *item = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(item);
        /* A NUL in a prompt is refused here, see test_refuses_bad_prompts. */
        const json_t *prompt = json_object_get(item, "prompt");
        count++;
        if (strlen(json_string_value(prompt)) == json_string_length(prompt))
            wrong += !check_case(tokenizer, item, count);
        json_decref(item);
    }
    free(line);
    fclose(file);
    assert_true(count >= 300);
    assert_int_equal(wrong, 0);
    sora_tokenizer_destroy(&tokenizer);
    assert_null(tokenizer);
}

static void encode_ok(const struct sora_tokenizer *tokenizer, const char *text, int32_t *ids,
                      int *out_count)
{
    struct sora_fault fault = {0};
    if (sora_tokenizer_encode(tokenizer, text, strlen(text), ids, out_count, &fault))
        fail_msg("%s", fault.text);
}

static void test_truncates(void **state)
{
    (void)state;
    struct sora_tokenizer *tokenizer = open_model(MODEL);
    char *text = malloc(SORA_PROMPT_SIZE_MAX + 2);
    assert_non_null(text);
    for (int i = 0; i < SORA_PROMPT_SIZE_MAX + 1; i++)
        text[i] = i % 2 ? ' ' : 'q';
    text[SORA_PROMPT_SIZE_MAX + 1] = 0;
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    struct sora_fault fault = {0};
    assert_int_equal(
        sora_tokenizer_encode(tokenizer, text, SORA_PROMPT_SIZE_MAX, ids, &count, &fault), 0);
    assert_int_equal(count, SORA_PROMPT_TOKENS_MAX);
    assert_int_equal(ids[count - 1], 1);
    assert_int_not_equal(ids[count - 2], 1);
    assert_int_equal(
        sora_tokenizer_encode(tokenizer, text, SORA_PROMPT_SIZE_MAX + 1, ids, &count, &fault),
        SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "has 102401 bytes; the limit is 102400"));
    free(text);
    sora_tokenizer_destroy(&tokenizer);
}

static void test_refuses_bad_prompts(void **state)
{
    (void)state;
    struct sora_tokenizer *tokenizer = open_model(MODEL);
    static const struct {
        const char *text;
        size_t size;
        const char *words;
    } cases[] = {
        {"ab\xff", 3, "byte 2 (0xff)"},    {"a\xc3", 2, "byte 1 (0xc3)"},
        {"\xed\xa0\x80", 3, "byte 0"},     {"\xc0\x80", 2, "byte 0"},
        {"\xf4\x90\x80\x80", 4, "byte 0"}, {"a\0b", 3, "byte 1 (0x00)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int32_t ids[SORA_PROMPT_TOKENS_MAX];
        int count = -1;
        struct sora_fault fault = {0};
        assert_int_equal(
            sora_tokenizer_encode(tokenizer, cases[i].text, cases[i].size, ids, &count, &fault),
            SORA_E_FORMAT);
        assert_non_null(strstr(fault.text, cases[i].words));
        assert_int_equal(count, -1);
    }
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    encode_ok(tokenizer, "", ids, &count);
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(sora_tokenizer_vocabulary_size(tokenizer), 1600);
    sora_tokenizer_destroy(&tokenizer);
}

/* ---- model directories ---- */

static void copy_model(size_t size_max)
{
    FILE *from = fopen(MODEL "/spiece.model", "rb"),
         *to = fopen(scratch_path("spiece.model"), "wb");
    assert_non_null(from);
    assert_non_null(to);
    char bytes[4096];
    for (size_t size; size_max > 0 && (size = fread(bytes, 1, sizeof(bytes), from)) > 0;) {
        size = size < size_max ? size : size_max;
        assert_int_equal(fwrite(bytes, 1, size, to), size);
        size_max -= size;
    }
    fclose(from);
    assert_int_equal(fclose(to), 0);
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(scratch_path(name), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect_refused(int code, const char *words)
{
    struct sora_tokenizer *tokenizer = NULL;
    struct sora_fault fault = {0};
    int rc = sora_tokenizer_open(scratch_dir, &tokenizer, &fault);
    if (rc != code || !strstr(fault.text, words))
        fail_msg("%d %s; expected %d with \"%s\"", rc, fault.text, code, words);
    assert_null(tokenizer);
}

static void test_broken_directories(void **state)
{
    (void)state;
    expect_refused(SORA_E_NOT_FOUND, "spiece.model");
    copy_model(0);
    expect_refused(SORA_E_FORMAT, "spiece.model");
    copy_model(100000);
    expect_refused(SORA_E_FORMAT, "spiece.model: is not a sentencepiece model");
    write_text("spiece.model", "hello world, this is no model");
    expect_refused(SORA_E_FORMAT, "spiece.model");
    copy_model(SIZE_MAX);
    write_text("tokenizer_config.json", "{\"extra_ids\": 1e3");
    expect_refused(SORA_E_FORMAT, "tokenizer_config.json: line 1");
    write_text("tokenizer_config.json", "{\"extra_ids\": 100000}");
    expect_refused(SORA_E_LIMIT, "tokenizer_config.json: extra_ids");
    write_text("tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}");
    expect_refused(SORA_E_FORMAT, "added_tokens_decoder entry x");
}

static void test_config_tokens(void **state)
{
    (void)state;
    copy_model(SIZE_MAX);
    struct sora_tokenizer *tokenizer = open_model(scratch_dir);
    assert_int_equal(sora_tokenizer_vocabulary_size(tokenizer), 1600);
    sora_tokenizer_destroy(&tokenizer);

    write_text("tokenizer_config.json",
               "{\"extra_ids\": 2, \"eos_token\": {\"content\": \"<end>\"},"
               "\"added_tokens_decoder\": {\"1700\": {\"content\": \"<mark>\"}},"
               "\"additional_special_tokens\": [\"<mark>\", \"<marks>\"]}");
    tokenizer = open_model(scratch_dir);
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    encode_ok(tokenizer, "<mark><marks><extra_id_0><extra_id_1>", ids, &count);
    assert_int_equal(count, 5);
    assert_int_equal(ids[0], 1700);
    assert_int_equal(ids[1], 1702);
    assert_int_equal(ids[2], 1501);
    assert_int_equal(ids[3], 1500);
    assert_int_equal(ids[4], 1701);
    assert_int_equal(sora_tokenizer_vocabulary_size(tokenizer), 1703);
    sora_tokenizer_destroy(&tokenizer);
}

static void test_byte_fallback(void **state)
{
    (void)state;
    copy_model(SIZE_MAX);
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    static const struct {
        const char *json;
        int count;
    } cases[] = {{"{\"model\": {\"byte_fallback\" : true}}", 5},
                 {"{\"model\": {\"byte_fallback\": false}}", 3},
                 {"{\"vocab\": \"\\\"byte_fallback\\\": true\"}", 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_text("tokenizer.json", cases[i].json);
        struct sora_tokenizer *tokenizer = open_model(scratch_dir);
        encode_ok(tokenizer, "\xe2\x98\x83", ids, &count);
        assert_int_equal(count, cases[i].count);
        if (count == 5) /* blank, <0xE2>, <0x98>, <0x83>, end */
            assert_int_equal(ids[1], 4 + 0xe2);
        sora_tokenizer_destroy(&tokenizer);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_prompts),
        cmocka_unit_test(test_truncates),
        cmocka_unit_test(test_refuses_bad_prompts),
        TEST(test_broken_directories),
        TEST(test_config_tokens),
        TEST(test_byte_fallback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
