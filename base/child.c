/*
 * The parent's side of a child process: start, a bounded queue of frames, and the end.
 *
 * There is no SIGCHLD handler: the stream closes when the child ends, whatever the reason, and only
 * then it is reaped. The kernel settles the exit status before it closes the descriptors, so the
 * wait after that is a short one; a child that closed its stream and lives on is killed.
 */
#include "base/child_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE_BYTES_DEFAULT ((size_t)256 << 20)
#define END_WAIT_MS 200            /* for a child whose stream has closed */
#define DESCRIPTOR_CLEAR 16        /* above those that the child uses */
#define CLOSE_DESCRIPTORS_MAX 4096 /* without close_range */

/* A frame on its way; its bytes follow. */
struct outgoing {
    struct outgoing *next;
    size_t size, sent;
    unsigned char bytes[];
};

struct sora_child {
    pid_t pid; /* -1 once reaped */
    int fd, pidfd;
    char name[64];
    struct outgoing *first, **last;
    size_t queued_bytes, queue_bytes_max;
    bool broken; /* writing is over */
    struct sora_child_intake intake;
    struct sora_fault end; /* set once it ended */
};

/* ---- starting ---- */

/* Descriptors and pointers that the new process needs between fork and exec. */
struct launch {
    const struct sora_child_params *params;
    int stream, report; /* child's ends */
    pid_t parent;
};

