/*
 * Choice of code for a card, and launches.
 *
 * PTX tells its language version and its least compute capability in its first lines; both are
 * compared with the driver and the card before the driver is asked, for a clear sentence.
 */
#include "hip/gpu/module.h"

#include "base/log.h"
#include "hip/gpu/code_cache.h"
#include "hip/gpu/compiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above this a CUDA kernel has to be told that it may. */
#define SHARED_BYTES_FREE 49152
#define CUDA_ATTRIBUTE_SHARED_BYTES 8

/* The two drivers' markers of an argument buffer; only the end differs. */
#define EXTRA_BUFFER ((void *)1)
#define EXTRA_SIZE ((void *)2)
#define EXTRA_END_HIP ((void *)3)
#define EXTRA_END_CUDA ((void *)0)

struct sora_gpu_module {
    const struct sora_gpu_runtime *runtime;
    void *handle;
    void *functions[SORA_KERNEL_COUNT];
    size_t shared_size[SORA_KERNEL_COUNT]; /* allowed so far */
    char origin[80];
};

const char *sora_gpu_module_origin(const struct sora_gpu_module *module)
{
    return module->origin;
}

/* ---- embedded images ---- */

/* "major.minor" behind `word` in the first bytes of PTX, as 10 * major + minor; 0 when absent. */
static int ptx_number(const struct sora_gpu_image *image, const char *format)
{
    char head[2048];
    size_t size = image->size < sizeof(head) - 1 ? image->size : sizeof(head) - 1;
    memcpy(head, image->data, size);
    head[size] = '\0';
    for (const char *line = head; line; line = strchr(line, '\n')) {
        int major = 0, minor = 0;
        line += *line == '\n';
        int found = sscanf(line, format, &major, &minor);
        if (found == 2)
            return 10 * major + minor;
        if (found == 1)
            return major;
    }
    return 0;
}

/* The CUDA driver that takes a PTX version (CUDA: PTX ISA, release notes). From 7.0 on the minor
 * versions run along, except at the end of CUDA 12. */
static int ptx_driver_version(int ptx)
{
    if (ptx <= 70)
        return 11000;
    if (ptx < 80)
        return 11000 + (ptx - 70) * 10;
    if (ptx <= 85)
        return 12000 + (ptx - 80) * 10;
    if (ptx < 90)
        return 12000 + (ptx - 79) * 10;
    return 13000 + (ptx - 90) * 10;
}

static bool ptx_fits(const struct sora_gpu_image *image, const struct sora_gpu_card *card,
                     struct sora_fault *fault)
{
    int version = ptx_number(image, ".version %d.%d");
    int target = ptx_number(image, ".target sm_%d");
    int capability = atoi(card->arch + strlen("sm_"));
    int driver = ptx_driver_version(version);
    if (!version || !target) {
        sora_fault_set(fault, SORA_E_UNSUPPORTED, "the embedded PTX has no version or target");
        return false;
    }
    if (capability < target) {
        sora_fault_set(fault, SORA_E_UNSUPPORTED,
                       "the embedded PTX is for sm_%d and newer, the card is %s", target,
                       card->arch);
        return false;
    }
    if (card->driver_version < driver) {
        sora_fault_set(fault, SORA_E_UNSUPPORTED,
                       "the driver (CUDA %d.%d) is older than the embedded PTX %d.%d, which needs "
                       "CUDA %d.%d: update the driver",
                       card->driver_version / 1000, card->driver_version % 1000 / 10, version / 10,
                       version % 10, driver / 1000, driver % 1000 / 10);
        return false;
    }
    return true;
}

const struct sora_gpu_image *sora_gpu_image_choose(const struct sora_gpu_image *images,
                                                   const struct sora_gpu_card *card,
                                                   struct sora_fault *fault)
{
    for (; images->arch; images++) {
        bool is_ptx = strncmp(images->arch, "sm_", 3) == 0;
        if (card->vendor == SORA_GPU_NVIDIA ? is_ptx && ptx_fits(images, card, fault)
                                            : strcmp(images->arch, card->arch) == 0)
            return images;
    }
    sora_fault_set(fault, SORA_E_UNSUPPORTED, "this build has no code for %s", card->arch);
    return NULL;
}

