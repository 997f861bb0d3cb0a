/* See gpu_blas.h. The exported names are the vendors'; matrices are column-major. */
#include "tests/fake/gpu_blas.h"

#include "hip/cpu/half.h"

#include <stdbool.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))
#define INVALID 7
#define F32 0
#define F16 2
#define BF16 14
#define F8 28
#define F8_FNUZ 1000
#define EPILOGUE_DEFAULT 1
#define EPILOGUE_BIAS 4
#define ALGORITHM_MARK 0x5a

enum side { CUDA, HIP };

/* Where the two differ: cublasLt.h 11 to 13, hipblaslt.h 0.6 to 1. */
static const struct side_row {
    int compute_f32, transposed, straight;
    int transpose_a, transpose_b, epilogue, bias;
    size_t algorithm_bytes;
} sides[] = {
    [CUDA] = {68, 1, 0, 3, 4, 7, 8, 64},
    [HIP] = {2, 112, 111, 0, 1, 2, 3, 24},
};

struct operation {
    enum side side;
    int transpose_a, transpose_b;
    uint32_t epilogue;
    const float *bias;
};

struct layout {
    enum side side;
    int type;
    uint64_t rows, columns;
    int64_t stride;
};

struct preference {
    uint64_t workspace;
    uint32_t alignment;
};

static struct fake_blas fake = {.version = 130100};

EXPORT struct fake_blas *fake_blas(void);
EXPORT struct fake_blas *fake_blas(void)
{
    return &fake;
}

static int misuse(void)
{
    fake.misuse++;
    return INVALID;
}

static int make(void **out, size_t size, int *live)
{
    *out = calloc(1, size);
    *live += *out != NULL;
    return *out ? 0 : 3;
}

static int drop(void *object, int *live)
{
    if (!object)
        return misuse();
    free(object);
    --*live;
    return 0;
}

static int blas_create(void **handle)
{
    return fake.create_status ? fake.create_status : make(handle, 1, &fake.live_handles);
}

static int operation_create(enum side side, void **out, int compute, int scale)
{
    if (compute != sides[side].compute_f32 || scale != F32)
        return misuse();
    int status = make(out, sizeof(struct operation), &fake.live_operations);
    if (!status)
        *(struct operation *)*out = (struct operation){
            side, sides[side].straight, sides[side].straight, EPILOGUE_DEFAULT, NULL};
    return status;
}

static int operation_set(enum side side, void *object, int attribute, const void *value,
                         size_t size)
{
    struct operation *operation = object;
    const struct side_row *row = &sides[side];
    void *to = attribute == row->transpose_a   ? (void *)&operation->transpose_a
               : attribute == row->transpose_b ? (void *)&operation->transpose_b
               : attribute == row->epilogue    ? (void *)&operation->epilogue
               : attribute == row->bias        ? (void *)&operation->bias
                                               : NULL;
    size_t wanted = attribute == row->bias ? sizeof(void *) : sizeof(int32_t);
    if (operation->side != side || !to || size != wanted)
        return misuse();
    memcpy(to, value, size);
    return 0;
}

static int layout_create(enum side side, void **out, int type, uint64_t rows, uint64_t columns,
                         int64_t stride)
{
    bool known = type == F32 || type == F16 || type == BF16 || type == F8 ||
                 (type == F8_FNUZ && side == HIP);
    if (!known || rows < 1 || columns < 1 || stride < (int64_t)rows)
        return misuse();
    int status = make(out, sizeof(struct layout), &fake.live_layouts);
    if (!status)
        *(struct layout *)*out = (struct layout){side, type, rows, columns, stride};
    return status;
}

static int preference_create(void **out)
{
    int status = make(out, sizeof(struct preference), &fake.live_preferences);
    if (!status)
        *(struct preference *)*out = (struct preference){0, 256};
    return status;
}

static int preference_set(enum side side, void *object, int attribute, const void *value,
                          size_t size)
{
    struct preference *preference = object;
    if (attribute == 1 && size == sizeof(uint64_t))
        memcpy(&preference->workspace, value, size);
    else if (side == CUDA && attribute >= 5 && attribute <= 8 && size == sizeof(uint32_t))
        memcpy(&preference->alignment, value, size);
    else
        return misuse();
    return 0;
}

/* A result is an algorithm of the vendor's size, then the workspace, a status and more. */
static int choose(enum side side, const void *operation, const void *preference, int asked,
                  void *results, int *found)
{
    const struct preference *bounds = preference;
    size_t size = sides[side].algorithm_bytes;
    fake.choices++;
    fake.workspace_bound = bounds->workspace;
    fake.alignment = bounds->alignment;
    *found = 0;
    if (fake.choose_status || ((const struct operation *)operation)->side != side || asked < 1)
        return fake.choose_status ? fake.choose_status : misuse();
    memset(results, ALGORITHM_MARK, size);
    memset((char *)results + size, 0, 32);
    memcpy((char *)results + size, &fake.workspace_wanted, sizeof(size_t));
    *found = !fake.choose_nothing;
    return 0;
}

static bool is_f8(const struct layout *layout)
{
    return layout->type == F8 || layout->type == F8_FNUZ;
}

