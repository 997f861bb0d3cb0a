/* Error translation and pixel conversion shared by the files of media/. */
#include "media/av.h"

#include "base/files.h"
#include "base/log.h"

#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/pixdesc.h>

#define ERRNO_MAX 4095 /* AVERROR(errno) lies in -1..-4095, libav's own codes far below */

int sora_av_fault(struct sora_fault *fault, int av_error, const char *verb, const char *path)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(av_error, text, sizeof(text));
    sora_log(SORA_LOG_DEBUG, "libav failed error=%d text=%s", av_error, text);
    if (av_error < 0 && av_error >= -ERRNO_MAX)
        return sora_file_fault(fault, AVUNERROR(av_error), verb, path);
    int code = SORA_E_IO;
    if (av_error == AVERROR_INVALIDDATA)
        code = SORA_E_FORMAT;
    else if (av_error == AVERROR_PATCHWELCOME || av_error == AVERROR_ENCODER_NOT_FOUND ||
             av_error == AVERROR_DECODER_NOT_FOUND)
        code = SORA_E_UNSUPPORTED;
    return sora_fault_set(fault, code, "cannot %s %s: %s", verb, path, text);
}

void sora_av_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}

static const int *coefficients(const struct sora_av_picture *picture)
{
    bool unspecified = picture->coefficients == AVCOL_SPC_UNSPECIFIED;
    return sws_getCoefficients(unspecified ? SWS_CS_ITU709 : (int)picture->coefficients);
}

int sora_av_converter(const struct sora_av_picture *from, const struct sora_av_picture *to,
                      struct SwsContext **out_converter, struct sora_fault *fault)
{
    int flags =
        SWS_AREA | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INP | SWS_FULL_CHR_H_INT;
    struct SwsContext *converter =
        sws_getContext(from->width, from->height, from->format, to->width, to->height, to->format,
                       flags, NULL, NULL, NULL);
    if (!converter)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "cannot convert pictures of %dx%d %s to %dx%d %s", from->width,
                              from->height, av_get_pix_fmt_name(from->format), to->width,
                              to->height, av_get_pix_fmt_name(to->format));
    /* Only YUV formats have coefficients to set; between RGB formats the call is refused. */
    (void)sws_setColorspaceDetails(converter, coefficients(from), !from->limited_range,
                                   coefficients(to), !to->limited_range, 0, 1 << 16, 1 << 16);
    *out_converter = converter;
    return SORA_OK;
}
