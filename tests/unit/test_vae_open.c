/* What a VAE directory may hold: refused configs, damaged weights, sizes, plans. */
#include "tests/unit/test_vae_fixture.h"

/* ---- a model directory with one thing changed ---- */

static char *read_text(const char *path, size_t *out_size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    rewind(file);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    text[size] = 0;
    fclose(file);
    *out_size = (size_t)size;
    return text;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Writes config.json of `model` into the scratch folder with the value of `key` replaced; with
 * `value` NULL the key is dropped (renamed). */
static void write_config(const char *model, const char *key, const char *value)
{
    char path[1100], name[64];
    snprintf(path, sizeof(path), "%s/config.json", fixture_model_dir(model));
    size_t size = 0;
    char *text = read_text(path, &size), *out = malloc(size + 256);
    assert_non_null(out);
    snprintf(name, sizeof(name), "\"%s\":", key);
    char *place = strstr(text, name);
    if (!place) { /* a key that the file lacks */
        assert_non_null(value);
        snprintf(out, size + 256, "{%s %s, %s", name, value, strchr(text, '{') + 1);
    } else {
        char *from = place + strlen(name);
        while (*from == ' ')
            from++;
        char *end = from + (*from == '[' ? strcspn(from, "]") + 1 : strcspn(from, ",\n}"));
        *place = 0;
        snprintf(out, size + 256, "%s\"%s%s\": %s%s", text, value ? "" : "no_", key,
                 value ? value : "0", end);
    }
    write_bytes(scratch_path("config.json"), out, strlen(out));
    free(out);
    free(text);
}

static void link_weights(const char *model)
{
    char path[1200];
    snprintf(path, sizeof(path), "%s/diffusion_pytorch_model.safetensors",
             fixture_model_dir(model));
    unlink(scratch_path("diffusion_pytorch_model.safetensors"));
    assert_int_equal(symlink(path, scratch_path("diffusion_pytorch_model.safetensors")), 0);
}

static int open_scratch(struct sora_fault *fault)
{
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    struct sora_vae *vae = NULL;
    int error = sora_vae_open(scratch_dir, device, &vae, fault);
    assert_true((error == 0) == (vae != NULL));
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
    return error;
}

/* ---- tests ---- */

static void configs_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        int error;
        const char *says;
    } cases[] = {
        {"_class_name", "\"AutoencoderKL\"", SORA_E_UNSUPPORTED, "AutoencoderKL"},
        {"is_residual", "true", SORA_E_UNSUPPORTED, "is_residual"},
        {"is_residual", "7", SORA_E_FORMAT, "is_residual"},
        {"patch_size", "2", SORA_E_UNSUPPORTED, "patch_size is 2"},
        {"in_channels", "12", SORA_E_UNSUPPORTED, "in_channels is 12"},
        {"out_channels", "4", SORA_E_UNSUPPORTED, "out_channels is 4"},
        {"attn_scales", "[0.5]", SORA_E_UNSUPPORTED, "attn_scales"},
        {"attn_scales", "[0.5, 1]", SORA_E_UNSUPPORTED, "attn_scales"},
        {"attn_scales", "\"no\"", SORA_E_FORMAT, "attn_scales"},
        {"base_dim", "0", SORA_E_LIMIT, "base_dim"},
        {"base_dim", "\"4\"", SORA_E_FORMAT, "base_dim"},
        {"base_dim", "1000000", SORA_E_LIMIT, "base_dim"},
        {"base_dim", "6", SORA_E_FORMAT, "encoder.conv_in.weight"},
        {"decoder_base_dim", "12", SORA_E_FORMAT, "decoder.conv_in.weight"},
        {"decoder_base_dim", "-1", SORA_E_LIMIT, "decoder_base_dim"},
        {"z_dim", "8", SORA_E_FORMAT, "latents_mean"},
        {"z_dim", "65", SORA_E_LIMIT, "z_dim"},
        {"num_res_blocks", "2", SORA_E_NOT_FOUND, "decoder.up_blocks.0.resnets.2"},
        {"num_res_blocks", "17", SORA_E_LIMIT, "num_res_blocks"},
        {"dim_mult", "[4]", SORA_E_LIMIT, "dim_mult"},
        {"dim_mult", "[1, 2, 4, 0, 4]", SORA_E_LIMIT, "dim_mult[3]"},
        {"dim_mult", "[1,1,1,1,1,1,1,1,1]", SORA_E_LIMIT, "dim_mult"},
        {"dim_mult", "[1, 2, 4, 4]", SORA_E_FORMAT, "temperal_downsample"},
        {"temperal_downsample", "[true]", SORA_E_FORMAT, "temperal_downsample"},
        {"temperal_downsample", "[false, true, true, true]", SORA_E_NOT_FOUND, "time_conv"},
        {"latents_std", "[1, 2]", SORA_E_FORMAT, "latents_std"},
        {"latents_std", "[0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", SORA_E_LIMIT, "latents_std[0]"},
        {"latents_mean", "[1e300,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", SORA_E_LIMIT, "latents_mean[0]"},
    };
    link_weights("d_mini");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_config("d_mini", cases[i].key, cases[i].value);
        struct sora_fault fault = {0};
        int error = open_scratch(&fault);
        if (error != cases[i].error || !strstr(fault.text, cases[i].says))
            fail_msg("%s %s: got %s \"%s\"", cases[i].key, cases[i].value, sora_error_name(error),
                     fault.text);
    }
}

