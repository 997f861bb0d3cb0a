/*
 * What the sandbox promises, tried in a forked process each time: what fails must fail for the
 * layer's reason, and what a worker needs must go on. A kernel without a layer skips its tests with
 * a printed reason.
 */
#include "hip/cpu/cpu.h"
#include "node/sandbox.h"

#include "tests/unit/scratch.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

/* A sanitizer's shadow does not fit under a memory limit, and its leak check needs processes. */
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

#define SKIPPED 100
#define FAILED 101

static char readable[600], writable[600], outside[600], library[600];

/* Enters with the scratch folders. Returns SKIPPED where `layer` is not in force. */
static int enter(const char *layer, uint64_t memory_bytes)
{
    const char *const read_folders[] = {readable};
    const char *const write_folders[] = {writable};
    const struct sora_sandbox_params params = {
        .readable = read_folders,
        .readable_count = 1,
        .writable = write_folders,
        .writable_count = 1,
        .memory_bytes = memory_bytes,
    };
    char words[SORA_SANDBOX_WORDS_SIZE];
    struct sora_fault fault = {0};
    if (sora_sandbox_enter(&params, words, &fault)) {
        fprintf(stderr, "%s\n", fault.text);
        return FAILED;
    }
    return strstr(words, layer) ? 0 : SKIPPED;
}

/* Runs `probe` in a process of its own; it returns 0 or the number of the line that failed. */
static void check(int (*probe)(void), const char *layer)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(probe() & 0xff);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("the probe was killed by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("skipped: this kernel has no %s\n", layer);
        skip();
    }
    if (WEXITSTATUS(status))
        fail_msg("the probe's check in line %d (mod 256) failed", WEXITSTATUS(status));
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)
#define ENTER(layer, memory)                                                                       \
    do {                                                                                           \
        int entered_ = enter(layer, memory);                                                       \
        if (entered_)                                                                              \
            return entered_;                                                                       \
    } while (0)

static bool denied(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    return fd < 0 && errno == EACCES;
}

static int probe_files(void)
{
    ENTER("landlock", 0);
    char path[700];
    EXPECT(denied("/etc/passwd", O_WRONLY));
    EXPECT(denied("/etc/passwd", O_RDONLY));
    EXPECT(denied("/proc/1/environ", O_RDONLY));
    EXPECT(denied(outside, O_RDONLY));
    EXPECT(denied(outside, O_WRONLY | O_TRUNC));
    EXPECT(unlink(outside) < 0 && errno == EACCES);
    snprintf(path, sizeof(path), "%s/weights", readable);
    EXPECT(open(path, O_RDONLY) >= 0);
    EXPECT(denied(path, O_RDWR));
    snprintf(path, sizeof(path), "%s/new", readable);
    EXPECT(denied(path, O_WRONLY | O_CREAT));
    return 0;
}

