/* Fetch: a job's results to files. Blocks; one thread. */
#ifndef SORA_CTL_FETCH_H
#define SORA_CTL_FETCH_H

#include "ctl/client.h"

#include <jansson.h>
#include <stdio.h>

/* Gets a result (FARM__RESULT_KIND__*) of a job to `path`, or, when that is NULL, to the name that
 * the daemon suggests, in the current folder. The file appears whole or not at all. Writes the
 * path. Errors: those of the client and of base/files.h. */
int sora_fetch_result(struct sora_client *client, const char *job, int kind, const char *path,
                      bool quiet, char *out_path, size_t size, struct sora_fault *fault);

/* A job's report; the caller lets go of it with json_decref. */
int sora_report_get(struct sora_client *client, const char *job, json_t **out_report,
                    struct sora_fault *fault);
/* A few lines for a person. */
void sora_report_print(const json_t *report, FILE *out);

#endif
