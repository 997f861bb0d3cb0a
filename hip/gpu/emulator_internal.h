/* What the emulator's files share: a lane and what it waits with. Operands point to the lane's own
 * stack and are valid while it is parked. */
#ifndef SORA_HIP_GPU_EMULATOR_INTERNAL_H
#define SORA_HIP_GPU_EMULATOR_INTERNAL_H

#include "hip/gpu/emulator_device.h"
#include "hip/gpu/fiber.h"

struct sora_emulator_copy {
    void *to;
    unsigned char bytes[16];
};

struct sora_emulator_lane {
    struct sora_fiber fiber;
    enum sora_emulator_operation operation;
    const char *place;
    int detail;          /* shuffle: source lane; matrix load: transposed; product: bf16 */
    uint32_t *words;     /* shuffle: the value; matrix load: four results */
    const uint16_t *row; /* matrix load */
    float *sums;         /* product */
    const uint32_t *a, *b;
    struct sora_emulator_copy *copies; /* owned; asynchronous, not yet waited for */
    int copy_count, copy_capacity;
};

/* Does the operation that all `wave` lanes are parked with. NULL, or the rule that was broken. */
const char *sora_emulator_wave_do(struct sora_emulator_lane *lanes, int wave);

#endif
