/*
 * State: the folder in which a daemon keeps what must survive it.
 *
 *   version              "sorafarm-state 1"
 *   lock                 held while a daemon uses the folder
 *   sign.key curve.key   the node's keys
 *   local.key            root of the studio that vouches for the local user
 *   studio.key           root of a studio that was made here by `farm init`
 *   certificate          the node's own
 *   members issued invites
 *   models.added         folders of `soractl models add`
 *   ctl/                 all that soractl reads: sign.key, curve.key, certificate,
 *                        server.certificate, endpoint
 *   blobs/ models/ results/ home.db speeds digests
 *
 * Opening blocks; the rest is names.
 */
#ifndef SORA_DAEMON_STATE_H
#define SORA_DAEMON_STATE_H

#include "base/files.h"

#define SORA_STATE_VERSION 1
#define SORA_STATE_PATH_SIZE 1024

struct sora_state {
    char directory[SORA_STATE_PATH_SIZE - 100];
    int lock; /* descriptor, -1 when closed */
};

/* Where the state is: `option` when not NULL, else the environment's SORAFARM_STATE, systemd's
 * STATE_DIRECTORY, /var/lib/sorafarm for root, XDG_STATE_HOME/sorafarm, ~/.local/state/sorafarm.
 * Errors: LIMIT, NOT_FOUND (no home). */
int sora_state_find(const char *option, char *out_path, size_t size, struct sora_fault *fault);

/* Makes what is missing and locks the folder. Errors: UNSUPPORTED (of a newer version), FORMAT (not
 * a state), BUSY (another daemon), and those of base/files. */
int sora_state_open(const char *path, struct sora_state *out_state, struct sora_fault *fault);
void sora_state_close(struct sora_state *state);

/* Writes DIRECTORY/name to `out` and returns it. */
const char *sora_state_path(const struct sora_state *state, const char *name,
                            char out[SORA_STATE_PATH_SIZE]);

#endif
