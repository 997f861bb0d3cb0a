/* Lists, sizes, hours and places: from the texts of the keys to what the daemon uses. */
#include "daemon/config_parts.h"

#include "hip/gpu/gpu.h"
#include "node/hours.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEM_SIZE SORA_CONFIG_PATH_SIZE
#define MEMORY_MIN ((uint64_t)64 << 20)
#define MEMORY_MAX ((uint64_t)64 << 40)

/* The next item of a comma-separated list, without blanks around it; false at the end. */
static bool next_item(const char **at, char out_item[ITEM_SIZE], bool *out_cut)
{
    if (!*at)
        return false;
    const char *from = *at, *comma = strchr(from, ',');
    const char *end = comma ? comma : from + strlen(from);
    *at = comma ? comma + 1 : NULL;
    while (from < end && isspace((unsigned char)*from))
        from++;
    while (end > from && isspace((unsigned char)end[-1]))
        end--;
    *out_cut = (size_t)(end - from) >= ITEM_SIZE;
    snprintf(out_item, ITEM_SIZE, "%.*s", (int)(end - from), from);
    return true;
}

/* Calls `add` for every item. */
static int each_item(struct sora_config *config, const char *key, const char *text,
                     int (*add)(struct sora_config *config, const char *item,
                                struct sora_fault *fault),
                     struct sora_fault *fault)
{
    char item[ITEM_SIZE];
    bool cut;
    while (next_item(&text, item, &cut)) {
        if (cut)
            return sora_fault_set(fault, SORA_E_LIMIT, "%s: an item is longer than %d bytes", key,
                                  ITEM_SIZE - 1);
        if (!item[0])
            return sora_fault_set(fault, SORA_E_INVALID, "%s: an item of the list is empty", key);
        int rc = add(config, item, fault);
        if (rc)
            return rc;
    }
    return SORA_OK;
}

int sora_config_bytes(const char *origin, const char *text, uint64_t *out_bytes,
                      struct sora_fault *fault)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (int i = 0; unit && i <= unit - units; i++)
        value *= 1024;
    if (unit)
        end++;
    if (strncmp(end, "iB", 2) == 0)
        end += 2;
    else if (*end == 'B')
        end++;
    if (end == text || *end != '\0' || !(value >= 0) || value > 1e18)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%s: '%.60s' is not a size; write for example 512M or 4G", origin,
                              text);
    *out_bytes = (uint64_t)value;
    return SORA_OK;
}

/* ---- roles, peers, models ---- */

static int add_role(struct sora_config *config, const char *item, struct sora_fault *fault)
{
    if (strcmp(item, "node") == 0)
        config->role_bits |= SORA_ROLE_NODE;
    else if (strcmp(item, "scheduler") == 0)
        config->role_bits |= SORA_ROLE_SCHEDULER;
    else
        return sora_fault_set(fault, SORA_E_INVALID, "roles: '%.60s' is not one of node, scheduler",
                              item);
    return SORA_OK;
}

static int add_peer(struct sora_config *config, const char *item, struct sora_fault *fault)
{
    const char *colon = strrchr(item, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || colon == item || end == colon + 1 || *end || port < 1 || port > 65535 ||
        strstr(item, "//") || strpbrk(item, " ;@"))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "peers: '%.80s' is not HOST:PORT, for example brook.lan:7710", item);
    if (config->peer_count == SORA_CONFIG_PEERS_MAX || strlen(item) > SORA_ADDRESS_SIZE - 7)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "peers: at most %d addresses of %d bytes; members tell each other "
                              "their addresses, one is enough",
                              SORA_CONFIG_PEERS_MAX, SORA_ADDRESS_SIZE - 7);
    snprintf(config->peer_rows[config->peer_count++], SORA_ADDRESS_SIZE, "tcp://%.120s", item);
    return SORA_OK;
}

static int add_model(struct sora_config *config, const char *item, struct sora_fault *fault)
{
    if (config->model_count == SORA_CONFIG_MODELS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "models: at most %d folders; add more with `soractl models add`",
                              SORA_CONFIG_MODELS_MAX);
    char *path = realpath(item, NULL);
    if (!path || access(path, R_OK) != 0) {
        free(path);
        return sora_file_fault(fault, errno, "read the model", item);
    }
    bool fits = strlen(path) < SORA_CONFIG_PATH_SIZE;
    if (fits)
        snprintf(config->model_rows[config->model_count++], SORA_CONFIG_PATH_SIZE, "%s", path);
    free(path);
    return fits ? SORA_OK
                : sora_fault_set(fault, SORA_E_LIMIT, "models: the path of %.200s is too long",
                                 item);
}

