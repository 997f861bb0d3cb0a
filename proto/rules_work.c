/* Rules of the messages between home and nodes, and between nodes. */
#include "proto/message.h"
#include "proto/rules.h"

#include <string.h>

#define SORA_LATENTS_MAX 65536
#define HALO_BYTES_MAX ((uint64_t)1 << 30)

static const struct sora_rule speed_rows[] = {
    SORA_EXACT("model", SORA_DIGEST_SIZE), SORA_NUMBER("width", 1, 4096),
    SORA_NUMBER("height", 1, 4096),        SORA_NUMBER("window", 1, 1024),
    SORA_REAL("window_ms", 0, 1000000000), SORA_REAL("decode_ms", 0, 1000000000),
};

static const struct sora_rule device_rows[] = {
    SORA_TEXT("id", 1, 64),
    SORA_TEXT("kind", 1, 16),
    SORA_TEXT("name", 0, 128),
    SORA_TEXT("arch", 0, 64),
    SORA_TEXT("device_class", 0, 128),
    SORA_NUMBER("memory_total", 0, UINT64_MAX),
    SORA_NUMBER("memory_free", 0, UINT64_MAX),
    SORA_NUMBER("threads", 0, 4096),
    SORA_CHOICE("state"),
    SORA_TEXT("state_text", 0, 256),
    SORA_PARTS("speeds", 16),
    SORA_TEXT("int8_class", 0, 128),
};

static const struct sora_rule model_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_TEXT("name", 1, 128),
    SORA_NUMBER("size", 0, UINT64_MAX),
};

static const struct sora_rule model_facts_rows[] = {
    SORA_NUMBER("window", 3, 1024),
    SORA_NUMBER("overlap", 1, 1022),
    SORA_NUMBER("channels", 1, 256),
    SORA_NUMBER("temporal_factor", 1, 16),
    SORA_NUMBER("spatial_factor", 1, 64),
    SORA_NUMBER("multiple_width", 1, 1024),
    SORA_NUMBER("multiple_height", 1, 1024),
    SORA_NUMBER("width", 16, 16384),
    SORA_NUMBER("height", 16, 16384),
    SORA_REAL("fps", 0, 240),
    SORA_NUMBER("steps", 1, 1000),
    SORA_REAL("guidance", 0, 100),
    SORA_REAL("shift", 0, 100),
    SORA_NUMBER("solver", 0, 15),
    SORA_REAL("noise_share", 0, 1),
    SORA_NUMBER("context_latents", 0, 1024),
    SORA_NUMBER("hidden", 1, 65536),
    SORA_NUMBER("ffn", 1, 262144),
    SORA_NUMBER("layers", 1, 1024),
    SORA_LINES("negative", 0, (16 << 10)),
    SORA_TEXT("knows", 0, 1024),
    SORA_TEXT("words", 0, (16 << 10)),
    SORA_NUMBER("decode_pixel_bytes", 0, (1 << 24)),
};

static const struct sora_rule model_file_rows[] = {
    SORA_TEXT("path", 1, 256),
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_NUMBER("size", 0, UINT64_MAX),
};

static const struct sora_rule model_manifest_rows[] = {
    SORA_TEXT("name", 1, 128),
    SORA_PART("facts"),
    SORA_PARTS("files", 1024),
};

static const struct sora_rule task_report_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE), SORA_NUMBER("shard", 0, 511),          SORA_FLAG("text"),
    SORA_NUMBER("epoch", 0, UINT32_MAX), SORA_NUMBER("version", 0, UINT64_MAX), SORA_CHOICE("work"),
    SORA_NUMBER("step", 0, 1000),        SORA_NUMBER("code", -64, 0),
};

static const struct sora_rule advert_rows[] = {
    SORA_PARTS("devices", 16),
    SORA_PARTS("models", 64),
    SORA_NUMBER("roles", 0, 7),
    SORA_REAL("load", 0, 65536),
    SORA_FLAG("draining"),
    SORA_NUMBER("sequence", 0, UINT64_MAX),
    SORA_NUMBER("boot", 0, UINT64_MAX),
    SORA_PARTS("reports", 16),
};

static const struct sora_rule lease_body_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),   SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),   SORA_EXACT("home", SORA_NODE_ID_SIZE),
    SORA_EXACT("node", SORA_NODE_ID_SIZE), SORA_TEXT("device", 1, 64),
    SORA_NUMBER("lease_ms", 100, 3600000), SORA_EXACT("model", SORA_DIGEST_SIZE),
    SORA_NUMBER("memory", 0, UINT64_MAX),  SORA_FLAG("text"),
    SORA_NUMBER("boot", 0, UINT64_MAX),
};

