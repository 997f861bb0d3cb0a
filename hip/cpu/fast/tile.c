/*
 * The register tile. Rows are addressed from a base pointer per three rows and one stride, so that
 * the pointers fit in the general registers; compilers left alone keep one pointer per row and
 * spill them.
 */
#include "hip/cpu/fast/tile.h"

#include "base/error.h"

#define ROWS_PER_BASE 3
#define BASES ((TILE_ROWS + ROWS_PER_BASE - 1) / ROWS_PER_BASE)

static inline __attribute__((always_inline)) void
tile_sums(const int rows, const int vectors, const struct fast_tile *tile, vf sums[][2])
{
    const int bases = (rows + ROWS_PER_BASE - 1) / ROWS_PER_BASE;
    const float *b = tile->b;
    const int64_t stride = tile->row_stride;
    const float *ahead0 = tile->ahead[0] ? tile->ahead[0] : tile->a[0];
    const float *ahead1 = tile->ahead[1] ? tile->ahead[1] : ahead0;
    for (int s = 0; s < tile->segments; s++) {
        const float *base[BASES];
        UNROLL for (int g = 0; g < bases; g++)
        {
            base[g] = tile->a[s] + tile->a_offset + g * ROWS_PER_BASE * stride;
            __asm__("" : "+r"(base[g]));
        }
        for (int64_t k = 0; k < tile->depth; k++) {
            vf weights[2];
            UNROLL for (int v = 0; v < vectors; v++) weights[v] = vf_load(b + v * VF_LANES);
            UNROLL for (int r = 0; r < rows; r++)
            {
                vf x = vf_set(base[r / ROWS_PER_BASE][r % ROWS_PER_BASE * stride + k]);
                UNROLL for (int v = 0; v < vectors; v++) sums[r][v] =
                    vf_fma(x, weights[v], sums[r][v]);
            }
            _mm_prefetch((const char *)(ahead0 + k), _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead1 + k), _MM_HINT_T0);
            b += vectors * VF_LANES;
        }
    }
}

static inline __attribute__((always_inline)) void tile_run(const int rows, const int vectors,
                                                           const struct fast_tile *tile)
{
    vf sums[TILE_ROWS][2];
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = vf_zero();
    }
    tile_sums(rows, vectors, tile, sums);
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            float *c = tile->c + r * tile->c_stride + v * VF_LANES;
            vf_store(c, tile->add ? vf_add(vf_load(c), sums[r][v]) : sums[r][v]);
        }
    }
}

#define TILE_FUNCTION(rows)                                                                        \
    static void tile_##rows##_1(const struct fast_tile *tile)                                      \
    {                                                                                              \
        tile_run(rows, 1, tile);                                                                   \
    }                                                                                              \
    static void tile_##rows##_2(const struct fast_tile *tile)                                      \
    {                                                                                              \
        tile_run(rows, 2, tile);                                                                   \
    }
TILE_FUNCTION(1)
TILE_FUNCTION(2)
TILE_FUNCTION(3)
TILE_FUNCTION(4)
TILE_FUNCTION(5)
TILE_FUNCTION(6)
#if TILE_ROWS > 6
TILE_FUNCTION(7)
TILE_FUNCTION(8)
TILE_FUNCTION(9)
TILE_FUNCTION(10)
TILE_FUNCTION(11)
TILE_FUNCTION(12)
TILE_FUNCTION(13)
TILE_FUNCTION(14)
#endif

void FAST(tile)(int rows, int vectors, const struct fast_tile *tile)
{
    static void (*const functions[TILE_ROWS][2])(const struct fast_tile *) = {
        {tile_1_1, tile_1_2},
        {tile_2_1, tile_2_2},
        {tile_3_1, tile_3_2},
        {tile_4_1, tile_4_2},
        {tile_5_1, tile_5_2},
        {tile_6_1, tile_6_2},
#if TILE_ROWS > 6
        {tile_7_1, tile_7_2},
        {tile_8_1, tile_8_2},
        {tile_9_1, tile_9_2},
        {tile_10_1, tile_10_2},
        {tile_11_1, tile_11_2},
        {tile_12_1, tile_12_2},
        {tile_13_1, tile_13_2},
        {tile_14_1, tile_14_2},
#endif
    };
    functions[rows - 1][vectors - 1](tile);
}
