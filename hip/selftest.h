/*
 * Self-test of a device: every operation against the plain CPU, on ordinary and edge shapes.
 *
 * Operands are small multiples of powers of two, which bf16 and f16 hold exactly, so a device that
 * multiplies in 16 bits differs from the plain CPU by its sums alone and the tolerances are tight.
 * Every case runs twice on the device: the bits have to be the same.
 *
 * The caller owns the device. One thread; blocks for seconds on a card, longer on the emulator.
 */
#ifndef SORA_HIP_SELFTEST_H
#define SORA_HIP_SELFTEST_H

#include "hip/device.h"

struct sora_selftest_row {
    const char *operation;
    int cases, failed; /* cases run; how many failed */
    double tolerance;  /* of an element, relative to the greatest of the result; 0: same bits */
    double error;      /* the worst of all elements, in the same measure */
    double device_ms;  /* both runs of all cases, with their copies */
    char message[200]; /* about the first failure; empty without one */
};

#define SORA_SELFTEST_ROWS_MAX 24

struct sora_selftest_params {
    struct sora_device *device; /* borrowed */
    bool exact_products;        /* products in f32: tighter tolerances for attention */
};

/* Fills one row per operation. A failing case is a result, not an error; so is an operation that
 * the device refuses, except that a lost device (DEVICE) ends the test after its row. Errors:
 * MEMORY (host or plain CPU). */
int sora_selftest_run(const struct sora_selftest_params *params,
                      struct sora_selftest_row out_rows[SORA_SELFTEST_ROWS_MAX], int *out_count);

#endif
