/* Rows of a job's texts, each different text once. */
#include "node/render_texts.h"

#include <stdlib.h>
#include <string.h>

struct sora_render_texts {
    struct sora_render_texts_params params;
    int count; /* different texts */
    const char *texts[2 * SORA_JOB_SHOTS_MAX];
    struct sora_text_rows rows[2 * SORA_JOB_SHOTS_MAX]; /* owned */
    int prompts[SORA_JOB_SHOTS_MAX];                    /* index by shot */
    int negatives[SORA_JOB_SHOTS_MAX];                  /* -1: guidance is 1 */
};

static int index_of(struct sora_render_texts *texts, const char *text)
{
    for (int i = 0; i < texts->count; i++) {
        if (strcmp(texts->texts[i], text) == 0)
            return i;
    }
    texts->texts[texts->count] = text;
    return texts->count++;
}

static int encode(struct sora_render_texts *texts, struct sora_fault *fault)
{
    const struct sora_render_texts_params *params = &texts->params;
    for (int32_t i = 0; i < params->ask->shot_count; i++) {
        const struct sora_job_ask_shot *shot = &params->ask->shots[i];
        texts->prompts[i] = index_of(texts, shot->prompt);
        texts->negatives[i] =
            params->plan->guidance == 1.0
                ? -1
                : index_of(texts, shot->negative ? shot->negative : params->bundle->negative);
    }
    int error = sora_text_rows_encode_all(params->bundle, params->device, texts->texts,
                                          texts->count, texts->rows, fault);
    if (error)
        texts->count = 0;
    return error;
}

static int read_embeds(struct sora_render_texts *texts, struct sora_fault *fault)
{
    const struct sora_render_texts_params *params = &texts->params;
    if (params->ask->shot_count > 1)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%.300s holds the rows of one text, the job has %d shots; give "
                              "prompts instead",
                              params->embeds_path, (int)params->ask->shot_count);
    int width = sora_transformer_config(params->transformer)->text_width;
    int error =
        sora_text_rows_read(params->embeds_path, "prompt_embeds", width, &texts->rows[0], fault);
    texts->prompts[0] = 0;
    texts->negatives[0] = -1;
    texts->count = error ? 0 : 1;
    if (error || params->plan->guidance == 1.0)
        return error;
    error = sora_text_rows_read(params->embeds_path, "negative_prompt_embeds", width,
                                &texts->rows[1], fault);
    texts->negatives[0] = 1;
    texts->count += !error;
    return error;
}

int sora_render_texts_create(const struct sora_render_texts_params *params,
                             struct sora_render_texts **out_texts, struct sora_fault *fault)
{
    struct sora_render_texts *texts = calloc(1, sizeof(*texts));
    if (!texts)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the texts");
    texts->params = *params;
    int error = params->embeds_path ? read_embeds(texts, fault) : encode(texts, fault);
    if (error)
        sora_render_texts_destroy(&texts);
    else
        *out_texts = texts;
    return error;
}

void sora_render_texts_destroy(struct sora_render_texts **texts)
{
    if (!*texts)
        return;
    for (int i = 0; i < (*texts)->count; i++)
        sora_text_rows_fini(&(*texts)->rows[i]);
    free(*texts);
    *texts = NULL;
}

int sora_render_texts_tokens(const struct sora_render_texts *texts)
{
    int tokens = 0;
    for (int32_t i = 0; i < texts->params.ask->shot_count; i++)
        tokens += texts->rows[texts->prompts[i]].count;
    return tokens;
}

int sora_render_texts_contexts(const struct sora_render_texts *texts, int32_t take,
                               struct sora_text_contexts **out_contexts, struct sora_fault *fault)
{
    const struct sora_job_plan *plan = texts->params.plan;
    const struct sora_job_take *of = &plan->takes[take];
    struct sora_text_use uses[SORA_JOB_SHOTS_MAX];
    for (int32_t i = 0; i < of->text_count; i++) {
        const struct sora_job_text *text = &plan->texts[of->text_first + i];
        int negative = texts->negatives[text->shot];
        uses[i] = (struct sora_text_use){
            .latents = text->latents,
            .prompt = &texts->rows[texts->prompts[text->shot]],
            .negative = negative < 0 ? NULL : &texts->rows[negative],
        };
    }
    return sora_text_contexts_create(texts->params.transformer, uses, of->text_count, out_contexts,
                                     fault);
}
