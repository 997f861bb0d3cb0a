/*
 * Submit and Plan. The model's manifest decides what a job will be, so a request waits for it
 * (home_manifest.c); a submit is then stored, and answered when that is durable.
 */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdlib.h>
#include <string.h>

#define CANNOT_STORE "this home cannot store jobs at the moment: %.400s"

/* ---- answers ---- */

void home_answer_submit(struct sora_home *home, struct home_reply *to, const struct home_job *job)
{
    Farm__SubmitReply reply = FARM__SUBMIT_REPLY__INIT;
    char notes[SORA_JOB_NOTES_MAX][256], *pointers[SORA_JOB_NOTES_MAX];
    reply.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, (uint8_t *)job->id.bytes};
    for (int i = 0; i < job->notes.count; i++)
        pointers[i] = home_cut_text(job->notes.texts[i], notes[i], sizeof(notes[i]));
    reply.notes = pointers;
    reply.n_notes = (size_t)job->notes.count;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_SUBMIT_REPLY;
    message.submit_reply = &reply;
    home_reply_message(home, home_reply_origin(to), &message);
}

/* After all that changed so far is on disk. */
static void answer_when_stored(struct sora_home *home, const struct home_reply *reply,
                               const struct home_job *job)
{
    struct home_held held = {.kind = HOME_HELD_SUBMIT, .job = job->id};
    held.reply = malloc(sizeof(*held.reply));
    if (!held.reply)
        return; /* asked again, it is answered */
    *held.reply = *reply;
    home_hold(home, &held);
}

/* ---- into the farm ---- */

static int open_takes(const struct sora_home *home)
{
    int count = 0;
    for (int i = 0; i < home->job_count; i++) {
        for (int32_t t = 0; home->jobs[i]->takes && t < home->jobs[i]->take_count; t++)
            count += home->jobs[i]->takes[t].in_farm;
    }
    return count;
}

static int submit_takes(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    if (open_takes(home) + job->plan->take_count > HOME_TAKES_MAX)
        return sora_fault_set(fault, SORA_E_FULL,
                              "%d takes are open and this job has %d; the limit is %d: wait until "
                              "others are done",
                              open_takes(home), job->plan->take_count, HOME_TAKES_MAX);
    int rc = home_make_takes(job, job->plan->take_count);
    for (int32_t t = 0; t < job->take_count && rc == SORA_OK; t++) {
        struct sora_farm_job farm_job;
        home_farm_job(home, job, t, &farm_job);
        struct sora_farm_event event = {.kind = SORA_FARM_SUBMIT, .submit = &farm_job};
        job->takes[t].in_farm = true;
        rc = home_farm_step(home, &event, fault);
        job->takes[t].in_farm = rc == SORA_OK;
    }
    return rc ? sora_fault_set(fault, rc, "not enough memory for the job") : SORA_OK;
}

static void take_back(struct sora_home *home, struct home_job *job)
{
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        struct sora_farm_event event = {.kind = SORA_FARM_CANCEL, .job = job->takes[t].id};
        if (!job->takes[t].in_farm)
            continue;
        home_farm_step(home, &event, NULL);
        event.kind = SORA_FARM_FORGET;
        home_farm_step(home, &event, NULL);
        job->takes[t].in_farm = false;
    }
    home_remove_job(home, job);
}

/* ---- a request whose manifest is here ---- */

static int check_output(const Farm__JobSpec *spec, struct sora_fault *fault)
{
    const Farm__Output *output = spec->output;
    enum sora_codec codec = SORA_CODEC_H264;
    if (!output)
        return SORA_OK;
    int rc = *output->codec ? sora_codec_parse(output->codec, &codec, fault) : SORA_OK;
    if (rc == SORA_OK)
        rc = sora_codec_check(codec, (int64_t)output->quality, (int64_t)output->bitrate,
                              output->pixel_format, fault);
    enum sora_container container;
    int wanted = -1;
    if (rc == SORA_OK && *output->container) {
        rc = sora_container_parse(output->container, &container, fault);
        wanted = (int)container;
    }
    return rc == SORA_OK ? sora_codec_container(codec, wanted, &container, fault) : rc;
}

static void move_ask(struct home_ask *ask, struct home_job *job)
{
    sora_bytes_fini(&job->envelope);
    job->envelope = ask->envelope;
    ask->envelope = (struct sora_bytes){0};
    job->spec = ask->spec;
    ask->spec = NULL;
    job->owner = ask->signer;
    memcpy(job->model, ask->model.digest, sizeof(job->model));
}

