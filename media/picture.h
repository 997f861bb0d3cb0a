/*
 * Picture: one RGB image as a PNG or PPM file.
 *
 * Any thread; blocks on disk. The file appears complete or not at all.
 */
#ifndef SORA_MEDIA_PICTURE_H
#define SORA_MEDIA_PICTURE_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdint.h>

#define SORA_PICTURE_SIZE_MAX 16384 /* pixels of a side */

/* Writes width*height*3 bytes (R G B, rows from the top, borrowed) as `path`: PPM when it ends in
 * ".ppm", else PNG. Errors: INVALID (a size out of range, a path that is no ordinary file),
 * NOT_FOUND, DENIED, SPACE, MEMORY, IO. */
int sora_picture_write(const char *path, int width, int height, const uint8_t *rgb,
                       struct sora_fault *fault);

/* The same PNG appended to `bytes`. Errors: INVALID, UNSUPPORTED (libav without PNG), FULL, MEMORY.
 */
int sora_picture_encode_png(int width, int height, const uint8_t *rgb, struct sora_bytes *bytes,
                            struct sora_fault *fault);

#endif
