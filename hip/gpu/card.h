/*
 * Cards: what a driver says about each, and why a vendor has none.
 *
 * A `struct sora_gpu_card` is a value. Finding cards starts each vendor's driver in this process
 * and, to ask for free memory, a context per card (some hundred MB of card memory for the moment),
 * so a daemon lets a child do it (`sora-worker devices`). Any thread; blocks for up to seconds.
 */
#ifndef SORA_HIP_GPU_CARD_H
#define SORA_HIP_GPU_CARD_H

#include "hip/gpu/runtime.h"

#define SORA_GPU_CARDS_MAX 16
#define SORA_GPU_UNKNOWN (-1)

struct sora_gpu_card {
    enum sora_gpu_vendor vendor;
    int index;                          /* of the vendor's driver */
    char name[96];                      /* "NVIDIA H100 80GB HBM3" */
    char arch[32];                      /* "sm_90", "gfx1100" */
    char pci[24];                       /* "0000:41:00.0"; empty when unknown */
    uint64_t memory_total, memory_free; /* bytes */
    int wave_size;                      /* threads that run in step: 32 or 64 */
    int processor_count;
    int block_threads_max;
    int shared_bytes_max;    /* per block, when a kernel asks for all */
    int driver_version;      /* as in struct sora_gpu_runtime */
    int temperature_celsius; /* or SORA_GPU_UNKNOWN */
    int busy_percent;        /* or SORA_GPU_UNKNOWN */
};

/* Describes card `index`; sensors are left unknown. Errors: INVALID (no such index), DEVICE,
 * UNSUPPORTED (a card without a name of an architecture). */
int sora_gpu_card_read(const struct sora_gpu_runtime *runtime, int index,
                       struct sora_gpu_card *out_card, struct sora_fault *fault);

/* Makes the card current for this thread: HIP by its number, CUDA by its primary context, which is
 * returned (NULL for HIP) and released by sora_gpu_card_leave. Errors: MEMORY, DEVICE. */
int sora_gpu_card_enter(const struct sora_gpu_runtime *runtime, int index, void **out_context,
                        struct sora_fault *fault);
void sora_gpu_card_leave(const struct sora_gpu_runtime *runtime, int index, void *context);

struct sora_gpu_absence {
    enum sora_gpu_vendor vendor;
    struct sora_fault fault; /* why no card of the vendor is used */
};

struct sora_gpu_cards {
    struct sora_gpu_card cards[SORA_GPU_CARDS_MAX];
    int count;
    struct sora_gpu_absence absences[SORA_GPU_VENDORS];
    int absence_count;
};

/* All cards of AMD and NVIDIA with sensors, in this order, at most SORA_GPU_CARDS_MAX. A card that
 * cannot be described counts as an absence of its vendor. `libraries` are for tests: the driver
 * per vendor instead of the usual one; NULL otherwise. Never fails: no card is a result. */
void sora_gpu_cards_find(const char *const libraries[SORA_GPU_VENDORS],
                         struct sora_gpu_cards *out_cards);

/* "gpu0", "gpu1": the name of the card at `position` of the list, as options and adverts use it. */
void sora_gpu_card_label(int position, char *out_label, size_t out_size);

#endif
