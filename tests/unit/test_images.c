/* What the build embedded: the source is complete (every include of a source is a source), images
 * are of the right format, and their count is the table's. */
#include "hip/gpu/images.h"
#include "tests/unit/cpu_fixture.h"

#include <string.h>

static bool source_known(const char *name, size_t length)
{
    for (int i = 0; i < sora_gpu_source_count; i++) {
        if (strlen(sora_gpu_sources[i].name) == length &&
            memcmp(sora_gpu_sources[i].name, name, length) == 0)
            return true;
    }
    return false;
}

/* What only the host's compiler reads may be missing. */
static void test_sources(void **state)
{
    static const char include[] = "#include \"hip/kernels/";
    int found = 0;
    (void)state;
    assert_true(sora_gpu_source_count > 1 && sora_gpu_source_count <= SORA_GPU_SOURCES_MAX);
    assert_string_equal(sora_gpu_sources[0].name, "hip/kernels/all.c");
    for (int i = 0; i < sora_gpu_source_count; i++) {
        const char *at = sora_gpu_sources[i].text;
        while ((at = strstr(at, include))) {
            at += strlen("#include \"");
            assert_true(source_known(at, strcspn(at, "\"")));
            found++;
        }
    }
    assert_true(found >= sora_gpu_source_count - 1);
}

static void test_images(void **state)
{
    int count = 0;
    (void)state;
    for (const struct sora_gpu_image *image = sora_gpu_images; image->arch; image++, count++) {
        const char *data = image->data;
        assert_true(image->size > 1000);
        if (strncmp(image->arch, "sm_", 3) == 0) {
            assert_int_equal(data[image->size - 1], 0);
            assert_int_equal(strlen(data), image->size - 1);
            assert_non_null(strstr(data, ".entry gemm_bf16("));
        } else {
            assert_memory_equal(data, "\177ELF", 4);
        }
    }
    assert_int_equal(count, sora_gpu_image_count);
}

/* The embedded source, by the run-time compiler of a vendor when it is installed. */
static void compile(enum sora_gpu_vendor vendor, const char *arch)
{
    const struct sora_gpu_compile_params params = {
        .vendor = vendor,
        .arch = arch,
        .sources = sora_gpu_sources,
        .source_count = sora_gpu_source_count,
    };
    struct sora_bytes code;
    struct sora_fault fault = {0};
    int error = sora_gpu_compile(&params, &code, &fault);
    if (error)
        print_message("%s: %s\n", arch, fault.text);
    if (error == SORA_E_NOT_FOUND)
        skip();
    assert_int_equal(error, 0);
    assert_true(code.size > 1000);
    sora_bytes_fini(&code);
}

static void test_compile_nvidia(void **state)
{
    (void)state;
    compile(SORA_GPU_NVIDIA, "sm_80");
}

static void test_compile_amd(void **state)
{
    (void)state;
    compile(SORA_GPU_AMD, "gfx90a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_compile_nvidia),
        cmocka_unit_test(test_compile_amd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
