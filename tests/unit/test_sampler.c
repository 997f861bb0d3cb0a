/*
 * The step machine against a straightforward loop, and shards that exchange halos by hand against
 * one sampler, bit for bit.
 *
 * The model under test mixes neighbouring latents and knows slot, step and prompt, so that any
 * mistake in windows, throwaway, order or guidance changes the result.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hip/cpu/cpu.h"
#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { C = 2, H = 3, W = 2, ELEMENTS = C * H * W, LATENTS_MAX = 80, WINDOW = 9 };

/* ---- the test model ---- */

struct test_model {
    int calls, unconditional_calls;
    int32_t bad_step; /* gives NaN at this step; -1 never */
    double last_timestep;
};

static void model_values(const float *x, int32_t n, double timestep, bool conditional, float *v)
{
    for (int32_t f = 0; f < n; f++) {
        for (int i = 0; i < ELEMENTS; i++) {
            float here = x[f * ELEMENTS + i];
            float before = f > 0 ? x[(f - 1) * ELEMENTS + i] : 0.125f;
            float after = f < n - 1 ? x[(f + 1) * ELEMENTS + (i + 1) % ELEMENTS] : -0.25f;
            float bend = here / (1.0f + here * here);
            v[f * ELEMENTS + i] = 0.5f * bend + 0.3f * here - 0.2f * before + 0.1f * after +
                                  0.01f * (float)f + (float)timestep / 4000.0f +
                                  (conditional ? 0.05f * (float)i : 0.0f);
        }
    }
}

static int model_forward(void *context, struct sora_stream *stream,
                         const struct sora_denoiser_input *input,
                         const struct sora_tensor *out_velocity, struct sora_fault *fault)
{
    (void)fault;
    struct test_model *model = context;
    int32_t n = (int32_t)input->latents.shape[0];
    float *x = malloc(2 * (size_t)n * ELEMENTS * sizeof(float)), *v = x + n * ELEMENTS;
    assert_non_null(x);
    assert_int_equal(sora_tensor_download(stream, &input->latents, x), SORA_OK);
    model_values(x, n, input->timestep, input->conditional, v);
    if (input->step == model->bad_step)
        v[(n - 1) * ELEMENTS + 3] = NAN;
    int rc = sora_tensor_upload(stream, out_velocity, v);
    free(x);
    model->calls++;
    model->unconditional_calls += !input->conditional;
    model->last_timestep = input->timestep;
    return rc;
}

/* ---- building ---- */

struct setup {
    int32_t latents, overlap, steps;
    enum sora_solver_kind solver;
    double guidance;
};

struct fixture {
    struct setup setup;
    struct sora_device *device;
    struct sora_schedule *schedule;
    struct test_model model;
    float noise[LATENTS_MAX * ELEMENTS];
};

static void open_fixture(struct fixture *f, struct setup setup)
{
    memset(f, 0, sizeof(*f));
    f->setup = setup;
    f->model.bad_step = -1;
    struct sora_cpu_params params = {.thread_count = 1};
    assert_int_equal(sora_cpu_device_create(&params, &f->device, NULL), SORA_OK);
    f->schedule = malloc(sizeof(*f->schedule));
    assert_non_null(f->schedule);
    struct sora_schedule_params schedule = {
        .solver = setup.solver, .steps = setup.steps, .shift = 5};
    assert_int_equal(sora_schedule_init(&schedule, f->schedule, NULL), SORA_OK);
    uint32_t random = 12345;
    for (int i = 0; i < setup.latents * ELEMENTS; i++) {
        random = random * 1664525u + 1013904223u;
        f->noise[i] = (float)(int32_t)random * 0x1p-30f;
    }
}

static void close_fixture(struct fixture *f)
{
    free(f->schedule);
    sora_device_destroy(&f->device);
}

static struct sora_sampler_params params_of(struct fixture *f, int32_t first, int32_t end)
{
    return (struct sora_sampler_params){.timeline = {.latent_count = f->setup.latents,
                                                     .window_latents = WINDOW,
                                                     .overlap_latents = f->setup.overlap},
                                        .shard = {first, end},
                                        .channels = C,
                                        .height = H,
                                        .width = W,
                                        .guidance = f->setup.guidance,
                                        .schedule = f->schedule,
                                        .denoiser = {.forward = model_forward, .model = &f->model}};
}

