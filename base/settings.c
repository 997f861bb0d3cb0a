/* Settings tables: values from text, from a command line, help. YAML is in settings_yaml.c. */
#include "base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LENGTH_MAX 64

static void *field(const struct sora_setting *row, void *target)
{
    return (char *)target + row->offset;
}

void sora_settings_init(const struct sora_settings_table *table, void *target)
{
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        switch (row->type) {
        case SORA_SETTING_FLAG:
            *(int *)field(row, target) = 0;
            break;
        case SORA_SETTING_INT:
            *(int64_t *)field(row, target) = SORA_SETTING_INT_UNSET;
            break;
        case SORA_SETTING_NUMBER:
            *(double *)field(row, target) = NAN;
            break;
        case SORA_SETTING_STRING:
            *(char **)field(row, target) = NULL;
            break;
        case SORA_SETTING_CHOICE:
            *(int *)field(row, target) = -1;
            break;
        case SORA_SETTING_SIZE:
            *(struct sora_setting_size *)field(row, target) = (struct sora_setting_size){0, 0};
            break;
        }
    }
}

void sora_settings_fini(const struct sora_settings_table *table, void *target)
{
    for (int i = 0; i < table->row_count; i++) {
        if (table->rows[i].type != SORA_SETTING_STRING)
            continue;
        char **text = field(&table->rows[i], target);
        free(*text);
        *text = NULL;
    }
}

static int set_int(const struct sora_setting *row, int64_t *out, const char *origin,
                   const char *text, struct sora_fault *fault)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0')
        return sora_fault_set(fault, SORA_E_INVALID, "%s: '%.60s' is not a whole number", origin,
                              text);
    if (errno == ERANGE || (double)value < row->min || (double)value > row->max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: %.60s is outside %.0f to %.0f", origin,
                              text, row->min, row->max);
    *out = value;
    return 0;
}

static int set_number(const struct sora_setting *row, double *out, const char *origin,
                      const char *text, struct sora_fault *fault)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value))
        return sora_fault_set(fault, SORA_E_INVALID, "%s: '%.60s' is not a number", origin, text);
    if (value < row->min || value > row->max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: %.60s is outside %g to %g", origin, text,
                              row->min, row->max);
    *out = value;
    return 0;
}

static int set_string(const struct sora_setting *row, char **out, const char *origin,
                      const char *text, struct sora_fault *fault)
{
    size_t length = strlen(text);
    if ((double)length < row->min)
        return sora_fault_set(fault, SORA_E_INVALID, "%s: must not be empty", origin);
    if (row->max > 0 && (double)length > row->max)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: %zu bytes, the limit is %.0f", origin,
                              length, row->max);
    char *copy = strdup(text);
    if (!copy)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", origin);
    free(*out);
    *out = copy;
    return 0;
}

static int set_choice(const struct sora_setting *row, int *out, const char *origin,
                      const char *text, struct sora_fault *fault)
{
    size_t length = strlen(text);
    int index = 0;
    for (const char *at = row->choices; at; index++) {
        const char *bar = strchr(at, '|');
        size_t size = bar ? (size_t)(bar - at) : strlen(at);
        if (size == length && strncmp(at, text, size) == 0) {
            *out = index;
            return 0;
        }
        at = bar ? bar + 1 : NULL;
    }
    return sora_fault_set(fault, SORA_E_INVALID, "%s: '%.60s' is not one of %s", origin, text,
                          row->choices);
}

static int set_size(const struct sora_setting *row, struct sora_setting_size *out,
                    const char *origin, const char *text, struct sora_fault *fault)
{
    char *end = NULL;
    errno = 0;
    long width = strtol(text, &end, 10);
    long height = 0;
    bool shaped = end != text && (*end == 'x' || *end == 'X') && isdigit((unsigned char)end[1]);
    if (shaped)
        height = strtol(end + 1, &end, 10);
    if (!shaped || *end != '\0')
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%s: '%.60s' is not a size; write WIDTHxHEIGHT, for example 256x160",
                              origin, text);
    if (errno == ERANGE || (double)width < row->min || (double)width > row->max ||
        (double)height < row->min || (double)height > row->max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%s: %.60s is outside %.0f to %.0f pixels a side", origin, text,
                              row->min, row->max);
    *out = (struct sora_setting_size){(int32_t)width, (int32_t)height};
    return 0;
}

static int set_flag(int *out, const char *origin, const char *text, struct sora_fault *fault)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i & 1;
            return 0;
        }
    }
    return sora_fault_set(fault, SORA_E_INVALID, "%s: '%.60s' is neither true nor false", origin,
                          text);
}

