/* The error table and the fault text. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct error_row {
    int code;
    const char *name;
    const char *text;
    bool retry;
};

static const struct error_row error_rows[] = {
#define SORA_ERROR_ROW(name, value, text, retry) {value, #name, text, retry},
    SORA_ERROR_TABLE(SORA_ERROR_ROW)
#undef SORA_ERROR_ROW
};

static const struct error_row *error_find(int code)
{
    for (size_t i = 0; i < sizeof(error_rows) / sizeof(error_rows[0]); i++) {
        if (error_rows[i].code == code)
            return &error_rows[i];
    }
    return NULL;
}

int sora_fault_set(struct sora_fault *fault, int code, const char *format, ...)
{
    if (!fault || fault->code != 0)
        return code;
    fault->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault->text, sizeof(fault->text), format, arguments);
    va_end(arguments);
    for (char *c = fault->text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return code;
}

int sora_fault_bounds(const char *of, const struct sora_bound *bounds, size_t count,
                      struct sora_fault *fault)
{
    for (const struct sora_bound *bound = bounds; bound < bounds + count; bound++) {
        if (bound->value < bound->min || bound->value > bound->max)
            return sora_fault_set(fault, SORA_E_INVALID, "%s: %s is %lld; it must be %lld to %lld",
                                  of, bound->name, (long long)bound->value, (long long)bound->min,
                                  (long long)bound->max);
    }
    return SORA_OK;
}

const char *sora_error_text(int code)
{
    if (code == SORA_OK)
        return "ok";
    const struct error_row *row = error_find(code);
    return row ? row->text : "unknown error";
}

const char *sora_error_name(int code)
{
    if (code == SORA_OK)
        return "OK";
    const struct error_row *row = error_find(code);
    return row ? row->name : "UNKNOWN";
}

bool sora_error_retry(int code)
{
    const struct error_row *row = error_find(code);
    return row && row->retry;
}

bool sora_error_of_input(int code)
{
    int status = sora_error_exit_status(code);
    return status == 2 || status == 3;
}

int sora_error_exit_status(int code)
{
    switch (code) {
    case SORA_OK:
        return 0;
    case SORA_E_INVALID:
    case SORA_E_NOT_FOUND:
    case SORA_E_FORMAT:
    case SORA_E_UNSUPPORTED:
    case SORA_E_LIMIT:
        return 2;
    case SORA_E_DENIED:
        return 3;
    case SORA_E_CANCELLED:
        return 130;
    default:
        return 1;
    }
}

int sora_error_from_errno(int errno_value)
{
    switch (errno_value) {
    case 0:
        return SORA_OK;
    case ENOENT:
    case ENOTDIR:
        return SORA_E_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return SORA_E_DENIED;
    case ENOSPC:
    case EDQUOT:
        return SORA_E_SPACE;
    case ENOMEM:
        return SORA_E_MEMORY;
    default:
        return SORA_E_IO;
    }
}

void sora_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "sorafarm: internal error: %s:%d: assertion failed: %s\n", file, line,
            condition);
    abort();
}
