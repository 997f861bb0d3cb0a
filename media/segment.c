/*
 * FFV1 version 3, every frame a key frame of 4 or 16 slices with checksums, 8-bit RGB without any
 * colour conversion. The number of slices is fixed, so threads change no byte; the decoder conceals
 * damage instead of reporting it, so the checksums are verified here as well. Rice codes and not
 * the range coder: about a tenth more bytes for half the time.
 */
#include "media/segment.h"

#include "base/files.h"
#include "media/av.h"
#include "media/av_sink.h"
#include "media/av_source.h"

#include <libavcodec/avcodec.h>
#include <libavutil/crc.h>
#include <libavutil/opt.h>

#include <stdlib.h>
#include <string.h>

#define SIDE_MIN 8 /* a side of one pixel is not lossless with this libav's Rice codes */
#define SIDE_MAX 16384
#define PIXELS_MAX (8192 * 8192)
#define ROW_PADDING 64
#define SLICES_MAX 16
#define SLICES_MAX_PIXELS 300000 /* frames from this size on have SLICES_MAX */
#define FILE_SIZE_MAX ((int64_t)16 << 30)
#define FRAMES_MAX (1 << 20)
#define SLICE_TRAILER_SIZE 8 /* 24-bit size, status, CRC-32 (RFC 9043, 4.9) */

struct sora_segment_writer {
    struct sora_file_part part;
    AVIOContext *sink;
    AVFormatContext *format;
    AVCodecContext *encoder;
    AVFrame *frame;
    AVPacket *packet;
    int64_t frame_count;
};

struct sora_segment_reader {
    struct sora_av_source source;
    AVCodecContext *decoder;
    AVPacket *packet;
    AVFrame *frame;
    int width, height;
    int64_t frame_count;
};

/* ---- writing ---- */

static int check_params(const struct sora_segment_params *params, struct sora_fault *fault)
{
    const struct {
        const char *name;
        int value, min, max;
    } ranges[] = {
        {"width", params->width, SIDE_MIN, SIDE_MAX},
        {"height", params->height, SIDE_MIN, SIDE_MAX},
        {"frame rate", params->fps, 1, 1000000},
        {"frame rate divisor", params->fps_divisor, 0, 1000000},
        {"thread count", params->thread_count, 0, 64},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return sora_fault_set(fault, SORA_E_INVALID, "segment: %s is %d; it must be %d to %d",
                                  ranges[i].name, ranges[i].value, ranges[i].min, ranges[i].max);
    }
    return (int64_t)params->width * params->height <= PIXELS_MAX
               ? SORA_OK
               : sora_fault_set(fault, SORA_E_LIMIT,
                                "segment: frames of %dx%d; the limit is %d pixels", params->width,
                                params->height, PIXELS_MAX);
}

/* By size only, so that threads change no byte. */
static int slice_count(int width, int height)
{
    if (width < 32 || height < 32)
        return 1;
    return width >= 128 && height >= 128 && width * height >= SLICES_MAX_PIXELS ? SLICES_MAX : 4;
}

static int open_encoder(struct sora_segment_writer *writer,
                        const struct sora_segment_params *params, struct sora_fault *fault)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("ffv1");
    if (!codec)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "this libav has no FFV1 encoder");
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    writer->encoder = encoder;
    writer->frame = av_frame_alloc();
    writer->packet = av_packet_alloc();
    if (!encoder || !writer->frame || !writer->packet)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the segment's encoder");
    encoder->width = writer->frame->width = params->width;
    encoder->height = writer->frame->height = params->height;
    encoder->pix_fmt = writer->frame->format = AV_PIX_FMT_0RGB32;
    encoder->framerate = (AVRational){params->fps, params->fps_divisor ? params->fps_divisor : 1};
    encoder->time_base = av_inv_q(encoder->framerate);
    encoder->gop_size = 1;
    encoder->level = 3;
    encoder->slices = slice_count(params->width, params->height);
    encoder->thread_count = params->thread_count ? params->thread_count : 1;
    encoder->thread_type = FF_THREAD_SLICE;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
    av_opt_set(encoder->priv_data, "coder", "rice", 0);
    av_opt_set_int(encoder->priv_data, "slicecrc", 1, 0);
    int rc = avcodec_open2(encoder, codec, NULL);
    if (rc < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "the FFV1 encoder refuses %dx%d: %s",
                              params->width, params->height, av_err2str(rc));
    return av_frame_get_buffer(writer->frame, 0) < 0
               ? sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a %dx%d frame",
                                params->width, params->height)
               : SORA_OK;
}

