/* The shard of a serving worker: opening it from what the home plans, and its steps. */
#include "node/serve_parts.h"

#include "model/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sora_serve_work_destroy(struct sora_serve_work **work_address)
{
    struct sora_serve_work *work = *work_address;
    if (!work)
        return;
    sora_sampler_destroy(&work->sampler);
    for (int i = 0; i < SORA_SERVE_TEXTS_MAX; i++) {
        sora_transformer_context_destroy(&work->contexts[i].prompt);
        sora_transformer_context_destroy(&work->contexts[i].negative);
    }
    free(work->rows);
    free(work->state_present);
    free(work->final_values);
    free(work->final_present);
    free(work);
    *work_address = NULL;
}

int sora_serve_check_range(const char *what, int32_t first, int32_t end, struct sora_range whole,
                           struct sora_fault *fault)
{
    if (first >= whole.first && first < end && end <= whole.end)
        return 0;
    return sora_fault_set(fault, SORA_E_INVALID, "%s [%d,%d) is not a part of [%d,%d)", what, first,
                          end, whole.first, whole.end);
}

int sora_serve_check_step(const struct sora_serve_work *work, int32_t step,
                          struct sora_fault *fault)
{
    int32_t stands = work->sampler ? sora_sampler_step_index(work->sampler) : work->schedule.steps;
    if (work->is_loaded && work->sampler && step == stands)
        return 0;
    return sora_fault_set(fault, SORA_E_INVALID, "step %d is asked for, the shard %s %d of %d",
                          step, work->is_loaded ? "stands at step" : "is not loaded at step",
                          stands, work->schedule.steps);
}

/* ---- opening ---- */

/* Texts follow each other without a gap over the whole timeline. */
static int check_texts(const struct sora_serve_shard *asked, struct sora_fault *fault)
{
    if (asked->text_count < 1 || asked->text_count > SORA_SERVE_TEXTS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%d texts are outside 1..%d", asked->text_count,
                              SORA_SERVE_TEXTS_MAX);
    int32_t next = 0;
    for (int i = 0; i < asked->text_count; i++) {
        const struct sora_serve_text_range *text = &asked->texts[i];
        if (text->first != next || text->end <= text->first)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "text %d is for latents [%d,%d); it should begin at %d", i,
                                  text->first, text->end, next);
        bool fits = text->prompt_rows >= 0 && text->prompt_rows <= SORA_TEXT_ROWS_PADDED &&
                    text->negative_rows >= 0 && text->negative_rows <= SORA_TEXT_ROWS_PADDED;
        if (!fits)
            return sora_fault_set(fault, SORA_E_LIMIT,
                                  "text %d has %d and %d rows; at most %d are allowed", i,
                                  text->prompt_rows, text->negative_rows, SORA_TEXT_ROWS_PADDED);
        next = text->end;
    }
    if (next != asked->timeline.latent_count)
        return sora_fault_set(fault, SORA_E_INVALID, "texts end at latent %d of %d", next,
                              asked->timeline.latent_count);
    return 0;
}

static int check_size(const struct sora_serve_model *model, const struct sora_serve_shard *asked,
                      struct sora_fault *fault)
{
    const struct sora_transformer_config *config = sora_transformer_config(model->transformer);
    if (asked->channels != config->in_channels || asked->text_width != config->text_width)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%d channels and texts of width %d are asked for; %s has %d and %d",
                              asked->channels, asked->text_width, model->bundle.name,
                              config->in_channels, config->text_width);
    if (asked->height < 1 || asked->width < 1 || asked->height % config->patch_h ||
        asked->width % config->patch_w)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a latent of %dx%d is no multiple of the model's patch, %dx%d",
                              asked->width, asked->height, config->patch_w, config->patch_h);
    return 0;
}

