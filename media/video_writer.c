/*
 * libav muxing and encoding behind sora_video_writer. libav opens the temporary file by name and
 * not through the part's descriptor, because moving the index to the front makes it open it twice.
 */
#include "media/video_writer.h"

#include "base/files.h"
#include "media/av.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FPS_DIVISOR_MAX 1001

#define CRF_DEFAULT 18
#define KEY_FRAME_SECONDS 2 /* players can seek to these */

struct sora_video_writer {
    struct sora_file_part part;
    AVFormatContext *format;
    AVCodecContext *encoder;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    struct SwsContext *converter;
    int64_t frame_count;
};

/* ---- parameters ---- */

static int check_range(const char *name, int value, int min, int max, struct sora_fault *fault)
{
    if (value >= min && value <= max)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INVALID, "video %s is %d; it must be %d to %d", name, value,
                          min, max);
}

static int check_even(const char *name, int value, struct sora_fault *fault)
{
    if (value % 2 == 0)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INVALID,
                          "video %s is %d; H.264 with 4:2:0 colour needs an even one: %d or %d",
                          name, value, value - 1, value + 1);
}

static int check_params(const struct sora_video_writer_params *params, struct sora_fault *fault)
{
    const int divisor =
        params->fps_divisor > 0 && params->fps_divisor <= FPS_DIVISOR_MAX ? params->fps_divisor : 1;
    const struct {
        const char *name;
        int value, min, max;
    } ranges[] = {
        {"width", params->width, 2, SORA_VIDEO_SIZE_MAX},
        {"height", params->height, 2, SORA_VIDEO_SIZE_MAX},
        {"frame rate", params->fps, 1, SORA_VIDEO_FPS_MAX * divisor},
        {"frame rate divisor", params->fps_divisor, 0, FPS_DIVISOR_MAX},
        {"crf", params->crf, 0, 51},
        {"thread count", params->thread_count, 0, 64},
        {"tag count", params->tag_count, 0, SORA_VIDEO_TAGS_MAX},
    };
    int rc = params->path ? SORA_OK
                          : sora_fault_set(fault, SORA_E_INVALID, "the video has no output path");
    for (size_t i = 0; !rc && i < sizeof(ranges) / sizeof(ranges[0]); i++)
        rc = check_range(ranges[i].name, ranges[i].value, ranges[i].min, ranges[i].max, fault);
    if (!rc)
        rc = check_even("width", params->width, fault);
    if (!rc)
        rc = check_even("height", params->height, fault);
    return rc;
}

/* ---- opening ---- */

static int open_encoder(struct sora_video_writer *writer,
                        const struct sora_video_writer_params *params, struct sora_fault *fault)
{
    const char *name = params->codec ? params->codec : "libx264";
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    if (!codec || codec->type != AVMEDIA_TYPE_VIDEO)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "this libav has no video encoder %s; `ffmpeg -encoders` lists what "
                              "there is (Debian's libavcodec has libx264)",
                              name);
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    if (!encoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video encoder");
    writer->encoder = encoder;
    encoder->width = params->width;
    encoder->height = params->height;
    encoder->pix_fmt = AV_PIX_FMT_YUV420P;
    encoder->framerate = (AVRational){params->fps, params->fps_divisor ? params->fps_divisor : 1};
    encoder->time_base = av_inv_q(encoder->framerate);
    encoder->gop_size = (int)(KEY_FRAME_SECONDS * av_q2d(encoder->framerate) + 0.5);
    encoder->thread_count = params->thread_count ? params->thread_count : 1;
    encoder->color_range = AVCOL_RANGE_MPEG;
    encoder->colorspace = AVCOL_SPC_BT709;
    encoder->color_primaries = AVCOL_PRI_BT709;
    encoder->color_trc = AVCOL_TRC_BT709;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT;
    if (writer->format->oformat->flags & AVFMT_GLOBALHEADER)
        encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    /* Encoders without these options keep their own defaults. */
    av_opt_set(encoder->priv_data, "preset", params->preset ? params->preset : "medium", 0);
    av_opt_set_int(encoder->priv_data, "crf", params->crf ? params->crf : CRF_DEFAULT, 0);
    int rc = avcodec_open2(encoder, codec, NULL);
    if (rc < 0)
        return sora_fault_set(
            fault, SORA_E_INVALID, "encoder %s refuses %dx%d with preset %s, crf %d: %s", name,
            params->width, params->height, params->preset ? params->preset : "medium", params->crf,
            av_err2str(rc));
    return SORA_OK;
}

static int open_frames(struct sora_video_writer *writer, struct sora_fault *fault)
{
    const AVCodecContext *encoder = writer->encoder;
    writer->frame = av_frame_alloc();
    writer->packet = av_packet_alloc();
    if (!writer->frame || !writer->packet)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a video frame");
    writer->frame->format = encoder->pix_fmt;
    writer->frame->width = encoder->width;
    writer->frame->height = encoder->height;
    writer->frame->color_range = encoder->color_range;
    writer->frame->colorspace = encoder->colorspace;
    if (av_frame_get_buffer(writer->frame, 0) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a %dx%d frame",
                              encoder->width, encoder->height);
    struct sora_av_picture rgb = {.width = encoder->width,
                                  .height = encoder->height,
                                  .format = AV_PIX_FMT_RGB24,
                                  .coefficients = AVCOL_SPC_BT709};
    struct sora_av_picture yuv = rgb;
    yuv.format = encoder->pix_fmt;
    yuv.limited_range = true;
    return sora_av_converter(&rgb, &yuv, &writer->converter, fault);
}