/* ---- devices ---- */

static int check_hours(const char *text, struct sora_fault *fault)
{
    struct sora_hours hours = {.count = 0};
    return sora_hours_parse(text, &hours, fault);
}

static bool is_cpu(const char *id)
{
    return strncmp(id, "cpu", 3) == 0 && id[3] && strspn(id + 3, "0123456789") == strlen(id + 3);
}

static int check_id(const char *id, struct sora_fault *fault)
{
    if (is_cpu(id) || strcmp(id, SORA_CONFIG_CARDS) == 0 || sora_gpu_name_is(id))
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INVALID,
                          "devices: '%.60s' is none of cpu0, gpu (all cards) and gpu0 to gpu%d "
                          "('sora-worker devices' lists what is here)",
                          id, SORA_GPU_CARDS_MAX - 1);
}

/* "bf16", or "bf16+int8": int8 for models that do not fit otherwise. */
static int set_precision(struct sora_agent_device *device, const char *text,
                         struct sora_fault *fault)
{
    const char *name, *more = strchr(text, '+');
    char first[16];
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(text, "+"), text);
    bool wide = strcmp(first, "int8") != 0 && strcmp(first, "fp8") != 0;
    device->int8_too = more && strcmp(more, "+int8") == 0 && wide;
    for (int i = 0; (name = sora_gpu_precision_name((enum sora_gpu_precision)i)) != NULL; i++) {
        if (strcmp(first, name) == 0 && !is_cpu(device->id) && (!more || device->int8_too)) {
            snprintf(device->precision, sizeof(device->precision), "%s", name);
            return SORA_OK;
        }
    }
    return sora_fault_set(fault, SORA_E_INVALID,
                          "devices: precision=%.20s of %s: cards take bf16, f16, f32, int8 or fp8, "
                          "or bf16+int8 (int8 for models that do not fit otherwise); a CPU "
                          "computes in f32",
                          text, device->id);
}

/* A limit in which no model fits would only make jobs wait. */
static int read_memory(const char *origin, const char *text, uint64_t *out_bytes,
                       struct sora_fault *fault)
{
    int rc = sora_config_bytes(origin, text, out_bytes, fault);
    if (rc == SORA_OK && (*out_bytes < MEMORY_MIN || *out_bytes > MEMORY_MAX))
        rc = sora_fault_set(fault, SORA_E_LIMIT,
                            "%s: '%.60s' is outside 64M to 64T; leave it out to offer all", origin,
                            text);
    return rc;
}

/* "threads=4", "memory=8G" or "precision=f32". */
static int set_attribute(struct sora_agent_device *device, const char *text,
                         struct sora_fault *fault)
{
    if (strncmp(text, "memory=", 7) == 0)
        return read_memory("devices: memory", text + 7, &device->memory_max, fault);
    if (strncmp(text, "precision=", 10) == 0)
        return set_precision(device, text + 10, fault);
    if (strncmp(text, "threads=", 8) == 0 && !is_cpu(device->id))
        return sora_fault_set(fault, SORA_E_INVALID, "devices: %s has no threads to choose",
                              device->id);
    char *end = NULL;
    long threads = strncmp(text, "threads=", 8) == 0 ? strtol(text + 8, &end, 10) : 0;
    if (!end || end == text + 8 || *end || threads < 1 || threads > 1024)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "devices: '%.60s' is not threads=N (1 to 1024), memory=SIZE or "
                              "precision=" SORA_GPU_PRECISION_CHOICES,
                              text);
    device->threads = (int)threads;
    return SORA_OK;
}

static int add_device(struct sora_config *config, const char *item, struct sora_fault *fault)
{
    struct sora_agent_device device = {.threads = 0};
    size_t length = strcspn(item, ":");
    const char *at = item + length;
    if (config->device_count == SORA_AGENT_DEVICES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "devices: at most %d", SORA_AGENT_DEVICES_MAX);
    if (length == 0 || length >= sizeof(device.id))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "devices: '%.60s' does not begin with an id such as cpu0", item);
    snprintf(device.id, sizeof(device.id), "%.*s", (int)length, item);
    int rc = check_id(device.id, fault);
    if (rc)
        return rc;
    for (int i = 0; i < config->device_count; i++) {
        if (strcmp(config->device_rows[i].id, device.id) == 0)
            return sora_fault_set(fault, SORA_E_INVALID, "devices: %s is there twice", device.id);
    }
    snprintf(device.hours, sizeof(device.hours), "%s", config->hours ? config->hours : "");
    rc =
        config->memory ? read_memory("memory", config->memory, &device.memory_max, fault) : SORA_OK;
    while (rc == SORA_OK && *at == ':') {
        char attribute[64];
        length = strcspn(at + 1, ":");
        snprintf(attribute, sizeof(attribute), "%.*s", (int)(length < 63 ? length : 63), at + 1);
        rc = set_attribute(&device, attribute, fault);
        at += 1 + length;
    }
    if (rc == SORA_OK)
        config->device_rows[config->device_count++] = device;
    return rc;
}

