/* The table of keys, and where the file and the default places are. */
#include "daemon/config_parts.h"

#include "base/log.h"
#include "proto/validate.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(struct sora_config, field)
#define TEXT(name_, letter_, field, size, unit_, help_)                                            \
    {                                                                                              \
        .name = name_, .letter = letter_, .type = SORA_SETTING_STRING, .offset = AT(field),        \
        .min = 1, .max = size, .unit = unit_, .help = help_                                        \
    }
#define PORT(name_, field, help_)                                                                  \
    {                                                                                              \
        .name = name_, .type = SORA_SETTING_INT, .offset = AT(field), .min = 0, .max = 65535,      \
        .unit = "PORT", .help = help_                                                              \
    }
#define COMMAND(name_, letter_, field, help_)                                                      \
    {                                                                                              \
        .name = name_, .letter = letter_, .type = SORA_SETTING_FLAG, .offset = AT(field),          \
        .help = help_, .command_only = true                                                        \
    }

static const struct sora_setting rows[] = {
    {.name = "config",
     .letter = 'c',
     .type = SORA_SETTING_STRING,
     .offset = AT(config),
     .min = 1,
     .max = 1000,
     .unit = "FILE",
     .help = "configuration; default ~/.config/sorafarm/sorad.yaml, then /etc/sorafarm/sorad.yaml",
     .command_only = true},
    TEXT("state", 's', state, 900, "DIR",
         "keys, members, jobs, blobs; default SORAFARM_STATE, then ~/.local/state/sorafarm, as "
         "root /var/lib/sorafarm"),
    TEXT("name", 'n', name, 63, "NAME", "what members call this machine; default its host name"),
    TEXT("listen", 'l', listen, 60, "ADDRESS",
         "address to listen on; default 0.0.0.0, all of this machine"),
    PORT("control-port", control_port, "TCP port of messages; default 7710, 0 for any"),
    PORT("bulk-port", bulk_port, "TCP port of data; default 7711, 0 for any"),
    PORT("invite-port", invite_port, "TCP port where guests join; default 7712, 0 for any"),
    TEXT("peers", 'p', peers, 2000, "HOST:PORT,...",
         "addresses where members may be found, besides those that members tell"),
    TEXT("roles", 'r', roles, 60, "ROLE,...",
         "node (renders), scheduler (is home for jobs); default both"),
    TEXT("devices", 'd', devices, 1000, "ID[:threads=N][:memory=SIZE][:precision=P],...",
         "devices to offer: cpu0, gpu0, or gpu for all cards; precision bf16 (of cards, default), "
         "f16, f32, int8, fp8, or bf16+int8: int8 for models that do not fit otherwise; default "
         "cpu0,gpu"),
    TEXT("hours", 0, hours, 63, "HH:MM-HH:MM,...",
         "when devices are offered, local time; default always"),
    TEXT("memory", 0, memory, 20, "SIZE",
         "memory of a device to use at most, 64M to 64T; default all"),
    TEXT("models", 'm', models, 8000, "DIR,...", "model folders to offer; default models/mini"),
    TEXT("blob-limit", 0, blob_limit, 20, "SIZE",
         "disk for checkpoints, segments and fetched models; default 50G"),
    TEXT("keep", 0, keep, 20, "TIME",
         "how long jobs that are over stay, with their results: hours or days, as 48h or 30d; "
         "default for ever"),
    {.name = "beacon",
     .type = SORA_SETTING_FLAG,
     .offset = AT(beacon),
     .help = "tell members on this network our address by broadcast; default off, because it shows "
             "everybody there that a farm is here, and members tell each other their addresses "
             "anyway"},
    TEXT("worker", 'w', worker, 1000, "FILE", "sora-worker; default the one beside sorad"),
    {.name = "log-level",
     .type = SORA_SETTING_CHOICE,
     .offset = AT(log_level),
     .choices = "error|warn|info|debug",
     .unit = "LEVEL",
     .help = "what is logged; default info"},
    COMMAND("check-config", 0, check_config, "check the configuration, print it and end"),
    COMMAND("help", 'h', help, "print this text"),
    COMMAND("manual", 0, manual, "print the manual page (roff)"),
    COMMAND("version", 'V', version, "print the version"),
};

const struct sora_settings_table sora_config_table = {
    .usage = "sorad [options]",
    .about = "The daemon of a render farm: offers this machine's devices to the farm and is home "
             "for jobs. Without options it serves its local user at once.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

void sora_config_fini(struct sora_config *config)
{
    sora_settings_fini(&sora_config_table, config);
}

/* ---- the file ---- */

/* The path of the file to read; "" when there is none. */
static void find_file(char out_path[SORA_FILE_PATH_SIZE])
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/')
        snprintf(out_path, SORA_FILE_PATH_SIZE, "%s/sorafarm/sorad.yaml", xdg);
    else if (home && home[0] == '/')
        snprintf(out_path, SORA_FILE_PATH_SIZE, "%s/.config/sorafarm/sorad.yaml", home);
    else
        out_path[0] = '\0';
    if (out_path[0] && access(out_path, F_OK) == 0)
        return;
    snprintf(out_path, SORA_FILE_PATH_SIZE, "/etc/sorafarm/sorad.yaml");
    if (access(out_path, F_OK) != 0)
        out_path[0] = '\0';
}

