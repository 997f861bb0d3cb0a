/* Monotonic time. Any thread; nothing blocks. */
#ifndef SORA_BASE_CLOCK_H
#define SORA_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of the monotonic clock. */
typedef int64_t sora_time;

#define SORA_TIME_SECOND ((sora_time)1000000000)

sora_time sora_clock_now(void);

#endif
