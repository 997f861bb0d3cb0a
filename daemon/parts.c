/* The roles of this daemon, made in the order in which they need each other. */
#include "daemon/parts.h"

#include "base/log.h"
#include "scheduler/home.h"

#include <stdlib.h>
#include <string.h>

struct sora_parts {
    struct sora_blob_store *blobs;
    struct sora_blob_transfer *transfer;
    struct sora_model_store *models;
    struct sora_agent *agent; /* NULL without the role node */
    struct sora_store *store;
    struct sora_home *home; /* NULL without the role scheduler */
    char kernels[SORA_STATE_PATH_SIZE];
};

/* ---- start and end ---- */

static int open_blobs(const struct sora_parts_params *params, struct sora_parts *parts,
                      struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE];
    const struct sora_blob_store_params store = {.directory =
                                                     sora_state_path(params->state, "blobs", path),
                                                 .bytes_max = params->config->blob_bytes_max,
                                                 .tasks = params->disk};
    int rc = sora_blob_store_open(&store, &parts->blobs, fault);
    if (rc)
        return rc;
    const struct sora_blob_transfer_params transfer = {.store = parts->blobs, .post = params->post};
    return sora_blob_transfer_create(&transfer, &parts->transfer);
}

static void model_read(void *context, const struct sora_model_entry *entry,
                       const struct sora_fault *fault)
{
    (void)context;
    char digest[SORA_DIGEST_TEXT_SIZE];
    if (entry)
        sora_log(SORA_LOG_INFO, "model ready name=%s digest=%.16s path=%s", entry->name,
                 sora_digest_text(&entry->digest, digest), entry->path);
    else
        sora_log(SORA_LOG_ERROR, "a model cannot be used: %s", fault->text);
}

static int open_models(const struct sora_parts_params *params, struct sora_parts *parts,
                       struct sora_fault *fault)
{
    char directory[SORA_STATE_PATH_SIZE], cache[SORA_STATE_PATH_SIZE];
    const struct sora_config *config = params->config;
    const struct sora_model_store_params models = {
        .blobs = parts->blobs,
        .transfer = parts->transfer,
        .tasks = params->digests,
        .directory = sora_state_path(params->state, "models", directory),
        .cache_path = sora_state_path(params->state, "digests", cache)};
    int rc = sora_model_store_create(&models, &parts->models, fault);
    for (int i = 0; i < config->model_count && rc == SORA_OK; i++)
        rc = sora_model_store_add(parts->models, config->model_rows[i], model_read, parts);
    for (int i = 0; i < params->added->count && rc == SORA_OK; i++)
        rc = sora_model_store_add(parts->models, params->added->paths[i], model_read, parts);
    if (rc == SORA_E_FULL)
        sora_log(SORA_LOG_WARN, "more models than a node holds; some are left out");
    return rc == SORA_E_FULL ? SORA_OK : rc;
}

static int open_agent(const struct sora_parts_params *params, struct sora_parts *parts,
                      struct sora_fault *fault)
{
    char speeds[SORA_STATE_PATH_SIZE];
    const struct sora_config *config = params->config;
    struct sora_agent_params agent = {
        .post = params->post,
        .blobs = parts->blobs,
        .transfer = parts->transfer,
        .models = parts->models,
        .trust = params->trust,
        .sign = params->self->sign,
        .certificate = &params->self->certificate,
        .worker_program = config->worker_path,
        .speeds_path = sora_state_path(params->state, "speeds", speeds),
        .cache_path = sora_state_path(params->state, "kernels", parts->kernels),
        .boot = params->boot,
        .device_count = config->device_count};
    memcpy(agent.devices, config->device_rows, sizeof(agent.devices));
    return sora_agent_create(&agent, &parts->agent, fault);
}

static int open_home(const struct sora_parts_params *params, struct sora_parts *parts,
                     struct sora_fault *fault)
{
    char path[SORA_STATE_PATH_SIZE], results[SORA_STATE_PATH_SIZE];
    int rc = sora_store_open(sora_state_path(params->state, "home.db", path), &parts->store, fault);
    if (rc == SORA_OK)
        rc = sora_file_make_dirs(sora_state_path(params->state, "results", results), fault);
    if (rc)
        return rc;
    const struct sora_home_params home = {.post = params->post,
                                          .store = parts->store,
                                          .blobs = parts->blobs,
                                          .transfer = parts->transfer,
                                          .trust = params->trust,
                                          .sign = params->self->sign,
                                          .certificate = &params->self->certificate,
                                          .local_root = sora_key_public(params->self->local),
                                          .worker_program = params->config->worker_path,
                                          .results_directory = results,
                                          .keep_ms = params->config->keep_ms};
    return sora_home_create(&home, &parts->home, fault);
}

