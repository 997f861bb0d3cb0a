/*
 * Fuzz targets: tests/fuzz/fuzz_<what>.c defines this one function for one decoder of foreign
 * bytes; seeds lie in tests/fuzz/corpus/<what>/.
 *
 * The fuzz preset (clang) links libFuzzer. Every other build links tests/fuzz/replay.c, and ctest
 * runs the seeds through the target once. A fix of a finding adds the input to the seeds.
 */
#ifndef SORA_TESTS_FUZZ_FUZZ_H
#define SORA_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Decodes `size` bytes and checks what was accepted. Borrows `data`; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
