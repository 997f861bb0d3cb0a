/* Layers of node/sandbox.c with files of their own. Each returns 1 when in force, 0 where the
 * kernel lacks it, or a negative error. */
#ifndef SORA_NODE_SANDBOX_PARTS_H
#define SORA_NODE_SANDBOX_PARTS_H

#include "node/sandbox.h"

int sora_sandbox_enter_landlock(const struct sora_sandbox_params *params, struct sora_fault *fault);
int sora_sandbox_enter_seccomp(const struct sora_sandbox_params *params, struct sora_fault *fault);

#endif
