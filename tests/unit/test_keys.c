/* Key files: private, whole, never overwritten; signatures bound to domain and spans. */
#include "proto/keys.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

static void keys_come_back_from_their_files(void **state)
{
    (void)state;
    static const enum sora_key_kind kinds[] = {SORA_KEY_ROOT, SORA_KEY_SIGN, SORA_KEY_CURVE};
    static const char *const names[] = {"root.key", "sign.key", "curve.key"};
    struct sora_fault fault = {0};
    for (int i = 0; i < 3; i++) {
        struct sora_key *key, *again = NULL;
        struct stat status;
        const char *path = scratch_path(names[i]);
        assert_int_equal(sora_key_create(kinds[i], &key, &fault), SORA_OK);
        assert_int_equal(sora_key_save(key, path, &fault), SORA_OK);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(sora_key_load(path, kinds[i], &again, &fault), SORA_OK);
        assert_memory_equal(sora_key_public(key), sora_key_public(again), SORA_KEY_PUBLIC_SIZE);
        /* Another kind, and a second save. */
        struct sora_key *other = NULL;
        assert_int_equal(sora_key_load(path, kinds[(i + 1) % 3], &other, &fault), SORA_E_FORMAT);
        fault = (struct sora_fault){0};
        assert_int_equal(sora_key_save(key, path, &fault), SORA_E_BUSY);
        fault = (struct sora_fault){0};
        sora_key_destroy(&key);
        sora_key_destroy(&again);
        sora_key_destroy(&again);
    }
    assert_int_equal(scratch_entry_count(""), 3);
}

static void files_that_others_may_use_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_key *key;
    const char *path = scratch_path("sign.key");
    assert_int_equal(sora_key_create(SORA_KEY_SIGN, &key, &fault), SORA_OK);
    assert_int_equal(sora_key_save(key, path, &fault), SORA_OK);
    sora_key_destroy(&key);
    static const mode_t modes[] = {0644, 0640, 0604, 0620, 0602, 0601};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        fault = (struct sora_fault){0};
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(sora_key_load(path, SORA_KEY_SIGN, &key, &fault), SORA_E_DENIED);
        assert_non_null(strstr(fault.text, "chmod 600"));
    }
    fault = (struct sora_fault){0};
    assert_int_equal(sora_key_load(scratch_path("none"), SORA_KEY_SIGN, &key, &fault),
                     SORA_E_NOT_FOUND);
    fault = (struct sora_fault){0};
    assert_int_equal(sora_key_load(scratch_path(""), SORA_KEY_SIGN, &key, &fault), SORA_E_FORMAT);
    assert_null(key);
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_key *key;
    const char *path = scratch_path("sign.key");
    assert_int_equal(sora_key_create(SORA_KEY_SIGN, &key, &fault), SORA_OK);
    assert_int_equal(sora_key_save(key, path, &fault), SORA_OK);
    sora_key_destroy(&key);
    char text[300];
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text), file);
    assert_int_equal(size, strlen("sora-key-1 sign\n") + 129);
    for (size_t at = 0; at < size; at += 5) {
        char kept = text[at];
        text[at] = kept == '3' ? '4' : '3';
        rewind(file);
        assert_int_equal(fwrite(text, 1, size, file), size);
        assert_int_equal(fflush(file), 0);
        fault = (struct sora_fault){0};
        assert_int_equal(sora_key_load(path, SORA_KEY_SIGN, &key, &fault), SORA_E_FORMAT);
        text[at] = kept;
    }
    for (size_t cut = 0; cut < size; cut += 9) {
        assert_int_equal(truncate(path, (off_t)(size - 1 - cut)), 0);
        fault = (struct sora_fault){0};
        assert_int_equal(sora_key_load(path, SORA_KEY_SIGN, &key, &fault), SORA_E_FORMAT);
    }
    fclose(file);
}

static void a_signature_is_for_one_domain_and_one_list(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_key *key, *other;
    assert_int_equal(sora_key_create(SORA_KEY_SIGN, &key, &fault), SORA_OK);
    assert_int_equal(sora_key_create(SORA_KEY_ROOT, &other, &fault), SORA_OK);
    const struct sora_span spans[] = {{"ab", 2}, {"c", 1}};
    const struct sora_span moved[] = {{"a", 1}, {"bc", 2}};
    const struct sora_span empty[] = {{"ab", 2}, {"c", 1}, {NULL, 0}};
    unsigned char signature[SORA_SIGNATURE_SIZE];
    sora_key_sign(key, "one", spans, 2, signature);
    const unsigned char *public = sora_key_public(key);
    assert_true(sora_key_verify(public, "one", spans, 2, signature));
    assert_false(sora_key_verify(public, "two", spans, 2, signature));
    assert_false(sora_key_verify(public, "one", moved, 2, signature));
    assert_false(sora_key_verify(public, "one", empty, 3, signature));
    assert_false(sora_key_verify(sora_key_public(other), "one", spans, 2, signature));
    signature[10] ^= 1;
    assert_false(sora_key_verify(public, "one", spans, 2, signature));
    char words[SORA_KEY_WORDS_SIZE];
    sora_key_words(public, words);
    assert_int_equal(strlen(words), 29);
    sora_key_destroy(&key);
    sora_key_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_back_from_their_files, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(files_that_others_may_use_are_refused, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(damaged_files_are_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test(a_signature_is_for_one_domain_and_one_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
