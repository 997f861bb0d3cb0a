/* The safetensors header: what is accepted, and every refusal with its code and the thing named. */
#include "model/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A file of `data_size` data bytes; the data itself is only counted, never read. */
static int parse(const char *header, uint64_t data_size, struct sora_safetensors *out_table,
                 struct sora_fault *fault)
{
    size_t size = strlen(header);
    unsigned char *bytes = malloc(size + 8);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)size >> (8 * i));
    memcpy(bytes + 8, header, size);
    int rc = sora_safetensors_parse(bytes, size + 8, size + 8 + data_size, "a.safetensors",
                                    out_table, fault);
    free(bytes);
    return rc;
}

/* One file that must be refused with `code` and a line holding `words`. */
struct refusal {
    const char *header;
    uint64_t data_size;
    int code;
    const char *words;
};

static void expect_refusal(const struct refusal *refusal)
{
    struct sora_safetensors table = {0};
    struct sora_fault fault = {0};
    int rc = parse(refusal->header, refusal->data_size, &table, &fault);
    if (rc != refusal->code || !strstr(fault.text, refusal->words))
        fail_msg("%.80s: %d %s; expected %d with \"%s\"", refusal->header, rc, fault.text,
                 refusal->code, refusal->words);
    assert_non_null(strstr(fault.text, "a.safetensors"));
    assert_null(table.tensors);
}

static void test_accepts_and_sorts(void **state)
{
    (void)state;
    struct sora_safetensors table;
    struct sora_fault fault = {0};
    assert_int_equal(parse("{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                           "\"e\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[8,8]},"
                           "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                           "\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[20,21]},"
                           "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[21,25]}}   ",
                           25, &table, &fault),
                     0);
    assert_int_equal(table.count, 5);
    assert_string_equal(table.tensors[0].name, "a");
    assert_int_equal(table.tensors[0].dtype, SORA_DTYPE_F32);
    assert_string_equal(table.tensors[1].name, "e");
    assert_int_equal(table.tensors[1].size, 0);
    assert_string_equal(table.tensors[2].name, "b");
    assert_int_equal(table.tensors[2].rank, 2);
    assert_int_equal(table.tensors[2].shape[1], 3);
    assert_int_equal(table.tensors[2].offset - table.tensors[0].offset, 8);
    assert_int_equal(table.tensors[3].dtype, SORA_DTYPE_NONE);
    assert_string_equal(table.tensors[3].type_name, "F8_E4M3");
    assert_int_equal(table.tensors[4].rank, 0);
    sora_safetensors_fini(&table);
    assert_null(table.tensors);
}

static void test_refuses_bad_layout(void **state)
{
    (void)state;
#define T(name, shape, from, to)                                                                   \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"
    static const struct refusal refusals[] = {
        {"{" T("a", "[2]", 0, 8) "," T("b", "[2]", 4, 12) "}", 12, SORA_E_FORMAT,
         "tensor b: begins at data byte 4, expected 8: it overlaps a"},
        {"{" T("a", "[2]", 0, 8) "," T("b", "[2]", 12, 20) "}", 20, SORA_E_FORMAT,
         "there is a hole after a"},
        {"{" T("a", "[2]", 4, 12) "}", 12, SORA_E_FORMAT, "hole after the header"},
        {"{" T("a", "[2]", 0, 8) "}", 9, SORA_E_FORMAT, "1 bytes after the last tensor"},
        {"{" T("a", "[2]", 0, 8) "}", 7, SORA_E_FORMAT,
         "tensor a: data_offsets [0, 8] do not lie in the file's 7 bytes"},
        {"{" T("a", "[2]", 8, 0) "}", 8, SORA_E_FORMAT, "data_offsets [8, 0]"},
        {"{" T("a", "[2]", -8, 0) "}", 8, SORA_E_FORMAT, "data_offsets [-8, 0]"},
        {"{" T("a", "[3]", 0, 8) "}", 8, SORA_E_FORMAT,
         "tensor a: F32 [3] takes 12 bytes but data_offsets give it 8"},
        {"{" T("a", "[4611686018427387904]", 0, 0) "}", 0, SORA_E_FORMAT,
         "tensor a: its shape overflows"},
        {"{" T("a", "[4294967296,4294967296]", 0, 0) "}", 0, SORA_E_FORMAT, "overflows"},
        {"{" T("a", "[2]", 0, 18446744073709551616) "}", 8, SORA_E_FORMAT, "too big integer"},
        {"{" T("a", "[-2]", 0, 8) "}", 8, SORA_E_FORMAT, "shape entry 0 is not a count"},
        {"{" T("a", "[2.0]", 0, 8) "}", 8, SORA_E_FORMAT, "shape entry 0 is not a count"},
        {"{" T("a", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, SORA_E_LIMIT, "has 9 dimensions"},
        {"{" T("a", "2", 0, 8) "}", 8, SORA_E_FORMAT, "shape is not an array"},
        {"{" T("", "[2]", 0, 8) "}", 8, SORA_E_FORMAT, "empty name"},
        {"{" T("a", "[2]", 0, 8) "," T("a", "[2]", 8, 16) "}", 16, SORA_E_FORMAT, "duplicate"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        expect_refusal(&refusals[i]);
}

static void test_refuses_bad_text(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"", 0, SORA_E_FORMAT, "does not start with '{'"},
        {" {}", 0, SORA_E_FORMAT, "does not start with '{'"},
        {"[]", 0, SORA_E_FORMAT, "does not start with '{'"},
        {"{", 0, SORA_E_FORMAT, "line 1"},
        {"{} x", 0, SORA_E_FORMAT, "line 1"},
        {"{\"\xff\xfe\":1}", 0, SORA_E_FORMAT, "unable to decode byte 0xff"},
        {"{\"a\\u0000b\":1}", 0, SORA_E_FORMAT, "line 1"},
        {"{\"a\":1}", 0, SORA_E_FORMAT, "tensor a: must have dtype, shape and data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
         SORA_E_FORMAT, "nothing else"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, SORA_E_FORMAT,
         "tensor a: dtype \"F31\" is unknown"},
        {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, SORA_E_FORMAT,
         "dtype is not a string"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,2,4]}}", 4, SORA_E_FORMAT,
         "not a pair of integers"},
        {"{\"__metadata__\":[]}", 0, SORA_E_FORMAT, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, SORA_E_FORMAT, "__metadata__ entry a"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        expect_refusal(&refusals[i]);
}

