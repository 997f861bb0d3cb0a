/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011) and standard normal variates from it.
 *
 * A number depends on its key and counter alone, so any peer can make any latent's noise and work
 * that is done twice gives the same bits. The normal variates use this project's own logarithm and
 * sine (fixed float64 operations, no libm), so they are the same bits on every machine with IEEE
 * arithmetic. Pure functions, any thread; nothing allocates or blocks.
 */
#ifndef SORA_BASE_PHILOX_H
#define SORA_BASE_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* One block: 4 x 32 bits from a 128-bit counter and a 64-bit key. */
void sora_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out_block[4]);

/* Counter word 1 is shared by the block number's high part, 24 bits, and by what the numbers are
 * for, so that streams of different purpose never meet. */
#define SORA_PHILOX_PURPOSE_NORMAL 0x01000000u
#define SORA_PHILOX_PURPOSE_SHUFFLE 0x02000000u

/* Names a stream of normal variates. Elements of one stream are numbered from 0. */
struct sora_noise_key {
    uint64_t seed; /* the job's seed: the Philox key, low word first */
    uint32_t shot; /* shot index within the job */
    uint32_t
        latent; /* latent index within the shot; SORA_NOISE_COMMON is the shot's common frame */
};
#define SORA_NOISE_COMMON UINT32_MAX

/* Writes elements [first, first+count) of the stream: standard normal float32 by Box-Muller, four
 * variates a block; element e is lane e%4 of block e/4. Lanes 0 and 1 are radius times cosine and
 * sine from the block's words 0 (radius) and 1 (angle), lanes 2 and 3 the same from words 2 and 3.
 * Counter words: e/4 low, e/4 high | purpose, latent, shot. first+count <= 2^58. The largest
 * magnitude is sqrt(2 ln 2^33) = 6.76. */
void sora_noise_normal(const struct sora_noise_key *key, uint64_t first, size_t count,
                       float *out_values);

/* Writes a permutation of 0..count-1 (Fisher-Yates), count >= 1; the key's latent numbers the
 * permutation. */
void sora_noise_shuffle(const struct sora_noise_key *key, int32_t count, int32_t *out_order);

#endif
