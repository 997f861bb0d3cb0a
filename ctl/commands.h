/* The commands, each in the file cmd_<name>.c; ctl/commands.c lists them in the order of help. */
#ifndef SORA_CTL_COMMANDS_H
#define SORA_CTL_COMMANDS_H

#include "ctl/command.h"

extern const struct sora_settings_table sora_ctl_submit_table, sora_ctl_plan_table,
    sora_ctl_plain_table, sora_ctl_list_table, sora_ctl_fetch_table, sora_ctl_logs_table,
    sora_ctl_farm_init_table, sora_ctl_farm_invite_table, sora_ctl_farm_revoke_table;

int sora_ctl_submit(struct sora_ctl_context *context);
int sora_ctl_plan(struct sora_ctl_context *context);
int sora_ctl_status(struct sora_ctl_context *context);
int sora_ctl_watch(struct sora_ctl_context *context);
int sora_ctl_list(struct sora_ctl_context *context);
int sora_ctl_cancel(struct sora_ctl_context *context);
int sora_ctl_pause(struct sora_ctl_context *context);
int sora_ctl_resume(struct sora_ctl_context *context);
int sora_ctl_fetch(struct sora_ctl_context *context);
int sora_ctl_report(struct sora_ctl_context *context);
int sora_ctl_delete(struct sora_ctl_context *context);
int sora_ctl_logs(struct sora_ctl_context *context);
int sora_ctl_nodes(struct sora_ctl_context *context);
int sora_ctl_models(struct sora_ctl_context *context);
int sora_ctl_models_add(struct sora_ctl_context *context);
int sora_ctl_models_remove(struct sora_ctl_context *context);
int sora_ctl_models_where(struct sora_ctl_context *context);
int sora_ctl_doctor(struct sora_ctl_context *context);
int sora_ctl_farm_init(struct sora_ctl_context *context);
int sora_ctl_farm_invite(struct sora_ctl_context *context);
int sora_ctl_farm_join(struct sora_ctl_context *context);
int sora_ctl_farm_members(struct sora_ctl_context *context);
int sora_ctl_farm_revoke(struct sora_ctl_context *context);
int sora_ctl_completion(struct sora_ctl_context *context);
int sora_ctl_manual(struct sora_ctl_context *context);
int sora_ctl_version(struct sora_ctl_context *context);

#endif
