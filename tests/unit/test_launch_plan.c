/* Which kernel, grid and shared memory operations get, alignment flags, and sizes that are refused.
 */
#include "hip/gpu/launch_plan.h"
#include "tests/unit/cpu_fixture.h"

static const struct sora_kernel_target nvidia = {.kind = GPU_NVIDIA, .wave = 32},
                                       simt = {.kind = GPU_SIMT, .wave = 64};

static void test_targets(void **state)
{
    static const struct {
        const char *arch;
        int kind, wave; /* kind 0: unknown */
        enum sora_gpu_fp8 fp8;
    } rows[] = {
        {"sm_80", GPU_NVIDIA, 32, SORA_GPU_FP8_NONE},
        {"sm_86", GPU_NVIDIA, 32, SORA_GPU_FP8_NONE},
        {"sm_89", GPU_NVIDIA, 32, SORA_GPU_FP8_OCP},
        {"sm_120", GPU_NVIDIA, 32, SORA_GPU_FP8_OCP},
        {"sm_75", 0, 0, SORA_GPU_FP8_NONE},
        {"gfx90a:sramecc+:xnack-", GPU_CDNA, 64, SORA_GPU_FP8_NONE},
        {"gfx942", GPU_CDNA, 64, SORA_GPU_FP8_FNUZ},
        {"gfx950", GPU_CDNA, 64, SORA_GPU_FP8_OCP},
        {"gfx906", GPU_SIMT, 64, SORA_GPU_FP8_NONE},
        {"gfx1030", GPU_SIMT, 32, SORA_GPU_FP8_NONE},
        {"gfx1100", GPU_RDNA3, 32, SORA_GPU_FP8_NONE},
        {"gfx1201", GPU_RDNA4, 32, SORA_GPU_FP8_OCP},
        {"emulated-simt64", GPU_SIMT, 64, SORA_GPU_FP8_NONE},
        {"", 0, 0, SORA_GPU_FP8_NONE},
        {"gfx803", 0, 0, SORA_GPU_FP8_NONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sora_kernel_target target = {0};
        int code = sora_kernel_target_find(rows[i].arch, &target);
        assert_int_equal(code, rows[i].kind ? 0 : SORA_E_UNSUPPORTED);
        assert_int_equal(target.kind, rows[i].kind);
        assert_int_equal(target.wave, rows[i].wave);
        assert_int_equal(target.fp8, rows[i].fp8);
    }
}

static void test_gemm(void **state)
{
    static _Alignas(16) float memory[64];
    struct sora_launch_plan plan;
    struct gemm_args args = {.a = memory,
                             .b = memory,
                             .out = memory,
                             .m = 1000,
                             .n = 260,
                             .k = 40,
                             .a_stride = 40,
                             .b_stride = 40};
    (void)state;
    assert_int_equal(
        sora_plan_gemm(&nvidia, SORA_DTYPE_BF16, false, SORA_PLAN_WEIGHT_HALF, &args, &plan), 0);
    assert_string_equal(sora_kernel_name(plan.kernel), "gemm_bf16");
    assert_int_equal(plan.grid[0], 8 * 3);
    assert_int_equal(plan.shared_size, 40960);
    assert_true(args.a_vector && args.b_vector && args.out_vector);
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_F16, true, SORA_PLAN_WEIGHT_HALF, &args, &plan), 0);
    assert_string_equal(sora_kernel_name(plan.kernel), "gemm_half_f16");
    assert_int_equal(plan.grid[0], 16 * 5);
    args.b_stride = 41;
    args.n = 257;
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_F16, true, SORA_PLAN_WEIGHT_HALF, &args, &plan),
        SORA_E_INVALID); /* rows that were rounded beforehand are copied 16 bytes at a time */
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_F16, false, SORA_PLAN_WEIGHT_HALF, &args, &plan), 0);
    assert_true(args.a_vector && !args.b_vector && !args.out_vector);
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_F32, true, SORA_PLAN_WEIGHT_HALF, &args, &plan),
        SORA_E_UNSUPPORTED);
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_BF16, false, SORA_PLAN_WEIGHT_INT8, &args, &plan),
        SORA_E_INVALID);
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_BF16, false, SORA_PLAN_WEIGHT_FP8, &args, &plan),
        SORA_E_INVALID); /* rows of 41 codes */
    assert_int_equal(
        sora_plan_gemm(&simt, SORA_DTYPE_F16, false, SORA_PLAN_WEIGHT_FP8, &args, &plan),
        SORA_E_UNSUPPORTED);
    args.m = 0;
    assert_int_equal(
        sora_plan_gemm(&nvidia, SORA_DTYPE_BF16, false, SORA_PLAN_WEIGHT_HALF, &args, &plan),
        SORA_E_INVALID);
}

static void test_attention(void **state)
{
    struct sora_launch_plan plan;
    struct attention_args args = {.queries = 300, .keys = 7, .heads = 12, .head_size = 80};
    (void)state;
    assert_int_equal(sora_plan_attention(&nvidia, SORA_DTYPE_BF16, &args, &plan), 0);
    assert_string_equal(sora_kernel_name(plan.kernel), "attention_bf16_128");
    assert_int_equal(plan.grid[0], 2); /* eight waves of 32 queries */
    assert_int_equal(plan.grid[1], 12);
    assert_true(plan.shared_size <= 49152);
    args.head_size = 384;
    assert_int_equal(sora_plan_attention(&nvidia, SORA_DTYPE_BF16, &args, &plan),
                     SORA_E_UNSUPPORTED);
    assert_int_equal(sora_plan_attention(&nvidia, SORA_DTYPE_F32, &args, &plan), 0);
    args.head_size = 513;
    assert_int_equal(sora_plan_attention(&nvidia, SORA_DTYPE_F32, &args, &plan),
                     SORA_E_UNSUPPORTED);
    args.heads = 65536;
    assert_int_equal(sora_plan_attention(&nvidia, SORA_DTYPE_F32, &args, &plan), SORA_E_LIMIT);
}

static void test_elements(void **state)
{
    struct sora_launch_plan plan;
    (void)state;
    assert_int_equal(sora_plan_elements(SORA_KERNEL_fill, 1025, &plan), 0);
    assert_int_equal(plan.grid[0], 2);
    assert_int_equal(plan.args_size, sizeof(struct fill_args));
    assert_int_equal(sora_plan_elements(SORA_KERNEL_fill, 0, &plan), SORA_E_INVALID);
    assert_int_equal(sora_plan_elements(SORA_KERNEL_fill, (int64_t)1 << 42, &plan), SORA_E_LIMIT);
    assert_int_equal(sora_plan_elements(SORA_KERNEL_gemm_f32, 1, &plan), SORA_E_INVALID);
    assert_int_equal(sora_plan_rows(&simt, SORA_KERNEL_rms_norm, 9, &plan), 0);
    assert_int_equal(plan.grid[0], 3);
    assert_int_equal(sora_plan_rows(&simt, SORA_KERNEL_fill, 9, &plan), SORA_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
