/*
 * libav muxing and encoding behind sora_video_writer. libav opens the temporary file by name and
 * not through the part's descriptor, because moving the index to the front makes it open it twice.
 */
#include "media/video_writer.h"

#include "base/files.h"
#include "media/av.h"
#include "media/video_codec.h"
#include "media/video_preview.h"

#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FPS_DIVISOR_MAX 1001

static const char *const muxers[] = {"mp4", "mov", "matroska"}; /* enum sora_container */

struct sora_video_writer {
    struct sora_file_part part;
    AVFormatContext *format;
    AVCodecContext *encoder;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    struct SwsContext *converter;
    struct sora_video_choice choice;
    struct sora_video_preview *preview;
    int64_t frame_count;
    bool published;
};

/* ---- parameters ---- */

static int choose(const struct sora_video_writer_params *params,
                  struct sora_video_choice *out_choice, struct sora_fault *fault)
{
    const int divisor =
        params->fps_divisor > 0 && params->fps_divisor <= FPS_DIVISOR_MAX ? params->fps_divisor : 1;
    const struct sora_bound bounds[] = {
        {"width", params->width, 2, SORA_VIDEO_SIZE_MAX},
        {"height", params->height, 2, SORA_VIDEO_SIZE_MAX},
        {"frame rate", params->fps, 1, SORA_VIDEO_FPS_MAX * divisor},
        {"frame rate divisor", params->fps_divisor, 0, FPS_DIVISOR_MAX},
        {"thread count", params->thread_count, 0, 64},
        {"tag count", params->tag_count, 0, SORA_VIDEO_TAGS_MAX},
    };
    int rc = sora_fault_bounds("video", bounds, sizeof(bounds) / sizeof(bounds[0]), fault);
    if (rc)
        return rc;
    return sora_video_codec_choose(params, out_choice, fault);
}

int sora_video_writer_check(const struct sora_video_writer_params *params, struct sora_fault *fault)
{
    struct sora_video_choice choice;
    return choose(params, &choice, fault);
}

/* ---- opening ---- */

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
    yuv.limited_range = !writer->choice.rgb;
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
    bool hevc = writer->encoder->codec_id == AV_CODEC_ID_HEVC;
    if (hevc && params->container != SORA_CONTAINER_MKV)
        writer->stream->codecpar->codec_tag = MKTAG('h', 'v', 'c', '1'); /* players want it */
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

static int open_all(struct sora_video_writer *writer, const struct sora_video_writer_params *params,
                    struct sora_fault *fault)
{
    int rc = sora_file_part_open(params->path, &writer->part, fault);
    if (rc)
        return rc;
    /* The prefix keeps a colon in the path from being taken for a protocol. */
    char url[SORA_FILE_PATH_SIZE + 8];
    snprintf(url, sizeof(url), "file:%s", writer->part.temporary);
    if (avformat_alloc_output_context2(&writer->format, NULL, muxers[params->container], url) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video file");
    bool global_header = (writer->format->oformat->flags & AVFMT_GLOBALHEADER) != 0;
    rc = sora_video_codec_encoder(params, &writer->choice, global_header, &writer->encoder, fault);
    if (!rc)
        rc = open_frames(writer, fault);
    if (!rc)
        rc = open_muxer(writer, params, fault);
    if (!rc && params->preview_path)
        rc = sora_video_preview_create(params->preview_path, writer->encoder, params->tags,
                                       params->tag_count, &writer->preview, fault);
    return rc;
}

int sora_video_writer_create(const struct sora_video_writer_params *params,
                             struct sora_video_writer **out_writer, struct sora_fault *fault)
{
    struct sora_video_choice choice;
    int rc = params->path ? choose(params, &choice, fault)
                          : sora_fault_set(fault, SORA_E_INVALID, "the video has no output path");
    if (rc)
        return rc;
    sora_av_quiet();
    struct sora_video_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video writer");
    writer->choice = choice;
    rc = open_all(writer, params, fault);
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
        rc = writer->preview ? sora_video_preview_add(writer->preview, writer->packet, fault) : 0;
        if (rc) {
            av_packet_unref(writer->packet);
            return rc;
        }
        av_packet_rescale_ts(writer->packet, writer->encoder->time_base, writer->stream->time_base);
        writer->packet->stream_index = writer->stream->index;
        rc = av_interleaved_write_frame(writer->format, writer->packet);
        if (rc >= 0)
            rc = writer->format->pb->error;
        if (rc < 0)
            return sora_av_fault(fault, rc, "write", path);
    }
}

