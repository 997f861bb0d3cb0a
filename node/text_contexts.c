/* One transformer context for each different text of a take. */
#include "node/text_contexts.h"

#include <stdlib.h>

struct item {
    struct sora_range latents;
    struct sora_text_context context; /* points into `owned` */
};

/* A context and, while the set is being made, whose it is. */
struct owned {
    const struct sora_text_rows *rows;
    struct sora_transformer_context *context;
};

struct sora_text_contexts {
    int32_t count, owned_count;
    struct item *items;
    struct owned *owned;
};

/* Finds or makes the context of `rows`. */
static int context_of(struct sora_text_contexts *contexts, struct sora_transformer *transformer,
                      const struct sora_text_rows *rows,
                      const struct sora_transformer_context **out_context, struct sora_fault *fault)
{
    for (int32_t i = 0; i < contexts->owned_count; i++) {
        if (contexts->owned[i].rows == rows) {
            *out_context = contexts->owned[i].context;
            return 0;
        }
    }
    struct owned *owned = &contexts->owned[contexts->owned_count];
    int error = sora_transformer_context_create(transformer, rows->values, rows->count,
                                                SORA_TEXT_ROWS_PADDED, &owned->context, fault);
    if (error)
        return error;
    owned->rows = rows;
    contexts->owned_count++;
    *out_context = owned->context;
    return 0;
}

int sora_text_contexts_create(struct sora_transformer *transformer,
                              const struct sora_text_use *uses, int32_t count,
                              struct sora_text_contexts **out_contexts, struct sora_fault *fault)
{
    SORA_ASSERT(count > 0);
    struct sora_text_contexts *contexts = calloc(1, sizeof(*contexts));
    if (contexts) {
        contexts->items = calloc((size_t)count, sizeof(*contexts->items));
        contexts->owned = calloc(2 * (size_t)count, sizeof(*contexts->owned));
    }
    if (!contexts || !contexts->items || !contexts->owned) {
        sora_text_contexts_destroy(&contexts);
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %d texts", (int)count);
    }
    int error = 0;
    for (int32_t i = 0; !error && i < count; i++) {
        struct item *item = &contexts->items[contexts->count++];
        item->latents = uses[i].latents;
        error = context_of(contexts, transformer, uses[i].prompt, &item->context.prompt, fault);
        if (!error && uses[i].negative)
            error =
                context_of(contexts, transformer, uses[i].negative, &item->context.negative, fault);
    }
    if (error)
        sora_text_contexts_destroy(&contexts);
    else
        *out_contexts = contexts;
    return error;
}

void sora_text_contexts_destroy(struct sora_text_contexts **contexts)
{
    if (!*contexts)
        return;
    for (int32_t i = 0; i < (*contexts)->owned_count; i++)
        sora_transformer_context_destroy(&(*contexts)->owned[i].context);
    free((*contexts)->owned);
    free((*contexts)->items);
    free(*contexts);
    *contexts = NULL;
}

struct sora_text_context sora_text_contexts_get(const struct sora_text_contexts *contexts,
                                                const struct sora_window *window)
{
    int32_t centre = sora_timeline_window_centre(window);
    int32_t found = 0;
    while (found + 1 < contexts->count && contexts->items[found + 1].latents.first <= centre)
        found++;
    return contexts->items[found].context;
}
