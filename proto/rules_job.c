/* Rules of the messages between soractl and the home. */
#include "proto/message.h"
#include "proto/rules.h"

#include <string.h>

#define WALL_MS_MAX INT64_C(253402300799000) /* the year 9999 */
#define SORA_LATENTS_MAX 65536

static const struct sora_rule shot_rows[] = {
    SORA_LINES("prompt", 0, (100 << 10)),
    SORA_LINES("negative", 0, (16 << 10)),
    SORA_REAL("seconds", 0, 86400),
    SORA_NUMBER("seed", 0, UINT64_MAX),
    SORA_FLAG("cut"),
    SORA_NUMBER("frames", 0, (1 << 20)),
};

static const struct sora_rule job_spec_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_TEXT("name", 0, 128),
    SORA_TEXT("model", 1, 128),
    SORA_PARTS("shots", 256),
    SORA_NUMBER("width", 0, 16384),
    SORA_NUMBER("height", 0, 16384),
    SORA_REAL("fps", 0, 240),
    SORA_NUMBER("steps", 0, 1000),
    SORA_REAL("guidance", 0, 100),
    SORA_REAL("shift", 0, 100),
    SORA_TEXT("solver", 0, 32),
    SORA_TEXT("noise", 0, 32),
    SORA_NUMBER("overlap", 0, 1024),
    SORA_NUMBER("priority", -100, 100),
    SORA_CHOICE("visibility"),
    SORA_EXACTS("studios", SORA_NODE_ID_SIZE, 64),
    SORA_PERHAPS("output"),
    SORA_NUMBER("wall_created_ms", 0, WALL_MS_MAX),
    SORA_REAL("noise_share", 0, 1),
};

static const struct sora_rule output_rows[] = {
    SORA_TEXT("container", 0, 16),
    SORA_TEXT("codec", 0, 16),
    SORA_NUMBER("quality", 0, 63),
    SORA_NUMBER("bitrate", 0, 1000000000),
    SORA_TEXT("pixel_format", 0, 32),
    SORA_FLAG("preview"),
    SORA_FLAG("contact_sheet"),
    SORA_FLAG("report"),
    SORA_FLAG("latents"),
};

static const struct sora_rule submit_rows[] = {
    SORA_PART("spec"),
};

static const struct sora_rule submit_reply_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_TEXTS("notes", 1, 256, 16),
};

static const struct sora_rule plan_rows[] = {
    SORA_PART("spec"),
};

static const struct sora_rule plan_shard_rows[] = {
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_MAYBE("node", SORA_NODE_ID_SIZE),
    SORA_TEXT("node_name", 0, 63),
    SORA_TEXT("device", 0, 64),
    SORA_REAL("seconds", 0, 1000000000),
    SORA_NUMBER("memory", 0, UINT64_MAX),
    SORA_NUMBER("take", 0, 65535),
};

