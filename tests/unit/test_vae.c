/* The VAE against the reference library's values, and the promises of its streams. */
#include "tests/unit/test_vae_fixture.h"

#define PARITY 1e-5

static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
enum { MODELS = 4 };

/* ---- parity ---- */

/* *out_found tells whether there are reference values of this index. */
static void check_decode(struct sora_vae *vae, const char *model, int index, bool *out_found)
{
    struct sora_checkpoint *values = fixture_values(model, "vae_decode", index);
    *out_found = values != NULL;
    if (!values)
        return;
    const struct sora_checkpoint_entry *in = fixture_video(values, "latents");
    const struct sora_checkpoint_entry *out = fixture_video(values, "pixels_unclamped");
    float *latents = fixture_frames(in, false), *expected = fixture_frames(out, true);
    int64_t count = out->shape[0] * out->shape[1] * out->shape[2] * out->shape[3];
    for (int64_t i = 0; i < count; i++)
        expected[i] = fminf(fmaxf(expected[i], -1), 1);
    float *frames =
        fixture_decode(vae, (int)in->shape[2], (int)in->shape[3], latents, (int)in->shape[1]);
    double error = fixture_error(frames, expected, count);
    print_message("decode %s %d: relative L2 %.2e\n", model, index, error);
    assert_true(error <= PARITY);
    free(frames);
    free(expected);
    free(latents);
    sora_checkpoint_destroy(&values);
}

static void check_encode(struct sora_vae *vae, const char *model, int index)
{
    struct sora_checkpoint *values = fixture_values(model, "vae_encode", index);
    assert_non_null(values);
    const struct sora_checkpoint_entry *in = fixture_video(values, "pixels");
    const struct sora_checkpoint_entry *out = fixture_video(values, "latents");
    float *frames = fixture_frames(in, true), *expected = fixture_frames(out, false);
    int64_t latent = out->shape[0] * out->shape[2] * out->shape[3];
    int64_t frame = in->shape[0] * in->shape[2] * in->shape[3];
    float *latents = malloc((size_t)(latent * out->shape[1]) * sizeof(float));
    assert_non_null(latents);
    struct sora_vae_encoder *encoder = NULL;
    struct sora_fault fault = {0};
    if (sora_vae_encoder_create(vae, (int)in->shape[2], (int)in->shape[3], &encoder, &fault))
        fail_msg("%s", fault.text);
    for (int repeat = 0; repeat < 2; repeat++) { /* a reset encoder is as good as new */
        const float *from = frames;
        for (int64_t i = 0; i < out->shape[1]; i++) {
            if (sora_vae_encoder_next(encoder, from, latents + i * latent, &fault))
                fail_msg("%s", fault.text);
            from += frame * (i ? sora_vae_config(vae)->temporal_factor : 1);
        }
        double error = fixture_error(latents, expected, latent * out->shape[1]);
        print_message("encode %s %d: relative L2 %.2e\n", model, index, error);
        assert_true(error <= PARITY);
        sora_vae_encoder_reset(encoder);
    }
    sora_vae_encoder_destroy(&encoder);
    free(latents);
    free(expected);
    free(frames);
    sora_checkpoint_destroy(&values);
}

static void reference_values(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(2, SORA_CPU_PATH_AUTO);
    for (int m = 0; m < MODELS; m++) {
        struct sora_vae *vae = fixture_open(models[m], device);
        bool found = true;
        int index = 0;
        for (; found; index++) {
            check_decode(vae, models[m], index, &found);
            if (found)
                check_encode(vae, models[m], index);
        }
        assert_true(index > 2); /* at least two of each */
        sora_vae_destroy(&vae);
    }
    sora_device_destroy(&device);
}

