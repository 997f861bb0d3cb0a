/*
 * Door: the hourly test that the listener turns strangers away.
 *
 * A link of its own with a random key dials our control socket and must be refused. Owned by the
 * daemon's thread; nothing blocks.
 */
#ifndef SORA_DAEMON_DOOR_H
#define SORA_DAEMON_DOOR_H

#include "proto/link.h"

enum sora_door_verdict {
    SORA_DOOR_UNTESTED,
    SORA_DOOR_CLOSED, /* a stranger was refused */
    SORA_DOOR_OPEN,   /* a stranger was let in: the process must end */
    SORA_DOOR_SILENT, /* no answer in time */
};

struct sora_door {
    struct sora_link *link; /* NULL when no test runs */
    struct sora_key *stranger;
    sora_time deadline;
    enum sora_door_verdict verdict; /* of the last test */
};

/* Begins a test unless one runs. `link` listens at `endpoint` as `server`. Errors: those of link.
 */
int sora_door_test(struct sora_door *door, struct sora_link *link,
                   const struct sora_identity *server, const char *endpoint, sora_time now,
                   struct sora_fault *fault);
/* True when a test has ended in this call. */
bool sora_door_step(struct sora_door *door, sora_time now);
size_t sora_door_poll(const struct sora_door *door, struct pollfd *out_items);
sora_time sora_door_deadline(const struct sora_door *door);
void sora_door_fini(struct sora_door *door);

#endif
