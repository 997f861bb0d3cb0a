/* The vectors of simd.h with AVX-512 F, BW, DQ and VL. Include simd.h, which explains the names.
 */
#ifndef SORA_HIP_CPU_FAST_SIMD_AVX512_H
#define SORA_HIP_CPU_FAST_SIMD_AVX512_H

#include "hip/cpu/half.h"

#ifdef SORA_SIMD_AVX512

#include <immintrin.h>

#define FAST(name) sora_avx512_##name
#define VF_LANES 16
#define TILE_ROWS 14 /* 14 x 2 sums, 2 weights and the rest for broadcasts in 32 registers */

typedef __m512 vf;
typedef __m512i vi;

static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
/* The first `count` (0..VF_LANES) elements; the others are 0, or are not written. */
static inline vf vf_load_first(const float *p, int count)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
}
static inline void vf_store_first(float *p, vf x, int count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), x);
}
/* The first `count` elements of x, the others of y. */
static inline vf vf_first_or(vf x, vf y, int count)
{
    return _mm512_mask_mov_ps(y, (__mmask16)((1u << count) - 1u), x);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* c - a*b */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
/* Greatest and smallest; `b` where either is no number, so a NaN in `b` survives. */
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline float vf_sum(vf x)
{
    return _mm512_reduce_add_ps(x);
}
static inline float vf_greatest(vf x)
{
    return _mm512_reduce_max_ps(x);
}
static inline vf vf_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x * 2^n for whole n; saturates to 0 and infinity. */
static inline vf vf_scale(vf x, vf n)
{
    return _mm512_scalef_ps(x, n);
}
/* VF_LANES elements of f16 or bf16, widened. */
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline void vf_store_bf16(uint16_t *p, vf x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    sum = _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(sum, 16)));
}
/* Pairs (a,b) of interleaved elements become (b,a). */
static inline vf vf_swap_pairs(vf x)
{
    return _mm512_permute_ps(x, 0xb1);
}
/* a*b - c in even lanes, a*b + c in odd lanes. */
static inline vf vf_fmaddsub(vf a, vf b, vf c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}
/* The first VF_LANES/2 elements at p, each twice. */
static inline vf vf_load_doubled(const float *p)
{
    __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
/* VF_LANES bytes from whole numbers in 0..255. */
static inline void vf_store_u8(uint8_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
/* Whether an element is infinite or no number. */
static inline bool vf_any_infinite(vf x)
{
    return _mm512_fpclass_ps_mask(x, 0x99) != 0; /* quiet and signalling NaN, both infinities */
}

#endif

#endif