/* ---- loading ---- */

static int load_code(struct sora_gpu_module *module, const void *code, struct sora_fault *fault)
{
    const struct sora_gpu_runtime *runtime = module->runtime;
    int status = runtime->calls.module_load(&module->handle, code);
    if (status) {
        module->handle = NULL;
        return sora_gpu_fault(runtime, "loading the kernels", status, fault);
    }
    for (int i = 0; i < SORA_KERNEL_COUNT; i++) {
        status = runtime->calls.module_function(&module->functions[i], module->handle,
                                                sora_kernel_name((enum sora_kernel)i));
        if (status) {
            runtime->calls.module_unload(module->handle);
            module->handle = NULL;
            return sora_fault_set(fault, SORA_E_UNSUPPORTED, "the code has no kernel %s (%d)",
                                  sora_kernel_name((enum sora_kernel)i), status);
        }
    }
    return 0;
}

static int load_embedded(struct sora_gpu_module *module,
                         const struct sora_gpu_module_params *params, struct sora_fault *fault)
{
    const struct sora_gpu_image *images = params->images ? params->images : sora_gpu_images;
    const struct sora_gpu_image *image = sora_gpu_image_choose(images, params->card, fault);
    if (!image)
        return SORA_E_UNSUPPORTED;
    snprintf(module->origin, sizeof(module->origin), "embedded %.40s", image->arch);
    return load_code(module, image->data, fault);
}

static const struct sora_gpu_source *sources_of(const struct sora_gpu_module_params *params,
                                                int *out_count)
{
    *out_count = params->sources ? params->source_count : sora_gpu_source_count;
    return params->sources ? params->sources : sora_gpu_sources;
}

/* All that decides what comes out. */
static void key_make(const struct sora_gpu_module_params *params, struct sora_code_key *out_key)
{
    const struct sora_gpu_card *card = params->card;
    char text[128];
    int count = 0;
    const struct sora_gpu_source *sources = sources_of(params, &count);
    sora_code_key_init(out_key);
    for (int i = 0; i < count; i++) {
        sora_code_key_add_text(out_key, sources[i].name);
        sora_code_key_add_text(out_key, sources[i].text);
    }
    snprintf(text, sizeof(text), "%s %s %d", sora_gpu_vendor_name(card->vendor), card->arch,
             card->driver_version);
    sora_code_key_add_text(out_key, text);
    for (const char *const *at = sora_gpu_compile_options(card->vendor); *at; at++)
        sora_code_key_add_text(out_key, *at);
}

static int compile(const struct sora_gpu_module_params *params, const struct sora_code_key *key,
                   struct sora_bytes *out_code, struct sora_fault *fault)
{
    struct sora_gpu_compile_params compile = {
        .vendor = params->card->vendor,
        .arch = params->card->arch,
        .library = params->compiler,
        .code_generator = params->code_generator,
    };
    compile.sources = sources_of(params, &compile.source_count);
    if (compile.source_count == 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "this build has no source to compile");
    sora_log(SORA_LOG_INFO, "compiling kernels arch=%s", params->card->arch);
    int error = sora_gpu_compile(&compile, out_code, fault);
    struct sora_fault kept = {0};
    if (!error && params->cache_folder &&
        sora_code_cache_write(params->cache_folder, key, out_code->data, out_code->size, &kept))
        sora_log(SORA_LOG_WARN, "compiled kernels not kept reason=%s", kept.text);
    return error;
}

