/*
 * Large products by the vendor's library, where its work is exact in meaning.
 *
 * A product goes in pieces of rows, so that scratch is bounded whatever the size: the rows rounded
 * to 16 bits or, beside weights of fp8, to fp8 with a scale per row, and where the result adds to
 * what it replaces the sums as well. The library adds a bias; everything else an epilogue can do is
 * one pass of our own over the sums. Pieces depend on the shape alone, never on how much memory is
 * free: the same bits come out every time.
 */
#include "hip/gpu/internal.h"

#include "base/log.h"

#include <string.h>

#define ROWS_MIN 512
#define COLUMNS_MIN 512
#define PIECE_ROWS 128 /* pieces are multiples of it */

/* Bytes of scratch that a product may take; on the emulator so few that pieces occur in tests. */
struct bounds {
    size_t workspace, rounded, sums;
};
static const struct bounds card_bounds = {(size_t)32 << 20, (size_t)256 << 20, (size_t)128 << 20};
static const struct bounds emulator_bounds = {(size_t)64 << 10, (size_t)96 << 10, (size_t)1 << 20};

static const struct bounds *bounds_of(const struct sora_gpu_device *device)
{
    return device->card.vendor == SORA_GPU_EMULATOR ? &emulator_bounds : &card_bounds;
}

/* ---- the library ---- */

/* The emulator has no library of its own; with a named one it takes the place of either vendor. */
static enum sora_gpu_vendor library_vendor(const struct sora_gpu_device *device)
{
    if (device->card.vendor != SORA_GPU_EMULATOR)
        return device->card.vendor;
    return device->target.kind == GPU_NVIDIA ? SORA_GPU_NVIDIA : SORA_GPU_AMD;
}

void sora_gpu_blas_open(struct sora_gpu_device *device)
{
    const char *named = NULL;
    bool asked = sora_gpu_blas_asked(&named);
    bool units = device->target.kind != GPU_SIMT && device->precision != SORA_GPU_F32;
    if (!asked || !units || (device->card.vendor == SORA_GPU_EMULATOR && !named))
        return;
    const struct sora_gpu_blas_params params = {
        .vendor = library_vendor(device),
        .library = named,
        .workspace_bytes = bounds_of(device)->workspace,
        .fnuz = device->target.fp8 == SORA_GPU_FP8_FNUZ,
    };
    struct sora_fault fault = {0};
    int error = sora_gpu_blas_create(&params, &device->blas, &fault);
    if (error) {
        sora_log(SORA_LOG_INFO, "products by own kernels card=%s reason=%s", device->card.name,
                 fault.text);
        return;
    }
    device->blas_used = true;
    sora_log(SORA_LOG_INFO, "large products by library card=%s library=%s version=%s",
             device->card.name, sora_gpu_blas_library(device->blas),
             sora_gpu_blas_name(device->blas));
}

const char *sora_gpu_blas_class(struct sora_gpu_device *device)
{
    pthread_mutex_lock(&device->lock);
    bool used = device->blas_used;
    pthread_mutex_unlock(&device->lock);
    return used ? sora_gpu_blas_name(device->blas) : NULL;
}

static void give_up(struct sora_gpu_device *device, const struct sora_fault *fault)
{
    pthread_mutex_lock(&device->lock);
    bool first = device->blas_used;
    device->blas_used = false;
    pthread_mutex_unlock(&device->lock);
    if (first)
        sora_log(SORA_LOG_WARN, "products by own kernels from now on card=%s reason=%s",
                 device->card.name, fault->text);
}

/* ---- one product ---- */

/* How a product is cut and what is asked of the library. */
struct plan {
    int rows;    /* of a piece */
    bool pass;   /* an epilogue of our own follows */
    bool apart;  /* the sums have memory of their own, since out is also an operand */
    bool widen;  /* the library gets an f32 copy of the bias */
    size_t size; /* of the scratch */
    size_t rounded_at, sums_at, bias_at;
};

