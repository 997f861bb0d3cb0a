/*
 * Model facts: what planning must know of a model folder, read from its bundle and the small
 * configuration files of its parts; no weight is read. Blocks on the disk; any thread.
 */
#ifndef SORA_NODE_MODEL_FACTS_H
#define SORA_NODE_MODEL_FACTS_H

#include "base/job_plan.h"
#include "model/bundle.h"

/* The texts of out_facts are the bundle's. Errors: those of the parts' configurations, FORMAT
 * (transformer and VAE do not fit together), LIMIT (sora_model_facts_check). */
int sora_model_facts_read(const struct sora_bundle *bundle, struct sora_model_facts *out_facts,
                          struct sora_fault *fault);

#endif
