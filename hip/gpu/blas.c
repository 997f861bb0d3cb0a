/*
 * cuBLASLt and hipBLASLt behind one table: their calls have the same arguments, their numbers
 * differ in places. Specifications: cuBLAS library reference, "Using the cuBLASLt API"; hipBLASLt
 * API reference (from 0.6, ROCm 6.0, on its types are HIP's).
 *
 * Both count matrices by columns. A row-major [m][k] is their column-major k x m, so out^T (n x m)
 * is weight^T, transposed, times rows^T; the bias then lies along their rows, as they want it, and
 * the first operand alone is transposed, as fp8 must be.
 */
#include "hip/gpu/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_F32 0
#define TYPE_F16 2
#define TYPE_BF16 14
#define TYPE_F8 28        /* e4m3 */
#define TYPE_F8_FNUZ 1000 /* hipBLASLt on gfx942: the same codes mean half */
#define EPILOGUE_BIAS 4
#define PREFERENCE_WORKSPACE 1
#define PREFERENCE_ALIGNMENT 5 /* of the first of four operands; cuBLASLt only */
#define OPERANDS 4
#define ALIGNMENT 16u
#define ALGORITHM_BYTES_MAX 64
#define CHOICE_BYTES 256 /* more than a heuristic's result of either library */
#define ENTRIES_MAX 64

/* X(field, hipBLASLt symbol, cuBLASLt symbol, arguments); every call returns a status, 0 for
 * success. Objects of the library are void pointers here. */
#define BLAS_CALLS(X)                                                                              \
    X(create, "hipblasLtCreate", "cublasLtCreate", (void **handle))                                \
    X(destroy, "hipblasLtDestroy", "cublasLtDestroy", (void *handle))                              \
    X(hip_version, "hipblasLtGetVersion", NULL, (void *handle, int *version))                      \
    X(operation_create, "hipblasLtMatmulDescCreate", "cublasLtMatmulDescCreate",                   \
      (void **operation, int compute, int scale))                                                  \
    X(operation_destroy, "hipblasLtMatmulDescDestroy", "cublasLtMatmulDescDestroy",                \
      (void *operation))                                                                           \
    X(operation_set, "hipblasLtMatmulDescSetAttribute", "cublasLtMatmulDescSetAttribute",          \
      (void *operation, int attribute, const void *value, size_t size))                            \
    X(layout_create, "hipblasLtMatrixLayoutCreate", "cublasLtMatrixLayoutCreate",                  \
      (void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride))                  \
    X(layout_destroy, "hipblasLtMatrixLayoutDestroy", "cublasLtMatrixLayoutDestroy",               \
      (void *layout))                                                                              \
    X(preference_create, "hipblasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceCreate",      \
      (void **preference))                                                                         \
    X(preference_destroy, "hipblasLtMatmulPreferenceDestroy", "cublasLtMatmulPreferenceDestroy",   \
      (void *preference))                                                                          \
    X(preference_set, "hipblasLtMatmulPreferenceSetAttribute",                                     \
      "cublasLtMatmulPreferenceSetAttribute",                                                      \
      (void *preference, int attribute, const void *value, size_t size))                           \
    X(choose, "hipblasLtMatmulAlgoGetHeuristic", "cublasLtMatmulAlgoGetHeuristic",                 \
      (void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,        \
       int asked, void *results, int *found))                                                      \
    X(multiply, "hipblasLtMatmul", "cublasLtMatmul",                                               \
      (void *handle, void *operation, const void *alpha, const void *a, void *a_layout,            \
       const void *b, void *b_layout, const void *beta, const void *c, void *c_layout, void *d,    \
       void *d_layout, const void *algorithm, void *workspace, size_t workspace_bytes,             \
       void *stream))

struct blas_calls {
#define BLAS_FIELD(field, hip, cuda, arguments) int(*field) arguments;
    BLAS_CALLS(BLAS_FIELD)
#undef BLAS_FIELD
    size_t (*cuda_version)(void);
};

struct call_row {
    const char *symbols[2]; /* by vendor */
    size_t offset;          /* of the field in the table */
};

