/*
 * Sensors: temperature and load of a card through librocm_smi64 or libnvidia-ml.
 *
 * Both libraries are optional. They are loaded at the first call and stay loaded; a missing one, a
 * failing one and a card that it does not know leave the values unknown and are no error. One
 * thread at a time. Blocks for milliseconds.
 */
#ifndef SORA_HIP_GPU_SENSORS_H
#define SORA_HIP_GPU_SENSORS_H

#include "hip/gpu/card.h"

/* Fills the card's temperature and load; `library` NULL means the vendor's usual names. */
void sora_gpu_sensors_read(const char *library, struct sora_gpu_card *card);

#endif