int sora_settings_set(const struct sora_setting *row, void *target, const char *origin,
                      const char *text, struct sora_fault *fault)
{
    void *out = field(row, target);
    switch (row->type) {
    case SORA_SETTING_FLAG:
        return set_flag(out, origin, text, fault);
    case SORA_SETTING_INT:
        return set_int(row, out, origin, text, fault);
    case SORA_SETTING_NUMBER:
        return set_number(row, out, origin, text, fault);
    case SORA_SETTING_STRING:
        return set_string(row, out, origin, text, fault);
    case SORA_SETTING_CHOICE:
        return set_choice(row, out, origin, text, fault);
    case SORA_SETTING_SIZE:
        return set_size(row, out, origin, text, fault);
    }
    return SORA_E_INTERNAL;
}

static int edit_distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    if (n >= NAME_LENGTH_MAX || strlen(a) >= NAME_LENGTH_MAX)
        return NAME_LENGTH_MAX;
    int row[NAME_LENGTH_MAX];
    for (size_t j = 0; j <= n; j++)
        row[j] = (int)j;
    for (size_t i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const struct sora_setting *sora_settings_nearest(const struct sora_settings_table *table,
                                                 const char *name)
{
    const struct sora_setting *nearest = NULL;
    int nearest_distance = 4;
    for (int i = 0; i < table->row_count; i++) {
        int distance = edit_distance(name, table->rows[i].name);
        if (distance < nearest_distance && distance < (int)strlen(name)) {
            nearest = &table->rows[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

static int unknown_option(const struct sora_settings_table *table, const char *argument,
                          const char *name, struct sora_fault *fault)
{
    char plain[NAME_LENGTH_MAX + 1];
    snprintf(plain, sizeof(plain), "%.*s", (int)(strcspn(name, "=") & 0xffff), name);
    const struct sora_setting *nearest = sora_settings_nearest(table, plain);
    if (nearest)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "unknown option '%.60s'; did you mean --%s? (--help lists all)",
                              argument, nearest->name);
    return sora_fault_set(fault, SORA_E_INVALID, "unknown option '%.60s' (--help lists all)",
                          argument);
}

/* The row of "--name", "--name=value" or "-x"; *out_value is what follows '=' or NULL. */
static const struct sora_setting *find_option(const struct sora_settings_table *table,
                                              const char *argument, const char **out_value)
{
    *out_value = NULL;
    const char *equals = argument[1] == '-' ? strchr(argument, '=') : NULL;
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        bool by_letter = row->letter && length == 2 && argument[1] == row->letter;
        bool by_name = argument[1] == '-' && strlen(row->name) == length - 2 &&
                       strncmp(argument + 2, row->name, length - 2) == 0;
        if (by_letter || by_name) {
            *out_value = equals ? equals + 1 : NULL;
            return row;
        }
    }
    return NULL;
}

int sora_settings_parse_arguments(const struct sora_settings_table *table, int argc, char **argv,
                                  void *target, struct sora_fault *fault)
{
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (argument[0] != '-' || argument[1] == '\0')
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "unexpected argument '%.60s'; options begin with -- "
                                  "(quote a prompt that has spaces)",
                                  argument);
        const char *value = NULL;
        const struct sora_setting *row = find_option(table, argument, &value);
        if (!row)
            return unknown_option(table, argument, argument + (argument[1] == '-' ? 2 : 1), fault);
        char origin[NAME_LENGTH_MAX + 2];
        snprintf(origin, sizeof(origin), "--%s", row->name);
        if (!value && row->type == SORA_SETTING_FLAG)
            value = "true";
        if (!value && i + 1 >= argc)
            return sora_fault_set(fault, SORA_E_INVALID, "%s needs a value: %s", origin,
                                  row->unit ? row->unit : "VALUE");
        if (!value)
            value = argv[++i];
        int error = sora_settings_set(row, target, origin, value, fault);
        if (error)
            return error;
    }
    return 0;
}

static void print_range(const struct sora_setting *row, FILE *out)
{
    switch (row->type) {
    case SORA_SETTING_INT:
        fprintf(out, " (%.0f to %.0f)", row->min, row->max);
        break;
    case SORA_SETTING_NUMBER:
        fprintf(out, " (%g to %g)", row->min, row->max);
        break;
    case SORA_SETTING_CHOICE:
        fprintf(out, " (%s)", row->choices);
        break;
    default:
        break;
    }
}

void sora_settings_print_help(const struct sora_settings_table *table, FILE *out)
{
    fprintf(out, "usage: %s\n\n%s\n\noptions:\n", table->usage, table->about);
    for (int i = 0; i < table->row_count; i++) {
        const struct sora_setting *row = &table->rows[i];
        char head[96];
        snprintf(head, sizeof(head), "%c%c%s--%s%s%s", row->letter ? '-' : ' ',
                 row->letter ? row->letter : ' ', row->letter ? ", " : "  ", row->name,
                 row->type == SORA_SETTING_FLAG ? "" : " ",
                 row->type == SORA_SETTING_FLAG ? "" : (row->unit ? row->unit : "VALUE"));
        fprintf(out, "  %-28s ", head);
        if (strlen(head) > 28)
            fprintf(out, "\n  %-28s ", "");
        fputs(row->help, out);
        print_range(row, out);
        fputc('\n', out);
    }
}