static const struct call_row call_rows[] = {
#define BLAS_ROW(field, hip, cuda, arguments) {{hip, cuda}, offsetof(struct blas_calls, field)},
    BLAS_CALLS(BLAS_ROW)
#undef BLAS_ROW
        {{NULL, "cublasLtGetVersion"}, offsetof(struct blas_calls, cuda_version)},
};

struct vendor_row {
    const char *name;
    const char *libraries[6]; /* best first, ends with NULL */
    int version_min;
    int compute_f32;
    int transposed; /* the value */
    int attribute_transpose_a, attribute_epilogue, attribute_bias;
    size_t algorithm_bytes;
    bool aligned; /* it has the preferences for alignment */
};

static const struct vendor_row vendor_rows[2] = {
    [SORA_GPU_AMD] = {.name = "hipblaslt",
                      .libraries = {"libhipblaslt.so.1", "libhipblaslt.so.0",
                                    "/opt/rocm/lib/libhipblaslt.so", NULL},
                      .version_min = 600,
                      .compute_f32 = 2,
                      .transposed = 112,
                      .attribute_transpose_a = 0,
                      .attribute_epilogue = 2,
                      .attribute_bias = 3,
                      .algorithm_bytes = 24},
    [SORA_GPU_NVIDIA] = {.name = "cublaslt",
                         .libraries = {"libcublasLt.so.13", "libcublasLt.so.12",
                                       "libcublasLt.so.11", "/usr/local/cuda/lib64/libcublasLt.so",
                                       NULL},
                         .version_min = 11000,
                         .compute_f32 = 68,
                         .transposed = 1,
                         .attribute_transpose_a = 3,
                         .attribute_epilogue = 7,
                         .attribute_bias = 8,
                         .algorithm_bytes = 64,
                         .aligned = true},
};

/* A shape and what was chosen for it. */
struct entry {
    enum sora_dtype dtype;
    int m, n, k;
    bool bias;
    bool usable; /* the library has an algorithm */
    void *operation, *weight, *rows, *out;
    unsigned char algorithm[ALGORITHM_BYTES_MAX];
};

struct sora_gpu_blas {
    struct sora_gpu_blas_params params;
    const struct vendor_row *row;
    struct blas_calls calls;
    void *handle, *preference;
    char library[128], name[32];
    pthread_mutex_t lock; /* of what follows */
    struct entry entries[ENTRIES_MAX];
    int entry_count, entry_next; /* filled in turn; the oldest is replaced */
};

const char *sora_gpu_blas_name(const struct sora_gpu_blas *blas)
{
    return blas->name;
}

const char *sora_gpu_blas_library(const struct sora_gpu_blas *blas)
{
    return blas->library;
}

/* ---- opening ---- */

bool sora_gpu_blas_asked(const char **out_library)
{
    const char *given = getenv("SORA_GPU_BLAS");
    bool named = given && *given, off = named && strcmp(given, "off") == 0;
    *out_library = named && !off ? given : NULL;
    return !off;
}

const char *const *sora_gpu_blas_libraries(enum sora_gpu_vendor vendor)
{
    return vendor_rows[vendor].libraries;
}

static int load(struct sora_gpu_blas *blas, struct sora_fault *fault)
{
    const char *const only[] = {blas->params.library, NULL};
    const char *const *names = blas->params.library ? only : blas->row->libraries;
    void *library = sora_gpu_library_open(names, blas->library, sizeof(blas->library));
    if (!library) {
        const char *reason = dlerror();
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "no %s: %.200s", blas->row->name,
                              reason ? reason : names[0]);
    }
    for (size_t i = 0; i < sizeof(call_rows) / sizeof(call_rows[0]); i++) {
        const char *name = call_rows[i].symbols[blas->params.vendor];
        void *symbol = name ? dlsym(library, name) : NULL;
        if (name && !symbol)
            return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s has no %s", blas->library, name);
        memcpy((char *)&blas->calls + call_rows[i].offset, &symbol, sizeof(symbol));
    }
    return 0;
}

