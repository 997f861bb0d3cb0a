/* Bounded JSON reading. The counting pass knows strings and escapes and nothing else of the
 * grammar: it may count more than jansson would accept, never less. */
#include "model/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int json_read_all(int fd, char *text, size_t size, const char *path,
                         struct sora_fault *fault)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = read(fd, text + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return sora_fault_set(fault, SORA_E_IO, "%s: read failed: %s", sora_path_tail(path),
                                  strerror(errno));
        if (count == 0)
            return sora_fault_set(fault, SORA_E_IO, "%s: became shorter while it was read",
                                  sora_path_tail(path));
        done += (size_t)count;
    }
    text[size] = 0;
    return SORA_OK;
}

static int json_read_open(int fd, const char *path, size_t size_max, char **out_text,
                          size_t *out_size, struct sora_fault *fault)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return sora_fault_set(fault, SORA_E_IO, "%s: %s", sora_path_tail(path), strerror(errno));
    if (!S_ISREG(status.st_mode))
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: is not a regular file",
                              sora_path_tail(path));
    if ((uint64_t)status.st_size > size_max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: has %lld bytes; the limit is %zu",
                              sora_path_tail(path), (long long)status.st_size, size_max);
    size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    if (!text)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(path));
    int rc = json_read_all(fd, text, size, path, fault);
    if (rc) {
        free(text);
        return rc;
    }
    *out_text = text;
    *out_size = size;
    return SORA_OK;
}

int sora_json_read_file(const char *path, size_t size_max, char **out_text, size_t *out_size,
                        struct sora_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sora_fault_set(fault, sora_error_from_errno(errno), "%s: cannot be opened: %s",
                              sora_path_tail(path), strerror(errno));
    int rc = json_read_open(fd, path, size_max, out_text, out_size, fault);
    close(fd);
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
