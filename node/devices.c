/*
 * `sora-worker devices`: the CPU and the cards of this machine, why a vendor has none, and with
 * --plan what a model takes on them.
 */
#include "node/commands.h"
#include "node/json_print.h"

#include "base/settings.h"
#include "hip/cpu/cpu.h"
#include "node/cards.h"
#include "node/device_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MEBIBYTE (1024.0 * 1024.0)
/* What a driver takes for itself on a card. */
#define DRIVER_BYTES ((uint64_t)512 << 20)

struct options {
    char *plan; /* in the help only: it takes three values */
    int precision, json, frames, help;
};

#define ROW(name, type, field, choices, unit, help)                                                \
    {                                                                                              \
        name, 0, type, offsetof(struct options, field), 0, 4096, choices, unit, help, true         \
    }
static const struct sora_setting option_rows[] = {
    ROW("plan", SORA_SETTING_STRING, plan, NULL, "MODEL SIZE FRAMES",
        "what a model takes on a card, for example: --plan models/wan 832x480 81"),
    ROW("precision", SORA_SETTING_CHOICE, precision, SORA_GPU_PRECISION_CHOICES, NULL,
        "of products on a card, for --plan; default bf16"),
    ROW("json", SORA_SETTING_FLAG, json, NULL, NULL, "print JSON"),
    ROW("frames", SORA_SETTING_FLAG, frames, NULL, NULL, "for sorad: the cards over descriptor 3"),
    ROW("help", SORA_SETTING_FLAG, help, NULL, NULL, "print this"),
};
const struct sora_settings_table sora_devices_options_table = {
    .usage = "sora-worker devices [--json] [--plan MODEL SIZE FRAMES]",
    .about = "Lists the devices of this machine: the CPU, cards of AMD and NVIDIA, and why there "
             "are none of a vendor.",
    .rows = option_rows,
    .row_count = sizeof(option_rows) / sizeof(option_rows[0]),
};

struct machine {
    struct sora_device_caps cpu;
    struct sora_gpu_cards cards;
};

/* ---- what is here ---- */

/* With SORA_GPU=emulator:KIND every card is the emulator's; one of them is listed. */
static int emulated_card(struct machine *machine, struct sora_fault *fault)
{
    struct sora_gpu_params params = {.index = 0};
    struct sora_device *device = NULL;
    int error = sora_gpu_name_resolve("gpu0", &params, fault);
    if (!error)
        error = sora_gpu_device_create(&params, &device, fault);
    if (error)
        return error;
    machine->cards = (struct sora_gpu_cards){.count = 1};
    machine->cards.cards[0] = *sora_gpu_device_card(device);
    sora_device_destroy(&device);
    return 0;
}

static int cards_read(struct machine *machine, struct sora_fault *fault)
{
    const char *emulator = getenv("SORA_GPU");
    if (emulator && *emulator)
        return emulated_card(machine, fault);
    sora_gpu_cards_find(NULL, &machine->cards);
    return 0;
}

static int machine_read(struct machine *machine, struct sora_fault *fault)
{
    struct sora_device *cpu = NULL;
    int error = sora_cpu_device_create(NULL, &cpu, fault);
    if (error)
        return error;
    sora_device_caps(cpu, &machine->cpu);
    sora_device_destroy(&cpu);
    return cards_read(machine, fault);
}

static void print_card(int position, const struct sora_gpu_card *card)
{
    char label[16];
    sora_gpu_card_label(position, label, sizeof(label));
    printf("%-6s %s, %s, %.0f of %.0f MiB free, %d processors", label, card->name, card->arch,
           (double)card->memory_free / MEBIBYTE, (double)card->memory_total / MEBIBYTE,
           card->processor_count);
    if (card->temperature_celsius != SORA_GPU_UNKNOWN)
        printf(", %d C", card->temperature_celsius);
    if (card->busy_percent != SORA_GPU_UNKNOWN)
        printf(", %d %% busy", card->busy_percent);
    printf("%s%s\n", card->pci[0] ? ", " : "", card->pci);
}

static void print_machine(const struct machine *machine)
{
    printf("cpu0   %s, %s, %.0f of %.0f MiB free\n", machine->cpu.name, machine->cpu.device_class,
           (double)machine->cpu.memory_free / MEBIBYTE,
           (double)machine->cpu.memory_total / MEBIBYTE);
    for (int i = 0; i < machine->cards.count; i++)
        print_card(i, &machine->cards.cards[i]);
    for (int i = 0; i < machine->cards.absence_count; i++)
        printf("no card: %s\n", machine->cards.absences[i].fault.text);
}

/* ---- JSON ---- */

static void json_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    sora_print_json_string(text);
    fputs(", ", stdout);
}

static void json_known(const char *name, int value)
{
    if (value == SORA_GPU_UNKNOWN)
        printf("\"%s\": null, ", name);
    else
        printf("\"%s\": %d, ", name, value);
}

