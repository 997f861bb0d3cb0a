/*
 * Client: soractl's connection to its daemon.
 *
 * Credentials lie in STATE/ctl, made by sorad for its local user: sign.key, curve.key, certificate,
 * server.certificate and endpoint. Calls block until the answer, a time limit, or a signal
 * (CANCELLED). A lost connection is made again by itself; requests under way then fail with
 * TIMEOUT unless the call says that they may be repeated. One thread.
 */
#ifndef SORA_CTL_CLIENT_H
#define SORA_CTL_CLIENT_H

#include "proto/link.h"

#include <signal.h>

struct sora_client;

/* Set by the program's signal handler; every wait ends with CANCELLED. */
extern volatile sig_atomic_t sora_client_interrupted;

/* Finds the state folder (`state`, else $SORAFARM_STATE, else where sorad keeps it), connects and
 * waits at most 5 s. Returns owned. Errors: NOT_FOUND (no daemon, with how to start it), DENIED,
 * UNSUPPORTED (protocol), CANCELLED. */
int sora_client_open(const char *state, struct sora_client **out_client, struct sora_fault *fault);
void sora_client_close(struct sora_client **client);

/* Sends a request and waits for its answer of kind `expected` (FARM__MESSAGE__BODY_*). The answer
 * is valid until the next call. A Refusal becomes its code and sentence. `seconds` 0 means 30. */
int sora_client_call(struct sora_client *client, Farm__Message *request, int expected,
                     double seconds, const Farm__Message **out_answer, struct sora_fault *fault);

/* Sends without waiting; *out_id is what a refusal would name. */
int sora_client_send(struct sora_client *client, Farm__Message *request, uint64_t *out_id,
                     struct sora_fault *fault);

/* What comes by itself: 1 with a message event, valid until the next call; 0 when `seconds` passed;
 * SORA_E_STALE when the connection was lost and is there again, so that a watch must be asked for
 * again. */
int sora_client_next(struct sora_client *client, double seconds, struct sora_link_event *out_event,
                     struct sora_fault *fault);

/* Called with every Event that comes while a call waits for its answer; NULL: they are dropped. */
typedef void (*sora_client_on_event)(void *context, const Farm__Event *event);
void sora_client_listen(struct sora_client *client, sora_client_on_event on_event, void *context);

/* Gets a blob into the open file `fd` at `path`, from offset 0, and checks its digest. `progress`
 * may be NULL. Errors: those of call; FORMAT for a wrong digest; SPACE, IO. */
typedef void (*sora_client_progress)(void *context, uint64_t done, uint64_t size);
int sora_client_download(struct sora_client *client, const unsigned char *digest, uint64_t size,
                         int fd, const char *path, sora_client_progress progress, void *context,
                         struct sora_fault *fault);

/* For signed requests. Borrowed. */
const struct sora_key *sora_client_sign(const struct sora_client *client);
const struct sora_certificate *sora_client_certificate(const struct sora_client *client);
const struct sora_identity *sora_client_server(const struct sora_client *client);

#endif
