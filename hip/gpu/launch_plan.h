/*
 * Which kernel serves an operation, and with what grid and shared memory: pure functions of the
 * target and the arguments. Nothing is allocated or launched; any thread may call.
 *
 * Callers fill the argument struct of hip/kernels/args.h with device addresses; a plan checks
 * sizes, sets the struct's alignment flags, and says what to launch. Every block has
 * SORA_KERNEL_THREADS threads. Errors: INVALID for sizes below 1, UNSUPPORTED for what no kernel
 * takes, LIMIT for grids beyond what cards have.
 */
#ifndef SORA_HIP_GPU_LAUNCH_PLAN_H
#define SORA_HIP_GPU_LAUNCH_PLAN_H

#include "base/error.h"
#include "hip/kernels/args.h"
#include "hip/kernels/kinds.h"
#include "hip/kernels/list.h"
#include "hip/tensor.h"

#define SORA_KERNEL_THREADS KERNEL_THREADS

enum sora_kernel {
#define SORA_KERNEL_ENUM(name) SORA_KERNEL_##name,
    SORA_KERNEL_LIST(SORA_KERNEL_ENUM)
#undef SORA_KERNEL_ENUM
        SORA_KERNEL_COUNT
};

/* The kernel's name in device images. */
const char *sora_kernel_name(enum sora_kernel kernel);

/* How the units of an architecture read e4m3; the kernels' own products need none of it. */
enum sora_gpu_fp8 {
    SORA_GPU_FP8_NONE = 0, /* not at all */
    SORA_GPU_FP8_OCP,      /* as SORA_DTYPE_F8 says */
    SORA_GPU_FP8_FNUZ,     /* bias 8: a code means half; 0x80 is NaN */
};

/* What the kernels run on. */
struct sora_kernel_target {
    int kind; /* GPU_NVIDIA.. of hip/kernels/kinds.h */
    int wave; /* 32 or 64 */
    enum sora_gpu_fp8 fp8;
};

/* The target of an image's architecture: "sm_80" and later, "gfx90a", "emulated-cdna". Cut at ':'.
 * UNSUPPORTED for an unknown one. */
int sora_kernel_target_find(const char *arch, struct sora_kernel_target *out_target);

struct sora_launch_plan {
    enum sora_kernel kernel;
    uint32_t grid[3];
    size_t shared_size; /* bytes of dynamic shared memory */
    size_t args_size;   /* of the argument struct */
};

/* How a weight is stored. */
enum sora_plan_weight {
    SORA_PLAN_WEIGHT_HALF, /* 16-bit, of the type that is computed in */
    SORA_PLAN_WEIGHT_F32,  /* rounded on the way */
    SORA_PLAN_WEIGHT_INT8, /* with a scale per row, from quantize_rows */
    SORA_PLAN_WEIGHT_FP8,  /* the same; BF16 and F32 only */
};

/* A product computed in `precision`: F32 (a is f32, b of args->b_type, `weight` ignored), BF16 or
 * F16 (a is f32 and rounded on the way, or with `a_half` 16-bit already, then weight must be HALF
 * and all rows whole vectors).
 * Sets the flags a_vector, b_vector and out_vector. 16-bit rows count as vectors when their stride
 * is a multiple of 8; elements between k and the stride must then be zeros. */
int sora_plan_gemm(const struct sora_kernel_target *target, enum sora_dtype precision, bool a_half,
                   enum sora_plan_weight weight, struct gemm_args *args,
                   struct sora_launch_plan *out_plan);

/* The epilogue alone, over f32 sums [m][n] at `a` that are already there, with the scales of both
 * operands; may be in place. Sets the
 * flags as sora_plan_gemm does. */
int sora_plan_epilogue(struct gemm_args *args, struct sora_launch_plan *out_plan);

/* A convolution: fills product.m, n, k, strides and flags from the geometry. The caller has set
 * product.n (output channels) and everything in conv_args but the flags; `frames` and `taps` are
 * the output's frames and kernel_t * kernel_h * kernel_w. Weights are packed in `precision`. */
int sora_plan_conv(const struct sora_kernel_target *target, enum sora_dtype precision, int frames,
                   int taps, struct conv_args *args, struct sora_launch_plan *out_plan);

/* Channels as packed for convolutions: rounded up to a multiple of 8. */
int sora_plan_conv_channels(int in_channels);

/* Attention computed in `precision`. For BF16 and F16 the operands' rows are
 * sora_plan_head_stride(head_size) long and heads up to 128 are served; F32 takes heads up to
 * ATTENTION_F32_SIZE_MAX. */
int sora_plan_attention(const struct sora_kernel_target *target, enum sora_dtype precision,
                        const struct attention_args *args, struct sora_launch_plan *out_plan);
/* 32, 64 or 128; 0 when the head is wider. */
int sora_plan_head_stride(int head_size);

/* SORA_KERNEL_layer_norm, _rms_norm or _quantize_rows: one wave per row. */
int sora_plan_rows(const struct sora_kernel_target *target, enum sora_kernel kernel, int64_t rows,
                   struct sora_launch_plan *out_plan);

/* Any kernel of hip/kernels/elementwise.h but quantize_rows; `count` is the struct's count
 * (pad_rows: rows * out_stride). */
int sora_plan_elements(enum sora_kernel kernel, int64_t count, struct sora_launch_plan *out_plan);

#endif
