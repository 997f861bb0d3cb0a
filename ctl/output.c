/* Words, times and JSON. */
#include "ctl/output.h"
#include "base/bytes.h"
#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

static const char *const job_states[] = {"queued", "text",   "placing",   "running", "assembling",
                                         "done",   "failed", "cancelled", "paused"};
static const char *const shard_states[] = {"waiting",  "leasing", "assigned", "running",
                                           "decoding", "done",    "lost"};

const char *sora_output_job_state(int state)
{
    return state >= 0 && state < (int)(sizeof(job_states) / sizeof(job_states[0]))
               ? job_states[state]
               : "unknown";
}

const char *sora_output_shard_state(int state)
{
    return state >= 0 && state < (int)(sizeof(shard_states) / sizeof(shard_states[0]))
               ? shard_states[state]
               : "unknown";
}

bool sora_output_job_over(int state)
{
    return state == FARM__JOB_STATE__JOB_DONE || state == FARM__JOB_STATE__JOB_FAILED ||
           state == FARM__JOB_STATE__JOB_CANCELLED;
}

const char *sora_output_roles(uint32_t roles, char out[SORA_TEXT_SIZE])
{
    snprintf(out, SORA_TEXT_SIZE, "%s%s%s", roles & 1 ? "node " : "", roles & 2 ? "scheduler " : "",
             roles & 4 ? "user " : "");
    size_t length = strlen(out);
    if (length)
        out[length - 1] = '\0';
    return out;
}

const char *sora_output_hex(const ProtobufCBinaryData *data, size_t bytes,
                            char out[SORA_ID_TEXT_SIZE])
{
    size_t count = data->len < bytes ? data->len : bytes;
    if (count > (SORA_ID_TEXT_SIZE - 1) / 2)
        count = (SORA_ID_TEXT_SIZE - 1) / 2;
    return sora_hex(data->data, count, out);
}

const char *sora_output_job(const ProtobufCBinaryData *job, char out[SORA_ID_TEXT_SIZE])
{
    return sora_output_hex(job, 4, out);
}

const char *sora_output_time(double seconds, char out[SORA_TEXT_SIZE])
{
    int64_t whole = seconds > 0 ? (int64_t)(seconds + 0.5) : 0;
    if (whole >= 3600)
        snprintf(out, SORA_TEXT_SIZE, "%" PRId64 ":%02d:%02d", whole / 3600, (int)(whole / 60 % 60),
                 (int)(whole % 60));
    else
        snprintf(out, SORA_TEXT_SIZE, "%d:%02d", (int)(whole / 60), (int)(whole % 60));
    return out;
}

const char *sora_output_bytes(uint64_t bytes, char out[SORA_TEXT_SIZE])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    snprintf(out, SORA_TEXT_SIZE, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

const char *sora_output_ago(uint64_t wall_ms, char out[SORA_TEXT_SIZE])
{
    uint64_t now = sora_clock_wall_ms();
    uint64_t seconds = now > wall_ms ? (now - wall_ms) / 1000 : 0;
    if (wall_ms == 0)
        snprintf(out, SORA_TEXT_SIZE, "never");
    else if (seconds < 120)
        snprintf(out, SORA_TEXT_SIZE, "%" PRIu64 " s ago", seconds);
    else if (seconds < 7200)
        snprintf(out, SORA_TEXT_SIZE, "%" PRIu64 " min ago", seconds / 60);
    else if (seconds < 172800)
        snprintf(out, SORA_TEXT_SIZE, "%" PRIu64 " h ago", seconds / 3600);
    else
        snprintf(out, SORA_TEXT_SIZE, "%" PRIu64 " days ago", seconds / 86400);
    return out;
}

/* ---- JSON ---- */

void sora_output_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(value);
}

void sora_output_json_line(json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(value);
}

json_t *sora_output_hex_json(const ProtobufCBinaryData *data)
{
    char text[SORA_ID_TEXT_SIZE];
    return json_string(sora_output_hex(data, 32, text));
}

json_t *sora_output_shard_json(const Farm__ShardStatus *shard)
{
    return json_pack("{s:i,s:i,s:[i,i],s:s,s:s,s:s,s:i,s:i,s:f,s:f,s:i,s:s}", "take",
                     (int)shard->take, "shard", (int)shard->index, "latents", (int)shard->first,
                     (int)shard->end, "state", sora_output_shard_state((int)shard->state), "node",
                     shard->node_name, "device", shard->device, "step", (int)shard->step, "epoch",
                     (int)shard->epoch, "steps_per_s", shard->steps_per_s, "left_s", shard->left_s,
                     "frames_done", (int)shard->frames_done, "text", shard->text);
}

