/*
 * What emulated kernels call (hip/kernels/gpu_emulator.h): the emulator as a thread of a block sees
 * it. Everything here is called on a fiber of a running launch (hip/gpu/emulator.h) only.
 *
 * `place` is the line of the source as text. All lanes of a wave must reach the same place; a
 * function that parks the caller returns once the whole wave (or block) has arrived.
 */
#ifndef SORA_HIP_GPU_EMULATOR_DEVICE_H
#define SORA_HIP_GPU_EMULATOR_DEVICE_H

#include <stdint.h>

/* What a wave does together; the matrix units follow the order of GPU_NVIDIA.. in gpu.h. */
enum sora_emulator_operation {
    SORA_EMULATOR_RUNNING = 0,
    SORA_EMULATOR_EXITED,
    SORA_EMULATOR_BARRIER,
    SORA_EMULATOR_WAVE_SYNC,
    SORA_EMULATOR_SHUFFLE,
    SORA_EMULATOR_LOAD_MATRIX,
    SORA_EMULATOR_MMA_NVIDIA, /* m16n8k16 */
    SORA_EMULATOR_MMA_CDNA,   /* mfma 16x16x16 */
    SORA_EMULATOR_MMA_RDNA3,  /* wmma of gfx11 */
    SORA_EMULATOR_MMA_RDNA4,  /* wmma of gfx12 */
};
#define SORA_EMULATOR_MMA(kind)                                                                    \
    ((enum sora_emulator_operation)((int)SORA_EMULATOR_MMA_NVIDIA + (kind)-1))

int sora_emulator_thread(void);
int sora_emulator_block(int dimension);
/* The block's shared array: exactly the launch's size, filled with 0xff bytes before a block. */
void *sora_emulator_shared(void);

void sora_emulator_barrier(const char *place);
void sora_emulator_wave_sync(const char *place);
/* `value` of lane `lane` of the caller's wave. */
uint32_t sora_emulator_shuffle(uint32_t value, int lane, const char *place);

/* ldmatrix.x4 on four 8x8 tiles of 16-bit elements: lane 8t+r gives row r of tile t, 16-byte
 * aligned. out[t] of lane l gets elements 2(l%4) and +1 of row l/4, or with `transposed` of
 * column l/4. */
void sora_emulator_load_matrix(uint32_t *out, const uint16_t *from, int transposed,
                               const char *place);
/* c += a b on the lanes' registers, in the layout of the unit. */
void sora_emulator_mma(enum sora_emulator_operation unit, float *c, const uint32_t *a,
                       const uint32_t *b, int bf16, const char *place);

/* Copies 16 bytes (zeros unless `present`) when the caller waits; until then the target holds 0xff
 * bytes, as nothing may rely on it. */
void sora_emulator_copy_async(void *to, const void *from, int present);
void sora_emulator_copy_wait(void);

float sora_emulator_f32_from_f16(uint16_t bits);
uint16_t sora_emulator_f16_from_f32(float value);

#endif
