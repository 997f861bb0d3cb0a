/* Monotonic time and the wall clock. Any thread; nothing blocks. */
#ifndef SORA_BASE_CLOCK_H
#define SORA_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of the monotonic clock. */
typedef int64_t sora_time;

#define SORA_TIME_SECOND ((sora_time)1000000000)

sora_time sora_clock_now(void);

/* Milliseconds since 1970, UTC. Steps when the clock is set: for dates, not for durations. */
uint64_t sora_clock_wall_ms(void);

#endif
