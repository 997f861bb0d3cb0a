/* libav demuxing and decoding behind sora_video_reader. */
#include "media/video_reader.h"

#include "media/av.h"
#include "media/av_source.h"

#include <libavcodec/avcodec.h>

#include <stdlib.h>

#define CODECS "h264,hevc,mpeg4,ffv1,prores,av1,libdav1d,vp9,rawvideo"

struct sora_video_reader {
    struct sora_av_source source;
    AVCodecContext *decoder;
    AVPacket *packet;
    AVFrame *frame;
    struct SwsContext *converter;
    int stream_index;
    bool draining;
    struct sora_video_info info;
};

static int open_decoder(struct sora_video_reader *reader, struct sora_fault *fault)
{
    const AVCodec *codec = NULL;
    int index = av_find_best_stream(reader->source.format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (index < 0 || !codec)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s has no video that this libav can decode",
                              reader->source.path);
    const AVStream *stream = reader->source.format->streams[index];
    reader->stream_index = index;
    reader->decoder = avcodec_alloc_context3(codec);
    reader->packet = av_packet_alloc();
    reader->frame = av_frame_alloc();
    if (!reader->decoder || !reader->packet || !reader->frame)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to decode %s",
                              reader->source.path);
    reader->decoder->max_pixels = SORA_VIDEO_READER_PIXELS_MAX;
    reader->decoder->thread_count = 1;
    AVDictionary *options = NULL;
    av_dict_set(&options, "codec_whitelist", CODECS, 0);
    int rc = avcodec_parameters_to_context(reader->decoder, stream->codecpar);
    if (rc >= 0)
        rc = avcodec_open2(reader->decoder, codec, &options);
    av_dict_free(&options);
    if (rc < 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED, "%s: codec %s is not accepted",
                              reader->source.path, codec->name);
    const AVCodecParameters *parameters = stream->codecpar;
    int64_t pixels = (int64_t)parameters->width * parameters->height;
    if (parameters->width < 1 || parameters->height < 1 || pixels > SORA_VIDEO_READER_PIXELS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s has frames of %dx%d; the limit is %d pixels",
                              reader->source.path, parameters->width, parameters->height,
                              SORA_VIDEO_READER_PIXELS_MAX);
    reader->info = (struct sora_video_info){
        .width = parameters->width,
        .height = parameters->height,
        .fps = stream->avg_frame_rate.num,
        .fps_divisor = stream->avg_frame_rate.den,
        .frame_count = stream->nb_frames,
        .limited_range = parameters->color_range != AVCOL_RANGE_JPEG,
        .bt709 = parameters->color_space == AVCOL_SPC_BT709,
    };
    return SORA_OK;
}

int sora_video_reader_open(const char *path, struct sora_video_reader **out_reader,
                           struct sora_fault *fault)
{
    struct sora_video_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to read %s", path);
    const struct sora_av_source_params source = {.path = path, .codecs = CODECS};
    int rc = sora_av_source_open(&reader->source, &source, fault);
    if (!rc && (rc = avformat_find_stream_info(reader->source.format, NULL)) < 0)
        rc = sora_av_fault(fault, rc, "read", path);
    if (!rc)
        rc = open_decoder(reader, fault);
    if (rc) {
        sora_video_reader_destroy(&reader);
        return rc;
    }
    *out_reader = reader;
    return SORA_OK;
}

void sora_video_reader_destroy(struct sora_video_reader **reader)
{
    struct sora_video_reader *r = *reader;
    if (!r)
        return;
    sws_freeContext(r->converter);
    av_frame_free(&r->frame);
    av_packet_free(&r->packet);
    avcodec_free_context(&r->decoder);
    sora_av_source_close(&r->source);
    free(r);
    *reader = NULL;
}

const struct sora_video_info *sora_video_reader_info(const struct sora_video_reader *reader)
{
    return &reader->info;
}

const char *sora_video_reader_tag(const struct sora_video_reader *reader, const char *key)
{
    const AVDictionaryEntry *entry = av_dict_get(reader->source.format->metadata, key, NULL, 0);
    return entry ? entry->value : NULL;
}

/* ---- frames ---- */

static int convert(struct sora_video_reader *reader, uint8_t *out_rgb, struct sora_fault *fault)
{
    const AVFrame *frame = reader->frame;
    if (frame->width != reader->info.width || frame->height != reader->info.height)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s changes its size to %dx%d inside",
                              reader->source.path, frame->width, frame->height);
    if (!reader->converter) {
        struct sora_av_picture yuv = {.width = frame->width,
                                      .height = frame->height,
                                      .format = frame->format,
                                      .limited_range = frame->color_range != AVCOL_RANGE_JPEG,
                                      .coefficients = frame->colorspace};
        struct sora_av_picture rgb = {.width = frame->width,
                                      .height = frame->height,
                                      .format = AV_PIX_FMT_RGB24,
                                      .coefficients = AVCOL_SPC_BT709};
        int rc = sora_av_converter(&yuv, &rgb, &reader->converter, fault);
        if (rc)
            return rc;
    }
    uint8_t *const planes[4] = {out_rgb};
    const int strides[4] = {3 * frame->width};
    sws_scale(reader->converter, (const uint8_t *const *)frame->data, frame->linesize, 0,
              frame->height, planes, strides);
    return SORA_OK;
}

/* Feeds the decoder one packet of the video stream, or tells it that none comes any more. */
static int feed(struct sora_video_reader *reader)
{
    int rc = av_read_frame(reader->source.format, reader->packet);
    if (rc == AVERROR_EOF) {
        reader->draining = true;
        return avcodec_send_packet(reader->decoder, NULL);
    }
    if (rc < 0)
        return rc;
    if (reader->packet->stream_index == reader->stream_index)
        rc = avcodec_send_packet(reader->decoder, reader->packet);
    av_packet_unref(reader->packet);
    return rc;
}

int sora_video_reader_next(struct sora_video_reader *reader, uint8_t *out_rgb, bool *out_got,
                           struct sora_fault *fault)
{
    for (;;) {
        int rc = avcodec_receive_frame(reader->decoder, reader->frame);
        if (rc >= 0) {
            rc = convert(reader, out_rgb, fault);
            av_frame_unref(reader->frame);
            if (!rc)
                *out_got = true;
            return rc;
        }
        if (rc == AVERROR_EOF) {
            *out_got = false;
            return SORA_OK;
        }
        if (rc == AVERROR(EAGAIN) && !reader->draining)
            rc = feed(reader);
        if (rc < 0)
            return sora_av_fault(fault, rc, "decode", reader->source.path);
    }
}