static int check_asked(struct sora_serve *serve, const struct sora_serve_shard *asked,
                       struct sora_fault *fault)
{
    if (!serve->model.folder[0])
        return sora_fault_set(fault, SORA_E_INVALID, "a shard needs an open model");
    int error = sora_timeline_check(&asked->timeline, fault);
    if (!error)
        error = sora_serve_check_range("shard", asked->owned.first, asked->owned.end,
                                       (struct sora_range){0, asked->timeline.latent_count}, fault);
    if (!error)
        error = check_texts(asked, fault);
    if (!error)
        error = check_size(&serve->model, asked, fault);
    if (!error && asked->shot < 0)
        error = sora_fault_set(fault, SORA_E_INVALID, "shot %d is negative", asked->shot);
    return error ? error : sora_serve_check_memory(serve, asked, fault);
}

/* Lays out the rows of all texts and takes the copy. */
static int take_rows(struct sora_serve_work *work, const unsigned char *payload, size_t size,
                     struct sora_fault *fault)
{
    const struct sora_serve_shard *asked = &work->asked;
    size_t count = 0;
    for (int i = 0; i < asked->text_count; i++) {
        work->contexts[i].prompt_offset = count;
        count += (size_t)asked->texts[i].prompt_rows * (size_t)asked->text_width;
        work->contexts[i].negative_offset = count;
        count += (size_t)asked->texts[i].negative_rows * (size_t)asked->text_width;
    }
    if (size != count * sizeof(float))
        return sora_fault_set(fault, SORA_E_FORMAT, "rows of texts take %zu bytes, %zu came",
                              count * sizeof(float), size);
    work->rows = malloc(size + sizeof(float));
    if (!work->rows)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the rows of the texts");
    memcpy(work->rows, payload, size);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(work->rows[i]))
            return sora_fault_set(fault, SORA_E_NUMERIC, "value %zu of the texts is not finite", i);
    }
    return 0;
}

static int make_sampler(struct sora_serve *serve, struct sora_serve_work *work,
                        struct sora_fault *fault)
{
    const struct sora_serve_shard *asked = &work->asked;
    work->denoiser.transformer = serve->model.transformer;
    const struct sora_sampler_params params = {
        .timeline = asked->timeline,
        .shard = asked->owned,
        .channels = asked->channels,
        .height = asked->height,
        .width = asked->width,
        .guidance = asked->guidance,
        .schedule = &work->schedule,
        .denoiser = sora_sampler_transformer_denoiser(&work->denoiser),
    };
    int error = sora_sampler_create(serve->device, &params, &work->sampler, fault);
    if (!error)
        work->latent_elements = sora_sampler_latent_elements(work->sampler);
    return error;
}

static int take_marks(struct sora_serve *serve, struct sora_serve_work *work,
                      struct sora_fault *fault)
{
    struct sora_range owned = work->asked.owned;
    int32_t warmup = sora_vae_decoder_warmup(sora_vae_config(serve->model.vae));
    work->finals = (struct sora_range){owned.first > warmup ? owned.first - warmup : 0, owned.end};
    work->state_present = calloc((size_t)(owned.end - owned.first), sizeof(bool));
    work->final_present = calloc((size_t)(work->finals.end - work->finals.first), sizeof(bool));
    if (!work->state_present || !work->final_present)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the shard");
    return 0;
}

int sora_serve_shard_open(struct sora_serve *serve, const struct sora_frame *frame,
                          struct sora_fault *fault)
{
    sora_serve_work_destroy(&serve->work);
    if (frame->payload_size < sizeof(struct sora_schedule))
        return sora_fault_set(fault, SORA_E_FORMAT, "%zu bytes are too few for a schedule",
                              frame->payload_size);
    struct sora_serve_work *work = calloc(1, sizeof(*work));
    if (!work)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the shard");
    const unsigned char *payload = frame->payload;
    memcpy(&work->asked, frame->head, sizeof(work->asked));
    memcpy(&work->schedule, payload, sizeof(work->schedule));
    int error = check_asked(serve, &work->asked, fault);
    if (!error)
        error = sora_schedule_check(&work->schedule, fault);
    if (!error)
        error = take_rows(work, payload + sizeof(work->schedule),
                          frame->payload_size - sizeof(work->schedule), fault);
    if (!error)
        error = make_sampler(serve, work, fault);
    if (!error)
        error = take_marks(serve, work, fault);
    serve->work = work;
    if (error)
        sora_serve_work_destroy(&serve->work);
    else
        sora_serve_answer(serve, SORA_SERVE_SHARD_OPENED, NULL, 0);
    return error;
}