static void test_refuses_bad_lengths(void **state)
{
    (void)state;
    struct sora_safetensors table;
    struct sora_fault fault = {0};
    static const unsigned char huge[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(sora_safetensors_parse(huge, 8, 1000, "a", &table, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "header length is 18446744073709551615"));

    static const unsigned char over[8] = {1, 0, 0x80, 0};
    fault = (struct sora_fault){0};
    assert_int_equal(sora_safetensors_parse(over, 8, UINT64_MAX, "a", &table, &fault),
                     SORA_E_LIMIT);

    static const unsigned char longer[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    fault = (struct sora_fault){0};
    assert_int_equal(sora_safetensors_parse(longer, 10, 10, "a", &table, &fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "truncated"));

    for (size_t size = 0; size < 8; size++) {
        fault = (struct sora_fault){0};
        assert_int_equal(sora_safetensors_parse(longer, size, size, "a", &table, &fault),
                         SORA_E_FORMAT);
        assert_non_null(strstr(fault.text, "too short"));
    }
}

static void test_refuses_bombs(void **state)
{
    (void)state;
    enum { depth = 100000, zeros = 2000000 };
    char *text = malloc(2 * zeros + 16);
    assert_non_null(text);
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '[', depth);
    text[5 + depth] = 0;
    expect_refusal(&(struct refusal){text, 0, SORA_E_LIMIT, "nested 100001 levels"});

    char *end = text + 5;
    *end++ = '[';
    for (int i = 0; i < zeros; i++) {
        *end++ = '0';
        *end++ = ',';
    }
    memcpy(end, "0]}", 4);
    expect_refusal(&(struct refusal){text, 0, SORA_E_LIMIT, "values; the limit"});
    free(text);
}

/* `count` empty tensors. */
static char *many_tensors(int count)
{
    char *text = malloc((size_t)count * 64 + 16), *end = text;
    assert_non_null(text);
    for (int i = 0; i < count; i++)
        end += sprintf(end, "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                       i ? ',' : '{', i);
    strcpy(end, "}");
    return text;
}

static void test_counts_tensors(void **state)
{
    (void)state;
    char *text = many_tensors(SORA_SAFETENSORS_TENSORS_MAX + 1);
    expect_refusal(&(struct refusal){text, 0, SORA_E_LIMIT, "has 65537 tensors"});
    free(text);

    text = many_tensors(SORA_SAFETENSORS_TENSORS_MAX);
    struct sora_safetensors table;
    struct sora_fault fault = {0};
    assert_int_equal(parse(text, 0, &table, &fault), 0);
    assert_int_equal(table.count, SORA_SAFETENSORS_TENSORS_MAX);
    sora_safetensors_fini(&table);
    free(text);
}

static void test_bounds_names(void **state)
{
    (void)state;
    char text[600], name[300];
    memset(name, 'n', sizeof(name));
    for (int size = 255; size <= 256; size++) {
        sprintf(text, "{\"%.*s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", size,
                name);
        struct sora_safetensors table = {0};
        struct sora_fault fault = {0};
        assert_int_equal(parse(text, 1, &table, &fault), size == 255 ? 0 : SORA_E_LIMIT);
        sora_safetensors_fini(&table);
    }
}

static void test_shape_text(void **state)
{
    (void)state;
    char text[SORA_SHAPE_TEXT_SIZE];
    int64_t shape[8];
    for (int i = 0; i < 8; i++)
        shape[i] = INT64_MIN;
    assert_string_equal(sora_shape_text(0, shape, text, sizeof(text)), "[]");
    assert_int_equal(strlen(sora_shape_text(8, shape, text, sizeof(text))), 8 * 22);
    assert_string_equal(sora_shape_text(2, (const int64_t[]){2, 3}, text, sizeof(text)), "[2, 3]");
    assert_string_equal(sora_shape_text(2, (const int64_t[]){2, 3}, text, 4), "[2,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_and_sorts), cmocka_unit_test(test_refuses_bad_layout),
        cmocka_unit_test(test_refuses_bad_text),  cmocka_unit_test(test_refuses_bad_lengths),
        cmocka_unit_test(test_refuses_bombs),     cmocka_unit_test(test_counts_tensors),
        cmocka_unit_test(test_bounds_names),      cmocka_unit_test(test_shape_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