static void convert(struct sora_video_writer *writer, const uint8_t *rgb, uint8_t *const planes[4],
                    const int strides[4])
{
    const uint8_t *const from[4] = {rgb};
    const int from_strides[4] = {3 * writer->encoder->width};
    sws_scale(writer->converter, from, from_strides, 0, writer->encoder->height, planes, strides);
}

static int encode_next(struct sora_video_writer *writer, struct sora_fault *fault)
{
    writer->frame->pts = writer->frame_count;
    int rc = encode(writer, writer->frame, fault);
    if (!rc)
        writer->frame_count++;
    return rc;
}

static int make_writable(struct sora_video_writer *writer, struct sora_fault *fault)
{
    return av_frame_make_writable(writer->frame) < 0
               ? sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a video frame")
               : SORA_OK;
}

int sora_video_writer_add(struct sora_video_writer *writer, const uint8_t *rgb,
                          struct sora_fault *fault)
{
    int rc = make_writable(writer, fault);
    if (rc)
        return rc;
    convert(writer, rgb, writer->frame->data, writer->frame->linesize);
    return encode_next(writer, fault);
}

size_t sora_video_writer_converted_size(const struct sora_video_writer *writer)
{
    const AVCodecContext *encoder = writer->encoder;
    return (size_t)av_image_get_buffer_size(encoder->pix_fmt, encoder->width, encoder->height,
                                            SORA_VIDEO_ALIGNMENT);
}

static void lay_out(const struct sora_video_writer *writer, const uint8_t *memory,
                    uint8_t *out_planes[4], int out_strides[4])
{
    const AVCodecContext *encoder = writer->encoder;
    av_image_fill_arrays(out_planes, out_strides, memory, encoder->pix_fmt, encoder->width,
                         encoder->height, SORA_VIDEO_ALIGNMENT);
}

void sora_video_writer_convert(struct sora_video_writer *writer, const uint8_t *rgb,
                               uint8_t *out_converted)
{
    uint8_t *planes[4];
    int strides[4];
    lay_out(writer, out_converted, planes, strides);
    convert(writer, rgb, planes, strides);
}

int sora_video_writer_add_converted(struct sora_video_writer *writer, const uint8_t *converted,
                                    struct sora_fault *fault)
{
    AVFrame *frame = writer->frame;
    uint8_t *planes[4];
    int strides[4], rc = make_writable(writer, fault);
    if (rc)
        return rc;
    lay_out(writer, converted, planes, strides);
    av_image_copy(frame->data, frame->linesize, (const uint8_t **)planes, strides, frame->format,
                  frame->width, frame->height);
    return encode_next(writer, fault);
}

int64_t sora_video_writer_count(const struct sora_video_writer *writer)
{
    return writer->frame_count;
}

int64_t sora_video_writer_preview_count(const struct sora_video_writer *writer)
{
    return writer->preview ? sora_video_preview_count(writer->preview) : 0;
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
    if (!rc && writer->preview)
        rc = sora_video_preview_finish(writer->preview, fault);
    if (rc)
        return rc;
    int trailer = av_write_trailer(writer->format);
    int closed = avio_closep(&writer->format->pb);
    if (trailer < 0 || closed < 0)
        return sora_av_fault(fault, trailer < 0 ? trailer : closed, "write", writer->part.path);
    rc = sora_file_part_publish(&writer->part, fault);
    writer->published = !rc;
    return rc;
}

void sora_video_writer_destroy(struct sora_video_writer **writer)
{
    struct sora_video_writer *w = *writer;
    if (!w)
        return;
    if (w->format)
        avio_closep(&w->format->pb);
    sora_file_part_discard(&w->part);
    sora_video_preview_destroy(&w->preview, w->published);
    sws_freeContext(w->converter);
    av_packet_free(&w->packet);
    av_frame_free(&w->frame);
    avcodec_free_context(&w->encoder);
    avformat_free_context(w->format);
    free(w);
    *writer = NULL;
}