static int open_muxer(struct sora_segment_writer *writer, struct sora_fault *fault)
{
    if (avformat_alloc_output_context2(&writer->format, NULL, "matroska", NULL) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a segment");
    AVFormatContext *format = writer->format;
    AVStream *stream = avformat_new_stream(format, NULL);
    writer->sink = format->pb = sora_av_sink_create(writer->part.fd, true);
    if (!stream || !format->pb ||
        avcodec_parameters_from_context(stream->codecpar, writer->encoder) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a segment");
    stream->time_base = writer->encoder->time_base;
    stream->avg_frame_rate = writer->encoder->framerate;
    format->flags |= AVFMT_FLAG_BITEXACT;
    int rc = avformat_write_header(format, NULL);
    return rc < 0 ? sora_av_fault(fault, rc, "write", writer->part.path) : SORA_OK;
}

int sora_segment_writer_create(const struct sora_segment_params *params,
                               struct sora_segment_writer **out_writer, struct sora_fault *fault)
{
    int rc = check_params(params, fault);
    if (rc)
        return rc;
    sora_av_quiet();
    struct sora_segment_writer *writer = calloc(1, sizeof(*writer));
    if (!writer)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a segment");
    rc = sora_file_part_open(params->path, &writer->part, fault);
    if (!rc)
        rc = open_encoder(writer, params, fault);
    if (!rc)
        rc = open_muxer(writer, fault);
    if (rc) {
        sora_segment_writer_destroy(&writer);
        return rc;
    }
    *out_writer = writer;
    return SORA_OK;
}

static int encode(struct sora_segment_writer *writer, AVFrame *frame, struct sora_fault *fault)
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
        writer->packet->duration = 1;
        av_packet_rescale_ts(writer->packet, writer->encoder->time_base,
                             writer->format->streams[0]->time_base);
        rc = av_write_frame(writer->format, writer->packet);
        av_packet_unref(writer->packet);
        if (rc >= 0)
            rc = writer->sink->error;
        if (rc < 0)
            return sora_av_fault(fault, rc, "write", path);
    }
}