static int open_muxer(struct sora_video_writer *writer,
                      const struct sora_video_writer_params *params, struct sora_fault *fault)
{
    AVFormatContext *format = writer->format;
    writer->stream = avformat_new_stream(format, NULL);
    if (!writer->stream ||
        avcodec_parameters_from_context(writer->stream->codecpar, writer->encoder) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video stream");
    writer->stream->time_base = writer->encoder->time_base;
    writer->stream->avg_frame_rate = writer->encoder->framerate;
    format->flags |= AVFMT_FLAG_BITEXACT;
    for (int i = 0; i < params->tag_count; i++) {
        if (av_dict_set(&format->metadata, params->tags[i].key, params->tags[i].value, 0) < 0)
            return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video's tags");
    }
    /* use_metadata_tags lets the file carry keys of our own, such as "seed". */
    AVDictionary *options = NULL;
    av_dict_set(&options, "movflags", "+faststart+use_metadata_tags", 0);
    int rc = avio_open(&format->pb, format->url, AVIO_FLAG_WRITE);
    if (rc >= 0)
        rc = avformat_write_header(format, &options);
    av_dict_free(&options);
    return rc < 0 ? sora_av_fault(fault, rc, "write", params->path) : SORA_OK;
}

int sora_video_writer_create(const struct sora_video_writer_params *params,
                             struct sora_video_writer **out_writer, struct sora_fault *fault)
{
    int rc = check_params(params, fault);
    if (rc)
        return rc;
    sora_av_quiet();
    struct sora_video_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video writer");
    rc = sora_file_part_open(params->path, &writer->part, fault);
    if (!rc) {
        /* The prefix keeps a colon in the path from being taken for a protocol. */
        char url[SORA_FILE_PATH_SIZE + 8];
        snprintf(url, sizeof(url), "file:%s", writer->part.temporary);
        if (avformat_alloc_output_context2(&writer->format, NULL, "mp4", url) < 0)
            rc = sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video file");
    }
    if (!rc)
        rc = open_encoder(writer, params, fault);
    if (!rc)
        rc = open_frames(writer, fault);
    if (!rc)
        rc = open_muxer(writer, params, fault);
    if (rc) {
        sora_video_writer_destroy(&writer);
        return rc;
    }
    *out_writer = writer;
    return SORA_OK;
}

/* ---- frames ---- */

/* Gives the encoder a frame (NULL: no more come) and writes the packets that are ready. */
static int encode(struct sora_video_writer *writer, AVFrame *frame, struct sora_fault *fault)
{
    const char *path = writer->part.path;
    int rc = avcodec_send_frame(writer->encoder, frame);
    if (rc < 0)
        return sora_av_fault(fault, rc, "encode", path);
    for (;;) {
        rc = avcodec_receive_packet(writer->encoder, writer->packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return SORA_OK;
        if (rc < 0)
            return sora_av_fault(fault, rc, "encode", path);
        writer->packet->duration = 1; /* in the encoder's time base: one frame */
        av_packet_rescale_ts(writer->packet, writer->encoder->time_base, writer->stream->time_base);
        writer->packet->stream_index = writer->stream->index;
        rc = av_interleaved_write_frame(writer->format, writer->packet);
        if (rc >= 0)
            rc = writer->format->pb->error;
        if (rc < 0)
            return sora_av_fault(fault, rc, "write", path);
    }
}

int sora_video_writer_add(struct sora_video_writer *writer, const uint8_t *rgb,
                          struct sora_fault *fault)
{
    AVFrame *frame = writer->frame;
    if (av_frame_make_writable(frame) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a video frame");
    const uint8_t *const planes[4] = {rgb};
    const int strides[4] = {3 * frame->width};
    sws_scale(writer->converter, planes, strides, 0, frame->height, frame->data, frame->linesize);
    frame->pts = writer->frame_count;
    int rc = encode(writer, frame, fault);
    if (!rc)
        writer->frame_count++;
    return rc;
}

int64_t sora_video_writer_count(const struct sora_video_writer *writer)
{
    return writer->frame_count;
}

const char *sora_video_writer_temporary(const struct sora_video_writer *writer)
{
    return writer->part.temporary;
}

int sora_video_writer_finish(struct sora_video_writer *writer, struct sora_fault *fault)
{
    if (writer->frame_count == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "%s would be a video without frames",
                              writer->part.path);
    int rc = encode(writer, NULL, fault);
    if (rc)
        return rc;
    int trailer = av_write_trailer(writer->format);
    int closed = avio_closep(&writer->format->pb);
    if (trailer < 0 || closed < 0)
        return sora_av_fault(fault, trailer < 0 ? trailer : closed, "write", writer->part.path);
    return sora_file_part_publish(&writer->part, fault);
}

void sora_video_writer_destroy(struct sora_video_writer **writer)
{
    struct sora_video_writer *w = *writer;
    if (!w)
        return;
    if (w->format)
        avio_closep(&w->format->pb);
    sora_file_part_discard(&w->part);
    sws_freeContext(w->converter);
    av_packet_free(&w->packet);
    av_frame_free(&w->frame);
    avcodec_free_context(&w->encoder);
    avformat_free_context(w->format);
    free(w);
    *writer = NULL;
}
