/*
 * Settings from YAML. The libcyaml schema is made at run time from the table: one optional string
 * per key, so that text from YAML and from a command line is checked by the same code.
 */
#include "base/files.h"
#include "base/settings.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define YAML_SIZE_MAX (1 << 20)
#define ROWS_MAX 64
#define KEY_SIZE 64

/* Everything one load needs; libcyaml fills `values`. */
struct yaml_load {
    char keys[ROWS_MAX][KEY_SIZE];
    cyaml_schema_field_t fields[ROWS_MAX + 1];
    char message[256]; /* the first error line that libcyaml logged */
};

struct yaml_values {
    char *texts[ROWS_MAX];
};

static void keep_first_message(cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct yaml_load *load = context;
    if (level < CYAML_LOG_ERROR || load->message[0])
        return;
    vsnprintf(load->message, sizeof(load->message), format, args);
    load->message[strcspn(load->message, "\n")] = '\0';
}

/* One schema field per table row that YAML may set. */
static void make_fields(const struct sora_settings_table *table, struct yaml_load *load)
{
    static const cyaml_schema_field_t end = CYAML_FIELD_END;
    SORA_ASSERT(table->row_count <= ROWS_MAX);
    int count = 0;
    for (int i = 0; i < table->row_count; i++) {
        if (table->rows[i].command_only)
            continue;
        snprintf(load->keys[count], KEY_SIZE, "%s", table->rows[i].name);
        for (char *c = load->keys[count]; *c; c++)
            *c = *c == '-' ? '_' : *c;
        load->fields[count] = (cyaml_schema_field_t){
            .key = load->keys[count],
            .data_offset =
                (uint32_t)(offsetof(struct yaml_values, texts) + (size_t)i * sizeof(char *)),
            .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0,
                                         CYAML_UNLIMITED)},
        };
        count++;
    }
    load->fields[count] = end;
}

static bool is_set(const struct sora_setting *row, const void *target)
{
    const void *at = (const char *)target + row->offset;
    switch (row->type) {
    case SORA_SETTING_FLAG:
        return *(const int *)at != 0;
    case SORA_SETTING_INT:
        return *(const int64_t *)at != SORA_SETTING_INT_UNSET;
    case SORA_SETTING_NUMBER:
        return !isnan(*(const double *)at);
    case SORA_SETTING_STRING:
        return *(char *const *)at != NULL;
    case SORA_SETTING_CHOICE:
        return *(const int *)at >= 0;
    case SORA_SETTING_SIZE:
        return ((const struct sora_setting_size *)at)->width != 0;
    }
    return false;
}

/* libcyaml says only "Unexpected key: NAME"; adds the nearest name. */
static int report(const struct sora_settings_table *table, const char *label,
                  const struct yaml_load *load, cyaml_err_t error, struct sora_fault *fault)
{
    const char *unexpected = strstr(load->message, "nexpected key: ");
    if (unexpected) {
        char name[KEY_SIZE];
        snprintf(name, sizeof(name), "%s", strchr(unexpected, ':') + 2);
        for (char *c = name; *c; c++)
            *c = *c == '_' ? '-' : *c;
        const struct sora_setting *nearest = sora_settings_nearest(table, name);
        return sora_fault_set(fault, SORA_E_INVALID, "%s: unknown key '%s'%s%s%s", label, name,
                              nearest ? "; did you mean " : "", nearest ? nearest->name : "",
                              nearest ? "?" : "");
    }
    return sora_fault_set(fault, SORA_E_FORMAT, "%s: not a valid YAML mapping of settings: %s",
                          label, load->message[0] ? load->message : cyaml_strerror(error));
}

static int apply(const struct sora_settings_table *table, const struct yaml_values *values,
                 const char *label, void *target, struct sora_fault *fault)
{
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        if (!values->texts[i] || is_set(row, target))
            continue;
        char origin[KEY_SIZE * 4];
        snprintf(origin, sizeof(origin), "%.160s: %s", label, row->name);
        int error = sora_settings_set(row, target, origin, values->texts[i], fault);
        if (error)
            return error;
    }
    return 0;
}

int sora_settings_parse_yaml(const struct sora_settings_table *table, const char *text, size_t size,
                             const char *label, void *target, struct sora_fault *fault)
{
    if (size > YAML_SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: %zu bytes, the limit is %d", label, size,
                              YAML_SIZE_MAX);
    if (size == 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: the file is empty", label);
    struct yaml_load *load = calloc(1, sizeof(*load));
    if (!load)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    make_fields(table, load);
    const cyaml_schema_value_t top = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_values, load->fields)};
    /* Aliases are refused: a few hundred bytes of them expand to gigabytes. */
    const cyaml_config_t config = {.log_fn = keep_first_message,
                                   .log_ctx = load,
                                   .mem_fn = cyaml_mem,
                                   .log_level = CYAML_LOG_ERROR,
                                   .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *loaded = NULL;
    cyaml_err_t status = cyaml_load_data((const uint8_t *)text, size, &config, &top, &loaded, NULL);
    int error;
    if (status != CYAML_OK)
        error = report(table, label, load, status, fault);
    else if (!loaded)
        error = sora_fault_set(fault, SORA_E_FORMAT, "%s: holds no settings", label);
    else
        error = apply(table, (const struct yaml_values *)loaded, label, target, fault);
    cyaml_free(&config, &top, loaded, 0);
    free(load);
    return error;
}

int sora_settings_load_yaml(const struct sora_settings_table *table, const char *path, void *target,
                            struct sora_fault *fault)
{
    struct sora_bytes text;
    int error = sora_file_read(path, YAML_SIZE_MAX, &text, fault);
    if (error)
        return error;
    error =
        sora_settings_parse_yaml(table, (const char *)text.data, text.size, path, target, fault);
    sora_bytes_fini(&text);
    return error;
}
