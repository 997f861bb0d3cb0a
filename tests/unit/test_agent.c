/*
 * The agent with real child processes around a made-up model, between a scripted home and a network
 * with faults: leases, shards alone and exchanging halos, results, failures, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/card_claim.h"
#include "tests/unit/agent_orders.h"

/* ---- conditions ---- */

static bool first_is_returned(const struct home *home)
{
    return home->shard[0].returned != 0;
}

static bool first_has_stopped(const struct home *home)
{
    return home->shard[0].work == FARM__TASK_WORK__TASK_STOPPED;
}

static bool all_have_checkpoints(const struct home *home)
{
    bool all = true;
    for (uint32_t k = 0; k < home->shards; k++)
        all = all && home->shard[k].checkpoint >= 2;
    return all;
}

static void check_result(const struct home *home)
{
    size_t count = (size_t)home->job.timeline.latent_count * home->elements;
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&home->result[i], &home->reference[i], sizeof(float)) != 0)
            fail_msg("latent %zu differs: %g, not %g", i / home->elements, (double)home->result[i],
                     (double)home->reference[i]);
    }
}

static void put_file(const struct home *home, int node, const char *name)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", sora_blob_store_incoming(home->rig.nodes[node].blobs),
             name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

/* ---- one node ---- */

static void test_one_node(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 1});
    cut(home, 1);
    lease_all(home);
    home_offer(home, 0); /* again: the same answer */
    farm_for(home, 2);
    assert_int_equal(home->grants, 2);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_GRANTED);
    assert_int_equal(home->device_state, FARM__DEVICE_STATE__DEVICE_BUSY);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    farm_for(home, 2);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_RUNNING); /* until released */
    assert_int_equal(home->shard[0].step, 6);
    assert_int_equal(home->floor, 6);
    assert_true(home->window_ms > 1.4 && home->window_ms < 1.6 && home->decode_ms > 0.1);
    assert_int_equal(sora_agent_tasks(home->rig.nodes[1].agent), 1);
    end_lease(home, 0);
    farm_for(home, 2);
    assert_int_equal(sora_agent_tasks(home->rig.nodes[1].agent), 0);
    assert_int_equal(home->device_state, FARM__DEVICE_STATE__DEVICE_READY);
    home_offer(home, 0); /* that epoch is over */
    assert_true(farm_until(home, first_is_returned));
    assert_int_equal(home->shard[0].returned, SORA_E_STALE);
    farm_destroy(home);
}

static void test_text(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 1});
    cut(home, 1);
    Farm__LeaseBody body;
    home_lease(home, 0, &body);
    body.text = true;
    home_offer_body(home, 0, 1, &body);
    assert_true(farm_until(home, all_granted));
    char *texts[3] = {(char *)(uintptr_t) "a cat", (char *)(uintptr_t) "", (char *)(uintptr_t) "x"};
    Farm__TextEncode wire = FARM__TEXT_ENCODE__INIT;
    wire.job = body.job;
    wire.model = body.model;
    wire.n_texts = 3;
    wire.texts = texts;
    wire.epoch = 1;
    wire.version = 4;
    wire.boot = body.boot;
    wire.device = body.device;
    wire.steps = 6;
    wire.shift = 5;
    home_send(home, 1, FARM__MESSAGE__BODY_TEXT_ENCODE, &wire);
    farm_for(home, 7);
    assert_true(home->encoded >= 3 && home->encoded <= 5); /* every 2 s */
    assert_int_equal(home->text_steps, 6);
    size_t size;
    float *rows = (float *)(void *)rig_blob(&home->rig.nodes[1], &home->text_rows[0].digest, &size);
    assert_int_equal(size, 2 * TOY_TEXT_WIDTH * sizeof(float));
    assert_true(rows[0] == 5 && rows[1] == 6);
    free(rows);
    end_lease(home, 0);
    int before = home->encoded;
    farm_for(home, 4);
    assert_true(home->encoded <= before + 1);
    assert_int_equal(sora_agent_tasks(home->rig.nodes[1].agent), 0);
    farm_destroy(home);
}

