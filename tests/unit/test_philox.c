/* Philox known answers, quality and addressability of the normal variates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/philox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Random123 (D. E. Shaw Research), kat_vectors, "philox4x32 10". */
static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t block[4];
        sora_philox_block(rows[i].counter, rows[i].key, block);
        assert_memory_equal(block, rows[i].expected, sizeof(block));
    }
}

/* The variates against libm's functions on the block that they are defined by. */
static void test_box_muller_accuracy(void **state)
{
    (void)state;
    struct sora_noise_key key = {.seed = 0x123456789abcdef0u, .shot = 3, .latent = 17};
    enum { COUNT = 40000 };
    float *values = malloc(COUNT * sizeof(*values));
    assert_non_null(values);
    sora_noise_normal(&key, 0, COUNT, values);
    for (uint32_t b = 0; b < COUNT / 4; b++) {
        uint32_t counter[4] = {b, SORA_PHILOX_PURPOSE_NORMAL, 17, 3};
        uint32_t k[2] = {0x9abcdef0u, 0x12345678u}, r[4];
        sora_philox_block(counter, k, r);
        for (int pair = 0; pair < 2; pair++) {
            double radius = sqrt(-2.0 * log((r[2 * pair] + 0.5) / 4294967296.0));
            double angle = 2.0 * M_PI * r[2 * pair + 1] / 4294967296.0;
            /* Half a unit in the last place of a float32 and 1e-11 for the functions. */
            for (int lane = 0; lane < 2; lane++) {
                double expected = radius * (lane ? sin(angle) : cos(angle));
                double error = fabs(values[4 * b + 2 * pair + lane] - expected);
                assert_true(error <= fabs(expected) * 0x1.01p-24 + 1e-11);
            }
        }
    }
    free(values);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void test_distribution(void **state)
{
    (void)state;
    struct sora_noise_key key = {.seed = 42, .latent = 5};
    enum { COUNT = 400000 };
    float *values = malloc(COUNT * sizeof(*values));
    assert_non_null(values);
    sora_noise_normal(&key, 0, COUNT, values);
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lag1 = 0;
    for (int i = 0; i < COUNT; i++) {
        double x = values[i];
        m1 += x, m2 += x * x, m3 += x * x * x, m4 += x * x * x * x;
        lag1 += i ? x * values[i - 1] : 0;
    }
    double n = COUNT;
    /* Five standard errors of each moment: 1/n, 2/n, 15/n, 96/n. */
    assert_true(fabs(m1 / n) < 5 * sqrt(1 / n));
    assert_true(fabs(m2 / n - 1) < 5 * sqrt(2 / n));
    assert_true(fabs(m3 / n) < 5 * sqrt(15 / n));
    assert_true(fabs(m4 / n - 3) < 5 * sqrt(96 / n));
    assert_true(fabs(lag1 / n) < 5 * sqrt(1 / n));
    qsort(values, COUNT, sizeof(*values), compare_floats);
    double distance = 0;
    for (int i = 0; i < COUNT; i++) {
        double p = 0.5 * erfc(-values[i] / sqrt(2.0));
        distance = fmax(distance, fmax(p - i / n, (i + 1) / n - p));
    }
    assert_true(distance * sqrt(n) < 1.95); /* Kolmogorov-Smirnov at 0.1 % */
    free(values);
}

static void test_addressable(void **state)
{
    (void)state;
    struct sora_noise_key key = {.seed = 7, .shot = 1, .latent = SORA_NOISE_COMMON};
    float whole[2000], part[2000];
    sora_noise_normal(&key, 0, 2000, whole);
    for (size_t first = 0; first < 600; first += 37) {
        for (size_t count = 1; count < 700; count += 53) {
            sora_noise_normal(&key, first, count, part);
            assert_memory_equal(part, whole + first, count * sizeof(float));
        }
    }
    /* Far elements reach the counter's second word. */
    uint64_t far = ((uint64_t)5 << 34) + 3;
    sora_noise_normal(&key, far, 9, part);
    sora_noise_normal(&key, far + 4, 1, whole);
    assert_true(whole[0] == part[4]);
    assert_true(part[0] != part[1]);
}

static void test_streams_differ(void **state)
{
    (void)state;
    struct sora_noise_key keys[] = {{1, 0, 0}, {2, 0, 0}, {1, 1, 0}, {1, 0, 1}, {1ull << 32, 0, 0}};
    float values[5][64];
    for (int i = 0; i < 5; i++) {
        sora_noise_normal(&keys[i], 0, 64, values[i]);
        for (int j = 0; j < i; j++) {
            for (int e = 0; e < 64; e++)
                assert_true(values[i][e] != values[j][e]);
        }
    }
}

/* FNV-1a of the first 65,536 variates of one stream: any drift of compiler, flags or machine shows
 * here before it shows as a farm that disagrees with itself. */
static void test_platform_hash(void **state)
{
    (void)state;
    struct sora_noise_key key = {.seed = 2024, .shot = 0, .latent = 0};
    enum { COUNT = 65536 };
    float *values = malloc(COUNT * sizeof(*values));
    assert_non_null(values);
    sora_noise_normal(&key, 0, COUNT, values);
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        for (int byte = 0; byte < 4; byte++)
            hash = (hash ^ ((bits >> (8 * byte)) & 0xff)) * 0x100000001b3u;
    }
    if (hash != 0xef250be7848bc6f8u)
        print_message("hash is 0x%llx\n", (unsigned long long)hash);
    assert_true(hash == 0xef250be7848bc6f8u);
    free(values);
}

static void test_shuffle(void **state)
{
    (void)state;
    int32_t order[20], again[20];
    int fixed = 0;
    for (uint32_t block = 0; block < 500; block++) {
        struct sora_noise_key key = {.seed = 9, .latent = block};
        sora_noise_shuffle(&key, 20, order);
        sora_noise_shuffle(&key, 20, again);
        assert_memory_equal(order, again, sizeof(order));
        uint32_t seen = 0;
        for (int i = 0; i < 20; i++) {
            assert_in_range(order[i], 0, 19);
            seen |= 1u << order[i];
            fixed += order[i] == i;
        }
        assert_int_equal(seen, (1u << 20) - 1);
    }
    /* A uniform permutation has one fixed point on average. */
    assert_in_range(fixed, 400, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),  cmocka_unit_test(test_box_muller_accuracy),
        cmocka_unit_test(test_distribution),   cmocka_unit_test(test_addressable),
        cmocka_unit_test(test_streams_differ), cmocka_unit_test(test_platform_hash),
        cmocka_unit_test(test_shuffle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
