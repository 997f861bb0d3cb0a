/* Reads and checks the VAE's config. */
#include "model/vae_config.h"

#include "model/config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

#define LEVELS_MAX 8
#define WIDTH_MAX 1024
#define MULTIPLIER_MAX 16
#define RES_BLOCKS_MAX 16

/* The published Wan 2.1 VAE, for absent keys. */
static const int64_t published_multipliers[] = {1, 2, 4, 4};
static const int64_t published_temporal[] = {0, 1, 1};
static const double published_mean[] = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                        -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                        -0.1922, -0.9497, 0.2503,  -0.2921};
static const double published_std[] = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708,
                                       2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
                                       1.6382, 1.1253, 2.8251, 1.9160};

#define LENGTH(array) ((int)(sizeof(array) / sizeof((array)[0])))

struct reader {
    const struct sora_config *config;
    const char *path; /* for messages */
    struct sora_vae_config *out;
    struct sora_fault *fault;
};

static int read_int(const struct reader *reader, const struct sora_config_int *spec, int *out_value)
{
    int64_t value = 0;
    int error = sora_config_get_int(reader->config, spec, &value, reader->fault);
    if (!error)
        *out_value = (int)value;
    return error;
}

/* Variants of this class that this code does not compute. */
static int refuse_variants(const struct reader *reader)
{
    bool residual = false;
    int error =
        sora_config_get_bool(reader->config, "is_residual", false, &residual, reader->fault);
    if (!error && residual)
        return sora_fault_set(reader->fault, SORA_E_UNSUPPORTED,
                              "%s: is_residual is true (a Wan 2.2 VAE); this build runs the Wan "
                              "2.1 form, is_residual false",
                              reader->path);
    const struct {
        const char *key;
        int value;
    } fixed[] = {{"patch_size", 1}, {"in_channels", 3}, {"out_channels", 3}};
    for (int i = 0; !error && i < LENGTH(fixed); i++) {
        int value = 0;
        error = read_int(
            reader, &(struct sora_config_int){fixed[i].key, fixed[i].value, 0, INT_MAX}, &value);
        if (!error && value != fixed[i].value)
            return sora_fault_set(reader->fault, SORA_E_UNSUPPORTED,
                                  "%s: %s is %d; this build runs VAEs with %s %d", reader->path,
                                  fixed[i].key, value, fixed[i].key, fixed[i].value);
    }
    double scales[1];
    int count = 0;
    if (!error && sora_config_has(reader->config, "attn_scales"))
        error = sora_config_get_numbers(reader->config, "attn_scales", 1, scales, &count, NULL);
    if (error == SORA_E_LIMIT || (!error && count > 0))
        return sora_fault_set(reader->fault, SORA_E_UNSUPPORTED,
                              "%s: attn_scales is not empty; this build runs VAEs with attention "
                              "in the middle only, attn_scales []",
                              reader->path);
    if (error)
        return sora_fault_set(reader->fault, error, "%s: attn_scales must be an empty array",
                              reader->path);
    return SORA_OK;
}

static int read_multipliers(const struct reader *reader)
{
    int64_t values[LEVELS_MAX];
    int count = 0;
    int error =
        sora_config_get_ints(reader->config, "dim_mult", LEVELS_MAX, values, &count, reader->fault);
    if (error)
        return error;
    for (; !sora_config_has(reader->config, "dim_mult") && count < LENGTH(published_multipliers);
         count++)
        values[count] = published_multipliers[count];
    if (count < 2)
        return sora_fault_set(reader->fault, SORA_E_LIMIT,
                              "%s: dim_mult has %d values; it must have 2 to %d", reader->path,
                              count, LEVELS_MAX);
    for (int i = 0; i < count; i++) {
        if (values[i] < 1 || values[i] > MULTIPLIER_MAX)
            return sora_fault_set(reader->fault, SORA_E_LIMIT,
                                  "%s: dim_mult[%d] is %lld; it must be 1 to %d", reader->path, i,
                                  (long long)values[i], MULTIPLIER_MAX);
        reader->out->multipliers[i] = (int)values[i];
    }
    reader->out->levels = count;
    reader->out->spatial_factor = 1 << (count - 1);
    return SORA_OK;
}