/* ---- several nodes ---- */

/* Returns how many halos were refused or lost. */
static uint64_t run_farm(const struct farm_params *params)
{
    struct home *home = ready_farm(params);
    cut(home, (uint32_t)params->nodes);
    lease_all(home);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    uint64_t troubles = home->rig.full + home->rig.lost;
    farm_destroy(home);
    return troubles;
}

static void test_neighbours(void **state)
{
    (void)state;
    run_farm(&(struct farm_params){.nodes = 2});
}

static void test_three(void **state)
{
    (void)state;
    run_farm(&(struct farm_params){.nodes = 3, .latents = 33});
}

/* Halos lost, doubled, out of order and refused as FULL change nothing. */
static void test_faults(void **state)
{
    uint64_t troubles = 0; /* how many halos there are depends on the scheduling of processes */
    for (uint32_t seed = 1; seed <= 6; seed++) {
        print_message("seed %u\n", seed);
        troubles += run_farm(
            &(struct farm_params){.nodes = 2 + (int)(seed % 2), .chaos = 60, .seed = seed});
        assert_int_equal(scratch_teardown(state), 0);
        assert_int_equal(scratch_setup(state), 0);
    }
    assert_true(troubles > 0);
}

/* Halos of several parts, in disorder. */
static void test_large_halos(void **state)
{
    (void)state;
    uint64_t troubles = run_farm(&(struct farm_params){.nodes = 2,
                                                       .latents = 10,
                                                       .window = 5,
                                                       .overlap = 1,
                                                       .steps = 3,
                                                       .channels = 16,
                                                       .height = 160,
                                                       .width = 160,
                                                       .chaos = 200,
                                                       .seed = 3});
    assert_true(troubles > 0);
}

/* ---- failures ---- */

static bool first_has_failed(const struct home *home)
{
    const Farm__Device *device = sora_agent_advert(home->rig.nodes[1].agent)->devices[0];
    return device->state == FARM__DEVICE_STATE__DEVICE_FAILED &&
           strstr(device->state_text, "another sorad of this machine offers the card");
}

/* A card that another daemon of the machine offers is taken when that one has ended. */
static void test_a_card_has_one_daemon(void **state)
{
    (void)state;
    char card[24];
    int claim = -1;
    struct sora_fault fault = {0};
    snprintf(card, sizeof(card), "test:%d", (int)getpid());
    assert_int_equal(sora_card_claim(card, &claim, &fault), SORA_OK);
    struct home *home = farm_create(&(struct farm_params){.nodes = 1, .card = card});
    assert_true(farm_until(home, first_has_failed));
    close(claim);
    assert_true(farm_until(home, all_are_ready));
    assert_int_equal(sora_card_claim(card, &claim, &fault), SORA_E_BUSY);
    farm_destroy(home);
    assert_int_equal(sora_card_claim(card, &claim, NULL), SORA_OK);
    close(claim);
}

/* A new lease on the same node, from the floor on. */
static void move(struct home *home, uint32_t k)
{
    struct home_shard *shard = &home->shard[k];
    shard->epoch += 10;
    shard->version = 0;
    shard->granted = shard->complete = false;
    shard->work = 0;
    shard->pieces_wanted = 0;
    shard->piece_bits = 0;
    shard->resume = shard->checkpoint = home->floor;
}

static void test_killed_child(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2, .steps = 16});
    cut(home, 2);
    lease_all(home);
    put_file(home, 1, "slow");
    order_all(home);
    assert_true(farm_until(home, all_have_checkpoints));
    raise_floor(home);
    put_file(home, 1, "die");
    assert_true(farm_until(home, first_has_stopped));
    assert_int_equal(home->shard[0].code, SORA_E_DEVICE);
    end_lease(home, 0);
    farm_for(home, 2);
    assert_true(farm_until(home, all_are_ready)); /* the child comes back after a second */
    assert_true(home->floor >= 2);
    move(home, 0);
    lease_all(home);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    farm_destroy(home);
}

