/*
 * The system call filter: a list of denials by name (node/sandbox.h says why a list of these).
 * Descriptors that are open already keep working, so the stream to the parent does.
 */
#include "node/sandbox_parts.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

/* The leak check at the end of a sanitized build traces the process from a clone of it. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { NETWORK = 1, PROCESS = 2 };

struct denial {
    const char *name; /* names that this machine's architecture lacks are passed over */
    int group;        /* left out when the group is wanted; 0: always denied */
};

static const struct denial denials[] = {
    {"socket", NETWORK},
    {"connect", NETWORK},
    {"bind", NETWORK},
    {"listen", NETWORK},
    {"accept", NETWORK},
    {"accept4", NETWORK},
    {"socketcall", NETWORK},
    {"execve", 0},
    {"execveat", 0},
    {"fork", PROCESS},
    {"vfork", PROCESS},
    {"ptrace", PROCESS},
    {"process_vm_readv", 0},
    {"process_vm_writev", 0},
    {"pidfd_getfd", 0},
    {"kcmp", 0},
    {"mount", 0},
    {"umount2", 0},
    {"pivot_root", 0},
    {"chroot", 0},
    {"move_mount", 0},
    {"open_tree", 0},
    {"fsopen", 0},
    {"fsconfig", 0},
    {"fsmount", 0},
    {"fspick", 0},
    {"mount_setattr", 0},
    {"setns", 0},
    {"unshare", 0},
    {"open_by_handle_at", 0},
    {"bpf", 0},
    {"perf_event_open", 0},
    {"userfaultfd", 0},
    {"io_uring_setup", 0},
    {"io_uring_enter", 0},
    {"io_uring_register", 0},
    {"add_key", 0},
    {"request_key", 0},
    {"keyctl", 0},
    {"init_module", 0},
    {"finit_module", 0},
    {"delete_module", 0},
    {"kexec_load", 0},
    {"kexec_file_load", 0},
    {"reboot", 0},
    {"swapon", 0},
    {"swapoff", 0},
    {"acct", 0},
    {"quotactl", 0},
    {"settimeofday", 0},
    {"clock_settime", 0},
    {"clock_adjtime", 0},
    {"adjtimex", 0},
    {"syslog", 0},
    {"iopl", 0},
    {"ioperm", 0},
    {"vhangup", 0},
};

static int deny_names(scmp_filter_ctx filter, bool network)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(denials) / sizeof(denials[0]); i++) {
        int number = seccomp_syscall_resolve_name(denials[i].name);
        bool wanted =
            (denials[i].group == NETWORK && network) || (denials[i].group == PROCESS && SANITIZED);
        if (number != __NR_SCMP_ERROR && !wanted)
            rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    }
    return rc;
}

/* Threads yes, processes no. clone3 hides its flags behind a pointer: the C library falls back to
 * clone where it does not exist. */
static int deny_processes(scmp_filter_ctx filter)
{
    if (SANITIZED)
        return 0;
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return rc;
}

/* No typing into the terminal that the daemon was started from. */
static int deny_terminal_input(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCSTI));
}

int sora_sandbox_enter_seccomp(const struct sora_sandbox_params *params, struct sora_fault *fault)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL)
        return 0;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int rc = filter ? 0 : -ENOMEM;
    if (rc == 0)
        rc = deny_names(filter, params->network);
    if (rc == 0)
        rc = deny_processes(filter);
    if (rc == 0)
        rc = deny_terminal_input(filter);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    return rc < 0 ? sora_fault_set(fault, SORA_E_IO, "cannot enter the system call filter: %s",
                                   strerror(-rc))
                  : 1;
}