int parts_create(const struct sora_parts_params *params, struct sora_parts **out_parts,
                 struct sora_fault *fault)
{
    struct sora_parts *parts = calloc(1, sizeof(*parts));
    if (!parts)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory");
    int rc = open_blobs(params, parts, fault);
    if (rc == SORA_OK)
        rc = open_models(params, parts, fault);
    if (rc == SORA_OK && (params->config->role_bits & SORA_ROLE_NODE))
        rc = open_agent(params, parts, fault);
    if (rc == SORA_OK && (params->config->role_bits & SORA_ROLE_SCHEDULER))
        rc = open_home(params, parts, fault);
    if (rc)
        parts_destroy(&parts);
    else
        *out_parts = parts;
    return rc;
}

void parts_destroy(struct sora_parts **parts)
{
    if (!*parts)
        return;
    sora_agent_destroy(&(*parts)->agent); /* drops blobs: while the home still holds its own */
    sora_home_destroy(&(*parts)->home);
    sora_store_close(&(*parts)->store);
    sora_model_store_destroy(&(*parts)->models);
    sora_blob_transfer_destroy(&(*parts)->transfer);
    sora_blob_store_close(&(*parts)->blobs);
    free(*parts);
    *parts = NULL;
}

/* ---- messages ---- */

bool parts_message(struct sora_parts *parts, enum sora_part part, const struct sora_origin *origin,
                   const Farm__Message *message, const void *payload, size_t payload_size,
                   sora_time now)
{
    switch (part) {
    case SORA_PART_TRANSFER:
        return sora_blob_transfer_message(parts->transfer, origin, message, payload, payload_size,
                                          now);
    case SORA_PART_AGENT:
        return parts->agent &&
               sora_agent_message(parts->agent, origin, message, payload, payload_size, now);
    case SORA_PART_HOME:
        return parts->home && sora_home_message(parts->home, origin, message, now);
    }
    return false;
}

void parts_member(struct sora_parts *parts, const struct sora_identity *identity, bool up)
{
    if (!parts)
        return;
    sora_blob_transfer_peer(parts->transfer, identity->node, up);
    if (parts->agent)
        sora_agent_member(parts->agent, identity, up);
}

void parts_member_left(struct sora_parts *parts, const unsigned char node[SORA_NODE_ID_SIZE])
{
    if (parts && parts->agent)
        sora_agent_member_left(parts->agent, node);
    if (parts && parts->home)
        sora_home_member_left(parts->home, node);
}

void parts_peer_down(struct sora_parts *parts, sora_peer peer)
{
    if (parts && parts->home)
        sora_home_peer_down(parts->home, peer);
}

/* ---- the loop ---- */

_Static_assert(SORA_AGENT_POLL_MAX + SORA_HOME_POLL_MAX + 1 <= SORA_PARTS_POLL_MAX, "poll items");

size_t parts_poll(const struct sora_parts *parts, struct pollfd *out_items)
{
    size_t count = 0;
    if (parts->agent)
        count += sora_agent_poll(parts->agent, out_items + count);
    if (parts->home)
        count += sora_home_poll(parts->home, out_items + count);
    if (parts->store)
        out_items[count++] = (struct pollfd){.fd = sora_store_fd(parts->store), .events = POLLIN};
    return count;
}

sora_time parts_deadline(const struct sora_parts *parts)
{
    sora_time deadline = sora_blob_transfer_deadline(parts->transfer);
    sora_time agent = parts->agent ? sora_agent_deadline(parts->agent) : INT64_MAX;
    sora_time home = parts->home ? sora_home_deadline(parts->home) : INT64_MAX;
    deadline = agent < deadline ? agent : deadline;
    return home < deadline ? home : deadline;
}

void parts_step(struct sora_parts *parts, sora_time now)
{
    sora_blob_transfer_step(parts->transfer, now);
    if (parts->store)
        sora_store_step(parts->store);
    if (parts->agent)
        sora_agent_step(parts->agent, now);
    if (parts->home)
        sora_home_step(parts->home, now);
}

/* ---- draining, questions ---- */

void parts_drain(struct sora_parts *parts)
{
    if (parts->agent)
        sora_agent_drain(parts->agent);
}

int parts_tasks(const struct sora_parts *parts)
{
    return parts->agent ? sora_agent_tasks(parts->agent) : 0;
}

int parts_open_jobs(const struct sora_parts *parts)
{
    return parts->home ? sora_home_open_jobs(parts->home) : 0;
}

const Farm__Advert *parts_advert(struct sora_parts *parts)
{
    return parts->agent ? sora_agent_advert(parts->agent) : NULL;
}

const char *parts_sandbox(const struct sora_parts *parts, int device)
{
    return parts->agent ? sora_agent_sandbox(parts->agent, device) : "";
}

struct sora_model_store *parts_models(struct sora_parts *parts)
{
    return parts->models;
}

uint64_t parts_blob_bytes(const struct sora_parts *parts)
{
    return sora_blob_store_bytes(parts->blobs);
}
