/*
 * UT Video, median prediction, one slice a plane, 8-bit RGB without any loss. Every frame stands
 * alone, so threads take whole frames and change no byte. Beside FFV1 it takes about a tenth more
 * bytes for a quarter of the time, so that reading segments is no matter beside encoding the video.
 *
 * The format has no checksums and needs none here: nodes hand segments on as blobs, whose digest
 * holds before a reader sees them.
 */
#include "media/segment.h"

#include "base/files.h"
#include "media/av.h"
#include "media/av_sink.h"
#include "media/av_source.h"

#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>

#include <stdlib.h>
#include <string.h>

#define SIDE_MIN 8
#define SIDE_MAX 16384
#define PIXELS_MAX (8192 * 8192)
#define ROW_PADDING 64
#define THREADS_MAX 16
#define THREADS_BYTES_MAX ((int64_t)512 << 20) /* each thread holds a frame or two */
#define FILE_SIZE_MAX ((int64_t)16 << 30)
#define FRAMES_MAX (1 << 20)

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
    int64_t frame_count;  /* that were returned or passed over */
    int64_t packet_count; /* ahead of it by what the decoder's threads hold */
    bool begun, ended;
};

/* What is worth starting for frames of this size. */
static int bounded_threads(int thread_count, int width, int height)
{
    int64_t room = THREADS_BYTES_MAX / ((int64_t)width * height * 6);
    int64_t threads = thread_count < THREADS_MAX ? thread_count : THREADS_MAX;
    threads = threads < room ? threads : room;
    return threads < 1 ? 1 : (int)threads;
}

/* ---- writing ---- */

static int check_params(const struct sora_segment_params *params, struct sora_fault *fault)
{
    const struct sora_bound bounds[] = {
        {"width", params->width, SIDE_MIN, SIDE_MAX},
        {"height", params->height, SIDE_MIN, SIDE_MAX},
        {"frame rate", params->fps, 1, 1000000},
        {"frame rate divisor", params->fps_divisor, 0, 1000000},
        {"thread count", params->thread_count, 0, 64},
    };
    int rc = sora_fault_bounds("segment", bounds, sizeof(bounds) / sizeof(bounds[0]), fault);
    if (rc)
        return rc;
    return (int64_t)params->width * params->height <= PIXELS_MAX
               ? SORA_OK
               : sora_fault_set(fault, SORA_E_LIMIT,
                                "segment: frames of %dx%d; the limit is %d pixels", params->width,
                                params->height, PIXELS_MAX);
}

