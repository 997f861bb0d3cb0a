/*
 * JSON text from files, parsed within bounds (jansson inside).
 *
 * jansson alone accepts nesting of 2,048 levels and multiplies memory by about 60 for arrays of
 * small numbers; here a first pass over the text counts levels and values before anything is
 * allocated. Used by this layer's readers only. Any thread may call; only
 * sora_json_read_file blocks on disk.
 */
#ifndef SORA_MODEL_JSON_TEXT_H
#define SORA_MODEL_JSON_TEXT_H

#include "base/error.h"

#include <jansson.h>

struct sora_json_limits {
    size_t size_max;  /* bytes of text */
    size_t depth_max; /* nested arrays and objects */
    size_t value_max; /* commas + colons + brackets, an upper bound for the number of values */
};

/* Parses the object in [text, text+size); `label` names the file in messages. Returns an owned
 * reference to an object. Errors: LIMIT (size, depth, values), FORMAT (syntax with its line, a
 * duplicate key, not UTF-8, NUL in a string, not an object). */
int sora_json_parse(const char *text, size_t size, const char *label,
                    const struct sora_json_limits *limits, json_t **out_object,
                    struct sora_fault *fault);

/* Reads and parses the file at `path` (at most limits->size_max bytes). Errors: as above and
 * NOT_FOUND, DENIED, INVALID (a folder), IO, MEMORY. */
int sora_json_read_file(const char *path, const struct sora_json_limits *limits,
                        json_t **out_object, struct sora_fault *fault);

/* The part of a path that still tells where it is in a one-line message: its last 200 bytes. */
const char *sora_path_tail(const char *path);

#endif
