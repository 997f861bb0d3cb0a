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

/* The keys and schema of one table; two more fields for a list and the end. */
struct yaml_fields {
    char keys[ROWS_MAX][KEY_SIZE];
    cyaml_schema_field_t items[ROWS_MAX + 2];
};

/* Everything one load needs; libcyaml fills `values`. */
struct yaml_load {
    const struct sora_settings_table *table;
    const char *label;
    struct sora_settings_list *list; /* NULL: scalars only */
    struct yaml_fields top, entry;
    cyaml_schema_value_t entry_value;
    char message[256];           /* the first error line that libcyaml logged */
    unsigned entry_number, line; /* from its backtrace, from 1; 0: not in an entry, not known */
};

struct yaml_values {
    char *texts[ROWS_MAX];
    struct yaml_values *entries;
    unsigned entry_count;
};

/* libcyaml logs what is wrong and then, innermost first, where. */
static void keep_messages(cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct yaml_load *load = context;
    if (level < CYAML_LOG_ERROR)
        return;
    char line[sizeof(load->message)];
    vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    if (!load->message[0]) {
        snprintf(load->message, sizeof(load->message), "%s", line);
        return;
    }
    const char *place = strstr(line, "(line: ");
    if (place && load->line == 0)
        load->line = (unsigned)strtoul(place + strlen("(line: "), NULL, 10);
    const char *number = strstr(line, "in sequence entry '");
    if (number)
        load->entry_number = (unsigned)strtoul(strchr(number, '\'') + 1, NULL, 10);
}

/* One schema field per table row that YAML may set. Returns their count; the end is in place. */
static int make_fields(const struct sora_settings_table *table, struct yaml_fields *fields)
{
    static const cyaml_schema_field_t end = CYAML_FIELD_END;
    SORA_ASSERT(table->row_count <= ROWS_MAX);
    int count = 0;
    for (int i = 0; i < table->row_count; i++) {
        if (table->rows[i].command_only)
            continue;
        snprintf(fields->keys[count], KEY_SIZE, "%s", table->rows[i].name);
        for (char *c = fields->keys[count]; *c; c++)
            *c = *c == '-' ? '_' : *c;
        fields->items[count] = (cyaml_schema_field_t){
            .key = fields->keys[count],
            .data_offset =
                (uint32_t)(offsetof(struct yaml_values, texts) + (size_t)i * sizeof(char *)),
            .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0,
                                         CYAML_UNLIMITED)},
        };
        count++;
    }
    fields->items[count] = end;
    return count;
}

static void make_schema(struct yaml_load *load)
{
    static const cyaml_schema_field_t end = CYAML_FIELD_END;
    int count = make_fields(load->table, &load->top);
    if (!load->list)
        return;
    make_fields(load->list->table, &load->entry);
    load->entry_value = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_values, load->entry.items)};
    load->top.items[count] = (cyaml_schema_field_t){
        .key = load->list->key,
        .data_offset = offsetof(struct yaml_values, entries),
        .count_offset = offsetof(struct yaml_values, entry_count),
        .count_size = sizeof(unsigned),
        .value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct yaml_values,
                                       &load->entry_value, 1, (unsigned)load->list->count_max)},
    };
    load->top.items[count + 1] = end;
}

bool sora_settings_is_set(const struct sora_setting *row, const void *target)
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

/* The row of the scalars or of the list itself that is nearest; NULL when none is. */
static const char *nearest_key(const struct yaml_load *load, const char *name)
{
    const struct sora_settings_table *table = load->table;
    struct sora_setting rows[ROWS_MAX + 1];
    struct sora_settings_table with_list = {NULL, NULL, rows, 0};
    if (load->entry_number > 0) {
        table = load->list->table;
    } else if (load->list) {
        memcpy(rows, table->rows, (size_t)table->row_count * sizeof(rows[0]));
        rows[table->row_count] = (struct sora_setting){.name = load->list->key};
        with_list.row_count = table->row_count + 1;
        table = &with_list;
    }
    const struct sora_setting *nearest = sora_settings_nearest(table, name);
    return nearest ? nearest->name : NULL;
}

/* libcyaml says only "Unexpected key: NAME"; adds the nearest name. */
/* An option's name as a file has it. */
static void to_key(char *name)
{
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : *c;
}

static int report(const struct yaml_load *load, cyaml_err_t error, struct sora_fault *fault)
{
    char place[KEY_SIZE] = "", line[32] = "";
    if (load->entry_number > 0 && load->list)
        snprintf(place, sizeof(place), ": %.20s %u", load->list->entry, load->entry_number);
    const char *unexpected = strstr(load->message, "nexpected key: ");
    if (unexpected) {
        char name[KEY_SIZE];
        snprintf(name, sizeof(name), "%s", strchr(unexpected, ':') + 2);
        for (char *c = name; *c; c++)
            *c = *c == '_' ? '-' : *c;
        const char *found = nearest_key(load, name);
        char nearest[KEY_SIZE] = "";
        snprintf(nearest, sizeof(nearest), "%s", found ? found : "");
        to_key(name);
        to_key(nearest);
        return sora_fault_set(fault, SORA_E_INVALID, "%s%s: unknown key '%s'%s%s%s", load->label,
                              place, name, *nearest ? "; did you mean " : "", nearest,
                              *nearest ? "?" : "");
    }
    if (load->list && strstr(load->message, "Insufficient entries"))
        return sora_fault_set(fault, SORA_E_INVALID, "%s: %s is empty; add one or remove the key",
                              load->label, load->list->key);
    if (load->list && strstr(load->message, "Excessive entries"))
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: too many %s; the limit is %d", load->label,
                              load->list->key, load->list->count_max);
    if (load->line > 0)
        snprintf(line, sizeof(line), " (line %u)", load->line);
    return sora_fault_set(fault, SORA_E_FORMAT, "%s%s: not a valid YAML mapping of settings: %s%s",
                          load->label, place,
                          load->message[0] ? load->message : cyaml_strerror(error), line);
}