static void json_card(int position, const struct sora_gpu_card *card)
{
    char label[16];
    sora_gpu_card_label(position, label, sizeof(label));
    fputs(", {", stdout);
    json_field("id", label);
    json_field("kind", "gpu");
    json_field("vendor", sora_gpu_vendor_name(card->vendor));
    json_field("name", card->name);
    json_field("arch", card->arch);
    json_field("pci", card->pci);
    json_known("temperature_celsius", card->temperature_celsius);
    json_known("busy_percent", card->busy_percent);
    printf("\"driver_version\": %d, \"wave_size\": %d, \"processors\": %d, "
           "\"block_threads_max\": %d, \"shared_bytes_max\": %d, \"memory_total\": %" PRIu64
           ", \"memory_free\": %" PRIu64 "}",
           card->driver_version, card->wave_size, card->processor_count, card->block_threads_max,
           card->shared_bytes_max, card->memory_total, card->memory_free);
}

static void json_machine(const struct machine *machine)
{
    fputs("\"devices\": [{", stdout);
    json_field("id", "cpu0");
    json_field("kind", "cpu");
    json_field("name", machine->cpu.name);
    json_field("device_class", machine->cpu.device_class);
    printf("\"threads\": %d, \"memory_total\": %" PRIu64 ", \"memory_free\": %" PRIu64 "}",
           machine->cpu.thread_count, machine->cpu.memory_total, machine->cpu.memory_free);
    for (int i = 0; i < machine->cards.count; i++)
        json_card(i, &machine->cards.cards[i]);
    fputs("], \"absent\": [", stdout);
    for (int i = 0; i < machine->cards.absence_count; i++) {
        const struct sora_gpu_absence *absence = &machine->cards.absences[i];
        fputs(i ? ", {" : "{", stdout);
        json_field("vendor", sora_gpu_vendor_name(absence->vendor));
        printf("\"reason\": ");
        sora_print_json_string(absence->fault.text);
        putchar('}');
    }
    putchar(']');
}

/* ---- the plan ---- */

struct plan_row {
    const char *key, *text;
    uint64_t bytes;
};
#define PLAN_ROWS 16

static void plan_rows(const struct sora_device_plan *plan, struct plan_row rows[PLAN_ROWS])
{
    const struct plan_row all[PLAN_ROWS] = {
        {"transformer", "transformer weights", plan->transformer},
        {"contexts", "keys and values of the texts", plan->contexts},
        {"latent_state", "latents and the solver's state", plan->latent_state},
        {"activations", "activations of one window", plan->activations},
        {"scratch", "rounded operands, products", plan->scratch},
        {"sampling_peak", "= sampling", plan->sampling_peak},
        {"vae", "VAE weights", plan->vae},
        {"decoding", "a decoder", plan->decoding},
        {"decoding_min", "a decoder, frame by frame", plan->decoding_min},
        {"decoding_peak", "= decoding", plan->decoding_peak},
        {"decoding_peak_min", "= decoding, frame by frame", plan->decoding_peak_min},
        {"text_encoder", "text encoder weights", plan->text_encoder},
        {"text_block", "one block of it", plan->text_block},
        {"text_activations", "activations of a text", plan->text_activations},
        {"text_peak", "= texts", plan->text_peak},
        {"text_peak_min", "= texts, block by block", plan->text_peak_min},
    };
    memcpy(rows, all, sizeof(all));
}

static const char *plan_verdict(const struct sora_device_plan *plan, uint64_t memory_free)
{
    uint64_t room = memory_free > DRIVER_BYTES ? memory_free - DRIVER_BYTES : 0;
    bool texts = plan->text_peak <= room, decoding = plan->decoding_peak <= room;
    if (sora_device_plan_needed(plan) > room)
        return "does not fit";
    if (texts && decoding)
        return "fits";
    return texts      ? "fits, decoding frame by frame"
           : decoding ? "fits, texts block by block"
                      : "fits, texts block by block, decoding frame by frame";
}

static void print_plan(const struct sora_device_plan_ask *ask, const struct sora_device_plan *plan,
                       const struct machine *machine)
{
    struct plan_row rows[PLAN_ROWS];
    uint64_t needed = sora_device_plan_needed(plan) + DRIVER_BYTES;
    plan_rows(plan, rows);
    printf("\n%s, %dx%d, %d frames: %d latents, %d in one window\n", plan->model, ask->width,
           ask->height, ask->frames, plan->latents, plan->window_latents);
    for (int i = 0; i < PLAN_ROWS; i++)
        printf("  %-30s %9.0f MiB\n", rows[i].text, (double)rows[i].bytes / MEBIBYTE);
    printf("  %-30s %9.0f MiB, with %.0f for the driver\n", "a card needs",
           (double)needed / MEBIBYTE, (double)DRIVER_BYTES / MEBIBYTE);
    for (int i = 0; i < machine->cards.count; i++) {
        const struct sora_gpu_card *card = &machine->cards.cards[i];
        printf("gpu%d   %s: %s\n", i, card->name, plan_verdict(plan, card->memory_free));
    }
}

