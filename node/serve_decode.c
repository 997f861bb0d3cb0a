/*
 * Final latents to segment files. The latents before the shard are the decoder's context, so that
 * frames are those of a decoding from the video's beginning (sora_vae_decoder_begin); they give no
 * frames and cost little.
 */
#include "node/serve_parts.h"

#include "media/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITER_THREADS_MAX 4 /* more have nothing to do */

struct decoding {
    struct sora_serve *serve;
    struct sora_serve_decode asked;
    char prefix[SORA_FILE_PATH_SIZE];
    char path[SORA_FILE_PATH_SIZE + 32]; /* of the piece under way */
    int factor, threads;
    size_t frame_size;
    struct sora_vae_decoder *decoder;
    struct sora_segment_writer *writer;
    struct sora_serve_piece piece;
    uint8_t *rgb; /* [factor] frames */
};

static int32_t first_frame(int32_t latent, int factor)
{
    return latent == 0 ? 0 : 1 + (latent - 1) * factor;
}

static int check_decode(const struct sora_serve *serve, const struct sora_serve_decode *asked,
                        struct sora_fault *fault)
{
    const struct sora_serve_work *work = serve->work;
    int factor = sora_vae_config(serve->model.vae)->spatial_factor;
    int error = sora_serve_check_range("latents to decode", asked->owned.first, asked->owned.end,
                                       work->finals, fault);
    if (!error &&
        (asked->context_first < work->finals.first || asked->context_first > asked->owned.first))
        error = sora_fault_set(fault, SORA_E_INVALID, "context from latent %d on is outside %d..%d",
                               asked->context_first, work->finals.first, asked->owned.first);
    if (!error && asked->owned.first > 0 && asked->context_first == asked->owned.first)
        error = sora_fault_set(fault, SORA_E_INVALID,
                               "latent %d is not the video's first and needs a latent before it",
                               asked->owned.first);
    if (!error && (asked->frame_width != work->asked.width * factor ||
                   asked->frame_height != work->asked.height * factor))
        error = sora_fault_set(fault, SORA_E_INVALID,
                               "frames of %dx%d are asked for, the latents give %dx%d",
                               asked->frame_width, asked->frame_height, work->asked.width * factor,
                               work->asked.height * factor);
    if (!error && asked->piece_latents < 1)
        error = sora_fault_set(fault, SORA_E_INVALID, "pieces of %d latents are too short",
                               asked->piece_latents);
    return error;
}

static int begin_piece(struct decoding *decoding, int32_t latent, struct sora_fault *fault)
{
    const struct sora_serve_decode *asked = &decoding->asked;
    struct sora_serve_piece *piece = &decoding->piece;
    piece->frame_first = first_frame(latent, decoding->factor);
    piece->frame_count = 0;
    snprintf(decoding->path, sizeof(decoding->path), "%s-%06d.mkv", decoding->prefix,
             piece->frame_first);
    const struct sora_segment_params params = {
        .path = decoding->path,
        .width = asked->frame_width,
        .height = asked->frame_height,
        .fps = asked->fps,
        .fps_divisor = asked->fps_divisor,
        .thread_count = decoding->threads,
    };
    return sora_segment_writer_create(&params, &decoding->writer, fault);
}

static int end_piece(struct decoding *decoding, bool last, struct sora_fault *fault)
{
    int error = sora_segment_writer_finish(decoding->writer, fault);
    sora_segment_writer_destroy(&decoding->writer);
    if (error)
        return error;
    decoding->piece.last = last;
    const struct sora_frame answer = {SORA_SERVE_PIECE, &decoding->piece, sizeof(decoding->piece),
                                      decoding->path, strlen(decoding->path)};
    sora_serve_answer_with(decoding->serve, &answer);
    decoding->piece.index++;
    return 0;
}

