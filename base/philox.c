/*
 * Philox4x32-10 and normal variates made of fixed IEEE double operations.
 *
 * Work goes in batches of BATCH_BLOCKS blocks held in arrays by lane, and every loop over a batch
 * is free of branches, so that a compiler may vectorise it without changing a bit: additions,
 * multiplications, divisions and square roots are correctly rounded and are never contracted
 * (-ffp-contract=off in cmake/options.cmake).
 */
#include "base/philox.h"

#include <math.h>
#include <string.h>

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

#define BATCH_BLOCKS 64

static inline void philox_rounds(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c[0];
        uint64_t p1 = (uint64_t)PHILOX_M1 * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0;
        c[1] = (uint32_t)p1;
        c[2] = n2;
        c[3] = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

void sora_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out_block[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    philox_rounds(c, key[0], key[1]);
    memcpy(out_block, c, sizeof(c));
}

static inline uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* ln x for a normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt 2), ln m = 2 atanh((m-1)/(m+1)) by
 * its series, whose argument is below 0.1716, so the first term left out is below 1e-17. */
static inline double log_of(double x)
{
    const uint64_t offset = 0x3FE6A09E667F3BCDull; /* sqrt(1/2) */
    uint64_t bits = bits_of(x);
    uint64_t exponent_bits = (bits - offset) & 0xFFF0000000000000ull;
    double m = double_of(bits - exponent_bits);
    /* The biased sum keeps the shift unsigned; 2^52 + n is n in the low bits of a double. */
    uint64_t biased = (exponent_bits + 0x4000000000000000ull) >> 52;
    double e = double_of(biased | 0x4330000000000000ull) - (0x1p52 + 1024.0);
    double f = (m - 1.0) / (m + 1.0);
    double s = f * f;
    double sum = 1.0 / 21.0;
    sum = sum * s + 1.0 / 19.0;
    sum = sum * s + 1.0 / 17.0;
    sum = sum * s + 1.0 / 15.0;
    sum = sum * s + 1.0 / 13.0;
    sum = sum * s + 1.0 / 11.0;
    sum = sum * s + 1.0 / 9.0;
    sum = sum * s + 1.0 / 7.0;
    sum = sum * s + 1.0 / 5.0;
    sum = sum * s + 1.0 / 3.0;
    return 2.0 * (f + f * s * sum) + e * 0.69314718055994530942;
}

/* Cosine and sine of 2 pi r / 2^32. The turn is reduced to [-1/8, 1/8] in integers, so the
 * reduction is exact, and the Taylor series of the rest end below 1e-15. */
static inline void cos_sin_of(uint32_t r, double *out_cos, double *out_sin)
{
    uint32_t quadrant = (r + 0x20000000u) >> 30;
    int32_t rest = (int32_t)(r - (quadrant << 30));
    double t = (double)rest * (6.28318530717958647693 * 0x1p-32);
    double s = t * t;
    double sine = -1.0 / 1307674368000.0;
    sine = sine * s + 1.0 / 6227020800.0;
    sine = sine * s - 1.0 / 39916800.0;
    sine = sine * s + 1.0 / 362880.0;
    sine = sine * s - 1.0 / 5040.0;
    sine = sine * s + 1.0 / 120.0;
    sine = sine * s - 1.0 / 6.0;
    sine = t + t * s * sine;
    double cosine = 1.0 / 20922789888000.0;
    cosine = cosine * s - 1.0 / 87178291200.0;
    cosine = cosine * s + 1.0 / 479001600.0;
    cosine = cosine * s - 1.0 / 3628800.0;
    cosine = cosine * s + 1.0 / 40320.0;
    cosine = cosine * s - 1.0 / 720.0;
    cosine = cosine * s + 1.0 / 24.0;
    cosine = cosine * s - 0.5;
    cosine = 1.0 + s * cosine;
    double c = quadrant & 1 ? sine : cosine;
    double n = quadrant & 1 ? cosine : sine;
    *out_cos = (quadrant + 1) & 2 ? -c : c;
    *out_sin = quadrant & 2 ? -n : n;
}

/* Box-Muller on pairs of 32-bit numbers: the radius from (r0 + 1/2) / 2^32, the angle from r1. */
static void normals_of_pairs(const uint32_t *radius_bits, const uint32_t *angle_bits, int count,
                             float *out_cos, float *out_sin)
{
    for (int i = 0; i < count; i++) {
        double u = ((double)radius_bits[i] + 0.5) * 0x1p-32;
        double radius = sqrt(-2.0 * log_of(u));
        double c, s;
        cos_sin_of(angle_bits[i], &c, &s);
        out_cos[i] = (float)(radius * c);
        out_sin[i] = (float)(radius * s);
    }
}

/* All four lanes of `count` blocks from `block` on, block after block. */
static void normal_blocks(const struct sora_noise_key *key, uint64_t block, int count, float *out)
{
    uint32_t lanes[4][BATCH_BLOCKS];
    float values[4][BATCH_BLOCKS];
    uint32_t k0 = (uint32_t)key->seed, k1 = (uint32_t)(key->seed >> 32);
    for (int i = 0; i < count; i++) {
        uint64_t number = block + (uint64_t)i;
        uint32_t c[4] = {(uint32_t)number, (uint32_t)(number >> 32) | SORA_PHILOX_PURPOSE_NORMAL,
                         key->latent, key->shot};
        philox_rounds(c, k0, k1);
        for (int lane = 0; lane < 4; lane++)
            lanes[lane][i] = c[lane];
    }
    normals_of_pairs(lanes[0], lanes[1], count, values[0], values[1]);
    normals_of_pairs(lanes[2], lanes[3], count, values[2], values[3]);
    for (int i = 0; i < count; i++) {
        for (int lane = 0; lane < 4; lane++)
            out[4 * i + lane] = values[lane][i];
    }
}

void sora_noise_normal(const struct sora_noise_key *key, uint64_t first, size_t count,
                       float *out_values)
{
    float batch[4 * BATCH_BLOCKS];
    while (count > 0) {
        size_t skip = first % 4;
        size_t take = 4 * BATCH_BLOCKS - skip < count ? 4 * BATCH_BLOCKS - skip : count;
        normal_blocks(key, first / 4, (int)((skip + take + 3) / 4), batch);
        memcpy(out_values, batch + skip, take * sizeof(batch[0]));
        first += take;
        out_values += take;
        count -= take;
    }
}

void sora_noise_shuffle(const struct sora_noise_key *key, int32_t count, int32_t *out_order)
{
    uint32_t k[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
    for (int32_t i = 0; i < count; i++)
        out_order[i] = i;
    for (int32_t i = count - 1; i > 0; i--) {
        uint32_t c[4] = {(uint32_t)i, SORA_PHILOX_PURPOSE_SHUFFLE, key->latent, key->shot};
        uint32_t r[4];
        sora_philox_block(c, k, r);
        /* Multiply-shift onto [0, i]: the bias, below 2^-21 here, is the same everywhere. */
        int32_t j = (int32_t)(((uint64_t)r[0] * ((uint32_t)i + 1)) >> 32);
        int32_t swap = out_order[i];
        out_order[i] = out_order[j];
        out_order[j] = swap;
    }
}
