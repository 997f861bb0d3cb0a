/* plan: how a job would be cut and placed, without rendering it. */
#include "ctl/commands.h"
#include "ctl/output.h"
#include "ctl/spec.h"

#include <stdlib.h>

static const struct sora_setting rows[] = {
    SORA_JOB_OPTION_ROWS(struct sora_ctl_options, job),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_plan_table = SORA_CTL_TABLE(rows);

static json_t *shard_json(const Farm__PlanShard *shard)
{
    return json_pack("{s:i,s:[i,i],s:s,s:s,s:f,s:I}", "take", (int)shard->take, "latents",
                     (int)shard->first, (int)shard->end, "node", shard->node_name, "device",
                     shard->device, "seconds", shard->seconds, "memory", (json_int_t)shard->memory);
}

static void print_json(const Farm__PlanReply *plan)
{
    json_t *shards = json_array(), *notes = json_array();
    for (size_t i = 0; i < plan->n_shards; i++)
        json_array_append_new(shards, shard_json(plan->shards[i]));
    for (size_t i = 0; i < plan->n_notes; i++)
        json_array_append_new(notes, json_string(plan->notes[i]));
    sora_output_json(json_pack(
        "{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:I,s:s,s:o,s:o}", "frames", (int)plan->frames,
        "latents", (int)plan->latents, "window", (int)plan->window, "overlap", (int)plan->overlap,
        "windows", (int)plan->windows, "width", (int)plan->width, "height", (int)plan->height,
        "steps", (int)plan->steps, "fps", plan->fps, "seconds", plan->seconds, "halo_bytes",
        (json_int_t)plan->halo_bytes, "waiting", plan->waiting, "shards", shards, "notes", notes));
}

static void print_text(const Farm__PlanReply *plan)
{
    char a[SORA_TEXT_SIZE], b[SORA_TEXT_SIZE];
    for (size_t i = 0; i < plan->n_notes; i++)
        fprintf(stderr, "note: %s\n", plan->notes[i]);
    printf("%u frames of %ux%u at %g fps (%s): %u latents, %u windows of %u with overlap %u, "
           "%u steps\n",
           plan->frames, plan->width, plan->height, plan->fps,
           sora_output_time(plan->fps > 0 ? plan->frames / plan->fps : 0, a), plan->latents,
           plan->windows, plan->window, plan->overlap, plan->steps);
    for (size_t i = 0; i < plan->n_shards; i++) {
        const Farm__PlanShard *shard = plan->shards[i];
        printf("  take %u  latents %u-%u  %s/%s  about %s, %s\n", shard->take, shard->first,
               shard->end ? shard->end - 1 : 0, shard->node_name, shard->device,
               sora_output_time(shard->seconds, a), sora_output_bytes(shard->memory, b));
    }
    if (plan->waiting[0])
        printf("would wait: %s\n", plan->waiting);
    else
        printf("about %s; neighbours exchange %s\n", sora_output_time(plan->seconds, a),
               sora_output_bytes(plan->halo_bytes, b));
}

int sora_ctl_plan(struct sora_ctl_context *context)
{
    struct sora_spec *spec = malloc(sizeof(*spec));
    if (!spec)
        return sora_fault_set(&context->fault, SORA_E_MEMORY, "out of memory");
    struct sora_client *client = NULL;
    int error = sora_spec_make(context, spec);
    if (!error)
        error = sora_client_open(context->options.state, &client, &context->fault);
    Farm__Plan plan = FARM__PLAN__INIT;
    plan.spec = &spec->wire;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_PLAN;
    message.plan = &plan;
    const Farm__Message *answer = NULL;
    if (!error)
        error = sora_client_call(client, &message, FARM__MESSAGE__BODY_PLAN_REPLY, 0, &answer,
                                 &context->fault);
    if (!error && context->options.json)
        print_json(answer->plan_reply);
    else if (!error)
        print_text(answer->plan_reply);
    sora_client_close(&client);
    free(spec);
    return error;
}
