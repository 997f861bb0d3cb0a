/*
 * Video codecs: what each one takes, as one table, and the encoder made from it.
 *
 * Pure but for sora_video_codec_encoder, which allocates; any thread. Internal to media/.
 */
#ifndef SORA_MEDIA_VIDEO_CODEC_H
#define SORA_MEDIA_VIDEO_CODEC_H

#include "media/video_writer.h"

#include <libavcodec/avcodec.h>

#include <stdbool.h>

#define SORA_VIDEO_FORMATS_MAX 8

struct sora_video_codec {
    const char *name;        /* as people write it: "h264" */
    const char *title;       /* as it is spelled in messages */
    const char *encoders[3]; /* libav's, the first that is there is used; NULL-terminated */
    const char *preset;      /* the encoder's, NULL: it has none */
    const char *quality;     /* what its scale is called */
    int quality_min, quality_max, quality_default; /* 0..0: it has no scale */
    bool bitrate;                                  /* takes bits per second instead */
    int side_min;                                  /* pixels */
    unsigned containers;                           /* 1 << enum sora_container */
    const char *formats[SORA_VIDEO_FORMATS_MAX];   /* pixel formats, the default first */
};

/* What the parameters come to. Formats are libav's numbers. */
struct sora_video_choice {
    const struct sora_video_codec *codec;
    enum AVPixelFormat format;
    bool rgb;
};

/* Checks codec, container, pixel format, quality, bitrate and size against the table. Errors:
 * UNSUPPORTED, INVALID; each names what is allowed. */
int sora_video_codec_choose(const struct sora_video_writer_params *params,
                            struct sora_video_choice *out_choice, struct sora_fault *fault);

/* Makes an open encoder; the caller frees it. Errors: UNSUPPORTED (not in this libav), INVALID (the
 * encoder refuses), MEMORY. */
int sora_video_codec_encoder(const struct sora_video_writer_params *params,
                             const struct sora_video_choice *choice, bool global_header,
                             AVCodecContext **out_encoder, struct sora_fault *fault);

#endif
