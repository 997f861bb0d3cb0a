/*
 * The sampling defaults of a model directory: scheduler/scheduler_config.json of the diffusers
 * layout.
 */
#ifndef SORA_MODEL_SCHEDULE_CONFIG_H
#define SORA_MODEL_SCHEDULE_CONFIG_H

#include "model/config.h"
#include "model/schedule.h"

/* Reads solver and shift from `config` (borrowed for the call); *out_params keeps steps = 0, which
 * the caller sets. Errors: UNSUPPORTED for another scheduler class, or one with settings that this
 * build does not have (other prediction type, order, dynamic shifting ...), named with value and
 * what runs; FORMAT, LIMIT. */
int sora_schedule_params_read(const struct sora_config *config,
                              struct sora_schedule_params *out_params, struct sora_fault *fault);

#endif
