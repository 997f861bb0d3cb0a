/*
 * Log lines: a fixed short text, then key=value pairs with ids and units.
 *
 * One process-wide sink, stderr by default. Any thread may call; a line is written with one write.
 * Never pass a secret or a raw peer string.
 */
#ifndef SORA_BASE_LOG_H
#define SORA_BASE_LOG_H

enum sora_log_level {
    SORA_LOG_ERROR, /* work lost or a person needed */
    SORA_LOG_WARN,  /* handled, and how */
    SORA_LOG_INFO,  /* life cycle */
    SORA_LOG_DEBUG, /* the rest */
};

/* Lines above `level` are dropped. The default is SORA_LOG_INFO. */
void sora_log_set_level(enum sora_log_level level);
enum sora_log_level sora_log_level_get(void);

/* Formats and writes one line, cut at 1,024 bytes, control characters replaced. */
void sora_log(enum sora_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