static int open_encoder(struct sora_segment_writer *writer,
                        const struct sora_segment_params *params, struct sora_fault *fault)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("utvideo");
    if (!codec)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "this libav has no UT Video encoder");
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    writer->encoder = encoder;
    writer->frame = av_frame_alloc();
    writer->packet = av_packet_alloc();
    if (!encoder || !writer->frame || !writer->packet)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the segment's encoder");
    encoder->width = writer->frame->width = params->width;
    encoder->height = writer->frame->height = params->height;
    encoder->pix_fmt = writer->frame->format = AV_PIX_FMT_GBRP;
    encoder->framerate = (AVRational){params->fps, params->fps_divisor ? params->fps_divisor : 1};
    encoder->time_base = av_inv_q(encoder->framerate);
    encoder->slices = 1;
    encoder->thread_count = bounded_threads(params->thread_count, params->width, params->height);
    encoder->thread_type = FF_THREAD_FRAME;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
    int rc = av_opt_set(encoder->priv_data, "pred", "median", 0);
    if (rc >= 0)
        rc = avcodec_open2(encoder, codec, NULL);
    if (rc < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "the UT Video encoder refuses %dx%d: %s",
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

/* The planes of GBRP are green, blue, red. */
static uint8_t *plane_row(const AVFrame *frame, int plane, int y)
{
    return frame->data[plane] + (ptrdiff_t)y * frame->linesize[plane];
}

static void split_row(const uint8_t *rgb, int width, uint8_t *restrict green,
                      uint8_t *restrict blue, uint8_t *restrict red)
{
    for (int x = 0; x < width; x++, rgb += 3) {
        red[x] = rgb[0];
        green[x] = rgb[1];
        blue[x] = rgb[2];
    }
}

static void join_row(const uint8_t *green, const uint8_t *blue, const uint8_t *red, int width,
                     uint8_t *restrict rgb)
{
    for (int x = 0; x < width; x++, rgb += 3) {
        rgb[0] = red[x];
        rgb[1] = green[x];
        rgb[2] = blue[x];
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
    for (int y = 0; y < frame->height; y++, rgb += (ptrdiff_t)3 * frame->width)
        split_row(rgb, frame->width, plane_row(frame, 0, y), plane_row(frame, 1, y),
                  plane_row(frame, 2, y));
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
        parameters->codec_id != AV_CODEC_ID_UTVIDEO)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s is no segment: one UT Video is "
                              "expected",
                              path);
    if (parameters->width != reader->width || parameters->height != reader->height)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s has frames of %dx%d instead of %dx%d", path,
                              parameters->width, parameters->height, reader->width, reader->height);
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_UTVIDEO);
    if (!codec)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "this libav has no UT Video decoder");
    reader->decoder = avcodec_alloc_context3(codec);
    reader->packet = av_packet_alloc();
    reader->frame = av_frame_alloc();
    if (!reader->decoder || !reader->packet || !reader->frame ||
        avcodec_parameters_to_context(reader->decoder, parameters) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to decode %s", path);
    /* libav counts rows with their alignment. */
    reader->decoder->max_pixels = ((int64_t)reader->width + ROW_PADDING) * reader->height;
    reader->decoder->thread_count = bounded_threads(thread_count, reader->width, reader->height);
    reader->decoder->thread_type = FF_THREAD_FRAME;
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
                                                 .codecs = "utvideo",
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

static int take_frame(struct sora_segment_reader *reader, uint8_t *out_rgb,
                      struct sora_fault *fault)
{
    const AVFrame *frame = reader->frame;
    const char *path = reader->source.path;
    if (frame->width != reader->width || frame->height != reader->height ||
        frame->format != AV_PIX_FMT_GBRP)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "%s: frame %lld is not 8-bit RGB of %dx%d as its header says", path,
                              (long long)reader->frame_count, reader->width, reader->height);
    for (int y = 0; y < frame->height; y++, out_rgb += (ptrdiff_t)3 * frame->width)
        join_row(plane_row(frame, 0, y), plane_row(frame, 1, y), plane_row(frame, 2, y),
                 frame->width, out_rgb);
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
    if (reader->packet_count >= FRAMES_MAX)
        rc = sora_fault_set(fault, SORA_E_LIMIT, "%s has more than %d frames", path, FRAMES_MAX);
    else if (reader->packet->size < 1 || reader->packet->flags & AV_PKT_FLAG_CORRUPT)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s: frame %lld is damaged", path,
                            (long long)reader->packet_count);
    else {
        reader->packet_count++;
        return 1;
    }
    av_packet_unref(reader->packet);
    return rc;
}

int sora_segment_reader_skip(struct sora_segment_reader *reader, int count,
                             struct sora_fault *fault)
{
    if (reader->begun)
        return sora_fault_set(fault, SORA_E_INVALID, "%s: frames are skipped before the first only",
                              reader->source.path);
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

/* Gives the decoder the next packet, or the news that there is none. */
static int feed(struct sora_segment_reader *reader, struct sora_fault *fault)
{
    int rc = read_packet(reader, fault);
    if (rc < 0)
        return rc;
    reader->ended = rc == 0;
    rc = avcodec_send_packet(reader->decoder, reader->ended ? NULL : reader->packet);
    av_packet_unref(reader->packet);
    return rc < 0 ? sora_av_fault(fault, rc, "decode", reader->source.path) : SORA_OK;
}

int sora_segment_reader_next(struct sora_segment_reader *reader, uint8_t *out_rgb,
                             struct sora_fault *fault)
{
    reader->begun = true;
    int got = avcodec_receive_frame(reader->decoder, reader->frame);
    while (got == AVERROR(EAGAIN) && !reader->ended) {
        int rc = feed(reader, fault);
        if (rc)
            return rc;
        got = avcodec_receive_frame(reader->decoder, reader->frame);
    }
    if (got == AVERROR_EOF && reader->frame_count == reader->packet_count)
        return 0;
    if (got < 0)
        return sora_av_fault(
            fault, got == AVERROR(EAGAIN) || got == AVERROR_EOF ? AVERROR_INVALIDDATA : got,
            "decode", reader->source.path);
    int rc = take_frame(reader, out_rgb, fault);
    av_frame_unref(reader->frame);
    return rc;
}
