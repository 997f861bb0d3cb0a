/*
 * `sora-worker selftest`: every operation on the cards of this machine against the plain CPU
 * (hip/selftest.h), as a table and as one line of JSON that an owner can send back.
 */
#include "node/commands.h"

#include "base/clock.h"
#include "base/settings.h"
#include "hip/gpu/gpu.h"
#include "hip/selftest.h"

#include <stdlib.h>
#include <string.h>

#define TARGETS_MAX (SORA_GPU_CARDS_MAX * 3)

struct options {
    char *device, *emulator;
    int precision, json, help;
};

#define ROW(name, type, field, choices, unit, help)                                                \
    {                                                                                              \
        name, 0, type, offsetof(struct options, field), 1, 32, choices, unit, help, true           \
    }
static const struct sora_setting option_rows[] = {
    ROW("device", SORA_SETTING_STRING, device, NULL, "NAME", "one card, gpu0; default all"),
    ROW("emulator", SORA_SETTING_STRING, emulator, NULL, "KIND",
        "the emulator instead of a card: nvidia, cdna, rdna3, rdna4, simt32 or simt64"),
    ROW("precision", SORA_SETTING_CHOICE, precision, "bf16|f16|f32", NULL,
        "of products; default bf16, then f32"),
    ROW("json", SORA_SETTING_FLAG, json, NULL, NULL, "print JSON alone"),
    ROW("help", SORA_SETTING_FLAG, help, NULL, NULL, "print this"),
};
const struct sora_settings_table sora_selftest_options_table = {
    .usage = "sora-worker selftest [--device NAME | --emulator KIND] [--json]",
    .about = "Runs every operation on the cards of this machine and compares with the CPU. Takes "
             "less than two minutes; please send the last line back for cards that README.md does "
             "not list as tried.",
    .rows = option_rows,
    .row_count = sizeof(option_rows) / sizeof(option_rows[0]),
};

struct target {
    struct sora_gpu_params params;
    struct sora_gpu_card card; /* once open */
    char device_class[64];
    struct sora_selftest_row rows[SORA_SELFTEST_ROWS_MAX];
    int row_count, failed;
    double seconds;
    struct sora_fault fault; /* why it could not be tested */
};

struct test {
    struct target targets[TARGETS_MAX];
    int count;
};

/* ---- which ---- */

static void target_add(struct test *test, const struct sora_gpu_params *params, int precision)
{
    static const int both[] = {SORA_GPU_BF16, SORA_GPU_F32};
    for (int i = 0; i < (precision < 0 ? 2 : 1) && test->count < TARGETS_MAX; i++) {
        struct target *target = &test->targets[test->count++];
        target->params = *params;
        target->params.precision = (enum sora_gpu_precision)(precision < 0 ? both[i] : precision);
    }
}

static int all_cards(struct test *test, int precision, struct sora_fault *fault)
{
    struct sora_gpu_params params = {.index = 0};
    int found = 0;
    for (int i = 0; i < SORA_GPU_CARDS_MAX; i++) {
        char label[16];
        struct sora_fault absent = {0};
        sora_gpu_card_label(i, label, sizeof(label));
        int error = sora_gpu_name_resolve(label, &params, &absent);
        if (error && found == 0)
            return sora_fault_set(fault, error, "%s; to run on the emulator: --emulator nvidia",
                                  absent.text);
        if (error || (i && params.vendor == SORA_GPU_EMULATOR)) /* which every name means */
            break;
        target_add(test, &params, precision);
        found++;
    }
    return 0;
}

static int targets_find(const struct options *options, struct test *test, struct sora_fault *fault)
{
    struct sora_gpu_params params = {.index = 0};
    if (!options->device && !options->emulator)
        return all_cards(test, options->precision, fault);
    int error = options->emulator ? sora_gpu_emulator_resolve(options->emulator, &params, fault)
                                  : sora_gpu_name_resolve(options->device, &params, fault);
    if (!error)
        target_add(test, &params, options->precision);
    return error;
}

/* ---- running ---- */