static void absent_keys_have_published_values(void **state)
{
    (void)state;
    static const char *const keys[] = {"dim_mult",    "temperal_downsample", "num_res_blocks",
                                       "attn_scales", "latents_mean",        "latents_std",
                                       "z_dim",       "is_residual",         "patch_size"};
    link_weights("a_f32");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        write_config("a_f32", keys[i], NULL);
        struct sora_fault fault = {0};
        if (open_scratch(&fault))
            fail_msg("%s: %s", keys[i], fault.text);
    }
    write_config("a_f32", "base_dim", NULL); /* 96: the stored tensors are of another model */
    struct sora_fault fault = {0};
    assert_int_equal(open_scratch(&fault), SORA_E_FORMAT);
    assert_non_null(strstr(fault.text, "384"));
}

/* Copies the weights of `model` with `from` replaced by `to` of equal length. */
static void write_damaged(const char *model, const char *from, const char *to)
{
    char path[1200];
    snprintf(path, sizeof(path), "%s/diffusion_pytorch_model.safetensors",
             fixture_model_dir(model));
    size_t size = 0;
    char *bytes = read_text(path, &size);
    assert_int_equal(strlen(from), strlen(to));
    char *place = memmem(bytes, size, from, strlen(from));
    assert_non_null(place);
    memcpy(place, to, strlen(to));
    unlink(scratch_path("diffusion_pytorch_model.safetensors"));
    write_bytes(scratch_path("diffusion_pytorch_model.safetensors"), bytes, size);
    free(bytes);
}

static void missing_tensors_are_named(void **state)
{
    (void)state;
    static const char *const names[] = {
        "decoder.conv_in.bias",
        "decoder.norm_out.gamma",
        "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
        "encoder.mid_block.attentions.0.to_qkv.bias",
        "encoder.down_blocks.5.time_conv.weight",
        "quant_conv.weight",
    };
    write_config("a_f32", "z_dim", "16");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char from[128], to[128];
        snprintf(from, sizeof(from), "\"%s\"", names[i]);
        snprintf(to, sizeof(to), "\"%.*sX\"", (int)strlen(names[i]) - 1, names[i]);
        write_damaged("a_f32", from, to);
        struct sora_fault fault = {0};
        assert_int_equal(open_scratch(&fault), SORA_E_NOT_FOUND);
        if (!strstr(fault.text, names[i]))
            fail_msg("%s is not named: %s", names[i], fault.text);
    }
}

static void sizes_are_checked(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    struct sora_vae *vae = fixture_open("d_mini", device);
    struct sora_vae_decoder *decoder = NULL;
    struct sora_vae_encoder *encoder = NULL;
    static const int bad[][2] = {{0, 4}, {4, 0}, {-1, 4}, {1025, 1}, {1, 1025}};
    for (int i = 0; i < 5; i++) {
        struct sora_fault fault = {0};
        assert_int_equal(sora_vae_decoder_create(vae, bad[i][0], bad[i][1], &decoder, &fault),
                         SORA_E_LIMIT);
        assert_non_null(strstr(fault.text, "1024"));
        assert_null(decoder);
    }
    struct sora_fault fault = {0};
    assert_int_equal(sora_vae_encoder_create(vae, 40, 32, &encoder, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "multiple of 16"));
    assert_null(encoder);
    fault = (struct sora_fault){0};
    assert_int_equal(sora_vae_decoder_create(vae, 1024, 1024, &decoder, &fault), SORA_E_MEMORY);
    assert_non_null(strstr(fault.text, "GB"));
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
}

static void config_and_plan(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    struct sora_vae *vae = fixture_open("d_mini", device);
    const struct sora_vae_config *config = sora_vae_config(vae);
    assert_int_equal(config->spatial_factor, 16);
    assert_int_equal(config->temporal_factor, 4);
    assert_int_equal(config->base_width, 4);
    assert_int_equal(config->decoder_base_width, 8);
    assert_int_equal(sora_vae_decoder_warmup(config), 38);
    struct sora_vae_plan small, large, encode;
    struct sora_fault fault = {0};
    assert_int_equal(sora_vae_decoder_plan(vae, 4, 4, &small, &fault), 0);
    assert_int_equal(sora_vae_decoder_plan(vae, 8, 4, &large, &fault), 0);
    assert_int_equal(sora_vae_encoder_plan(vae, 64, 64, &encode, &fault), 0);
    assert_true(large.cache_bytes == 2 * small.cache_bytes);
    assert_true(large.activation_bytes == 2 * small.activation_bytes);
    assert_true(large.weight_bytes == small.weight_bytes);
    assert_true(small.flops_next > 3 * small.flops_first);
    assert_true(small.flops_next < 4.2 * small.flops_first);
    assert_true(encode.cache_bytes > 0 && encode.flops_next > 0);
    assert_int_equal(sora_vae_decoder_plan(vae, 0, 4, &small, &fault), SORA_E_LIMIT);
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
    /* Two levels, one doubling: 2 + 8 + 8 frames to it, doubled (18 + 2) * 2, then 8 + 2 more. */
    const struct sora_vae_config two = {.levels = 2, .res_blocks = 1, .temporal_down = {true}};
    assert_int_equal(sora_vae_decoder_warmup(&two), 25);
    const struct sora_vae_config still = {.levels = 2, .res_blocks = 1};
    assert_int_equal(sora_vae_decoder_warmup(&still), 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs_are_refused_by_name),
        cmocka_unit_test(absent_keys_have_published_values),
        cmocka_unit_test(missing_tensors_are_named),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(config_and_plan),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