static int load_file(struct sora_config *config, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    if (config->config)
        return sora_settings_load_yaml(&sora_config_table, config->config, config, fault);
    find_file(path);
    return path[0] ? sora_settings_load_yaml(&sora_config_table, path, config, fault) : 0;
}

/* ---- defaults ---- */

/* A host name as a member's name: letters, digits, dots and hyphens up to the first other. */
static void host_name(char out_name[SORA_NAME_SIZE])
{
    char host[256] = "";
    size_t length = 0;
    gethostname(host, sizeof(host) - 1);
    while (
        length < SORA_NAME_SIZE - 1 && host[length] &&
        strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", host[length])) {
        out_name[length] = host[length];
        length++;
    }
    out_name[length] = '\0';
    if (length == 0)
        snprintf(out_name, SORA_NAME_SIZE, "sorad");
}

static int set_default(char **field, const char *text)
{
    if (!*field)
        *field = strdup(text);
    return *field ? SORA_OK : SORA_E_MEMORY;
}

static int fill_defaults(struct sora_config *config)
{
    char name[SORA_NAME_SIZE];
    int64_t *const ports[] = {&config->control_port, &config->bulk_port, &config->invite_port};
    host_name(name);
    for (int i = 0; i < 3; i++) {
        if (*ports[i] == SORA_SETTING_INT_UNSET)
            *ports[i] = 7710 + i;
    }
    if (config->log_level < 0)
        config->log_level = SORA_LOG_INFO;
    if (set_default(&config->name, name) || set_default(&config->listen, "0.0.0.0") ||
        set_default(&config->roles, "node,scheduler") ||
        set_default(&config->devices, "cpu0,gpu") || set_default(&config->blob_limit, "50G"))
        return SORA_E_MEMORY;
    return SORA_OK;
}

static int check_name(const struct sora_config *config, struct sora_fault *fault)
{
    if (!sora_validate_text(config->name, strlen(config->name), false))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "name: '%.60s' must be UTF-8 without control characters",
                              config->name);
    return SORA_OK;
}

static int check_listen(const struct sora_config *config, struct sora_fault *fault)
{
    unsigned char address[16];
    if (inet_pton(AF_INET, config->listen, address) == 1 ||
        inet_pton(AF_INET6, config->listen, address) == 1)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_INVALID,
                          "listen: '%.60s' is not an address; write one of this machine, for "
                          "example 192.168.1.20, or 0.0.0.0 for all",
                          config->listen);
}

static int check_ports(const struct sora_config *config, struct sora_fault *fault)
{
    const int64_t ports[] = {config->control_port, config->bulk_port, config->invite_port};
    for (int i = 0; i < 3; i++) {
        if (ports[i] != 0 && ports[i] == ports[(i + 1) % 3])
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "control, bulk and invite port must differ; %d is there twice",
                                  (int)ports[i]);
    }
    return SORA_OK;
}

int sora_config_load(int argc, char **argv, struct sora_config *out_config,
                     struct sora_fault *fault)
{
    *out_config = (struct sora_config){.config = NULL};
    sora_settings_init(&sora_config_table, out_config);
    int rc = sora_settings_parse_arguments(&sora_config_table, argc, argv, out_config, fault);
    if (rc || out_config->help || out_config->manual || out_config->version)
        return rc;
    rc = load_file(out_config, fault);
    if (rc == SORA_OK && fill_defaults(out_config) != SORA_OK)
        rc = sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the configuration");
    if (rc == SORA_OK)
        rc = check_name(out_config, fault);
    if (rc == SORA_OK)
        rc = check_listen(out_config, fault);
    if (rc == SORA_OK)
        rc = check_ports(out_config, fault);
    if (rc == SORA_OK)
        rc = config_resolve(out_config, fault);
    return rc;
}

void sora_config_print(const struct sora_config *config, FILE *out)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    fprintf(out, "name: %s\nlisten: %s\ncontrol_port: %d\nbulk_port: %d\ninvite_port: %d\n",
            config->name, config->listen, (int)config->control_port, (int)config->bulk_port,
            (int)config->invite_port);
    fprintf(out, "roles: %s\ndevices: %s\n", config->roles, config->devices);
    if (config->hours)
        fprintf(out, "hours: %s\n", config->hours);
    for (int i = 0; i < config->peer_count; i++)
        fprintf(out, "%s%s%s", i ? "," : "peers: ", config->peer_rows[i] + strlen("tcp://"),
                i + 1 == config->peer_count ? "\n" : "");
    for (int i = 0; i < config->model_count; i++)
        fprintf(out, "%s%s%s", i ? "," : "models: ", config->model_rows[i],
                i + 1 == config->model_count ? "\n" : "");
    if (config->keep)
        fprintf(out, "keep: %s\n", config->keep);
    fprintf(out, "blob_limit: %s\nbeacon: %s\nworker: %s\nlog_level: %s\n", config->blob_limit,
            config->beacon ? "on" : "off", config->worker_path, levels[config->log_level]);
}
