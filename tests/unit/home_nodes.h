/*
 * Nodes of a home's tests: they grant what is offered, hold what is ordered, and render when the
 * test says so (home_loop.h). Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_HOME_NODES_H
#define SORA_TESTS_UNIT_HOME_NODES_H

#include "tests/unit/home_fixture.h"

#define STEPS 4
#define TASKS_MAX 8
#define LATENT_BYTES (16 * 4 * 8 * 4) /* channels, height, width, float32 */

/* ---- nodes ---- */

struct task {
    bool used, text, running;
    unsigned char job[16];
    uint32_t shard, epoch, step, first, end;
    uint64_t version, boot;
    uint32_t stored, acked_pieces;
    bool complete, parked;
    int code; /* why it stopped; 0: it did not */
    size_t states;
};
static struct node {
    uint64_t boot, sequence;
    bool silent;
    struct task tasks[TASKS_MAX];
} nodes[MEMBERS];
static unsigned char model_digest[SORA_DIGEST_SIZE];
static int moved_text; /* TextEncode orders seen */

static inline struct task *task_of(int member, const ProtobufCBinaryData *job, bool text,
                                   uint32_t shard, uint32_t epoch)
{
    for (int i = 0; i < TASKS_MAX; i++) {
        struct task *task = &nodes[member].tasks[i];
        if (task->used && task->text == text && (text || task->shard == shard) &&
            task->epoch == epoch && memcmp(task->job, job->data, 16) == 0)
            return task;
    }
    return NULL;
}

static inline void node_offer(int member, const Farm__LeaseOffer *offer)
{
    struct sora_message *message = NULL;
    assert_int_equal(sora_message_decode_as(&farm__lease_body__descriptor,
                                            offer->lease->payload.data, offer->lease->payload.len,
                                            true, &message, NULL),
                     0);
    const Farm__LeaseBody *body = (const Farm__LeaseBody *)message->any;
    assert_memory_equal(body->node.data, members[member].identity.node, 32);
    assert_int_equal(body->boot, nodes[member].boot);
    if (!task_of(member, &body->job, body->text, body->shard, body->epoch)) {
        struct task *task = nodes[member].tasks;
        while (task->used)
            task++;
        *task = (struct task){.used = true,
                              .text = body->text,
                              .shard = body->shard,
                              .epoch = body->epoch,
                              .boot = body->boot};
        memcpy(task->job, body->job.data, 16);
    }
    struct sora_envelope envelope;
    const struct sora_envelope_params params = {.key = members[member].sign,
                                                .certificate = &members[member].certificate,
                                                .domain = SORA_DOMAIN_LEASE,
                                                .audience = members[OAK].identity.node,
                                                .wall_expires_ms = sora_clock_wall_ms() + 60000,
                                                .payload = offer->lease->payload.data,
                                                .payload_size = offer->lease->payload.len};
    sora_envelope_seal(&params, &envelope);
    Farm__LeaseGrant grant = FARM__LEASE_GRANT__INIT;
    grant.lease = &envelope.wire;
    grant.lease_ms = 60000;
    Farm__Message answer = FARM__MESSAGE__INIT;
    answer.body_case = FARM__MESSAGE__BODY_LEASE_GRANT;
    answer.lease_grant = &grant;
    say(member, &answer);
    sora_message_destroy(&message);
}

static inline void node_text(int member, const Farm__TextEncode *encode)
{
    struct task *task = task_of(member, &encode->job, true, 0, encode->epoch);
    assert_non_null(task);
    moved_text++;
    task->running = true;
    task->version = encode->version;
    static float numbers[4 * STEPS + 1];
    Farm__Schedule schedule = FARM__SCHEDULE__INIT;
    schedule.steps = encode->steps;
    schedule.n_sigmas = STEPS + 1;
    schedule.n_timesteps = STEPS;
    schedule.n_correctors = 4 * STEPS;
    schedule.n_predictors = 3 * STEPS;
    schedule.sigmas = schedule.timesteps = schedule.correctors = schedule.predictors = numbers;
    struct sora_blob rows[8];
    Farm__BlobName names[8], *pointers[8];
    assert_true(encode->n_texts <= 8);
    for (size_t i = 0; i < encode->n_texts; i++) {
        char row[256] = "";
        snprintf(row, sizeof(row), "%s", encode->texts[i]);
        rows[i] = hold_blob(row, sizeof(row));
        farm__blob_name__init(&names[i]);
        sora_blob_put(&rows[i], &names[i]);
        pointers[i] = &names[i];
    }
    Farm__TextEncoded encoded = FARM__TEXT_ENCODED__INIT;
    encoded.job = encode->job;
    encoded.epoch = encode->epoch;
    encoded.rows = pointers;
    encoded.n_rows = encode->n_texts;
    encoded.schedule = &schedule;
    Farm__Message answer = FARM__MESSAGE__INIT;
    answer.body_case = FARM__MESSAGE__BODY_TEXT_ENCODED;
    answer.text_encoded = &encoded;
    say(member, &answer);
}

static inline void node_assign(int member, const Farm__ShardAssign *assign)
{
    struct task *task = task_of(member, &assign->job, false, assign->shard, assign->epoch);
    if (!task || assign->boot != nodes[member].boot)
        return;
    assert_true(assign->n_texts > 0 && assign->schedule->steps == STEPS);
    if (!task->running)
        task->step = task->stored = assign->step;
    task->running = true;
    task->version = assign->version;
    task->first = assign->first;
    task->end = assign->end;
    task->states = assign->n_states;
    task->parked = assign->park;
    /* The states cover the shard without a gap. */
    uint32_t at = assign->first;
    for (size_t i = 0; i < assign->n_states; i++) {
        assert_true(assign->states[i]->first <= at || assign->step == STEPS);
        at = assign->states[i]->end;
    }
    assert_true(assign->step == 0 || at >= assign->end);
}

static inline void node_take(int member, const Farm__Message *message)
{
    struct task *task;
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_LEASE_OFFER:
        node_offer(member, message->lease_offer);
        return;
    case FARM__MESSAGE__BODY_TEXT_ENCODE:
        node_text(member, message->text_encode);
        return;
    case FARM__MESSAGE__BODY_SHARD_ASSIGN:
        node_assign(member, message->shard_assign);
        return;
    case FARM__MESSAGE__BODY_LEASE_REVOKE:
        task = task_of(member, &message->lease_revoke->job, message->lease_revoke->text,
                       message->lease_revoke->shard, message->lease_revoke->epoch);
        if (task)
            task->used = false;
        return;
    case FARM__MESSAGE__BODY_CHECKPOINT_STORED:
        task = task_of(member, &message->checkpoint_stored->job, false,
                       message->checkpoint_stored->shard, message->checkpoint_stored->epoch);
        if (task)
            task->stored = message->checkpoint_stored->step;
        return;
    case FARM__MESSAGE__BODY_SEGMENT_STORED:
        task = task_of(member, &message->segment_stored->job, false, message->segment_stored->shard,
                       message->segment_stored->epoch);
        if (task) {
            task->acked_pieces |= 1u << message->segment_stored->index;
            task->complete |= message->segment_stored->complete;
        }
        return;
    default:
        return;
    }
}

#endif