/* ---- places beside the program ---- */

/* The folder of this program. */
static bool program_folder(char out_folder[SORA_CONFIG_PATH_SIZE])
{
    ssize_t length = readlink("/proc/self/exe", out_folder, SORA_CONFIG_PATH_SIZE - 1);
    if (length <= 0)
        return false;
    out_folder[length] = '\0';
    char *slash = strrchr(out_folder, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

/* The first of `places`, relative to the program's folder, that exists; "" when none does. */
static void find_beside(const char *const *places, char out_path[SORA_CONFIG_PATH_SIZE])
{
    char folder[SORA_CONFIG_PATH_SIZE], path[2 * SORA_CONFIG_PATH_SIZE], *resolved;
    out_path[0] = '\0';
    for (bool known = program_folder(folder); known && *places; places++) {
        snprintf(path, sizeof(path), "%s/%s", folder, *places);
        if (access(path, R_OK) != 0 || !(resolved = realpath(path, NULL)))
            continue;
        bool fits = strlen(resolved) < SORA_CONFIG_PATH_SIZE;
        if (fits)
            snprintf(out_path, SORA_CONFIG_PATH_SIZE, "%s", resolved);
        free(resolved);
        if (fits)
            return;
    }
}

static int find_worker(struct sora_config *config, struct sora_fault *fault)
{
    /* Installed, and in a build folder. */
    static const char *const places[] = {"sora-worker", "../node/sora-worker", NULL};
    if (config->worker)
        snprintf(config->worker_path, sizeof(config->worker_path), "%s", config->worker);
    else
        find_beside(places, config->worker_path);
    if (config->worker && access(config->worker, X_OK) != 0)
        return sora_file_fault(fault, errno, "run the worker", config->worker);
    if (!config->worker_path[0])
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "there is no sora-worker beside sorad; name it with --worker FILE");
    return SORA_OK;
}

static int find_models(struct sora_config *config, struct sora_fault *fault)
{
    /* Installed under one prefix, in a source tree's build folder, and in Debian's place. */
    static const char *const places[] = {"../share/sorafarm/models/mini", "../../../models/mini",
                                         "../../usr/share/sorafarm/models/mini", NULL};
    if (config->models)
        return each_item(config, "models", config->models, add_model, fault);
    find_beside(places, config->model_rows[0]);
    config->model_count = config->model_rows[0][0] != '\0';
    return SORA_OK;
}

/* "48h", "30d"; "forever". */
static int read_keep(struct sora_config *config, struct sora_fault *fault)
{
    const uint64_t hour_ms = 3600000;
    char *end = NULL;
    if (!config->keep || strcmp(config->keep, "forever") == 0)
        return SORA_OK;
    long count = strtol(config->keep, &end, 10);
    bool days = *end == 'd', sound = end != config->keep && (days || *end == 'h') && !end[1];
    if (!sound || count < 1 || count > (days ? 3650 : 87600))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "keep: '%.20s' is not 1h to 87600h, 1d to 3650d or forever",
                              config->keep);
    config->keep_ms = (uint64_t)count * hour_ms * (days ? 24 : 1);
    return SORA_OK;
}

int config_resolve(struct sora_config *config, struct sora_fault *fault)
{
    int rc = each_item(config, "roles", config->roles, add_role, fault);
    if (rc == SORA_OK && config->hours)
        rc = check_hours(config->hours, fault);
    if (rc == SORA_OK)
        rc = each_item(config, "devices", config->devices, add_device, fault);
    if (rc == SORA_OK && config->peers)
        rc = each_item(config, "peers", config->peers, add_peer, fault);
    if (rc == SORA_OK)
        rc = sora_config_bytes("blob-limit", config->blob_limit, &config->blob_bytes_max, fault);
    if (rc == SORA_OK && config->blob_bytes_max < ((uint64_t)256 << 20))
        rc =
            sora_fault_set(fault, SORA_E_LIMIT, "blob-limit: %s is below 256M", config->blob_limit);
    if (rc == SORA_OK)
        rc = read_keep(config, fault);
    if (rc == SORA_OK)
        rc = find_worker(config, fault);
    if (rc == SORA_OK)
        rc = find_models(config, fault);
    return rc;
}
