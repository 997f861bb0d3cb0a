/* Model manifests: there and back, the same bytes for the same model, and what is refused. */
#include "node/model_facts.h"
#include "proto/model_manifest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sora_bundle bundle;
static struct sora_model_facts facts;

static const struct sora_model_file files[] = {
    {"vae/config.json", {1}, 700},
    {"model_index.json", {2}, 300},
    {"transformer/diffusion_pytorch_model.safetensors", {3}, 9000000000},
};

static int open_mini(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    return sora_bundle_open(SORA_SOURCE_DIR "/models/mini", &bundle, &fault) ||
           sora_model_facts_read(&bundle, &facts, &fault);
}

static int close_mini(void **state)
{
    (void)state;
    sora_bundle_fini(&bundle);
    return 0;
}

static void pack_good(struct sora_bytes *bytes)
{
    struct sora_fault fault = {0};
    sora_bytes_init(bytes, 1 << 20);
    if (sora_model_manifest_pack("mini", &facts, files, 3, bytes, &fault))
        fail_msg("%s", fault.text);
}

static void facts_go_there_and_back(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    struct sora_message *message = NULL;
    struct sora_model_facts found;
    struct sora_fault fault = {0};
    pack_good(&bytes);
    if (sora_model_manifest_unpack(bytes.data, bytes.size, &message, &found, &fault))
        fail_msg("%s", fault.text);
    assert_string_equal(found.name, "mini");
    assert_string_equal(found.knows, facts.knows);
    assert_string_equal(found.words, facts.words);
    assert_string_equal(found.negative, facts.negative);
    assert_int_equal(found.weight_bytes, 9000001000);
    struct sora_model_facts expected = facts;
    expected.weight_bytes = found.weight_bytes;
    expected.name = found.name;
    expected.negative = found.negative;
    expected.knows = found.knows;
    expected.words = found.words;
    const double numbers[][2] = {{found.fps, expected.fps},
                                 {found.guidance, expected.guidance},
                                 {found.shift, expected.shift},
                                 {found.noise_share, expected.noise_share}};
    for (int i = 0; i < 4; i++)
        assert_memory_equal(&numbers[i][0], &numbers[i][1], sizeof(double));
#define SAME(field) assert_int_equal(found.field, expected.field)
    SAME(window);
    SAME(overlap);
    SAME(channels);
    SAME(temporal_factor);
    SAME(spatial_factor);
    SAME(multiple_width);
    SAME(multiple_height);
    SAME(width);
    SAME(height);
    SAME(steps);
    SAME(solver);
    SAME(context_latents);
    SAME(hidden);
    SAME(ffn);
    SAME(layers);
    SAME(decode_pixel_bytes);
#undef SAME
    const Farm__ModelManifest *manifest = (const Farm__ModelManifest *)message->any;
    assert_int_equal(manifest->n_files, 3);
    assert_string_equal(manifest->files[0]->path, "model_index.json");
    assert_int_equal(manifest->files[0]->digest.data[0], 2);
    assert_string_equal(manifest->files[2]->path, "vae/config.json");
    sora_message_destroy(&message);
    sora_bytes_fini(&bytes);
}

static void the_order_of_files_changes_nothing(void **state)
{
    (void)state;
    struct sora_bytes one, two;
    const struct sora_model_file other[] = {files[2], files[0], files[1]};
    pack_good(&one);
    sora_bytes_init(&two, 1 << 20);
    assert_int_equal(sora_bytes_append(&two, "head", 4), 0);
    assert_int_equal(sora_model_manifest_pack("mini", &facts, other, 3, &two, NULL), 0);
    assert_int_equal(two.size, one.size + 4);
    assert_memory_equal(two.data + 4, one.data, one.size);
    sora_bytes_fini(&one);
    sora_bytes_fini(&two);
}

static void bad_models_are_not_packed(void **state)
{
    (void)state;
    struct sora_model_facts wild = facts, noisy = facts, odd = facts;
    wild.overlap = wild.window - 1;
    noisy.fps = NAN;
    odd.knows = "a\nb";
    const struct sora_model_file twice[] = {files[0], files[0]};
    const struct sora_model_file outside[] = {{"vae/../../etc/passwd", {1}, 1}};
    const struct sora_model_file huge[] = {{"a", {1}, UINT64_MAX}};
    const struct {
        const char *name;
        const struct sora_model_facts *facts;
        const struct sora_model_file *files;
        size_t count;
        int code;
        const char *part;
    } cases[] = {
        {"mini", &wild, files, 3, SORA_E_LIMIT, "overlap"},
        {"mini", &noisy, files, 3, SORA_E_LIMIT, "fps"},
        {"mini", &odd, files, 3, SORA_E_FORMAT, "knows"},
        {"", &facts, files, 3, SORA_E_FORMAT, "name"},
        {"mini", &facts, twice, 2, SORA_E_FORMAT, "vae/config.json"},
        {"mini", &facts, outside, 1, SORA_E_FORMAT, "etc/passwd"},
        {"mini", &facts, huge, 1, SORA_E_LIMIT, "larger"},
        {"mini", &facts, files, 0, SORA_E_FORMAT, "no files"},
        {"mini", &facts, files, SORA_MODEL_FILES_MAX + 1, SORA_E_LIMIT, "1025"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_bytes bytes;
        struct sora_fault fault = {0};
        sora_bytes_init(&bytes, 1 << 20);
        int code = sora_model_manifest_pack(cases[i].name, cases[i].facts, cases[i].files,
                                            cases[i].count, &bytes, &fault);
        if (code != cases[i].code || !strstr(fault.text, cases[i].part) || bytes.size != 0)
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
        sora_bytes_fini(&bytes);
    }
    struct sora_bytes small;
    sora_bytes_init(&small, 10);
    assert_int_equal(sora_model_manifest_pack("mini", &facts, files, 3, &small, NULL), SORA_E_FULL);
    sora_bytes_fini(&small);
}

/* Every cut, and every byte changed in turn: refused or lawful facts, never anything else. */
static void malformed_blobs_are_refused(void **state)
{
    (void)state;
    struct sora_bytes bytes;
    pack_good(&bytes);
    int refused = 0;
    for (size_t i = 0; i < 2 * bytes.size; i++) {
        struct sora_message *message = NULL;
        struct sora_model_facts found;
        struct sora_fault fault = {0};
        unsigned char *copy = malloc(bytes.size);
        assert_non_null(copy);
        memcpy(copy, bytes.data, bytes.size);
        size_t size = i < bytes.size ? i : bytes.size;
        if (i >= bytes.size)
            copy[i - bytes.size] ^= (unsigned char)(1u << (i % 8));
        int code = sora_model_manifest_unpack(copy, size, &message, &found, &fault);
        assert_true(code == 0 || code == SORA_E_FORMAT || code == SORA_E_LIMIT);
        if (code == 0)
            assert_int_equal(sora_model_facts_check(&found, NULL), 0);
        else
            assert_true(fault.text[0] != '\0');
        assert_true((code == 0) == (message != NULL));
        refused += code != 0;
        sora_message_destroy(&message);
        free(copy);
    }
    assert_true(refused > 100);
    sora_bytes_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_go_there_and_back),
        cmocka_unit_test(the_order_of_files_changes_nothing),
        cmocka_unit_test(bad_models_are_not_packed),
        cmocka_unit_test(malformed_blobs_are_refused),
    };
    return cmocka_run_group_tests(tests, open_mini, close_mini);
}
