/*
 * Vectors of the fast paths: one set of names for AVX-512 (16 floats) and AVX2 with FMA (8 floats).
 *
 * The files of this folder are compiled once per instruction set, with SORA_SIMD_AVX512 or
 * SORA_SIMD_AVX2 defined; FAST(name) gives each build its own symbols. Inline functions here are
 * static, so that no code of a wider set leaks into another object file.
 */
#ifndef SORA_HIP_CPU_FAST_SIMD_H
#define SORA_HIP_CPU_FAST_SIMD_H

#include "hip/cpu/half.h"

#include <immintrin.h>

/* Before a loop of constant length (at most 16) whose arrays must live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(SORA_SIMD_AVX512)

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

#elif defined(SORA_SIMD_AVX2)

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

#else
#error "compile this folder with SORA_SIMD_AVX512 or SORA_SIMD_AVX2"
#endif

#define PANEL (2 * VF_LANES) /* columns of one packed panel */

/* VF_LANES elements of a vector of weights in any of its types, from element `index`. */
static inline vf vf_load_float(const void *data, enum sora_dtype dtype, int64_t index)
{
    if (dtype == SORA_DTYPE_F32)
        return vf_load((const float *)data + index);
    const uint16_t *half = (const uint16_t *)data + index;
    return dtype == SORA_DTYPE_F16 ? vf_load_f16(half) : vf_load_bf16(half);
}

/* The same for `count` elements (0..VF_LANES); the others are 0. */
static inline vf vf_load_float_first(const void *data, enum sora_dtype dtype, int64_t index,
                                     int count)
{
    if (count == VF_LANES)
        return vf_load_float(data, dtype, index);
    if (dtype == SORA_DTYPE_F32)
        return vf_load_first((const float *)data + index, count);
    uint16_t padded[VF_LANES] = {0};
    memcpy(padded, (const uint16_t *)data + index, (size_t)count * sizeof(padded[0]));
    return vf_load_float(padded, dtype, 0);
}

#endif
