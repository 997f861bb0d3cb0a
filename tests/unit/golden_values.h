/*
 * Reads the reference values of tests/goldens: a safetensors file of any name, opened through a
 * link in a fresh folder because a checkpoint is a folder. Whatever is missing fails the test.
 */
#ifndef SORA_TESTS_UNIT_GOLDEN_VALUES_H
#define SORA_TESTS_UNIT_GOLDEN_VALUES_H

#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SORA_SOURCE_DIR /* set by the build; this header also compiles alone */
#define SORA_SOURCE_DIR "."
#endif
#define GOLDEN_ROOT SORA_SOURCE_DIR "/tests/goldens"

/* Opens GOLDEN_ROOT/values/<path>; `link_dir` is a folder that may be created. */
static inline struct sora_checkpoint *golden_open(const char *link_dir, const char *path)
{
    char target[512], link[600];
    snprintf(target, sizeof(target), GOLDEN_ROOT "/values/%s", path);
    snprintf(link, sizeof(link), "%s/model.safetensors", link_dir);
    mkdir(link_dir, 0700);
    unlink(link);
    struct sora_fault fault = {0};
    struct sora_checkpoint *checkpoint = NULL;
    if (symlink(target, link) || sora_checkpoint_open(link_dir, &checkpoint, &fault)) {
        fprintf(stderr, "%s: %s\n", target, fault.text);
        abort();
    }
    return checkpoint;
}

static inline const struct sora_checkpoint_entry *
golden_entry(const struct sora_checkpoint *checkpoint, const char *name)
{
    const struct sora_checkpoint_entry *entry = sora_checkpoint_find(checkpoint, name);
    if (!entry) {
        fprintf(stderr, "no reference value %s\n", name);
        abort();
    }
    return entry;
}

/* A copy that the caller frees: 4-byte elements (f32 or i32) of the tensor `name`. */
static inline void *golden_copy(const struct sora_checkpoint *checkpoint, const char *name)
{
    const struct sora_checkpoint_entry *entry = golden_entry(checkpoint, name);
    void *copy = malloc(entry->size);
    memcpy(copy, entry->data, entry->size);
    return copy;
}

#endif
