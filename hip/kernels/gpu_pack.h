/* Primitives that AMD and the emulator share: rounding to bf16, pairs, words of 16 bytes. Included
 * by their headers, behind GPU_FN and gpu_f16_from_f32. */
#ifndef SORA_HIP_KERNELS_GPU_PACK_H
#define SORA_HIP_KERNELS_GPU_PACK_H

/* To nearest even; NaN stays a quiet NaN. Without branches, which cost registers. */
GPU_FN u32 gpu_bf16_bits(float x)
{
    union gpu_bits bits;
    bits.f = x;
    u32 quiet = (bits.u >> 16) | 0x40u;
    u32 rounded = (bits.u + 0x7fffu + ((bits.u >> 16) & 1u)) >> 16;
    return (bits.u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded;
}

GPU_FN u16 gpu_bf16_from_f32(float x)
{
    return (u16)gpu_bf16_bits(x);
}

/* Two elements, rounded to nearest even. */
GPU_FN u32 gpu_pack(float low, float high, int element)
{
    if (element == GPU_BF16)
        return gpu_bf16_bits(low) | gpu_bf16_bits(high) << 16;
    return (u32)gpu_f16_from_f32(low) | (u32)gpu_f16_from_f32(high) << 16;
}

GPU_FN u128 gpu_u128(u32 x, u32 y, u32 z, u32 w)
{
    u128 value = {x, y, z, w};
    return value;
}

GPU_FN u32 gpu_word(u128 value, int index)
{
    return value[index];
}

#endif
