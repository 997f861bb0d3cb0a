/* A library of matrix products that does what its descriptors say, on host memory, and misbehaves
 * on demand: what the tests set in it. One library plays cuBLASLt and hipBLASLt, each with its own
 * numbers and layouts; objects of one given to the other are refused. */
#ifndef SORA_TESTS_FAKE_GPU_BLAS_H
#define SORA_TESTS_FAKE_GPU_BLAS_H

#include <stddef.h>
#include <stdint.h>

struct fake_blas {
    /* what it says and when it fails */
    int version; /* as the vendor's number has it */
    int create_status, choose_status, multiply_status;
    int choose_nothing;      /* success, but no algorithm */
    int fail_multiply_at;    /* the n-th product from 1 on fails; 0: none */
    size_t workspace_wanted; /* by every algorithm */
    /* what happened */
    int live_handles, live_operations, live_layouts, live_preferences;
    int choices, products;
    int rows_last, type_last; /* of the last product: our m, and of its operands */
    uint64_t workspace_bound; /* of the last choice */
    uint32_t alignment;       /* the smallest that a choice was told */
    size_t workspace_given;   /* to the last product */
    int bias_count, misuse;   /* products with a bias; calls that break the library's rules */
};

/* The library exports: struct fake_blas *fake_blas(void); */
typedef struct fake_blas *(*fake_blas_get)(void);

#endif
