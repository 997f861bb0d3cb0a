/*
 * The scripted home of the agent's tests: offers, orders and acknowledges, keeps checkpoints and
 * segments in memory, and knows what one sampler makes of the same job.
 */
#ifndef SORA_TESTS_UNIT_AGENT_HOME_H
#define SORA_TESTS_UNIT_AGENT_HOME_H

#include "proto/envelope.h"
#include "tests/unit/agent_rig.h"

#define HOME_SHARDS 4
#define HOME_STEPS_MAX 16

struct home_shard {
    int node;
    uint32_t epoch, first, end;
    uint64_t version;
    uint32_t resume, checkpoint; /* newest at the home */
    bool granted, complete, ended;
    int returned; /* code of the last LeaseReturn */
    char words[256];
    int work, code, step, reports; /* of the last report */
    uint32_t pieces, pieces_wanted;
    uint64_t piece_bits;
    struct sora_blob states[HOME_STEPS_MAX + 1];
};

struct home {
    struct rig rig; /* first: the rig's handler gets it */
    struct sora_serve_shard job;
    struct sora_schedule schedule;
    uint32_t shards, checkpoint_steps, context, floor;
    bool no_renewals, park;
    unsigned char id[SORA_JOB_ID_SIZE];
    struct home_shard shard[HOME_SHARDS];
    struct sora_blob rows, negative;
    bool real; /* the project's own worker: segments are video */
    uint32_t frames;
    float *reference, *result; /* [latents][elements] of the last step */
    size_t elements;
    int adverts, encoded, grants;
    Farm__DeviceState device_state; /* of the last advert */
    char state_text[200];
    double window_ms, decode_ms;
    bool draining;
    struct sora_blob text_rows[8];
    uint32_t text_steps;
};

static inline ProtobufCBinaryData home_bytes(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

static inline void home_send(struct home *home, int to, Farm__Message__BodyCase body, void *what)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = body;
    message.lease_offer = what; /* all bodies share this place */
    rig_put(&home->rig, 0, to, &message, NULL, 0);
}

/* What an offer says; tests change it before it is sent. */
static inline void home_lease(struct home *home, uint32_t k, Farm__LeaseBody *out)
{
    struct home_shard *shard = &home->shard[k];
    const struct rig_node *node = &home->rig.nodes[shard->node];
    farm__lease_body__init(out);
    out->job = home_bytes(home->id, sizeof(home->id));
    out->shard = k;
    out->epoch = shard->epoch;
    out->home = home_bytes(home->rig.nodes[0].identity.node, SORA_NODE_ID_SIZE);
    out->node = home_bytes(node->identity.node, SORA_NODE_ID_SIZE);
    out->device = (char *)(uintptr_t) "cpu0";
    out->lease_ms = 60000;
    out->model = home_bytes(rig_model.bytes, SORA_DIGEST_SIZE);
    out->memory = 1000;
    out->boot = RIG_BOOT + (unsigned)shard->node;
}

/* `from` signs and sends. */
static inline void home_offer_body(struct home *home, int from, int to, const Farm__LeaseBody *body)
{
    struct rig_node *node = &home->rig.nodes[from];
    uint8_t bytes[1024];
    const struct sora_envelope_params params = {.key = node->sign,
                                                .certificate = &node->certificate,
                                                .domain = SORA_DOMAIN_LEASE,
                                                .audience = home->rig.nodes[to].identity.node,
                                                .wall_expires_ms = sora_clock_wall_ms() + 60000,
                                                .payload = bytes,
                                                .payload_size =
                                                    farm__lease_body__pack(body, bytes)};
    struct sora_envelope envelope;
    sora_envelope_seal(&params, &envelope);
    Farm__LeaseOffer offer = FARM__LEASE_OFFER__INIT;
    offer.lease = &envelope.wire;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LEASE_OFFER;
    message.lease_offer = &offer;
    rig_put(&home->rig, from, to, &message, NULL, 0);
}

static inline void home_offer(struct home *home, uint32_t k)
{
    Farm__LeaseBody body;
    home_lease(home, k, &body);
    home_offer_body(home, 0, home->shard[k].node, &body);
}

/* ---- what arrives ---- */

static inline void home_take_report(struct home *home, const Farm__Advert *advert, int from,
                                    const Farm__TaskReport *report)
{
    struct home_shard *shard = &home->shard[report->shard];
    if (shard->node != from || shard->epoch != report->epoch)
        return;
    shard->work = (int)report->work;
    shard->code = report->code;
    shard->step = (int)report->step;
    shard->reports++;
    if (home->no_renewals || report->work == FARM__TASK_WORK__TASK_STOPPED)
        return;
    Farm__LeaseRenew renew = FARM__LEASE_RENEW__INIT;
    renew.job = report->job;
    renew.shard = report->shard;
    renew.epoch = report->epoch;
    renew.text = report->text;
    renew.lease_ms = 60000;
    renew.sequence = advert->sequence;
    home_send(home, from, FARM__MESSAGE__BODY_LEASE_RENEW, &renew);
}

