/* The cache of device memory against the fake driver: reuse, limit, failing allocations. */
#include "tests/unit/fake_gpu.h"

#include "hip/gpu/pool.h"

struct fixture {
    struct fake_gpu *fake;
    struct sora_gpu_runtime *runtime;
    struct sora_gpu_pool *pool;
};

static void fixture_init(struct fixture *fix, uint64_t limit, bool exact)
{
    struct sora_fault fault;
    *fix = (struct fixture){.fake = fake_gpu_reset()};
    assert_int_equal(fake_gpu_open(SORA_GPU_NVIDIA, &fix->runtime, &fault), 0);
    const struct sora_gpu_pool_params params = {fix->runtime, limit, exact};
    assert_int_equal(sora_gpu_pool_create(&params, &fix->pool), 0);
}

static void fixture_fini(struct fixture *fix)
{
    sora_gpu_pool_destroy(&fix->pool);
    assert_null(fix->pool);
    assert_int_equal(fix->fake->live_allocations, 0);
    sora_gpu_runtime_destroy(&fix->runtime);
}

static struct sora_gpu_block *take(struct fixture *fix, size_t size)
{
    struct sora_gpu_block *block = NULL;
    assert_int_equal(sora_gpu_pool_take(fix->pool, size, &block), 0);
    assert_true(block->size >= size);
    memset(block->memory, 1, size);
    return block;
}

static void refuse(struct fixture *fix, size_t size, int error)
{
    struct sora_gpu_block *block = NULL;
    struct sora_gpu_pool_use before, after;
    sora_gpu_pool_use(fix->pool, &before);
    assert_int_equal(sora_gpu_pool_take(fix->pool, size, &block), error);
    assert_null(block);
    sora_gpu_pool_use(fix->pool, &after);
    assert_int_equal(before.used_bytes, after.used_bytes);
    assert_int_equal(before.used_count, after.used_count);
}

static void test_blocks_are_reused(void **state)
{
    (void)state;
    struct fixture fix;
    struct sora_gpu_pool_use use;
    fixture_init(&fix, 0, false);
    struct sora_gpu_block *a = take(&fix, 100000), *b = take(&fix, 3 << 20);
    void *memory = a->memory;
    sora_gpu_pool_give(fix.pool, &a);
    assert_null(a);
    sora_gpu_pool_give(fix.pool, &a); /* nothing */
    a = take(&fix, 95000);            /* within an eighth */
    assert_ptr_equal(a->memory, memory);
    assert_int_equal(fix.fake->allocations, 2);
    sora_gpu_pool_give(fix.pool, &a);
    a = take(&fix, 50000); /* too small for it */
    assert_int_equal(fix.fake->allocations, 3);
    struct sora_gpu_block *c = take(&fix, 98000);
    assert_ptr_equal(c->memory, memory);
    sora_gpu_pool_use(fix.pool, &use);
    assert_int_equal(use.used_count, 3);
    assert_int_equal(use.kept_count, 0);
    assert_int_equal(use.used_bytes, fix.fake->live_bytes);
    sora_gpu_pool_give(fix.pool, &a);
    sora_gpu_pool_give(fix.pool, &b);
    sora_gpu_pool_give(fix.pool, &c);
    sora_gpu_pool_use(fix.pool, &use);
    assert_int_equal(use.kept_count, 3);
    assert_int_equal(use.used_bytes, 0);
    assert_int_equal(use.used_bytes_max, use.kept_bytes);
    sora_gpu_pool_trim(fix.pool);
    assert_int_equal(fix.fake->live_allocations, 0);
    fixture_fini(&fix);
}

static void test_limit(void **state)
{
    (void)state;
    struct fixture fix;
    fixture_init(&fix, 4 << 20, false);
    struct sora_gpu_block *a = take(&fix, 3 << 20);
    refuse(&fix, 2 << 20, SORA_E_MEMORY);
    refuse(&fix, (size_t)5 << 20, SORA_E_MEMORY);
    refuse(&fix, SIZE_MAX - 5, SORA_E_MEMORY);
    struct sora_gpu_block *b = take(&fix, 1 << 20); /* just */
    refuse(&fix, 1, SORA_E_MEMORY);
    sora_gpu_pool_give(fix.pool, &a);
    a = take(&fix, 2 << 20); /* what was kept made room */
    assert_int_equal(fix.fake->live_bytes, 3 << 20);
    sora_gpu_pool_give(fix.pool, &a);
    sora_gpu_pool_give(fix.pool, &b);
    fixture_fini(&fix);
}

static void test_driver_out_of_memory(void **state)
{
    (void)state;
    struct fixture fix;
    fixture_init(&fix, 0, false);
    for (int i = 1; i <= 3; i++) { /* nothing is kept: no second try */
        fix.fake->fail_memory_at = fix.fake->allocations + 1;
        refuse(&fix, 1000, SORA_E_MEMORY);
    }
    /* 64 MB: 40 in use and given back, then 41 need them gone. */
    struct sora_gpu_block *a = take(&fix, 40 << 20);
    refuse(&fix, 41 << 20, SORA_E_MEMORY);
    sora_gpu_pool_give(fix.pool, &a);
    a = take(&fix, 60 << 20);
    sora_gpu_pool_give(fix.pool, &a);
    fix.fake->lost_at = 1;
    fix.fake->work = 1;
    refuse(&fix, 1000, SORA_E_DEVICE);
    fixture_fini(&fix);
}

static void test_exact(void **state)
{
    (void)state;
    struct fixture fix;
    fixture_init(&fix, 0, true);
    struct sora_gpu_block *a = take(&fix, 1001);
    assert_int_equal(fix.fake->live_bytes, 1001);
    sora_gpu_pool_give(fix.pool, &a);
    assert_int_equal(fix.fake->live_allocations, 0);
    fixture_fini(&fix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_reused),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_driver_out_of_memory),
        cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
