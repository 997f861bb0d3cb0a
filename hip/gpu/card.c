/*
 * Cards: names, limits and memory as the two drivers tell them.
 *
 * Attribute numbers differ between the drivers. AMD's architecture is in a struct of properties
 * whose layout depends on the release: the newer call is preferred, and the name has to begin with
 * "gfx" at its known place, else the other layout is tried.
 */
#include "hip/gpu/card.h"

#include "hip/gpu/sensors.h"

#include <stdio.h>
#include <string.h>

/* The numbers of hipDeviceAttribute_t (equal in ROCm 5, 6 and 7) and CUdevice_attribute. */
enum attribute {
    ATTRIBUTE_WAVE_SIZE,
    ATTRIBUTE_PROCESSORS,
    ATTRIBUTE_SHARED_BYTES,
    ATTRIBUTE_BLOCK_THREADS,
    ATTRIBUTE_COMPUTE_MAJOR,
    ATTRIBUTE_COMPUTE_MINOR,
    ATTRIBUTES,
};
static const int attribute_numbers[SORA_GPU_VENDORS][ATTRIBUTES] = {
    [SORA_GPU_AMD] = {87, 63, 74, 56, 0, 0},
    [SORA_GPU_NVIDIA] = {10, 16, 97, 1, 75, 76},
    [SORA_GPU_EMULATOR] = {87, 63, 74, 56, 0, 0},
};

/* hipDeviceProp_t: 792 bytes in ROCm 5, 1,472 from ROCm 6 on; room for what is to come. */
#define PROPERTIES_SIZE 4096
#define ARCH_OFFSET_R0600 1160
#define ARCH_OFFSET_R0500 396

static int attribute_read(const struct sora_gpu_runtime *runtime, int device, enum attribute which,
                          int *out_value, struct sora_fault *fault)
{
    int number = attribute_numbers[runtime->vendor][which];
    int status = runtime->calls.device_attribute(out_value, number, device);
    if (status)
        return sora_gpu_fault(runtime, "reading a limit of the card", status, fault);
    return 0;
}

static int nvidia_arch(const struct sora_gpu_runtime *runtime, int device,
                       struct sora_gpu_card *card, struct sora_fault *fault)
{
    int major = 0, minor = 0;
    int error = attribute_read(runtime, device, ATTRIBUTE_COMPUTE_MAJOR, &major, fault);
    if (!error)
        error = attribute_read(runtime, device, ATTRIBUTE_COMPUTE_MINOR, &minor, fault);
    if (!error)
        snprintf(card->arch, sizeof(card->arch), "sm_%d%d", major, minor);
    return error;
}

/* "gfx90a:sramecc+:xnack-" becomes "gfx90a": objects are built for either setting. */
static bool amd_arch_take(const char *text, struct sora_gpu_card *card)
{
    size_t length = strcspn(text, ":");
    if (strncmp(text, "gfx", 3) != 0 || length >= sizeof(card->arch))
        return false;
    snprintf(card->arch, sizeof(card->arch), "%.*s", (int)length, text);
    return true;
}

static int amd_arch(const struct sora_gpu_runtime *runtime, int index, struct sora_gpu_card *card,
                    struct sora_fault *fault)
{
    static const size_t offsets[] = {ARCH_OFFSET_R0600, ARCH_OFFSET_R0500};
    int (*const calls[])(void *, int) = {runtime->calls.hip_properties_r0600,
                                         runtime->calls.hip_properties_r0500};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        char properties[PROPERTIES_SIZE + 1] = {0};
        if (calls[i] && calls[i](properties, index) == SORA_GPU_STATUS_OK &&
            amd_arch_take(properties + offsets[i], card))
            return 0;
    }
    return sora_fault_set(fault, SORA_E_UNSUPPORTED,
                          "AMD: card %d (%.60s) does not tell its architecture to this release; "
                          "report the version of ROCm",
                          index, card->name);
}

/* An emulated card is called by its architecture. */
static int arch_read(const struct sora_gpu_runtime *runtime, int device, struct sora_gpu_card *card,
                     struct sora_fault *fault)
{
    if (runtime->vendor == SORA_GPU_NVIDIA)
        return nvidia_arch(runtime, device, card, fault);
    if (runtime->vendor == SORA_GPU_AMD)
        return amd_arch(runtime, card->index, card, fault);
    snprintf(card->arch, sizeof(card->arch), "%.31s", card->name);
    return 0;
}

static int limits_read(const struct sora_gpu_runtime *runtime, int device,
                       struct sora_gpu_card *card, struct sora_fault *fault)
{
    const struct {
        enum attribute which;
        int *value;
    } rows[] = {
        {ATTRIBUTE_WAVE_SIZE, &card->wave_size},
        {ATTRIBUTE_PROCESSORS, &card->processor_count},
        {ATTRIBUTE_SHARED_BYTES, &card->shared_bytes_max},
        {ATTRIBUTE_BLOCK_THREADS, &card->block_threads_max},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int error = attribute_read(runtime, device, rows[i].which, rows[i].value, fault);
        if (error)
            return error;
    }
    return 0;
}

