/*
 * Keep: several small files, and what is to be done once they are on disk.
 *
 * The files are written in order on the thread of a sora_tasks, whole or not at all each, until one
 * fails; then `done` is called by the owner's thread. What must hold after a crash is answered in
 * `done`. One owner thread; nothing blocks.
 */
#ifndef SORA_DAEMON_KEEP_H
#define SORA_DAEMON_KEEP_H

#include "base/bytes.h"
#include "base/tasks.h"
#include "daemon/state.h"
#include "proto/invite.h"

#define SORA_KEEP_FILES_MAX 6

struct sora_keep;

typedef void (*sora_keep_done)(void *context, const struct sora_fault *fault);

/* `context` is handed to `done`. Returns owned; NULL when out of memory. */
struct sora_keep *sora_keep_create(const struct sora_state *state, sora_keep_done done,
                                   void *context);
/* For one that was not posted. */
void sora_keep_destroy(struct sora_keep **keep);

/* Adds a file of the state, by name; copies the content. Errors: MEMORY, FULL. */
int sora_keep_add(struct sora_keep *keep, const char *name, const void *data, size_t size);
int sora_keep_add_certificate(struct sora_keep *keep, const char *name,
                              const struct sora_certificate *certificate);
/* A key, or the book of invites; kept until `done`, and not to be changed before. */
void sora_keep_add_key(struct sora_keep *keep, const char *name, const struct sora_key *key);
void sora_keep_add_book(struct sora_keep *keep, const struct sora_invites *book);

/* Takes the keep. Always one `done`, also at the end of `tasks`. Errors: FULL. */
int sora_keep_post(struct sora_keep **keep, struct sora_tasks *tasks);

#endif
