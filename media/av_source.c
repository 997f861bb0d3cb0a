/* One descriptor behind libav's I/O, and the container on it. */
#include "media/av_source.h"

#include "media/av.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_SIZE 65536

/* ---- the one descriptor ---- */

static int io_read(void *opaque, uint8_t *out_data, int size)
{
    struct sora_av_source *source = opaque;
    for (;;) {
        ssize_t got = read(source->fd, out_data, (size_t)size);
        if (got > 0)
            return (int)got;
        if (got == 0)
            return AVERROR_EOF;
        if (errno != EINTR)
            return AVERROR(errno);
    }
}

static int64_t io_seek(void *opaque, int64_t offset, int whence)
{
    struct sora_av_source *source = opaque;
    if (whence == AVSEEK_SIZE) {
        struct stat status;
        return fstat(source->fd, &status) == 0 ? status.st_size : AVERROR(errno);
    }
    off_t place = lseek(source->fd, offset, whence & ~AVSEEK_FORCE);
    return place < 0 ? AVERROR(errno) : place;
}

/* A container may point at other files; none is opened. */
static int io_open_refused(AVFormatContext *format, AVIOContext **out_io, const char *url,
                           int flags, AVDictionary **options)
{
    (void)format;
    (void)out_io;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EPERM);
}

static int check_head(struct sora_av_source *source, bool matroska_only, struct sora_fault *fault)
{
    unsigned char head[12];
    bool complete = pread(source->fd, head, sizeof(head), 0) == (ssize_t)sizeof(head);
    bool iso = complete && memcmp(head + 4, "ftyp", 4) == 0;
    bool matroska = complete && memcmp(head, "\x1a\x45\xdf\xa3", 4) == 0;
    if (matroska || (iso && !matroska_only))
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_FORMAT, "%s is %s", source->path,
                          matroska_only ? "no Matroska file" : "neither an .mp4 nor an .mkv file");
}

static int open_file(struct sora_av_source *source, const struct sora_av_source_params *params,
                     struct sora_fault *fault)
{
    source->fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (source->fd < 0 || fstat(source->fd, &status) != 0)
        return sora_file_fault(fault, errno, "read", source->path);
    if (!S_ISREG(status.st_mode))
        return sora_fault_set(fault, SORA_E_INVALID, "%s is not an ordinary file", source->path);
    if (params->size_max > 0 && status.st_size > params->size_max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s has %lld bytes; the limit is %lld",
                              source->path, (long long)status.st_size, (long long)params->size_max);
    return check_head(source, params->matroska_only, fault);
}

/* ---- the container ---- */

static int open_container(struct sora_av_source *source, const struct sora_av_source_params *params,
                          struct sora_fault *fault)
{
    unsigned char *io_buffer = av_malloc(IO_SIZE);
    AVIOContext *io =
        io_buffer ? avio_alloc_context(io_buffer, IO_SIZE, 0, source, io_read, NULL, io_seek)
                  : NULL;
    source->format = avformat_alloc_context();
    if (!io || !source->format) {
        if (!io)
            av_free(io_buffer);
        else
            av_freep(&io->buffer);
        avio_context_free(&io);
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to read %s", source->path);
    }
    source->format->pb = io;
    source->format->io_open = io_open_refused;
    if (params->streams_max > 0)
        source->format->max_streams = params->streams_max;
    const AVInputFormat *demuxer = params->matroska_only ? av_find_input_format("matroska") : NULL;
    AVDictionary *options = NULL;
    av_dict_set(&options, "format_whitelist",
                params->matroska_only ? "matroska,webm" : "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
                0);
    av_dict_set(&options, "codec_whitelist", params->codecs, 0);
    av_dict_set(&options, "protocol_whitelist", "", 0);
    /* On failure this frees the format context, not the I/O context. */
    int rc = avformat_open_input(&source->format, NULL, demuxer, &options);
    av_dict_free(&options);
    if (rc >= 0)
        return SORA_OK;
    av_freep(&io->buffer);
    avio_context_free(&io);
    return sora_av_fault(fault, rc, "read", source->path);
}

int sora_av_source_open(struct sora_av_source *source, const struct sora_av_source_params *params,
                        struct sora_fault *fault)
{
    source->fd = -1;
    source->format = NULL;
    if (strlen(params->path) >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "the video's path has more than %d bytes",
                              SORA_FILE_PATH_SIZE - 1);
    sora_av_quiet();
    snprintf(source->path, sizeof(source->path), "%s", params->path);
    int rc = open_file(source, params, fault);
    if (!rc)
        rc = open_container(source, params, fault);
    if (rc)
        sora_av_source_close(source);
    return rc;
}

void sora_av_source_close(struct sora_av_source *source)
{
    if (source->format) {
        AVIOContext *io = source->format->pb;
        avformat_close_input(&source->format);
        if (io)
            av_freep(&io->buffer);
        avio_context_free(&io);
    }
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
}
