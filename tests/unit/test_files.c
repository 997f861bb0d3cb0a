/* Whole-file reading with a limit, atomic writing and what a failure leaves behind. */
#include "base/files.h"

#include "tests/unit/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static void written_file_reads_back(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_bytes bytes;
    const char *path = scratch_path("file");
    assert_int_equal(sora_file_write(path, "one", 3, &fault), SORA_OK);
    assert_int_equal(sora_file_write(path, "second", 6, &fault), SORA_OK);
    assert_int_equal(sora_file_read(path, 6, &bytes, &fault), SORA_OK);
    assert_int_equal(bytes.size, 6);
    assert_string_equal((char *)bytes.data, "second");
    sora_bytes_fini(&bytes);
    assert_int_equal(sora_file_write(path, NULL, 0, &fault), SORA_OK);
    assert_int_equal(sora_file_read(path, 0, &bytes, &fault), SORA_OK);
    assert_int_equal(bytes.size, 0);
    sora_bytes_fini(&bytes);
    assert_int_equal(fault.code, 0);
    assert_int_equal(scratch_entry_count(""), 1);
}

static void reading_is_limited(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_bytes bytes;
    const char *path = scratch_path("file");
    assert_int_equal(sora_file_write(path, "0123456789", 10, NULL), SORA_OK);
    assert_int_equal(sora_file_read(path, 9, &bytes, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "10 bytes; the limit is 9"));
    assert_null(bytes.data);
    /* No size to look at beforehand: the limit must hold while reading. */
    fault = (struct sora_fault){0};
    assert_int_equal(sora_file_read("/dev/zero", 100000, &bytes, &fault), SORA_E_LIMIT);
    assert_non_null(strstr(fault.text, "/dev/zero"));
    assert_null(bytes.data);
    assert_int_equal(sora_file_read("/proc/self/status", 100000, &bytes, NULL), SORA_OK);
    assert_true(bytes.size > 100);
    sora_bytes_fini(&bytes);
}

static void reading_errors_name_the_file(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    struct sora_bytes bytes;
    assert_int_equal(sora_file_read(scratch_path("missing"), 9, &bytes, &fault), SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "missing"));
    fault = (struct sora_fault){0};
    assert_int_equal(sora_file_read(scratch_dir, 9, &bytes, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "is a folder"));
}

static void writing_refuses_what_a_rename_would_destroy(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    assert_int_equal(sora_file_write("/dev/null", "x", 1, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "/dev/null"));
    assert_int_equal(sora_file_write(scratch_dir, "x", 1, NULL), SORA_E_INVALID);
    assert_int_equal(sora_file_write("", "x", 1, NULL), SORA_E_INVALID);
    assert_int_equal(sora_file_write(scratch_path("no/such"), "x", 1, NULL), SORA_E_NOT_FOUND);
    char longer[SORA_FILE_PATH_SIZE + 10];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    assert_int_equal(sora_file_write(longer, "x", 1, NULL), SORA_E_LIMIT);
    assert_int_equal(scratch_entry_count(""), 0);
}

/* A file size limit stands in for a full disk: both make write fail half-way. */
static void failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    const char *path = scratch_path("file");
    assert_int_equal(sora_file_write(path, "old", 3, NULL), SORA_OK);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    static const char data[8192];
    int rc = sora_file_write(path, data, sizeof(data), &fault);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, SORA_E_IO);
    assert_non_null(strstr(fault.text, path));
    assert_int_equal(scratch_entry_count(""), 1);
    struct sora_bytes bytes;
    assert_int_equal(sora_file_read(path, 100, &bytes, NULL), SORA_OK);
    assert_string_equal((char *)bytes.data, "old");
    sora_bytes_fini(&bytes);
}

static void full_disk_is_reported_as_space(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    assert_int_equal(sora_file_fault(&fault, ENOSPC, "write", "x.mp4"), SORA_E_SPACE);
    assert_string_equal(fault.text, "cannot write x.mp4: No space left on device; free some space "
                                    "or choose another disk");
}

static void discarded_part_leaves_nothing(void **state)
{
    (void)state;
    struct sora_file_part part = {0};
    sora_file_part_discard(&part);
    assert_int_equal(sora_file_part_open(scratch_path("file"), &part, NULL), SORA_OK);
    assert_int_equal(sora_file_part_write(&part, "abc", 3, NULL), SORA_OK);
    assert_int_equal(scratch_entry_count(""), 1);
    sora_file_part_discard(&part);
    sora_file_part_discard(&part);
    assert_int_equal(scratch_entry_count(""), 0);
}

static void folders_are_made_with_parents(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    assert_int_equal(sora_file_make_dirs(scratch_path("a//b/c/"), &fault), SORA_OK);
    assert_int_equal(sora_file_make_dirs(scratch_path("a/b/c"), &fault), SORA_OK);
    struct stat status;
    assert_int_equal(stat(scratch_path("a/b/c"), &status), 0);
    assert_true(S_ISDIR(status.st_mode));
    assert_int_equal(sora_file_write(scratch_path("a/file"), "", 0, NULL), SORA_OK);
    assert_int_equal(sora_file_make_dirs(scratch_path("a/file/x"), &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "a file has that name"));
    assert_int_equal(sora_file_make_dirs("", NULL), SORA_E_INVALID);
}

int main(void)
{
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(written_file_reads_back),
        SCRATCH_TEST(reading_is_limited),
        SCRATCH_TEST(reading_errors_name_the_file),
        SCRATCH_TEST(writing_refuses_what_a_rename_would_destroy),
        SCRATCH_TEST(failed_write_keeps_the_old_file),
        SCRATCH_TEST(full_disk_is_reported_as_space),
        SCRATCH_TEST(discarded_part_leaves_nothing),
        SCRATCH_TEST(folders_are_made_with_parents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
