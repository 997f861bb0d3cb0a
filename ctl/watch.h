/*
 * Watch: follows one job until it is over, on a terminal as a block that is redrawn, elsewhere as
 * plain lines, with --json as one object a line. Blocks; one thread.
 */
#ifndef SORA_CTL_WATCH_H
#define SORA_CTL_WATCH_H

#include "ctl/client.h"
#include "ctl/command.h"

/* `name` is a job's id or the start of it, in hexadecimal. *out_state is the state that it ended
 * in (enum Farm__JobState). Errors: those of the client; CANCELLED when interrupted: the job goes
 * on, and the fault says how to follow it. */
int sora_watch_job(struct sora_client *client, const char *name, bool json, int *out_state,
                   struct sora_fault *fault);

/* 0 for a job that is done; else an error with its reason. */
int sora_watch_result(int state, const char *name, struct sora_fault *fault);

/* Asks for a job's status; the answer is valid until the next call. */
int sora_watch_status(struct sora_client *client, const char *name, const Farm__JobStatus **out_job,
                      struct sora_fault *fault);

#endif
