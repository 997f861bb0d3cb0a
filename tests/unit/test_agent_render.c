/*
 * The agent with the project's own worker and a small model of the golden set: texts, then the same
 * job on one node and on two gives the same final latents, bit for bit, and all frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/agent_orders.h"

#define MODEL SORA_SOURCE_DIR "/tests/goldens/models/d_mini"
#define LATENTS 12
#define FRAMES (4 * (LATENTS - 1) + 1)
#define ELEMENTS (16 * 4 * 4)

static bool is_encoded(const struct home *home)
{
    return home->encoded > 0;
}

/* Copies a blob of node 1 to the home. */
static void bring_home(struct home *home, const struct sora_blob *blob, struct sora_blob *out)
{
    size_t size;
    unsigned char *bytes = rig_blob(&home->rig.nodes[1], &blob->digest, &size);
    assert_int_equal(size, blob->size);
    assert_int_equal(sora_blob_store_put(home->rig.nodes[0].blobs, bytes, size, rows_stored, out),
                     0);
    free(bytes);
}

static void encode_texts(struct home *home)
{
    Farm__LeaseBody body;
    cut(home, 1);
    home_lease(home, 0, &body);
    body.text = true;
    body.epoch = 99;
    home_offer_body(home, 0, 1, &body);
    SORA_ASSERT(farm_until(home, all_granted));
    char *texts[2] = {(char *)(uintptr_t) "a red ball on the sea", (char *)(uintptr_t) "static"};
    Farm__TextEncode wire = FARM__TEXT_ENCODE__INIT;
    wire.job = body.job;
    wire.model = body.model;
    wire.n_texts = 2;
    wire.texts = texts;
    wire.epoch = 99;
    wire.version = 1;
    wire.boot = body.boot;
    wire.device = body.device;
    wire.solver = (uint32_t)home->schedule.solver;
    wire.steps = (uint32_t)home->schedule.steps;
    wire.shift = 5;
    home_send(home, 1, FARM__MESSAGE__BODY_TEXT_ENCODE, &wire);
    assert_true(farm_until(home, is_encoded));
    bring_home(home, &home->text_rows[0], &home->rows);
    bring_home(home, &home->text_rows[1], &home->negative);
    home->shard[0].epoch = 99;
    end_lease(home, 0);
    farm_for(home, 2);
    assert_int_equal(sora_agent_tasks(home->rig.nodes[1].agent), 0);
    memset(home->shard, 0, sizeof(home->shard));
}

/* Renders on `nodes` nodes; the final latents go to `out`. */
static void render(int nodes, uint32_t chaos, unsigned char *out)
{
    struct home *home = farm_create(&(struct farm_params){.nodes = nodes,
                                                          .latents = LATENTS,
                                                          .window = 7,
                                                          .steps = 4,
                                                          .channels = 16,
                                                          .height = 4,
                                                          .width = 4,
                                                          .chaos = chaos,
                                                          .program = SORA_WORKER,
                                                          .model = MODEL});
    assert_true(farm_until(home, all_are_ready));
    encode_texts(home);
    cut(home, (uint32_t)nodes);
    home->context = 5;
    lease_all(home);
    order_all(home);
    assert_true(farm_until(home, all_complete));
    assert_int_equal(home->frames, FRAMES);
    farm_for(home, 2); /* the next beat has the speeds */
    assert_true(home->window_ms > 0 && home->decode_ms > 0);
    for (int k = 0; k < nodes; k++) {
        size_t size;
        unsigned char *bytes =
            rig_blob(&home->rig.nodes[0], &home->shard[k].states[4].digest, &size);
        assert_int_equal(size, LATENTS / nodes * ELEMENTS * (int)sizeof(float));
        memcpy(out, bytes, size);
        out += size;
        free(bytes);
    }
    farm_destroy(home);
}

static void test_one_and_two(void **state)
{
    size_t size = LATENTS * ELEMENTS * sizeof(float);
    unsigned char *one = malloc(size), *two = malloc(size);
    render(1, 0, one);
    assert_int_equal(scratch_teardown(state), 0);
    assert_int_equal(scratch_setup(state), 0);
    render(2, 50, two);
    assert_memory_equal(one, two, size);
    free(one);
    free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_and_two, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests_name("agent and worker", tests, NULL, NULL);
}
