/* The solver on a device: the schedule's rows, n latents at once or alone, checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hip/cpu/cpu.h"
#include "model/solver.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LATENTS = 3, ELEMENTS = 2 * 3 * 5, COUNT = LATENTS * ELEMENTS };

struct fixture {
    struct sora_device *device;
    struct sora_stream *stream;
    struct sora_buffer *buffers[5];
    struct sora_tensor velocity;
    struct sora_solver_state state;
    struct sora_schedule *schedule;
};

static void take(struct fixture *f, int index, struct sora_tensor *out)
{
    assert_int_equal(sora_tensor_create(f->device, SORA_DTYPE_F32, SORA_SHAPE(LATENTS, 2, 3, 5),
                                        &f->buffers[index], out),
                     SORA_OK);
}

static void open_fixture(struct fixture *f, enum sora_solver_kind solver, int32_t steps)
{
    memset(f, 0, sizeof(*f));
    struct sora_cpu_params params = {.thread_count = 1};
    assert_int_equal(sora_cpu_device_create(&params, &f->device, NULL), SORA_OK);
    assert_int_equal(sora_stream_create(f->device, &f->stream), SORA_OK);
    take(f, 0, &f->velocity);
    take(f, 1, &f->state.x);
    if (solver == SORA_SOLVER_UNIPC) {
        take(f, 2, &f->state.last);
        take(f, 3, &f->state.outputs[0]);
        take(f, 4, &f->state.outputs[1]);
    }
    f->schedule = malloc(sizeof(*f->schedule));
    assert_non_null(f->schedule);
    struct sora_schedule_params schedule = {.solver = solver, .steps = steps, .shift = 5};
    assert_int_equal(sora_schedule_init(&schedule, f->schedule, NULL), SORA_OK);
}

static void close_fixture(struct fixture *f)
{
    free(f->schedule);
    for (int i = 0; i < 5; i++)
        sora_buffer_destroy(&f->buffers[i]);
    sora_stream_destroy(&f->stream);
    sora_device_destroy(&f->device);
}

/* A velocity with some history in it: fixed by place and step. */
static void make_velocity(const float *x, int32_t step, float *out)
{
    for (int i = 0; i < COUNT; i++)
        out[i] = 0.7f * x[i] - 0.3f * (float)((i * 7 + step * 5) % 11) / 11.0f;
}

/* One step on the device with all latents at once, or one after the other. */
static void device_step(struct fixture *f, int32_t step, bool alone, float *x)
{
    float v[COUNT];
    make_velocity(x, step, v);
    assert_int_equal(sora_tensor_upload(f->stream, &f->velocity, v), SORA_OK);
    for (int64_t n = 0; n < (alone ? LATENTS : 1); n++) {
        int64_t count = alone ? 1 : LATENTS;
        struct sora_solver_state state = sora_solver_state_slice(&f->state, n, count);
        struct sora_tensor velocity = sora_tensor_slice(&f->velocity, n, count);
        assert_int_equal(sora_solver_update(f->stream, f->schedule, step, &state, &velocity),
                         SORA_OK);
    }
    assert_int_equal(sora_tensor_download(f->stream, &f->state.x, x), SORA_OK);
}

static void start(struct fixture *f, float *x)
{
    for (int i = 0; i < COUNT; i++)
        x[i] = (float)((i * 37) % 17) / 8.0f - 1.0f;
    assert_int_equal(sora_tensor_upload(f->stream, &f->state.x, x), SORA_OK);
}

/* The rows in plain double; float32 steps stay close. */
static double plain_element(const struct sora_schedule *s, int place, double x)
{
    double last = 0, m[2] = {0, 0};
    for (int32_t i = 0; i < s->steps; i++) {
        const float *c = s->rows[i].corrector, *p = s->rows[i].predictor;
        double v = 0.7 * x - 0.3 * ((place * 7 + i * 5) % 11) / 11.0;
        if (s->solver == SORA_SOLVER_EULER) {
            x = p[0] * x + p[1] * v;
            continue;
        }
        double newest = x - s->sigmas[i] * v;
        last = i == 0 ? x : c[0] * last + c[1] * m[0] + c[2] * m[1] + c[3] * newest;
        x = p[0] * last + p[1] * newest + p[2] * m[0];
        m[1] = m[0];
        m[0] = newest;
    }
    return x;
}

static void test_follows_rows(void **state)
{
    (void)state;
    for (int solver = 0; solver < SORA_SOLVER_KIND_COUNT; solver++) {
        for (int32_t steps = 1; steps <= 12; steps++) {
            struct fixture f;
            open_fixture(&f, (enum sora_solver_kind)solver, steps);
            float x[COUNT], x0[COUNT];
            start(&f, x);
            memcpy(x0, x, sizeof(x));
            for (int32_t i = 0; i < steps; i++)
                device_step(&f, i, false, x);
            for (int i = 0; i < COUNT; i++)
                assert_true(fabs(x[i] - plain_element(f.schedule, i, x0[i])) < 1e-5);
            close_fixture(&f);
        }
    }
}

static void test_alone_is_together(void **state)
{
    (void)state;
    for (int solver = 0; solver < SORA_SOLVER_KIND_COUNT; solver++) {
        float together[COUNT], alone[COUNT];
        for (int pass = 0; pass < 2; pass++) {
            struct fixture f;
            float *x = pass ? alone : together;
            open_fixture(&f, (enum sora_solver_kind)solver, 8);
            start(&f, x);
            for (int32_t i = 0; i < 8; i++)
                device_step(&f, i, pass == 1, x);
            close_fixture(&f);
        }
        assert_memory_equal(together, alone, sizeof(alone));
    }
}

/* A run that is exported before any step and goes on in a fresh state ends in the same bits. */
static void test_checkpoint(void **state)
{
    (void)state;
    for (int solver = 0; solver < SORA_SOLVER_KIND_COUNT; solver++) {
        enum sora_solver_kind kind = (enum sora_solver_kind)solver;
        float whole[COUNT], x[COUNT], saved[4 * COUNT];
        struct fixture f;
        open_fixture(&f, kind, 7);
        start(&f, whole);
        for (int32_t i = 0; i < 7; i++)
            device_step(&f, i, false, whole);
        close_fixture(&f);
        for (int32_t cut = 0; cut <= 7; cut++) {
            open_fixture(&f, kind, 7);
            start(&f, x);
            for (int32_t i = 0; i < cut; i++)
                device_step(&f, i, false, x);
            assert_int_equal(sora_solver_export(f.stream, kind, cut, &f.state, saved), SORA_OK);
            close_fixture(&f);
            assert_memory_equal(saved, x, sizeof(x));
            open_fixture(&f, kind, 7);
            assert_int_equal(sora_solver_import(f.stream, kind, cut, &f.state, saved), SORA_OK);
            memcpy(x, saved, sizeof(x));
            for (int32_t i = cut; i < 7; i++)
                device_step(&f, i, false, x);
            close_fixture(&f);
            assert_memory_equal(x, whole, sizeof(x));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_rows),
        cmocka_unit_test(test_alone_is_together),
        cmocka_unit_test(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