/* The plain path states what is correct; shapes that fit no vector or block. */
static void odd_sizes_agree_with_plain(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 5}, {7, 2}};
    struct sora_device *devices[] = {fixture_device(2, SORA_CPU_PATH_AUTO),
                                     fixture_device(2, SORA_CPU_PATH_PLAIN)};
    for (int s = 0; s < 3; s++) {
        int height = sizes[s][0], width = sizes[s][1];
        float *latents = fixture_noise(7, (int64_t)2 * 16 * height * width);
        float *frames[2];
        for (int d = 0; d < 2; d++) {
            struct sora_vae *vae = fixture_open("d_mini", devices[d]);
            frames[d] = fixture_decode(vae, height, width, latents, 2);
            sora_vae_destroy(&vae);
        }
        int64_t count = (int64_t)5 * height * width * 256 * 3;
        assert_true(fixture_error(frames[0], frames[1], count) <= PARITY);
        free(frames[0]);
        free(frames[1]);
        free(latents);
    }
    sora_device_destroy(&devices[0]);
    sora_device_destroy(&devices[1]);
}

/* ---- streams ---- */

static void thread_count_changes_nothing(void **state)
{
    (void)state;
    enum { HEIGHT = 5, WIDTH = 4, COUNT = 3 };
    float *latents = fixture_noise(3, COUNT * 16 * HEIGHT * WIDTH);
    float *frames[3];
    for (int i = 0; i < 3; i++) {
        struct sora_device *device = fixture_device(i + 1, SORA_CPU_PATH_AUTO);
        struct sora_vae *vae = fixture_open("d_mini", device);
        frames[i] = fixture_decode(vae, HEIGHT, WIDTH, latents, COUNT);
        sora_vae_destroy(&vae);
        sora_device_destroy(&device);
    }
    size_t size = (size_t)9 * HEIGHT * WIDTH * 256 * 3 * sizeof(float);
    assert_memory_equal(frames[0], frames[1], size);
    assert_memory_equal(frames[0], frames[2], size);
    for (int i = 0; i < 3; i++)
        free(frames[i]);
    free(latents);
}

enum { HEIGHT = 3, WIDTH = 2, LATENTS = 4, LATENT = 16 * HEIGHT * WIDTH };
enum { FRAME = HEIGHT * WIDTH * 64 * 3 };

/* Decodes `length` latents while `other` works too, with changing outputs, against `expected`. */
static void check_stream(struct sora_vae_decoder *decoder, struct sora_vae_decoder *other,
                         const float *latents, int length, const float *expected)
{
    static float frames[4 * FRAME], others[8 * FRAME];
    static uint8_t rgb[4 * FRAME];
    struct sora_fault fault = {0};
    for (int i = 0; i < length; i++) {
        int made = 0;
        float *wanted = (i + length) % 3 ? frames : NULL;
        const float *latent = latents + (size_t)i * LATENT;
        assert_int_equal(sora_vae_decoder_next(decoder, latent, wanted, rgb, &made, &fault), 0);
        for (int64_t k = 0; k < (int64_t)made * FRAME; k++) {
            if (wanted)
                assert_true(frames[k] == expected[k]);
            assert_int_equal(rgb[k], (uint8_t)rintf((expected[k] + 1) * 127.5f));
        }
        expected += (int64_t)made * FRAME;
        if (i % 2 == 0)
            assert_int_equal(sora_vae_decoder_next(other, latents, others, NULL, NULL, &fault), 0);
    }
}

/* Frames do not depend on what comes later, on what was decoded before a reset, on another decoder
 * of the same model at work, or on which outputs are asked for. */
static void streams_are_independent(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(2, SORA_CPU_PATH_AUTO);
    struct sora_vae *vae = fixture_open("a_f32", device);
    float *latents = fixture_noise(5, (LATENTS + 1) * LATENT);
    float *whole = fixture_decode(vae, HEIGHT, WIDTH, latents, LATENTS);
    struct sora_vae_decoder *decoder = NULL, *other = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_vae_decoder_create(vae, HEIGHT, WIDTH, &decoder, &fault), 0);
    assert_int_equal(sora_vae_decoder_create(vae, HEIGHT + 1, WIDTH, &other, &fault), 0);
    for (int length = 1; length <= LATENTS; length++) {
        check_stream(decoder, other, latents, length, whole);
        sora_vae_decoder_reset(decoder);
    }
    sora_vae_decoder_destroy(&other);
    sora_vae_decoder_destroy(&decoder);
    free(whole);
    free(latents);
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
}