static void target_run(struct target *target)
{
    struct sora_device *device = NULL;
    struct sora_device_caps caps;
    sora_time begin = sora_clock_now();
    int error = sora_gpu_device_create(&target->params, &device, &target->fault);
    if (error)
        return;
    sora_device_caps(device, &caps);
    target->card = *sora_gpu_device_card(device);
    snprintf(target->device_class, sizeof(target->device_class), "%s", caps.device_class);
    const struct sora_selftest_params params = {device, target->params.precision == SORA_GPU_F32};
    error = sora_selftest_run(&params, target->rows, &target->row_count);
    if (error)
        sora_fault_set(&target->fault, error, "the test ended early: %s", sora_error_text(error));
    for (int i = 0; i < target->row_count; i++)
        target->failed += target->rows[i].failed;
    sora_device_destroy(&device);
    target->seconds = (double)(sora_clock_now() - begin) / (double)SORA_TIME_SECOND;
}

/* ---- printing ---- */

static void print_target(const struct target *target)
{
    printf("%s (%s)\n", target->card.name[0] ? target->card.name : "card", target->device_class);
    for (int i = 0; i < target->row_count; i++) {
        const struct sora_selftest_row *row = &target->rows[i];
        printf("  %-12s %3d cases  error %8.1e  allowed %8.1e  %8.1f ms  %s%s%s\n", row->operation,
               row->cases, row->error, row->tolerance, row->device_ms,
               row->failed ? "FAILED" : "ok", row->failed ? ": " : "", row->message);
    }
    if (target->fault.code)
        printf("  not tested: %s\n", target->fault.text);
}

/* Texts from drivers and compilers lose what JSON would have to escape. */
static void json_text(const char *name, const char *text)
{
    printf("\"%s\": \"", name);
    for (; *text; text++)
        putchar(*text < 0x20 || *text > 0x7e || *text == '"' || *text == '\\' ? '?' : *text);
    fputs("\", ", stdout);
}

static void json_target(const struct target *target)
{
    putchar('{');
    json_text("card", target->card.name);
    json_text("arch", target->card.arch);
    json_text("class", target->device_class);
    json_text("fault", target->fault.text);
    printf("\"driver\": %d, \"seconds\": %.1f, \"failed\": %d, \"operations\": [",
           target->card.driver_version, target->seconds, target->failed);
    for (int i = 0; i < target->row_count; i++) {
        const struct sora_selftest_row *row = &target->rows[i];
        fputs(i ? ", {" : "{", stdout);
        json_text("name", row->operation);
        json_text("message", row->message);
        printf("\"cases\": %d, \"failed\": %d, \"error\": %.3g, \"ms\": %.2f}", row->cases,
               row->failed, row->error < 1e30 ? row->error : 1e30, row->device_ms);
    }
    fputs("]}", stdout);
}

static int report(const struct test *test, const struct options *options, struct sora_fault *fault)
{
    int failed = 0;
    for (int i = 0; i < test->count; i++) {
        if (!options->json)
            print_target(&test->targets[i]);
        failed += test->targets[i].failed + (test->targets[i].fault.code != 0);
    }
    printf("{\"sora_selftest\": 1, \"version\": \"" SORA_VERSION "\", \"targets\": [");
    for (int i = 0; i < test->count; i++) {
        fputs(i ? ", " : "", stdout);
        json_target(&test->targets[i]);
    }
    puts("]}");
    return failed ? sora_fault_set(fault, SORA_E_DEVICE, "%d failures; such a card must not render",
                                   failed)
                  : 0;
}

static int run(const struct options *options, struct sora_fault *fault)
{
    struct test *test = calloc(1, sizeof(*test));
    if (!test)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the test");
    int error = targets_find(options, test, fault);
    for (int i = 0; i < test->count && !error; i++)
        target_run(&test->targets[i]);
    if (!error)
        error = report(test, options, fault);
    free(test);
    return error;
}

int sora_command_selftest(int argc, char **argv)
{
    struct options options;
    struct sora_fault fault = {0};
    sora_settings_init(&sora_selftest_options_table, &options);
    int error =
        sora_settings_parse_arguments(&sora_selftest_options_table, argc, argv, &options, &fault);
    if (!error && options.help)
        sora_settings_print_help(&sora_selftest_options_table, stdout);
    else if (!error)
        error = run(&options, &fault);
    if (error)
        fprintf(stderr, "sora-worker selftest: %s\n", fault.text);
    sora_settings_fini(&sora_selftest_options_table, &options);
    return sora_error_exit_status(error);
}
