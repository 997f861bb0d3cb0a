/*
 * What a wave does at once. Matrix products gather the operands from the lanes' registers into
 * plain matrices by the layout tables of the units, multiply in f32, and scatter the sums back.
 *
 * Register layouts (lane l, 16-bit element e in order; C element e):
 *
 *   unit      A[row][k]                          B[k][col]                     C (row, col)
 *   m16n8k16  l/4+8(e/2%2), 2(l%4)+e%2+8(e/4)    2(l%4)+e%2+8(e/2), l/4        l/4+8(e/2),
 * 2(l%4)+e%2 mfma      l%16, 4(l/16)+e                    4(l/16)+e, l%16               4(l/16)+e,
 * l%16 wmma 11   l%16, e   (lanes 16-31 repeat)     e, l%16                       2e+l/16, l%16
 *   wmma 12   l%16, 8(l/16)+e                    8(l/16)+e, l%16               8(l/16)+e, l%16
 */
#include "hip/gpu/emulator_internal.h"

#include "hip/cpu/half.h"

#include <string.h>

struct place {
    int row, column;
};

/* One matrix unit: how many lanes, elements and columns, and where each element lies. */
struct unit {
    int wave, a_count, b_count, c_count, columns;
    struct place (*a)(int lane, int element);
    struct place (*b)(int lane, int element);
    struct place (*c)(int lane, int element);
};

float sora_emulator_f32_from_f16(uint16_t bits)
{
    return sora_f32_from_f16(bits);
}

uint16_t sora_emulator_f16_from_f32(float value)
{
    return sora_f16_from_f32(value);
}

static struct place nvidia_a(int l, int e)
{
    return (struct place){l / 4 + 8 * (e / 2 % 2), 2 * (l % 4) + e % 2 + 8 * (e / 4)};
}

static struct place nvidia_b(int l, int e)
{
    return (struct place){2 * (l % 4) + e % 2 + 8 * (e / 2), l / 4};
}

static struct place nvidia_c(int l, int e)
{
    return (struct place){l / 4 + 8 * (e / 2), 2 * (l % 4) + e % 2};
}

static struct place cdna_a(int l, int e)
{
    return (struct place){l % 16, 4 * (l / 16) + e};
}

static struct place cdna_b(int l, int e)
{
    return (struct place){4 * (l / 16) + e, l % 16};
}

static struct place rdna3_a(int l, int e)
{
    return (struct place){l % 16, e};
}

static struct place rdna3_b(int l, int e)
{
    return (struct place){e, l % 16};
}

static struct place rdna3_c(int l, int e)
{
    return (struct place){2 * e + l / 16, l % 16};
}

static struct place rdna4_a(int l, int e)
{
    return (struct place){l % 16, 8 * (l / 16) + e};
}

static struct place rdna4_b(int l, int e)
{
    return (struct place){8 * (l / 16) + e, l % 16};
}

static const struct unit units[] = {
    {32, 8, 4, 4, 8, nvidia_a, nvidia_b, nvidia_c},
    {64, 4, 4, 4, 16, cdna_a, cdna_b, cdna_b},
    {32, 16, 16, 8, 16, rdna3_a, rdna3_b, rdna3_c},
    {32, 8, 8, 8, 16, rdna4_a, rdna4_b, rdna4_b},
};

static float element_value(const uint32_t *words, int element, int bf16)
{
    uint16_t bits = (uint16_t)(words[element / 2] >> (16 * (element % 2)));
    return bf16 ? sora_f32_from_bf16(bits) : sora_f32_from_f16(bits);
}

/* Fills `matrix` from the lanes. An element that several lanes hold must be the same in all. */
static const char *gather(const struct sora_emulator_lane *lanes, const struct unit *unit,
                          bool is_b, float matrix[16][16])
{
    bool filled[16][16] = {{false}};
    int count = is_b ? unit->b_count : unit->a_count;
    for (int l = 0; l < unit->wave; l++) {
        for (int e = 0; e < count; e++) {
            struct place at = is_b ? unit->b(l, e) : unit->a(l, e);
            float value = element_value(is_b ? lanes[l].b : lanes[l].a, e, lanes[l].detail);
            float *to = &matrix[at.row][at.column];
            if (filled[at.row][at.column] && memcmp(to, &value, sizeof(value)) != 0)
                return "lanes 0-15 and 16-31 hold different operands of one matrix row";
            filled[at.row][at.column] = true;
            *to = value;
        }
    }
    return NULL;
}

static const char *product(struct sora_emulator_lane *lanes, const struct unit *unit, int wave)
{
    float a[16][16], b[16][16], c[16][16] = {{0.0f}};
    if (wave != unit->wave)
        return "this matrix unit does not exist at this wave size";
    const char *broken = gather(lanes, unit, false, a);
    if (!broken)
        broken = gather(lanes, unit, true, b);
    if (broken)
        return broken;
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < unit->columns; column++)
                c[row][column] += a[row][k] * b[k][column];
        }
    }
    for (int l = 0; l < wave; l++) {
        for (int e = 0; e < unit->c_count; e++) {
            struct place at = unit->c(l, e);
            lanes[l].sums[e] += c[at.row][at.column];
        }
    }
    return NULL;
}

static const char *shuffle(struct sora_emulator_lane *lanes, int wave)
{
    uint32_t values[64];
    for (int l = 0; l < wave; l++)
        values[l] = *lanes[l].words;
    for (int l = 0; l < wave; l++) {
        if (lanes[l].detail < 0 || lanes[l].detail >= wave)
            return "a shuffle reads a lane outside the wave";
        *lanes[l].words = values[lanes[l].detail];
    }
    return NULL;
}

static const char *load_matrix(struct sora_emulator_lane *lanes, int wave)
{
    uint32_t found[32][4];
    if (wave != 32)
        return "a matrix load does not exist at this wave size";
    for (int l = 0; l < 32; l++) {
        if ((uintptr_t)lanes[l].row % 16 != 0)
            return "a matrix load from an address that is no multiple of 16";
        for (int tile = 0; tile < 4; tile++) {
            int i = l / 4, j = 2 * (l % 4);
            const struct sora_emulator_lane *rows = lanes + 8 * tile;
            uint16_t low = lanes[l].detail ? rows[j].row[i] : rows[i].row[j];
            uint16_t high = lanes[l].detail ? rows[j + 1].row[i] : rows[i].row[j + 1];
            found[l][tile] = low | (uint32_t)high << 16;
        }
    }
    for (int l = 0; l < 32; l++)
        memcpy(lanes[l].words, found[l], sizeof(found[l]));
    return NULL;
}

const char *sora_emulator_wave_do(struct sora_emulator_lane *lanes, int wave)
{
    switch (lanes->operation) {
    case SORA_EMULATOR_SHUFFLE:
        return shuffle(lanes, wave);
    case SORA_EMULATOR_LOAD_MATRIX:
        return load_matrix(lanes, wave);
    case SORA_EMULATOR_MMA_NVIDIA:
    case SORA_EMULATOR_MMA_CDNA:
    case SORA_EMULATOR_MMA_RDNA3:
    case SORA_EMULATOR_MMA_RDNA4:
        return product(lanes, &units[lanes->operation - SORA_EMULATOR_MMA_NVIDIA], wave);
    case SORA_EMULATOR_RUNNING:
    case SORA_EMULATOR_EXITED:
    case SORA_EMULATOR_BARRIER:
    case SORA_EMULATOR_WAVE_SYNC:
        break;
    }
    return NULL;
}
