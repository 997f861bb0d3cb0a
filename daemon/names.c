/* Names of invites, as a small text. */
#include "daemon/names.h"
#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

void sora_names_put(struct sora_names *names, const unsigned char id[16], const char *name)
{
    if (!name[0])
        return;
    if (names->count == SORA_INVITES_MAX) {
        names->count--;
        memmove(&names->rows[0], &names->rows[1], (size_t)names->count * sizeof(names->rows[0]));
    }
    memcpy(names->rows[names->count].id, id, 16);
    snprintf(names->rows[names->count].name, SORA_NAME_SIZE, "%s", name);
    names->count++;
}

const char *sora_names_find(const struct sora_names *names, const unsigned char id[16])
{
    for (int i = 0; i < names->count; i++) {
        if (memcmp(names->rows[i].id, id, 16) == 0)
            return names->rows[i].name;
    }
    return NULL;
}

int sora_names_pack(const struct sora_names *names, struct sora_bytes *bytes)
{
    int rc = 0;
    for (int i = 0; i < names->count && rc == 0; i++) {
        char id[2 * sizeof(names->rows[i].id) + 1];
        sora_hex(names->rows[i].id, sizeof(names->rows[i].id), id);
        rc = sora_bytes_format(bytes, "%s %s\n", id, names->rows[i].name);
    }
    return rc;
}

void sora_names_unpack(struct sora_names *names, const char *text)
{
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t length = end ? (size_t)(end - text) : strlen(text);
        unsigned char id[16];
        char name[SORA_NAME_SIZE];
        int read = 0;
        for (unsigned byte = 0; read < 16 && length > 33; read++) {
            if (sscanf(text + (ptrdiff_t)2 * read, "%2x", &byte) != 1)
                break;
            id[read] = (unsigned char)byte;
        }
        if (read == 16 && text[32] == ' ' && length - 33 < sizeof(name)) {
            snprintf(name, sizeof(name), "%.*s", (int)(length - 33), text + 33);
            sora_names_put(names, id, name);
        }
        text += length + (end != NULL);
    }
}
