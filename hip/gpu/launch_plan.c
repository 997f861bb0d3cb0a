/* Grids are one-dimensional in tiles or elements (up to 2^31 - 1 blocks); heads are the second
 * dimension of attention (up to 65535). */
#include "hip/gpu/launch_plan.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 2147483647
#define HEADS_MAX 65535

static const char *const names[] = {
#define KERNEL_NAME(name) #name,
    SORA_KERNEL_LIST(KERNEL_NAME)
#undef KERNEL_NAME
};

const char *sora_kernel_name(enum sora_kernel kernel)
{
    return names[kernel];
}

/* Prefixes, longest match first within a family. */
static const struct {
    const char *prefix;
    struct sora_kernel_target target;
} targets[] = {
    {"emulated-nvidia", {GPU_NVIDIA, 32, SORA_GPU_FP8_OCP}}, /* as sm_89 */
    {"emulated-cdna", {GPU_CDNA, 64, SORA_GPU_FP8_FNUZ}},    /* as gfx942 */
    {"emulated-rdna3", {GPU_RDNA3, 32, SORA_GPU_FP8_NONE}},
    {"emulated-rdna4", {GPU_RDNA4, 32, SORA_GPU_FP8_OCP}},
    {"emulated-simt32", {GPU_SIMT, 32, SORA_GPU_FP8_NONE}},
    {"emulated-simt64", {GPU_SIMT, 64, SORA_GPU_FP8_NONE}},
    {"gfx90a", {GPU_CDNA, 64, SORA_GPU_FP8_NONE}},
    {"gfx942", {GPU_CDNA, 64, SORA_GPU_FP8_FNUZ}},
    {"gfx950", {GPU_CDNA, 64, SORA_GPU_FP8_OCP}},
    {"gfx9", {GPU_SIMT, 64, SORA_GPU_FP8_NONE}},
    {"gfx10", {GPU_SIMT, 32, SORA_GPU_FP8_NONE}},
    {"gfx11", {GPU_RDNA3, 32, SORA_GPU_FP8_NONE}},
    {"gfx12", {GPU_RDNA4, 32, SORA_GPU_FP8_OCP}},
};

int sora_kernel_target_find(const char *arch, struct sora_kernel_target *out_target)
{
    if (strncmp(arch, "sm_", 3) == 0) {
        long version = strtol(arch + 3, NULL, 10);
        if (version < 80)
            return SORA_E_UNSUPPORTED;
        *out_target = (struct sora_kernel_target){
            GPU_NVIDIA, 32, version >= 89 ? SORA_GPU_FP8_OCP : SORA_GPU_FP8_NONE};
        return 0;
    }
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        if (strncmp(arch, targets[i].prefix, strlen(targets[i].prefix)) == 0) {
            *out_target = targets[i].target;
            return 0;
        }
    }
    return SORA_E_UNSUPPORTED;
}

static int64_t pieces(int64_t count, int64_t piece)
{
    return (count + piece - 1) / piece;
}

