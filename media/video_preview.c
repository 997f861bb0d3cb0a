/* The growing second file of a video writer. */
#include "media/video_preview.h"

#include "base/files.h"
#include "media/av.h"
#include "media/av_sink.h"

#include <libavformat/avformat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sora_video_preview {
    char path[SORA_FILE_PATH_SIZE];
    int fd;
    AVIOContext *sink;
    AVFormatContext *format;
    AVPacket *packet;
    AVRational time_base;     /* of the packets that come */
    int flush_packets;        /* close a cluster after so many */
    int64_t written, flushed; /* packets */
    int64_t ready, playable;  /* frames without a gap: of what is written, of what is flushed */
};

static int open_file(struct sora_video_preview *preview, const char *path, struct sora_fault *fault)
{
    if (strlen(path) >= sizeof(preview->path))
        return sora_fault_set(fault, SORA_E_LIMIT, "the preview's path has more than %d bytes",
                              SORA_FILE_PATH_SIZE - 1);
    preview->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (preview->fd < 0)
        return sora_file_fault(fault, errno, "create", path);
    snprintf(preview->path, sizeof(preview->path), "%s", path);
    return SORA_OK;
}

static int open_muxer(struct sora_video_preview *preview, const AVCodecContext *encoder,
                      struct sora_fault *fault)
{
    AVFormatContext *format = preview->format;
    AVStream *stream = avformat_new_stream(format, NULL);
    format->pb = preview->sink = sora_av_sink_create(preview->fd, false);
    preview->packet = av_packet_alloc();
    if (!stream || !format->pb || !preview->packet ||
        avcodec_parameters_from_context(stream->codecpar, encoder) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the preview");
    stream->codecpar->codec_tag = 0;
    stream->time_base = preview->time_base = encoder->time_base;
    stream->avg_frame_rate = encoder->framerate;
    format->flags |= AVFMT_FLAG_BITEXACT;
    int rc = avformat_write_header(format, NULL);
    return rc < 0 ? sora_av_fault(fault, rc, "write", preview->path) : SORA_OK;
}

int sora_video_preview_create(const char *path, const AVCodecContext *encoder,
                              const struct sora_video_tag *tags, int tag_count,
                              struct sora_video_preview **out_preview, struct sora_fault *fault)
{
    struct sora_video_preview *preview = calloc(1, sizeof(*preview));
    if (!preview)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the preview");
    preview->fd = -1;
    preview->flush_packets = (int)(av_q2d(encoder->framerate) / 2);
    int rc = open_file(preview, path, fault);
    if (!rc && avformat_alloc_output_context2(&preview->format, NULL, "matroska", NULL) < 0)
        rc = sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the preview");
    for (int i = 0; !rc && i < tag_count; i++) {
        if (av_dict_set(&preview->format->metadata, tags[i].key, tags[i].value, 0) < 0)
            rc = sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the preview's tags");
    }
    if (!rc)
        rc = open_muxer(preview, encoder, fault);
    if (rc) {
        sora_video_preview_destroy(&preview, false);
        return rc;
    }
    *out_preview = preview;
    return SORA_OK;
}

static int result(const struct sora_video_preview *preview, int rc, struct sora_fault *fault)
{
    if (rc >= 0)
        rc = preview->sink->error;
    return rc < 0 ? sora_av_fault(fault, rc, "write", preview->path) : SORA_OK;
}

int sora_video_preview_add(struct sora_video_preview *preview, const AVPacket *packet,
                           struct sora_fault *fault)
{
    if (av_packet_ref(preview->packet, packet) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the preview");
    preview->packet->stream_index = 0;
    /* Later packets have larger decoding times and are not shown before theirs. */
    if (packet->dts >= preview->ready)
        preview->ready = packet->dts + 1;
    av_packet_rescale_ts(preview->packet, preview->time_base,
                         preview->format->streams[0]->time_base);
    int rc = av_write_frame(preview->format, preview->packet);
    av_packet_unref(preview->packet);
    if (rc >= 0 && ++preview->written - preview->flushed >= preview->flush_packets) {
        rc = av_write_frame(preview->format, NULL);
        avio_flush(preview->sink);
        preview->flushed = preview->written;
        if (rc >= 0 && preview->sink->error >= 0)
            preview->playable = preview->ready;
    }
    return result(preview, rc, fault);
}

int64_t sora_video_preview_count(const struct sora_video_preview *preview)
{
    return preview->playable;
}

int sora_video_preview_finish(struct sora_video_preview *preview, struct sora_fault *fault)
{
    int rc = av_write_trailer(preview->format);
    avio_flush(preview->sink);
    rc = result(preview, rc, fault);
    if (!rc)
        preview->playable = preview->written;
    return rc;
}

void sora_video_preview_destroy(struct sora_video_preview **preview, bool keep)
{
    struct sora_video_preview *p = *preview;
    if (!p)
        return;
    avformat_free_context(p->format);
    sora_av_sink_destroy(&p->sink);
    av_packet_free(&p->packet);
    if (p->fd >= 0)
        close(p->fd);
    if (p->path[0] && !keep)
        unlink(p->path);
    free(p);
    *preview = NULL;
}
