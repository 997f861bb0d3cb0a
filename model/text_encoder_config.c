/* Reads the text encoder's configuration, and counts what it takes. */
#include "model/text_encoder_config.h"

#include "model/config.h"
#include "model/text_encoder.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MAX 65536

static int read_sizes(const struct sora_config *config, struct sora_text_config *out,
                      struct sora_fault *fault)
{
    const struct {
        struct sora_config_int spec;
        int *out;
    } sizes[] = {
        {{"vocab_size", 250112, 1, 1 << 24}, &out->vocabulary_size},
        {{"d_model", 512, 1, WIDTH_MAX}, &out->width},
        {{"d_kv", 64, 1, 1024}, &out->head_size},
        {{"num_heads", 6, 1, 1024}, &out->heads},
        {{"d_ff", 1024, 1, 16 * WIDTH_MAX}, &out->ffn_width},
        {{"num_layers", 8, 1, 1024}, &out->layers},
        {{"relative_attention_num_buckets", 32, 4, 4096}, &out->buckets.count},
        {{"relative_attention_max_distance", 128, 2, 1 << 20}, &out->buckets.max_distance},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int64_t value;
        int code = sora_config_get_int(config, &sizes[i].spec, &value, fault);
        if (code)
            return code;
        *sizes[i].out = (int)value;
    }
    const struct sora_config_number eps = {"layer_norm_epsilon", 1e-6, 1e-12, 1e-1};
    return sora_config_get_number(config, &eps, &out->eps, fault);
}

static int check_kind(const struct sora_config *config, const struct sora_text_config *parsed,
                      struct sora_fault *fault)
{
    const char *kind = NULL;
    int code = sora_config_get_string(config, "feed_forward_proj", "gated-gelu", &kind, fault);
    if (code)
        return code;
    if (strcmp(kind, "gated-gelu") != 0)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "text_encoder/config.json: feed_forward_proj is %.40s; this build "
                              "runs gated-gelu",
                              kind);
    if (parsed->buckets.count % 2 || parsed->buckets.max_distance <= parsed->buckets.count / 4)
        return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                              "text_encoder/config.json: %d relative_attention_num_buckets with "
                              "max_distance %d; expected an even number, and a distance over a "
                              "quarter of it",
                              parsed->buckets.count, parsed->buckets.max_distance);
    return 0;
}

int sora_text_config_read(const char *dir, struct sora_text_config *out_config,
                          struct sora_fault *fault)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/config.json", dir);
    if (length < 0 || (size_t)length >= sizeof(path))
        return sora_fault_set(fault, SORA_E_LIMIT, "the path of the text encoder is longer than %d",
                              PATH_MAX);
    struct sora_config *config = NULL;
    int code = sora_config_open(path, &config, fault);
    if (code)
        return code;
    code = sora_config_require_class(config, "text_encoder", "UMT5EncoderModel", fault);
    if (!code)
        code = read_sizes(config, out_config, fault);
    if (!code)
        code = check_kind(config, out_config, fault);
    sora_config_destroy(&config);
    return code;
}

/* As model/text_encoder.c lists a pass's tensors. */
static uint64_t pass_bytes(const struct sora_text_config *c)
{
    uint64_t n = SORA_TEXT_TOKENS_MAX, heads = (uint64_t)c->heads;
    uint64_t inner = heads * (uint64_t)c->head_size, d = (uint64_t)c->width;
    uint64_t attention = 4 * n * inner + 2 * n * n * heads, ffn = 2 * n * (uint64_t)c->ffn_width;
    /* The rows of the embedding in their file's type, at most f32. */
    uint64_t common = n + n * n + 3 * n * d;
    return (common + (attention > ffn ? attention : ffn)) * sizeof(float);
}

int sora_text_encoder_plan_read(const char *dir, enum sora_dtype type,
                                struct sora_text_encoder_plan *out_plan, struct sora_fault *fault)
{
    struct sora_text_config config = {0};
    int code = sora_text_config_read(dir, &config, fault);
    if (code)
        return code;
    uint64_t d = (uint64_t)config.width, f = (uint64_t)config.ffn_width;
    uint64_t inner = (uint64_t)config.heads * (uint64_t)config.head_size;
    uint64_t matrices = (4 * d * inner + 3 * d * f) * (type == SORA_DTYPE_F32 ? 4 : 2);
    uint64_t rest = (2 * d + (uint64_t)config.buckets.count * (uint64_t)config.heads) * 4;
    uint64_t greatest = d * (f > inner ? f : inner) * 4; /* as stored, while it is rounded */
    *out_plan = (struct sora_text_encoder_plan){
        .weights = (uint64_t)config.layers * (matrices + rest) + d * 4,
        .layer = matrices + rest + (type == SORA_DTYPE_F32 ? 0 : greatest),
        .activations = pass_bytes(&config),
        .rows = SORA_TEXT_TOKENS_MAX,
        .width = config.width,
        .inner = (int64_t)inner,
        .ffn_width = config.ffn_width,
    };
    return 0;
}