static void plan_only(struct sora_home *home, struct home_ask *ask)
{
    struct home_job *job = calloc(1, sizeof(*job));
    struct sora_fault fault = {0};
    int rc = job ? SORA_OK : sora_fault_set(&fault, SORA_E_MEMORY, "not enough memory for a plan");
    if (rc == SORA_OK) {
        move_ask(ask, job);
        rc = home_read_manifest(home, job, &fault);
    }
    if (rc == SORA_OK)
        rc = home_plan_job(job, &fault);
    if (rc == SORA_OK)
        home_reply_plan(home, &ask->reply, job);
    else
        home_refuse(home, &ask->reply, &fault);
    if (job)
        home_free_work(home, job);
    free(job);
}

static void submit_now(struct sora_home *home, struct home_ask *ask)
{
    const Farm__JobSpec *spec = (const Farm__JobSpec *)ask->spec->any;
    struct sora_job_id id;
    memcpy(id.bytes, spec->job.data, sizeof(id.bytes));
    struct home_job *job = NULL;
    struct sora_fault fault = {0};
    int rc = home_add_job(home, &id, &job);
    if (rc) {
        sora_fault_set(&fault, rc, "%d jobs are here, which is the limit: wait until some are done",
                       HOME_JOBS_MAX);
        home_refuse(home, &ask->reply, &fault);
        return;
    }
    move_ask(ask, job);
    rc = home_read_manifest(home, job, &fault);
    if (rc == SORA_OK)
        rc = home_plan_job(job, &fault);
    if (rc == SORA_OK)
        rc = submit_takes(home, job, &fault);
    if (rc) {
        sora_fault_set(&fault, rc, "the model's manifest is gone: submit again");
        home_refuse(home, &ask->reply, &fault);
        take_back(home, job);
        return;
    }
    job->fresh = true;
    home_touch(home, job, &job->ticket);
    home_note(home, job, "submitted by %s: %d frames in %d takes", job->owner.name,
              job->frames_total, job->take_count);
    home_changed(home, job);
    answer_when_stored(home, &ask->reply, job);
}

void home_do_ask(struct sora_home *home, struct home_ask *ask)
{
    if (ask->plan_only)
        plan_only(home, ask);
    else
        submit_now(home, ask);
}

void home_refuse_fresh(struct sora_home *home, const struct sora_fault *why)
{
    for (size_t i = 0; i < home->held.count; i++) {
        struct home_held *held = sora_ring_at(&home->held, i);
        struct home_job *job =
            held->kind == HOME_HELD_SUBMIT ? home_find_job(home, &held->job) : NULL;
        if (!job || !job->fresh)
            continue;
        struct sora_fault fault = {0};
        sora_fault_set(&fault, SORA_E_SPACE, CANNOT_STORE, why->text);
        home_refuse(home, held->reply, &fault);
        take_back(home, job);
    }
}

/* ---- Submit ---- */

static int pack(const ProtobufCMessage *message, struct sora_bytes *out, struct sora_fault *fault)
{
    sora_bytes_init(out, SORA_MESSAGE_BYTES_MAX);
    size_t size = protobuf_c_message_get_packed_size(message);
    int rc = sora_bytes_reserve(out, size);
    if (rc)
        return sora_fault_set(fault, rc, "not enough memory for the job");
    protobuf_c_message_pack(message, out->data);
    sora_bytes_commit(out, size);
    return SORA_OK;
}

static int open_envelope(struct sora_home *home, const Farm__Envelope *wire,
                         struct sora_replay *replay, struct sora_identity *out_signer,
                         struct sora_fault *fault)
{
    const struct sora_envelope_expect expect = {.trust = home->params.trust,
                                                .replay = replay,
                                                .domain = SORA_DOMAIN_SUBMIT,
                                                .node = home->params.post->self,
                                                .root = home->has_root ? home->root : NULL,
                                                .roles = SORA_ROLE_USER,
                                                .wall_now_ms = sora_clock_wall_ms()};
    return sora_envelope_open(wire, &expect, out_signer, fault);
}

