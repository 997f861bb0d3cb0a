/*
 * Source: one media file from outside, opened so that it can reach nothing else.
 *
 * One descriptor is opened and libav reads through it: an ".mp4" that is a list of other files in
 * text form is refused by its first bytes, references to further files are refused, demuxers and
 * codecs are the named ones. Do it in a child without network all the same. The struct lives inside
 * its user, which must not move it. One thread at a time; blocks on disk.
 *
 * Internal to media/.
 */
#ifndef SORA_MEDIA_AV_SOURCE_H
#define SORA_MEDIA_AV_SOURCE_H

#include "base/error.h"
#include "base/files.h"

#include <libavformat/avformat.h>

struct sora_av_source {
    char path[SORA_FILE_PATH_SIZE];
    int fd; /* -1: not open */
    AVFormatContext *format;
};

struct sora_av_source_params {
    const char *path;
    const char *codecs; /* libav's whitelist: names with commas */
    bool matroska_only; /* else the ISO family too */
    int64_t size_max;   /* bytes of the file; 0: no limit */
    int streams_max;    /* 0: libav's own limit */
};

/* Opens file and container; stream information beyond the container's header is the user's affair.
 * On error the source is closed. Errors: NOT_FOUND, DENIED, INVALID (no ordinary file), FORMAT,
 * LIMIT, MEMORY, IO. */
int sora_av_source_open(struct sora_av_source *source, const struct sora_av_source_params *params,
                        struct sora_fault *fault);

/* Accepts sources that were never opened, if all-zero but for fd = -1. */
void sora_av_source_close(struct sora_av_source *source);

#endif