static struct sora_sampler *open_sampler(struct fixture *f, int32_t first, int32_t end)
{
    struct sora_sampler_params params = params_of(f, first, end);
    struct sora_sampler *sampler = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_sampler_create(f->device, &params, &sampler, &fault), SORA_OK);
    assert_int_equal(sora_sampler_latent_elements(sampler), ELEMENTS);
    for (int32_t i = first; i < (end ? end : f->setup.latents); i++)
        assert_int_equal(sora_sampler_put_latent(sampler, i, f->noise + i * ELEMENTS, &fault),
                         SORA_OK);
    return sampler;
}

static void read_latents(struct sora_sampler *s, int32_t first, int32_t end, float *out)
{
    for (int32_t i = first; i < end; i++)
        assert_int_equal(sora_sampler_get_latent(s, i, out + i * ELEMENTS, NULL), SORA_OK);
}

/* The whole timeline by one sampler. */
static void run_whole(struct fixture *f, float *out)
{
    struct sora_sampler *s = open_sampler(f, 0, 0);
    while (sora_sampler_step_index(s) < f->setup.steps)
        assert_int_equal(sora_sampler_step(s, NULL), SORA_OK);
    read_latents(s, 0, f->setup.latents, out);
    sora_sampler_destroy(&s);
}

/* ---- the straightforward loop ---- */

static void reference_velocity(const struct fixture *f, const float *x, int32_t step, float *v)
{
    struct sora_timeline_params t = {.latent_count = f->setup.latents,
                                     .window_latents = WINDOW,
                                     .overlap_latents = f->setup.overlap};
    double timestep = (double)f->schedule->timesteps[step];
    memset(v, 0, (size_t)f->setup.latents * ELEMENTS * sizeof(float));
    for (int32_t k = 0; k < sora_timeline_window_count(&t, step); k++) {
        struct sora_window w = sora_timeline_window(&t, step, k);
        float vc[WINDOW * ELEMENTS], vu[WINDOW * ELEMENTS];
        model_values(x + w.start * ELEMENTS, w.length, timestep, true, vc);
        model_values(x + w.start * ELEMENTS, w.length, timestep, false, vu);
        for (int32_t i = w.payload_start; i < w.payload_end; i++) {
            float share = sora_timeline_share(&t, step, k, i);
            for (int e = 0; e < ELEMENTS; e++) {
                float guided = vc[(i - w.start) * ELEMENTS + e];
                float unguided = vu[(i - w.start) * ELEMENTS + e];
                if (f->setup.guidance > 1)
                    guided = unguided + (float)f->setup.guidance * (guided - unguided);
                v[i * ELEMENTS + e] += share * guided;
            }
        }
    }
}

static void run_reference(const struct fixture *f, float *x)
{
    static float v[LATENTS_MAX * ELEMENTS], last[LATENTS_MAX * ELEMENTS];
    static float m[3][LATENTS_MAX * ELEMENTS];
    const struct sora_schedule *s = f->schedule;
    memcpy(x, f->noise, sizeof(f->noise));
    for (int32_t step = 0; step < s->steps; step++) {
        const float *c = s->rows[step].corrector, *p = s->rows[step].predictor;
        reference_velocity(f, x, step, v);
        for (int i = 0; i < f->setup.latents * ELEMENTS; i++) {
            if (s->solver == SORA_SOLVER_EULER) {
                x[i] = p[0] * x[i] + p[1] * v[i];
                continue;
            }
            float newest = x[i] - s->sigmas[step] * v[i];
            float corrected = x[i];
            if (step == 1)
                corrected = c[0] * last[i] + c[1] * m[0][i] + c[3] * newest;
            else if (step > 1)
                corrected = c[0] * last[i] + c[1] * m[0][i] + c[2] * m[1][i] + c[3] * newest;
            m[1][i] = m[0][i];
            m[0][i] = newest;
            last[i] = corrected;
            x[i] = p[0] * corrected + p[1] * newest;
            if (step > 0)
                x[i] += p[2] * m[1][i];
        }
    }
}

