/* Tasks beside the loop: order, bounds, the descriptor, draining. */
#include "base/tasks.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT 500

static pthread_t owner;
static int ran[COUNT], done[COUNT], ran_count, done_count;
static bool ran_in_owner, done_elsewhere; /* each written by one thread */

static void reset(void)
{
    owner = pthread_self();
    ran_count = done_count = 0;
    ran_in_owner = done_elsewhere = false;
}

/* `context` is a number from 1. */
static void run_number(void *context)
{
    ran_in_owner |= pthread_equal(pthread_self(), owner) != 0;
    ran[ran_count++] = (int)(intptr_t)context;
}

static void done_number(void *context)
{
    done_elsewhere |= !pthread_equal(pthread_self(), owner);
    done[done_count++] = (int)(intptr_t)context;
}

static struct sora_task number(int value)
{
    return (struct sora_task){run_number, done_number, (void *)(intptr_t)value};
}

static bool readable(const struct sora_tasks *tasks, int wait_ms)
{
    struct pollfd item = {.fd = sora_tasks_fd(tasks), .events = POLLIN};
    return poll(&item, 1, wait_ms) == 1;
}

static struct sora_tasks *make(int queue_max)
{
    struct sora_tasks *tasks = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_tasks_create("test", queue_max, &tasks, &fault), SORA_OK);
    return tasks;
}

static void tasks_run_in_order_and_are_done_in_step(void **state)
{
    (void)state;
    reset();
    struct sora_tasks *tasks = make(8);
    int next = 1;
    while (done_count < COUNT) {
        for (struct sora_task task = number(next); next <= COUNT; task = number(next)) {
            if (sora_tasks_post(tasks, &task) == SORA_E_FULL)
                break;
            next++;
        }
        assert_int_equal(sora_tasks_pending(tasks), next - 1 - done_count);
        assert_true(readable(tasks, 10000));
        sora_tasks_step(tasks);
    }
    assert_false(ran_in_owner || done_elsewhere);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(ran[i], i + 1);
        assert_int_equal(done[i], i + 1);
    }
    assert_int_equal(sora_tasks_pending(tasks), 0);
    sora_tasks_step(tasks);
    assert_false(readable(tasks, 0));
    sora_tasks_destroy(&tasks);
    assert_null(tasks);
    sora_tasks_destroy(&tasks);
}

static void wait_for(void *context)
{
    while (sem_wait(context))
        continue;
}

static void queue_is_bounded(void **state)
{
    (void)state;
    reset();
    sem_t gate;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    struct sora_tasks *tasks = make(2);
    struct sora_task held = {wait_for, NULL, &gate}, task = number(1);
    assert_int_equal(sora_tasks_post(tasks, &held), SORA_OK);
    assert_int_equal(sora_tasks_post(tasks, &task), SORA_OK);
    assert_int_equal(sora_tasks_post(tasks, &task), SORA_E_FULL);
    assert_int_equal(sora_tasks_step(tasks), 0);
    assert_int_equal(sora_tasks_pending(tasks), 2);
    sem_post(&gate);
    while (sora_tasks_pending(tasks) > 0) {
        assert_true(readable(tasks, 10000));
        sora_tasks_step(tasks);
    }
    assert_int_equal(ran_count, 1);
    assert_int_equal(sora_tasks_post(tasks, &task), SORA_OK);
    sora_tasks_destroy(&tasks);
    assert_int_equal(done_count, 2);
    sem_destroy(&gate);
}

static struct sora_tasks *posted_to;
static int posted_rc;

static void post_again(void *context)
{
    (void)context;
    struct sora_task task = number(1);
    posted_rc = sora_tasks_post(posted_to, &task);
}

static void run_nothing(void *context)
{
    (void)context;
}

static void destroy_finishes_what_was_posted(void **state)
{
    (void)state;
    reset();
    struct sora_tasks *tasks = make(COUNT);
    for (int i = 1; i < COUNT; i++) {
        struct sora_task task = number(i);
        assert_int_equal(sora_tasks_post(tasks, &task), SORA_OK);
    }
    struct sora_task last = {run_nothing, post_again, NULL};
    assert_int_equal(sora_tasks_post(tasks, &last), SORA_OK);
    posted_to = tasks;
    posted_rc = 0;
    sora_tasks_destroy(&tasks);
    assert_int_equal(ran_count, COUNT - 1);
    assert_int_equal(done_count, COUNT - 1);
    assert_int_equal(posted_rc, SORA_E_CANCELLED);
    assert_false(ran_in_owner || done_elsewhere);
}

static void done_may_post(void **state)
{
    (void)state;
    reset();
    struct sora_tasks *tasks = make(1);
    posted_to = tasks;
    struct sora_task first = {run_nothing, post_again, NULL};
    assert_int_equal(sora_tasks_post(tasks, &first), SORA_OK);
    while (sora_tasks_pending(tasks) > 0) {
        assert_true(readable(tasks, 10000));
        sora_tasks_step(tasks);
    }
    assert_int_equal(posted_rc, SORA_OK);
    assert_int_equal(done_count, 1);
    sora_tasks_destroy(&tasks);
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    struct sora_tasks *tasks = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_tasks_create("x", 0, &tasks, &fault), SORA_E_INVALID);
    assert_int_equal(sora_tasks_create("x", 65537, &tasks, NULL), SORA_E_INVALID);
    assert_null(tasks);
    assert_string_not_equal(fault.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_in_order_and_are_done_in_step),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(destroy_finishes_what_was_posted),
        cmocka_unit_test(done_may_post),
        cmocka_unit_test(bad_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
