/* A store in a scratch folder, batches, and waiting for what was committed. Single-threaded. */
#ifndef SORA_TESTS_UNIT_STORE_FIXTURE_H
#define SORA_TESTS_UNIT_STORE_FIXTURE_H

#include "scheduler/store.h"
#include "tests/unit/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sora_store *store;
static int done_count, done_failed;
static struct sora_fault done_fault;

static inline void note_done(void *context, const struct sora_fault *fault)
{
    (void)context;
    done_count++;
    done_failed += fault->code != 0;
    if (fault->code != 0)
        done_fault = *fault;
}

static inline void open_store(void)
{
    struct sora_fault fault = {0};
    if (sora_store_open(scratch_path("home.db"), &store, &fault))
        fail_msg("%s", fault.text);
}

static inline struct sora_store_batch *begin(void)
{
    struct sora_store_batch *batch = NULL;
    assert_int_equal(sora_store_batch_create(store, &batch), SORA_OK);
    return batch;
}

static inline void commit(struct sora_store_batch *batch)
{
    assert_int_equal(sora_store_commit(store, &batch, note_done, NULL), SORA_OK);
    assert_null(batch);
}

static inline void wait_done(int count)
{
    while (done_count < count) {
        struct pollfd item = {.fd = sora_store_fd(store), .events = POLLIN};
        assert_int_equal(poll(&item, 1, 20000), 1);
        sora_store_step(store);
    }
}

/* Commits and waits; the code that came. */
static inline int commit_wait(struct sora_store_batch *batch)
{
    done_failed = 0;
    done_fault = (struct sora_fault){0};
    int before = done_count;
    commit(batch);
    wait_done(before + 1);
    return done_fault.code;
}

static inline void reopen(void)
{
    sora_store_close(&store);
    open_store();
}

#endif