int sora_segment_writer_add(struct sora_segment_writer *writer, const uint8_t *rgb,
                            struct sora_fault *fault)
{
    AVFrame *frame = writer->frame;
    if (writer->frame_count >= FRAMES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s has %d frames already", writer->part.path,
                              FRAMES_MAX);
    if (av_frame_make_writable(frame) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a segment's frame");
    for (int y = 0; y < frame->height; y++) {
        uint8_t *row = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        for (int x = 0; x < frame->width; x++, rgb += 3, row += 4) {
            uint32_t pixel = (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
            memcpy(row, &pixel, sizeof(pixel));
        }
    }
    frame->pts = writer->frame_count++;
    return encode(writer, frame, fault);
}

int sora_segment_writer_finish(struct sora_segment_writer *writer, struct sora_fault *fault)
{
    if (writer->frame_count == 0)
        return sora_fault_set(fault, SORA_E_INVALID, "%s would be a segment without frames",
                              writer->part.path);
    int rc = encode(writer, NULL, fault);
    if (rc)
        return rc;
    rc = av_write_trailer(writer->format);
    writer->format->pb = NULL;
    int flushed = sora_av_sink_destroy(&writer->sink);
    if (rc < 0 || flushed < 0)
        return sora_av_fault(fault, rc < 0 ? rc : flushed, "write", writer->part.path);
    return sora_file_part_publish(&writer->part, fault);
}

void sora_segment_writer_destroy(struct sora_segment_writer **writer)
{
    struct sora_segment_writer *w = *writer;
    if (!w)
        return;
    avformat_free_context(w->format);
    sora_av_sink_destroy(&w->sink);
    sora_file_part_discard(&w->part);
    av_packet_free(&w->packet);
    av_frame_free(&w->frame);
    avcodec_free_context(&w->encoder);
    free(w);
    *writer = NULL;
}

/* ---- reading ---- */

static int open_decoder(struct sora_segment_reader *reader, int thread_count,
                        struct sora_fault *fault)
{
    const AVFormatContext *format = reader->source.format;
    const char *path = reader->source.path;
    const AVCodecParameters *parameters =
        format->nb_streams == 1 ? format->streams[0]->codecpar : NULL;
    if (!parameters || parameters->codec_type != AVMEDIA_TYPE_VIDEO ||
        parameters->codec_id != AV_CODEC_ID_FFV1)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s is no segment: one FFV1 video is expected",
                              path);
    if (parameters->width != reader->width || parameters->height != reader->height)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s has frames of %dx%d instead of %dx%d", path,
                              parameters->width, parameters->height, reader->width, reader->height);
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_FFV1);
    if (!codec)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "this libav has no FFV1 decoder");
    reader->decoder = avcodec_alloc_context3(codec);
    reader->packet = av_packet_alloc();
    reader->frame = av_frame_alloc();
    if (!reader->decoder || !reader->packet || !reader->frame ||
        avcodec_parameters_to_context(reader->decoder, parameters) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to decode %s", path);
    /* libav counts rows with their alignment. */
    reader->decoder->max_pixels = ((int64_t)reader->width + ROW_PADDING) * reader->height;
    int threads = thread_count < 1 ? 1 : thread_count;
    reader->decoder->thread_count = threads < SLICES_MAX ? threads : SLICES_MAX;
    reader->decoder->thread_type = FF_THREAD_SLICE;
    int rc = avcodec_open2(reader->decoder, codec, NULL);
    return rc < 0 ? sora_av_fault(fault, rc, "decode", path) : SORA_OK;
}

int sora_segment_reader_create(const struct sora_segment_reader_params *params,
                               struct sora_segment_reader **out_reader, struct sora_fault *fault)
{
    int width = params->width, height = params->height;
    if (width < SIDE_MIN || height < SIDE_MIN || (int64_t)width * height > PIXELS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "segment: frames of %dx%d; the limits are %d a side and %d pixels",
                              width, height, SIDE_MIN, PIXELS_MAX);
    struct sora_segment_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to read %s", params->path);
    reader->width = width;
    reader->height = height;
    const struct sora_av_source_params source = {.path = params->path,
                                                 .codecs = "ffv1",
                                                 .matroska_only = true,
                                                 .size_max = FILE_SIZE_MAX,
                                                 .streams_max = 1};
    int rc = sora_av_source_open(&reader->source, &source, fault);
    if (!rc)
        rc = open_decoder(reader, params->thread_count, fault);
    if (rc) {
        sora_segment_reader_close(&reader);
        return rc;
    }
    *out_reader = reader;
    return SORA_OK;
}

int sora_segment_reader_open(const char *path, int width, int height,
                             struct sora_segment_reader **out_reader, struct sora_fault *fault)
{
    const struct sora_segment_reader_params params = {
        .path = path, .width = width, .height = height};
    return sora_segment_reader_create(&params, out_reader, fault);
}

void sora_segment_reader_close(struct sora_segment_reader **reader)
{
    struct sora_segment_reader *r = *reader;
    if (!r)
        return;
    av_frame_free(&r->frame);
    av_packet_free(&r->packet);
    avcodec_free_context(&r->decoder);
    sora_av_source_close(&r->source);
    free(r);
    *reader = NULL;
}

