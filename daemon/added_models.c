/* The list of added model folders and its file. */
#include "daemon/added_models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "models.added"
#define FILE_BYTES_MAX ((size_t)SORA_ADDED_MODELS_MAX * 4096)

static int find(const struct sora_added_models *added, const char *path)
{
    int at = 0;
    while (at < added->count && strcmp(added->paths[at], path) != 0)
        at++;
    return at;
}

bool sora_added_models_has(const struct sora_added_models *added, const char *path)
{
    return find(added, path) < added->count;
}

int sora_added_models_put(struct sora_added_models *added, const char *path)
{
    if (sora_added_models_has(added, path))
        return SORA_OK;
    if (added->count == SORA_ADDED_MODELS_MAX)
        return SORA_E_FULL;
    char *copy = strdup(path);
    if (!copy)
        return SORA_E_MEMORY;
    added->paths[added->count++] = copy;
    return SORA_OK;
}

void sora_added_models_drop(struct sora_added_models *added, const char *path)
{
    int at = find(added, path);
    if (at == added->count)
        return;
    free(added->paths[at]);
    added->count--;
    memmove(&added->paths[at], &added->paths[at + 1],
            (size_t)(added->count - at) * sizeof(added->paths[0]));
}

void sora_added_models_fini(struct sora_added_models *added)
{
    while (added->count > 0)
        free(added->paths[--added->count]);
}

int sora_added_models_keep(const struct sora_added_models *added, struct sora_keep *keep)
{
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, FILE_BYTES_MAX);
    int rc = SORA_OK;
    for (int i = 0; i < added->count && rc == SORA_OK; i++) {
        rc = sora_bytes_append(&bytes, added->paths[i], strlen(added->paths[i]));
        if (rc == SORA_OK)
            rc = sora_bytes_append(&bytes, "\n", 1);
    }
    if (rc == SORA_OK)
        rc = sora_keep_add(keep, FILE_NAME, bytes.data, bytes.size);
    sora_bytes_fini(&bytes);
    return rc;
}

/* ---- reading ---- */

static int take_lines(char *text, const char *path, struct sora_added_models *added,
                      struct sora_fault *fault)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        int rc = line[0] == '/' ? sora_added_models_put(added, line) : SORA_E_FORMAT;
        if (rc)
            return sora_fault_set(fault, rc,
                                  "%s: '%.200s' cannot be taken (%s); the file holds at most %d "
                                  "paths from the root, one a line",
                                  path, line, sora_error_text(rc), SORA_ADDED_MODELS_MAX);
    }
    return SORA_OK;
}

int sora_added_models_load(const struct sora_state *state, struct sora_added_models *out_added,
                           struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    struct sora_bytes bytes;
    struct sora_fault inner = {0};
    *out_added = (struct sora_added_models){.count = 0};
    int rc =
        sora_file_read(sora_state_path(state, FILE_NAME, path), FILE_BYTES_MAX, &bytes, &inner);
    if (rc == SORA_E_NOT_FOUND)
        return SORA_OK;
    if (rc)
        return sora_fault_set(fault, rc, "%s", inner.text);
    if (bytes.size > 0)
        rc = take_lines((char *)bytes.data, path, out_added, fault);
    sora_bytes_fini(&bytes);
    if (rc)
        sora_added_models_fini(out_added);
    return rc;
}
