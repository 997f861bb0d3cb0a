/*
 * Configuration: what sorad is told by options and by its YAML file, checked and resolved.
 *
 * One table names every key; options win over the file. Lists are comma-separated values. The owner
 * finishes the struct; loading blocks on disk, and nothing else here does.
 */
#ifndef SORA_DAEMON_CONFIG_H
#define SORA_DAEMON_CONFIG_H

#include "base/files.h"
#include "base/settings.h"
#include "node/agent.h"

#define SORA_CONFIG_PEERS_MAX 16
#define SORA_CONFIG_MODELS_MAX 16
#define SORA_CONFIG_PATH_SIZE 1024
#define SORA_ADDRESS_SIZE 128   /* "tcp://host:port", with NUL */
#define SORA_CONFIG_CARDS "gpu" /* the device that means every card that is found */

struct sora_config {
    /* As set; sora_config_load fills what was left out. */
    char *config, *state, *name, *listen, *peers, *roles, *devices, *hours, *memory, *models,
        *blob_limit, *keep, *worker;
    int64_t control_port, bulk_port, invite_port;
    int log_level; /* enum sora_log_level */
    int beacon, check_config, help, manual, version;

    /* Resolved. */
    uint32_t role_bits; /* enum sora_role */
    int device_count;
    struct sora_agent_device device_rows[SORA_AGENT_DEVICES_MAX];
    char cards_absent[512]; /* why there are no cards, once looked for; "" for no reason */
    int peer_count;
    char peer_rows[SORA_CONFIG_PEERS_MAX][SORA_ADDRESS_SIZE]; /* "tcp://host:port" */
    int model_count;
    char model_rows[SORA_CONFIG_MODELS_MAX][SORA_CONFIG_PATH_SIZE];
    uint64_t blob_bytes_max;
    uint64_t keep_ms; /* of jobs that are over; 0: for ever */
    char worker_path[SORA_CONFIG_PATH_SIZE];
};

extern const struct sora_settings_table sora_config_table;

/* Reads options, then the file (--config, else the first that exists of
 * XDG_CONFIG_HOME/sorafarm/sorad.yaml and /etc/sorafarm/sorad.yaml), fills in defaults and checks
 * everything. With --help, --manual or --version it stops after the options. The struct is to be
 * finished also after an error. Errors: INVALID, LIMIT, FORMAT, NOT_FOUND (the --config file),
 * DENIED. */
int sora_config_load(int argc, char **argv, struct sora_config *out_config,
                     struct sora_fault *fault);
void sora_config_fini(struct sora_config *config);

/* Looks for cards where devices name any: those found take the place of "gpu", others leave the
 * list. Logs what is there and why no more. Blocks while drivers start, up to 20 s; never fails. */
void sora_config_find_cards(struct sora_config *config);

/* Bytes of "512M", "4G", "1.5T" (powers of 1024). Errors: INVALID; `origin` begins the sentence. */
int sora_config_bytes(const char *origin, const char *text, uint64_t *out_bytes,
                      struct sora_fault *fault);

/* One line a key, as resolved, for --check-config. */
void sora_config_print(const struct sora_config *config, FILE *out);

#endif
