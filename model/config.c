/* Config: typed reads of one JSON object, every one with its range. */
#include "model/config.h"

#include "model/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sora_json_limits config_limits = {
    .size_max = (size_t)1 << 20,
    .depth_max = 32,
    .value_max = 65536,
};

#define LABEL_SIZE 256

struct sora_config {
    char label[LABEL_SIZE];
    json_t *object;
};

/* "FILE: KEY what". */
#define KEY_FAULT(config, code, key, format, ...)                                                  \
    sora_fault_set(fault, code, "%s: %s " format, (config)->label, key, __VA_ARGS__)

/* Takes `object` in every case. */
static int config_create(json_t *object, const char *label, struct sora_config **out_config,
                         struct sora_fault *fault)
{
    struct sora_config *config = calloc(1, sizeof(*config));
    if (!config) {
        json_decref(object);
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(label));
    }
    snprintf(config->label, sizeof(config->label), "%s", sora_path_tail(label));
    config->object = object;
    *out_config = config;
    return SORA_OK;
}

int sora_config_parse(const char *text, size_t size, const char *label,
                      struct sora_config **out_config, struct sora_fault *fault)
{
    json_t *object = NULL;
    int rc = sora_json_parse(text, size, sora_path_tail(label), &config_limits, &object, fault);
    return rc ? rc : config_create(object, label, out_config, fault);
}

int sora_config_open(const char *path, struct sora_config **out_config, struct sora_fault *fault)
{
    json_t *object = NULL;
    int rc = sora_json_read_file(path, &config_limits, &object, fault);
    return rc ? rc : config_create(object, path, out_config, fault);
}

void sora_config_destroy(struct sora_config **config)
{
    if (!config || !*config)
        return;
    json_decref((*config)->object);
    free(*config);
    *config = NULL;
}

/* NULL for absent and for null. */
static const json_t *config_find(const struct sora_config *config, const char *key)
{
    const json_t *value = json_object_get(config->object, key);
    return json_is_null(value) ? NULL : value;
}

bool sora_config_has(const struct sora_config *config, const char *key)
{
    return config_find(config, key) != NULL;
}

int sora_config_get_int(const struct sora_config *config, const struct sora_config_int *spec,
                        int64_t *out_value, struct sora_fault *fault)
{
    const json_t *value = config_find(config, spec->key);
    if (!value) {
        *out_value = spec->fallback;
        return SORA_OK;
    }
    if (!json_is_integer(value))
        return KEY_FAULT(config, SORA_E_FORMAT, spec->key, "%s", "is not an integer");
    json_int_t number = json_integer_value(value);
    if (number < spec->min || number > spec->max)
        return KEY_FAULT(config, SORA_E_LIMIT, spec->key, "is %lld; the range is %lld to %lld",
                         (long long)number, (long long)spec->min, (long long)spec->max);
    *out_value = number;
    return SORA_OK;
}

int sora_config_get_number(const struct sora_config *config, const struct sora_config_number *spec,
                           double *out_value, struct sora_fault *fault)
{
    const json_t *value = config_find(config, spec->key);
    if (!value) {
        *out_value = spec->fallback;
        return SORA_OK;
    }
    if (!json_is_number(value))
        return KEY_FAULT(config, SORA_E_FORMAT, spec->key, "%s", "is not a number");
    double number = json_number_value(value);
    if (!(number >= spec->min && number <= spec->max))
        return KEY_FAULT(config, SORA_E_LIMIT, spec->key, "is %g; the range is %g to %g", number,
                         spec->min, spec->max);
    *out_value = number;
    return SORA_OK;
}

int sora_config_get_bool(const struct sora_config *config, const char *key, bool fallback,
                         bool *out_value, struct sora_fault *fault)
{
    const json_t *value = config_find(config, key);
    if (value && !json_is_boolean(value))
        return KEY_FAULT(config, SORA_E_FORMAT, key, "%s", "is not true or false");
    *out_value = value ? json_is_true(value) : fallback;
    return SORA_OK;
}

int sora_config_get_string(const struct sora_config *config, const char *key, const char *fallback,
                           const char **out_value, struct sora_fault *fault)
{
    const json_t *value = config_find(config, key);
    if (value && !json_is_string(value))
        return KEY_FAULT(config, SORA_E_FORMAT, key, "%s", "is not a string");
    *out_value = value ? json_string_value(value) : fallback;
    return SORA_OK;
}

/* The array of `key` (NULL when absent), checked for its length. */
static int config_get_array(const struct sora_config *config, const char *key, int capacity,
                            const json_t **out_array, struct sora_fault *fault)
{
    const json_t *value = config_find(config, key);
    if (value && !json_is_array(value))
        return KEY_FAULT(config, SORA_E_FORMAT, key, "%s", "is not an array");
    if (value && json_array_size(value) > (size_t)capacity)
        return KEY_FAULT(config, SORA_E_LIMIT, key, "has %zu items; the limit is %d",
                         json_array_size(value), capacity);
    *out_array = value;
    return SORA_OK;
}

int sora_config_get_ints(const struct sora_config *config, const char *key, int capacity,
                         int64_t *out_values, int *out_count, struct sora_fault *fault)
{
    const json_t *array = NULL;
    int rc = config_get_array(config, key, capacity, &array, fault);
    if (rc)
        return rc;
    int count = (int)json_array_size(array);
    for (int i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, (size_t)i);
        if (!json_is_integer(item) && !json_is_boolean(item))
            return KEY_FAULT(config, SORA_E_FORMAT, key, "item %d is not an integer", i);
    }
    for (int i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, (size_t)i);
        out_values[i] = json_is_integer(item) ? json_integer_value(item) : json_is_true(item);
    }
    *out_count = count;
    return SORA_OK;
}

int sora_config_get_numbers(const struct sora_config *config, const char *key, int capacity,
                            double *out_values, int *out_count, struct sora_fault *fault)
{
    const json_t *array = NULL;
    int rc = config_get_array(config, key, capacity, &array, fault);
    if (rc)
        return rc;
    int count = (int)json_array_size(array);
    for (int i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(array, (size_t)i)))
            return KEY_FAULT(config, SORA_E_FORMAT, key, "item %d is not a number", i);
    }
    for (int i = 0; i < count; i++)
        out_values[i] = json_number_value(json_array_get(array, (size_t)i));
    *out_count = count;
    return SORA_OK;
}

int sora_config_require_class(const struct sora_config *config, const char *component,
                              const char *class_name, struct sora_fault *fault)
{
    const char *key = "_class_name";
    const char *found = json_string_value(config_find(config, key));
    if (!found) {
        const json_t *list = config_find(config, "architectures");
        key = "architectures";
        found = json_string_value(json_array_get(list, 0));
    }
    if (!found)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: names no class: expected _class_name or architectures to be %s",
                              config->label, class_name);
    if (strcmp(found, class_name) != 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s/%s is %.100s; this build runs %s",
                              component, key, found, class_name);
    return SORA_OK;
}
