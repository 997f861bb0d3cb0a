/*
 * Log lines: a fixed short text, then key=value pairs with ids and units.
 *
 * One process-wide sink, stderr by default. Any thread may call; a line is written with one write.
 * Never pass a secret or a raw peer string.
 */
#ifndef SORA_BASE_LOG_H
#define SORA_BASE_LOG_H

#include <stddef.h>

enum sora_log_level {
    SORA_LOG_ERROR, /* work lost or a person needed */
    SORA_LOG_WARN,  /* handled, and how */
    SORA_LOG_INFO,  /* life cycle */
    SORA_LOG_DEBUG, /* the rest */
};

/* Lines above `level` are dropped. The default is SORA_LOG_INFO. */
void sora_log_set_level(enum sora_log_level level);
enum sora_log_level sora_log_level_get(void);

/* A second receiver of every line that is written, without its newline; NULL for none. It is called
 * by whichever thread logs, one call at a time, must not log itself, and is gone when this call
 * that replaces it returns. */
typedef void (*sora_log_sink)(void *context, const char *line, size_t length);
void sora_log_set_sink(sora_log_sink sink, void *context);

/* Formats and writes one line, cut at 1,024 bytes, control characters replaced. */
void sora_log(enum sora_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