static void close_on_exec_from(int first)
{
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
    for (int fd = first; fd < CLOSE_DESCRIPTORS_MAX; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void reset_signals(void)
{
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &plain, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the new process of a program that may have threads: only calls that POSIX lists as safe
 * there. Ends by exec or by reporting errno. */
static _Noreturn void become_child(const struct launch *launch)
{
    setpgid(0, 0); /* Ctrl-C at a terminal is for the parent, which ends us in its own order */
    reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    int stream = fcntl(launch->stream, F_DUPFD_CLOEXEC, DESCRIPTOR_CLEAR);
    int report = fcntl(launch->report, F_DUPFD_CLOEXEC, DESCRIPTOR_CLEAR);
    if (getppid() == launch->parent && null >= 0 && stream >= 0 && report >= 0 &&
        dup2(null, 0) >= 0 && dup2(2, 1) >= 0 && dup2(stream, SORA_CHILD_DESCRIPTOR) >= 0) {
        close_on_exec_from(SORA_CHILD_DESCRIPTOR + 1);
        execv(launch->params->program, (char *const *)launch->params->argv);
    }
    int code = errno;
    ssize_t ignored = write(report, &code, sizeof(code));
    (void)ignored;
    _exit(127);
}

/* Forks with every signal blocked, so that no handler of ours runs in the new process. */
static pid_t launch_process(const struct launch *launch)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        become_child(launch);
    int code = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return pid;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Waits until the program runs: the report's other end is closed by exec. */
static int read_report(int fd)
{
    int code = 0;
    ssize_t count;
    do {
        count = read(fd, &code, sizeof(code));
    } while (count < 0 && errno == EINTR);
    return count == sizeof(code) ? code : 0;
}

static int start(struct sora_child *child, const struct sora_child_params *params,
                 struct sora_fault *fault)
{
    int pair[2] = {-1, -1}, report[2] = {-1, -1}, code = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) || pipe2(report, O_CLOEXEC))
        code = errno;
    const struct launch launch = {params, pair[1], report[1], getpid()};
    if (!code) {
        child->pid = launch_process(&launch);
        code = child->pid < 0 ? errno : 0;
    }
    close_fd(&pair[1]);
    close_fd(&report[1]);
    if (!code)
        code = read_report(report[0]);
    close_fd(&report[0]);
    child->fd = pair[0];
    if (code)
        return sora_fault_set(fault, sora_error_from_errno(code), "cannot start %.300s: %s",
                              params->program, strerror(code));
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    return 0;
}

int sora_child_create(const struct sora_child_params *params, struct sora_child **out_child,
                      struct sora_fault *fault)
{
    struct sora_child *child = calloc(1, sizeof(*child));
    if (!child)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a child process");
    child->pid = child->fd = child->pidfd = -1;
    child->last = &child->first;
    child->queue_bytes_max =
        params->queue_bytes_max ? params->queue_bytes_max : QUEUE_BYTES_DEFAULT;
    const char *slash = strrchr(params->program, '/');
    strncat(child->name, slash ? slash + 1 : params->program, sizeof(child->name) - 1);
    int error = start(child, params, fault);
    if (error)
        sora_child_destroy(&child);
    else
        *out_child = child;
    return error;
}

/* ---- the end ---- */

static int reap(struct sora_child *child, int options)
{
    int status = 0;
    pid_t pid;
    do {
        pid = waitpid(child->pid, &status, options);
    } while (pid < 0 && errno == EINTR);
    if (pid != 0)
        child->pid = -1;
    return pid > 0 ? status : -1;
}

/* Waits a moment for the process, then kills it. Returns its wait status; *out_killed: by us. */
static int reap_or_kill(struct sora_child *child, bool *out_killed)
{
    *out_killed = false;
    int status = reap(child, WNOHANG);
    if (child->pid > 0 && child->pidfd >= 0) {
        struct pollfd item = {.fd = child->pidfd, .events = POLLIN};
        poll(&item, 1, END_WAIT_MS);
        status = reap(child, WNOHANG);
    }
    if (child->pid > 0) {
        *out_killed = true;
        kill(child->pid, SIGKILL);
        status = reap(child, 0);
    }
    return status;
}

static int end_with(struct sora_child *child, struct sora_fault *fault)
{
    return sora_fault_set(fault, child->end.code, "%s", child->end.text);
}

static int note_end(struct sora_child *child, struct sora_fault *fault)
{
    bool killed;
    pid_t pid = child->pid;
    int status = reap_or_kill(child, &killed);
    if (killed)
        sora_fault_set(&child->end, SORA_E_IO, "%s (process %d) closed its stream and was killed",
                       child->name, (int)pid);
    else if (status >= 0 && WIFSIGNALED(status))
        sora_fault_set(&child->end, SORA_E_IO, "%s (process %d) was killed by signal %d (%s)%s",
                       child->name, (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
                       WTERMSIG(status) == SIGKILL ? "; the machine may lack memory" : "");
    else if (status >= 0)
        sora_fault_set(&child->end, SORA_E_IO, "%s (process %d) ended with status %d", child->name,
                       (int)pid, WEXITSTATUS(status));
    else
        sora_fault_set(&child->end, SORA_E_IO, "%s (process %d) has ended", child->name, (int)pid);
    return end_with(child, fault);
}

/* What it sent is not what the two agreed on: it is not worth talking to any more. */
static int note_broken(struct sora_child *child, const struct sora_fault *why,
                       struct sora_fault *fault)
{
    pid_t pid = child->pid;
    kill(pid, SIGKILL);
    reap(child, 0);
    sora_fault_set(&child->end, why->code, "%s (process %d) was killed: %s", child->name, (int)pid,
                   why->text);
    return end_with(child, fault);
}

void sora_child_destroy(struct sora_child **child_address)
{
    struct sora_child *child = *child_address;
    if (!child)
        return;
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        reap(child, 0);
    }
    close_fd(&child->fd);
    close_fd(&child->pidfd);
    for (struct outgoing *next; child->first; child->first = next) {
        next = child->first->next;
        free(child->first);
    }
    sora_child_intake_fini(&child->intake);
    free(child);
    *child_address = NULL;
}

/* ---- frames ---- */

pid_t sora_child_pid(const struct sora_child *child)
{
    return child->pid;
}

int sora_child_fd(const struct sora_child *child, short *out_events)
{
    *out_events = (short)(POLLIN | (child->first && !child->broken ? POLLOUT : 0));
    return child->fd;
}

/* Writes what goes without waiting. A failure ends writing; the reason comes with the end. */
static void flush(struct sora_child *child)
{
    while (child->first && !child->broken) {
        struct outgoing *frame = child->first;
        ssize_t count = send(child->fd, frame->bytes + frame->sent, frame->size - frame->sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            child->broken = errno != EAGAIN && errno != EWOULDBLOCK;
            return;
        }
        frame->sent += (size_t)count;
        child->queued_bytes -= (size_t)count;
        if (frame->sent < frame->size)
            continue;
        child->first = frame->next;
        if (!child->first)
            child->last = &child->first;
        free(frame);
    }
}

static void append(unsigned char **at, const void *data, size_t size)
{
    if (size > 0)
        memcpy(*at, data, size);
    *at += size;
}

int sora_child_send(struct sora_child *child, const struct sora_frame *frame)
{
    if (child->end.code || child->broken)
        return SORA_E_IO;
    if (frame->head_size > SORA_CHILD_HEAD_MAX || frame->payload_size > SORA_CHILD_PAYLOAD_MAX)
        return SORA_E_LIMIT;
    const struct sora_child_frame header = {SORA_CHILD_FRAME_MAGIC, frame->kind, frame->head_size,
                                            frame->payload_size};
    size_t size = sizeof(header) + frame->head_size + frame->payload_size;
    if (size > child->queue_bytes_max)
        return SORA_E_LIMIT;
    if (size > child->queue_bytes_max - child->queued_bytes)
        return SORA_E_FULL;
    struct outgoing *item = malloc(sizeof(*item) + size);
    if (!item)
        return SORA_E_MEMORY;
    *item = (struct outgoing){.size = size};
    unsigned char *at = item->bytes;
    append(&at, &header, sizeof(header));
    append(&at, frame->head, frame->head_size);
    append(&at, frame->payload, frame->payload_size);
    *child->last = item;
    child->last = &item->next;
    child->queued_bytes += size;
    flush(child);
    return 0;
}

int sora_child_step(struct sora_child *child, struct sora_frame *out_frame,
                    struct sora_fault *fault)
{
    if (child->end.code)
        return end_with(child, fault);
    flush(child);
    struct sora_fault why = {0};
    int rc = sora_child_intake_read(&child->intake, child->fd, MSG_DONTWAIT, out_frame, &why);
    if (rc == SORA_CHILD_INTAKE_END)
        return note_end(child, fault);
    return rc < 0 ? note_broken(child, &why, fault) : rc;
}

void sora_child_terminate(struct sora_child *child)
{
    if (child->pid > 0)
        kill(child->pid, SIGTERM);
}
