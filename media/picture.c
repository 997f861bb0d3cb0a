/* PNG through libav's encoder, PPM by hand. */
#include "media/picture.h"

#include "base/files.h"
#include "media/av.h"

#include <libavcodec/avcodec.h>

#include <string.h>
#include <strings.h>

static int check_size(int width, int height, struct sora_fault *fault)
{
    if (width >= 1 && width <= SORA_PICTURE_SIZE_MAX && height >= 1 &&
        height <= SORA_PICTURE_SIZE_MAX)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INVALID, "a picture of %dx%d; sides must be 1 to %d", width,
                          height, SORA_PICTURE_SIZE_MAX);
}

static int encode_ppm(int width, int height, const uint8_t *rgb, struct sora_bytes *bytes,
                      struct sora_fault *fault)
{
    int rc = sora_bytes_format(bytes, "P6\n%d %d\n255\n", width, height);
    if (!rc)
        rc = sora_bytes_append(bytes, rgb, (size_t)width * (size_t)height * 3);
    return rc ? sora_fault_set(fault, rc, "not enough memory for a picture of %dx%d", width, height)
              : SORA_OK;
}

/* libav's frame gets a copy: its rows are padded, and the encoder may keep it. */
static int png_frame(int width, int height, const uint8_t *rgb, AVFrame *frame)
{
    frame->format = AV_PIX_FMT_RGB24;
    frame->width = width;
    frame->height = height;
    frame->color_range = AVCOL_RANGE_JPEG;
    if (av_frame_get_buffer(frame, 0) < 0)
        return SORA_E_MEMORY;
    for (int y = 0; y < height; y++)
        memcpy(frame->data[0] + (ptrdiff_t)y * frame->linesize[0], rgb + (size_t)y * width * 3,
               (size_t)width * 3);
    return SORA_OK;
}

static int png_packet(AVCodecContext *encoder, const AVFrame *frame, AVPacket *packet)
{
    encoder->width = frame->width;
    encoder->height = frame->height;
    encoder->pix_fmt = frame->format;
    encoder->time_base = (AVRational){1, 1};
    encoder->thread_count = 1;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT;
    int rc = avcodec_open2(encoder, NULL, NULL);
    if (rc >= 0)
        rc = avcodec_send_frame(encoder, frame);
    if (rc >= 0)
        rc = avcodec_send_frame(encoder, NULL);
    if (rc >= 0)
        rc = avcodec_receive_packet(encoder, packet);
    return rc;
}

int sora_picture_encode_png(int width, int height, const uint8_t *rgb, struct sora_bytes *bytes,
                            struct sora_fault *fault)
{
    int rc = check_size(width, height, fault);
    if (rc)
        return rc;
    sora_av_quiet();
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    if (!codec)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "this libav has no PNG encoder; name a .ppm file instead");
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    rc = encoder && frame && packet ? png_frame(width, height, rgb, frame) : SORA_E_MEMORY;
    if (rc)
        sora_fault_set(fault, rc, "not enough memory for a picture of %dx%d", width, height);
    if (!rc) {
        int av_rc = png_packet(encoder, frame, packet);
        if (av_rc < 0)
            rc = sora_av_fault(fault, av_rc, "encode", "a PNG picture");
    }
    if (!rc && (rc = sora_bytes_append(bytes, packet->data, (size_t)packet->size)))
        sora_fault_set(fault, rc, "the PNG picture's %d bytes do not fit", packet->size);
    av_packet_free(&packet);
    av_frame_free(&frame);
    avcodec_free_context(&encoder);
    return rc;
}

int sora_picture_write(const char *path, int width, int height, const uint8_t *rgb,
                       struct sora_fault *fault)
{
    int rc = check_size(width, height, fault);
    if (rc)
        return rc;
    struct sora_bytes bytes;
    sora_bytes_init(&bytes, (size_t)SORA_PICTURE_SIZE_MAX * SORA_PICTURE_SIZE_MAX * 4);
    size_t length = strlen(path);
    if (length >= 4 && strcasecmp(path + length - 4, ".ppm") == 0)
        rc = encode_ppm(width, height, rgb, &bytes, fault);
    else
        rc = sora_picture_encode_png(width, height, rgb, &bytes, fault);
    if (!rc)
        rc = sora_file_write(path, bytes.data, bytes.size, fault);
    sora_bytes_fini(&bytes);
    return rc;
}