static int decode_spec(const ProtobufCBinaryData *payload, struct sora_message **out,
                       struct sora_fault *fault)
{
    int rc = sora_message_decode_as(&farm__job_spec__descriptor, payload->data, payload->len, true,
                                    out, fault);
    if (rc)
        return rc;
    const Farm__JobSpec *spec = (const Farm__JobSpec *)(*out)->any;
    rc = check_output(spec, fault);
    if (rc == SORA_OK && (spec->job.data[14] || spec->job.data[15]))
        rc = sora_fault_set(fault, SORA_E_INVALID, "the last two bytes of a job's id must be 0");
    if (rc)
        sora_message_destroy(out);
    return rc;
}

/* The same id again: the same answer, if it is the same job. */
static int submit_again(struct sora_home *home, const struct sora_origin *origin,
                        const struct home_job *job, const struct sora_identity *signer,
                        const ProtobufCBinaryData *payload, struct sora_fault *fault)
{
    if (memcmp(job->owner.node, signer->node, sizeof(signer->node)) != 0)
        return sora_fault_set(fault, SORA_E_DENIED, "another member's job has this id");
    struct sora_message *kept = NULL;
    if (job->envelope.size > 0 &&
        sora_message_decode_as(&farm__envelope__descriptor, job->envelope.data, job->envelope.size,
                               false, &kept, NULL) == SORA_OK) {
        const Farm__Envelope *before = (const Farm__Envelope *)kept->any;
        bool same = before->payload.len == payload->len &&
                    memcmp(before->payload.data, payload->data, payload->len) == 0;
        sora_message_destroy(&kept);
        if (!same)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "a job with this id and other content is here: choose a new id");
    }
    struct home_reply reply;
    home_reply_keep(origin, &reply);
    answer_when_stored(home, &reply, job);
    return SORA_OK;
}

static int take_new(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__Envelope *wire, struct sora_message **spec,
                    struct sora_fault *fault)
{
    struct sora_identity signer;
    struct sora_bytes envelope;
    if (home->write_failed)
        return sora_fault_set(fault, SORA_E_SPACE, CANNOT_STORE, home->write_fault.text);
    int rc = open_envelope(home, wire, home->replay, &signer, fault);
    if (rc == SORA_OK)
        rc = pack(&wire->base, &envelope, fault);
    if (rc)
        return rc;
    rc = home_begin_ask(home, origin, &signer, spec, &envelope, fault);
    sora_bytes_fini(&envelope);
    return rc;
}

static int submit(struct sora_home *home, const struct sora_origin *origin,
                  const Farm__Envelope *wire, struct sora_fault *fault)
{
    struct sora_identity signer;
    struct sora_message *message = NULL;
    int rc = open_envelope(home, wire, NULL, &signer, fault);
    if (rc == SORA_OK)
        rc = decode_spec(&wire->payload, &message, fault);
    if (rc)
        return rc;
    const Farm__JobSpec *spec = (const Farm__JobSpec *)message->any;
    struct sora_job_id id;
    memcpy(id.bytes, spec->job.data, sizeof(id.bytes));
    const struct home_job *known = home_find_job(home, &id);
    struct home_ask *waiting = home_find_ask(home, spec);
    if (known)
        rc = submit_again(home, origin, known, &signer, &wire->payload, fault);
    else if (waiting)
        home_reply_keep(origin, &waiting->reply); /* whoever asked last is answered */
    else
        rc = take_new(home, origin, wire, &message, fault);
    sora_message_destroy(&message);
    return rc;
}

void home_take_submit(struct sora_home *home, const struct sora_origin *origin,
                      const Farm__Submit *wire)
{
    struct sora_fault fault = {0};
    int rc = submit(home, origin, wire->spec, &fault);
    if (rc) {
        sora_fault_set(&fault, rc, "the job was not taken");
        sora_post_refuse(home->params.post, origin, &fault);
    }
}

void home_take_plan(struct sora_home *home, const struct sora_origin *origin,
                    const Farm__Plan *plan)
{
    struct sora_fault fault = {0};
    struct sora_bytes bytes;
    struct sora_message *spec = NULL;
    int rc = pack(&plan->spec->base, &bytes, &fault);
    if (rc == SORA_OK)
        rc = decode_spec(&(ProtobufCBinaryData){bytes.size, bytes.data}, &spec, &fault);
    if (rc == SORA_OK)
        rc = home_begin_ask(home, origin, origin->identity, &spec, NULL, &fault);
    if (rc)
        sora_post_refuse(home->params.post, origin, &fault);
    sora_message_destroy(&spec);
    sora_bytes_fini(&bytes);
}
