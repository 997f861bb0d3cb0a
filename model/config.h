/*
 * Config: a JSON file of a model directory, read with limits and named errors (jansson inside).
 *
 * Owned by whoever opened it; strings borrow it. Opening reads one file of at most 1 MiB.
 */
#ifndef SORA_MODEL_CONFIG_H
#define SORA_MODEL_CONFIG_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sora_config;

/* Returns an owned config of the JSON object in `path`. Errors name the file, line and problem. */
int sora_config_open(const char *path, struct sora_config **out_config, struct sora_fault *fault);
/* The same from memory; `label` stands for the path in messages. */
int sora_config_parse(const char *text, size_t size, const char *label,
                      struct sora_config **out_config, struct sora_fault *fault);
void sora_config_destroy(struct sora_config **config);

bool sora_config_has(const struct sora_config *config, const char *key);

/* Each get reads `key`; when it is absent or null, *out_value = fallback. Errors: FORMAT for a
 * wrong type, LIMIT outside [min,max], each with file, key, value and range. */
struct sora_config_int {
    const char *key;
    int64_t fallback, min, max;
};
int sora_config_get_int(const struct sora_config *config, const struct sora_config_int *spec,
                        int64_t *out_value, struct sora_fault *fault);
struct sora_config_number {
    const char *key;
    double fallback, min, max;
};
int sora_config_get_number(const struct sora_config *config, const struct sora_config_number *spec,
                           double *out_value, struct sora_fault *fault);
int sora_config_get_bool(const struct sora_config *config, const char *key, bool fallback,
                         bool *out_value, struct sora_fault *fault);
/* *out_value borrows the config; NULL fallback allowed. */
int sora_config_get_string(const struct sora_config *config, const char *key, const char *fallback,
                           const char **out_value, struct sora_fault *fault);
/* Arrays: up to `capacity` items are written and *out_count says how many; absent: 0. Errors:
 * FORMAT, LIMIT when longer than capacity. Booleans read as 0/1. */
int sora_config_get_ints(const struct sora_config *config, const char *key, int capacity,
                         int64_t *out_values, int *out_count, struct sora_fault *fault);
int sora_config_get_numbers(const struct sora_config *config, const char *key, int capacity,
                            double *out_values, int *out_count, struct sora_fault *fault);

/* Refuses a component by its `_class_name` (or `architectures[0]`): "transformer/_class_name is X;
 * this build runs WanTransformer3DModel". `component` is the folder's name for the message. */
int sora_config_require_class(const struct sora_config *config, const char *component,
                              const char *class_name, struct sora_fault *fault);

#endif
