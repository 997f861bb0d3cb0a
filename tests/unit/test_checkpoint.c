/* Checkpoints in a temporary folder: single file, shards, broken indexes, non-finite weights. */
#include "model/checkpoint.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SINGLE "diffusion_pytorch_model.safetensors"
#define INDEX "model.safetensors.index.json"

static void write_bytes(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(scratch_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_safetensors(const char *name, const char *header, const void *data,
                              size_t data_size)
{
    char bytes[4096];
    uint64_t length = strlen(header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, data_size);
    write_bytes(name, bytes, 8 + length + data_size);
}

#define TWO_TENSORS                                                                                \
    "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"                             \
    "\"a.b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[8,12]}}"

static const unsigned char two_data[12] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0x80, 0x3f, 0, 0xc0};

static void expect_refused(int code, const char *words)
{
    struct sora_checkpoint *checkpoint = NULL;
    struct sora_fault fault = {0};
    int rc = sora_checkpoint_open(scratch_dir, &checkpoint, &fault);
    if (rc != code || !strstr(fault.text, words))
        fail_msg("%d %s; expected %d with \"%s\"", rc, fault.text, code, words);
    assert_null(checkpoint);
    assert_null(strchr(fault.text, '\n'));
}

static void test_single_file(void **state)
{
    (void)state;
    write_safetensors(SINGLE, TWO_TENSORS, two_data, sizeof(two_data));
    struct sora_checkpoint *checkpoint = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_checkpoint_open(scratch_dir, &checkpoint, &fault), 0);
    assert_int_equal(sora_checkpoint_count(checkpoint), 2);
    assert_int_equal(sora_checkpoint_size(checkpoint), 8 + strlen(TWO_TENSORS) + 12);
    assert_string_equal(sora_checkpoint_at(checkpoint, 0)->name, "a.b");
    const struct sora_checkpoint_entry *entry = sora_checkpoint_find(checkpoint, "w");
    assert_non_null(entry);
    assert_int_equal(entry->dtype, SORA_DTYPE_F32);
    assert_memory_equal(entry->data, two_data, 8);
    sora_checkpoint_release_pages(checkpoint);
    entry = sora_checkpoint_find(checkpoint, "a.b");
    assert_int_equal(entry->rank, 2);
    assert_memory_equal(entry->data, two_data + 8, 4);
    assert_null(sora_checkpoint_find(checkpoint, "x"));
    assert_null(sora_checkpoint_find_nonfinite(checkpoint));
    struct sora_checkpoint_file file = sora_checkpoint_file(checkpoint, 0);
    assert_non_null(strstr(file.path, SINGLE));
    assert_int_equal(file.size, sora_checkpoint_size(checkpoint));
    sora_checkpoint_destroy(&checkpoint);
    assert_null(checkpoint);
    sora_checkpoint_destroy(&checkpoint);
}

