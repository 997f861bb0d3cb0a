/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011) and standard normal variates from it.
 *
 * A number depends on its key and counter alone, so any peer can make any latent's noise and work
 * that is done twice gives the same bits. The normal variates use this project's own logarithm and
 * sine (fixed float32/float64 operations, no libm), so they are the same bits on every machine with
 * IEEE arithmetic. Pure functions, any thread.
 */
#ifndef SORA_BASE_PHILOX_H
#define SORA_BASE_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* One block: 4 x 32 bits from a 128-bit counter and a 64-bit key. */
void sora_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out_block[4]);

/* Names a stream of normal variates. Elements of one stream are numbered from 0. */
struct sora_noise_key {
    uint64_t seed;   /* the job's seed: the Philox key */
    uint32_t shot;   /* shot index within the job */
    uint32_t latent; /* latent index within the shot; UINT32_MAX names the shot's common frame */
};

/* Writes elements [first, first+count) of the stream: standard normal float32 by Box-Muller, four
 * variates a block; element e is lane e%4 of block e/4. Counter words: e/4 low, e/4 high | purpose,
 * latent, shot. */
void sora_noise_normal(const struct sora_noise_key *key, uint64_t first, size_t count,
                       float *out_values);

#endif