static float element(const struct layout *layout, const void *data, bool transposed, uint64_t row,
                     uint64_t column)
{
    uint64_t at = transposed ? column + row * (uint64_t)layout->stride
                             : row + column * (uint64_t)layout->stride;
    if (is_f8(layout)) {
        uint8_t code = ((const uint8_t *)data)[at];
        fake.misuse += code == 0x80 || (code & 0x7f) == 0x7f; /* NaN in either format */
        return sora_f32_from_f8(code) * (layout->type == F8_FNUZ ? 0.5f : 1.0f);
    }
    enum sora_dtype dtype = layout->type == F32   ? SORA_DTYPE_F32
                            : layout->type == F16 ? SORA_DTYPE_F16
                                                  : SORA_DTYPE_BF16;
    return sora_float_load(data, dtype, (int64_t)at);
}

/* A copy of op(x) in rows, so that the sums run over neighbours. */
static float *unpack(const struct layout *layout, const void *data, bool transposed, uint64_t rows,
                     uint64_t columns)
{
    float *values = malloc(rows * columns * sizeof(float));
    for (uint64_t i = 0; values && i < rows * columns; i++)
        values[i] = element(layout, data, transposed, i / columns, i % columns);
    return values;
}

static void run(const struct operation *operation, float alpha, const float *a, const float *b,
                const struct layout *out_layout, uint64_t depth, float *out)
{
    for (uint64_t column = 0; column < out_layout->columns; column++) {
        for (uint64_t row = 0; row < out_layout->rows; row++) {
            float sum = 0;
            for (uint64_t k = 0; k < depth; k++)
                sum += a[row * depth + k] * b[column * depth + k];
            sum *= alpha;
            if (operation->epilogue == EPILOGUE_BIAS)
                sum += operation->bias[row];
            out[row + column * (uint64_t)out_layout->stride] = sum;
        }
    }
}

struct product {
    const struct operation *operation;
    const float *alpha, *beta;
    const void *a, *b;
    const struct layout *a_layout, *b_layout, *out_layout;
    const unsigned char *algorithm;
    float *out;
    void *workspace;
    size_t workspace_bytes;
};

/* What both libraries ask of fp8: the first operand alone transposed, whole vectors, no bias in f32
 * (cuBLASLt takes bf16's); and what undoes the halves of fnuz. */
static bool f8_fits(enum side side, const struct product *p, uint64_t depth)
{
    const struct operation *operation = p->operation;
    return p->a_layout->type == p->b_layout->type &&
           operation->transpose_a == sides[side].transposed &&
           operation->transpose_b == sides[side].straight && depth % 16 == 0 &&
           p->a_layout->stride % 16 == 0 && p->b_layout->stride % 16 == 0 &&
           p->out_layout->rows % 16 == 0 && operation->epilogue == EPILOGUE_DEFAULT;
}

