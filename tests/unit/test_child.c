/*
 * A child process and its stream: this program starts itself with another argument as the child.
 * Frames of all sizes both ways, a full queue, every kind of end, descriptors that do not leak.
 */
#include "base/child_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 20000
#define BIG_SIZE ((size_t)24 << 20)

static const char *own_path;

enum { ECHO = 1, COUNT_FDS, FAIL_STATUS, CRASH, CLOSE_STREAM, MALFORM, HUGE_HEAD, STUCK };

/* ---- the child ---- */

static int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int obey(const struct sora_frame *frame)
{
    const struct sora_child_frame huge = {SORA_CHILD_FRAME_MAGIC, 1, SORA_CHILD_HEAD_MAX + 1, 0};
    int32_t count = count_fds();
    struct sora_frame answer = *frame;
    switch (frame->kind) {
    case COUNT_FDS:
        answer = (struct sora_frame){.kind = COUNT_FDS, .head = &count, .head_size = 4};
        break;
    case FAIL_STATUS:
        exit(7);
    case CRASH:
        raise(SIGKILL);
        break;
    case CLOSE_STREAM:
        close(SORA_CHILD_DESCRIPTOR);
        pause();
        break;
    case MALFORM:
        (void)!write(SORA_CHILD_DESCRIPTOR, "this is no frame at all, is it?!", 32);
        return 0;
    case HUGE_HEAD:
        (void)!write(SORA_CHILD_DESCRIPTOR, &huge, sizeof(huge));
        return 0;
    case STUCK:
        pause();
        break;
    }
    return sora_child_self_send(&answer);
}

static int child_main(void)
{
    struct sora_frame frame;
    int rc;
    while ((rc = sora_child_self_receive(&frame, NULL)) > 0 && obey(&frame) == 0)
        ;
    return rc == 0 ? 0 : 1;
}

/* ---- the parent ---- */

static struct sora_child *start(size_t queue_bytes_max)
{
    const char *const argv[] = {own_path, "child", NULL};
    const struct sora_child_params params = {
        .program = own_path, .argv = argv, .queue_bytes_max = queue_bytes_max};
    struct sora_child *child = NULL;
    struct sora_fault fault = {0};
    if (sora_child_create(&params, &child, &fault))
        fail_msg("%s", fault.text);
    assert_true(sora_child_pid(child) > 0);
    return child;
}

/* Steps until a frame or the end. */
static int wait_step(struct sora_child *child, struct sora_frame *out_frame,
                     struct sora_fault *fault)
{
    for (;;) {
        int rc = sora_child_step(child, out_frame, fault);
        if (rc != 0)
            return rc;
        struct pollfd item;
        item.fd = sora_child_fd(child, &item.events);
        if (poll(&item, 1, WAIT_MS) <= 0)
            fail_msg("no answer in %d ms", WAIT_MS);
    }
}

static int send_kind(struct sora_child *child, uint32_t kind)
{
    return sora_child_send(child, &(struct sora_frame){.kind = kind});
}

static void frames_come_back(void **state)
{
    (void)state;
    static const size_t head_sizes[] = {0, 1, 7, SORA_CHILD_HEAD_MAX};
    static const size_t payload_sizes[] = {0, 1, 65537, BIG_SIZE};
    struct sora_child *child = start(0);
    unsigned char *payload = malloc(BIG_SIZE), head[SORA_CHILD_HEAD_MAX];
    for (size_t i = 0; i < BIG_SIZE; i++)
        payload[i] = (unsigned char)(i * 31 + i / 251);
    memcpy(head, payload + 5, sizeof(head));
    for (int i = 0; i < 16; i++) {
        const struct sora_frame frame = {ECHO, head, head_sizes[i / 4], payload,
                                         payload_sizes[i % 4]};
        assert_int_equal(sora_child_send(child, &frame), 0);
    }
    for (int i = 0; i < 16; i++) {
        struct sora_frame frame;
        struct sora_fault fault = {0};
        assert_int_equal(wait_step(child, &frame, &fault), 1);
        assert_int_equal(frame.kind, ECHO);
        assert_int_equal(frame.head_size, head_sizes[i / 4]);
        assert_int_equal(frame.payload_size, payload_sizes[i % 4]);
        assert_int_equal((uintptr_t)frame.head % 8, 0);
        assert_int_equal((uintptr_t)frame.payload % 16, 0);
        assert_memory_equal(frame.head, head, frame.head_size);
        if (frame.payload_size)
            assert_memory_equal(frame.payload, payload, frame.payload_size);
    }
    free(payload);
    sora_child_destroy(&child);
    assert_null(child);
}

static void child_has_four_descriptors(void **state)
{
    (void)state;
    int extra = open("/dev/null", O_RDONLY); /* not close-on-exec */
    struct sora_child *child = start(0);
    struct sora_frame frame;
    assert_int_equal(send_kind(child, COUNT_FDS), 0);
    assert_int_equal(wait_step(child, &frame, NULL), 1);
    assert_int_equal(*(const int32_t *)frame.head, 4);
    close(extra);
    sora_child_destroy(&child);
}

