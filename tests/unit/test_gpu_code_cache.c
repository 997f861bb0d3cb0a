/* Compiled code on disk: digests with published values, damage of every kind, folders that refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/files.h"
#include "hip/gpu/code_cache.h"
#include "tests/unit/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Vectors of draft-eastlake-fnv, FNV-1a with 128 bits. */
static void test_digest(void **state)
{
    (void)state;
    struct sora_code_key key;
    sora_code_key_init(&key);
    assert_int_equal(key.high, 0x6c62272e07bb0142);
    assert_int_equal(key.low, 0x62b821756295c58d);
    sora_code_key_add(&key, "a", 1);
    assert_int_equal(key.high, 0xd228cb696f1a8caf);
    assert_int_equal(key.low, 0x78912b704e4a8964);
    sora_code_key_init(&key);
    sora_code_key_add(&key, "foobar", 6);
    assert_int_equal(key.high, 0x343e1662793c64bf);
    assert_int_equal(key.low, 0x6f0d3597ba446f18);
    struct sora_code_key one, other;
    sora_code_key_init(&one);
    sora_code_key_init(&other);
    sora_code_key_add_text(&one, "ab");
    sora_code_key_add_text(&one, "c");
    sora_code_key_add_text(&other, "a");
    sora_code_key_add_text(&other, "bc");
    assert_true(one.low != other.low);
}

static void assert_absent(const char *folder, const struct sora_code_key *key)
{
    struct sora_bytes code;
    assert_int_equal(sora_code_cache_read(folder, key, &code), SORA_E_NOT_FOUND);
    assert_int_equal(code.size, 0);
    sora_bytes_fini(&code);
}

static void file_put(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void test_damage(void **state)
{
    (void)state;
    static const char content[] = "\177ELF compiled kernels";
    const struct sora_code_key key = {1, 2}, other = {1, 3};
    const char *folder = scratch_path("new/cache");
    char path[SORA_FILE_PATH_SIZE];
    struct sora_fault fault = {0};
    struct sora_bytes code, file;
    assert_absent(folder, &key);
    assert_int_equal(sora_code_cache_write(folder, &key, content, sizeof(content), &fault), 0);
    assert_int_equal(sora_code_cache_read(folder, &key, &code), 0);
    assert_int_equal(code.size, sizeof(content));
    assert_memory_equal(code.data, content, sizeof(content));
    sora_bytes_fini(&code);
    assert_absent(folder, &other);

    sora_code_cache_path(folder, &key, path, sizeof(path));
    assert_int_equal(sora_file_read(path, 1000, &file, &fault), 0);
    for (size_t i = 0; i < file.size; i++) { /* any byte changed */
        file.data[i] ^= 1;
        file_put(path, file.data, file.size);
        assert_absent(folder, &key);
        file.data[i] ^= 1;
    }
    for (size_t size = 0; size < file.size; size++) { /* cut anywhere */
        file_put(path, file.data, size);
        assert_absent(folder, &key);
    }
    file_put(path, file.data, file.size);
    assert_int_equal(sora_code_cache_read(folder, &key, &code), 0);
    sora_bytes_fini(&code);

    char renamed[SORA_FILE_PATH_SIZE]; /* the right content under another name */
    sora_code_cache_path(folder, &other, renamed, sizeof(renamed));
    assert_int_equal(rename(path, renamed), 0);
    assert_absent(folder, &other);
    sora_bytes_fini(&file);
}

static void test_no_place(void **state)
{
    (void)state;
    const struct sora_code_key key = {1, 2};
    struct sora_fault fault = {0};
    assert_absent("/proc/self/cache", &key);
    assert_true(sora_code_cache_write("/proc/self/cache", &key, "x", 1, &fault) < 0);
    assert_true(fault.text[0]);
    fault = (struct sora_fault){0};
    assert_int_equal(
        sora_code_cache_write("/nonexistent", &key, "x", SORA_CODE_BYTES_MAX + 1, &fault),
        SORA_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest),
        cmocka_unit_test_setup_teardown(test_damage, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
