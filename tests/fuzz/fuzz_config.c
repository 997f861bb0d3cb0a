/* Model configs: whatever parses, every kind of read of a few keys keeps to its range. */
#include "model/config.h"

#include "tests/fuzz/fuzz.h"

static void read_key(const struct sora_config *config, const char *key)
{
    int64_t integer = 0, integers[4];
    double number = 0, numbers[4];
    int count = 0;
    bool flag = false;
    const char *text = NULL;
    const struct sora_config_int int_spec = {key, 3, -5, 5};
    if (!sora_config_get_int(config, &int_spec, &integer, NULL))
        SORA_ASSERT(integer >= -5 && integer <= 5);
    const struct sora_config_number number_spec = {key, 0.5, 0, 1};
    if (!sora_config_get_number(config, &number_spec, &number, NULL))
        SORA_ASSERT(number >= 0 && number <= 1);
    sora_config_get_bool(config, key, true, &flag, NULL);
    if (!sora_config_get_string(config, key, "none", &text, NULL))
        SORA_ASSERT(text);
    if (!sora_config_get_ints(config, key, 4, integers, &count, NULL))
        SORA_ASSERT(count >= 0 && count <= 4);
    if (!sora_config_get_numbers(config, key, 4, numbers, &count, NULL))
        SORA_ASSERT(count >= 0 && count <= 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sora_config *config = NULL;
    struct sora_fault fault = {0};
    int rc = sora_config_parse((const char *)data, size, "fuzz", &config, &fault);
    if (rc) {
        SORA_ASSERT(fault.code == rc && !config);
        return 0;
    }
    static const char *const keys[] = {"a", "dim_mult", "eps", "architectures"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        read_key(config, keys[i]);
    sora_config_require_class(config, "vae", "AutoencoderKLWan", NULL);
    sora_config_destroy(&config);
    return 0;
}