static const struct sora_rule lease_offer_rows[] = {
    SORA_PART("lease"),
};

static const struct sora_rule lease_grant_rows[] = {
    SORA_PART("lease"),
    SORA_NUMBER("lease_ms", 100, 3600000),
};

static const struct sora_rule lease_renew_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("lease_ms", 100, 3600000),
    SORA_FLAG("text"),
    SORA_NUMBER("sequence", 0, UINT64_MAX),
};

static const struct sora_rule lease_revoke_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_TEXT("reason", 0, 512),
    SORA_FLAG("text"),
};

static const struct sora_rule lease_return_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("code", -64, 0),
    SORA_TEXT("reason", 0, 512),
    SORA_FLAG("text"),
    SORA_FLAG("stopped"),
};

static const struct sora_rule timeline_rows[] = {
    SORA_NUMBER("latents", 1, SORA_LATENTS_MAX),
    SORA_NUMBER("window", 3, 1024),
    SORA_NUMBER("overlap", 1, 1022),
    SORA_FLAG("static_phase"),
    SORA_NUMBER("channels", 1, 256),
    SORA_NUMBER("width", 1, 4096),
    SORA_NUMBER("height", 1, 4096),
};

static const struct sora_rule schedule_rows[] = {
    SORA_NUMBER("solver", 0, 15),
    SORA_NUMBER("steps", 1, 1000),
    SORA_REALS("sigmas", 0, 1, 1001),
    SORA_REALS("timesteps", 0, 1000, 1000),
    SORA_REALS("correctors", -1000000, 1000000, 4000),
    SORA_REALS("predictors", -1000000, 1000000, 3000),
};

static const struct sora_rule neighbour_rows[] = {
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_EXACT("node", SORA_NODE_ID_SIZE),
    SORA_TEXTS("endpoints", 6, 256, 8),
    SORA_NUMBER("resume_step", 0, 1000),
};

static const struct sora_rule blob_name_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_NUMBER("size", 0, UINT64_MAX),
};

static const struct sora_rule state_part_rows[] = {
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_PART("state"),
};

static const struct sora_rule shard_text_rows[] = {
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_PART("prompt"),
    SORA_PERHAPS("negative"),
};

static const struct sora_rule shard_assign_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_PART("timeline"),
    SORA_PART("schedule"),
    SORA_NUMBER("seed", 0, UINT64_MAX),
    SORA_NUMBER("shot", 0, 65535),
    SORA_NUMBER("noise", 0, 15),
    SORA_REAL("guidance", 0, 100),
    SORA_EXACT("model", SORA_DIGEST_SIZE),
    SORA_PARTS("neighbours", 16),
    SORA_NUMBER("step", 0, 1000),
    SORA_NUMBER("checkpoint_steps", 0, 1000),
    SORA_TEXT("device", 1, 64),
    SORA_TEXT("device_class", 0, 128),
    SORA_REAL("fps", 0, 240),
    SORA_NUMBER("frame_width", 16, 16384),
    SORA_NUMBER("frame_height", 16, 16384),
    SORA_NUMBER("version", 0, UINT64_MAX),
    SORA_NUMBER("boot", 0, UINT64_MAX),
    SORA_NUMBER("floor", 0, 1000),
    SORA_FLAG("park"),
    SORA_NUMBER("shards", 1, 512),
    SORA_REAL("noise_share", 0, 1),
    SORA_PARTS("texts", 256),
    SORA_PARTS("states", 512),
    SORA_NUMBER("context_latents", 0, 1024),
};

static const struct sora_rule shard_progress_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),       SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),       SORA_NUMBER("step", 0, 1000),
    SORA_NUMBER("frames_done", 0, UINT32_MAX), SORA_CHOICE("state"),
    SORA_REAL("steps_per_s", 0, 1000000),
};

static const struct sora_rule halo_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_CHOICE("kind"),
    SORA_NUMBER("step", 0, 1000),
    SORA_NUMBER("from_shard", 0, 511),
    SORA_NUMBER("to_shard", 0, 511),
    SORA_NUMBER("from_epoch", 0, UINT32_MAX),
    SORA_NUMBER("to_epoch", 0, UINT32_MAX),
    SORA_NUMBER("window", 0, 65536),
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("count", 1, SORA_LATENTS_MAX),
    SORA_NUMBER("offset", 0, HALO_BYTES_MAX),
    SORA_NUMBER("size", 1, HALO_BYTES_MAX),
};

