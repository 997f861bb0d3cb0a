/* Schedules against diffusers 0.42, and the coefficients against the solver's own equations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift)
 * and FlowMatchEulerDiscreteScheduler(shift) of diffusers 0.42.0: the tables, and where five values
 * -2..2 end under v = x/(1+x^2) + 0.2 x - t/2000. */
static const struct {
    enum sora_solver_kind solver;
    int32_t steps;
    double shift;
    float sigmas[9], timesteps[8], result[5];
} reference_rows[] = {
    {SORA_SOLVER_UNIPC,
     1,
     3.0,
     {0.999998987f, 0.0f},
     {999.0f},
     {-0.700501323f, 0.199498773f, 0.4994995f, 0.799500227f, 1.69950032f}},
    {SORA_SOLVER_UNIPC,
     2,
     3.0,
     {0.999998987f, 0.750374794f, 0.0f},
     {999.0f, 750.0f},
     {-0.812544227f, 0.038577795f, 0.295235515f, 0.714083731f, 1.61051798f}},
    {SORA_SOLVER_UNIPC,
     3,
     3.0,
     {0.999998987f, 0.857326508f, 0.600719452f, 0.0f},
     {999.0f, 857.0f, 600.0f},
     {-0.869887888f, -0.0544028878f, 0.224185884f, 0.67296052f, 1.56503117f}},
    {SORA_SOLVER_UNIPC,
     8,
     3.0,
     {0.999998987f, 0.954595029f, 0.90011996f, 0.83355546f, 0.750374794f, 0.643468976f,
      0.500998974f, 0.301677644f, 0.0f},
     {999.0f, 954.0f, 900.0f, 833.0f, 750.0f, 643.0f, 500.0f, 301.0f},
     {-0.970434666f, -0.210303709f, 0.134757996f, 0.609244585f, 1.48634362f}},
    {SORA_SOLVER_UNIPC,
     8,
     5.0,
     {0.999998987f, 0.972253084f, 0.937578082f, 0.893010139f, 0.833610952f, 0.750499487f,
      0.625936091f, 0.418606579f, 0.0f},
     {999.0f, 972.0f, 937.0f, 893.0f, 833.0f, 750.0f, 625.0f, 418.0f},
     {-0.942740619f, -0.164663136f, 0.15851523f, 0.625377417f, 1.50762439f}},
    {SORA_SOLVER_UNIPC,
     8,
     3.3,
     {0.999998987f, 0.958551645f, 0.908367932f, 0.846362054f, 0.767798603f, 0.665023625f,
      0.524806142f, 0.322127551f, 0.0f},
     {999.0f, 958.0f, 908.0f, 846.0f, 767.0f, 665.0f, 524.0f, 322.0f},
     {-0.965966046f, -0.203130096f, 0.138335183f, 0.611763835f, 1.48977387f}},
    {SORA_SOLVER_EULER,
     1,
     3.0,
     {1.0f, 0.0f},
     {1000.0f},
     {-0.700000048f, 0.200000048f, 0.5f, 0.800000012f, 1.70000005f}},
    {SORA_SOLVER_EULER,
     2,
     3.0,
     {1.0f, 0.00892857183f, 0.0f},
     {1000.0f, 8.9285717f},
     {-0.706078827f, 0.18735601f, 0.491138518f, 0.796036303f, 1.69577897f}},
    {SORA_SOLVER_EULER,
     3,
     3.0,
     {1.0f, 0.751121104f, 0.00892857183f, 0.0f},
     {1000.0f, 751.121094f, 8.9285717f},
     {-0.816447675f, 0.0301235151f, 0.290857255f, 0.711829722f, 1.60785115f}},
    {SORA_SOLVER_EULER,
     8,
     3.0,
     {1.0f, 0.947542548f, 0.882787764f, 0.800837338f, 0.693793118f, 0.548045576f, 0.337972164f,
      0.00892857183f, 0.0f},
     {1000.0f, 947.542542f, 882.787781f, 800.837341f, 693.793091f, 548.045593f, 337.972168f,
      8.9285717f},
     {-0.938396692f, -0.172090903f, 0.157647789f, 0.629267156f, 1.51205873f}},
    {SORA_SOLVER_EULER,
     8,
     5.0,
     {1.0f, 0.967923224f, 0.926403403f, 0.870551169f, 0.791396976f, 0.670514524f, 0.463095665f,
      0.0244140662f, 0.0f},
     {1000.0f, 967.923218f, 926.403381f, 870.551147f, 791.396973f, 670.514526f, 463.095673f,
      24.4140663f},
     {-0.919441819f, -0.138590544f, 0.175388664f, 0.641080022f, 1.52674174f}},
    {SORA_SOLVER_EULER,
     8,
     3.3,
     {1.0f, 0.952098787f, 0.892335951f, 0.815683007f, 0.713801324f, 0.57178241f, 0.360089153f,
      0.0107833529f, 0.0f},
     {1000.0f, 952.098816f, 892.335938f, 815.682983f, 713.801331f, 571.78241f, 360.089142f,
      10.7833529f},
     {-0.935268939f, -0.166638434f, 0.160341069f, 0.631102562f, 1.51443541f}},
};

