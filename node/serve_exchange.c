/* Values that travel between shards, to and from the parent: latents, predictions, final latents.
 */
#include "node/serve_parts.h"

#include <stdlib.h>

/* One kind of value: where it may come from, and how one latent of it is moved. */
struct exchange {
    uint32_t put, get;
    bool is_sampled; /* belongs to a step of the sampler */
    int (*put_one)(struct sora_serve_work *work, const struct sora_serve_span *span, int32_t latent,
                   const float *values, struct sora_fault *fault);
    int (*get_one)(struct sora_serve_work *work, const struct sora_serve_span *span, int32_t latent,
                   float *out_values, struct sora_fault *fault);
};

static int put_latent(struct sora_serve_work *work, const struct sora_serve_span *span,
                      int32_t latent, const float *values, struct sora_fault *fault)
{
    (void)span;
    return sora_sampler_put_latent(work->sampler, latent, values, fault);
}

static int get_latent(struct sora_serve_work *work, const struct sora_serve_span *span,
                      int32_t latent, float *out_values, struct sora_fault *fault)
{
    (void)span;
    return sora_sampler_get_latent(work->sampler, latent, out_values, fault);
}

static int put_prediction(struct sora_serve_work *work, const struct sora_serve_span *span,
                          int32_t latent, const float *values, struct sora_fault *fault)
{
    return sora_sampler_put_prediction(work->sampler, span->window, latent, values, fault);
}

static int get_prediction(struct sora_serve_work *work, const struct sora_serve_span *span,
                          int32_t latent, float *out_values, struct sora_fault *fault)
{
    return sora_sampler_get_prediction(work->sampler, span->window, latent, out_values, fault);
}

static int put_final(struct sora_serve_work *work, const struct sora_serve_span *span,
                     int32_t latent, const float *values, struct sora_fault *fault)
{
    (void)span;
    return sora_serve_final_put(work, latent, values, fault);
}

static int get_final(struct sora_serve_work *work, const struct sora_serve_span *span,
                     int32_t latent, float *out_values, struct sora_fault *fault)
{
    (void)span;
    const float *values = sora_serve_final(work, latent, fault);
    for (size_t i = 0; values && i < work->latent_elements; i++)
        out_values[i] = values[i];
    return values ? 0 : SORA_E_INVALID;
}

static const struct exchange exchanges[] = {
    {SORA_SERVE_PUT_LATENTS, SORA_SERVE_GET_LATENTS, true, put_latent, get_latent},
    {SORA_SERVE_PUT_PREDICTIONS, SORA_SERVE_GET_PREDICTIONS, true, put_prediction, get_prediction},
    {SORA_SERVE_PUT_FINAL, SORA_SERVE_GET_FINAL, false, put_final, get_final},
};

static const struct exchange *find_exchange(uint32_t command)
{
    size_t i = 0;
    while (exchanges[i].put != command && exchanges[i].get != command)
        i++;
    return &exchanges[i];
}

/* Checks the command; *out_bytes is the size of its values. */
static int check_span(const struct sora_serve_work *work, const struct exchange *exchange,
                      const struct sora_serve_span *span, size_t *out_bytes,
                      struct sora_fault *fault)
{
    const struct sora_range timeline = {0, work->asked.timeline.latent_count};
    int error = sora_serve_check_range("latents", span->first, span->end, timeline, fault);
    if (!error && exchange->is_sampled)
        error = sora_serve_check_step(work, span->step, fault);
    if (error)
        return error;
    size_t count = (size_t)(span->end - span->first), one = work->latent_elements * sizeof(float);
    if (count > SORA_CHILD_PAYLOAD_MAX / one)
        return sora_fault_set(fault, SORA_E_LIMIT, "%zu latents of %zu bytes are more than %zu",
                              count, one, SORA_CHILD_PAYLOAD_MAX);
    *out_bytes = count * one;
    return 0;
}

int sora_serve_put(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault)
{
    const struct sora_serve_span *span = frame->head;
    const struct exchange *exchange = find_exchange(frame->kind);
    const float *values = frame->payload;
    size_t bytes = 0;
    int error = check_span(serve->work, exchange, span, &bytes, fault);
    if (!error && frame->payload_size != bytes)
        error = sora_fault_set(fault, SORA_E_FORMAT, "latents [%d,%d) have %zu bytes, %zu came",
                               span->first, span->end, bytes, frame->payload_size);
    for (int32_t i = span->first; !error && i < span->end; i++) {
        error = exchange->put_one(serve->work, span, i, values, fault);
        values += serve->work->latent_elements;
    }
    return error;
}

int sora_serve_get(struct sora_serve *serve, const struct sora_frame *frame,
                   struct sora_fault *fault)
{
    const struct sora_serve_span *span = frame->head;
    const struct exchange *exchange = find_exchange(frame->kind);
    size_t bytes = 0, elements = serve->work->latent_elements;
    int error = check_span(serve->work, exchange, span, &bytes, fault);
    float *values = error ? NULL : malloc(bytes);
    if (!error && !values)
        error = sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %zu bytes", bytes);
    for (int32_t i = span->first; !error && i < span->end; i++)
        error = exchange->get_one(serve->work, span, i,
                                  values + (size_t)(i - span->first) * elements, fault);
    if (!error)
        sora_serve_answer_with(serve, &(const struct sora_frame){SORA_SERVE_VALUES, span,
                                                                 sizeof(*span), values, bytes});
    free(values);
    return error;
}