static int check(enum side side, const struct product *p, uint64_t depth, uint64_t b_depth)
{
    const struct operation *operation = p->operation;
    bool sides_fit = operation->side == side && p->a_layout->side == side &&
                     p->b_layout->side == side && p->out_layout->side == side;
    bool aligned = ((uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->out) % 16 == 0;
    size_t last = sides[side].algorithm_bytes - 1;
    bool chosen = p->algorithm[0] == ALGORITHM_MARK && p->algorithm[last] == ALGORITHM_MARK;
    bool bias_fits = operation->epilogue == EPILOGUE_DEFAULT ||
                     (operation->bias && (uintptr_t)operation->bias % 16 == 0);
    bool type_fits = !is_f8(p->a_layout) || f8_fits(side, p, depth);
    float alpha = p->a_layout->type == F8_FNUZ ? 4 : 1;
    if (!sides_fit || !aligned || !chosen || !bias_fits || !type_fits || depth != b_depth ||
        *p->alpha != alpha || *p->beta != 0 || p->out_layout->type != F32 || !p->workspace ||
        p->workspace_bytes < fake.workspace_wanted)
        return misuse();
    return 0;
}

static int multiply(enum side side, const struct product *p)
{
    const struct side_row *row = &sides[side];
    const struct operation *operation = p->operation;
    bool a_turned = operation->transpose_a == row->transposed;
    bool b_turned = operation->transpose_b == row->transposed;
    uint64_t depth = a_turned ? p->a_layout->rows : p->a_layout->columns;
    uint64_t b_depth = b_turned ? p->b_layout->columns : p->b_layout->rows;
    uint64_t rows = p->out_layout->rows, columns = p->out_layout->columns;
    fake.products++;
    fake.rows_last = (int)columns;
    fake.type_last = p->a_layout->type;
    fake.workspace_given = p->workspace_bytes;
    fake.bias_count += operation->epilogue == EPILOGUE_BIAS;
    if (fake.multiply_status || fake.products == fake.fail_multiply_at)
        return fake.multiply_status ? fake.multiply_status : 13;
    int status = check(side, p, depth, b_depth);
    if (status)
        return status;
    memset(p->workspace, 0xa5, p->workspace_bytes); /* it is the library's meanwhile */
    float *a = unpack(p->a_layout, p->a, a_turned, rows, depth);
    float *b = unpack(p->b_layout, p->b, !b_turned, columns, depth);
    if (a && b)
        run(operation, *p->alpha, a, b, p->out_layout, depth, p->out);
    free(a);
    free(b);
    return a && b ? 0 : 3;
}

/* ---- the vendors' names ---- */

#define NAMES(prefix, side)                                                                        \
    EXPORT int prefix##Create(void **handle);                                                      \
    int prefix##Create(void **handle)                                                              \
    {                                                                                              \
        return blas_create(handle);                                                                \
    }                                                                                              \
    EXPORT int prefix##Destroy(void *handle);                                                      \
    int prefix##Destroy(void *handle)                                                              \
    {                                                                                              \
        return drop(handle, &fake.live_handles);                                                   \
    }                                                                                              \
    EXPORT int prefix##MatmulDescCreate(void **out, int compute, int scale);                       \
    int prefix##MatmulDescCreate(void **out, int compute, int scale)                               \
    {                                                                                              \
        return operation_create(side, out, compute, scale);                                        \
    }                                                                                              \
    EXPORT int prefix##MatmulDescDestroy(void *object);                                            \
    int prefix##MatmulDescDestroy(void *object)                                                    \
    {                                                                                              \
        return drop(object, &fake.live_operations);                                                \
    }                                                                                              \
    EXPORT int prefix##MatmulDescSetAttribute(void *object, int attribute, const void *value,      \
                                              size_t size);                                        \
    int prefix##MatmulDescSetAttribute(void *object, int attribute, const void *value,             \
                                       size_t size)                                                \
    {                                                                                              \
        return operation_set(side, object, attribute, value, size);                                \
    }                                                                                              \
    EXPORT int prefix##MatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns,   \
                                          int64_t stride);                                         \
    int prefix##MatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns,          \
                                   int64_t stride)                                                 \
    {                                                                                              \
        return layout_create(side, out, type, rows, columns, stride);                              \
    }                                                                                              \
    EXPORT int prefix##MatrixLayoutDestroy(void *object);                                          \
    int prefix##MatrixLayoutDestroy(void *object)                                                  \
    {                                                                                              \
        return drop(object, &fake.live_layouts);                                                   \
    }                                                                                              \
    EXPORT int prefix##MatmulPreferenceCreate(void **out);                                         \
    int prefix##MatmulPreferenceCreate(void **out)                                                 \
    {                                                                                              \
        return preference_create(out);                                                             \
    }                                                                                              \
    EXPORT int prefix##MatmulPreferenceDestroy(void *object);                                      \
    int prefix##MatmulPreferenceDestroy(void *object)                                              \
    {                                                                                              \
        return drop(object, &fake.live_preferences);                                               \
    }                                                                                              \
    EXPORT int prefix##MatmulPreferenceSetAttribute(void *object, int attribute,                   \
                                                    const void *value, size_t size);               \
    int prefix##MatmulPreferenceSetAttribute(void *object, int attribute, const void *value,       \
                                             size_t size)                                          \
    {                                                                                              \
        return preference_set(side, object, attribute, value, size);                               \
    }                                                                                              \
    EXPORT int prefix##MatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b,     \
                                              void *c, void *d, void *preference, int asked,       \
                                              void *results, int *found);                          \
    int prefix##MatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c,   \
                                       void *d, void *preference, int asked, void *results,        \
                                       int *found)                                                 \
    {                                                                                              \
        return handle && a && b && c && d                                                          \
                   ? choose(side, operation, preference, asked, results, found)                    \
                   : misuse();                                                                     \
    }                                                                                              \
    EXPORT int prefix##Matmul(void *handle, void *operation, const void *alpha, const void *a,     \
                              void *a_layout, const void *b, void *b_layout, const void *beta,     \
                              const void *c, void *c_layout, void *d, void *d_layout,              \
                              const void *algorithm, void *workspace, size_t workspace_bytes,      \
                              void *stream);                                                       \
    int prefix##Matmul(void *handle, void *operation, const void *alpha, const void *a,            \
                       void *a_layout, const void *b, void *b_layout, const void *beta,            \
                       const void *c, void *c_layout, void *d, void *d_layout,                     \
                       const void *algorithm, void *workspace, size_t workspace_bytes,             \
                       void *stream)                                                               \
    {                                                                                              \
        const struct product product = {operation, alpha,    beta,      a,                         \
                                        b,         a_layout, b_layout,  d_layout,                  \
                                        algorithm, d,        workspace, workspace_bytes};          \
        return handle && stream && c == d && c_layout == d_layout ? multiply(side, &product)       \
                                                                  : misuse();                      \
    }

NAMES(cublasLt, CUDA)
NAMES(hipblasLt, HIP)

EXPORT size_t cublasLtGetVersion(void);
size_t cublasLtGetVersion(void)
{
    return (size_t)fake.version;
}

EXPORT int hipblasLtGetVersion(void *handle, int *version);
int hipblasLtGetVersion(void *handle, int *version)
{
    *version = fake.version;
    return handle ? 0 : misuse();
}
