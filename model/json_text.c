/* Bounded JSON reading. The counting pass knows strings and escapes and nothing else of the
 * grammar: it may count more than jansson would accept, never less. */
#include "model/json_text.h"

#include "base/files.h"

#include <string.h>

#define PATH_TAIL_SIZE 200

struct json_extent {
    size_t depth, values;
};

static struct json_extent json_measure(const char *text, size_t size)
{
    struct json_extent extent = {0, 0};
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            extent.values++;
            if (++depth > extent.depth)
                extent.depth = depth;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == ',' || c == ':') {
            extent.values++;
        }
    }
    return extent;
}

static int json_check_extent(const char *text, size_t size, const char *label,
                             const struct sora_json_limits *limits, struct sora_fault *fault)
{
    if (size > limits->size_max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: JSON text has %zu bytes; the limit is %zu",
                              label, size, limits->size_max);
    struct json_extent extent = json_measure(text, size);
    if (extent.depth > limits->depth_max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%s: JSON is nested %zu levels deep; the limit is %zu", label,
                              extent.depth, limits->depth_max);
    if (extent.values > limits->value_max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%s: JSON holds about %zu values; the limit is %zu", label,
                              extent.values, limits->value_max);
    return SORA_OK;
}

int sora_json_parse(const char *text, size_t size, const char *label,
                    const struct sora_json_limits *limits, json_t **out_object,
                    struct sora_fault *fault)
{
    int rc = json_check_extent(text, size, label, limits, fault);
    if (rc)
        return rc;
    json_error_t error;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory reading JSON", label);
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: line %d, column %d: %s", label, error.line,
                              error.column, error.text);
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: the JSON text is not an object", label);
    }
    *out_object = object;
    return SORA_OK;
}

int sora_json_read_file(const char *path, const struct sora_json_limits *limits,
                        json_t **out_object, struct sora_fault *fault)
{
    struct sora_bytes bytes;
    int rc = sora_file_read(path, limits->size_max, &bytes, fault);
    if (rc)
        return rc;
    rc = sora_json_parse((const char *)bytes.data, bytes.size, sora_path_tail(path), limits,
                         out_object, fault);
    sora_bytes_fini(&bytes);
    return rc;
}

const char *sora_path_tail(const char *path)
{
    size_t size = strlen(path);
    if (size <= PATH_TAIL_SIZE)
        return path;
    path += size - PATH_TAIL_SIZE;
    while (((unsigned char)*path & 0xc0) == 0x80)
        path++;
    return path;
}
