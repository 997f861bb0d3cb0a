/* Opening and closing a transformer, and what can be told about it without running it. The formulas
 * are in model/transformer_forward.c. */
#include "model/transformer_parts.h"

#include <stdlib.h>

/* One buffer for everything that depends on the timestep alone. */
static int allocate_state(struct sora_transformer *transformer)
{
    int64_t width = transformer->width, freq = transformer->config.freq_width;
    int64_t rows =
        (int64_t)transformer->config.layers * SORA_MODULATION_COUNT + SORA_MODULATION_HEAD_COUNT;
    const struct {
        struct sora_tensor *tensor;
        int64_t rows, width;
    } parts[] = {
        {&transformer->tables, rows, width},
        {&transformer->modulation, rows, width},
        {&transformer->sinusoid, 1, freq},
        {&transformer->time_hidden, 1, width},
        {&transformer->time_embedded, 1, width},
        {&transformer->time_six, 1, SORA_MODULATION_COUNT * width},
    };
    const size_t count = sizeof(parts) / sizeof(parts[0]);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += sora_arena_cost(SORA_DTYPE_F32, parts[i].rows * parts[i].width);
    int code = sora_buffer_create(transformer->device, size, &transformer->state_buffer);
    if (code)
        return code;
    size = 0;
    for (size_t i = 0; i < count; i++) {
        *parts[i].tensor = sora_tensor_make(transformer->state_buffer, size, SORA_DTYPE_F32,
                                            SORA_SHAPE(parts[i].rows, parts[i].width));
        size += sora_arena_cost(SORA_DTYPE_F32, parts[i].rows * parts[i].width);
    }
    transformer->sinusoid_host = calloc((size_t)freq, sizeof(float));
    return transformer->sinusoid_host ? 0 : SORA_E_MEMORY;
}

/* Sizes that follow from the config, and the device's own limit. */
static int derive(struct sora_transformer *transformer, struct sora_fault *fault)
{
    const struct sora_transformer_config *c = &transformer->config;
    int64_t volume = (int64_t)c->patch_t * c->patch_h * c->patch_w;
    transformer->width = (int64_t)c->heads * c->head_size;
    transformer->patch_in_width = volume * c->in_channels;
    transformer->patch_out_width = volume * c->out_channels;
    struct sora_device_caps caps;
    sora_device_caps(transformer->device, &caps);
    transformer->form = caps.matrix_type == SORA_DTYPE_I8   ? SORA_WEIGHTS_INT8
                        : caps.matrix_type == SORA_DTYPE_F8 ? SORA_WEIGHTS_FP8
                                                            : SORA_WEIGHTS_OPERAND;
    if (c->head_size > caps.head_size_max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "transformer: attention_head_dim is %d; this device takes up to %lld",
                              c->head_size, (long long)caps.head_size_max);
    return 0;
}

/* Finds the weights and, where the device copies them, brings them there unless that is only a
 * check. Only then the rest: a config that lies about its sizes has been refused by a tensor's
 * shape. */
static int load_parts(struct sora_transformer *transformer, bool is_check, struct sora_fault *fault)
{
    sora_weights_check_only(transformer->weights, is_check);
    int code = sora_transformer_weights_load(transformer, fault);
    if (!code && !is_check) {
        code = allocate_state(transformer);
        if (code)
            sora_fault_set(fault, code, "transformer: %s", sora_error_text(code));
    }
    if (!code)
        code = sora_transformer_tables_load(transformer, fault);
    sora_weights_settle(transformer->weights);
    transformer->is_loaded = !code && !is_check;
    return code;
}

int sora_transformer_load(struct sora_transformer *transformer, struct sora_fault *fault)
{
    if (transformer->is_loaded)
        return 0;
    int code = load_parts(transformer, false, fault);
    if (code)
        sora_transformer_unload(transformer);
    return code;
}

void sora_transformer_unload(struct sora_transformer *transformer)
{
    sora_arena_rewind(&transformer->arena, 0);
    sora_arena_fini(&transformer->arena);
    transformer->plan = (struct sora_transformer_plan){0};
    if (!sora_weights_are_copies(transformer->weights))
        return;
    sora_buffer_destroy(&transformer->state_buffer);
    free(transformer->sinusoid_host);
    transformer->sinusoid_host = NULL;
    transformer->timestep_known = false;
    sora_weights_unload(transformer->weights);
    transformer->is_loaded = false;
}

uint64_t sora_transformer_held(const struct sora_transformer *transformer)
{
    if (!transformer->is_loaded || !sora_weights_are_copies(transformer->weights))
        return transformer->arena.size;
    return sora_weights_held(transformer->weights) + sora_buffer_size(transformer->state_buffer) +
           transformer->arena.size;
}

static int open_parts(struct sora_transformer *transformer, const char *dir,
                      struct sora_fault *fault)
{
    int code = sora_transformer_config_read(dir, &transformer->config, fault);
    if (!code)
        code = derive(transformer, fault);
    if (!code)
        code = sora_checkpoint_open(dir, &transformer->checkpoint, fault);
    if (!code)
        code = sora_weights_create(transformer->checkpoint, transformer->device,
                                   &transformer->weights, fault);
    return code ? code
                : load_parts(transformer, sora_weights_are_copies(transformer->weights), fault);
}

int sora_transformer_open(const char *dir, struct sora_device *device,
                          struct sora_transformer **out_transformer, struct sora_fault *fault)
{
    struct sora_transformer *transformer = calloc(1, sizeof(*transformer));
    if (!transformer)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a transformer");
    transformer->device = device;
    int code = open_parts(transformer, dir, fault);
    if (code) {
        sora_transformer_destroy(&transformer);
        return code;
    }
    *out_transformer = transformer;
    return 0;
}

void sora_transformer_destroy(struct sora_transformer **transformer)
{
    struct sora_transformer *t = *transformer;
    if (!t)
        return;
    sora_arena_fini(&t->arena);
    free(t->sinusoid_host);
    sora_buffer_destroy(&t->state_buffer);
    free(t->blocks);
    sora_weights_destroy(&t->weights);
    sora_checkpoint_destroy(&t->checkpoint);
    free(t);
    *transformer = NULL;
}

const char *sora_transformer_find_nonfinite(const struct sora_transformer *transformer)
{
    const struct sora_checkpoint_entry *culprit =
        sora_checkpoint_find_nonfinite(transformer->checkpoint);
    return culprit ? culprit->name : NULL;
}

double sora_transformer_flops(const struct sora_transformer *transformer, int latents, int height,
                              int width, int text_keys)
{
    const struct sora_transformer_config *c = &transformer->config;
    double n = ((double)latents / c->patch_t) * ((double)height / c->patch_h) *
               ((double)width / c->patch_w);
    double d = (double)transformer->width, f = c->ffn_width;
    double linear = 2 * n * (6 * d * d + 2 * d * f);
    double attention = 4 * n * n * d + 4 * n * text_keys * d;
    double edges = 2 * n * d * (double)(transformer->patch_in_width + transformer->patch_out_width);
    double time = 2 * d * (c->freq_width + d + SORA_MODULATION_COUNT * d);
    return c->layers * (linear + attention) + edges + time;
}

const struct sora_transformer_config *
sora_transformer_config(const struct sora_transformer *transformer)
{
    return &transformer->config;
}