static int decode_owned(struct decoding *decoding, int32_t latent, const float *values,
                        struct sora_fault *fault)
{
    const struct sora_range owned = decoding->asked.owned;
    int count = 0, error = 0;
    bool begins = (latent - owned.first) % decoding->asked.piece_latents == 0;
    if (begins)
        error = begin_piece(decoding, latent, fault);
    if (!error)
        error =
            sora_vae_decoder_next(decoding->decoder, values, NULL, decoding->rgb, &count, fault);
    for (int i = 0; !error && i < count; i++)
        error = sora_segment_writer_add(decoding->writer,
                                        decoding->rgb + (size_t)i * decoding->frame_size, fault);
    decoding->piece.frame_count += count;
    bool last = latent + 1 == owned.end;
    bool ends = last || (latent + 1 - owned.first) % decoding->asked.piece_latents == 0;
    return error || !ends ? error : end_piece(decoding, last, fault);
}

static int decode_latents(struct decoding *decoding, struct sora_fault *fault)
{
    const struct sora_serve_work *work = decoding->serve->work;
    int error = 0;
    for (int32_t i = decoding->asked.context_first; !error && i < decoding->asked.owned.end; i++) {
        const float *values = sora_serve_final(work, i, fault);
        if (!values)
            error = SORA_E_INVALID;
        else if (i < decoding->asked.owned.first)
            error = sora_vae_decoder_next(decoding->decoder, values, NULL, NULL, NULL, fault);
        else
            error = decode_owned(decoding, i, values, fault);
    }
    return error;
}

/* Every latent is there, so that a decoding does not stop half way. */
static int check_present(const struct decoding *decoding, struct sora_fault *fault)
{
    for (int32_t i = decoding->asked.context_first; i < decoding->asked.owned.end; i++) {
        if (!sora_serve_final(decoding->serve->work, i, fault))
            return SORA_E_INVALID;
    }
    return 0;
}

static int create_decoder(struct decoding *decoding, struct sora_fault *fault)
{
    struct sora_serve *serve = decoding->serve;
    const struct sora_serve_shard *asked = &serve->work->asked;
    int error = sora_vae_decoder_create(serve->model.vae, asked->height, asked->width,
                                        &decoding->decoder, fault);
    if (error == SORA_E_MEMORY && sora_serve_more_for_decoding(serve)) {
        *fault = (struct sora_fault){0};
        error = sora_vae_decoder_create(serve->model.vae, asked->height, asked->width,
                                        &decoding->decoder, fault);
    }
    return sora_serve_memory_fault(serve, SORA_SERVE_DECODING, error, fault);
}

static int begin_decoding(struct decoding *decoding, struct sora_fault *fault)
{
    struct sora_serve *serve = decoding->serve;
    struct sora_device_caps caps;
    sora_device_caps(serve->device, &caps);
    decoding->factor = sora_vae_config(serve->model.vae)->temporal_factor;
    decoding->threads =
        caps.thread_count < WRITER_THREADS_MAX ? caps.thread_count : WRITER_THREADS_MAX;
    decoding->frame_size =
        (size_t)decoding->asked.frame_width * (size_t)decoding->asked.frame_height * 3;
    decoding->rgb = malloc(decoding->frame_size * (size_t)decoding->factor);
    if (!decoding->rgb)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for decoded frames");
    int error = create_decoder(decoding, fault);
    if (!error)
        sora_vae_decoder_begin(decoding->decoder, decoding->asked.context_first,
                               decoding->asked.owned.first);
    return error;
}

int sora_serve_decode(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault)
{
    struct decoding decoding = {.serve = serve,
                                .asked = *(const struct sora_serve_decode *)frame->head};
    sora_time start = sora_clock_now();
    int error = sora_serve_path(frame, decoding.prefix, fault);
    if (!error)
        error = check_decode(serve, &decoding.asked, fault);
    if (!error)
        error = check_present(&decoding, fault);
    if (!error)
        error = begin_decoding(&decoding, fault);
    if (!error)
        error = decode_latents(&decoding, fault);
    sora_segment_writer_destroy(&decoding.writer);
    sora_vae_decoder_destroy(&decoding.decoder);
    free(decoding.rgb);
    if (error)
        return error;
    const struct sora_serve_span span = {.first = decoding.asked.owned.first,
                                         .end = decoding.asked.owned.end,
                                         .microseconds = (sora_clock_now() - start) / 1000};
    sora_serve_answer(serve, SORA_SERVE_DECODED, &span, sizeof(span));
    return 0;
}
