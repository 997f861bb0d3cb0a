/* Which code a card gets: embedded, from the cache or compiled, and what is said when none fits. */
#include "tests/unit/fake_gpu.h"

#include "hip/gpu/module.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PTX(version, target) "// made by a test\n.version " version "\n.target " target "\nrest"

static const struct sora_gpu_image images[] = {
    {"gfx906", "object of gfx906", 16},
    {"sm_80", PTX("7.0", "sm_80"), sizeof(PTX("7.0", "sm_80")) - 1},
    {"gfx90a", "object of gfx90a", 16},
    {NULL, NULL, 0},
};
static const struct sora_gpu_source sources[] = {{"hip/kernels/all.c", "kernels"},
                                                 {"hip/kernels/gpu.h", "dialect"}};

static struct sora_gpu_card card_of(enum sora_gpu_vendor vendor, const char *arch, int driver)
{
    struct sora_gpu_card card = {.vendor = vendor, .driver_version = driver, .name = "Card"};
    snprintf(card.arch, sizeof(card.arch), "%s", arch);
    return card;
}

static void chosen(const struct sora_gpu_image *table, struct sora_gpu_card card, int index,
                   const char *words)
{
    struct sora_fault fault = {0};
    const struct sora_gpu_image *image = sora_gpu_image_choose(table, &card, &fault);
    assert_ptr_equal(image, index < 0 ? NULL : &table[index]);
    if (index < 0 && !strstr(fault.text, words))
        fail_msg("'%s' does not say '%s'", fault.text, words);
}

static void test_choice(void **state)
{
    (void)state;
    chosen(images, card_of(SORA_GPU_AMD, "gfx906", 60000000), 0, NULL);
    chosen(images, card_of(SORA_GPU_AMD, "gfx90a", 60000000), 2, NULL);
    chosen(images, card_of(SORA_GPU_AMD, "gfx90", 60000000), -1, "no code for gfx90");
    chosen(images, card_of(SORA_GPU_NVIDIA, "sm_80", 11000), 1, NULL);
    chosen(images, card_of(SORA_GPU_NVIDIA, "sm_120", 13000), 1, NULL);
    chosen(images, card_of(SORA_GPU_NVIDIA, "sm_75", 13000), -1, "for sm_80 and newer");
}

/* The driver that a version of PTX needs, by the table of the PTX manual. */
static void test_old_drivers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int driver;
        const char *words;
    } rows[] = {
        {PTX("7.0", "sm_80"), 11000, "CUDA 11.0"}, {PTX("7.8", "sm_80"), 11080, "CUDA 11.8"},
        {PTX("8.0", "sm_80"), 12000, "CUDA 12.0"}, {PTX("8.5", "sm_80"), 12050, "CUDA 12.5"},
        {PTX("8.7", "sm_80"), 12080, "CUDA 12.8"}, {PTX("9.0", "sm_80"), 13000, "CUDA 13.0"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct sora_gpu_image table[] = {{"sm_80", rows[i].text, strlen(rows[i].text)},
                                               {NULL, NULL, 0}};
        chosen(table, card_of(SORA_GPU_NVIDIA, "sm_90", rows[i].driver), 0, NULL);
        chosen(table, card_of(SORA_GPU_NVIDIA, "sm_90", rows[i].driver - 10), -1, rows[i].words);
        chosen(table, card_of(SORA_GPU_NVIDIA, "sm_90", rows[i].driver - 10), -1,
               "update the driver");
    }
    const struct sora_gpu_image nonsense[] = {{"sm_80", "PTX", 3}, {NULL, NULL, 0}};
    chosen(nonsense, card_of(SORA_GPU_NVIDIA, "sm_90", 13000), -1, "no version");
}

struct bench {
    struct fake_gpu *fake;
    struct sora_gpu_runtime *runtime;
    struct sora_gpu_card card;
    struct sora_gpu_module_params params;
};

