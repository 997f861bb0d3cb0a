/*
 * The commands of sora-worker (node/main_worker.c). argv[0] is the command's name; each runs to its
 * end and returns the exit status (base/error.h).
 */
#ifndef SORA_NODE_COMMANDS_H
#define SORA_NODE_COMMANDS_H

#include "base/settings.h"

/* Options of those that people call, for the manual page; of render: node/render_options.h. */
extern const struct sora_settings_table sora_devices_options_table;
extern const struct sora_settings_table sora_selftest_options_table;

int sora_command_render(int argc, char **argv);
int sora_command_serve(int argc, char **argv);
int sora_command_assemble(int argc, char **argv);
int sora_command_devices(int argc, char **argv);
int sora_command_selftest(int argc, char **argv);

#endif
