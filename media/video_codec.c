/* The table of codecs, its checks, and what each encoder needs to be told to repeat itself. */
#include "media/video_codec.h"

#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include <stdio.h>
#include <string.h>

#define MP4 (1u << SORA_CONTAINER_MP4)
#define MOV (1u << SORA_CONTAINER_MOV)
#define MKV (1u << SORA_CONTAINER_MKV)

#define KEY_FRAME_SECONDS 2 /* players can seek to these */
#define FFV1_SLICES 4       /* fixed, so that threads change no byte */

static const struct sora_video_codec codecs[] = {
    {.name = "h264",
     .title = "H.264",
     .encoders = {"libx264"},
     .preset = "medium",
     .quality = "crf",
     .quality_min = 1,
     .quality_max = 51,
     .quality_default = 18,
     .bitrate = true,
     .side_min = 2,
     .containers = MP4 | MOV | MKV,
     .formats = {"yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"}},
    {.name = "h265",
     .title = "H.265",
     .encoders = {"libx265"},
     .preset = "medium",
     .quality = "crf",
     .quality_min = 1,
     .quality_max = 51,
     .quality_default = 20,
     .bitrate = true,
     .side_min = 32,
     .containers = MP4 | MOV | MKV,
     .formats = {"yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"}},
    {.name = "av1",
     .title = "AV1",
     .encoders = {"libsvtav1"},
     .preset = "8",
     .quality = "crf",
     .quality_min = 1,
     .quality_max = 63,
     .quality_default = 28,
     .bitrate = true,
     .side_min = 64,
     .containers = MP4 | MKV,
     .formats = {"yuv420p", "yuv420p10le"}},
    {.name = "prores",
     .title = "ProRes",
     .encoders = {"prores_ks"},
     .quality = "profile",
     .quality_min = 1, /* proxy, LT, standard, HQ, 4444, 4444 XQ */
     .quality_max = 6,
     .quality_default = 4,
     .side_min = 16,
     .containers = MOV | MKV,
     .formats = {"yuv422p10le", "yuv444p10le"}},
    {.name = "ffv1",
     .title = "FFV1",
     .encoders = {"ffv1"},
     .quality = "quality",
     .side_min = 8,
     .containers = MKV,
     .formats = {"bgr0", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le",
                 "yuv444p10le"}},
};
#define CODEC_COUNT (sizeof(codecs) / sizeof(codecs[0]))

/* ---- checks ---- */