static void json_plan(const struct sora_device_plan *plan, const struct machine *machine)
{
    struct plan_row rows[PLAN_ROWS];
    uint64_t needed = sora_device_plan_needed(plan) + DRIVER_BYTES;
    plan_rows(plan, rows);
    fputs(", \"plan\": {", stdout);
    json_field("model", plan->model);
    printf("\"latents\": %d, \"window_latents\": %d, ", plan->latents, plan->window_latents);
    for (int i = 0; i < PLAN_ROWS; i++)
        printf("\"%s\": %" PRIu64 ", ", rows[i].key, rows[i].bytes);
    printf("\"needed\": %" PRIu64 ", \"fits\": [", needed);
    for (int i = 0, first = 1; i < machine->cards.count; i++) {
        if (needed <= machine->cards.cards[i].memory_free) {
            printf("%s\"gpu%d\"", first ? "" : ", ", i);
            first = 0;
        }
    }
    fputs("]}", stdout);
}

/* ---- for the daemon ---- */

static int send_cards(struct machine *machine, struct sora_fault *fault)
{
    struct sora_cards list = {.count = 0};
    int error = cards_read(machine, fault);
    if (error)
        sora_fault_set(&machine->cards.absences[machine->cards.absence_count++].fault, error, "%s",
                       fault->text);
    for (int i = 0; i < machine->cards.count && i < SORA_CARDS_MAX; i++) {
        const struct sora_gpu_card *card = &machine->cards.cards[i];
        struct sora_card_found *found = &list.items[list.count++];
        sora_gpu_card_label(i, found->id, sizeof(found->id));
        snprintf(found->name, sizeof(found->name), "%s", card->name);
        snprintf(found->pci, sizeof(found->pci), "%s", card->pci);
        found->memory_total = card->memory_total;
    }
    for (int i = 0; i < machine->cards.absence_count; i++) {
        size_t length = strlen(list.absent);
        snprintf(list.absent + length, sizeof(list.absent) - length, "%s%.200s", i ? "; " : "",
                 machine->cards.absences[i].fault.text);
    }
    return sora_cards_send(&list, fault);
}

/* ---- the command ---- */

/* Takes `--plan MODEL SIZE FRAMES` out of argv. */
static int take_plan(int *argc, char **argv, struct sora_device_plan_ask *ask,
                     struct sora_fault *fault)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--plan") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        char end;
        if (i + 3 >= *argc ||
            sscanf(argv[i + 2], "%5dx%5d%c", &ask->width, &ask->height, &end) != 2 ||
            sscanf(argv[i + 3], "%7d%c", &ask->frames, &end) != 1)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "--plan: needs MODEL SIZE FRAMES, for example: --plan models/wan "
                                  "832x480 81");
        ask->model = argv[i + 1];
        i += 3;
    }
    *argc = kept;
    return 0;
}

static int run(const struct options *options, struct sora_device_plan_ask *ask,
               struct sora_fault *fault)
{
    static struct machine machine; /* 10 KB */
    struct sora_device_plan plan;
    ask->precision =
        options->precision > 0 ? (enum sora_gpu_precision)options->precision : SORA_GPU_BF16;
    if (options->frames)
        return send_cards(&machine, fault);
    int error = ask->model ? sora_device_plan_make(ask, &plan, fault) : 0;
    if (!error)
        error = machine_read(&machine, fault);
    if (error)
        return error;
    if (options->json) {
        putchar('{');
        json_machine(&machine);
        if (ask->model)
            json_plan(&plan, &machine);
        puts("}");
        return 0;
    }
    print_machine(&machine);
    if (ask->model)
        print_plan(ask, &plan, &machine);
    return 0;
}

int sora_command_devices(int argc, char **argv)
{
    struct options options;
    struct sora_device_plan_ask ask = {.model = NULL};
    struct sora_fault fault = {0};
    sora_settings_init(&sora_devices_options_table, &options);
    int error = take_plan(&argc, argv, &ask, &fault);
    if (!error)
        error = sora_settings_parse_arguments(&sora_devices_options_table, argc, argv, &options,
                                              &fault);
    if (!error && options.help)
        sora_settings_print_help(&sora_devices_options_table, stdout);
    else if (!error)
        error = run(&options, &ask, &fault);
    if (error)
        fprintf(stderr, "sora-worker devices: %s\n", fault.text);
    sora_settings_fini(&sora_devices_options_table, &options);
    return sora_error_exit_status(error);
}
