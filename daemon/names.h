/*
 * Names: what the guests of open invites are to be called, kept beside the book of invites.
 *
 * Plain values; the owner's thread. As text: one line an invite, its id in hexadecimal, a blank,
 * the name.
 */
#ifndef SORA_DAEMON_NAMES_H
#define SORA_DAEMON_NAMES_H

#include "base/bytes.h"
#include "proto/invite.h"

struct sora_names {
    int count;
    struct {
        unsigned char id[16];
        char name[SORA_NAME_SIZE];
    } rows[SORA_INVITES_MAX];
};

/* Remembers a name; the oldest falls out when all places are taken. "" is not remembered. */
void sora_names_put(struct sora_names *names, const unsigned char id[16], const char *name);
/* NULL when there is none. */
const char *sora_names_find(const struct sora_names *names, const unsigned char id[16]);

int sora_names_pack(const struct sora_names *names, struct sora_bytes *bytes);
/* Lines that are none are left out. */
void sora_names_unpack(struct sora_names *names, const char *text);

#endif