static int read_temporal(const struct reader *reader)
{
    int64_t values[LEVELS_MAX];
    int count = 0;
    int error = sora_config_get_ints(reader->config, "temperal_downsample", LEVELS_MAX, values,
                                     &count, reader->fault);
    if (error)
        return error;
    for (; !sora_config_has(reader->config, "temperal_downsample") &&
           count < LENGTH(published_temporal);
         count++)
        values[count] = published_temporal[count];
    if (count != reader->out->levels - 1)
        return sora_fault_set(reader->fault, SORA_E_FORMAT,
                              "%s: temperal_downsample has %d values; dim_mult with %d values "
                              "needs %d",
                              reader->path, count, reader->out->levels, reader->out->levels - 1);
    reader->out->temporal_factor = 1;
    for (int i = 0; i < count; i++) {
        reader->out->temporal_down[i] = values[i] != 0;
        reader->out->temporal_factor *= values[i] ? 2 : 1;
    }
    return SORA_OK;
}

/* latents_mean or latents_std: z_dim finite numbers, standard deviations positive. */
static int read_statistics(const struct reader *reader, const char *key, const double *published,
                           float *out_values)
{
    double values[SORA_VAE_CHANNELS_MAX];
    int channels = reader->out->channels, count = 0;
    int error = sora_config_get_numbers(reader->config, key, SORA_VAE_CHANNELS_MAX, values, &count,
                                        reader->fault);
    if (error)
        return error;
    for (; !sora_config_has(reader->config, key) && count < LENGTH(published_mean); count++)
        values[count] = published[count];
    if (count != channels)
        return sora_fault_set(reader->fault, SORA_E_FORMAT,
                              "%s: %s has %d values; z_dim %d needs as many", reader->path, key,
                              count, channels);
    bool positive = published == published_std;
    for (int i = 0; i < count; i++) {
        if (!isfinite((float)values[i]) || (positive && !((float)values[i] > 0)))
            return sora_fault_set(reader->fault, SORA_E_LIMIT,
                                  "%s: %s[%d] is %g; it must be a finite%s number", reader->path,
                                  key, i, values[i], positive ? " positive" : "");
        out_values[i] = (float)values[i];
    }
    return SORA_OK;
}

static int read_all(const struct reader *reader)
{
    struct sora_vae_config *out = reader->out;
    int error = sora_config_require_class(reader->config, "vae", "AutoencoderKLWan", reader->fault);
    if (!error)
        error = refuse_variants(reader);
    if (!error)
        error = read_int(reader, &(struct sora_config_int){"base_dim", 96, 1, WIDTH_MAX},
                         &out->base_width);
    if (!error)
        error = read_int(
            reader, &(struct sora_config_int){"decoder_base_dim", out->base_width, 1, WIDTH_MAX},
            &out->decoder_base_width);
    if (!error)
        error = read_int(reader, &(struct sora_config_int){"num_res_blocks", 2, 1, RES_BLOCKS_MAX},
                         &out->res_blocks);
    if (!error)
        error = read_int(reader, &(struct sora_config_int){"z_dim", 16, 1, SORA_VAE_CHANNELS_MAX},
                         &out->channels);
    if (!error)
        error = read_multipliers(reader);
    if (!error)
        error = read_temporal(reader);
    if (!error)
        error = read_statistics(reader, "latents_mean", published_mean, out->latents_mean);
    if (!error)
        error = read_statistics(reader, "latents_std", published_std, out->latents_std);
    /* Every upsampling convolution halves the channels. */
    for (int i = 1; !error && i < out->levels; i++) {
        if (out->decoder_base_width * out->multipliers[i] < 2)
            error = sora_fault_set(reader->fault, SORA_E_LIMIT,
                                   "%s: decoder_base_dim %d times dim_mult[%d] %d is 1 channel; "
                                   "at least 2 are needed",
                                   reader->path, out->decoder_base_width, i, out->multipliers[i]);
    }
    return error;
}

int sora_vae_config_read(const char *dir, struct sora_vae_config *out_config,
                         struct sora_fault *fault)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/config.json", dir);
    if (length < 0 || (size_t)length >= sizeof(path))
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: the path is longer than %d bytes", dir,
                              PATH_MAX);
    struct sora_config *config = NULL;
    int error = sora_config_open(path, &config, fault);
    if (error)
        return error;
    struct sora_vae_config read = {0};
    const struct reader reader = {config, path, &read, fault};
    error = read_all(&reader);
    sora_config_destroy(&config);
    if (!error)
        *out_config = read;
    return error;
}