/* Writes the names with commas. */
static void join(const char *const *names, size_t count, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < count && names[i] && used < size; i++) {
        int wrote = snprintf(text + used, size - used, "%s%s", i ? ", " : "", names[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

static const struct sora_video_codec *find(const char *name)
{
    for (size_t i = 0; i < CODEC_COUNT; i++) {
        if (!name || strcmp(codecs[i].name, name) == 0)
            return &codecs[i];
    }
    return NULL;
}

static int choose_codec(const struct sora_video_writer_params *params,
                        const struct sora_video_codec **out_codec, struct sora_fault *fault)
{
    const struct sora_video_codec *codec = find(params->codec);
    if (!codec) {
        const char *names[CODEC_COUNT];
        char text[128];
        for (size_t i = 0; i < CODEC_COUNT; i++)
            names[i] = codecs[i].name;
        join(names, CODEC_COUNT, text, sizeof(text));
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "there is no video encoder %.60s; choose one of %s", params->codec,
                              text);
    }
    *out_codec = codec;
    return SORA_OK;
}

static int check_container(const struct sora_video_codec *codec, enum sora_container container,
                           struct sora_fault *fault)
{
    const char *allowed[4] = {0};
    size_t count = 0;
    char text[64];
    if ((unsigned)container <= SORA_CONTAINER_MKV && (codec->containers & 1u << container))
        return SORA_OK;
    for (unsigned i = 0; i <= SORA_CONTAINER_MKV; i++) {
        if (codec->containers & 1u << i)
            allowed[count++] = sora_container_name((enum sora_container)i);
    }
    join(allowed, count, text, sizeof(text));
    bool known = (unsigned)container <= SORA_CONTAINER_MKV;
    return sora_fault_set(fault, SORA_E_INVALID, "%s does not go into an .%s file; choose %s",
                          codec->title, known ? sora_container_name(container) : "unknown", text);
}

static int check_format(const struct sora_video_codec *codec, const char *name,
                        enum AVPixelFormat *out_format, struct sora_fault *fault)
{
    char text[128];
    enum AVPixelFormat wanted = av_get_pix_fmt(name && *name ? name : codec->formats[0]);
    for (size_t i = 0; i < SORA_VIDEO_FORMATS_MAX && codec->formats[i]; i++) {
        if (wanted == av_get_pix_fmt(codec->formats[i])) {
            *out_format = wanted;
            return SORA_OK;
        }
    }
    join(codec->formats, SORA_VIDEO_FORMATS_MAX, text, sizeof(text));
    return sora_fault_set(fault, SORA_E_INVALID,
                          "%s has no pixel format %.40s here; choose one of %s", codec->title, name,
                          text);
}

static int check_rate(const struct sora_video_writer_params *params,
                      const struct sora_video_codec *codec, struct sora_fault *fault)
{
    int quality = params->crf;
    if (quality != 0 && codec->quality_max == 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "video quality is %d; %s is lossless and has none: leave it out",
                              quality, codec->title);
    if (quality != 0 && (quality < codec->quality_min || quality > codec->quality_max))
        return sora_fault_set(fault, SORA_E_INVALID, "video %s is %d; with %s it must be %d to %d",
                              codec->quality, quality, codec->title, codec->quality_min,
                              codec->quality_max);
    if (params->bitrate == 0)
        return SORA_OK;
    if (!codec->bitrate)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%s has no bitrate to choose; leave it out or take h264, h265 or av1",
                              codec->title);
    if (params->bitrate < SORA_BITRATE_MIN || params->bitrate > SORA_BITRATE_MAX)
        return sora_fault_set(
            fault, SORA_E_INVALID, "video bitrate is %lld bit/s; it must be %d to %lld",
            (long long)params->bitrate, SORA_BITRATE_MIN, (long long)SORA_BITRATE_MAX);
    return quality == 0
               ? SORA_OK
               : sora_fault_set(fault, SORA_E_INVALID,
                                "video %s and bitrate are both set; choose one", codec->quality);
}

static int check_side(const char *name, int value, int shift,
                      const struct sora_video_choice *choice, struct sora_fault *fault)
{
    const struct sora_video_codec *codec = choice->codec;
    if (value < codec->side_min)
        return sora_fault_set(fault, SORA_E_INVALID, "video %s is %d; %s needs at least %d", name,
                              value, codec->title, codec->side_min);
    if (shift == 0 || value % 2 == 0)
        return SORA_OK;
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(choice->format);
    return sora_fault_set(
        fault, SORA_E_INVALID, "video %s is %d; %s with %s colour needs an even one: %d or %d",
        name, value, codec->title, format->log2_chroma_h ? "4:2:0" : "4:2:2", value - 1, value + 1);
}

int sora_video_codec_choose(const struct sora_video_writer_params *params,
                            struct sora_video_choice *out_choice, struct sora_fault *fault)
{
    struct sora_video_choice choice = {0};
    int rc = choose_codec(params, &choice.codec, fault);
    if (!rc)
        rc = check_container(choice.codec, params->container, fault);
    if (!rc)
        rc = check_format(choice.codec, params->pixel_format, &choice.format, fault);
    if (!rc)
        rc = check_rate(params, choice.codec, fault);
    if (rc)
        return rc;
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(choice.format);
    choice.rgb = (format->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    rc = check_side("width", params->width, format->log2_chroma_w, &choice, fault);
    if (!rc)
        rc = check_side("height", params->height, format->log2_chroma_h, &choice, fault);
    if (!rc)
        *out_choice = choice;
    return rc;
}

/* ---- encoders ---- */

static void set_common(AVCodecContext *encoder, const struct sora_video_writer_params *params,
                       const struct sora_video_choice *choice)
{
    encoder->width = params->width;
    encoder->height = params->height;
    encoder->pix_fmt = choice->format;
    encoder->framerate = (AVRational){params->fps, params->fps_divisor ? params->fps_divisor : 1};
    encoder->time_base = av_inv_q(encoder->framerate);
    encoder->gop_size = (int)(KEY_FRAME_SECONDS * av_q2d(encoder->framerate) + 0.5);
    encoder->thread_count = params->thread_count ? params->thread_count : 1;
    encoder->color_range = choice->rgb ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    encoder->colorspace = choice->rgb ? AVCOL_SPC_RGB : AVCOL_SPC_BT709;
    encoder->color_primaries = AVCOL_PRI_BT709;
    encoder->color_trc = choice->rgb ? AVCOL_TRC_IEC61966_2_1 : AVCOL_TRC_BT709;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT;
    encoder->bit_rate = params->bitrate;
}

/* Options that an encoder does not have are left alone. */
static void set_options(AVCodecContext *encoder, const struct sora_video_writer_params *params,
                        const struct sora_video_codec *codec)
{
    void *own = encoder->priv_data;
    int quality = params->crf ? params->crf : codec->quality_default;
    char text[128];
    if (codec->preset)
        av_opt_set(own, "preset", params->preset ? params->preset : codec->preset, 0);
    if (params->bitrate == 0 && codec->bitrate)
        av_opt_set_int(own, "crf", quality, 0);
    /* x265 writes the machine's instruction set into the stream unless told not to. */
    snprintf(text, sizeof(text), "log-level=none:info=0:pools=%d", encoder->thread_count);
    av_opt_set(own, "x265-params", text, 0);
    snprintf(text, sizeof(text), "lp=%d", encoder->thread_count);
    av_opt_set(own, "svtav1-params", text, 0);
    if (strcmp(codec->name, "prores") == 0) {
        av_opt_set_int(own, "profile", quality - 1, 0);
        av_opt_set(own, "vendor", "apl0", 0);
    }
    if (strcmp(codec->name, "ffv1") == 0) {
        encoder->level = 3;
        encoder->gop_size = 1;
        encoder->slices = encoder->width >= 32 && encoder->height >= 32 ? FFV1_SLICES : 1;
        av_opt_set_int(own, "slicecrc", 1, 0);
    }
}

static const AVCodec *find_encoder(const struct sora_video_codec *codec)
{
    for (size_t i = 0; codec->encoders[i]; i++) {
        const AVCodec *found = avcodec_find_encoder_by_name(codec->encoders[i]);
        if (found)
            return found;
    }
    return NULL;
}

int sora_video_codec_encoder(const struct sora_video_writer_params *params,
                             const struct sora_video_choice *choice, bool global_header,
                             AVCodecContext **out_encoder, struct sora_fault *fault)
{
    const struct sora_video_codec *codec = choice->codec;
    const AVCodec *found = find_encoder(codec);
    if (!found)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "this libav has no video encoder %s for %s; `ffmpeg -encoders` lists "
                              "what there is (Debian's libavcodec has it)",
                              codec->encoders[0], codec->title);
    AVCodecContext *encoder = avcodec_alloc_context3(found);
    if (!encoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the video encoder");
    set_common(encoder, params, choice);
    set_options(encoder, params, codec);
    if (global_header)
        encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    int rc = avcodec_open2(encoder, found, NULL);
    if (rc >= 0) {
        *out_encoder = encoder;
        return SORA_OK;
    }
    avcodec_free_context(&encoder);
    return sora_fault_set(fault, SORA_E_INVALID,
                          "encoder %s refuses %dx%d with preset %s, %s %d: %s", found->name,
                          params->width, params->height,
                          params->preset  ? params->preset
                          : codec->preset ? codec->preset
                                          : "none",
                          codec->quality, params->crf, av_err2str(rc));
}