static struct sora_schedule *make(enum sora_solver_kind solver, int32_t steps, double shift)
{
    struct sora_schedule *schedule = malloc(sizeof(*schedule));
    assert_non_null(schedule);
    struct sora_schedule_params params = {.solver = solver, .steps = steps, .shift = shift};
    struct sora_fault fault = {0};
    assert_int_equal(sora_schedule_init(&params, schedule, &fault), SORA_OK);
    assert_int_equal(sora_schedule_check(schedule, &fault), SORA_OK);
    return schedule;
}

static double velocity(double x, double timestep)
{
    return x / (1 + x * x) + 0.2 * x - timestep / 2000;
}

/* Runs the rows on one value. */
static double run_rows(const struct sora_schedule *s, double x)
{
    double last = 0, m[2] = {0, 0};
    for (int32_t i = 0; i < s->steps; i++) {
        const float *c = s->rows[i].corrector, *p = s->rows[i].predictor;
        double v = velocity(x, (double)s->timesteps[i]);
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

static void test_diffusers_tables(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof(reference_rows) / sizeof(reference_rows[0]); r++) {
        int32_t n = reference_rows[r].steps;
        struct sora_schedule *s = make(reference_rows[r].solver, n, reference_rows[r].shift);
        for (int32_t i = 0; i <= n; i++)
            assert_true(s->sigmas[i] == reference_rows[r].sigmas[i]);
        for (int32_t i = 0; i < n; i++)
            assert_true(s->timesteps[i] == reference_rows[r].timesteps[i]);
        double error = 0, size = 0;
        for (int i = 0; i < 5; i++) {
            double expected = reference_rows[r].result[i];
            error += pow(run_rows(s, i - 2.0) - expected, 2);
            size += expected * expected;
        }
        assert_true(sqrt(error / size) <= 1e-5);
        free(s);
    }
}

/* One UniPC update in the form of the paper: differences D over ratios r, and a linear system for
 * the weights. `m` holds x0 predictions newest first, `target` the corrector's own. */
static double unipc_longhand(const struct sora_schedule *s, int32_t from, int order, double x,
                             const double *m, const double *target)
{
    double sigma_t = s->sigmas[from + 1], sigma_s = s->sigmas[from];
    if (sigma_t == 0)
        return m[0];
    double h = log((1 - sigma_t) / sigma_t) - log((1 - sigma_s) / sigma_s), hh = -h;
    double phi1 = expm1(hh), residual = 0, ratio = 1;
    double difference = 0;
    if (order == 2) {
        double sigma_r = s->sigmas[from - 1];
        ratio = (log((1 - sigma_r) / sigma_r) - log((1 - sigma_s) / sigma_s)) / h;
        difference = (m[1] - m[0]) / ratio;
    }
    if (!target) {
        residual = order == 2 ? 0.5 * difference : 0;
    } else if (order == 1) {
        residual = 0.5 * (*target - m[0]);
    } else {
        double g1 = phi1 / hh - 1, g2 = g1 / hh - 0.5;
        double b1 = g1 / phi1, b2 = 2 * g2 / phi1;
        double w1 = (b2 - ratio * b1) / (1 - ratio), w0 = b1 - w1;
        residual = w0 * difference + w1 * (*target - m[0]);
    }
    return sigma_t / sigma_s * x - (1 - sigma_t) * phi1 * m[0] - (1 - sigma_t) * phi1 * residual;
}

static void test_unipc_equations(void **state)
{
    (void)state;
    const int32_t steps[] = {1, 2, 3, 4, 8, 20, 50, 200, 1000};
    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        for (double shift = 1; shift < 20; shift *= 2.3) {
            struct sora_schedule *s = make(SORA_SOLVER_UNIPC, steps[k], shift);
            double x = 1.25, last = 0, m[2] = {0, 0};
            int order = 0;
            for (int32_t i = 0; i < s->steps; i++) {
                double newest = x - s->sigmas[i] * velocity(x, (double)s->timesteps[i]);
                last = i ? unipc_longhand(s, i - 1, order, last, m, &newest) : x;
                m[1] = m[0];
                m[0] = newest;
                order = i == 0 || i == s->steps - 1 ? 1 : 2;
                x = unipc_longhand(s, i, order, last, m, NULL);
            }
            assert_true(fabs(run_rows(s, 1.25) - x) <= 2e-5);
            free(s);
        }
    }
}

