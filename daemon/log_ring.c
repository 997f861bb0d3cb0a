/* The last lines of the log, with the time of day in front of each. */
#include "daemon/log_ring.h"

#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char lines[SORA_LOG_RING_LINES][SORA_LOG_LINE_SIZE];
static size_t written; /* lines in all */

/* Not in the middle of a character. */
static size_t whole_length(const char *line, size_t length)
{
    while (length > 0 && ((unsigned char)line[length] & 0xc0) == 0x80)
        length--;
    return length;
}

static void keep_line(void *context, const char *line, size_t length)
{
    (void)context;
    struct timespec now;
    struct tm day;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &day);
    pthread_mutex_lock(&mutex);
    char *to = lines[written++ % SORA_LOG_RING_LINES];
    size_t stamp = strftime(to, SORA_LOG_LINE_SIZE, "%Y-%m-%dT%H:%M:%SZ ", &day);
    if (length > SORA_LOG_LINE_SIZE - 1 - stamp)
        length = whole_length(line, SORA_LOG_LINE_SIZE - 1 - stamp);
    memcpy(to + stamp, line, length);
    to[stamp + length] = '\0';
    pthread_mutex_unlock(&mutex);
}

void sora_log_ring_start(void)
{
    sora_log_set_sink(keep_line, NULL);
}

size_t sora_log_ring_read(char (*out_lines)[SORA_LOG_LINE_SIZE], size_t max)
{
    pthread_mutex_lock(&mutex);
    size_t count = written < SORA_LOG_RING_LINES ? written : SORA_LOG_RING_LINES;
    if (count > max)
        count = max;
    for (size_t i = 0; i < count; i++)
        memcpy(out_lines[i], lines[(written - count + i) % SORA_LOG_RING_LINES],
               SORA_LOG_LINE_SIZE);
    pthread_mutex_unlock(&mutex);
    return count;
}
