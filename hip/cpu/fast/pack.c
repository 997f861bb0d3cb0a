/* Panels are packed in square blocks of VF_LANES rows and elements, transposed in registers. */
#include "hip/cpu/fast/pack.h"

#include "hip/cpu/internal.h"

#if defined(SORA_SIMD_AVX512)

static inline __m512 pair_low(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

static inline __m512 pair_high(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* First 4x4 blocks inside the 128-bit lanes, then the lanes themselves. */
static inline __attribute__((always_inline)) void transpose(vf rows[VF_LANES])
{
    vf quads[16];
    UNROLL for (int q = 0; q < 16; q += 4)
    {
        vf low0 = _mm512_unpacklo_ps(rows[q], rows[q + 1]);
        vf high0 = _mm512_unpackhi_ps(rows[q], rows[q + 1]);
        vf low1 = _mm512_unpacklo_ps(rows[q + 2], rows[q + 3]);
        vf high1 = _mm512_unpackhi_ps(rows[q + 2], rows[q + 3]);
        quads[q] = pair_low(low0, low1);
        quads[q + 1] = pair_high(low0, low1);
        quads[q + 2] = pair_low(high0, high1);
        quads[q + 3] = pair_high(high0, high1);
    }
    UNROLL for (int c = 0; c < 4; c++)
    {
        vf even0 = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0x88);
        vf even1 = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0x88);
        vf odd0 = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0xdd);
        vf odd1 = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0xdd);
        rows[c] = _mm512_shuffle_f32x4(even0, even1, 0x88);
        rows[4 + c] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
        rows[8 + c] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
        rows[12 + c] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
    }
}

#else

static inline __attribute__((always_inline)) void transpose(vf rows[VF_LANES])
{
    vf quads[8];
    UNROLL for (int q = 0; q < 8; q += 4)
    {
        vf low0 = _mm256_unpacklo_ps(rows[q], rows[q + 1]);
        vf high0 = _mm256_unpackhi_ps(rows[q], rows[q + 1]);
        vf low1 = _mm256_unpacklo_ps(rows[q + 2], rows[q + 3]);
        vf high1 = _mm256_unpackhi_ps(rows[q + 2], rows[q + 3]);
        quads[q] = _mm256_shuffle_ps(low0, low1, 0x44);
        quads[q + 1] = _mm256_shuffle_ps(low0, low1, 0xee);
        quads[q + 2] = _mm256_shuffle_ps(high0, high1, 0x44);
        quads[q + 3] = _mm256_shuffle_ps(high0, high1, 0xee);
    }
    UNROLL for (int c = 0; c < 4; c++)
    {
        rows[c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x20);
        rows[4 + c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x31);
    }
}

#endif

static inline __attribute__((always_inline)) void block_full(const struct fast_source *source,
                                                             const enum sora_dtype dtype,
                                                             int64_t at, int64_t out_stride,
                                                             float *out)
{
    vf rows[VF_LANES];
    UNROLL for (int j = 0; j < VF_LANES; j++) rows[j] =
        vf_load_float(source->data, dtype, at + j * source->stride);
    transpose(rows);
    UNROLL for (int k = 0; k < VF_LANES; k++) vf_store(out + k * out_stride, rows[k]);
}

/* A block with fewer than VF_LANES rows or elements; rows may be 0 or less. */
static void block_edge(const struct fast_source *source, int rows_valid, int elements, int64_t at,
                       int64_t out_stride, float *out)
{
    vf rows[VF_LANES];
    for (int j = 0; j < VF_LANES; j++)
        rows[j] = j < rows_valid ? vf_load_float_first(source->data, source->dtype,
                                                       at + j * source->stride, elements)
                                 : vf_zero();
    transpose(rows);
    for (int k = 0; k < elements; k++)
        vf_store(out + k * out_stride, rows[k]);
}

/* One vector of columns; dtype is a constant at each call. */
static inline __attribute__((always_inline)) void column_pack(const struct fast_source *source,
                                                              const enum sora_dtype dtype, int rows,
                                                              int64_t first, int64_t depth,
                                                              int64_t out_stride, float *out)
{
    int64_t k = 0;
    for (; rows >= VF_LANES && k + VF_LANES <= depth; k += VF_LANES)
        block_full(source, dtype, first + k, out_stride, out + k * out_stride);
    for (; k < depth; k += VF_LANES)
        block_edge(source, rows, (int)sora_cpu_min(VF_LANES, depth - k), first + k, out_stride,
                   out + k * out_stride);
}

void FAST(pack_rows)(const struct fast_source *source, int rows, int64_t depth, int vectors,
                     float *out)
{
    int64_t out_stride = (int64_t)vectors * VF_LANES;
    for (int v = 0; v < vectors; v++) {
        int64_t first = source->offset + v * VF_LANES * source->stride;
        int left = rows - v * VF_LANES;
        float *to = out + v * VF_LANES;
        if (source->dtype == SORA_DTYPE_F32)
            column_pack(source, SORA_DTYPE_F32, left, first, depth, out_stride, to);
        else if (source->dtype == SORA_DTYPE_F16)
            column_pack(source, SORA_DTYPE_F16, left, first, depth, out_stride, to);
        else
            column_pack(source, SORA_DTYPE_BF16, left, first, depth, out_stride, to);
    }
}