static int probe_writing(void)
{
    ENTER("landlock", 0);
    char from[700], to[700];
    snprintf(from, sizeof(from), "%s/part", writable);
    snprintf(to, sizeof(to), "%s/whole", writable);
    int fd = open(from, O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT(fd >= 0);
    EXPECT(write(fd, "abc", 3) == 3);
    EXPECT(fsync(fd) == 0);
    EXPECT(rename(from, to) == 0);
    EXPECT(open(to, O_WRONLY | O_TRUNC) >= 0);
    EXPECT(unlink(to) == 0);
    EXPECT(symlink("/etc/passwd", to) < 0);
    EXPECT(mkdir(to, 0700) < 0);
    return 0;
}

static int probe_network(void)
{
    ENTER("seccomp", 0);
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    EXPECT(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
    EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
    EXPECT(connect(0, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno == EPERM);
    EXPECT(bind(0, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno == EPERM);
    return 0;
}

/* A socket that was open before cannot be connected either. */
static int probe_old_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ENTER("seccomp", 0);
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    EXPECT(connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno == EPERM);
    return 0;
}

static int probe_kernel(void)
{
    ENTER("seccomp", 0);
    char *const argv[] = {(char[]){"true"}, NULL};
    EXPECT(execv("/bin/true", argv) < 0 && errno == EPERM);
    EXPECT(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
    EXPECT(syscall(SYS_keyctl, 0, 0, 0, 0, 0) < 0 && errno == EPERM);
    EXPECT(syscall(SYS_mount, "a", "b", "c", 0, NULL) < 0 && errno == EPERM);
    EXPECT(syscall(SYS_unshare, 0) < 0 && errno == EPERM);
#if !SANITIZED
    EXPECT(fork() < 0 && errno == EPERM);
    EXPECT(syscall(SYS_ptrace, 0, 0, 0, 0) < 0 && errno == EPERM);
#endif
    return 0;
}

static int probe_rlimits(void)
{
    ENTER("rlimits", SANITIZED ? 0 : (uint64_t)1 << 30);
    struct rlimit limit;
    EXPECT(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0);
    EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= 256);
#if !SANITIZED
    EXPECT(getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_max <= (rlim_t)1 << 30);
    volatile size_t size = (size_t)3 << 30;
    char *data = malloc(size);
    EXPECT(!data);
    data = malloc(size / 100);
    EXPECT(data);
    free(data);
#endif
    return 0;
}

/* What a worker does: threads, the compute device, the machine's figures, time. */
static int probe_work(void)
{
    ENTER("", 0);
    struct sora_device *device = NULL;
    struct sora_device_caps caps;
    const struct sora_cpu_params params = {.thread_count = 3};
    EXPECT(sora_cpu_device_create(&params, &device, NULL) == 0);
    sora_device_caps(device, &caps);
    EXPECT(caps.thread_count == 3);
    EXPECT(caps.memory_total > 0 && caps.memory_free > 0);
    sora_device_destroy(&device);
    EXPECT(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    FILE *file = fopen("/proc/self/maps", "r");
    EXPECT(file);
    fclose(file);
    return 0;
}

/* A card's library outside the system's folders, as a link to where it lies: what is beside either
 * stays readable, nothing else. */
static int probe_libraries(void)
{
    const struct sora_sandbox_params params = {.cards = true};
    char words[SORA_SANDBOX_WORDS_SIZE], link[700], data[700];
    snprintf(link, sizeof(link), "%s/libproducts.so", library);
    EXPECT(dlopen(link, RTLD_NOW | RTLD_LOCAL));
    EXPECT(sora_sandbox_enter(&params, words, NULL) == 0);
    if (!strstr(words, "landlock"))
        return SKIPPED;
    for (int i = 0; i < 2; i++) {
        snprintf(data, sizeof(data), "%s/%s", i ? library : readable, i ? "data" : "weights");
        EXPECT(open(data, O_RDONLY) >= 0);
        EXPECT(denied(data, O_RDWR));
    }
    EXPECT(denied(outside, O_RDONLY));
    return 0;
}

static int probe_missing_folder(void)
{
    const char *const folders[] = {"/nonexistent/folder"};
    struct sora_sandbox_params params = {.writable = folders, .writable_count = 1};
    char words[SORA_SANDBOX_WORDS_SIZE] = "";
    struct sora_fault fault = {0};
    int rc = sora_sandbox_enter(&params, words, &fault);
    if (rc == 0)
        return strstr(words, "landlock") ? __LINE__ : SKIPPED;
    EXPECT(rc == SORA_E_NOT_FOUND);
    EXPECT(strstr(fault.text, "/nonexistent/folder"));
    params = (struct sora_sandbox_params){.readable = folders, .readable_count = 1};
    EXPECT(sora_sandbox_enter(&params, words, &fault) == 0); /* the other folders are of use */
    return 0;
}

static int probe_too_many_folders(void)
{
    const struct sora_sandbox_params params = {.writable_count = SORA_SANDBOX_FOLDERS_MAX + 1};
    char words[SORA_SANDBOX_WORDS_SIZE] = "";
    EXPECT(sora_sandbox_enter(&params, words, NULL) == SORA_E_LIMIT);
    return 0;
}

#define SANDBOX_TEST(name, layer)                                                                  \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check(probe_##name, layer);                                                                \
    }
SANDBOX_TEST(files, "landlock")
SANDBOX_TEST(writing, "landlock")
SANDBOX_TEST(network, "seccomp")
SANDBOX_TEST(old_socket, "seccomp")
SANDBOX_TEST(kernel, "seccomp")
SANDBOX_TEST(rlimits, "rlimits")
SANDBOX_TEST(work, "sandbox")
SANDBOX_TEST(libraries, "landlock")
SANDBOX_TEST(missing_folder, "landlock")
SANDBOX_TEST(too_many_folders, "sandbox")

static void write_text(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("something\n", file);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    if (scratch_setup(state))
        return -1;
    snprintf(readable, sizeof(readable), "%s/readable", scratch_dir);
    snprintf(writable, sizeof(writable), "%s/writable", scratch_dir);
    snprintf(outside, sizeof(outside), "%s/outside", scratch_dir);
    snprintf(library, sizeof(library), "%s/library", scratch_dir);
    if (mkdir(readable, 0700) || mkdir(writable, 0700) || mkdir(library, 0700))
        return -1;
    write_text(outside);
    write_text(scratch_path("readable/weights"));
    write_text(scratch_path("library/data"));
    scratch_copy(SORA_FAKE_GPU_BLAS, scratch_path("readable/products"));
    return symlink("../readable/products", scratch_path("library/libproducts.so"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files),          cmocka_unit_test(writing),
        cmocka_unit_test(network),        cmocka_unit_test(old_socket),
        cmocka_unit_test(kernel),         cmocka_unit_test(rlimits),
        cmocka_unit_test(work),           cmocka_unit_test(libraries),
        cmocka_unit_test(missing_folder), cmocka_unit_test(too_many_folders),
    };
    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