json_t *sora_output_job_json(const Farm__JobStatus *job)
{
    json_t *shards = json_array();
    for (size_t i = 0; i < job->n_shards; i++)
        json_array_append_new(shards, sora_output_shard_json(job->shards[i]));
    return json_pack("{s:o,s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:f,s:f,s:I,s:I,s:I,s:s,s:i,s:i,s:b,s:o}",
                     "job", sora_output_hex_json(&job->job), "name", job->name, "state",
                     sora_output_job_state((int)job->state), "reason", job->reason, "priority",
                     (int)job->priority, "frames_total", (int)job->frames_total, "frames_done",
                     (int)job->frames_done, "steps", (int)job->steps, "progress", job->progress,
                     "left_s", job->left_s, "created_ms", (json_int_t)job->wall_created_ms,
                     "started_ms", (json_int_t)job->wall_started_ms, "ended_ms",
                     (json_int_t)job->wall_ended_ms, "owner", job->owner, "moves",
                     (int)job->restarts, "takes", (int)job->takes, "preview", job->preview,
                     "shards", shards);
}

/* ---- text ---- */

void sora_output_job_line(const Farm__JobStatus *job, char *out, size_t size)
{
    char id[SORA_ID_TEXT_SIZE], left[SORA_TEXT_SIZE] = "";
    bool over = sora_output_job_over((int)job->state);
    if (!over && job->left_s > 0)
        sora_output_time(job->left_s, left);
    snprintf(out, size, "%s  %-10s %3.0f %%%s%s%s  %.60s%s%s", sora_output_job(&job->job, id),
             sora_output_job_state((int)job->state), 100 * job->progress, *left ? "  " : "", left,
             *left ? " left" : "", job->name,
             !job->reason[0]                             ? ""
             : job->state == FARM__JOB_STATE__JOB_QUEUED ? "  waiting: "
                                                         : "  ",
             job->reason);
}

void sora_output_shard_line(const Farm__JobStatus *job, const Farm__ShardStatus *shard, char *out,
                            size_t size)
{
    char place[160], rate[64] = "", left[SORA_TEXT_SIZE] = "", take[24] = "";
    snprintf(place, sizeof(place), "%s%s%s", shard->node_name, shard->device[0] ? "/" : "",
             shard->device);
    if (shard->state == FARM__SHARD_STATE__SHARD_DECODING)
        snprintf(rate, sizeof(rate), "%u frames", shard->frames_done);
    else if (shard->steps_per_s > 0)
        snprintf(rate, sizeof(rate), "%.2f steps/s", shard->steps_per_s);
    if (shard->left_s > 0)
        sora_output_time(shard->left_s, left);
    if (job->takes > 1)
        snprintf(take, sizeof(take), "take %u ", shard->take);
    snprintf(out, size, "%sshard %u  latents %u-%u  %-20.80s %-9s step %u/%u%s%s%s%s%s", take,
             shard->index, shard->first, shard->end ? shard->end - 1 : 0, place,
             sora_output_shard_state((int)shard->state), shard->step, job->steps, *rate ? "  " : "",
             rate, *left ? "  " : "", left, *left ? " left" : "");
}

/* How much, since when, for how long. */
static void print_facts(const Farm__JobStatus *job, FILE *out)
{
    char ago[SORA_TEXT_SIZE], took[SORA_TEXT_SIZE];
    fprintf(out, "  %u of %u frames, submitted %s by %s", job->frames_done, job->frames_total,
            sora_output_ago(job->wall_created_ms, ago), job->owner);
    if (job->priority)
        fprintf(out, ", priority %d", job->priority);
    if (job->wall_started_ms && job->wall_ended_ms >= job->wall_started_ms)
        fprintf(out, ", took %s",
                sora_output_time((double)(job->wall_ended_ms - job->wall_started_ms) / 1000, took));
    else if (job->wall_started_ms)
        fprintf(out, ", begun %s", sora_output_ago(job->wall_started_ms, ago));
    if (job->restarts)
        fprintf(out, ", shards moved %u time%s", job->restarts, job->restarts == 1 ? "" : "s");
    fputc('\n', out);
}

void sora_output_job_text(const Farm__JobStatus *job, FILE *out)
{
    char line[1024];
    sora_output_job_line(job, line, sizeof(line));
    fprintf(out, "%s\n", line);
    print_facts(job, out);
    for (size_t i = 0; i < job->n_shards; i++) {
        sora_output_shard_line(job, job->shards[i], line, sizeof(line));
        fprintf(out, "  %s\n", line);
    }
}
