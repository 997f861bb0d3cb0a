/* Setting up the farm of the agent's tests, orders, and the loop. */
#ifndef SORA_TESTS_UNIT_AGENT_FARM_H
#define SORA_TESTS_UNIT_AGENT_FARM_H

#include "tests/unit/agent_home.h"

#include <limits.h>

/* What a job needs; zeros mean the small one. */
struct farm_params {
    int nodes;
    int32_t latents, window, overlap, steps, channels, height, width;
    uint32_t chaos, seed;
    uint64_t memory_max;
    const char *hours, *card;
    const char *program, *model; /* the project's own worker; NULL: the toy */
};

static inline void farm_node(struct home *home, int index)
{
    struct rig *rig = &home->rig;
    struct rig_node *node = &rig->nodes[index];
    char name[32];
    *node = (struct rig_node){.rig = rig, .index = index, .models = {.here = true}};
    node->transfer.to = node;
    SORA_ASSERT(sora_key_create(SORA_KEY_SIGN, &node->sign, NULL) == 0);
    SORA_ASSERT(sora_key_create(SORA_KEY_CURVE, &node->curve, NULL) == 0);
    struct sora_identity wanted = {.roles = index ? SORA_ROLE_NODE
                                                  : SORA_ROLE_NODE | SORA_ROLE_SCHEDULER,
                                   .wall_not_after_ms = sora_clock_wall_ms() + 86400000};
    memcpy(wanted.node, sora_key_public(node->sign), sizeof(wanted.node));
    memcpy(wanted.curve, sora_key_public(node->curve), sizeof(wanted.curve));
    snprintf(wanted.name, sizeof(wanted.name), "node%d", index);
    snprintf(wanted.studio, sizeof(wanted.studio), "studio");
    SORA_ASSERT(sora_certificate_issue(rig->root, &wanted, &node->certificate, NULL) == 0);
    SORA_ASSERT(sora_certificate_read(&node->certificate, &node->identity, NULL) == 0);
    SORA_ASSERT(sora_tasks_create("blobs", 256, &node->tasks, NULL) == 0);
    snprintf(name, sizeof(name), "blobs%d", index);
    const struct sora_blob_store_params blobs = {.directory = scratch_path(name),
                                                 .tasks = node->tasks};
    SORA_ASSERT(sora_blob_store_open(&blobs, &node->blobs, NULL) == 0);
    node->post =
        (struct sora_post){.owner = node, .send = rig_send, .reply = rig_reply, .name = rig_name};
    memcpy(node->post.self, node->identity.node, SORA_NODE_ID_SIZE);
}

static inline void farm_agent(struct home *home, int index, const struct farm_params *params)
{
    struct rig_node *node = &home->rig.nodes[index];
    char name[32];
    snprintf(name, sizeof(name), "speeds%d", index);
    struct sora_agent_params agent = {.post = &node->post,
                                      .blobs = node->blobs,
                                      .transfer = &node->transfer,
                                      .models = &node->models,
                                      .trust = home->rig.trust,
                                      .sign = node->sign,
                                      .certificate = &node->certificate,
                                      .worker_program = home->rig.program,
                                      .speeds_path = scratch_path(name),
                                      .boot = RIG_BOOT + (unsigned)index,
                                      .device_count = 1};
    snprintf(agent.devices[0].id, sizeof(agent.devices[0].id), "cpu0");
    if (params->hours)
        snprintf(agent.devices[0].hours, sizeof(agent.devices[0].hours), "%s", params->hours);
    if (params->card)
        snprintf(agent.devices[0].card, sizeof(agent.devices[0].card), "%s", params->card);
    agent.devices[0].memory_max = params->memory_max;
    struct sora_fault fault = {0};
    if (sora_agent_create(&agent, &node->agent, &fault)) {
        fprintf(stderr, "%s\n", fault.text);
        SORA_ASSERT(!"sora_agent_create");
    }
    sora_agent_member(node->agent, &home->rig.nodes[0].identity, true);
}