static int apply(const struct sora_settings_table *table, const struct yaml_values *values,
                 const char *label, void *target, struct sora_fault *fault)
{
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        if (!values->texts[i] || sora_settings_is_set(row, target))
            continue;
        char origin[KEY_SIZE * 4];
        snprintf(origin, sizeof(origin), "%.180s: %s", label, row->name);
        int error = sora_settings_set(row, target, origin, values->texts[i], fault);
        if (error)
            return error;
    }
    return 0;
}

static void *entry_at(const struct sora_settings_list *list, int index)
{
    return (char *)list->entries + (size_t)index * list->entry_size;
}

void sora_settings_list_fini(struct sora_settings_list *list)
{
    for (int i = 0; i < list->count; i++)
        sora_settings_fini(list->table, entry_at(list, i));
    free(list->entries);
    list->entries = NULL;
    list->count = 0;
}

static int apply_list(const struct yaml_load *load, const struct yaml_values *values,
                      struct sora_fault *fault)
{
    struct sora_settings_list list = *load->list;
    unsigned count = values->entry_count;
    list.entries = calloc(count, list.entry_size);
    if (!list.entries)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", load->label);
    int error = 0;
    for (list.count = 0; !error && list.count < (int)count;) {
        void *entry = entry_at(&list, list.count);
        sora_settings_init(list.table, entry);
        char label[KEY_SIZE * 3];
        snprintf(label, sizeof(label), "%.140s: %.20s %d", load->label, list.entry, ++list.count);
        error = apply(list.table, &values->entries[list.count - 1], label, entry, fault);
    }
    if (error)
        sora_settings_list_fini(&list);
    else
        *load->list = list;
    return error;
}

static int apply_all(const struct yaml_load *load, const struct yaml_values *values, void *target,
                     struct sora_fault *fault)
{
    int error = apply(load->table, values, load->label, target, fault);
    if (!error && values->entries)
        error = apply_list(load, values, fault);
    return error;
}

static int parse(struct yaml_load *load, const char *text, size_t size, void *target,
                 struct sora_fault *fault)
{
    make_schema(load);
    const cyaml_schema_value_t top = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_values, load->top.items)};
    /* Aliases are refused: a few hundred bytes of them expand to gigabytes. */
    const cyaml_config_t config = {.log_fn = keep_messages,
                                   .log_ctx = load,
                                   .mem_fn = cyaml_mem,
                                   .log_level = CYAML_LOG_ERROR,
                                   .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *loaded = NULL;
    cyaml_err_t status = cyaml_load_data((const uint8_t *)text, size, &config, &top, &loaded, NULL);
    int error;
    if (status != CYAML_OK)
        error = report(load, status, fault);
    else if (!loaded)
        error = sora_fault_set(fault, SORA_E_FORMAT, "%s: holds no settings", load->label);
    else
        error = apply_all(load, (const struct yaml_values *)loaded, target, fault);
    cyaml_free(&config, &top, loaded, 0);
    return error;
}

int sora_settings_parse_yaml_list(const struct sora_settings_table *table, const char *text,
                                  size_t size, const char *label, void *target,
                                  struct sora_settings_list *list, struct sora_fault *fault)
{
    if (size > YAML_SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: %zu bytes, the limit is %d", label, size,
                              YAML_SIZE_MAX);
    if (size == 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: the file is empty", label);
    struct yaml_load *load = calloc(1, sizeof(*load));
    if (!load)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    load->table = table;
    load->label = label;
    load->list = list;
    int error = parse(load, text, size, target, fault);
    free(load);
    return error;
}

int sora_settings_load_yaml_list(const struct sora_settings_table *table, const char *path,
                                 void *target, struct sora_settings_list *list,
                                 struct sora_fault *fault)
{
    struct sora_bytes text;
    int error = sora_file_read(path, YAML_SIZE_MAX, &text, fault);
    if (error)
        return error;
    error = sora_settings_parse_yaml_list(table, (const char *)text.data, text.size, path, target,
                                          list, fault);
    sora_bytes_fini(&text);
    return error;
}

int sora_settings_parse_yaml(const struct sora_settings_table *table, const char *text, size_t size,
                             const char *label, void *target, struct sora_fault *fault)
{
    return sora_settings_parse_yaml_list(table, text, size, label, target, NULL, fault);
}

int sora_settings_load_yaml(const struct sora_settings_table *table, const char *path, void *target,
                            struct sora_fault *fault)
{
    return sora_settings_load_yaml_list(table, path, target, NULL, fault);
}