static int memory_read(const struct sora_gpu_runtime *runtime, struct sora_gpu_card *card,
                       struct sora_fault *fault)
{
    void *context = NULL;
    int error = sora_gpu_card_enter(runtime, card->index, &context, fault);
    if (error)
        return error;
    size_t unused = 0, total = 0;
    int status = runtime->calls.memory_info(&unused, &total);
    sora_gpu_card_leave(runtime, card->index, context);
    if (status)
        return sora_gpu_fault(runtime, "asking for free memory", status, fault);
    card->memory_free = unused;
    card->memory_total = total;
    return 0;
}

int sora_gpu_card_enter(const struct sora_gpu_runtime *runtime, int index, void **out_context,
                        struct sora_fault *fault)
{
    const struct sora_gpu_calls *calls = &runtime->calls;
    void *context = NULL;
    int status = 0, device = 0;
    if (calls->hip_set_device)
        status = calls->hip_set_device(index);
    else
        status = calls->device_get(&device, index);
    if (!status && calls->cuda_context_retain)
        status = calls->cuda_context_retain(&context, device);
    if (!status && calls->cuda_context_use) {
        status = calls->cuda_context_use(context);
        if (status)
            calls->cuda_context_release(device);
    }
    if (status)
        return sora_gpu_fault(runtime, "starting the card", status, fault);
    *out_context = context;
    return 0;
}

void sora_gpu_card_leave(const struct sora_gpu_runtime *runtime, int index, void *context)
{
    const struct sora_gpu_calls *calls = &runtime->calls;
    int device = 0;
    if (!context || calls->device_get(&device, index))
        return;
    calls->cuda_context_use(NULL);
    calls->cuda_context_release(device);
}

int sora_gpu_card_read(const struct sora_gpu_runtime *runtime, int index,
                       struct sora_gpu_card *out_card, struct sora_fault *fault)
{
    const struct sora_gpu_calls *calls = &runtime->calls;
    if (index < 0 || index >= runtime->device_count)
        return sora_fault_set(fault, SORA_E_INVALID, "%s: card %d is outside 0..%d",
                              sora_gpu_vendor_name(runtime->vendor), index,
                              runtime->device_count - 1);
    struct sora_gpu_card card = {.vendor = runtime->vendor,
                                 .index = index,
                                 .driver_version = runtime->driver_version,
                                 .temperature_celsius = SORA_GPU_UNKNOWN,
                                 .busy_percent = SORA_GPU_UNKNOWN};
    int device = 0;
    int status = calls->device_get(&device, index);
    if (!status)
        status = calls->device_name(card.name, sizeof(card.name) - 1, device);
    if (status)
        return sora_gpu_fault(runtime, "describing the card", status, fault);
    if (calls->device_pci(card.pci, sizeof(card.pci) - 1, device))
        card.pci[0] = '\0';
    int error = limits_read(runtime, device, &card, fault);
    if (!error)
        error = arch_read(runtime, device, &card, fault);
    if (!error)
        error = memory_read(runtime, &card, fault);
    if (!error)
        *out_card = card;
    return error;
}

/* ---- all of them ---- */

static void absent(struct sora_gpu_cards *cards, enum sora_gpu_vendor vendor,
                   const struct sora_fault *fault)
{
    cards->absences[cards->absence_count++] =
        (struct sora_gpu_absence){.vendor = vendor, .fault = *fault};
}

static void vendor_find(enum sora_gpu_vendor vendor, const char *library,
                        struct sora_gpu_cards *cards)
{
    const struct sora_gpu_runtime_params params = {.vendor = vendor, .library = library};
    struct sora_gpu_runtime *runtime = NULL;
    struct sora_fault fault = {0};
    if (sora_gpu_runtime_create(&params, &runtime, &fault) == 0) {
        for (int i = 0; i < runtime->device_count && cards->count < SORA_GPU_CARDS_MAX; i++) {
            struct sora_gpu_card *card = &cards->cards[cards->count];
            if (sora_gpu_card_read(runtime, i, card, &fault))
                continue;
            sora_gpu_sensors_read(NULL, card);
            cards->count++;
        }
    }
    if (fault.code)
        absent(cards, vendor, &fault);
    sora_gpu_runtime_destroy(&runtime);
}

void sora_gpu_cards_find(const char *const libraries[SORA_GPU_VENDORS],
                         struct sora_gpu_cards *out_cards)
{
    *out_cards = (struct sora_gpu_cards){.count = 0};
    for (int vendor = SORA_GPU_AMD; vendor < SORA_GPU_EMULATOR; vendor++)
        vendor_find((enum sora_gpu_vendor)vendor, libraries ? libraries[vendor] : NULL, out_cards);
}

void sora_gpu_card_label(int position, char *out_label, size_t out_size)
{
    snprintf(out_label, out_size, "gpu%d", position);
}