static inline void farm_reference(struct home *home)
{
    struct sora_device *device = NULL;
    const struct sora_cpu_params cpu = {.thread_count = 1};
    struct toy toy = {.bias = 0.25f};
    struct sora_serve_shard whole = home->job;
    int32_t latents = whole.timeline.latent_count;
    whole.owned = (struct sora_range){0, latents};
    SORA_ASSERT(sora_cpu_device_create(&cpu, &device, NULL) == 0);
    struct sora_sampler *sampler = toy_sampler(device, &whole, &home->schedule, &toy);
    home->elements = toy.elements;
    size_t size = (size_t)latents * toy.elements;
    home->reference = calloc(size, sizeof(float));
    home->result = calloc(size, sizeof(float));
    toy_make_noise(sampler, whole.owned);
    while (sora_sampler_step_index(sampler) < home->schedule.steps)
        SORA_ASSERT(sora_sampler_step(sampler, NULL) == 0);
    for (int32_t f = 0; f < latents; f++)
        SORA_ASSERT(sora_sampler_get_latent(sampler, f, home->reference + (size_t)f * toy.elements,
                                            NULL) == 0);
    sora_sampler_destroy(&sampler);
    sora_device_destroy(&device);
}

static inline void rows_stored(void *context, const struct sora_blob *blob,
                               const struct sora_fault *fault)
{
    SORA_ASSERT(!fault || fault->code == 0);
    *(struct sora_blob *)context = *blob;
}

static inline void farm_job(struct home *home, const struct farm_params *p)
{
    static const float rows[TOY_TEXT_WIDTH] = {0.25f, 1, 2, 3};
    home->job =
        (struct sora_serve_shard){.timeline = {.latent_count = p->latents ? p->latents : 24,
                                               .window_latents = p->window ? p->window : 7,
                                               .overlap_latents = p->overlap ? p->overlap : 2},
                                  .channels = p->channels ? p->channels : 2,
                                  .height = p->height ? p->height : 3,
                                  .width = p->width ? p->width : 2,
                                  .guidance = 1.5};
    const struct sora_schedule_params schedule = {
        .solver = SORA_SOLVER_UNIPC, .steps = p->steps ? p->steps : 6, .shift = 5};
    SORA_ASSERT(sora_schedule_init(&schedule, &home->schedule, NULL) == 0);
    memset(home->id, 0x5a, sizeof(home->id));
    home->checkpoint_steps = 2;
    home->context = 3;
    home->real = p->program != NULL;
    for (int i = 0; i < 2 && !home->real; i++)
        SORA_ASSERT(sora_blob_store_put(home->rig.nodes[0].blobs, rows, sizeof(rows), rows_stored,
                                        i ? &home->negative : &home->rows) == 0);
    if (!home->real)
        farm_reference(home);
}

static inline void farm_model(const struct farm_params *params)
{
    if (params->model) {
        snprintf(rig_model_path, sizeof(rig_model_path), "%s", params->model);
        return;
    }
    snprintf(rig_model_path, sizeof(rig_model_path), "%s", scratch_path("model"));
    SORA_ASSERT(mkdir(rig_model_path, 0755) == 0 &&
                mkdir(scratch_path("model/transformer"), 0755) == 0);
    FILE *config = fopen(scratch_path("model/transformer/config.json"), "w");
    SORA_ASSERT(config && fprintf(config, "{\"text_dim\": %d}", TOY_TEXT_WIDTH) > 0);
    fclose(config);
}

