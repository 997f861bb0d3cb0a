/*
 * What people say to a home under test, and what it answers: orders, requests by name; and jobs
 * brought to where a test begins. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_HOME_PEOPLE_H
#define SORA_TESTS_UNIT_HOME_PEOPLE_H

#include "base/clock.h"
#include "tests/unit/home_assembler.h"
#include "tests/unit/home_loop.h"

static const struct sora_model_facts facts = {.name = "tiny",
                                              .window = 5,
                                              .overlap = 2,
                                              .channels = 16,
                                              .temporal_factor = 4,
                                              .spatial_factor = 8,
                                              .multiple_width = 16,
                                              .multiple_height = 16,
                                              .width = 64,
                                              .height = 32,
                                              .fps = 12,
                                              .steps = STEPS,
                                              .guidance = 3,
                                              .shift = 3,
                                              .solver = SORA_SOLVER_UNIPC,
                                              .noise_share = 0.5,
                                              .context_latents = 4,
                                              .hidden = 64,
                                              .ffn = 128,
                                              .layers = 2,
                                              .decode_pixel_bytes = 500,
                                              .negative = "grey",
                                              .knows = "balloons and the sea",
                                              .words = "a red balloon over the sea"};

static inline int open_world(void **state)
{
    static const struct sora_model_file file = {"weights", {1}, 1000};
    struct sora_bytes bytes;
    struct sora_fault fault = {0};
    home_open(state);
    sora_bytes_init(&bytes, 1 << 20);
    if (sora_model_manifest_pack("tiny", &facts, &file, 1, &bytes, &fault))
        fail_msg("%s", fault.text);
    struct sora_blob blob = hold_blob(bytes.data, bytes.size);
    memcpy(model_digest, blob.digest.bytes, sizeof(model_digest));
    sora_bytes_fini(&bytes);
    memset(nodes, 0, sizeof(nodes));
    for (int i = 0; i < MEMBERS; i++)
        nodes[i].boot = 100 + (uint64_t)i;
    assemblies_begun = assembly_code = moved_text = 0;
    return 0;
}

struct order {
    unsigned char id[16];
    const char *prompt, *name, *model;
    uint32_t frames, shots;
    bool latents;
};

static inline uint64_t ask(int member, const struct order *order, bool plan, int signer)
{
    char model[40], empty[] = "";
    snprintf(model, sizeof(model), "%s", order->model ? order->model : "tiny");
    Farm__Shot shots[4], *pointers[4];
    Farm__Output output = FARM__OUTPUT__INIT;
    output.container = output.codec = output.pixel_format = empty;
    output.preview = true;
    output.latents = order->latents;
    Farm__JobSpec spec = FARM__JOB_SPEC__INIT;
    spec.job = (ProtobufCBinaryData){16, (uint8_t *)order->id};
    spec.name = order->name ? (char *)order->name : empty;
    spec.model = model;
    spec.solver = spec.noise = empty;
    spec.shots = pointers;
    spec.n_shots = order->shots ? order->shots : 1;
    spec.output = &output;
    for (size_t i = 0; i < spec.n_shots; i++) {
        farm__shot__init(pointers[i] = &shots[i]);
        shots[i].prompt = (char *)order->prompt;
        shots[i].negative = empty;
        shots[i].frames = order->frames;
        shots[i].cut = true;
        shots[i].seed = 7 + i;
    }
    Farm__Message message = FARM__MESSAGE__INIT;
    if (plan) {
        Farm__Plan wire = FARM__PLAN__INIT;
        wire.spec = &spec;
        message.body_case = FARM__MESSAGE__BODY_PLAN;
        message.plan = &wire;
        return say(member, &message);
    }
    unsigned char packed[4096];
    struct sora_envelope envelope;
    const struct sora_envelope_params params = {.key = members[signer].sign,
                                                .certificate = &members[signer].certificate,
                                                .domain = SORA_DOMAIN_SUBMIT,
                                                .audience = members[OAK].identity.node,
                                                .wall_expires_ms = sora_clock_wall_ms() + 60000,
                                                .payload = packed,
                                                .payload_size =
                                                    farm__job_spec__pack(&spec, packed)};
    sora_envelope_seal(&params, &envelope);
    Farm__Submit submit = FARM__SUBMIT__INIT;
    submit.spec = &envelope.wire;
    message.body_case = FARM__MESSAGE__BODY_SUBMIT;
    message.submit = &submit;
    return say(member, &message);
}

static const struct order balloon = {
    .id = {1, 2, 3}, .prompt = "a red balloon", .name = "Red balloon!", .frames = 81};

static inline uint64_t submit(const struct order *order)
{
    uint64_t id = ask(ANNA, order, false, ANNA);
    run();
    return id;
}

static inline Farm__Message *job_request(int member, Farm__Message__BodyCase kind,
                                         const char *prefix)
{
    Farm__JobName name = FARM__JOB_NAME__INIT;
    name.prefix = (char *)prefix;
    Farm__Status status = FARM__STATUS__INIT;
    Farm__Cancel cancel = FARM__CANCEL__INIT;
    Farm__Pause pause = FARM__PAUSE__INIT;
    Farm__Resume resume = FARM__RESUME__INIT;
    Farm__Erase erase = FARM__ERASE__INIT;
    Farm__Watch watch = FARM__WATCH__INIT;
    Farm__Fetch fetch = FARM__FETCH__INIT;
    Farm__Logs logs = FARM__LOGS__INIT;
    erase.job = status.job = cancel.job = pause.job = resume.job = watch.job = fetch.job =
        logs.job = &name;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = kind;
    switch (kind) {
    case FARM__MESSAGE__BODY_STATUS:
        message.status = &status;
        break;
    case FARM__MESSAGE__BODY_CANCEL:
        message.cancel = &cancel;
        break;
    case FARM__MESSAGE__BODY_PAUSE:
        message.pause = &pause;
        break;
    case FARM__MESSAGE__BODY_RESUME:
        message.resume = &resume;
        break;
    case FARM__MESSAGE__BODY_ERASE:
        message.erase = &erase;
        break;
    case FARM__MESSAGE__BODY_WATCH:
        message.watch = &watch;
        break;
    case FARM__MESSAGE__BODY_FETCH:
        message.fetch = &fetch;
        break;
    default:
        message.logs = &logs;
    }
    uint64_t id = say(member, &message);
    run();
    Farm__Message *answer = answer_to(id);
    assert_non_null(answer);
    return answer;
}

static inline Farm__JobStatus *status_of(const char *prefix)
{
    Farm__Message *answer = job_request(ANNA, FARM__MESSAGE__BODY_STATUS, prefix);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_STATUS_REPLY);
    return answer->status_reply->job;
}

static inline void refused(const Farm__Message *answer, int code, const char *words)
{
    assert_non_null(answer);
    assert_int_equal(answer->body_case, FARM__MESSAGE__BODY_REFUSAL);
    assert_int_equal(answer->refusal->code, code);
    if (*words && !strstr(answer->refusal->text, words))
        fail_msg("'%s' lacks '%s'", answer->refusal->text, words);
}

/* Beats until shards run; how many. */
static inline int start_shards(void)
{
    int count = 0;
    for (int i = 0; i < 6 && count == 0; i++) {
        second();
        count = each_shard(NULL, 0);
    }
    assert_true(count > 0);
    return count;
}

static inline void render_to_the_end(void)
{
    assert_int_equal(start_shards(), 2);
    each_shard(checkpoint, 2);
    each_shard(checkpoint, 4);
    each_shard(piece, 0);
    each_shard(piece, 1);
    run();
}

static inline void restart_home(void)
{
    sora_home_destroy(&home);
    stores_close();
    stores_open();
    home_start();
}

/* Anna's balloon is in the queue, and both shards begin. */
static inline void begin_balloon(void)
{
    second();
    submit(&balloon);
    assert_int_equal(start_shards(), 2);
}

/* All steps are done: both shards decode, and the job is over. */
static inline void end_balloon(void)
{
    each_shard(piece, 0);
    each_shard(piece, 1);
    assert_int_equal(status_of("01")->state, FARM__JOB_STATE__JOB_DONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, home_close)

#endif