static size_t align(size_t size)
{
    return (size + 255) / 256 * 256;
}

static int piece_rows(int m, size_t row_bytes, size_t bound)
{
    size_t most = bound / row_bytes / PIECE_ROWS * PIECE_ROWS;
    return most >= (size_t)m ? m : most > PIECE_ROWS ? (int)most : PIECE_ROWS;
}

/* Fills rows, size and places of a plan whose other fields are set. */
static void plan_cut(const struct bounds *bounds, int m, size_t n, size_t k, struct plan *plan)
{
    plan->rows = piece_rows(m, k * 2, bounds->rounded);
    if (plan->apart)
        plan->rows = piece_rows(plan->rows, n * 4, bounds->sums);
    plan->rounded_at = align(bounds->workspace);
    plan->sums_at = plan->rounded_at + align((size_t)plan->rows * k * 2);
    plan->bias_at = plan->sums_at + (plan->apart ? align((size_t)plan->rows * n * 4) : 0);
    plan->size = plan->bias_at + (plan->widen ? n * 4 : 0);
}

static struct plan plan_make(const struct sora_gpu_device *device, enum sora_dtype type,
                             const struct gemm_args *args)
{
    struct plan plan = {.apart = args->residual && args->residual == args->out};
    plan.pass = args->activation != KERNEL_NONE || args->factor || args->gate || args->residual ||
                type == SORA_DTYPE_F8;
    plan.widen = !plan.pass && args->bias && args->bias_type != KERNEL_F32;
    plan_cut(bounds_of(device), args->m, (size_t)args->n, (size_t)args->k, &plan);
    return plan;
}

static bool is_large(int64_t m, int64_t n, int64_t k)
{
    return m >= ROWS_MIN && n >= COLUMNS_MIN && n % 4 == 0 && k % 8 == 0;
}

uint64_t sora_gpu_product_scratch(const struct sora_device *base,
                                  const struct sora_gpu_product *product)
{
    struct sora_gpu_device *device = (struct sora_gpu_device *)(uintptr_t)base;
    int64_t m = product->m, n = product->n, k = product->k;
    struct plan plan = {.apart = product->in_place, .widen = !product->in_place};
    if (m < ROWS_MIN || n < COLUMNS_MIN || k % 8)
        return 0;
    uint64_t own = (uint64_t)m * (uint64_t)k * 2;
    if (!is_large(m, n, k) || m > INT32_MAX || (device && !sora_gpu_blas_class(device)))
        return own;
    plan_cut(device ? bounds_of(device) : &card_bounds, (int)m, (size_t)n, (size_t)k, &plan);
    return plan.size > own ? plan.size : own;
}

static int convert(struct sora_stream *stream, const void *in, int in_type, void *out, int out_type,
                   int64_t count)
{
    const struct convert_args args = {
        .in = in, .out = out, .count = count, .in_type = in_type, .out_type = out_type};
    return sora_gpu_launch_elements(stream, SORA_KERNEL_convert, &args, count);
}

/* The scales of `rows` rows of fp8: behind the codes, where rows of 16 bits have their second half,
 * so that both types take the same scratch. */
static float *scales_of(const struct plan *plan, const struct gemm_args *args, char *scratch,
                        int rows)
{
    return (float *)(scratch + plan->rounded_at + align((size_t)rows * (size_t)args->k));
}

/* The first `rows` rows in the library's type. */
static int round_rows(struct sora_stream *stream, const struct plan *plan, enum sora_dtype type,
                      const struct gemm_args *args, char *scratch, int rows)
{
    const struct quantize_args quantize = {
        .in = args->a,
        .out = scratch + plan->rounded_at,
        .scale = scales_of(plan, args, scratch, rows),
        .rows = rows,
        .columns = args->k,
        .out_stride = args->k,
        .in_type = KERNEL_F32,
        .out_type = KERNEL_F8,
    };
    if (type == SORA_DTYPE_F8)
        return sora_gpu_launch_rows(stream, SORA_KERNEL_quantize_rows, &quantize, rows);
    return convert(stream, args->a, KERNEL_F32, scratch + plan->rounded_at, (int)type,
                   (int64_t)rows * args->k);
}