static const struct setup setups[] = {
    {1, 3, 5, SORA_SOLVER_UNIPC, 4.0},  {9, 3, 6, SORA_SOLVER_UNIPC, 5.0},
    {6, 2, 6, SORA_SOLVER_EULER, 1.0},  {9, 5, 8, SORA_SOLVER_EULER, 3.5},
    {10, 3, 5, SORA_SOLVER_UNIPC, 1.0}, {41, 3, 6, SORA_SOLVER_UNIPC, 4.0},
    {50, 1, 5, SORA_SOLVER_EULER, 2.0}, {37, 7, 6, SORA_SOLVER_UNIPC, 6.0},
};

/* Windows, weights, guidance and solver are those of the plain loop, bit for bit; of these setups
 * the first four are single windows, so a timeline of at most one window is plain sampling. */
static void test_equals_loop(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
        static struct fixture f;
        static float got[LATENTS_MAX * ELEMENTS], expected[LATENTS_MAX * ELEMENTS];
        open_fixture(&f, setups[i]);
        run_whole(&f, got);
        run_reference(&f, expected);
        for (int e = 0; e < f.setup.latents * ELEMENTS; e++) {
            if (!(got[e] == expected[e]))
                fail_msg("setup %zu element %d: %.9g, loop %.9g", i, e, (double)got[e],
                         (double)expected[e]);
        }
        close_fixture(&f);
    }
}

/* Plain sampling written without any notion of windows or shares. */
static void test_single_window_is_plain(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f, (struct setup){9, 4, 10, SORA_SOLVER_EULER, 4.5});
    float x[9 * ELEMENTS], vc[9 * ELEMENTS], vu[9 * ELEMENTS], got[9 * ELEMENTS];
    memcpy(x, f.noise, sizeof(x));
    for (int32_t step = 0; step < 10; step++) {
        model_values(x, 9, (double)f.schedule->timesteps[step], true, vc);
        model_values(x, 9, (double)f.schedule->timesteps[step], false, vu);
        float dt = f.schedule->sigmas[step + 1] - f.schedule->sigmas[step];
        for (int i = 0; i < 9 * ELEMENTS; i++)
            x[i] = x[i] + dt * (vu[i] + 4.5f * (vc[i] - vu[i]));
    }
    run_whole(&f, got);
    assert_memory_equal(got, x, sizeof(x));
    assert_int_equal(f.model.calls, 20);
    close_fixture(&f);
}

/* ---- shards ---- */

struct farm {
    struct fixture *fixture;
    int count;
    struct sora_range shards[6];
    struct sora_sampler *samplers[6];
    long latents_sent, predictions_sent;
};

static void farm_send_latents(struct farm *farm, int32_t step)
{
    struct sora_sampler_params p = params_of(farm->fixture, 0, 0);
    float values[ELEMENTS];
    for (int from = farm->count - 1; from >= 0; from--) {
        for (int to = 0; to < farm->count; to++) {
            if (from == to)
                continue;
            struct sora_range halo =
                sora_timeline_halo_latents(&p.timeline, step, farm->shards[from], farm->shards[to]);
            for (int32_t i = halo.first; i < halo.end; i++, farm->latents_sent++) {
                assert_int_equal(sora_sampler_get_latent(farm->samplers[from], i, values, NULL),
                                 SORA_OK);
                assert_int_equal(sora_sampler_put_latent(farm->samplers[to], i, values, NULL),
                                 SORA_OK);
            }
        }
    }
}

static void farm_send_predictions(struct farm *farm, int32_t step, int from)
{
    struct sora_sampler_params p = params_of(farm->fixture, 0, 0);
    struct sora_range windows = sora_sampler_windows(farm->samplers[from]);
    float values[ELEMENTS];
    for (int32_t k = windows.end - 1; k >= windows.first; k--) {
        for (int to = 0; to < farm->count; to++) {
            struct sora_range halo =
                sora_timeline_halo_predictions(&p.timeline, step, k, farm->shards[to]);
            for (int32_t i = halo.first; i < halo.end && to != from; i++) {
                assert_int_equal(
                    sora_sampler_get_prediction(farm->samplers[from], k, i, values, NULL), SORA_OK);
                /* Twice: a repeat is ignored. */
                assert_int_equal(
                    sora_sampler_put_prediction(farm->samplers[to], k, i, values, NULL), SORA_OK);
                memset(values, 0, sizeof(values));
                assert_int_equal(
                    sora_sampler_put_prediction(farm->samplers[to], k, i, values, NULL), SORA_OK);
                farm->predictions_sent++;
            }
        }
    }
}