/* Starting in the middle with the warm-up of the header gives the whole stream's bits; starting
 * late does not, so the test can fail. */
static void check_warm_up(struct sora_vae *vae)
{
    const struct sora_vae_config *config = sora_vae_config(vae);
    int warm_up = sora_vae_decoder_warmup(config), factor = config->temporal_factor;
    int skipped = 2, count = skipped + warm_up + 1, late = 3;
    int64_t latent = config->channels;
    int64_t frame = (int64_t)config->spatial_factor * config->spatial_factor * 3;
    size_t size = (size_t)(factor * frame) * sizeof(float);
    float *latents = fixture_noise(11, count * latent);
    float *whole = fixture_decode(vae, 1, 1, latents, count);
    float *tail = fixture_decode(vae, 1, 1, latents + skipped * latent, count - skipped);
    float *late_tail = fixture_decode(vae, 1, 1, latents + (count - late) * latent, late);
    const float *expected = whole + (1 + factor * (count - 2)) * frame;
    assert_memory_equal(tail + (1 + factor * (warm_up - 1)) * frame, expected, size);
    assert_memory_not_equal(late_tail + (1 + factor * (late - 2)) * frame, expected, size);
    free(late_tail);
    free(tail);
    free(whole);
    free(latents);
}

static void warm_up_gives_the_same_bits(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    for (int m = 0; m < MODELS; m += MODELS - 1) { /* both topologies */
        struct sora_vae *vae = fixture_open(models[m], device);
        check_warm_up(vae);
        sora_vae_destroy(&vae);
    }
    sora_device_destroy(&device);
}

/* A stream decoded from its first latent, and a decoder to begin elsewhere. */
struct staged {
    struct sora_vae_decoder *decoder;
    int factor;
    int64_t latent, frame; /* elements */
    float *latents, *whole;
};

/* Begins at latent `first`, decodes latents own..count-1 and compares them with the whole. */
static void check_begin(const struct staged *staged, int first, int own, int count, bool equal)
{
    int64_t frame = staged->frame;
    int factor = staged->factor;
    float *frames = malloc((size_t)(factor * frame) * sizeof(float));
    assert_non_null(frames);
    struct sora_fault fault = {0};
    sora_vae_decoder_begin(staged->decoder, first, own);
    const float *expected =
        staged->whole + (own == 0 ? 0 : 1 + (int64_t)factor * (own - 1)) * frame;
    int different = 0;
    for (int i = first; i < count; i++) {
        int made = 77;
        if (sora_vae_decoder_next(staged->decoder, staged->latents + i * staged->latent, frames,
                                  NULL, &made, &fault))
            fail_msg("%s", fault.text);
        if (made != (i < own ? 0 : (i == 0 ? 1 : factor)))
            fail_msg("begin(%d,%d): latent %d gives %d frames", first, own, i, made);
        different += memcmp(frames, expected, (size_t)(made * frame) * sizeof(float)) != 0;
        expected += made * frame;
    }
    if (equal != (different == 0))
        fail_msg("begin(%d,%d) of %d latents: %d latents differ", first, own, count, different);
    free(frames);
}

