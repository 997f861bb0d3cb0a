/*
 * Every kernel's name, once: the emulator's tables, the host's identifiers and the tests come from
 * this list. X(name)
 */
#ifndef SORA_HIP_KERNELS_LIST_H
#define SORA_HIP_KERNELS_LIST_H

#define SORA_KERNEL_LIST(X)                                                                        \
    X(gemm_half_bf16)                                                                              \
    X(gemm_half_f16)                                                                               \
    X(gemm_bf16)                                                                                   \
    X(gemm_f16)                                                                                    \
    X(gemm_wide_bf16)                                                                              \
    X(gemm_wide_f16)                                                                               \
    X(gemm_int8_bf16)                                                                              \
    X(gemm_int8_f16)                                                                               \
    X(gemm_fp8_bf16)                                                                               \
    X(gemm_f32)                                                                                    \
    X(epilogue)                                                                                    \
    X(conv_bf16)                                                                                   \
    X(conv_f16)                                                                                    \
    X(conv_f32)                                                                                    \
    X(attention_bf16_32)                                                                           \
    X(attention_bf16_64)                                                                           \
    X(attention_bf16_128)                                                                          \
    X(attention_f16_32)                                                                            \
    X(attention_f16_64)                                                                            \
    X(attention_f16_128)                                                                           \
    X(attention_f32)                                                                               \
    X(layer_norm)                                                                                  \
    X(rms_norm)                                                                                    \
    X(rope)                                                                                        \
    X(fill)                                                                                        \
    X(convert)                                                                                     \
    X(pad_rows)                                                                                    \
    X(activation)                                                                                  \
    X(combine)                                                                                     \
    X(affine)                                                                                      \
    X(gather_rows)                                                                                 \
    X(permute)                                                                                     \
    X(to_rgb8)                                                                                     \
    X(all_finite)                                                                                  \
    X(pack_conv)                                                                                   \
    X(quantize_rows)

#endif
