/* Log lines to stderr: formatted into a bounded line, made printable, written with one write. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 1024 /* bytes of a line with its newline */

static atomic_int log_level = SORA_LOG_INFO;

static pthread_mutex_t sink_mutex = PTHREAD_MUTEX_INITIALIZER;
static sora_log_sink sink;
static void *sink_context;

void sora_log_set_sink(sora_log_sink new_sink, void *context)
{
    pthread_mutex_lock(&sink_mutex);
    sink = new_sink;
    sink_context = context;
    pthread_mutex_unlock(&sink_mutex);
}

void sora_log_set_level(enum sora_log_level level)
{
    atomic_store(&log_level, (int)level);
}

enum sora_log_level sora_log_level_get(void)
{
    return (enum sora_log_level)atomic_load(&log_level);
}

static const char *level_prefix(enum sora_log_level level)
{
    switch (level) {
    case SORA_LOG_ERROR:
        return "error: ";
    case SORA_LOG_WARN:
        return "warn: ";
    case SORA_LOG_INFO:
        return "info: ";
    case SORA_LOG_DEBUG:
        break;
    }
    return "debug: ";
}

/* A line that was cut must not end inside a UTF-8 sequence. */
static size_t utf8_whole_length(const char *line, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)line[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return length;
    unsigned char lead = (unsigned char)line[start - 1];
    size_t needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return length - (start - 1) < needed ? start - 1 : length;
}

static void line_write(const char *line, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, line, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* nobody is left to tell */
        line += written;
        length -= (size_t)written;
    }
}

void sora_log(enum sora_log_level level, const char *format, ...)
{
    if (level > sora_log_level_get())
        return;
    int errno_kept = errno;
    char line[LINE_SIZE];
    size_t prefix = (size_t)snprintf(line, sizeof(line), "%s", level_prefix(level));
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(line + prefix, sizeof(line) - prefix, format, arguments);
    va_end(arguments);
    size_t length = strlen(line);
    if (wanted < 0 || (size_t)wanted + prefix >= sizeof(line))
        length = utf8_whole_length(line, length);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    pthread_mutex_lock(&sink_mutex);
    if (sink)
        sink(sink_context, line, length);
    pthread_mutex_unlock(&sink_mutex);
    line[length++] = '\n'; /* vsnprintf left room for its NUL */
    line_write(line, length);
    errno = errno_kept;
}