/* Who takes a shard over after the last step only decodes, from final latents of the home. */
static void test_decode_only(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2});
    cut(home, 2);
    lease_all(home);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    assert_int_equal(home->floor, 6);
    size_t count = (size_t)home->job.timeline.latent_count * home->elements;
    memset(home->result + count / 2, 0, count / 2 * sizeof(float));
    end_lease(home, 1);
    farm_for(home, 1);
    move(home, 1);
    lease_all(home);
    order(home, 1);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    farm_destroy(home);
}

static bool all_are_parked(const struct home *home)
{
    bool all = true;
    for (uint32_t k = 0; k < home->shards; k++)
        all = all && home->shard[k].work == FARM__TASK_WORK__TASK_PARKED;
    return all;
}

static void test_park(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2});
    cut(home, 2);
    lease_all(home);
    home->park = true;
    order_all(home);
    assert_true(farm_until(home, all_are_parked));
    assert_int_equal(home->shard[0].step, home->shard[1].step);
    home->park = false;
    raise_floor(home);
    for (uint32_t k = 0; k < 2; k++) {
        end_lease(home, k);
        move(home, k);
    }
    farm_for(home, 1);
    lease_all(home);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    farm_destroy(home);
}

/* A checkpoint that the home does not have any more ends the lease with a reason. */
static void test_missing_blob(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 1});
    cut(home, 1);
    lease_all(home);
    memset(&home->rows.digest, 0xee, sizeof(home->rows.digest));
    order(home, 0);
    assert_true(farm_until(home, first_has_stopped));
    assert_int_equal(home->shard[0].code, SORA_E_NOT_FOUND);
    assert_int_equal(home->device_state, FARM__DEVICE_STATE__DEVICE_READY);
    farm_destroy(home);
}

static void test_lying_child(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2});
    cut(home, 2);
    lease_all(home);
    put_file(home, 1, "lie");
    order_all(home);
    assert_true(farm_until(home, first_has_stopped));
    assert_int_equal(home->shard[0].code, SORA_E_DEVICE);
    farm_destroy(home);
}

static void test_lease_runs_out(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2});
    cut(home, 2);
    lease_all(home);
    order(home, 0); /* it waits for its neighbour */
    farm_for(home, 5);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_RUNNING);
    home->no_renewals = true;
    farm_for(home, 70);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_STOPPED);
    assert_int_equal(home->shard[0].code, SORA_E_TIMEOUT);
    assert_int_equal(sora_agent_tasks(home->rig.nodes[2].agent), 0); /* granted only: gone */
    farm_destroy(home);
}

/* ---- what is refused ---- */

static int answer_to(struct home *home, const Farm__LeaseBody *body)
{
    home->shard[0].returned = 0;
    home->grants = 0;
    home_offer_body(home, 0, 1, body);
    farm_for(home, 2);
    return home->grants > 0 ? 1 : home->shard[0].returned;
}