/* ---- steps ---- */

static int need_context(struct sora_serve *serve, size_t offset, int rows,
                        struct sora_transformer_context **context, struct sora_fault *fault)
{
    if (*context)
        return 0;
    return sora_transformer_context_create(serve->model.transformer, serve->work->rows + offset,
                                           rows, SORA_TEXT_ROWS_PADDED, context, fault);
}

/* As node/text_contexts.h chooses, but made when a window needs it: a shard has few of many texts.
 */
static int choose_text(struct sora_serve *serve, int32_t step, int32_t window,
                       struct sora_fault *fault)
{
    struct sora_serve_work *work = serve->work;
    const struct sora_serve_shard *asked = &work->asked;
    struct sora_window w = sora_timeline_window(&asked->timeline, step, window);
    int32_t middle = sora_timeline_window_centre(&w);
    int index = 0;
    while (asked->texts[index].end <= middle)
        index++;
    struct sora_serve_context *context = &work->contexts[index];
    int error = need_context(serve, context->prompt_offset, asked->texts[index].prompt_rows,
                             &context->prompt, fault);
    if (!error && asked->guidance > 1.0)
        error = need_context(serve, context->negative_offset, asked->texts[index].negative_rows,
                             &context->negative, fault);
    work->denoiser.prompt = context->prompt;
    work->denoiser.negative = context->negative;
    return error;
}

static int predict_once(struct sora_serve *serve, const struct sora_serve_span *span,
                        struct sora_fault *fault)
{
    int error = choose_text(serve, span->step, span->window, fault);
    return error ? error : sora_sampler_predict(serve->work->sampler, span->window, fault);
}

static int predict(struct sora_serve *serve, const struct sora_serve_span *span,
                   struct sora_fault *fault)
{
    sora_serve_room_for_sampling(serve);
    int error = predict_once(serve, span, fault);
    if (error == SORA_E_MEMORY && sora_serve_more_for_sampling(serve)) {
        *fault = (struct sora_fault){0};
        error = predict_once(serve, span, fault);
    }
    return sora_serve_memory_fault(serve, SORA_SERVE_SAMPLING, error, fault);
}

int sora_serve_run(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault)
{
    struct sora_serve_span span = *(const struct sora_serve_span *)frame->head;
    struct sora_serve_work *work = serve->work;
    sora_time start = sora_clock_now();
    int error = sora_serve_check_step(work, span.step, fault);
    if (!error)
        error = sora_serve_check_range("window", span.window,
                                       span.window < INT32_MAX ? span.window + 1 : span.window,
                                       sora_sampler_windows(work->sampler), fault);
    if (!error)
        error = predict(serve, &span, fault);
    if (error)
        return error;
    span.microseconds = (sora_clock_now() - start) / 1000;
    sora_serve_answer(serve, SORA_SERVE_RAN, &span, sizeof(span));
    return 0;
}

int sora_serve_update(struct sora_serve *serve, const struct sora_frame *frame,
                      struct sora_fault *fault)
{
    struct sora_serve_span span = *(const struct sora_serve_span *)frame->head;
    struct sora_serve_work *work = serve->work;
    sora_time start = sora_clock_now();
    int error = sora_serve_check_step(work, span.step, fault);
    if (!error)
        error = sora_sampler_fuse(work->sampler, fault);
    if (!error)
        error = sora_sampler_update(work->sampler, fault);
    if (!error && sora_sampler_step_index(work->sampler) == work->schedule.steps)
        error = sora_serve_finish(work, fault);
    if (error)
        return error;
    span.microseconds = (sora_clock_now() - start) / 1000;
    sora_serve_answer(serve, SORA_SERVE_UPDATED, &span, sizeof(span));
    return 0;
}
