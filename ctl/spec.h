/*
 * Spec: options and job files become the JobSpec that travels, signed. Plain value; the caller owns
 * it, and it borrows the options. One thread.
 */
#ifndef SORA_CTL_SPEC_H
#define SORA_CTL_SPEC_H

#include "ctl/client.h"
#include "ctl/command.h"

/* `wire` points into this struct: must not be copied. */
struct sora_spec {
    Farm__JobSpec wire;
    Farm__Output output;
    Farm__Shot shots[SORA_JOB_SHOTS_MAX], *shot_list[SORA_JOB_SHOTS_MAX];
    unsigned char id[SORA_JOB_ID_SIZE];
};

/* Reads the job file (first argument or --job), checks that there is something to render, makes a
 * random id and fills the spec. Errors: INVALID, LIMIT, NOT_FOUND ... with the way out. */
int sora_spec_make(struct sora_ctl_context *context, struct sora_spec *out_spec);

/* Signs it and submits; prints the notes to standard error. */
int sora_spec_submit(struct sora_client *client, const struct sora_spec *spec,
                     struct sora_fault *fault);

#endif