static void test_offers_refused(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 2, .memory_max = 5000});
    struct rig_node *node = &home->rig.nodes[1];
    cut(home, 1);
    Farm__LeaseBody good, body;
    home_lease(home, 0, &good);
    body = good;
    body.boot++;
    assert_int_equal(answer_to(home, &body), 0); /* dropped */
    body = good;
    body.device = (char *)(uintptr_t) "gpu7";
    assert_int_equal(answer_to(home, &body), SORA_E_NOT_FOUND);
    body = good;
    body.memory = 5001;
    assert_int_equal(answer_to(home, &body), SORA_E_LIMIT);
    body = good;
    body.home = good.node;
    assert_int_equal(answer_to(home, &body), 0);
    body = good;
    body.node = home_bytes(home->rig.nodes[2].identity.node, SORA_NODE_ID_SIZE);
    assert_int_equal(answer_to(home, &body), 0);
    body = good;
    body.home = home_bytes(home->rig.nodes[2].identity.node, SORA_NODE_ID_SIZE);
    home_offer_body(home, 2, 1, &body); /* it may not schedule */
    farm_for(home, 2);
    assert_int_equal(home->grants, 0);
    node->models.here = false;
    assert_int_equal(answer_to(home, &good), SORA_E_BUSY);
    assert_non_null(strstr(home->shard[0].words, "fetching"));
    assert_int_equal(answer_to(home, &good), SORA_E_BUSY);
    assert_string_equal(home->shard[0].words, "fetching toy: 3 of 14 files");
    assert_int_equal(node->models.fetches, 1);
    struct sora_model_entry entry;
    rig_entry(&entry);
    node->models.here = true;
    node->models.done(node->models.context, &entry, NULL);
    assert_int_equal(answer_to(home, &good), 1);
    body = good;
    memset(home->id, 0x11, sizeof(home->id)); /* of another job */
    assert_int_equal(answer_to(home, &body), SORA_E_BUSY);
    sora_agent_member_left(node->agent, home->rig.nodes[0].identity.node);
    assert_int_equal(sora_agent_tasks(node->agent), 0);
    sora_agent_drain(node->agent);
    assert_int_equal(answer_to(home, &body), SORA_E_BUSY);
    assert_non_null(strstr(home->shard[0].words, "drained"));
    farm_destroy(home);
}

static void test_hours(void **state)
{
    (void)state;
    time_t wall = time(NULL);
    struct tm local;
    localtime_r(&wall, &local);
    char hours[64];
    snprintf(hours, sizeof(hours), "%02d:00-%02d:00", (local.tm_hour + 2) % 24,
             (local.tm_hour + 3) % 24);
    struct home *home = farm_create(&(struct farm_params){.nodes = 1, .hours = hours});
    cut(home, 1);
    farm_for(home, 3);
    assert_int_equal(home->device_state, FARM__DEVICE_STATE__DEVICE_OFF);
    assert_non_null(strstr(home->state_text, "off until"));
    Farm__LeaseBody body;
    home_lease(home, 0, &body);
    assert_int_equal(answer_to(home, &body), SORA_E_BUSY);
    farm_destroy(home);
}

static void test_orders_refused(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 1});
    struct order o;
    cut(home, 1);
    order(home, 0); /* without a lease */
    assert_true(farm_until(home, first_is_returned));
    assert_int_equal(home->shard[0].returned, SORA_E_STALE);
    lease_all(home);
    order_fill(home, 0, &o);
    o.wire.boot++;
    home_send(home, 1, FARM__MESSAGE__BODY_SHARD_ASSIGN, &o.wire);
    farm_for(home, 2);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_GRANTED);
    order_fill(home, 0, &o);
    o.wire.context_latents = 1000;
    o.wire.n_texts = 0;
    home_send(home, 1, FARM__MESSAGE__BODY_SHARD_ASSIGN, &o.wire);
    assert_true(farm_until(home, first_has_stopped));
    assert_int_equal(home->shard[0].code, SORA_E_LIMIT);
    farm_destroy(home);
}

/* ---- hostile halos ---- */

static void send_halo(struct home *home, int from, const Farm__Halo *wire, size_t size)
{
    static unsigned char payload[SORA_PAYLOAD_BYTES_MAX]; /* zeros: a wrong result if it is taken */
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_HALO;
    message.halo = (Farm__Halo *)(uintptr_t)wire;
    rig_put(&home->rig, from, 1, &message, payload, size);
}

