/* Monotonic time. */
#include "base/clock.h"

#include "base/error.h"

#include <time.h>

sora_time sora_clock_now(void)
{
    struct timespec now;
    SORA_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (sora_time)now.tv_sec * SORA_TIME_SECOND + now.tv_nsec;
}
