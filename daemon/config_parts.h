/* Inside daemon/config*.c: lists, sizes and places behind the keys. */
#ifndef SORA_DAEMON_CONFIG_PARTS_H
#define SORA_DAEMON_CONFIG_PARTS_H

#include "daemon/config.h"

/* Fills the resolved half from what was set. Errors: INVALID, LIMIT. */
int config_resolve(struct sora_config *config, struct sora_fault *fault);

#endif