static void full_queue_refuses(void **state)
{
    (void)state;
    struct sora_child *child = start(1 << 20);
    char *payload = calloc(1, 2 << 20);
    assert_int_equal(send_kind(child, STUCK), 0);
    const struct sora_frame too_long = {.kind = ECHO, .payload = payload, .payload_size = 2 << 20};
    assert_int_equal(sora_child_send(child, &too_long), SORA_E_LIMIT);
    const struct sora_frame frame = {.kind = ECHO, .payload = payload, .payload_size = 100000};
    int rc = 0, sent = 0;
    while ((rc = sora_child_send(child, &frame)) == 0 && sent < 1000)
        sent++;
    assert_int_equal(rc, SORA_E_FULL);
    assert_true(sent >= 10);
    short events = 0;
    sora_child_fd(child, &events);
    assert_true(events & POLLOUT);
    const struct sora_frame huge = {
        .kind = ECHO, .head = payload, .head_size = SORA_CHILD_HEAD_MAX + 1};
    assert_int_equal(sora_child_send(child, &huge), SORA_E_LIMIT);
    free(payload);
    sora_child_destroy(&child);
}

/* The child is told `kind` and ends; the sentence holds `words`, and stays. */
static void check_end(uint32_t kind, int code, const char *words)
{
    struct sora_child *child = start(0);
    struct sora_frame frame;
    struct sora_fault fault = {0};
    assert_int_equal(send_kind(child, kind), 0);
    assert_int_equal(wait_step(child, &frame, &fault), code);
    if (!strstr(fault.text, words))
        fail_msg("'%s' lacks '%s'", fault.text, words);
    assert_int_equal(sora_child_pid(child), -1);
    struct sora_fault again = {0};
    assert_int_equal(sora_child_step(child, &frame, &again), code);
    assert_string_equal(again.text, fault.text);
    assert_int_equal(send_kind(child, ECHO), SORA_E_IO);
    sora_child_destroy(&child);
}

static void every_end_is_told(void **state)
{
    (void)state;
    check_end(FAIL_STATUS, SORA_E_IO, "ended with status 7");
    check_end(CRASH, SORA_E_IO, "killed by signal 9");
    check_end(CLOSE_STREAM, SORA_E_IO, "closed its stream and was killed");
    check_end(MALFORM, SORA_E_FORMAT, "something else than frames");
    check_end(HUGE_HEAD, SORA_E_LIMIT, "head of 8193 bytes");
}

static void terminate_ends_it(void **state)
{
    (void)state;
    struct sora_child *child = start(0);
    struct sora_frame frame;
    struct sora_fault fault = {0};
    sora_child_terminate(child);
    assert_int_equal(wait_step(child, &frame, &fault), SORA_E_IO);
    assert_non_null(strstr(fault.text, "signal 15"));
    sora_child_destroy(&child);
}

static void answers_before_the_end_arrive(void **state)
{
    (void)state;
    struct sora_child *child = start(0);
    struct sora_frame frame;
    assert_int_equal(send_kind(child, ECHO), 0);
    assert_int_equal(send_kind(child, FAIL_STATUS), 0);
    assert_int_equal(wait_step(child, &frame, NULL), 1);
    assert_int_equal(wait_step(child, &frame, NULL), SORA_E_IO);
    sora_child_destroy(&child);
}

/* A child whose parent closes the stream ends by itself; destroy leaves no zombie. */
static void nothing_is_left(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct sora_child *child = start(0);
        assert_int_equal(send_kind(child, STUCK), 0);
        sora_child_destroy(&child);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    int before = count_fds();
    struct sora_child *child = start(0);
    sora_child_destroy(&child);
    assert_int_equal(count_fds(), before);
}

static void programs_that_cannot_start(void **state)
{
    (void)state;
    const char *const argv[] = {"x", NULL};
    struct sora_child *child = NULL;
    struct sora_fault fault = {0};
    struct sora_child_params params = {.program = "/nonexistent/program", .argv = argv};
    assert_int_equal(sora_child_create(&params, &child, &fault), SORA_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "/nonexistent/program"));
    params.program = "/dev/null";
    assert_int_equal(sora_child_create(&params, &child, NULL), SORA_E_DENIED);
    assert_null(child);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_plain_start_is_no_child(void **state)
{
    (void)state;
    close(SORA_CHILD_DESCRIPTOR);
    assert_false(sora_child_self_present());
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return sora_child_self_present() ? child_main() : 9;
    own_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back),
        cmocka_unit_test(child_has_four_descriptors),
        cmocka_unit_test(full_queue_refuses),
        cmocka_unit_test(every_end_is_told),
        cmocka_unit_test(terminate_ends_it),
        cmocka_unit_test(answers_before_the_end_arrive),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(programs_that_cannot_start),
        cmocka_unit_test(a_plain_start_is_no_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
