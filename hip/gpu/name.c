/* Names of cards: "gpu0", and the switch to the emulator. */
#include "hip/gpu/emulated.h"
#include "hip/gpu/gpu.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWITCH "SORA_GPU"
#define SWITCH_EMULATOR "emulator:"
#define ARCH_PREFIX "emulated-"

static int name_position(const char *name)
{
    if (strncmp(name, "gpu", 3) != 0 || !isdigit((unsigned char)name[3]))
        return -1;
    char *end;
    long position = strtol(name + 3, &end, 10);
    return *end || position >= SORA_GPU_CARDS_MAX ? -1 : (int)position;
}

bool sora_gpu_name_is(const char *name)
{
    return name_position(name) >= 0;
}

/* One of ":lost=300", ":memory=24", ":others=FILE" as the last; returns what follows, NULL for
 * anything else. */
static const char *take_option(const char *text, struct sora_emulated_controls *controls)
{
    static const char *const names[] = {":lost=", ":memory="};
    static const char others[] = ":others=";
    if (strncmp(text, others, strlen(others)) == 0) {
        snprintf(controls->others, sizeof(controls->others), "%s", text + strlen(others));
        return text + strlen(text);
    }
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(text, names[i], length) != 0 || !isdigit((unsigned char)text[length]))
            continue;
        char *end;
        long value = strtol(text + length, &end, 10);
        if (value < 1 || value > INT32_MAX || (*end && *end != ':'))
            return NULL;
        if (i == 0)
            controls->lost_at = value;
        else
            controls->memory_total = (uint64_t)value << 20;
        return end;
    }
    return NULL;
}

/* "nvidia:lost=300:memory=24": that card has 24 MiB and is lost at its 300th copy or launch, in
 * every process. What other programs hold of it is in a file, in MiB, for tests. */
static int take_faults(const char *text, char *out_kind, size_t size, struct sora_fault *fault)
{
    struct sora_emulated_controls controls = {.seed = 0};
    size_t length = strcspn(text, ":");
    snprintf(out_kind, size, "%.*s", (int)(length < 40 ? length : 40), text);
    if (!text[length])
        return 0;
    for (const char *at = text + length; *at;) {
        at = take_option(at, &controls);
        if (!at)
            return sora_fault_set(
                fault, SORA_E_INVALID,
                SWITCH "=" SWITCH_EMULATOR
                       "%.60s: after the kind may stand :lost=N, :memory=MIB and :others=FILE",
                text);
    }
    sora_emulated_set(&controls);
    return 0;
}

static int emulator_switch(const char *text, struct sora_gpu_params *params,
                           struct sora_fault *fault)
{
    char kind[41];
    int error = take_faults(text, kind, sizeof(kind), fault);
    return error ? error : sora_gpu_emulator_resolve(kind, params, fault);
}

int sora_gpu_emulator_resolve(const char *kind, struct sora_gpu_params *params,
                              struct sora_fault *fault)
{
    char arch[64], kinds[200] = "";
    snprintf(arch, sizeof(arch), ARCH_PREFIX "%.40s", kind);
    int index = sora_emulated_index(arch);
    if (index >= 0) {
        params->vendor = SORA_GPU_EMULATOR;
        params->index = index;
        return 0;
    }
    for (int i = 0; i < SORA_EMULATOR_MODULES; i++) {
        const char *known = sora_emulator_module_get(i)->arch + strlen(ARCH_PREFIX);
        size_t length = strlen(kinds);
        snprintf(kinds + length, sizeof(kinds) - length, "%s%s", i ? ", " : "", known);
    }
    return sora_fault_set(fault, SORA_E_INVALID, "the emulator has no kind '%.40s'; it has %s",
                          kind, kinds);
}

static int absent_fault(const struct sora_gpu_cards *cards, const char *name,
                        struct sora_fault *fault)
{
    char reasons[400] = "";
    for (int i = 0; i < cards->absence_count; i++) {
        size_t length = strlen(reasons);
        snprintf(reasons + length, sizeof(reasons) - length, "; %.180s",
                 cards->absences[i].fault.text);
    }
    return sora_fault_set(fault, SORA_E_NOT_FOUND, "there is no %.16s: %d cards found%s", name,
                          cards->count, reasons);
}

int sora_gpu_name_resolve(const char *name, struct sora_gpu_params *params,
                          struct sora_fault *fault)
{
    const char *given = getenv(SWITCH);
    int position = name_position(name);
    if (position < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "'%.32s' is no card; cards are gpu0 to gpu%d",
                              name, SORA_GPU_CARDS_MAX - 1);
    if (given && strncmp(given, SWITCH_EMULATOR, strlen(SWITCH_EMULATOR)) == 0)
        return emulator_switch(given + strlen(SWITCH_EMULATOR), params, fault);
    if (given && *given)
        return sora_fault_set(fault, SORA_E_INVALID,
                              SWITCH "=%.60s is unknown; it may be " SWITCH_EMULATOR "KIND", given);
    struct sora_gpu_cards *cards = calloc(1, sizeof(*cards));
    if (!cards)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for the list of cards");
    sora_gpu_cards_find(NULL, cards);
    int error = 0;
    if (position < cards->count) {
        params->vendor = cards->cards[position].vendor;
        params->index = cards->cards[position].index;
    } else {
        error = absent_fault(cards, name, fault);
    }
    free(cards);
    return error;
}