static const struct sora_rule halo_at_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("from_shard", 0, 511),
    SORA_NUMBER("to_shard", 0, 511),
    SORA_NUMBER("from_epoch", 0, UINT32_MAX),
    SORA_NUMBER("to_epoch", 0, UINT32_MAX),
    SORA_NUMBER("step", 0, 1000),
    SORA_FLAG("again"),
    SORA_NUMBER("have", 0, UINT64_MAX),
};

static const struct sora_rule checkpoint_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("step", 0, 1000),
    SORA_PART("state"),
};

static const struct sora_rule checkpoint_stored_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("step", 0, 1000),
};

static const struct sora_rule segment_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("index", 0, 65535),
    SORA_NUMBER("frame_first", 0, UINT32_MAX),
    SORA_NUMBER("frame_count", 0, UINT32_MAX),
    SORA_PART("video"),
    SORA_FLAG("last"),
};

static const struct sora_rule segment_stored_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_NUMBER("shard", 0, 511),
    SORA_NUMBER("index", 0, 65535),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_FLAG("complete"),
};

#define TEXTS_MAX 512
static const struct sora_rule text_encode_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_EXACT("model", SORA_DIGEST_SIZE),
    {"texts", SORA_RULE_LINES, 0, (100 << 10), TEXTS_MAX},
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_NUMBER("version", 0, UINT64_MAX),
    SORA_NUMBER("boot", 0, UINT64_MAX),
    SORA_TEXT("device", 1, 64),
    SORA_NUMBER("solver", 0, 15),
    SORA_NUMBER("steps", 1, 1000),
    SORA_REAL("shift", 0, 100),
};

static const struct sora_rule text_encoded_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_PARTS("rows", TEXTS_MAX),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_PART("schedule"),
};

static const struct sora_rule blob_get_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_NUMBER("offset", 0, UINT64_MAX),
    SORA_NUMBER("size", 1, (64 << 20)),
};

static const struct sora_rule blob_chunk_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_NUMBER("offset", 0, UINT64_MAX),
    SORA_NUMBER("size", 0, UINT64_MAX),
};

static const struct sora_rule blob_have_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
};

static const struct sora_rule blob_have_reply_rows[] = {
    SORA_FLAG("have"),
    SORA_NUMBER("size", 0, UINT64_MAX),
};

static int check_range(const char *what, uint32_t first, uint32_t end, uint32_t limit,
                       struct sora_fault *fault)
{
    if (first < end && end <= limit)
        return SORA_OK;
    return sora_fault_set(fault, SORA_E_FORMAT, "%s has latents [%u,%u); the timeline has %u", what,
                          first, end, limit);
}

static int check_timeline(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__Timeline *timeline = (const Farm__Timeline *)message;
    if (timeline->overlap + 2 > timeline->window)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "overlap %u does not fit a window of %u latents", timeline->overlap,
                              timeline->window);
    return SORA_OK;
}

static int check_schedule(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__Schedule *schedule = (const Farm__Schedule *)message;
    size_t steps = schedule->steps;
    if (schedule->n_sigmas != steps + 1 || schedule->n_timesteps != steps ||
        schedule->n_correctors != 4 * steps || schedule->n_predictors != 3 * steps)
        return sora_fault_set(fault, SORA_E_FORMAT, "the schedule's tables do not fit %zu steps",
                              steps);
    return SORA_OK;
}

static int check_neighbour(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__Neighbour *neighbour = (const Farm__Neighbour *)message;
    return check_range("a neighbour", neighbour->first, neighbour->end, SORA_LATENTS_MAX, fault);
}

static int check_assign(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__ShardAssign *assign = (const Farm__ShardAssign *)message;
    uint32_t latents = assign->timeline->latents;
    int rc = check_range("the shard", assign->first, assign->end, latents, fault);
    for (size_t i = 0; i < assign->n_neighbours && rc == SORA_OK; i++) {
        const Farm__Neighbour *other = assign->neighbours[i];
        rc = check_range("a neighbour", other->first, other->end, latents, fault);
        if (rc == SORA_OK && other->first < assign->end && assign->first < other->end)
            rc = sora_fault_set(fault, SORA_E_FORMAT, "shard %u overlaps its neighbour %u",
                                assign->shard, other->shard);
    }
    if (rc == SORA_OK && assign->step > assign->schedule->steps)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "step %u of %u", assign->step,
                            assign->schedule->steps);
    if (rc == SORA_OK && assign->step > 0 && assign->n_states == 0)
        rc = sora_fault_set(fault, SORA_E_FORMAT, "step %u without a checkpoint", assign->step);
    return rc;
}