static inline struct home *farm_create(const struct farm_params *params)
{
    struct home *home = calloc(1, sizeof(*home));
    struct rig *rig = &home->rig;
    rig->on_home = home_take;
    rig->random = params->seed * 7919 + 1;
    rig->chaos = params->chaos;
    if (params->program)
        snprintf(rig->program, sizeof(rig->program), "%s", params->program);
    else
        SORA_ASSERT(readlink("/proc/self/exe", rig->program, sizeof(rig->program) - 1) > 0);
    SORA_ASSERT(sora_key_create(SORA_KEY_ROOT, &rig->root, NULL) == 0);
    SORA_ASSERT(sora_trust_create(&rig->trust) == 0);
    SORA_ASSERT(sora_trust_add_root(rig->trust, sora_key_public(rig->root)) == 0);
    farm_model(params);
    rig->node_count = params->nodes + 1;
    for (int i = 0; i < rig->node_count; i++)
        farm_node(home, i);
    for (int i = 1; i < rig->node_count; i++)
        farm_agent(home, i, params);
    farm_job(home, params);
    return home;
}

static inline void farm_destroy(struct home *home)
{
    struct rig *rig = &home->rig;
    for (int i = 0; i < rig->node_count; i++) {
        struct rig_node *node = &rig->nodes[i];
        sora_agent_destroy(&node->agent);
        sora_tasks_destroy(&node->tasks);
        sora_blob_store_close(&node->blobs);
        sora_key_destroy(&node->sign);
        sora_key_destroy(&node->curve);
    }
    for (int i = 0; i < rig->queued; i++) {
        free(rig->queue[i].bytes);
        free(rig->queue[i].payload);
    }
    sora_trust_destroy(&rig->trust);
    sora_key_destroy(&rig->root);
    free(home->reference);
    free(home->result);
    free(home);
}

/* ---- the loop ---- */

static inline void farm_turn(struct home *home)
{
    struct rig *rig = &home->rig;
    struct pollfd items[RIG_NODES * (SORA_AGENT_POLL_MAX + 1)];
    nfds_t count = 0;
    sora_time now = rig_now(rig), wake = INT64_MAX;
    bool busy = rig->queued > 0, waits = false;
    for (int i = 0; i < rig->node_count; i++) {
        struct rig_node *node = &rig->nodes[i];
        busy |= sora_tasks_step(node->tasks) > 0;
        waits |= sora_tasks_pending(node->tasks) > 0;
        items[count++] = (struct pollfd){.fd = sora_tasks_fd(node->tasks), .events = POLLIN};
        if (!node->agent)
            continue;
        if (now >= sora_agent_deadline(node->agent))
            sora_agent_step(node->agent, now);
        sora_time at = sora_agent_deadline(node->agent);
        wake = at < wake ? at : wake;
        count += (nfds_t)sora_agent_poll(node->agent, items + count);
    }
    for (int i = rig->queued < 16 ? rig->queued : 16; i > 0 && rig->queued > 0; i--)
        rig_deliver(rig);
    int ready = poll(items, count, busy || wake <= now ? 0 : 10);
    for (int i = 1; ready > 0 && i < rig->node_count; i++)
        sora_agent_step(rig->nodes[i].agent, rig_now(rig));
    rig->spins = ready == 0 && !busy && wake <= now ? rig->spins + 1 : 0;
    SORA_ASSERT(rig->spins < 50);
    if (ready == 0 && !busy && !waits && wake > rig_now(rig))
        rig->skipped += wake - rig_now(rig); /* nothing happens until then */
}

/* Runs until the condition holds; false after 20 s of real time. */
static inline bool farm_until(struct home *home, bool (*until)(const struct home *home))
{
    sora_time end = sora_clock_now() + 20 * SORA_TIME_SECOND;
    while (!until(home)) {
        if (sora_clock_now() > end)
            return false;
        farm_turn(home);
    }
    return true;
}

/* Runs for `seconds` of the rig's time. */
static inline void farm_for(struct home *home, int seconds)
{
    sora_time end = rig_now(&home->rig) + seconds * SORA_TIME_SECOND;
    while (rig_now(&home->rig) < end)
        farm_turn(home);
}

#endif
