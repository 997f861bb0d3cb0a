/*
 * What the media layer's own files share about libav: error translation and pixel conversion.
 *
 * Internal to media/; nothing outside includes this. Any thread.
 */
#ifndef SORA_MEDIA_AV_H
#define SORA_MEDIA_AV_H

#include "base/error.h"

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

/* Sets the fault "cannot VERB PATH: <reason>" for a negative AVERROR value and returns its code:
 * errno values as sora_file_fault does (SPACE, DENIED, ...), damaged data FORMAT, a missing encoder
 * or feature UNSUPPORTED, the rest IO. The library's own text goes into the log at debug level. */
int sora_av_fault(struct sora_fault *fault, int av_error, const char *verb, const char *path);

/* Keeps libav's own messages off stderr (they reach nobody who could act on them); once is enough,
 * calling again is free. */
void sora_av_quiet(void);

/* A picture format for sora_av_converter. */
struct sora_av_picture {
    int width, height;
    enum AVPixelFormat format;
    bool limited_range;             /* luma 16..235; false for RGB */
    enum AVColorSpace coefficients; /* of a YUV format; UNSPECIFIED counts as BT.709 */
};

/* Returns an owned converter (sws_freeContext) between two formats and sizes, bit-exact between
 * machines. Scaling averages areas. Errors: UNSUPPORTED, MEMORY. */
int sora_av_converter(const struct sora_av_picture *from, const struct sora_av_picture *to,
                      struct SwsContext **out_converter, struct sora_fault *fault);

#endif
