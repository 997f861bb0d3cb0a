/*
 * Font: printable ASCII as small bitmaps, drawn into RGB memory; enough for time stamps and a
 * title.
 *
 * Pure functions on the caller's memory, any thread. Other characters of UTF-8 text become a box.
 */
#ifndef SORA_MEDIA_FONT_H
#define SORA_MEDIA_FONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SORA_FONT_ADVANCE 6 /* pixels from one character to the next, at scale 1 */
#define SORA_FONT_HEIGHT 9  /* pixels with the part below the line */

/* A picture in the caller's memory: width*height*3 bytes, R G B, rows from the top. */
struct sora_canvas {
    uint8_t *rgb;
    int width, height;
};

struct sora_font_place {
    int x, y;  /* top left corner of the first character; parts outside the canvas are cut */
    int scale; /* pixels per font pixel, 1 or more */
    uint8_t colour[3];
};

void sora_font_draw(const struct sora_canvas *canvas, const struct sora_font_place *place,
                    const char *text);

/* Pixels that `text` takes. */
int sora_font_width(const char *text, int scale);

/* Bytes of the longest start of `text` that fits into `width` pixels, in whole characters. */
size_t sora_font_fit(const char *text, int scale, int width);

#endif
