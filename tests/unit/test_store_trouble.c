/* The home's database in trouble: kills, full disk, other versions, damage. */
#include "tests/unit/store_compare.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int open_code(struct sora_fault *fault)
{
    *fault = (struct sora_fault){0};
    return sora_store_open(scratch_path("home.db"), &store, fault);
}

static void a_full_disk_is_reported_and_passes(void **state)
{
    (void)state;
    open_store();
    fill_model();
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){200000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    static unsigned char large[400000];
    struct sora_store_job job = model[0].row;
    any_bytes(job.id.bytes, 14);
    job.envelope = large;
    job.envelope_size = sizeof(large);
    struct sora_store_batch *batch = begin();
    assert_int_equal(sora_store_put_job(batch, &job), SORA_OK);
    int rc = commit_wait(batch);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(rc, SORA_E_SPACE);
    assert_non_null(strstr(done_fault.text, "free some space"));
    compare();
    reopen();
    compare();
    batch = begin();
    assert_int_equal(sora_store_put_job(batch, &job), SORA_OK);
    assert_int_equal(commit_wait(batch), SORA_OK);
    sora_store_close(&store);
}

static void patch(long offset, const void *bytes, size_t size)
{
    int fd = open(scratch_path("home.db"), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
    close(fd);
}

static void other_versions_and_programs_are_refused(void **state)
{
    (void)state;
    struct sora_fault fault;
    open_store();
    fill_model();
    sora_store_close(&store);
    patch(60, "\0\0\0\011", 4); /* user_version, SQLite's file format 1.3 */
    assert_int_equal(open_code(&fault), SORA_E_UNSUPPORTED);
    assert_non_null(strstr(fault.text, "version 9"));
    assert_non_null(strstr(fault.text, "this program knows 3"));
    assert_null(store);
    patch(60, "\0\0\0\003", 4);
    patch(68, "\0\0\0\001", 4); /* application_id */
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    patch(68, "sora", 4);
    open_store();
    compare();
    sora_store_close(&store);
}

static void damage_is_found_at_open(void **state)
{
    (void)state;
    struct sora_fault fault;
    open_store();
    fill_model();
    sora_store_close(&store);
    static char noise[6000];
    memset(noise, 0x5a, sizeof(noise));
    patch(3 * 4096 + 8, noise, sizeof(noise));
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "move the file away"));
    patch(0, noise, sizeof(noise));
    assert_int_equal(open_code(&fault), SORA_E_FORMAT);
    assert_int_equal(sora_store_open(scratch_path("no/home.db"), &store, &fault), SORA_E_NOT_FOUND);
}

/* ---- kill -9 ---- */

static int child_pipe;

static void tell_parent(void *context, const struct sora_fault *fault)
{
    uint32_t index = (uint32_t)(uintptr_t)context;
    if (fault->code != 0 || write(child_pipe, &index, sizeof(index)) < 0)
        _exit(3);
}

/* Batch `index`: a job with a take of two shards, in every tenth place dropping an older one. */
static void number_batch(struct sora_store_batch *batch, uint32_t index)
{
    seed_state = 1000 + index;
    any_job(0);
    model[0].row.wall_created_ms = index;
    memcpy(model[0].row.id.bytes, &index, sizeof(index));
    any_take(&model[0], 0);
    model[0].takes[0].row.record.shard_count = 2;
    any_rows(&model[0].takes[0]);
    put_job(batch, &model[0]);
}

_Noreturn static void child_writes_for_ever(uint32_t index)
{
    open_store();
    for (;; index++) {
        struct sora_store_batch *batch = begin();
        number_batch(batch, index);
        while (sora_store_commit(store, &batch, tell_parent, (void *)(uintptr_t)index) ==
               SORA_E_FULL)
            sora_store_step(store);
        sora_store_step(store);
    }
}

struct found {
    uint32_t jobs, takes, parts, pieces, highest;
};

static int count_job(void *context, const struct sora_store_job *job)
{
    struct found *found = context;
    assert_int_equal(job->wall_created_ms, found->jobs); /* none is missing in between */
    found->highest = found->jobs++;
    return 0;
}
static int count_take(void *context, const struct sora_store_take *take)
{
    ((struct found *)context)->takes += (uint32_t)take->record.shard_count / 2;
    return 0;
}
static int count_part(void *context, const struct sora_store_part *part)
{
    (void)part;
    ((struct found *)context)->parts++;
    return 0;
}
static int count_piece(void *context, const struct sora_store_piece *piece)
{
    (void)piece;
    ((struct found *)context)->pieces++;
    return 0;
}

/* Lets a child write from `next` on and kills it after some batches; the last one that was done. */
static uint32_t run_and_kill(uint32_t next, int wanted)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_pipe = ends[1];
        child_writes_for_ever(next);
    }
    close(ends[1]);
    uint32_t index = 0, last = 0;
    for (int count = 1; read(ends[0], &index, sizeof(index)) == sizeof(index); count++) {
        last = index;
        if (count == wanted) {
            struct sora_fault fault;
            assert_int_equal(open_code(&fault), SORA_E_BUSY); /* the child has it */
            assert_non_null(strstr(fault.text, "another process"));
            kill(child, SIGKILL);
        }
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(ends[0]);
    return last;
}

static void being_killed_loses_nothing_that_was_done(void **state)
{
    (void)state;
    uint32_t next = 0;
    for (int round = 0; round < 6; round++) {
        uint32_t last = run_and_kill(next, 5 + round * 17);
        open_store(); /* checks the integrity */
        struct found found = {0};
        const struct sora_store_visitor visitor = {.job = count_job,
                                                   .take = count_take,
                                                   .part = count_part,
                                                   .piece = count_piece,
                                                   .context = &found};
        assert_int_equal(sora_store_load(store, &visitor, NULL), SORA_OK);
        assert_true(found.highest >= last);
        assert_int_equal(found.takes, found.jobs);
        assert_int_equal(found.parts, found.jobs * ROWS);
        assert_int_equal(found.pieces, found.jobs * ROWS);
        next = found.jobs;
        sora_store_close(&store);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk_is_reported_and_passes),
        TEST(other_versions_and_programs_are_refused),
        TEST(damage_is_found_at_open),
        TEST(being_killed_loses_nothing_that_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