static bool aligned(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

/* Whether rows of `stride` elements of `size` bytes all begin 16-byte aligned. */
static int rows_aligned(const void *first, int64_t stride, int64_t size)
{
    return aligned(first) && stride * size % 16 == 0;
}

static int plan_fill(enum sora_kernel kernel, int64_t blocks, size_t shared_size, size_t args_size,
                     struct sora_launch_plan *out_plan)
{
    if (blocks < 1)
        return SORA_E_INVALID;
    if (blocks > BLOCKS_MAX)
        return SORA_E_LIMIT;
    *out_plan = (struct sora_launch_plan){
        .kernel = kernel,
        .grid = {(uint32_t)blocks, 1, 1},
        .shared_size = shared_size,
        .args_size = args_size,
    };
    return 0;
}

/* Grid and shared memory of a product; the same for convolutions. */
static int product_fill(const struct sora_kernel_target *target, enum sora_kernel kernel,
                        bool exact, const struct gemm_args *args, size_t args_size,
                        struct sora_launch_plan *out_plan)
{
    if (args->m < 1 || args->n < 1 || args->k < 1)
        return SORA_E_INVALID;
    bool units = !exact && target->kind != GPU_SIMT;
    int64_t rows = units ? GEMM_ROWS : GEMM_F32_TILE;
    int64_t columns = units ? GEMM_COLUMNS : GEMM_F32_TILE;
    return plan_fill(kernel, pieces(args->m, rows) * pieces(args->n, columns),
                     units ? GEMM_SHARED : GEMM_F32_SHARED, args_size, out_plan);
}

static void product_flags(struct gemm_args *args, bool a_half, int64_t b_size)
{
    args->a_vector = rows_aligned(args->a, args->a_stride, a_half ? 2 : 4);
    args->b_vector = rows_aligned(args->b, args->b_stride, b_size);
    args->out_vector =
        args->n % 4 == 0 && aligned(args->out) && aligned(args->factor) && aligned(args->residual);
    args->reserved = 0;
}

int sora_plan_gemm(const struct sora_kernel_target *target, enum sora_dtype precision, bool a_half,
                   enum sora_plan_weight weight, struct gemm_args *args,
                   struct sora_launch_plan *out_plan)
{
    static const enum sora_kernel kernels[][2] = {
        {SORA_KERNEL_gemm_bf16, SORA_KERNEL_gemm_f16},
        {SORA_KERNEL_gemm_wide_bf16, SORA_KERNEL_gemm_wide_f16},
        {SORA_KERNEL_gemm_int8_bf16, SORA_KERNEL_gemm_int8_f16},
        {SORA_KERNEL_gemm_fp8_bf16, SORA_KERNEL_COUNT},
        {SORA_KERNEL_gemm_half_bf16, SORA_KERNEL_gemm_half_f16},
    };
    static const int64_t sizes[] = {2, 4, 1, 1};
    bool codes = weight == SORA_PLAN_WEIGHT_INT8 || weight == SORA_PLAN_WEIGHT_FP8;
    if (precision == SORA_DTYPE_F32) {
        if (a_half)
            return SORA_E_UNSUPPORTED;
        if ((args->b_type == KERNEL_I8 || args->b_type == KERNEL_F8) != (args->b_scale != NULL))
            return SORA_E_INVALID;
        product_flags(args, false, args->b_type == KERNEL_F32 ? 4 : 2);
        return product_fill(target, SORA_KERNEL_gemm_f32, true, args, sizeof(*args), out_plan);
    }
    if ((precision != SORA_DTYPE_BF16 && precision != SORA_DTYPE_F16) ||
        (a_half && weight != SORA_PLAN_WEIGHT_HALF) ||
        (precision == SORA_DTYPE_F16 && weight == SORA_PLAN_WEIGHT_FP8))
        return SORA_E_UNSUPPORTED;
    if (codes && (!args->b_scale || args->b_stride % 8 != 0))
        return SORA_E_INVALID;
    product_flags(args, a_half, sizes[weight]);
    if (a_half && (!args->a_vector || !args->b_vector))
        return SORA_E_INVALID;
    return product_fill(target, kernels[a_half ? 4 : weight][precision == SORA_DTYPE_F16], false,
                        args, sizeof(*args), out_plan);
}

int sora_plan_epilogue(struct gemm_args *args, struct sora_launch_plan *out_plan)
{
    if (args->m < 1 || args->n < 1)
        return SORA_E_INVALID;
    args->k = args->a_stride = args->n;
    args->b = NULL;
    product_flags(args, false, 4);
    args->out_vector = args->out_vector && aligned(args->a);
    return plan_fill(SORA_KERNEL_epilogue,
                     pieces((int64_t)args->m * pieces(args->n, 4) * 4, ELEMENTS_PER_BLOCK), 0,
                     sizeof(*args), out_plan);
}

int sora_plan_conv_channels(int in_channels)
{
    return (in_channels + 7) / 8 * 8;
}

int sora_plan_conv(const struct sora_kernel_target *target, enum sora_dtype precision, int frames,
                   int taps, struct conv_args *args, struct sora_launch_plan *out_plan)
{
    struct gemm_args *product = &args->product;
    bool exact = precision == SORA_DTYPE_F32;
    enum sora_kernel kernel = exact                          ? SORA_KERNEL_conv_f32
                              : precision == SORA_DTYPE_BF16 ? SORA_KERNEL_conv_bf16
                                                             : SORA_KERNEL_conv_f16;
    if (!exact && precision != SORA_DTYPE_BF16 && precision != SORA_DTYPE_F16)
        return SORA_E_UNSUPPORTED;
    if (frames < 1 || taps < 1 || args->in_channels < 1 || args->out_height < 1 ||
        args->out_width < 1 || args->upsample < 1 || args->upsample > 2)
        return SORA_E_INVALID;
    args->channels = sora_plan_conv_channels(args->in_channels);
    int64_t pixels = (int64_t)frames * args->out_height * args->out_width;
    int64_t depth = (int64_t)taps * args->channels;
    if (pixels > BLOCKS_MAX || depth > BLOCKS_MAX)
        return SORA_E_LIMIT;
    product->m = (int)pixels;
    product->k = product->b_stride = (int)depth;
    product->a_stride = args->in_channels;
    product->b_type = KERNEL_F32;
    product->b_scale = NULL;
    product_flags(product, false, exact ? 4 : 2);
    args->reserved = 0;
    if (args->history && args->history_type != KERNEL_HISTORY_F32) {
        if (exact || target->kind == GPU_SIMT)
            return SORA_E_UNSUPPORTED;
        bool vector = aligned(args->history) && args->in_channels % 8 == 0;
        args->history_type = vector ? KERNEL_HISTORY_VECTOR : KERNEL_HISTORY_HALF;
    } else if (args->history && !aligned(args->history)) {
        product->a_vector = 0;
    }
    return product_fill(target, kernel, exact, product, sizeof(*args), out_plan);
}

int sora_plan_head_stride(int head_size)
{
    return head_size <= 32 ? 32 : head_size <= 64 ? 64 : head_size <= 128 ? 128 : 0;
}

int sora_plan_attention(const struct sora_kernel_target *target, enum sora_dtype precision,
                        const struct attention_args *args, struct sora_launch_plan *out_plan)
{
    static const enum sora_kernel kernels[][2] = {
        {SORA_KERNEL_attention_bf16_32, SORA_KERNEL_attention_f16_32},
        {SORA_KERNEL_attention_bf16_64, SORA_KERNEL_attention_f16_64},
        {SORA_KERNEL_attention_bf16_128, SORA_KERNEL_attention_f16_128},
    };
    enum sora_kernel kernel = SORA_KERNEL_attention_f32;
    size_t shared_size = ATTENTION_F32_SHARED;
    int queries = ATTENTION_F32_QUERIES, stride = sora_plan_head_stride(args->head_size);
    if (args->queries < 1 || args->keys < 1 || args->heads < 1 || args->head_size < 1)
        return SORA_E_INVALID;
    if (args->heads > HEADS_MAX)
        return SORA_E_LIMIT;
    if (precision == SORA_DTYPE_BF16 || precision == SORA_DTYPE_F16) {
        if (stride == 0)
            return SORA_E_UNSUPPORTED;
        kernel = kernels[stride / 64][precision == SORA_DTYPE_F16];
        if (target->kind != GPU_SIMT) {
            shared_size = (size_t)ATTENTION_SHARED(stride);
            queries = ATTENTION_QUERIES(target->kind, target->wave);
        }
    } else if (precision != SORA_DTYPE_F32 || args->head_size > ATTENTION_F32_SIZE_MAX) {
        return SORA_E_UNSUPPORTED;
    }
    int code =
        plan_fill(kernel, pieces(args->queries, queries), shared_size, sizeof(*args), out_plan);
    if (code == 0)
        out_plan->grid[1] = (uint32_t)args->heads;
    return code;
}

int sora_plan_rows(const struct sora_kernel_target *target, enum sora_kernel kernel, int64_t rows,
                   struct sora_launch_plan *out_plan)
{
    bool norm = kernel == SORA_KERNEL_layer_norm || kernel == SORA_KERNEL_rms_norm;
    if (!norm && kernel != SORA_KERNEL_quantize_rows)
        return SORA_E_INVALID;
    return plan_fill(kernel, pieces(rows, KERNEL_THREADS / target->wave), 0,
                     norm ? sizeof(struct norm_args) : sizeof(struct quantize_args), out_plan);
}

int sora_plan_elements(enum sora_kernel kernel, int64_t count, struct sora_launch_plan *out_plan)
{
    static const struct {
        enum sora_kernel kernel;
        size_t args_size;
    } kernels[] = {
        {SORA_KERNEL_fill, sizeof(struct fill_args)},
        {SORA_KERNEL_convert, sizeof(struct convert_args)},
        {SORA_KERNEL_pad_rows, sizeof(struct pad_rows_args)},
        {SORA_KERNEL_activation, sizeof(struct activation_args)},
        {SORA_KERNEL_combine, sizeof(struct combine_args)},
        {SORA_KERNEL_affine, sizeof(struct affine_args)},
        {SORA_KERNEL_rope, sizeof(struct rope_args)},
        {SORA_KERNEL_gather_rows, sizeof(struct gather_args)},
        {SORA_KERNEL_permute, sizeof(struct permute_args)},
        {SORA_KERNEL_to_rgb8, sizeof(struct rgb8_args)},
        {SORA_KERNEL_all_finite, sizeof(struct finite_args)},
        {SORA_KERNEL_pack_conv, sizeof(struct pack_conv_args)},
    };
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        if (kernels[i].kernel == kernel)
            return plan_fill(kernel, pieces(count, ELEMENTS_PER_BLOCK), 0, kernels[i].args_size,
                             out_plan);
    }
    return SORA_E_INVALID;
}