static void test_hostile_halos(void **state)
{
    (void)state;
    struct home *home = ready_farm(&(struct farm_params){.nodes = 3});
    cut(home, 2);
    lease_all(home);
    order(home, 0); /* waits: its neighbour has no order yet */
    farm_for(home, 2);
    const uint32_t one = (uint32_t)(home->elements * sizeof(float));
    struct sora_range due = sora_timeline_halo_latents(
        &home->job.timeline, 1, (struct sora_range){12, 24}, (struct sora_range){0, 12});
    assert_true(due.first < due.end);
    Farm__Halo good = FARM__HALO__INIT, wire;
    good.job = home_bytes(home->id, sizeof(home->id));
    good.step = 1;
    good.from_shard = 1;
    good.from_epoch = 2;
    good.to_epoch = 1;
    good.first = (uint32_t)due.first;
    good.count = (uint32_t)(due.end - due.first);
    good.size = good.count * one;
    send_halo(home, 3, &good, good.size); /* of somebody else */
    send_halo(home, 0, &good, good.size);
#define SEND(field, value, bytes)                                                                  \
    wire = good;                                                                                   \
    wire.field = (value);                                                                          \
    send_halo(home, 2, &wire, (bytes))
    SEND(from_epoch, 1, good.size);
    SEND(to_epoch, 2, good.size);
    SEND(to_shard, 1, good.size);
    SEND(from_shard, 0, good.size);
    SEND(step, 6, good.size);
    SEND(step, 900, good.size);
    SEND(first, good.first + 1, good.size);
    SEND(count, good.count + 1, good.size);
    SEND(size, good.size + 4, good.size);
    SEND(size, (uint64_t)1 << 30, SORA_PAYLOAD_BYTES_MAX);
    SEND(size, good.size, good.size - 4);
    SEND(offset, 4, good.size - 4);
    SEND(kind, FARM__HALO_KIND__HALO_FINAL, good.size);
    SEND(kind, FARM__HALO_KIND__HALO_PREDICTIONS, good.size);
    wire = good;
    wire.count = 60000;
    wire.size = (uint64_t)60000 * one;
    send_halo(home, 2, &wire, SORA_PAYLOAD_BYTES_MAX);
    farm_for(home, 2);
    assert_int_equal(home->shard[0].work, FARM__TASK_WORK__TASK_RUNNING);
    order(home, 1);
    assert_true(farm_until(home, all_complete));
    check_result(home);
    farm_destroy(home);
}

/* The first child is started when the models are known, or after 10 s. */
static void check_first_start(bool read_in_time)
{
    struct home *home = farm_create(&(struct farm_params){.nodes = 1});
    struct rig_node *node = &home->rig.nodes[1];
    struct pollfd items[SORA_AGENT_POLL_MAX];
    node->models.reading = true;
    farm_for(home, 8);
    assert_int_equal(sora_agent_poll(node->agent, items), 0); /* no child */
    node->models.reading = !read_in_time;
    farm_for(home, read_in_time ? 1 : 3);
    assert_int_equal(sora_agent_poll(node->agent, items), 1);
    farm_destroy(home);
}

static void test_start_waits_for_models(void **state)
{
    (void)state;
    check_first_start(true);
}

static void test_start_waits_within_limits(void **state)
{
    (void)state;
    check_first_start(false);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return toy_serve(argc, argv);
#define SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)
    const struct CMUnitTest tests[] = {
        SCRATCH(test_start_waits_for_models),
        SCRATCH(test_start_waits_within_limits),
        SCRATCH(test_one_node),
        SCRATCH(test_text),
        SCRATCH(test_neighbours),
        SCRATCH(test_three),
        SCRATCH(test_faults),
        SCRATCH(test_large_halos),
        SCRATCH(test_killed_child),
        SCRATCH(test_decode_only),
        SCRATCH(test_park),
        SCRATCH(test_missing_blob),
        SCRATCH(test_lying_child),
        SCRATCH(test_lease_runs_out),
        SCRATCH(test_offers_refused),
        SCRATCH(test_hours),
        SCRATCH(test_a_card_has_one_daemon),
        SCRATCH(test_orders_refused),
        SCRATCH(test_hostile_halos),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
