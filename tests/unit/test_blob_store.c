/* The blob store: publishing, damage, eviction, leftovers, a full disk, being killed. */
#include "base/files.h"
#include "proto/blob_store.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct sora_tasks *tasks;
static struct sora_blob_store *store;
static struct sora_blob last; /* of the latest done */
static struct sora_fault last_fault;
static int done_count;

static void note_done(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    assert_ptr_equal(context, &done_count);
    last = *blob;
    last_fault = *fault;
    done_count++;
}

static int try_open(uint64_t bytes_max)
{
    struct sora_fault fault = {0};
    assert_int_equal(sora_tasks_create("blobs", 64, &tasks, &fault), SORA_OK);
    struct sora_blob_store_params params = {scratch_path("store"), bytes_max, tasks};
    return sora_blob_store_open(&params, &store, &fault);
}

static void open_store(uint64_t bytes_max)
{
    assert_int_equal(try_open(bytes_max), SORA_OK);
}

static void close_store(void)
{
    sora_blob_store_close(&store);
    sora_tasks_destroy(&tasks);
}

static void settle(void)
{
    while (sora_tasks_pending(tasks) > 0) {
        struct pollfd item = {.fd = sora_tasks_fd(tasks), .events = POLLIN};
        assert_true(poll(&item, 1, 20000) == 1);
        sora_tasks_step(tasks);
    }
}

static struct sora_digest put(const void *data, size_t size)
{
    int before = done_count;
    assert_int_equal(sora_blob_store_put(store, data, size, note_done, &done_count), SORA_OK);
    settle();
    assert_int_equal(done_count, before + 1);
    assert_int_equal(last_fault.code, SORA_OK);
    return last.digest;
}

/* A kilobyte that begins with `value`. */
static struct sora_digest put_kilobyte(int value)
{
    char data[1024] = {0};
    snprintf(data, sizeof(data), "%d", value);
    return put(data, sizeof(data));
}

static bool here(const struct sora_digest *digest)
{
    uint64_t size;
    return sora_blob_store_have(store, digest, &size);
}

static const char *path_of(const struct sora_digest *digest)
{
    static char path[SORA_FILE_PATH_SIZE];
    struct sora_fault fault = {0};
    assert_int_equal(sora_blob_store_path(store, digest, path, sizeof(path), &fault), SORA_OK);
    return path;
}

static void write_incoming(const char *name, const char *text, char *out_path)
{
    sprintf(out_path, "%s/%s", sora_blob_store_incoming(store), name);
    assert_int_equal(sora_file_write(out_path, text, strlen(text), NULL), SORA_OK);
}

/* ---- storing ---- */

