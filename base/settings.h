/*
 * Settings: one table of named values, read from a command line or a YAML mapping, checked against
 * type and range in one place, and printed as help.
 *
 * Programs describe what they accept as an array of `struct sora_setting`; each row points at a
 * field of the program's own struct. Values stay "unset" until somebody sets them, so that a
 * model's or a farm's defaults can fill the gaps afterwards. YAML is parsed by libcyaml; no other
 * module sees it. Reading a file blocks; everything else is pure. One thread at a time per target.
 */
#ifndef SORA_BASE_SETTINGS_H
#define SORA_BASE_SETTINGS_H

#include "base/error.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum sora_setting_type {
    SORA_SETTING_FLAG,   /* int 0 or 1; no value on a command line */
    SORA_SETTING_INT,    /* int64_t; unset: SORA_SETTING_INT_UNSET */
    SORA_SETTING_NUMBER, /* double; unset: NAN */
    SORA_SETTING_STRING, /* char *, owned by the target; unset: NULL */
    SORA_SETTING_CHOICE, /* int, index into `choices`; unset: -1 */
    SORA_SETTING_SIZE,   /* struct sora_setting_size, "WxH"; unset: 0x0 */
};

#define SORA_SETTING_INT_UNSET INT64_MIN

struct sora_setting_size {
    int32_t width, height;
};

struct sora_setting {
    const char *name; /* "steps": option --steps and YAML key steps; '-' is '_' in YAML */
    char letter;      /* short option, 0 for none */
    enum sora_setting_type type;
    size_t offset;       /* of the field in the target struct */
    double min, max;     /* inclusive; of INT and NUMBER, of both sides of SIZE, bytes of STRING */
    const char *choices; /* of CHOICE: "euler|unipc" */
    const char *unit;    /* for help: "N", "SECONDS", "FILE" */
    const char *help;    /* one sentence; the default in words belongs here */
    bool command_only;   /* not a YAML key (for example --help, --job) */
};

struct sora_settings_table {
    const char *usage; /* "sora-worker render [options]" */
    const char *about; /* a sentence or two */
    const struct sora_setting *rows;
    int row_count;
};

/* Puts every field of `target` to its unset value. */
void sora_settings_init(const struct sora_settings_table *table, void *target);
/* Frees the strings. */
void sora_settings_fini(const struct sora_settings_table *table, void *target);

/* Sets one value from text. `origin` ("--steps", "job.yaml: steps") begins the error sentence.
 * Errors: INVALID or LIMIT, naming value, range and the way out. */
int sora_settings_set(const struct sora_setting *row, void *target, const char *origin,
                      const char *text, struct sora_fault *fault);

/* Reads argv[1..argc): --name VALUE, --name=VALUE, -x VALUE. Errors: INVALID for an unknown option
 * (with the nearest name), a missing value, or an argument that is not an option. Later options
 * win.
 */
int sora_settings_parse_arguments(const struct sora_settings_table *table, int argc, char **argv,
                                  void *target, struct sora_fault *fault);

/* Reads a YAML mapping of scalars; values already set are kept (the command line wins). Unknown
 * keys are INVALID with the nearest name. At most 1 MiB. `label` stands for the file in messages.
 */
int sora_settings_parse_yaml(const struct sora_settings_table *table, const char *text, size_t size,
                             const char *label, void *target, struct sora_fault *fault);
int sora_settings_load_yaml(const struct sora_settings_table *table, const char *path, void *target,
                            struct sora_fault *fault);

/* A list of mappings that a file may hold beside its scalars. The first part is the caller's; the
 * entries are filled in. */
struct sora_settings_list {
    const char *key;                         /* "shots" */
    const char *entry;                       /* one of them, for messages: "shot" */
    const struct sora_settings_table *table; /* of an entry */
    size_t entry_size;                       /* of the table's target struct */
    int count_max;
    void *entries; /* owned, `count` of them; NULL when the file has no such list */
    int count;
};

/* The same for a mapping that may hold `list->key`. Errors inside an entry name its number from 1;
 * an empty or too long list is INVALID or LIMIT. `list` is filled only on success. */
int sora_settings_parse_yaml_list(const struct sora_settings_table *table, const char *text,
                                  size_t size, const char *label, void *target,
                                  struct sora_settings_list *list, struct sora_fault *fault);
int sora_settings_load_yaml_list(const struct sora_settings_table *table, const char *path,
                                 void *target, struct sora_settings_list *list,
                                 struct sora_fault *fault);
/* Frees the entries and their strings. */
void sora_settings_list_fini(struct sora_settings_list *list);

/* Whether the row's field was set; a FLAG counts as set when it is 1. */
bool sora_settings_is_set(const struct sora_setting *row, const void *target);

/* Prints usage, about and one entry per row. */
void sora_settings_print_help(const struct sora_settings_table *table, FILE *out);

/* The row whose name is nearest to `name` (edit distance <= 3), NULL when none is near. */
const struct sora_setting *sora_settings_nearest(const struct sora_settings_table *table,
                                                 const char *name);

#endif
