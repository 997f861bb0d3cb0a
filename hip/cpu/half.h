/* Conversions of f16, bf16 and e4m3 in integer arithmetic: exact one way, to nearest even the
 * other. Pure functions, any thread. */
#ifndef SORA_HIP_CPU_HALF_H
#define SORA_HIP_CPU_HALF_H

#include "hip/tensor.h"

#include <string.h>

static inline uint32_t sora_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float sora_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline float sora_f32_from_bf16(uint16_t bits)
{
    return sora_f32_from_bits((uint32_t)bits << 16);
}

/* NaN stays a (quiet) NaN. */
static inline uint16_t sora_bf16_from_f32(float value)
{
    uint32_t bits = sora_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float sora_f32_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) /* infinity, and NaN made quiet */
        return sora_f32_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13 |
                                  (magnitude > 0x7c00u ? 0x400000u : 0u));
    if (magnitude < 0x400u) /* zero and subnormal: a multiple of 2^-24 */
        return sora_f32_from_bits(sign | sora_f32_bits((float)magnitude * 0x1p-24f));
    return sora_f32_from_bits(sign | ((magnitude << 13) + (112u << 23)));
}

/* Overflow gives infinity; NaN stays a NaN. */
static inline uint16_t sora_f16_from_f32(float value)
{
    uint32_t bits = sora_f32_bits(value);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: let the adder round to a multiple of 2^-24 */
        uint32_t sum = sora_f32_bits(sora_f32_from_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1u;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfffu + odd) >> 13));
}

/* Of the codes 0x7f and 0xff, which are NaN, it makes 480. */
static inline float sora_f32_from_f8(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, magnitude = code & 0x7fu;
    if (magnitude < 8u) /* zero and subnormal: a multiple of 2^-9 */
        return sora_f32_from_bits(sign | sora_f32_bits((float)magnitude * 0x1p-9f));
    return sora_f32_from_bits(sign | ((magnitude << 20) + (120u << 23)));
}

/* What is above 448 becomes 448, what rounds to zero +0: the codes of NaN and -0 never occur. */
static inline uint8_t sora_f8_from_f32(float value)
{
    uint32_t bits = sora_f32_bits(value), magnitude = bits & 0x7fffffffu, code;
    if (magnitude >= 0x43e00000u) { /* 448 */
        code = 0x7eu;
    } else if (magnitude < 0x3c800000u) { /* below 2^-6: let the adder round to multiples of 2^-9 */
        code = sora_f32_bits(sora_f32_from_bits(magnitude) + 0x1p14f) - 0x46800000u;
    } else {
        uint32_t odd = (magnitude >> 20) & 1u;
        code = (magnitude - (120u << 23) + 0x7ffffu + odd) >> 20;
    }
    return (uint8_t)(code ? code | (bits >> 24 & 0x80u) : 0);
}

/* Element `index` of an f32, f16 or bf16 array. */
static inline float sora_float_load(const void *data, enum sora_dtype dtype, int64_t index)
{
    if (dtype == SORA_DTYPE_F32)
        return ((const float *)data)[index];
    uint16_t bits = ((const uint16_t *)data)[index];
    return dtype == SORA_DTYPE_F16 ? sora_f32_from_f16(bits) : sora_f32_from_bf16(bits);
}

static inline void sora_float_store(void *data, enum sora_dtype dtype, int64_t index, float value)
{
    if (dtype == SORA_DTYPE_F32)
        ((float *)data)[index] = value;
    else
        ((uint16_t *)data)[index] =
            dtype == SORA_DTYPE_F16 ? sora_f16_from_f32(value) : sora_bf16_from_f32(value);
}

#endif