static int check_halo(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__Halo *halo = (const Farm__Halo *)message;
    if (halo->offset >= halo->size || halo->offset % 4 != 0 || halo->size % 4 != 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "halo bytes from %llu of %llu",
                              (unsigned long long)halo->offset, (unsigned long long)halo->size);
    return check_range("a halo", halo->first, halo->first + halo->count, SORA_LATENTS_MAX, fault);
}

static int check_state_part(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__StatePart *part = (const Farm__StatePart *)message;
    return check_range("a checkpoint", part->first, part->end, SORA_LATENTS_MAX, fault);
}

static int check_text(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__ShardText *text = (const Farm__ShardText *)message;
    return check_range("a text", text->first, text->end, SORA_LATENTS_MAX, fault);
}

/* Paths stay inside the model's folder. */
static int check_model_file(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const char *path = ((const Farm__ModelFile *)message)->path;
    bool bad = *path == '/';
    for (const char *part = path; part && !bad; part = strchr(part, '/')) {
        part += *part == '/';
        bad = *part == '\0' || *part == '/' || *part == '.';
    }
    return bad ? sora_fault_set(fault, SORA_E_FORMAT, "a model's file is named '%s'", path)
               : SORA_OK;
}

const struct sora_rules sora_rules_work[] = {
    SORA_ROWS(farm__speed__descriptor, speed_rows, NULL),
    SORA_ROWS(farm__device__descriptor, device_rows, NULL),
    SORA_ROWS(farm__model__descriptor, model_rows, NULL),
    SORA_ROWS(farm__model_facts__descriptor, model_facts_rows, NULL),
    SORA_ROWS(farm__model_file__descriptor, model_file_rows, check_model_file),
    SORA_ROWS(farm__model_manifest__descriptor, model_manifest_rows, NULL),
    SORA_ROWS(farm__task_report__descriptor, task_report_rows, NULL),
    SORA_ROWS(farm__advert__descriptor, advert_rows, NULL),
    SORA_ROWS(farm__lease_body__descriptor, lease_body_rows, NULL),
    SORA_ROWS(farm__lease_offer__descriptor, lease_offer_rows, NULL),
    SORA_ROWS(farm__lease_grant__descriptor, lease_grant_rows, NULL),
    SORA_ROWS(farm__lease_renew__descriptor, lease_renew_rows, NULL),
    SORA_ROWS(farm__lease_revoke__descriptor, lease_revoke_rows, NULL),
    SORA_ROWS(farm__lease_return__descriptor, lease_return_rows, NULL),
    SORA_ROWS(farm__timeline__descriptor, timeline_rows, check_timeline),
    SORA_ROWS(farm__schedule__descriptor, schedule_rows, check_schedule),
    SORA_ROWS(farm__neighbour__descriptor, neighbour_rows, check_neighbour),
    SORA_ROWS(farm__blob_name__descriptor, blob_name_rows, NULL),
    SORA_ROWS(farm__shard_assign__descriptor, shard_assign_rows, check_assign),
    SORA_ROWS(farm__state_part__descriptor, state_part_rows, check_state_part),
    SORA_ROWS(farm__shard_text__descriptor, shard_text_rows, check_text),
    SORA_ROWS(farm__shard_progress__descriptor, shard_progress_rows, NULL),
    SORA_ROWS(farm__halo__descriptor, halo_rows, check_halo),
    SORA_ROWS(farm__halo_at__descriptor, halo_at_rows, NULL),
    SORA_ROWS(farm__checkpoint__descriptor, checkpoint_rows, NULL),
    SORA_ROWS(farm__checkpoint_stored__descriptor, checkpoint_stored_rows, NULL),
    SORA_ROWS(farm__segment__descriptor, segment_rows, NULL),
    SORA_ROWS(farm__segment_stored__descriptor, segment_stored_rows, NULL),
    SORA_ROWS(farm__text_encode__descriptor, text_encode_rows, NULL),
    SORA_ROWS(farm__text_encoded__descriptor, text_encoded_rows, NULL),
    SORA_ROWS(farm__blob_get__descriptor, blob_get_rows, NULL),
    SORA_ROWS(farm__blob_chunk__descriptor, blob_chunk_rows, NULL),
    SORA_ROWS(farm__blob_have__descriptor, blob_have_rows, NULL),
    SORA_ROWS(farm__blob_have_reply__descriptor, blob_have_reply_rows, NULL),
    {NULL, NULL, 0, NULL},
};
