/* Options to JobSpec. */
#include "ctl/spec.h"

#include "base/clock.h"
#include "ctl/output.h"
#include "proto/envelope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_MODEL "default" /* the home chooses: SORA_HOME_MODEL_DEFAULT */
#define SUBMIT_LIFETIME_MS ((uint64_t)3600 * 1000)

static char *text_or_empty(char *text)
{
    static char empty[1];
    return text ? text : empty;
}

static double number_or_zero(double value)
{
    return isnan(value) ? 0 : value;
}

static uint32_t count_or_zero(int64_t value)
{
    return value == SORA_SETTING_INT_UNSET ? 0 : (uint32_t)value;
}

/* A choice's name, "" when it is not set. */
static char *name_or_empty(int index, const char *name)
{
    return (char *)(uintptr_t)(index < 0 ? "" : name);
}

static void put_shot(const struct sora_job_options *job, const struct sora_job_shot *from,
                     Farm__Shot *out)
{
    int64_t seed = from->seed == SORA_SETTING_INT_UNSET ? job->seed : from->seed;
    farm__shot__init(out);
    out->prompt = text_or_empty(from->prompt);
    out->negative = text_or_empty(from->negative ? from->negative : job->negative);
    out->seconds = number_or_zero(from->seconds);
    out->frames = count_or_zero(from->frames);
    out->seed = seed == SORA_SETTING_INT_UNSET ? 0 : (uint64_t)seed;
    out->cut = from->cut != 0;
}

static int put_shots(const struct sora_job_options *job, struct sora_spec *spec,
                     struct sora_fault *fault)
{
    const struct sora_job_shot alone = {.prompt = job->prompt,
                                        .negative = job->negative,
                                        .seconds = job->seconds,
                                        .frames = job->frames,
                                        .seed = job->seed,
                                        .cut = 1};
    int count = job->shot_count ? job->shot_count : 1;
    if (!job->shot_count && !job->prompt)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "no prompt: give --prompt \"TEXT\" or a job file with shots");
    if (!job->shot_count && isnan(job->seconds) && job->frames == SORA_SETTING_INT_UNSET)
        return sora_fault_set(fault, SORA_E_INVALID, "no length: give --seconds N or --frames N");
    for (int i = 0; i < count; i++) {
        put_shot(job, job->shot_count ? &job->shots[i] : &alone, &spec->shots[i]);
        if (i == 0)
            spec->shots[i].cut = true;
        spec->shot_list[i] = &spec->shots[i];
    }
    spec->wire.n_shots = (size_t)count;
    spec->wire.shots = spec->shot_list;
    return 0;
}

static void put_output(const struct sora_ctl_options *options, Farm__Output *output)
{
    const struct sora_job_options *job = &options->job;
    farm__output__init(output);
    int container = job->container < 0 ? sora_container_of_path(options->output) : job->container;
    output->container =
        name_or_empty(container, sora_container_name((enum sora_container)container));
    output->codec = name_or_empty(job->codec, sora_codec_name((enum sora_codec)job->codec));
    output->quality = count_or_zero(job->quality);
    output->bitrate = job->bitrate == SORA_SETTING_INT_UNSET ? 0 : (uint64_t)job->bitrate;
    output->pixel_format = text_or_empty(job->pixel_format);
    output->preview = true;
    output->contact_sheet = true;
    output->report = true;
    output->latents = options->keep_latents;
}

static void put_rest(const struct sora_ctl_options *options, struct sora_spec *spec)
{
    const struct sora_job_options *job = &options->job;
    Farm__JobSpec *wire = &spec->wire;
    wire->job = (ProtobufCBinaryData){sizeof(spec->id), spec->id};
    wire->name = text_or_empty(job->name);
    wire->model = job->model ? job->model : (char *)(uintptr_t)DEFAULT_MODEL;
    wire->width = (uint32_t)job->size.width;
    wire->height = (uint32_t)job->size.height;
    wire->fps = number_or_zero(job->fps);
    wire->steps = count_or_zero(job->steps);
    wire->guidance = number_or_zero(job->guidance);
    wire->shift = number_or_zero(job->shift);
    wire->solver =
        name_or_empty(job->solver, sora_solver_kind_name((enum sora_solver_kind)job->solver));
    wire->noise =
        name_or_empty(job->noise_kind, sora_noise_kind_name((enum sora_noise_kind)job->noise_kind));
    wire->noise_share = number_or_zero(job->noise_share);
    wire->overlap = count_or_zero(job->overlap);
    wire->priority = options->priority == SORA_SETTING_INT_UNSET ? 0 : (int32_t)options->priority;
    wire->visibility = FARM__VISIBILITY__VISIBILITY_PRIVATE;
    wire->wall_created_ms = sora_clock_wall_ms();
    put_output(options, &spec->output);
    wire->output = &spec->output;
}

int sora_spec_make(struct sora_ctl_context *context, struct sora_spec *out_spec)
{
    struct sora_ctl_options *options = &context->options;
    struct sora_fault *fault = &context->fault;
    if (context->argument_count == 1 && !options->job.job)
        options->job.job = strdup(context->arguments[0]);
    int error = sora_job_options_load(context->command->table, options, &options->job, fault);
    if (error)
        return error;
    memset(out_spec, 0, sizeof(*out_spec));
    farm__job_spec__init(&out_spec->wire);
    if (getrandom(out_spec->id, sizeof(out_spec->id) - 2, 0) != (ssize_t)sizeof(out_spec->id) - 2)
        return sora_fault_set(fault, SORA_E_INTERNAL, "the system gives no random bytes");
    put_rest(options, out_spec);
    return put_shots(&options->job, out_spec, fault);
}

static int submit_packed(struct sora_client *client, const void *payload, size_t size,
                         struct sora_fault *fault)
{
    const struct sora_envelope_params params = {
        .key = sora_client_sign(client),
        .certificate = sora_client_certificate(client),
        .domain = SORA_DOMAIN_SUBMIT,
        .audience = sora_client_server(client)->node,
        .wall_expires_ms = sora_clock_wall_ms() + SUBMIT_LIFETIME_MS,
        .payload = payload,
        .payload_size = size,
    };
    struct sora_envelope envelope;
    sora_envelope_seal(&params, &envelope);
    Farm__Submit submit = FARM__SUBMIT__INIT;
    submit.spec = &envelope.wire;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_SUBMIT;
    message.submit = &submit;
    const Farm__Message *answer = NULL;
    int error =
        sora_client_call(client, &message, FARM__MESSAGE__BODY_SUBMIT_REPLY, 0, &answer, fault);
    for (size_t i = 0; !error && i < answer->submit_reply->n_notes; i++)
        fprintf(stderr, "note: %s\n", answer->submit_reply->notes[i]);
    return error;
}

int sora_spec_submit(struct sora_client *client, const struct sora_spec *spec,
                     struct sora_fault *fault)
{
    size_t size = farm__job_spec__get_packed_size(&spec->wire);
    if (size > SORA_MESSAGE_BYTES_MAX - 2048)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the job's texts have %zu bytes; %zu fit into one job", size,
                              (size_t)SORA_MESSAGE_BYTES_MAX - 2048);
    unsigned char *payload = malloc(size);
    if (!payload)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    farm__job_spec__pack(&spec->wire, payload);
    int error = submit_packed(client, payload, size, fault);
    free(payload);
    return error;
}
