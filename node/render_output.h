/*
 * Output of a render: final latents through the streaming VAE to the video file, the contact sheet,
 * the report and the dumps, frame by frame. Memory does not depend on the length.
 */
#ifndef SORA_NODE_RENDER_OUTPUT_H
#define SORA_NODE_RENDER_OUTPUT_H

#include "model/vae.h"
#include "node/render.h"

struct sora_render_output_params {
    struct sora_vae *vae;
    const struct sora_render_options *options;
    const struct sora_job_plan *plan;
    const char *model_name, *title; /* title NULL: none */
    const char *device_class;
    const float *latents; /* [T,C,H,W] of all takes, one after the other */
    const struct sora_render_control *control;
};

/* Opens every output before the first frame is decoded, so that an unwritable place is known at
 * once. On error and on CANCELLED nothing is left behind. */
int sora_render_output(const struct sora_render_output_params *params, struct sora_fault *fault);

/* Checks that every path of the options can be written, without leaving anything. */
int sora_render_output_check(const struct sora_render_options *options, struct sora_fault *fault);

#endif