static int check_version(struct sora_gpu_blas *blas, struct sora_fault *fault)
{
    int version = 0;
    if (blas->calls.cuda_version)
        version = (int)blas->calls.cuda_version();
    else if (blas->calls.hip_version(blas->handle, &version))
        version = 0;
    if (version < blas->row->version_min)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "%s is version %d, older than %d",
                              blas->library, version, blas->row->version_min);
    snprintf(blas->name, sizeof(blas->name), "%s%d", blas->row->name, version);
    return 0;
}

/* What every choice keeps to: the bound of workspace, and operands aligned no better than ours. */
static int set_preference(struct sora_gpu_blas *blas)
{
    const uint64_t workspace = blas->params.workspace_bytes;
    const uint32_t alignment = ALIGNMENT;
    int status = blas->calls.preference_create(&blas->preference);
    if (!status)
        status = blas->calls.preference_set(blas->preference, PREFERENCE_WORKSPACE, &workspace,
                                            sizeof(workspace));
    for (int i = 0; !status && blas->row->aligned && i < OPERANDS; i++)
        status = blas->calls.preference_set(blas->preference, PREFERENCE_ALIGNMENT + i, &alignment,
                                            sizeof(alignment));
    return status;
}

static int start(struct sora_gpu_blas *blas, struct sora_fault *fault)
{
    int status = blas->calls.create(&blas->handle);
    if (status)
        blas->handle = NULL;
    else
        status = set_preference(blas);
    if (status)
        return sora_fault_set(fault, SORA_E_DEVICE, "%s does not start (status %d)", blas->library,
                              status);
    return check_version(blas, fault);
}

int sora_gpu_blas_create(const struct sora_gpu_blas_params *params, struct sora_gpu_blas **out_blas,
                         struct sora_fault *fault)
{
    struct sora_gpu_blas *blas = calloc(1, sizeof(*blas));
    if (!blas)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a library of products");
    blas->params = *params;
    blas->row = &vendor_rows[params->vendor];
    pthread_mutex_init(&blas->lock, NULL);
    int error = load(blas, fault);
    if (!error)
        error = start(blas, fault);
    if (error) {
        sora_gpu_blas_destroy(&blas);
        return error;
    }
    *out_blas = blas;
    return 0;
}

static void entry_clear(struct sora_gpu_blas *blas, struct entry *entry)
{
    void *const layouts[] = {entry->weight, entry->rows, entry->out};
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        if (layouts[i])
            blas->calls.layout_destroy(layouts[i]);
    }
    if (entry->operation)
        blas->calls.operation_destroy(entry->operation);
    *entry = (struct entry){.m = 0};
}

void sora_gpu_blas_destroy(struct sora_gpu_blas **blas)
{
    if (!*blas)
        return;
    for (int i = 0; i < (*blas)->entry_count; i++)
        entry_clear(*blas, &(*blas)->entries[i]);
    if ((*blas)->preference)
        (*blas)->calls.preference_destroy((*blas)->preference);
    if ((*blas)->handle)
        (*blas)->calls.destroy((*blas)->handle);
    pthread_mutex_destroy(&(*blas)->lock);
    free(*blas);
    *blas = NULL;
}

/* ---- choosing ---- */

/* The bias's address counts as its alignment while an algorithm is chosen. */
static int set_bias(struct sora_gpu_blas *blas, void *operation, const void *bias)
{
    return blas->calls.operation_set(operation, blas->row->attribute_bias, &bias, sizeof(bias));
}

static int type_number(const struct sora_gpu_blas *blas, enum sora_dtype dtype)
{
    if (dtype == SORA_DTYPE_F8)
        return blas->params.fnuz ? TYPE_F8_FNUZ : TYPE_F8;
    return dtype == SORA_DTYPE_F16 ? TYPE_F16 : TYPE_BF16;
}

