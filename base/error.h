/*
 * The one table of error codes, and the fault: an error code with a sentence for a person.
 *
 * Every function that can fail returns 0 or a negative SORA_E_*. Functions that meet bytes, files
 * or options from outside take a `struct sora_fault *` as their last argument and write there what
 * was wrong, the value, the limit and the way out. Nothing here allocates or blocks; any thread may
 * call.
 */
#ifndef SORA_BASE_ERROR_H
#define SORA_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, value, text, retry): retry tells whether the same call may succeed later. */
#define SORA_ERROR_TABLE(X)                                                                        \
    X(INVALID, -1, "invalid argument", false)                                                      \
    X(NOT_FOUND, -2, "not found", false)                                                           \
    X(FORMAT, -3, "malformed data", false)                                                         \
    X(UNSUPPORTED, -4, "not supported", false)                                                     \
    X(LIMIT, -5, "limit exceeded", false)                                                          \
    X(MEMORY, -6, "out of memory", true)                                                           \
    X(DEVICE, -7, "device failed", true)                                                           \
    X(IO, -8, "input or output failed", true)                                                      \
    X(SPACE, -9, "no space left", true)                                                            \
    X(FULL, -10, "bounded container is full", true)                                                \
    X(CANCELLED, -11, "cancelled", false)                                                          \
    X(NUMERIC, -12, "result is not a finite number", false)                                        \
    X(DENIED, -13, "permission denied", false)                                                     \
    X(BUSY, -14, "busy", true)                                                                     \
    X(TIMEOUT, -15, "timed out", true)                                                             \
    X(STALE, -16, "superseded by a newer epoch", false)                                            \
    X(INTERNAL, -17, "internal error", false)

enum sora_error {
    SORA_OK = 0,
#define SORA_ERROR_ENUM(name, value, text, retry) SORA_E_##name = value,
    SORA_ERROR_TABLE(SORA_ERROR_ENUM)
#undef SORA_ERROR_ENUM
};

/* The code's short text, "ok" for 0, "unknown error" for a value outside the table. */
const char *sora_error_text(int code);

/* The code's name without prefix ("NOT_FOUND"), for logs and --json. */
const char *sora_error_name(int code);

/* Whether trying again later can help. */
bool sora_error_retry(int code);

/* Whether the input is to blame, and not the moment: INVALID, NOT_FOUND, FORMAT, UNSUPPORTED,
 * LIMIT, DENIED. The same work on the same files ends the same way. */
bool sora_error_of_input(int code);

/* Process exit status for a command that ended with `code`: 0 done, 2 bad input (INVALID,
 * NOT_FOUND, FORMAT, UNSUPPORTED, LIMIT), 3 DENIED, 130 CANCELLED, 1 anything else. */
int sora_error_exit_status(int code);

#define SORA_FAULT_TEXT_SIZE 512

/* An error for a person. All-zero means no error. */
struct sora_fault {
    int code;
    char text[SORA_FAULT_TEXT_SIZE];
};

/* Writes code and the formatted sentence (cut at the size; control characters of untrusted
 * arguments replaced by '?') unless `fault` is NULL or already holds an error: the first, innermost
 * sentence wins. Returns `code`, so that callers write `return sora_fault_set(...)`. */
int sora_fault_set(struct sora_fault *fault, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct sora_bound {
    const char *name;
    int64_t value, min, max; /* inclusive */
};
/* INVALID for the first value outside its bounds: "`of`: NAME is VALUE; it must be MIN to MAX". */
int sora_fault_bounds(const char *of, const struct sora_bound *bounds, size_t count,
                      struct sora_fault *fault);

/* Translates an errno value (ENOENT to NOT_FOUND, EACCES/EPERM to DENIED, ENOSPC/EDQUOT to SPACE,
 * ENOMEM to MEMORY, the rest to IO). */
int sora_error_from_errno(int errno_value);

/* Our own mistakes end the process with a line on stderr; stays on in release builds. */
#define SORA_ASSERT(condition)                                                                     \
    ((condition) ? (void)0 : sora_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void sora_assert_failed(const char *condition, const char *file, int line);

#endif