/* One step with the shards' windows in reverse order. */
static void farm_step(struct farm *farm, int32_t step)
{
    farm_send_latents(farm, step);
    for (int s = farm->count - 1; s >= 0; s--) {
        struct sora_range windows = sora_sampler_windows(farm->samplers[s]);
        for (int32_t k = windows.end - 1; k >= windows.first; k--)
            assert_int_equal(sora_sampler_predict(farm->samplers[s], k, NULL), SORA_OK);
    }
    for (int s = 0; s < farm->count; s++)
        farm_send_predictions(farm, step, s);
    for (int s = 0; s < farm->count; s++) {
        assert_true(sora_sampler_fusable(farm->samplers[s]));
        assert_int_equal(sora_sampler_fuse(farm->samplers[s], NULL), SORA_OK);
        assert_int_equal(sora_sampler_update(farm->samplers[s], NULL), SORA_OK);
    }
}

/* Runs the shards cut at `cuts`; at step `move_step` shard 0 moves to a fresh sampler through its
 * checkpoint, -1 never. */
static void run_farm(struct fixture *f, const int32_t *cuts, int count, int32_t move_step,
                     float *out)
{
    struct farm farm = {.fixture = f, .count = count};
    for (int s = 0; s < count; s++) {
        farm.shards[s] =
            (struct sora_range){s ? cuts[s - 1] : 0, s < count - 1 ? cuts[s] : f->setup.latents};
        farm.samplers[s] = open_sampler(f, farm.shards[s].first, farm.shards[s].end);
    }
    for (int32_t step = 0; step < f->setup.steps; step++) {
        if (step == move_step) {
            struct sora_sampler *fresh = open_sampler(f, farm.shards[0].first, farm.shards[0].end);
            float state[4 * ELEMENTS];
            for (int32_t i = farm.shards[0].first; i < farm.shards[0].end; i++) {
                assert_int_equal(sora_sampler_get_state(farm.samplers[0], i, state, NULL), SORA_OK);
                assert_int_equal(sora_sampler_put_state(fresh, step, i, state, NULL), SORA_OK);
            }
            sora_sampler_destroy(&farm.samplers[0]);
            farm.samplers[0] = fresh;
        }
        farm_step(&farm, step);
    }
    for (int s = 0; s < count; s++) {
        read_latents(farm.samplers[s], farm.shards[s].first, farm.shards[s].end, out);
        sora_sampler_destroy(&farm.samplers[s]);
    }
    assert_true(count == 1 || farm.latents_sent + farm.predictions_sent > 0);
}

static void test_shards_change_nothing(void **state)
{
    (void)state;
    static const struct {
        int32_t cuts[5];
        int count;
        int32_t move_step;
    } splits[] = {
        {{0}, 1, -1},
        {{20}, 2, -1},
        {{13}, 2, 3},
        {{1}, 2, -1},
        {{40}, 2, 1},
        {{14, 27}, 3, 2},
        {{2, 5, 30}, 4, -1},
        {{10, 11, 12, 13}, 5, 4},
        {{7, 14, 21, 28, 35}, 6, 5},
    };
    for (int solver = 0; solver < SORA_SOLVER_KIND_COUNT; solver++) {
        static struct fixture f;
        static float whole[LATENTS_MAX * ELEMENTS], farm[LATENTS_MAX * ELEMENTS];
        open_fixture(&f, (struct setup){41, 3, 6, (enum sora_solver_kind)solver, 4.0});
        run_whole(&f, whole);
        int calls = f.model.calls;
        for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++) {
            f.model.calls = 0;
            run_farm(&f, splits[i].cuts, splits[i].count, splits[i].move_step, farm);
            assert_memory_equal(farm, whole, 41 * ELEMENTS * sizeof(float));
            assert_int_equal(f.model.calls, calls);
        }
        close_fixture(&f);
    }
}

static void test_guidance_cost(void **state)
{
    (void)state;
    static struct fixture f;
    static float out[LATENTS_MAX * ELEMENTS];
    open_fixture(&f, (struct setup){41, 3, 4, SORA_SOLVER_UNIPC, 1.0});
    run_whole(&f, out);
    /* 41 latents, L 9, stride 5: 8 windows on even steps, 8 on odd ones. */
    assert_int_equal(f.model.unconditional_calls, 0);
    assert_int_equal(f.model.calls, 2 * 8 + 2 * 8);
    close_fixture(&f);
}

