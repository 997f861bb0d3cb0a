/*
 * Sensors: two libraries behind one table of two rows; a card is found in each by its PCI address.
 */
#include "hip/gpu/sensors.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* ---- NVIDIA: nvml.h of the driver ---- */

#define NVML_TEMPERATURE_GPU 0

struct nvml_load {
    unsigned busy_percent, memory_percent;
};

struct nvml {
    int (*init)(void);
    int (*find)(const char *pci, void **device);
    int (*temperature)(void *device, int sensor, unsigned *celsius);
    int (*load)(void *device, struct nvml_load *load);
};

static void nvml_read(const void *table, struct sora_gpu_card *card)
{
    struct nvml nvml;
    memcpy(&nvml, table, sizeof(nvml));
    void *device = NULL;
    unsigned celsius = 0;
    struct nvml_load load = {0};
    if (nvml.find(card->pci, &device))
        return;
    if (nvml.temperature(device, NVML_TEMPERATURE_GPU, &celsius) == 0)
        card->temperature_celsius = (int)celsius;
    if (nvml.load(device, &load) == 0)
        card->busy_percent = (int)load.busy_percent;
}

static int nvml_init(const void *table)
{
    struct nvml nvml;
    memcpy(&nvml, table, sizeof(nvml));
    return nvml.init();
}

/* ---- AMD: rocm_smi.h ---- */

#define SMI_SENSOR_EDGE 0
#define SMI_METRIC_CURRENT 0

struct smi {
    int (*init)(uint64_t flags);
    int (*count)(uint32_t *count);
    int (*pci)(uint32_t device, uint64_t *pci);
    int (*temperature)(uint32_t device, uint32_t sensor, int metric, int64_t *millicelsius);
    int (*busy)(uint32_t device, uint32_t *percent);
};

/* "0000:41:00.0" as rocm_smi.h packs it: domain << 32, bus << 8, device << 3, function. */
static bool pci_pack(const char *text, uint64_t *out_pci)
{
    unsigned domain = 0, bus = 0, device = 0, function = 0;
    if (sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
        return false;
    *out_pci = (uint64_t)domain << 32 | (bus & 0xff) << 8 | (device & 0x1f) << 3 | (function & 7);
    return true;
}

static void smi_read(const void *table, struct sora_gpu_card *card)
{
    struct smi smi;
    memcpy(&smi, table, sizeof(smi));
    const uint64_t partition = (uint64_t)0xf << 28;
    uint32_t count = 0, percent = 0;
    uint64_t wanted = 0, found = 0;
    int64_t millicelsius = 0;
    if (!pci_pack(card->pci, &wanted) || smi.count(&count))
        return;
    for (uint32_t i = 0; i < count && i < 64; i++) {
        if (smi.pci(i, &found) || (found & ~partition) != wanted)
            continue;
        if (smi.temperature(i, SMI_SENSOR_EDGE, SMI_METRIC_CURRENT, &millicelsius) == 0)
            card->temperature_celsius = (int)(millicelsius / 1000);
        if (smi.busy(i, &percent) == 0)
            card->busy_percent = (int)percent;
        return;
    }
}

static int smi_init(const void *table)
{
    struct smi smi;
    memcpy(&smi, table, sizeof(smi));
    return smi.init(0);
}

/* ---- the table ---- */

#define SYMBOLS_MAX 6
#define LIBRARIES_MAX 6

struct sensor_row {
    const char *libraries[LIBRARIES_MAX]; /* best first, ends with NULL */
    const char *symbols[SYMBOLS_MAX];     /* in the order of the vendor's struct */
    int (*init)(const void *table);
    void (*read)(const void *table, struct sora_gpu_card *card);
};

static const struct sensor_row sensor_rows[] = {
    [SORA_GPU_AMD] = {{"librocm_smi64.so.7", "librocm_smi64.so.6", "librocm_smi64.so.5",
                       "librocm_smi64.so.1", "/opt/rocm/lib/librocm_smi64.so", NULL},
                      {"rsmi_init", "rsmi_num_monitor_devices", "rsmi_dev_pci_id_get",
                       "rsmi_dev_temp_metric_get", "rsmi_dev_busy_percent_get", NULL},
                      smi_init,
                      smi_read},
    [SORA_GPU_NVIDIA] = {{"libnvidia-ml.so.1", NULL},
                         {"nvmlInit_v2", "nvmlDeviceGetHandleByPciBusId_v2",
                          "nvmlDeviceGetTemperature", "nvmlDeviceGetUtilizationRates", NULL},
                         nvml_init,
                         nvml_read},
};
_Static_assert(sizeof(struct nvml) == 4 * sizeof(void *), "a pointer per symbol");
_Static_assert(sizeof(struct smi) == 5 * sizeof(void *), "a pointer per symbol");

struct loaded {
    bool tried, usable;
    void *table[SYMBOLS_MAX];
};

static bool library_load(const struct sensor_row *row, const char *path, struct loaded *loaded)
{
    char name[128];
    const char *const only[] = {path, NULL};
    void *library = sora_gpu_library_open(path ? only : (const char *const *)row->libraries, name,
                                          sizeof(name));
    for (int i = 0; library && row->symbols[i]; i++) {
        loaded->table[i] = dlsym(library, row->symbols[i]);
        if (!loaded->table[i])
            return false;
    }
    return library && row->init(loaded->table) == 0;
}

void sora_gpu_sensors_read(const char *library, struct sora_gpu_card *card)
{
    static struct loaded usual[SORA_GPU_EMULATOR];
    struct loaded given = {.tried = false};
    if ((unsigned)card->vendor >= SORA_GPU_EMULATOR || !card->pci[0])
        return;
    struct loaded *loaded = library ? &given : &usual[card->vendor];
    const struct sensor_row *row = &sensor_rows[card->vendor];
    if (!loaded->tried) {
        loaded->tried = true;
        loaded->usable = library_load(row, library, loaded);
    }
    if (loaded->usable)
        row->read(loaded->table, card);
}
