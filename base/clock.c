/* Monotonic time and the wall clock. */
#include "base/clock.h"

#include "base/error.h"

#include <time.h>

sora_time sora_clock_now(void)
{
    struct timespec now;
    SORA_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (sora_time)now.tv_sec * SORA_TIME_SECOND + now.tv_nsec;
}

uint64_t sora_clock_wall_ms(void)
{
    struct timespec now;
    SORA_ASSERT(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