static void test_not_finite(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f, (struct setup){41, 3, 4, SORA_SOLVER_UNIPC, 3.0});
    f.model.bad_step = 2;
    struct sora_sampler *s = open_sampler(&f, 0, 0);
    struct sora_fault fault = {0};
    assert_int_equal(sora_sampler_step(s, &fault), SORA_OK);
    assert_int_equal(sora_sampler_step(s, &fault), SORA_OK);
    assert_int_equal(sora_sampler_step(s, &fault), SORA_E_NUMERIC);
    assert_non_null(strstr(fault.text, "window 0 (latents 0 to 8) at step 3 of 4"));
    assert_non_null(strstr(fault.text, "lower the guidance"));
    sora_sampler_destroy(&s);
    close_fixture(&f);
}

/* Misuse and things that came from outside are refused with a sentence, never run. */
static void test_order_of_calls(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f, (struct setup){41, 3, 2, SORA_SOLVER_UNIPC, 1.0});
    struct sora_sampler *s = open_sampler(&f, 12, 26);
    struct sora_range windows = sora_sampler_windows(s), inputs = sora_sampler_inputs(s);
    float values[ELEMENTS] = {0};
    struct sora_fault fault = {0};
    assert_true(inputs.first < 12 && inputs.end > 26);
    assert_int_equal(sora_sampler_predict(s, windows.first, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "has not arrived"));
    assert_int_equal(sora_sampler_predict(s, windows.end, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_predict(s, -1, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_fuse(s, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_update(s, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_latent(s, 0, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_latent(s, -1, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_latent(s, 41, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_get_latent(s, 9, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_get_prediction(s, windows.first, 12, values, NULL),
                     SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_prediction(s, windows.first, 12, values, NULL),
                     SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_prediction(s, 1000, 12, values, NULL), SORA_E_INVALID);
    struct sora_range covering = sora_sampler_covering(s);
    assert_true(covering.first < windows.first);
    values[4] = NAN;
    assert_int_equal(sora_sampler_put_prediction(s, covering.first, 12, values, NULL),
                     SORA_E_NUMERIC);
    assert_int_equal(sora_sampler_put_latent(s, inputs.first, values, NULL), SORA_E_NUMERIC);
    assert_false(sora_sampler_fusable(s));
    assert_int_equal(sora_sampler_put_state(s, 3, 12, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_put_state(s, 1, 26, values, NULL), SORA_E_INVALID);
    assert_int_equal(sora_sampler_get_state(s, 26, values, NULL), SORA_E_INVALID);
    sora_sampler_destroy(&s);
    sora_sampler_destroy(&s);
    close_fixture(&f);
}

static void test_refusals(void **state)
{
    (void)state;
    static struct fixture f;
    open_fixture(&f, (struct setup){41, 3, 2, SORA_SOLVER_UNIPC, 1.0});
    struct sora_sampler_params bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = params_of(&f, 0, 0);
    bad[0].channels = 0;
    bad[1].height = 5000;
    bad[2].guidance = 0.5;
    bad[3].guidance = NAN;
    bad[4].shard = (struct sora_range){30, 50};
    bad[5].shard = (struct sora_range){5, 5};
    bad[6].timeline.latent_count = 0;
    bad[7].width = -1;
    struct sora_sampler *s = NULL;
    for (int i = 0; i < 8; i++) {
        struct sora_fault fault = {0};
        assert_int_equal(sora_sampler_create(f.device, &bad[i], &s, &fault), SORA_E_INVALID);
        assert_true(strlen(fault.text) > 10);
    }
    struct sora_sampler_params huge = params_of(&f, 0, 0);
    huge.timeline.latent_count = SORA_TIMELINE_LATENTS_MAX;
    huge.channels = 1024;
    huge.height = huge.width = 4096;
    assert_int_equal(sora_sampler_create(f.device, &huge, &s, NULL), SORA_E_LIMIT);
    assert_null(s);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_loop),
        cmocka_unit_test(test_single_window_is_plain),
        cmocka_unit_test(test_shards_change_nothing),
        cmocka_unit_test(test_guidance_cost),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_order_of_calls),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