static void check_staged(struct sora_vae *vae, int height, int width)
{
    const struct sora_vae_config *config = sora_vae_config(vae);
    int reach = sora_vae_decoder_warmup(config), count = reach + 8, factor = config->spatial_factor;
    struct staged staged = {.factor = config->temporal_factor,
                            .latent = (int64_t)config->channels * height * width,
                            .frame = (int64_t)factor * factor * height * width * 3};
    staged.latents = fixture_noise(11, count * staged.latent);
    staged.whole = fixture_decode(vae, height, width, staged.latents, count);
    struct sora_fault fault = {0};
    assert_int_equal(sora_vae_decoder_create(vae, height, width, &staged.decoder, &fault), 0);
    /* From the shot's first latent, whatever the number of own ones. */
    for (int own = 0; own <= 12; own++)
        check_begin(&staged, 0, own, own + 3, true);
    check_begin(&staged, 0, reach, reach + 2, true);
    check_begin(&staged, 0, reach + 5, reach + 7, true);
    /* From the middle with the context of the header, or more. */
    for (int first = 1; first <= 4; first++)
        check_begin(&staged, first, first + reach, count, true);
    check_begin(&staged, 1, reach + 5, count, true);
    /* Too little context is close at best, so the test can fail; and a decoder begins again. */
    check_begin(&staged, reach + 2, reach + 4, count, false);
    check_begin(&staged, 3, 3, 6, false);
    check_begin(&staged, 2, reach + 2, count, true);
    sora_vae_decoder_destroy(&staged.decoder);
    free(staged.whole);
    free(staged.latents);
}

static void staged_context_gives_the_same_bits(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    for (int m = 0; m < MODELS; m += MODELS - 1) { /* both topologies */
        struct sora_vae *vae = fixture_open(models[m], device);
        check_staged(vae, m ? 3 : 1, m ? 4 : 1);
        struct sora_vae_plan plan;
        assert_int_equal(sora_vae_decoder_plan(vae, 10, 16, &plan, NULL), 0);
        double cost = plan.flops_context / plan.flops_next;
        print_message("%s: the context costs %.2f latents\n", models[m], cost);
        assert_true(cost > 2 && cost < 7);
        sora_vae_destroy(&vae);
    }
    sora_device_destroy(&device);
}

/* ---- damage ---- */

static void numbers_that_are_not_finite(void **state)
{
    (void)state;
    struct sora_device *device = fixture_device(1, SORA_CPU_PATH_AUTO);
    struct sora_vae *vae = fixture_open("a_f32", device);
    struct sora_vae_decoder *decoder = NULL;
    struct sora_vae_encoder *encoder = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_vae_decoder_create(vae, 1, 1, &decoder, &fault), 0);
    assert_int_equal(sora_vae_encoder_create(vae, 8, 8, &encoder, &fault), 0);
    float latent[16] = {0}, frames[4 * 64 * 3] = {0};
    int count = 77;
    assert_int_equal(sora_vae_decoder_next(decoder, latent, frames, NULL, NULL, &fault), 0);
    latent[3] = NAN;
    assert_int_equal(sora_vae_decoder_next(decoder, latent, frames, NULL, &count, &fault),
                     SORA_E_NUMERIC);
    assert_non_null(strstr(fault.text, "VAE decoder: latent 1"));
    assert_int_equal(count, 77);
    fault = (struct sora_fault){0};
    latent[3] = 3e38f; /* finite, but too much on its way */
    assert_int_equal(sora_vae_decoder_next(decoder, latent, frames, NULL, &count, &fault),
                     SORA_E_NUMERIC);
    assert_non_null(strstr(fault.text, "VAE decoder"));
    fault = (struct sora_fault){0};
    memset(frames, 0, sizeof(frames));
    frames[5] = INFINITY;
    assert_int_equal(sora_vae_encoder_next(encoder, frames, latent, &fault), SORA_E_NUMERIC);
    assert_non_null(strstr(fault.text, "VAE encoder"));
    sora_vae_encoder_destroy(&encoder);
    sora_vae_decoder_destroy(&decoder);
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_values),
        cmocka_unit_test(odd_sizes_agree_with_plain),
        cmocka_unit_test(thread_count_changes_nothing),
        cmocka_unit_test(streams_are_independent),
        cmocka_unit_test(warm_up_gives_the_same_bits),
        cmocka_unit_test(staged_context_gives_the_same_bits),
        cmocka_unit_test(numbers_that_are_not_finite),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