static void test_nonfinite(void **state)
{
    (void)state;
    static const struct {
        unsigned char bytes[4];
        const char *type;
        bool finite;
    } cases[] = {
        {{0, 0, 0x80, 0x7f}, "F32", false},      {{1, 0, 0x80, 0xff}, "F32", false},
        {{0xff, 0xff, 0x7f, 0x7f}, "F32", true}, {{0, 0, 0, 0x7c}, "F16", false},
        {{0xff, 0x7b, 0, 0}, "F16", true},       {{0, 0, 0xc0, 0x7f}, "BF16", false},
        {{0x7f, 0x7f, 0, 0}, "BF16", true},      {{0, 0, 0x80, 0x7f}, "I32", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char header[256];
        bool wide = strstr(cases[i].type, "32") != NULL;
        sprintf(header,
                "{\"ok\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                "\"bad\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[4,8]}}",
                cases[i].type, wide ? 1 : 2);
        unsigned char data[8] = {0xff, 0xff, 0xff, 0xff};
        memcpy(data + 4, cases[i].bytes, 4);
        write_safetensors(SINGLE, header, data, 8);
        struct sora_checkpoint *checkpoint = NULL;
        assert_int_equal(sora_checkpoint_open(scratch_dir, &checkpoint, NULL), 0);
        const struct sora_checkpoint_entry *entry = sora_checkpoint_find_nonfinite(checkpoint);
        assert_true((entry == NULL) == cases[i].finite);
        if (entry)
            assert_string_equal(entry->name, "bad");
        sora_checkpoint_destroy(&checkpoint);
    }
}

static void test_missing_and_truncated(void **state)
{
    (void)state;
    expect_refused(SORA_E_NOT_FOUND, "has no weights");
    write_bytes(SINGLE, "", 0);
    expect_refused(SORA_E_FORMAT, SINGLE ": has 0 bytes, too short");
    write_bytes(SINGLE, "\x10\0\0\0\0\0\0\0{}", 10);
    expect_refused(SORA_E_FORMAT, SINGLE ": is truncated");
    write_bytes(SINGLE, "\0\0\0\0\xff\0\0\0{}", 10);
    expect_refused(SORA_E_LIMIT, SINGLE ": header length is 1095216660480");
    write_safetensors(SINGLE, TWO_TENSORS, two_data, sizeof(two_data) - 1);
    expect_refused(SORA_E_FORMAT, "tensor a.b: data_offsets [8, 12] do not lie");

    const char *path = scratch_path(SINGLE);
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refused(SORA_E_FORMAT, "is not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(SORA_E_FORMAT, "is not a regular file");
    assert_int_equal(remove(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    expect_refused(SORA_E_NOT_FOUND, SINGLE ": cannot be opened");
}

static void write_shards(const char *index)
{
    write_safetensors("s1.safetensors",
                      "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", two_data,
                      8);
    write_safetensors("s2.safetensors",
                      "{\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                      "\"c\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
                      two_data, 4);
    write_bytes(INDEX, index, strlen(index));
}

static void test_shards(void **state)
{
    (void)state;
    write_shards("{\"metadata\":{\"total_size\":12},\"weight_map\":{\"c\":\"s2.safetensors\","
                 "\"w\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    struct sora_checkpoint *checkpoint = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_checkpoint_open(scratch_dir, &checkpoint, &fault), 0);
    assert_int_equal(sora_checkpoint_count(checkpoint), 3);
    assert_int_equal(sora_checkpoint_file_count(checkpoint), 2);
    const struct sora_checkpoint_entry *entry = sora_checkpoint_find(checkpoint, "c");
    assert_memory_equal(entry->data, two_data + 2, 2);
    assert_non_null(strstr(sora_checkpoint_file(checkpoint, entry->file).path, "s2.safetensors"));
    sora_checkpoint_destroy(&checkpoint);
}

static void test_broken_indexes(void **state)
{
    (void)state;
#define S1 "\"s1.safetensors\""
#define S2 "\"s2.safetensors\""
#define MAP(members) "{\"weight_map\":{" members "}}"
    static const struct {
        const char *index;
        int code;
        const char *words;
    } cases[] = {
        {"{", SORA_E_FORMAT, INDEX ": line 1"},
        {"{}", SORA_E_FORMAT, "has no weight_map"},
        {MAP(""), SORA_E_FORMAT, "has no weight_map"},
        {MAP("\"w\":" S1 ",\"b\":" S2), SORA_E_FORMAT,
         "tensor c is in s2.safetensors but the index says nothing"},
        {MAP("\"w\":" S1 ",\"b\":" S2 ",\"c\":" S1), SORA_E_FORMAT,
         "tensor c is in s2.safetensors but the index says s1.safetensors"},
        {MAP("\"w\":" S1 ",\"b\":" S2 ",\"c\":" S2 ",\"d\":" S1), SORA_E_FORMAT,
         "tensor d is missing from s1.safetensors"},
        {MAP("\"w\":\"s3.safetensors\""), SORA_E_NOT_FOUND, "s3.safetensors: cannot be opened"},
        {MAP("\"w\":\"../s1.safetensors\""), SORA_E_FORMAT, "placed in \"../s1.safetensors\""},
        {MAP("\"w\":\"/tmp/s1.safetensors\""), SORA_E_FORMAT, "tensor w is placed in"},
        {MAP("\"w\":\"a\\\\s1.safetensors\""), SORA_E_FORMAT, "tensor w is placed in"},
        {MAP("\"w\":\"s1..safetensors\""), SORA_E_FORMAT, "tensor w is placed in"},
        {MAP("\"w\":\".safetensors\""), SORA_E_FORMAT, "tensor w is placed in"},
        {MAP("\"w\":\"s1.bin\""), SORA_E_FORMAT, "placed in \"s1.bin\""},
        {MAP("\"w\":1"), SORA_E_FORMAT, "(not a string)"},
        {MAP("\"w\":" S1 ",\"w\":" S2), SORA_E_FORMAT, "duplicate"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_shards(cases[i].index);
        expect_refused(cases[i].code, cases[i].words);
    }
}

static void test_too_many_shards(void **state)
{
    (void)state;
    char *index = malloc(1 << 20), *end = index;
    assert_non_null(index);
    end += sprintf(end, "{\"weight_map\":{\"w\":" S1);
    for (int i = 0; i < SORA_CHECKPOINT_FILES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "m%d.safetensors", i);
        write_safetensors(name, "{}", "", 0);
        end += sprintf(end, ",\"t%d\":\"%s\"", i, name);
    }
    strcpy(end, "}}");
    write_shards(index);
    free(index);
    expect_refused(SORA_E_LIMIT, "names more than 1024 files");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_single_file), TEST(test_nonfinite),      TEST(test_missing_and_truncated),
        TEST(test_shards),      TEST(test_broken_indexes), TEST(test_too_many_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