/* Every step count and a range of shifts give a valid schedule whose rows keep a constant: for a
 * model that always finds the same x0, any solver ends there. */
static void test_every_step_count(void **state)
{
    (void)state;
    for (int32_t steps = 1; steps <= SORA_STEPS_MAX; steps += steps < 60 ? 1 : 47) {
        for (int solver = 0; solver < SORA_SOLVER_KIND_COUNT; solver++) {
            struct sora_schedule *s = make((enum sora_solver_kind)solver, steps, 5);
            double x = 3, last = 0;
            for (int32_t i = 0; i < steps; i++) {
                const float *c = s->rows[i].corrector, *p = s->rows[i].predictor;
                double m = 0.75;
                last = i ? c[0] * last + (double)(c[1] + c[2] + c[3]) * m : x;
                if (solver == SORA_SOLVER_EULER)
                    x = p[0] * x + p[1] * (x - m) / s->sigmas[i];
                else
                    x = p[0] * last + (double)(p[1] + p[2]) * m;
            }
            assert_true(fabs(x - 0.75) < 1e-4);
            free(s);
        }
    }
    struct sora_schedule *a = make(SORA_SOLVER_UNIPC, 12, 0), *b = make(SORA_SOLVER_UNIPC, 12, 3);
    assert_memory_equal(a, b, sizeof(*a));
    free(a);
    free(b);
}

static void test_refusals(void **state)
{
    (void)state;
    struct sora_schedule *s = make(SORA_SOLVER_UNIPC, 8, 5);
    const struct sora_schedule_params bad[] = {
        {.steps = 0},
        {.steps = SORA_STEPS_MAX + 1},
        {.steps = 8, .shift = -1},
        {.steps = 8, .shift = 1e6},
        {.steps = 8, .shift = NAN},
        {.solver = (enum sora_solver_kind)7, .steps = 8},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sora_fault fault = {0};
        assert_int_equal(sora_schedule_init(&bad[i], s, &fault), SORA_E_INVALID);
        assert_true(strlen(fault.text) > 10);
    }
    enum sora_solver_kind kind;
    assert_int_equal(sora_solver_kind_parse("heun", &kind, NULL), SORA_E_INVALID);
    assert_int_equal(sora_solver_kind_parse("euler", &kind, NULL), SORA_OK);
    assert_int_equal((int)kind, SORA_SOLVER_EULER);
    free(s);
}

static void test_foreign_schedules(void **state)
{
    (void)state;
    for (int fault = 0; fault < 6; fault++) {
        struct sora_schedule *s = make(SORA_SOLVER_UNIPC, 8, 5);
        if (fault == 0)
            s->steps = 2000;
        else if (fault == 1)
            s->sigmas[3] = NAN;
        else if (fault == 2)
            s->sigmas[3] = s->sigmas[2];
        else if (fault == 3)
            s->sigmas[8] = 0.1f;
        else if (fault == 4)
            s->timesteps[5] = 1001;
        else
            s->rows[7].predictor[1] = INFINITY;
        assert_int_equal(sora_schedule_check(s, NULL), SORA_E_INVALID);
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diffusers_tables),  cmocka_unit_test(test_unipc_equations),
        cmocka_unit_test(test_every_step_count),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_foreign_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
