/*
 * Run-time compilation through the fake library, and through the real nvrtc when there is one: it
 * needs no card.
 */
#include "tests/unit/fake_gpu.h"

#include "hip/gpu/compiler.h"
#include "hip/gpu/images.h"

#include <stdio.h>

static const struct sora_gpu_source sources[] = {
    {"hip/kernels/all.c", "#include \"hip/kernels/one.h\"\n"
                          "extern \"C\" __global__ void twice(ONE *x) { *x *= 2; }\n"},
    {"hip/kernels/one.h", "#define ONE float\n"},
};

static struct sora_gpu_compile_params params_for(enum sora_gpu_vendor vendor, const char *arch)
{
    return (struct sora_gpu_compile_params){
        .vendor = vendor,
        .arch = arch,
        .sources = sources,
        .source_count = 2,
        .library = SORA_FAKE_GPU_DRIVER,
        .code_generator = SORA_FAKE_GPU_DRIVER,
    };
}

static struct fake_gpu *healthy(void)
{
    struct fake_gpu *fake = fake_gpu_reset();
    fake->code_size = 100;
    fake->isas[0] = "amdgcn-amd-amdhsa--gfx906";
    fake->isas[1] = "amdgcn-amd-amdhsa--gfx90a";
    return fake;
}

static void test_options_and_code(void **state)
{
    (void)state;
    struct fake_gpu *fake = healthy();
    struct sora_bytes code;
    struct sora_fault fault = {0};
    struct sora_gpu_compile_params params = params_for(SORA_GPU_AMD, "gfx90a");
    assert_int_equal(sora_gpu_compile(&params, &code, &fault), 0);
    assert_string_equal(fake->options, "--offload-arch=gfx90a -std=c++17 -O3 -ffp-contract=off "
                                       "-fno-strict-aliasing ");
    assert_int_equal(fake->headers, 1);
    assert_int_equal(code.size, 100);
    assert_int_equal(code.data[99], 'c');
    sora_bytes_fini(&code);
    params = params_for(SORA_GPU_NVIDIA, "sm_75");
    assert_int_equal(sora_gpu_compile(&params, &code, &fault), 0);
    assert_string_equal(fake->options, "--gpu-architecture=sm_75 --std=c++17 --fmad=false ");
    sora_bytes_fini(&code);
    assert_int_equal(fake->live_programs, 0);
}

static void refused(const struct sora_gpu_compile_params *params, int error, const char *words)
{
    struct sora_bytes code;
    struct sora_fault fault = {0};
    assert_int_equal(sora_gpu_compile(params, &code, &fault), error);
    assert_int_equal(code.size, 0);
    if (!strstr(fault.text, words))
        fail_msg("'%s' does not say '%s'", fault.text, words);
    sora_bytes_fini(&code);
}

static void test_refusals(void **state)
{
    (void)state;
    struct fake_gpu *fake = healthy();
    struct sora_gpu_compile_params params = params_for(SORA_GPU_AMD, "gfx942");
    refused(&params, SORA_E_UNSUPPORTED, "does not know gfx942");
    assert_int_equal(fake->compilations, 0); /* asking would have ended the process */
    params.arch = "gfx90";
    refused(&params, SORA_E_UNSUPPORTED, "does not know gfx90:");
    params.arch = "gfx90a";
    params.code_generator = "/nonexistent.so"; /* nothing to ask: not asked */
    refused(&params, SORA_E_UNSUPPORTED, "does not know gfx90a");
    assert_int_equal(fake->compilations, 0);
    params = params_for(SORA_GPU_AMD, "gfx90a");
    fake->compile_status = 6;
    refused(&params, SORA_E_UNSUPPORTED, "line 7: no such thing");
    fake->compile_status = 0;
    fake->code_size = 0;
    refused(&params, SORA_E_UNSUPPORTED, "no code for gfx90a");
    assert_int_equal(fake->live_programs, 0);
    params.library = "/nonexistent.so";
    refused(&params, SORA_E_NOT_FOUND, "hiprtc");
    params.library = "libm.so.6";
    refused(&params, SORA_E_NOT_FOUND, "libm.so.6 has no hiprtcCreateProgram");
    params = params_for(SORA_GPU_EMULATOR, "emulated-nvidia");
    refused(&params, SORA_E_UNSUPPORTED, "emulator");
}

static void test_real_compiler(void **state)
{
    (void)state;
    struct sora_gpu_compile_params params = params_for(SORA_GPU_NVIDIA, "sm_80");
    struct sora_bytes code;
    struct sora_fault fault = {0};
    params.library = NULL;
    int error = sora_gpu_compile(&params, &code, &fault);
    if (error == SORA_E_NOT_FOUND) {
        print_message("skipped: %s\n", fault.text);
        skip();
    }
    assert_int_equal(error, 0);
    assert_true(code.size > 100);
    assert_memory_equal(code.data, "\177ELF", 4);
    sora_bytes_fini(&code);
    params.arch = "sm_10";
    refused(&params, SORA_E_UNSUPPORTED, "nvrtc does not compile the kernels for sm_10");
}

/* What a card without embedded code gets: the kernels' source as the build carries it. */
static void test_kernels_compile(void **state)
{
    (void)state;
    const struct sora_gpu_compile_params params = {
        .vendor = SORA_GPU_NVIDIA,
        .arch = "sm_90",
        .sources = sora_gpu_sources,
        .source_count = sora_gpu_source_count,
    };
    struct sora_bytes code;
    struct sora_fault fault = {0};
    int error = sora_gpu_compile(&params, &code, &fault);
    if (error == SORA_E_NOT_FOUND) {
        print_message("skipped: %s\n", fault.text);
        skip();
    }
    if (error)
        fail_msg("%s", fault.text);
    print_message("kernels for sm_90: %zu bytes\n", code.size);
    assert_memory_equal(code.data, "\177ELF", 4);
    sora_bytes_fini(&code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_code),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_real_compiler),
        cmocka_unit_test(test_kernels_compile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