static inline void home_take_advert(struct home *home, int from, const Farm__Advert *advert)
{
    home->adverts++;
    home->draining = advert->draining;
    if (advert->n_devices > 0) {
        const Farm__Device *device = advert->devices[0];
        home->device_state = device->state;
        snprintf(home->state_text, sizeof(home->state_text), "%s", device->state_text);
        if (device->n_speeds > 0) {
            home->window_ms = device->speeds[0]->window_ms;
            home->decode_ms = device->speeds[0]->decode_ms;
        }
    }
    for (size_t i = 0; i < advert->n_reports; i++)
        home_take_report(home, advert, from, advert->reports[i]);
}

static inline void home_take_checkpoint(struct home *home, int from, const Farm__Checkpoint *wire)
{
    struct home_shard *shard = &home->shard[wire->shard];
    if (wire->epoch != shard->epoch)
        return;
    struct sora_blob blob;
    SORA_ASSERT(sora_blob_get(wire->state, &blob));
    if (!sora_digest_equal(&shard->states[wire->step].digest, &blob.digest)) {
        size_t size;
        unsigned char *bytes = rig_blob(&home->rig.nodes[from], &blob.digest, &size);
        SORA_ASSERT(bytes && size == blob.size);
        SORA_ASSERT(sora_blob_store_put(home->rig.nodes[0].blobs, bytes, size, NULL, NULL) == 0);
        free(bytes);
    }
    shard->states[wire->step] = blob;
    if (wire->step > shard->checkpoint)
        shard->checkpoint = wire->step;
    Farm__CheckpointStored stored = FARM__CHECKPOINT_STORED__INIT;
    stored.job = wire->job;
    stored.shard = wire->shard;
    stored.epoch = wire->epoch;
    stored.step = wire->step;
    home_send(home, from, FARM__MESSAGE__BODY_CHECKPOINT_STORED, &stored);
}

static inline void home_keep_piece(struct home *home, int from, const Farm__Segment *wire)
{
    struct sora_blob blob;
    size_t size, one = home->elements * sizeof(float);
    SORA_ASSERT(sora_blob_get(wire->video, &blob));
    unsigned char *bytes = rig_blob(&home->rig.nodes[from], &blob.digest, &size);
    SORA_ASSERT(bytes && (home->real || size == wire->frame_count * one));
    if (!home->real)
        memcpy(home->result + (size_t)wire->frame_first * home->elements, bytes, size);
    home->frames += wire->frame_count;
    free(bytes);
}

static inline void home_take_segment(struct home *home, int from, const Farm__Segment *wire)
{
    struct home_shard *shard = &home->shard[wire->shard];
    if (wire->epoch != shard->epoch)
        return;
    if (!(shard->piece_bits & (uint64_t)1 << wire->index)) /* said again: the node dropped it */
        home_keep_piece(home, from, wire);
    shard->piece_bits |= (uint64_t)1 << wire->index;
    if (wire->last)
        shard->pieces_wanted = wire->index + 1;
    shard->complete =
        shard->pieces_wanted && shard->piece_bits == ((uint64_t)1 << shard->pieces_wanted) - 1;
    Farm__SegmentStored stored = FARM__SEGMENT_STORED__INIT;
    stored.job = wire->job;
    stored.shard = wire->shard;
    stored.epoch = wire->epoch;
    stored.index = wire->index;
    stored.complete = shard->complete;
    home_send(home, from, FARM__MESSAGE__BODY_SEGMENT_STORED, &stored);
}

static inline void home_take_encoded(struct home *home, const Farm__TextEncoded *wire)
{
    home->encoded++;
    home->text_steps = wire->schedule->steps;
    for (size_t i = 0; i < wire->n_rows && i < 8; i++)
        SORA_ASSERT(sora_blob_get(wire->rows[i], &home->text_rows[i]));
}

static inline void home_take(struct rig *rig, int from, const Farm__Message *message)
{
    struct home *home = (struct home *)rig;
    switch (message->body_case) {
    case FARM__MESSAGE__BODY_ADVERT:
        home_take_advert(home, from, message->advert);
        break;
    case FARM__MESSAGE__BODY_LEASE_GRANT:
        home->grants++;
        for (uint32_t k = 0; k < HOME_SHARDS; k++)
            home->shard[k].granted |= home->shard[k].node == from;
        break;
    case FARM__MESSAGE__BODY_LEASE_RETURN:
        home->shard[message->lease_return->shard].returned = message->lease_return->code;
        snprintf(home->shard[message->lease_return->shard].words, 256, "%s",
                 message->lease_return->reason);
        break;
    case FARM__MESSAGE__BODY_CHECKPOINT:
        home_take_checkpoint(home, from, message->checkpoint);
        break;
    case FARM__MESSAGE__BODY_SEGMENT:
        home_take_segment(home, from, message->segment);
        break;
    case FARM__MESSAGE__BODY_TEXT_ENCODED:
        home_take_encoded(home, message->text_encoded);
        break;
    default:
        break;
    }
}

#endif
