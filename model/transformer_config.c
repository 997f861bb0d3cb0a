/* The transformer's config.json: which models this build runs, and the sentence for the others. */
#include "model/config.h"
#include "model/transformer_parts.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MAX 65536
#define PATCH_MAX 16

static int image_conditioned(const char *what, int64_t value, struct sora_fault *fault)
{
    return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                          "transformer/config.json: image-conditioned models (%s %lld) are not "
                          "supported yet; use a text-to-video model",
                          what, (long long)value);
}

static int read_sizes(const struct sora_config *config, struct sora_transformer_config *out,
                      struct sora_fault *fault)
{
    const struct {
        struct sora_config_int spec;
        int *out;
    } sizes[] = {
        {{"num_attention_heads", 40, 1, 1024}, &out->heads},
        {{"attention_head_dim", 128, 2, 1024}, &out->head_size},
        {{"in_channels", 16, 1, 4096}, &out->in_channels},
        {{"text_dim", 4096, 1, WIDTH_MAX}, &out->text_width},
        {{"freq_dim", 256, 2, WIDTH_MAX}, &out->freq_width},
        {{"ffn_dim", 13824, 1, 16 * WIDTH_MAX}, &out->ffn_width},
        {{"num_layers", 40, 1, 1024}, &out->layers},
        {{"rope_max_seq_len", 1024, 1, 65536}, &out->rope_positions},
        {{"image_dim", 0, 0, WIDTH_MAX}, &out->image_width},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int64_t value;
        int code = sora_config_get_int(config, &sizes[i].spec, &value, fault);
        if (code)
            return code;
        *sizes[i].out = (int)value;
    }
    const struct sora_config_int channels = {"out_channels", out->in_channels, 1, 4096};
    int64_t value;
    int code = sora_config_get_int(config, &channels, &value, fault);
    if (!code)
        out->out_channels = (int)value;
    return code;
}

static int read_patch(const struct sora_config *config, struct sora_transformer_config *out,
                      struct sora_fault *fault)
{
    int64_t patch[3] = {1, 2, 2};
    int count = 0;
    int code = sora_config_get_ints(config, "patch_size", 3, patch, &count, fault);
    if (code)
        return code;
    if (count != 0 && count != 3)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "transformer/config.json: patch_size has %d numbers, expected 3 "
                              "(frames, rows, columns)",
                              count);
    for (int i = 0; i < 3; i++) {
        if (patch[i] < 1 || patch[i] > PATCH_MAX)
            return sora_fault_set(
                fault, SORA_E_LIMIT,
                "transformer/config.json: patch_size holds %lld, expected 1 to %d",
                (long long)patch[i], PATCH_MAX);
    }
    out->patch_t = (int)patch[0];
    out->patch_h = (int)patch[1];
    out->patch_w = (int)patch[2];
    return 0;
}

/* The normalisation of queries and keys, and the two switches that are numbers. */
static int read_norms(const struct sora_config *config, struct sora_transformer_config *out,
                      struct sora_fault *fault)
{
    static const char across_heads[] = "rms_norm_across_heads";
    const char *kind = NULL;
    int code = sora_config_get_string(config, "qk_norm", across_heads, &kind, fault);
    if (code)
        return code;
    if (strcmp(kind, across_heads) != 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "transformer/config.json: qk_norm is %.40s; this build runs %s", kind,
                              across_heads);
    code = sora_config_get_bool(config, "cross_attn_norm", true, &out->cross_attn_norm, fault);
    if (code)
        return code;
    const struct sora_config_number eps = {"eps", 1e-6, 1e-12, 1e-1};
    return sora_config_get_number(config, &eps, &out->eps, fault);
}

static int refuse_image(const struct sora_config *config,
                        const struct sora_transformer_config *parsed, struct sora_fault *fault)
{
    static const char *const keys[] = {"added_kv_proj_dim", "pos_embed_seq_len"};
    if (parsed->image_width > 0)
        return image_conditioned("image_dim", parsed->image_width, fault);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t value = 0;
        const struct sora_config_int spec = {keys[i], 0, 0, INT_MAX};
        int code = sora_config_get_int(config, &spec, &value, fault);
        if (code)
            return code;
        if (value > 0)
            return image_conditioned(keys[i], value, fault);
    }
    if (parsed->in_channels != parsed->out_channels)
        return image_conditioned("in_channels", parsed->in_channels, fault);
    return 0;
}

/* Limits that join several keys. */
static int check(const struct sora_transformer_config *parsed, struct sora_fault *fault)
{
    if (parsed->head_size % 2)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "transformer/config.json: attention_head_dim is %d; rotary positions "
                              "need an even number",
                              parsed->head_size);
    if (parsed->freq_width % 2)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "transformer/config.json: freq_dim is %d, expected an even number",
                              parsed->freq_width);
    if ((int64_t)parsed->heads * parsed->head_size > WIDTH_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "transformer/config.json: %d heads of %d are wider than %d",
                              parsed->heads, parsed->head_size, WIDTH_MAX);
    return 0;
}

int sora_transformer_config_read(const char *dir, struct sora_transformer_config *out_config,
                                 struct sora_fault *fault)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/config.json", dir);
    if (length < 0 || (size_t)length >= sizeof(path))
        return sora_fault_set(fault, SORA_E_LIMIT, "the path of the transformer is longer than %d",
                              PATH_MAX);
    struct sora_config *config = NULL;
    int code = sora_config_open(path, &config, fault);
    if (code)
        return code;
    struct sora_transformer_config parsed = {0};
    code = sora_config_require_class(config, "transformer", "WanTransformer3DModel", fault);
    if (!code)
        code = read_sizes(config, &parsed, fault);
    if (!code)
        code = read_patch(config, &parsed, fault);
    if (!code)
        code = refuse_image(config, &parsed, fault);
    if (!code)
        code = read_norms(config, &parsed, fault);
    if (!code)
        code = check(&parsed, fault);
    if (!code)
        *out_config = parsed;
    sora_config_destroy(&config);
    return code;
}