static void digest_is_blake2b_256(void **state)
{
    (void)state;
    struct sora_digest digest, parsed;
    char text[SORA_DIGEST_TEXT_SIZE];
    sora_digest_of("abc", 3, &digest);
    assert_string_equal(sora_digest_text(&digest, text),
                        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    assert_true(sora_digest_parse(text, &parsed));
    assert_true(sora_digest_equal(&digest, &parsed));
    text[63] = 'x';
    assert_false(sora_digest_parse(text, &parsed));
    assert_false(sora_digest_parse("bddd", &parsed));
    struct sora_blob blob = {digest, 3}, back;
    Farm__BlobName wire;
    sora_blob_put(&blob, &wire);
    assert_true(sora_blob_get(&wire, &back));
    assert_true(back.size == 3 && sora_digest_equal(&back.digest, &digest));
    assert_false(sora_blob_get(NULL, &back));
}

static void blobs_are_stored_and_survive(void **state)
{
    (void)state;
    open_store(0);
    struct sora_digest empty = put("", 0), abc = put("abc", 3), expected;
    sora_digest_of("abc", 3, &expected);
    assert_true(sora_digest_equal(&abc, &expected));
    assert_int_equal(put("abc", 3).bytes[0], abc.bytes[0]);
    assert_int_equal(sora_blob_store_bytes(store), 3);
    struct stat status;
    assert_int_equal(stat(path_of(&abc), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0400);
    close_store();

    open_store(0);
    uint64_t size = 0;
    assert_true(here(&empty));
    assert_true(sora_blob_store_have(store, &abc, &size));
    assert_int_equal(size, 3);
    assert_int_equal(sora_blob_store_bytes(store), 3);
    struct sora_bytes bytes;
    assert_int_equal(sora_file_read(path_of(&abc), 100, &bytes, NULL), SORA_OK);
    assert_memory_equal(bytes.data, "abc", 3);
    sora_bytes_fini(&bytes);
    close_store();
}

static void files_are_adopted(void **state)
{
    (void)state;
    open_store(0);
    char path[SORA_FILE_PATH_SIZE];
    write_incoming("state", "some state", path);
    assert_int_equal(sora_blob_store_adopt(store, path, note_done, &done_count), SORA_OK);
    settle();
    assert_int_equal(last_fault.code, SORA_OK);
    assert_int_equal(last.size, 10);
    assert_true(here(&last.digest));
    assert_int_equal(scratch_entry_count("store/incoming"), 0);

    struct sora_digest wanted = last.digest;
    write_incoming("other", "some stale", path);
    assert_int_equal(sora_blob_store_adopt_as(store, path, &wanted, note_done, &done_count),
                     SORA_OK);
    settle();
    assert_int_equal(last_fault.code, SORA_E_FORMAT);
    assert_int_equal(scratch_entry_count("store/incoming"), 0);
    assert_int_equal(sora_blob_store_bytes(store), 10);

    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(sora_blob_store_adopt(store, path, note_done, &done_count), SORA_OK);
    settle();
    assert_int_equal(last_fault.code, SORA_E_INVALID);
    assert_int_equal(sora_blob_store_adopt(store, "/etc/passwd", note_done, NULL), SORA_E_INVALID);
    strcat(path, "/../../objects");
    assert_int_equal(sora_blob_store_adopt(store, path, note_done, NULL), SORA_E_INVALID);
    close_store();
}

static void closing_with_work_under_way_stores_it(void **state)
{
    (void)state;
    open_store(0);
    int before = done_count;
    assert_int_equal(sora_blob_store_put(store, "late", 4, note_done, &done_count), SORA_OK);
    close_store();
    assert_int_equal(done_count, before);
    open_store(0);
    struct sora_digest digest;
    sora_digest_of("late", 4, &digest);
    assert_true(here(&digest));
    close_store();
}

/* ---- damage ---- */

/* As a failing disk does, which leaves the time of the file alone. */
static void flip_bit(const char *path)
{
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    struct stat status;
    char byte;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(pread(fd, &byte, 1, 1), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 1), 1);
    const struct timespec times[2] = {status.st_atim, status.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void a_file_that_was_written_to_is_read_again(void **state)
{
    (void)state;
    char path[SORA_FILE_PATH_SIZE];
    open_store(0);
    struct sora_digest touched = put("touched", 7), changed = put("changed", 7);
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    flip_bit(path_of(&changed));
    assert_int_equal(utimensat(AT_FDCWD, path_of(&changed), times, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, path_of(&touched), times, 0), 0);
    assert_int_equal(sora_blob_store_path(store, &changed, path, sizeof(path), NULL),
                     SORA_E_NOT_FOUND);
    assert_false(here(&changed));
    path_of(&touched);
    close_store();
}

static void damage_is_found_once_per_process(void **state)
{
    (void)state;
    char path[SORA_FILE_PATH_SIZE];
    open_store(0);
    struct sora_digest one = put("one", 3), two = put("two", 3);
    snprintf(path, sizeof(path), "%s", path_of(&one));
    flip_bit(path);
    assert_string_equal(path_of(&one), path); /* checked by this process when it was written */
    flip_bit(path_of(&two));
    close_store();

    open_store(0);
    struct sora_fault fault = {0};
    assert_int_equal(sora_blob_store_path(store, &one, path, sizeof(path), &fault),
                     SORA_E_NOT_FOUND);
    assert_false(here(&one));
    assert_int_equal(sora_blob_store_check(store, &two, note_done, &done_count), SORA_OK);
    settle();
    assert_int_equal(last_fault.code, SORA_E_NOT_FOUND);
    assert_false(here(&two));
    assert_int_equal(sora_blob_store_bytes(store), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    put("one", 3);
    assert_int_equal(sora_blob_store_check(store, &one, note_done, &done_count), SORA_OK);
    settle();
    assert_int_equal(last_fault.code, SORA_OK);
    assert_true(here(&one));
    assert_int_equal(unlink(path_of(&one)), 0);
    assert_int_equal(sora_blob_store_path(store, &one, path, sizeof(path), NULL), SORA_E_NOT_FOUND);
    assert_false(here(&one));
    close_store();
}

static void leftovers_go_and_partial_fetches_stay(void **state)
{
    (void)state;
    char path[SORA_FILE_PATH_SIZE], name[128], text[SORA_DIGEST_TEXT_SIZE];
    open_store(0);
    struct sora_digest digest;
    sora_digest_of("whole", 5, &digest);
    snprintf(name, sizeof(name), "fetch-%s", sora_digest_text(&digest, text));
    write_incoming("put-7", "x", path);
    write_incoming("fetch-notes", "x", path);
    write_incoming(name, "who", path);
    close_store();
    open_store(0);
    assert_int_equal(scratch_entry_count("store/incoming"), 1);
    assert_int_equal(access(path, F_OK), 0);
    close_store();
}

static void one_process_at_a_time(void **state)
{
    (void)state;
    open_store(0);
    struct sora_blob_store *first = store;
    struct sora_tasks *first_tasks = tasks;
    store = NULL;
    assert_int_equal(try_open(0), SORA_E_BUSY);
    assert_null(store);
    sora_tasks_destroy(&tasks);
    store = first;
    tasks = first_tasks;
    close_store();
}

/* ---- limits ---- */

static void eviction_takes_the_least_used_and_spares_pins(void **state)
{
    (void)state;
    open_store(4 * 1024);
    struct sora_digest blobs[7];
    for (int i = 0; i < 4; i++)
        blobs[i] = put_kilobyte(i);
    sora_blob_store_pin(store, &blobs[0]);
    sora_blob_store_check(store, &blobs[1], NULL, NULL);
    settle();
    put_kilobyte(1); /* used again */
    blobs[4] = put_kilobyte(4);
    settle();
    assert_true(here(&blobs[0]) && here(&blobs[1]) && here(&blobs[3]) && here(&blobs[4]));
    assert_false(here(&blobs[2]));
    assert_int_equal(sora_blob_store_bytes(store), 4 * 1024);

    sora_digest_of("not here yet", 12, &blobs[5]);
    sora_blob_store_pin(store, &blobs[5]);
    assert_false(here(&blobs[5]));
    put("not here yet", 12);
    for (int i = 10; i < 20; i++)
        put_kilobyte(i);
    settle();
    assert_true(here(&blobs[0]) && here(&blobs[5]));
    assert_false(here(&blobs[1]));
    assert_true(sora_blob_store_bytes(store) <= 4 * 1024);
    sora_blob_store_unpin(store, &blobs[0]);
    for (int i = 20; i < 25; i++)
        put_kilobyte(i);
    settle();
    assert_false(here(&blobs[0]));
    close_store();
    open_store(1024); /* what a smaller limit does not hold goes at open */
    settle();
    assert_true(sora_blob_store_bytes(store) <= 1024);
    close_store();
}

static void what_nobody_needs_any_more_goes(void **state)
{
    (void)state;
    char path[SORA_FILE_PATH_SIZE];
    open_store(0);
    struct sora_digest shared = put("shared", 6), free_one = put("free", 4);
    snprintf(path, sizeof(path), "%s", path_of(&shared));
    sora_blob_store_pin(store, &shared);
    sora_blob_store_pin(store, &shared);
    sora_blob_store_drop(store, &shared);
    assert_true(here(&shared));
    sora_blob_store_drop(store, &free_one); /* not pinned: nobody said that it was needed */
    assert_true(here(&free_one));
    sora_blob_store_drop(store, &shared);
    assert_false(here(&shared));
    settle();
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(sora_blob_store_bytes(store), 4);
    close_store();
}

static void a_full_disk_is_reported_and_leaves_nothing(void **state)
{
    (void)state;
    open_store(0);
    struct sora_digest small = put("small", 5);
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){20000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    static char large[50000];
    assert_int_equal(sora_blob_store_put(store, large, sizeof(large), note_done, &done_count),
                     SORA_OK);
    settle();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(last_fault.code, SORA_E_SPACE);
    assert_non_null(strstr(last_fault.text, "free some space"));
    assert_int_equal(scratch_entry_count("store/incoming"), 0);
    assert_int_equal(sora_blob_store_bytes(store), 5);
    assert_true(here(&small));
    put(large, sizeof(large));
    close_store();
}

static void many_blobs_are_found(void **state)
{
    (void)state;
    open_store(0);
    struct sora_digest digests[600];
    for (int i = 0; i < 600; i++) {
        sora_digest_of(&i, sizeof(i), &digests[i]);
        sora_blob_store_pin(store, &digests[i]);
    }
    for (int i = 0; i < 600; i += 20)
        put(&i, sizeof(i));
    for (int i = 0; i < 600; i++)
        assert_int_equal(here(&digests[i]), i % 20 == 0);
    for (int i = 0; i < 600; i++)
        sora_blob_store_unpin(store, &digests[i]);
    for (int i = 0; i < 600; i++)
        assert_int_equal(here(&digests[i]), i % 20 == 0);
    close_store();
}

/* ---- lending ---- */

static void lent_files_are_served_while_they_stay_the_same(void **state)
{
    (void)state;
    open_store(0);
    const char *path = scratch_path("weights");
    struct sora_blob blob;
    assert_int_equal(sora_file_write(path, "weights", 7, NULL), SORA_OK);
    assert_int_equal(sora_blob_of_file(path, &blob, NULL), SORA_OK);
    assert_int_equal(sora_blob_store_lend(store, &blob, path), SORA_OK);
    assert_true(here(&blob.digest));
    assert_string_equal(path_of(&blob.digest), path);
    assert_int_equal(sora_blob_store_bytes(store), 0);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_false(here(&blob.digest));
    blob.size = 8;
    assert_int_equal(sora_blob_store_lend(store, &blob, path), SORA_E_STALE);
    assert_int_equal(sora_blob_store_lend(store, &blob, "/nowhere"), SORA_E_NOT_FOUND);
    close_store();
}

/* ---- kill -9 ---- */

/* What the child stores as number `index`: other bytes and another size each time. */
static size_t make_content(unsigned round, unsigned index, unsigned char *out)
{
    size_t size = 1 + (round * 7919u + index * 104729u) % 200000u;
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)(i * 31 + index * 7 + round);
    return size;
}

static int child_pipe;

static void tell_parent(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    (void)context;
    if (fault->code != 0 || write(child_pipe, blob->digest.bytes, SORA_DIGEST_SIZE) < 0)
        _exit(3);
}

_Noreturn static void child_stores_for_ever(unsigned round)
{
    static unsigned char content[200001];
    if (try_open(0) != SORA_OK)
        _exit(2);
    for (unsigned index = 0;; index++) {
        size_t size = make_content(round, index, content);
        while (sora_blob_store_put(store, content, size, tell_parent, NULL) == SORA_E_FULL)
            sora_tasks_step(tasks);
        sora_tasks_step(tasks);
    }
}

/* Kills the child after some blobs; returns how many it called done. */
static int run_and_kill(unsigned round, struct sora_digest *out_done, int done_max)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        child_pipe = ends[1];
        child_stores_for_ever(round);
    }
    close(ends[1]);
    int count = 0, wanted = 1 + (int)(round * 13 % 40);
    while (count < done_max && read(ends[0], out_done[count].bytes, SORA_DIGEST_SIZE) > 0) {
        if (++count == wanted)
            kill(child, SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ends[0]);
    return count;
}

static int check_object(const char *path, const struct stat *status, int type, struct FTW *place)
{
    struct sora_blob blob;
    char text[SORA_DIGEST_TEXT_SIZE];
    (void)status;
    if (type != FTW_F)
        return 0;
    if (sora_blob_of_file(path, &blob, NULL) != SORA_OK)
        return 1;
    return strcmp(sora_digest_text(&blob.digest, text), path + place->base) != 0;
}

static void being_killed_loses_nothing_that_was_done(void **state)
{
    (void)state;
    static struct sora_digest digests[4096];
    for (unsigned round = 0; round < 8; round++) {
        int count = run_and_kill(round, digests, 4096);
        assert_true(count > 0);
        assert_int_equal(nftw(scratch_path("store/objects"), check_object, 8, FTW_PHYS), 0);
        open_store(0);
        assert_int_equal(scratch_entry_count("store/incoming"), 0);
        for (int i = 0; i < count; i++)
            assert_int_equal(access(path_of(&digests[i]), R_OK), 0);
        close_store();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(digest_is_blake2b_256),
        TEST(blobs_are_stored_and_survive),
        TEST(files_are_adopted),
        TEST(closing_with_work_under_way_stores_it),
        TEST(damage_is_found_once_per_process),
        TEST(a_file_that_was_written_to_is_read_again),
        TEST(leftovers_go_and_partial_fetches_stay),
        TEST(one_process_at_a_time),
        TEST(eviction_takes_the_least_used_and_spares_pins),
        TEST(what_nobody_needs_any_more_goes),
        TEST(a_full_disk_is_reported_and_leaves_nothing),
        TEST(many_blobs_are_found),
        TEST(lent_files_are_served_while_they_stay_the_same),
        TEST(being_killed_loses_nothing_that_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