static const struct sora_rule plan_reply_rows[] = {
    SORA_NUMBER("frames", 0, UINT32_MAX),
    SORA_NUMBER("latents", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("window", 0, 65536),
    SORA_NUMBER("overlap", 0, 1024),
    SORA_NUMBER("windows", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("width", 0, 16384),
    SORA_NUMBER("height", 0, 16384),
    SORA_NUMBER("steps", 0, 1000),
    SORA_REAL("fps", 0, 240),
    SORA_REAL("seconds", 0, 1000000000),
    SORA_NUMBER("halo_bytes", 0, UINT64_MAX),
    SORA_PARTS("shards", 512),
    SORA_TEXTS("notes", 1, 256, 16),
    SORA_TEXT("waiting", 0, 512),
};

static const struct sora_rule shard_status_rows[] = {
    SORA_NUMBER("index", 0, 65535),
    SORA_NUMBER("first", 0, SORA_LATENTS_MAX),
    SORA_NUMBER("end", 0, SORA_LATENTS_MAX),
    SORA_CHOICE("state"),
    SORA_MAYBE("node", SORA_NODE_ID_SIZE),
    SORA_TEXT("node_name", 0, 63),
    SORA_TEXT("device", 0, 64),
    SORA_NUMBER("step", 0, 1000),
    SORA_NUMBER("epoch", 0, UINT32_MAX),
    SORA_REAL("steps_per_s", 0, 1000000),
    SORA_REAL("left_s", 0, 1000000000),
    SORA_NUMBER("frames_done", 0, UINT32_MAX),
    SORA_TEXT("text", 0, 1024),
    SORA_NUMBER("take", 0, 65535),
};

static const struct sora_rule job_status_rows[] = {
    SORA_EXACT("job", SORA_JOB_ID_SIZE),
    SORA_TEXT("name", 0, 128),
    SORA_CHOICE("state"),
    SORA_TEXT("reason", 0, 512),
    SORA_NUMBER("priority", -100, 100),
    SORA_NUMBER("frames_total", 0, UINT32_MAX),
    SORA_NUMBER("frames_done", 0, UINT32_MAX),
    SORA_NUMBER("steps", 0, 1000),
    SORA_REAL("progress", 0, 1),
    SORA_REAL("left_s", 0, 1000000000),
    SORA_NUMBER("wall_created_ms", 0, WALL_MS_MAX),
    SORA_NUMBER("wall_started_ms", 0, WALL_MS_MAX),
    SORA_NUMBER("wall_ended_ms", 0, WALL_MS_MAX),
    SORA_TEXT("owner", 0, 128),
    SORA_PARTS("shards", 512),
    SORA_NUMBER("restarts", 0, UINT32_MAX),
    SORA_NUMBER("takes", 0, 65536),
    SORA_FLAG("preview"),
};

static const struct sora_rule job_name_rows[] = {
    SORA_MAYBE("job", SORA_JOB_ID_SIZE),
    SORA_TEXT("prefix", 0, 32),
};

static const struct sora_rule status_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule status_reply_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule list_rows[] = {
    SORA_FLAG("all"),
    SORA_NUMBER("count_max", 0, 256),
};

static const struct sora_rule list_reply_rows[] = {
    SORA_PARTS("jobs", 256),
    SORA_FLAG("more"),
};

static const struct sora_rule cancel_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule pause_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule resume_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule erase_rows[] = {
    SORA_PART("job"),
};

static const struct sora_rule watch_rows[] = {
    SORA_PERHAPS("job"),
    SORA_FLAG("off"),
    SORA_NUMBER("after", 0, UINT64_MAX),
};

static const struct sora_rule event_rows[] = {
    SORA_NUMBER("sequence", 0, UINT64_MAX),
    SORA_NUMBER("wall_ms", 0, WALL_MS_MAX),
    SORA_CHOICE("kind"),
    SORA_MAYBE("job", SORA_JOB_ID_SIZE),
    SORA_PERHAPS("status"),
    SORA_PERHAPS("shard"),
    SORA_MAYBE("node", SORA_NODE_ID_SIZE),
    SORA_TEXT("text", 0, 1024),
};

static const struct sora_rule fetch_rows[] = {
    SORA_PART("job"),
    SORA_CHOICE("kind"),
};

static const struct sora_rule fetch_reply_rows[] = {
    SORA_EXACT("digest", SORA_DIGEST_SIZE),
    SORA_NUMBER("size", 0, UINT64_MAX),
    SORA_TEXT("file_name", 1, 128),
};

static const struct sora_rule logs_rows[] = {
    SORA_PERHAPS("job"),
    SORA_NUMBER("lines_max", 0, 1024),
};

static const struct sora_rule logs_reply_rows[] = {
    SORA_TEXTS("lines", 0, 1024, 1024),
};

static const struct sora_rule node_status_rows[] = {
    SORA_EXACT("node", SORA_NODE_ID_SIZE),   SORA_TEXT("name", 0, 128), SORA_TEXT("studio", 0, 63),
    SORA_NUMBER("silent_ms", 0, UINT64_MAX), SORA_PERHAPS("advert"),    SORA_FLAG("self"),
};

static const struct sora_rule nodes_reply_rows[] = {
    SORA_PARTS("nodes", 256),
};

static const struct sora_rule models_rows[] = {
    SORA_TEXT("add_path", 0, 4095),
    SORA_TEXT("remove", 0, 4095),
};

static const struct sora_rule model_place_rows[] = {
    SORA_PART("model"),
    SORA_EXACTS("nodes", SORA_NODE_ID_SIZE, 256),
    SORA_TEXT("path", 0, 4095),
};

static const struct sora_rule models_reply_rows[] = {
    SORA_PARTS("models", 64),
};

static const struct sora_rule doctor_check_rows[] = {
    SORA_TEXT("name", 0, 128),
    SORA_FLAG("good"),
    SORA_TEXT("text", 0, 1024),
};

static const struct sora_rule doctor_reply_rows[] = {
    SORA_PARTS("checks", 64),
};

static int check_spec(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__JobSpec *spec = (const Farm__JobSpec *)message;
    bool long_enough = spec->n_shots > 0;
    for (size_t i = 0; i < spec->n_shots; i++)
        long_enough = long_enough && (spec->shots[i]->seconds > 0 || spec->shots[i]->frames > 0);
    if (!long_enough)
        return sora_fault_set(fault, SORA_E_FORMAT, "the job has no shot or one without a length");
    if (spec->visibility != FARM__VISIBILITY__VISIBILITY_PARTNER && spec->n_studios > 0)
        return sora_fault_set(fault, SORA_E_FORMAT,
                              "the job names studios but is not for partners");
    return SORA_OK;
}

static int check_job_name(const ProtobufCMessage *message, struct sora_fault *fault)
{
    const Farm__JobName *name = (const Farm__JobName *)message;
    if (strspn(name->prefix, "0123456789abcdef") != strlen(name->prefix))
        return sora_fault_set(fault, SORA_E_FORMAT, "a job id has digits 0-9 and a-f only");
    return SORA_OK;
}

const struct sora_rules sora_rules_job[] = {
    SORA_ROWS(farm__shot__descriptor, shot_rows, NULL),
    SORA_ROWS(farm__job_spec__descriptor, job_spec_rows, check_spec),
    SORA_ROWS(farm__output__descriptor, output_rows, NULL),
    SORA_ROWS(farm__submit__descriptor, submit_rows, NULL),
    SORA_ROWS(farm__submit_reply__descriptor, submit_reply_rows, NULL),
    SORA_ROWS(farm__plan__descriptor, plan_rows, NULL),
    SORA_ROWS(farm__plan_shard__descriptor, plan_shard_rows, NULL),
    SORA_ROWS(farm__plan_reply__descriptor, plan_reply_rows, NULL),
    SORA_ROWS(farm__shard_status__descriptor, shard_status_rows, NULL),
    SORA_ROWS(farm__job_status__descriptor, job_status_rows, NULL),
    SORA_ROWS(farm__job_name__descriptor, job_name_rows, check_job_name),
    SORA_ROWS(farm__status__descriptor, status_rows, NULL),
    SORA_ROWS(farm__status_reply__descriptor, status_reply_rows, NULL),
    SORA_ROWS(farm__list__descriptor, list_rows, NULL),
    SORA_ROWS(farm__list_reply__descriptor, list_reply_rows, NULL),
    SORA_ROWS(farm__cancel__descriptor, cancel_rows, NULL),
    SORA_ROWS(farm__pause__descriptor, pause_rows, NULL),
    SORA_ROWS(farm__resume__descriptor, resume_rows, NULL),
    SORA_ROWS(farm__erase__descriptor, erase_rows, NULL),
    SORA_ROWS(farm__watch__descriptor, watch_rows, NULL),
    SORA_ROWS(farm__event__descriptor, event_rows, NULL),
    SORA_ROWS(farm__fetch__descriptor, fetch_rows, NULL),
    SORA_ROWS(farm__fetch_reply__descriptor, fetch_reply_rows, NULL),
    SORA_ROWS(farm__logs__descriptor, logs_rows, NULL),
    SORA_ROWS(farm__logs_reply__descriptor, logs_reply_rows, NULL),
    {&farm__nodes__descriptor, NULL, 0, NULL},
    SORA_ROWS(farm__node_status__descriptor, node_status_rows, NULL),
    SORA_ROWS(farm__nodes_reply__descriptor, nodes_reply_rows, NULL),
    SORA_ROWS(farm__models__descriptor, models_rows, NULL),
    SORA_ROWS(farm__model_place__descriptor, model_place_rows, NULL),
    SORA_ROWS(farm__models_reply__descriptor, models_reply_rows, NULL),
    {&farm__doctor__descriptor, NULL, 0, NULL},
    SORA_ROWS(farm__doctor_check__descriptor, doctor_check_rows, NULL),
    SORA_ROWS(farm__doctor_reply__descriptor, doctor_reply_rows, NULL),
    {NULL, NULL, 0, NULL},
};