/* The epilogue; `scales` of the rows or NULL. */
static int finish(struct sora_stream *stream, const struct gemm_args *args, const float *sums,
                  const float *scales, int rows)
{
    struct gemm_args pass = *args;
    struct sora_launch_plan plan;
    pass.a = sums;
    pass.a_scale = scales;
    pass.m = rows;
    int error = sora_plan_epilogue(&pass, &plan);
    return error ? error : sora_gpu_launch(stream, &plan, &pass);
}

/* The first rows of what is left. UNSUPPORTED and a library's failure leave everything as it was.
 */
static int piece_run(struct sora_stream *stream, const struct plan *plan, enum sora_dtype type,
                     const struct gemm_args *args, char *scratch, struct sora_fault *fault)
{
    int rows = args->m < plan->rows ? args->m : plan->rows;
    float *sums = plan->apart ? (float *)(scratch + plan->sums_at) : args->out;
    const void *bias = plan->widen ? scratch + plan->bias_at : args->bias;
    const struct sora_gpu_blas_product product = {
        .dtype = type,
        .m = rows,
        .n = args->n,
        .k = args->k,
        .rows = scratch + plan->rounded_at,
        .weight = args->b,
        .bias = plan->pass ? NULL : bias,
        .out = sums,
        .workspace = scratch,
        .stream = ((struct sora_gpu_stream *)stream)->handle,
    };
    const float *scales = type == SORA_DTYPE_F8 ? scales_of(plan, args, scratch, rows) : NULL;
    int error = round_rows(stream, plan, type, args, scratch, rows);
    if (!error)
        error = sora_gpu_blas_multiply(sora_gpu_device_of(stream)->blas, &product, fault);
    if (error)
        return error;
    atomic_fetch_add_explicit(&sora_gpu_device_of(stream)->launches, 1, memory_order_relaxed);
    return plan->pass ? finish(stream, args, sums, scales, rows) : 0;
}

static void args_advance(struct gemm_args *args, int rows)
{
    int64_t values = (int64_t)rows * args->n;
    args->m -= rows;
    args->a = (const float *)args->a + (int64_t)rows * args->k;
    args->out += values;
    if (args->factor)
        args->factor += values;
    if (args->residual)
        args->residual += values;
}

static bool vector(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

static bool takes(struct sora_gpu_device *device, enum sora_dtype type,
                  const struct gemm_args *args)
{
    if (type == SORA_DTYPE_F8 && (!device->target.fp8 || args->n % 16 || args->k % 16))
        return false;
    return is_large(args->m, args->n, args->k) && vector(args->b) && vector(args->out) &&
           vector(args->bias) && sora_gpu_blas_class(device);
}

int sora_gpu_blas_matmul(struct sora_stream *stream, enum sora_dtype type, struct gemm_args *args)
{
    struct sora_gpu_device *device = sora_gpu_device_of(stream);
    struct sora_fault fault = {0};
    void *scratch = NULL;
    if (!takes(device, type, args))
        return 0;
    const struct plan plan = plan_make(device, type, args);
    int error = sora_gpu_scratch(stream, plan.size, &scratch);
    if (!error && plan.widen)
        error = convert(stream, args->bias, args->bias_type, (char *)scratch + plan.bias_at,
                        KERNEL_F32, args->n);
    while (!error && args->m > 0) {
        int rows = args->m < plan.rows ? args->m : plan.rows;
        error = piece_run(stream, &plan, type, args, scratch, &fault);
        if (!error)
            args_advance(args, rows);
    }
    if (error == SORA_E_UNSUPPORTED)
        return 0;
    if (!fault.code)
        return error;
    give_up(device, &fault);
    return 0;
}