static void bench_open(struct bench *bench, enum sora_gpu_vendor vendor, const char *arch)
{
    struct sora_fault fault;
    *bench = (struct bench){.fake = fake_gpu_reset(), .card = card_of(vendor, arch, 12040)};
    bench->fake->code_size = 50;
    bench->fake->isas[0] = "amdgcn-amd-amdhsa--gfx1031";
    assert_int_equal(fake_gpu_open(vendor, &bench->runtime, &fault), 0);
    bench->params = (struct sora_gpu_module_params){
        .runtime = bench->runtime,
        .card = &bench->card,
        .cache_folder = scratch_path("cache"),
        .compiler = SORA_FAKE_GPU_DRIVER,
        .code_generator = SORA_FAKE_GPU_DRIVER,
        .images = images,
        .sources = sources,
        .source_count = 2,
    };
}

static void bench_close(struct bench *bench)
{
    assert_int_equal(bench->fake->live_modules, 0);
    sora_gpu_runtime_destroy(&bench->runtime);
}

static void loads(struct bench *bench, const char *origin, const char *code)
{
    struct sora_gpu_module *module = NULL;
    struct sora_fault fault = {0};
    if (sora_gpu_module_create(&bench->params, &module, &fault))
        fail_msg("%s", fault.text);
    assert_string_equal(sora_gpu_module_origin(module), origin);
    assert_memory_equal(bench->fake->loaded, code, strlen(code));
    sora_gpu_module_destroy(&module);
}

static void refuses(struct bench *bench, int error, const char *words)
{
    struct sora_gpu_module *module = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_gpu_module_create(&bench->params, &module, &fault), error);
    assert_null(module);
    if (!strstr(fault.text, words))
        fail_msg("'%s' does not say '%s'", fault.text, words);
}

static void test_embedded(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, SORA_GPU_AMD, "gfx90a");
    loads(&bench, "embedded gfx90a", "object of gfx90a");
    assert_int_equal(bench.fake->compilations, 0);
    bench.fake->module_status = 719; /* lost: compiling would not help */
    refuses(&bench, SORA_E_DEVICE, "loading the kernels");
    assert_int_equal(bench.fake->compilations, 0);
    bench_close(&bench);
}

static void flip(const char *folder)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[1400];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r+b");
        if (file) {
            fseek(file, -3, SEEK_END);
            fputc('!', file);
            fclose(file);
        }
    }
    closedir(dir);
}

static void test_compiled_and_kept(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, SORA_GPU_AMD, "gfx1031");
    loads(&bench, "compiled for gfx1031", "cccc");
    assert_int_equal(scratch_entry_count("cache"), 1);
    loads(&bench, "compiled for gfx1031, from the cache", "cccc");
    assert_int_equal(bench.fake->compilations, 1);
    flip(bench.params.cache_folder); /* damaged: compiled again and replaced */
    loads(&bench, "compiled for gfx1031", "cccc");
    assert_int_equal(bench.fake->compilations, 2);
    loads(&bench, "compiled for gfx1031, from the cache", "cccc");
    bench.card.driver_version++; /* another driver: another key */
    loads(&bench, "compiled for gfx1031", "cccc");
    assert_int_equal(scratch_entry_count("cache"), 2);
    bench.params.cache_folder = "/proc/no/such";
    loads(&bench, "compiled for gfx1031", "cccc");
    bench.params.cache_folder = NULL;
    loads(&bench, "compiled for gfx1031", "cccc");
    bench_close(&bench);
}

static void test_nothing_fits(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, SORA_GPU_AMD, "gfx1031");
    bench.fake->isas[0] = NULL;
    refuses(&bench, SORA_E_UNSUPPORTED, "no code for gfx1031; hiprtc does not know gfx1031");
    bench.params.compiler = "/nonexistent.so";
    refuses(&bench, SORA_E_UNSUPPORTED, "no hiprtc library");
    bench.params.source_count = 0;
    refuses(&bench, SORA_E_UNSUPPORTED, "no source to compile");
    bench_close(&bench);
    /* PTX that the driver refuses, and nothing that compiles. */
    bench_open(&bench, SORA_GPU_NVIDIA, "sm_90");
    bench.fake->module_status = SORA_GPU_STATUS_NEWER_PTX;
    refuses(&bench, SORA_E_UNSUPPORTED, "loading the kernels failed");
    assert_int_equal(bench.fake->compilations, 1);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_old_drivers),
        cmocka_unit_test_setup_teardown(test_embedded, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_compiled_and_kept, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_fits, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
