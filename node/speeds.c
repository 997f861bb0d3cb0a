/*
 * The file has one line per speed: device threads model width height window window_ms decode_ms,
 * newest first, the order of the table.
 */
#include "node/speeds.h"

#include "base/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)64 << 10)
#define SHARE_OF_NEW 0.3
#define MS_MAX 1e9

struct sora_speeds {
    char *path;
    bool changed;
    int count;
    uint64_t used;
    struct sora_speed items[SORA_SPEEDS_MAX]; /* newest first */
};

static bool keys_equal(const struct sora_speed_key *a, const struct sora_speed_key *b)
{
    return strcmp(a->device, b->device) == 0 && a->threads == b->threads &&
           sora_digest_equal(&a->model, &b->model) && a->width == b->width &&
           a->height == b->height && a->window == b->window;
}

static void follow(double *value, double measured)
{
    if (!(measured > 0) || measured > MS_MAX)
        return;
    *value = *value > 0 ? *value + SHARE_OF_NEW * (measured - *value) : measured;
}

/* The key's row, moved or made at the front; the oldest row goes when there is no room. */
static struct sora_speed *to_front(struct sora_speeds *speeds, const struct sora_speed_key *key)
{
    struct sora_speed row = {.key = *key};
    int at = 0;
    while (at < speeds->count && !keys_equal(&speeds->items[at].key, key))
        at++;
    if (at < speeds->count)
        row = speeds->items[at];
    else if (speeds->count < SORA_SPEEDS_MAX)
        speeds->count++;
    else
        at = SORA_SPEEDS_MAX - 1;
    memmove(&speeds->items[1], &speeds->items[0], (size_t)at * sizeof(speeds->items[0]));
    row.used = ++speeds->used;
    speeds->items[0] = row;
    return &speeds->items[0];
}

void sora_speeds_note(struct sora_speeds *speeds, const struct sora_speed_key *key,
                      double window_ms, double decode_ms)
{
    struct sora_speed *row = to_front(speeds, key);
    follow(&row->window_ms, window_ms);
    follow(&row->decode_ms, decode_ms);
    speeds->changed = true;
}

const struct sora_speed *sora_speeds_at(const struct sora_speeds *speeds, int index)
{
    return index >= 0 && index < speeds->count ? &speeds->items[index] : NULL;
}

/* ---- the file ---- */

static bool parse_digest(const char *text, struct sora_digest *out)
{
    for (int i = 0; i < SORA_DIGEST_SIZE; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        out->bytes[i] = (unsigned char)byte;
    }
    return true;
}

static bool parse_line(const char *line, struct sora_speed *out)
{
    char model[SORA_DIGEST_TEXT_SIZE] = "";
    *out = (struct sora_speed){.used = 0};
    struct sora_speed_key *key = &out->key;
    int read = sscanf(line, "%23s %d %64s %u %u %u %lf %lf", key->device, &key->threads, model,
                      &key->width, &key->height, &key->window, &out->window_ms, &out->decode_ms);
    bool sound =
        read == 8 && strlen(model) == SORA_DIGEST_TEXT_SIZE - 1 && parse_digest(model, &key->model);
    return sound && out->window_ms >= 0 && out->window_ms <= MS_MAX && out->decode_ms >= 0 &&
           out->decode_ms <= MS_MAX;
}

static void parse(struct sora_speeds *speeds, char *text)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && speeds->count < SORA_SPEEDS_MAX;
         line = strtok_r(NULL, "\n", &rest)) {
        if (parse_line(line, &speeds->items[speeds->count]))
            speeds->count++;
    }
    speeds->used = (uint64_t)speeds->count;
    for (int i = 0; i < speeds->count; i++)
        speeds->items[i].used = (uint64_t)(speeds->count - i);
}

int sora_speeds_create(const char *path, struct sora_speeds **out_speeds, struct sora_fault *fault)
{
    struct sora_speeds *speeds = calloc(1, sizeof(*speeds));
    if (speeds && path)
        speeds->path = strdup(path);
    if (!speeds || (path && !speeds->path)) {
        free(speeds);
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the table of speeds");
    }
    struct sora_bytes text;
    struct sora_fault why = {0};
    int rc = path ? sora_file_read(path, FILE_BYTES_MAX, &text, &why) : SORA_E_NOT_FOUND;
    if (rc == SORA_OK) {
        if (text.size > 0)
            parse(speeds, (char *)text.data);
        sora_bytes_fini(&text);
    } else if (rc != SORA_E_NOT_FOUND) {
        sora_speeds_destroy(&speeds);
        return sora_fault_set(fault, rc, "%s", why.text);
    }
    *out_speeds = speeds;
    return SORA_OK;
}

void sora_speeds_destroy(struct sora_speeds **speeds)
{
    if (*speeds)
        free((*speeds)->path);
    free(*speeds);
    *speeds = NULL;
}

static bool write_rows(const struct sora_speeds *speeds, FILE *file)
{
    for (int i = 0; i < speeds->count; i++) {
        const struct sora_speed *row = &speeds->items[i];
        char model[SORA_DIGEST_TEXT_SIZE];
        fprintf(file, "%s %d %s %u %u %u %.6g %.6g\n", row->key.device, row->key.threads,
                sora_digest_text(&row->key.model, model), row->key.width, row->key.height,
                row->key.window, row->window_ms, row->decode_ms);
    }
    return fflush(file) == 0 && !ferror(file);
}

int sora_speeds_save(struct sora_speeds *speeds, struct sora_fault *fault)
{
    if (!speeds->path || !speeds->changed)
        return SORA_OK;
    char temporary[SORA_FILE_PATH_SIZE];
    if (snprintf(temporary, sizeof(temporary), "%s.new", speeds->path) >= (int)sizeof(temporary))
        return sora_fault_set(fault, SORA_E_LIMIT, "the path '%s' is too long", speeds->path);
    FILE *file = fopen(temporary, "we");
    if (!file)
        return sora_file_fault(fault, errno, "write", temporary);
    bool written = write_rows(speeds, file);
    int error = errno;
    if (fclose(file) != 0 || !written || rename(temporary, speeds->path) != 0) {
        error = written ? errno : error;
        unlink(temporary);
        return sora_file_fault(fault, error, "write", speeds->path);
    }
    speeds->changed = false;
    return SORA_OK;
}
