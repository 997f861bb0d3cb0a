/* The vectors of simd.h with AVX2, FMA and F16C. Include simd.h, which explains the names.
 */
#ifndef SORA_HIP_CPU_FAST_SIMD_AVX2_H
#define SORA_HIP_CPU_FAST_SIMD_AVX2_H

#include "hip/cpu/half.h"

#ifdef SORA_SIMD_AVX2

#include <immintrin.h>

#define FAST(name) sora_avx2_##name
#define VF_LANES 8
#define TILE_ROWS 6 /* 6 x 2 sums, 2 weights and 2 broadcasts in 16 registers */

typedef __m256 vf;
typedef __m256i vi;

static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
static inline vi vf_first_mask(int count)
{
    const vi lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
}
static inline vf vf_load_first(const float *p, int count)
{
    return _mm256_maskload_ps(p, vf_first_mask(count));
}
static inline void vf_store_first(float *p, vf x, int count)
{
    _mm256_maskstore_ps(p, vf_first_mask(count), x);
}
static inline vf vf_first_or(vf x, vf y, int count)
{
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(vf_first_mask(count)));
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline float vf_sum(vf x)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
static inline float vf_greatest(vf x)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
static inline vf vf_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* In two steps, so that n from -252 to 254 stays in the exponent's range. */
static inline vf vf_scale(vf x, vf n)
{
    n = _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-252.0f)), _mm256_set1_ps(254.0f));
    vi whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    vi bias = _mm256_set1_epi32(127), rest = _mm256_sub_epi32(whole, half);
    vf first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vf second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(x, first), second);
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    vi bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
/* Whole numbers of 0..65535 in 32-bit lanes, as 16-bit lanes in order. */
static inline __m128i vi_narrow(vi x)
{
    x = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0xd8);
    return _mm256_castsi256_si128(x);
}
static inline void vf_store_bf16(uint16_t *p, vf x)
{
    vi bits = _mm256_castps_si256(x);
    vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    vi sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    vi quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    vi nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    sum = _mm256_blendv_epi8(sum, quiet, nan);
    _mm_storeu_si128((__m128i *)p, vi_narrow(_mm256_srli_epi32(sum, 16)));
}
static inline vf vf_swap_pairs(vf x)
{
    return _mm256_permute_ps(x, 0xb1);
}
static inline vf vf_fmaddsub(vf a, vf b, vf c)
{
    return _mm256_fmaddsub_ps(a, b, c);
}
static inline vf vf_load_doubled(const float *p)
{
    const vi index = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}
static inline void vf_store_u8(uint8_t *p, vf x)
{
    __m128i words = vi_narrow(_mm256_cvtps_epi32(x));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}
static inline bool vf_any_infinite(vf x)
{
    vi exponent = _mm256_set1_epi32(0x7f800000);
    vi bits = _mm256_and_si256(_mm256_castps_si256(x), exponent);
    return !_mm256_testz_si256(_mm256_cmpeq_epi32(bits, exponent), exponent);
}

#endif

#endif