static int describe(struct sora_gpu_blas *blas, struct entry *entry)
{
    const struct blas_calls *calls = &blas->calls;
    const int32_t transposed = blas->row->transposed;
    const uint32_t epilogue = EPILOGUE_BIAS;
    const int type = type_number(blas, entry->dtype);
    const uint64_t m = (uint64_t)entry->m, n = (uint64_t)entry->n, k = (uint64_t)entry->k;
    int status = calls->operation_create(&entry->operation, blas->row->compute_f32, TYPE_F32);
    if (!status)
        status = calls->operation_set(entry->operation, blas->row->attribute_transpose_a,
                                      &transposed, sizeof(transposed));
    if (!status && entry->bias)
        status = calls->operation_set(entry->operation, blas->row->attribute_epilogue, &epilogue,
                                      sizeof(epilogue));
    if (!status && entry->bias)
        status = set_bias(blas, entry->operation, (const void *)(uintptr_t)ALIGNMENT);
    if (!status)
        status = calls->layout_create(&entry->weight, type, k, n, entry->k);
    if (!status)
        status = calls->layout_create(&entry->rows, type, k, m, entry->k);
    if (!status)
        status = calls->layout_create(&entry->out, TYPE_F32, n, m, entry->n);
    return status;
}

/* A heuristic's result is the algorithm, the workspace that it needs (size_t), a status (int) and
 * more; its workspace is checked because the bound is a promise of ours, not of the library. */
static void choose(struct sora_gpu_blas *blas, struct entry *entry)
{
    unsigned char result[CHOICE_BYTES] = {0};
    size_t size = blas->row->algorithm_bytes, workspace = 0;
    int found = 0, status = describe(blas, entry);
    if (!status)
        status = blas->calls.choose(blas->handle, entry->operation, entry->weight, entry->rows,
                                    entry->out, entry->out, blas->preference, 1, result, &found);
    if (status || found < 1)
        return;
    memcpy(&workspace, result + size, sizeof(workspace));
    memcpy(&status, result + size + sizeof(workspace), sizeof(status));
    memcpy(entry->algorithm, result, size);
    entry->usable = status == 0 && workspace <= blas->params.workspace_bytes;
}

static struct entry *entry_get(struct sora_gpu_blas *blas,
                               const struct sora_gpu_blas_product *product)
{
    for (int i = 0; i < blas->entry_count; i++) {
        struct entry *entry = &blas->entries[i];
        if (entry->m == product->m && entry->n == product->n && entry->k == product->k &&
            entry->dtype == product->dtype && entry->bias == (product->bias != NULL))
            return entry;
    }
    struct entry *entry = &blas->entries[blas->entry_next];
    blas->entry_next = (blas->entry_next + 1) % ENTRIES_MAX;
    if (blas->entry_count < ENTRIES_MAX)
        blas->entry_count++;
    entry_clear(blas, entry);
    *entry = (struct entry){.dtype = product->dtype,
                            .m = product->m,
                            .n = product->n,
                            .k = product->k,
                            .bias = product->bias != NULL};
    choose(blas, entry);
    return entry;
}

/* ---- multiplying ---- */

static int multiply(struct sora_gpu_blas *blas, const struct sora_gpu_blas_product *product,
                    const struct entry *entry)
{
    const bool halves = blas->params.fnuz && entry->dtype == SORA_DTYPE_F8; /* both operands */
    const float alpha = halves ? 4.0f : 1.0f, zero = 0.0f;
    int status = product->bias ? set_bias(blas, entry->operation, product->bias) : 0;
    if (!status)
        status = blas->calls.multiply(
            blas->handle, entry->operation, &alpha, product->weight, entry->weight, product->rows,
            entry->rows, &zero, product->out, entry->out, product->out, entry->out,
            entry->algorithm, product->workspace, blas->params.workspace_bytes, product->stream);
    return status;
}

int sora_gpu_blas_multiply(struct sora_gpu_blas *blas, const struct sora_gpu_blas_product *product,
                           struct sora_fault *fault)
{
    pthread_mutex_lock(&blas->lock);
    const struct entry *entry = entry_get(blas, product);
    bool usable = entry->usable;
    int status = usable ? multiply(blas, product, entry) : 0;
    pthread_mutex_unlock(&blas->lock);
    if (!usable)
        return SORA_E_UNSUPPORTED;
    if (status)
        return sora_fault_set(fault, SORA_E_DEVICE, "%s refused a product %dx%dx%d (status %d)",
                              blas->library, product->m, product->n, product->k, status);
    return 0;
}