/* Whether the packet is slices from end to end, each with status 0 and a checksum that holds. */
static bool slices_are_whole(const AVPacket *packet)
{
    const AVCRC *table = av_crc_get_table(AV_CRC_32_IEEE);
    int left = packet->size;
    while (left > 0) {
        if (left < SLICE_TRAILER_SIZE)
            return false;
        const uint8_t *trailer = packet->data + left - SLICE_TRAILER_SIZE;
        int size = (trailer[0] << 16 | trailer[1] << 8 | trailer[2]) + SLICE_TRAILER_SIZE;
        if (size > left || trailer[3] != 0 ||
            av_crc(table, 0, packet->data + left - size, (size_t)size) != 0)
            return false;
        left -= size;
    }
    return packet->size > 0;
}

static int take_frame(struct sora_segment_reader *reader, uint8_t *out_rgb,
                      struct sora_fault *fault)
{
    const AVFrame *frame = reader->frame;
    const char *path = reader->source.path;
    if (frame->width != reader->width || frame->height != reader->height ||
        frame->format != AV_PIX_FMT_0RGB32)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: frame %lld is not 8-bit RGB of %dx%d as its header says", path,
                              (long long)reader->frame_count, reader->width, reader->height);
    for (int y = 0; y < frame->height; y++) {
        const uint8_t *row = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        for (int x = 0; x < frame->width; x++, out_rgb += 3, row += 4) {
            uint32_t pixel;
            memcpy(&pixel, row, sizeof(pixel));
            out_rgb[0] = (uint8_t)(pixel >> 16);
            out_rgb[1] = (uint8_t)(pixel >> 8);
            out_rgb[2] = (uint8_t)pixel;
        }
    }
    reader->frame_count++;
    return 1;
}

/* Reads the next packet and checks it. 1: there is one, which the caller unrefs; 0: the end. */
static int read_packet(struct sora_segment_reader *reader, struct sora_fault *fault)
{
    const char *path = reader->source.path;
    int rc = av_read_frame(reader->source.format, reader->packet);
    if (rc == AVERROR_EOF)
        return 0;
    if (rc < 0)
        return sora_av_fault(fault, rc, "read", path);
    if (reader->frame_count >= FRAMES_MAX)
        rc = sora_fault_set(fault, SORA_E_LIMIT, "%s has more than %d frames", path, FRAMES_MAX);
    else if (!slices_are_whole(reader->packet))
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s: frame %lld is damaged", path,
                            (long long)reader->frame_count);
    else
        return 1;
    av_packet_unref(reader->packet);
    return rc;
}

int sora_segment_reader_skip(struct sora_segment_reader *reader, int count,
                             struct sora_fault *fault)
{
    for (int i = 0; i < count; i++) {
        int rc = read_packet(reader, fault);
        if (rc == 0)
            return sora_fault_set(fault, SORA_E_FORMAT, "%s ends after %lld frames",
                                  reader->source.path, (long long)reader->frame_count);
        if (rc < 0)
            return rc;
        av_packet_unref(reader->packet);
        reader->frame_count++;
    }
    return SORA_OK;
}

int sora_segment_reader_next(struct sora_segment_reader *reader, uint8_t *out_rgb,
                             struct sora_fault *fault)
{
    int rc = read_packet(reader, fault);
    if (rc <= 0)
        return rc;
    if ((rc = avcodec_send_packet(reader->decoder, reader->packet)) < 0 ||
        (rc = avcodec_receive_frame(reader->decoder, reader->frame)) < 0)
        rc = sora_av_fault(fault, rc == AVERROR(EAGAIN) ? AVERROR_INVALIDDATA : rc, "decode",
                           reader->source.path);
    else
        rc = take_frame(reader, out_rgb, fault);
    av_packet_unref(reader->packet);
    av_frame_unref(reader->frame);
    return rc;
}
