/*
 * Contact sheet: frames at regular times in one picture, the time under each, a title on top.
 *
 * Frames come in one by one, and their number is known beforehand: only the scaled pictures are
 * kept, so memory does not depend on the video's length. Times are multiples of a round interval
 * (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30 s, then minutes and hours), the shortest that gives at most
 * `picture_count_max` pictures.
 *
 * Owned by whoever created it; one thread at a time; only write blocks (disk).
 */
#ifndef SORA_MEDIA_CONTACT_SHEET_H
#define SORA_MEDIA_CONTACT_SHEET_H

#include "base/error.h"

#include <stdint.h>

struct sora_contact_sheet;

#define SORA_CONTACT_PICTURES_MAX 60

struct sora_contact_sheet_params {
    int width, height;     /* of a frame, 1..16384 */
    int64_t frame_count;   /* of the whole video, 1.. */
    int fps, fps_divisor;  /* frames per second; a divisor of 0 means 1 */
    const char *title;     /* UTF-8, cut to the sheet's width; NULL or "" for none. Borrowed */
    int picture_count_max; /* 0 means 12; at most SORA_CONTACT_PICTURES_MAX */
    int picture_width;     /* pixels of one picture's width; 0 means 256; 96..1024 */
};

/* Errors: INVALID (a value out of range), LIMIT (a sheet beyond SORA_PICTURE_SIZE_MAX), MEMORY. */
int sora_contact_sheet_create(const struct sora_contact_sheet_params *params,
                              struct sora_contact_sheet **out_sheet, struct sora_fault *fault);
void sora_contact_sheet_destroy(struct sora_contact_sheet **sheet);

/* Takes the next frame, width*height*3 bytes R G B, borrowed; those that are not shown cost
 * nothing. Frames beyond frame_count are ignored. */
void sora_contact_sheet_add(struct sora_contact_sheet *sheet, const uint8_t *rgb);

/* Writes the sheet as `path` (sora_picture_write); pictures that never came stay dark. */
int sora_contact_sheet_write(const struct sora_contact_sheet *sheet, const char *path,
                             struct sora_fault *fault);

/* The pictures' number and the seconds between them. */
int sora_contact_sheet_count(const struct sora_contact_sheet *sheet);
double sora_contact_sheet_interval(const struct sora_contact_sheet *sheet);

/* "0:05.0", "12:34.5", "1:02:03.0": minutes and seconds, hours when needed. */
#define SORA_CONTACT_STAMP_SIZE 32
void sora_contact_stamp(double seconds, char out_text[SORA_CONTACT_STAMP_SIZE]);

#endif