static int load_compiled(struct sora_gpu_module *module,
                         const struct sora_gpu_module_params *params, struct sora_fault *fault)
{
    struct sora_code_key key;
    struct sora_bytes code = {0};
    key_make(params, &key);
    if (params->cache_folder && sora_code_cache_read(params->cache_folder, &key, &code) == 0) {
        struct sora_fault unused = {0};
        snprintf(module->origin, sizeof(module->origin), "compiled for %.31s, from the cache",
                 params->card->arch);
        int error = load_code(module, code.data, &unused);
        sora_bytes_fini(&code);
        if (!error)
            return 0;
    }
    sora_bytes_fini(&code);
    snprintf(module->origin, sizeof(module->origin), "compiled for %.31s", params->card->arch);
    int error = compile(params, &key, &code, fault);
    if (!error)
        error = load_code(module, code.data, fault);
    sora_bytes_fini(&code);
    return error;
}

/* The reasons of both ways in one sentence. */
static int load_any(struct sora_gpu_module *module, const struct sora_gpu_module_params *params,
                    struct sora_fault *fault)
{
    struct sora_fault embedded = {0}, compiled = {0};
    if (params->card->vendor == SORA_GPU_EMULATOR) {
        snprintf(module->origin, sizeof(module->origin), "built for the emulator");
        return load_code(module, "", fault);
    }
    int error = load_embedded(module, params, &embedded);
    if (error && error != SORA_E_UNSUPPORTED)
        return sora_fault_set(fault, error, "%s", embedded.text);
    if (!error)
        return 0;
    error = load_compiled(module, params, &compiled);
    if (error)
        sora_fault_set(fault, error == SORA_E_NOT_FOUND ? SORA_E_UNSUPPORTED : error,
                       "%s: %.200s; %.200s", params->card->name, embedded.text, compiled.text);
    return error == SORA_E_NOT_FOUND ? SORA_E_UNSUPPORTED : error;
}

int sora_gpu_module_create(const struct sora_gpu_module_params *params,
                           struct sora_gpu_module **out_module, struct sora_fault *fault)
{
    struct sora_gpu_module *module = calloc(1, sizeof(*module));
    if (!module)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the table of kernels");
    module->runtime = params->runtime;
    int error = load_any(module, params, fault);
    if (error) {
        sora_gpu_module_destroy(&module);
        return error;
    }
    sora_log(SORA_LOG_INFO, "kernels loaded arch=%s from=%s", params->card->arch, module->origin);
    *out_module = module;
    return 0;
}

void sora_gpu_module_destroy(struct sora_gpu_module **module)
{
    if (!*module)
        return;
    if ((*module)->handle)
        (*module)->runtime->calls.module_unload((*module)->handle);
    free(*module);
    *module = NULL;
}

/* ---- launching ---- */

static int shared_allow(struct sora_gpu_module *module, const struct sora_launch_plan *plan)
{
    const struct sora_gpu_calls *calls = &module->runtime->calls;
    size_t *allowed = &module->shared_size[plan->kernel];
    if (!calls->cuda_function_attribute || plan->shared_size <= SHARED_BYTES_FREE ||
        plan->shared_size <= *allowed)
        return SORA_GPU_STATUS_OK;
    int status = calls->cuda_function_attribute(
        module->functions[plan->kernel], CUDA_ATTRIBUTE_SHARED_BYTES, (int)plan->shared_size);
    if (!status)
        *allowed = plan->shared_size;
    return status;
}

int sora_gpu_module_launch(struct sora_gpu_module *module, void *stream,
                           const struct sora_launch_plan *plan, const void *args)
{
    bool is_cuda = module->runtime->vendor == SORA_GPU_NVIDIA;
    size_t size = plan->args_size;
    void *extra[] = {EXTRA_BUFFER, (void *)(uintptr_t)args, EXTRA_SIZE, &size,
                     is_cuda ? EXTRA_END_CUDA : EXTRA_END_HIP};
    int status = shared_allow(module, plan);
    if (status)
        return status;
    return module->runtime->calls.launch(module->functions[plan->kernel], plan->grid[0],
                                         plan->grid[1], plan->grid[2], SORA_KERNEL_THREADS, 1, 1,
                                         (unsigned)plan->shared_size, stream, NULL, extra);
}
