/*
 * Sigmas, timesteps and coefficients, in double, step by step as the reference rounds them: its
 * table of sigmas is float32, everything after is derived from the rounded table.
 */
#include "model/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define TRAIN_TIMESTEPS 1000

static double shift_sigma(double u, double shift)
{
    return shift * u / (1.0 + (shift - 1.0) * u);
}

/* Point i of `count` evenly spaced ones, the last exactly `stop`. */
static double spaced(double start, double stop, int32_t count, int32_t i)
{
    if (count > 1 && i == count - 1)
        return stop;
    return count > 1 ? (double)i * ((stop - start) / (count - 1)) + start : start;
}

static void sigmas_unipc(double shift, struct sora_schedule *s)
{
    for (int32_t i = 0; i < s->steps; i++) {
        double sigma = shift_sigma(spaced(1.0, 1.0 / TRAIN_TIMESTEPS, s->steps + 1, i), shift);
        /* The logarithm of 1 - sigma must exist. */
        if (i == 0 && fabs(sigma - 1.0) < 1e-6)
            sigma -= 1e-6;
        s->sigmas[i] = (float)sigma;
        s->timesteps[i] = (float)floor(sigma * TRAIN_TIMESTEPS);
    }
    s->sigmas[s->steps] = 0.0f;
}

/* The end points come from a float32 table that is shifted already; the shift is applied again. */
static void sigmas_euler(double shift, struct sora_schedule *s)
{
    float ends[2];
    for (int i = 0; i < 2; i++) {
        float u = (i == 0 ? (float)TRAIN_TIMESTEPS : 1.0f) / (float)TRAIN_TIMESTEPS;
        ends[i] = (float)shift * u / (1.0f + (float)(shift - 1.0) * u);
    }
    for (int32_t i = 0; i < s->steps; i++) {
        double t = spaced((double)ends[0] * TRAIN_TIMESTEPS, (double)ends[1] * TRAIN_TIMESTEPS,
                          s->steps, i);
        s->sigmas[i] = (float)shift_sigma(t / TRAIN_TIMESTEPS, shift);
        s->timesteps[i] = s->sigmas[i] * (float)TRAIN_TIMESTEPS;
    }
    s->sigmas[s->steps] = 0.0f;
}

/* Signal rate a = 1 - sigma and half log signal-to-noise ratio of level i; not for sigma = 0. */
static double alpha_of(const struct sora_schedule *s, int32_t i)
{
    return 1.0 - (double)s->sigmas[i];
}

static double lambda_of(const struct sora_schedule *s, int32_t i)
{
    return log(alpha_of(s, i)) - log((double)s->sigmas[i]);
}

static int32_t predictor_order(const struct sora_schedule *s, int32_t step)
{
    return step == 0 || step == s->steps - 1 ? 1 : 2;
}

/* Step i to i+1 from the corrected x_i (UniP, equation 3 with B = expm1(-h)). */
static void row_predictor(const struct sora_schedule *s, int32_t i, float out[3])
{
    if (i == s->steps - 1) {
        /* sigma = 0: h is infinite and the limit is x = m_i. */
        out[0] = 0.0f, out[1] = 1.0f, out[2] = 0.0f;
        return;
    }
    double h = lambda_of(s, i + 1) - lambda_of(s, i);
    double gain = alpha_of(s, i + 1) * expm1(-h);
    double newest = -gain, older = 0.0;
    if (predictor_order(s, i) == 2) {
        double ratio = (lambda_of(s, i - 1) - lambda_of(s, i)) / h;
        older = -gain * 0.5 / ratio;
        newest -= older;
    }
    out[0] = (float)((double)s->sigmas[i + 1] / (double)s->sigmas[i]);
    out[1] = (float)newest;
    out[2] = (float)older;
}

/* Corrects x_i with m_i (UniC, equation 5), of the order that predicted x_i. */
static void row_corrector(const struct sora_schedule *s, int32_t i, float out[4])
{
    double h = lambda_of(s, i) - lambda_of(s, i - 1);
    double b = expm1(-h), gain = alpha_of(s, i) * b;
    double older = 0.0, newest = 0.5;
    if (predictor_order(s, i - 1) == 2) {
        /* Solves [1 1; ratio 1][r0; r1] = [b1; b2]. */
        double ratio = (lambda_of(s, i - 2) - lambda_of(s, i - 1)) / h;
        double phi = b / -h - 1.0;
        double b1 = phi / b, b2 = (phi / -h - 0.5) * 2.0 / b;
        double r0 = (b1 - b2) / (1.0 - ratio);
        newest = b1 - r0;
        older = r0 / ratio;
    }
    out[0] = (float)((double)s->sigmas[i] / (double)s->sigmas[i - 1]);
    out[1] = (float)(-gain * (1.0 - older - newest));
    out[2] = (float)(-gain * older);
    out[3] = (float)(-gain * newest);
}

static void schedule_rows(struct sora_schedule *s)
{
    for (int32_t i = 0; i < s->steps; i++) {
        struct sora_solver_row *row = &s->rows[i];
        if (s->solver == SORA_SOLVER_EULER) {
            row->predictor[0] = 1.0f;
            row->predictor[1] = s->sigmas[i + 1] - s->sigmas[i];
            continue;
        }
        row_predictor(s, i, row->predictor);
        if (i > 0)
            row_corrector(s, i, row->corrector);
    }
}

int sora_schedule_init(const struct sora_schedule_params *params,
                       struct sora_schedule *out_schedule, struct sora_fault *fault)
{
    if (!sora_solver_kind_name(params->solver))
        return sora_fault_set(fault, SORA_E_INVALID, "solver %d does not exist",
                              (int)params->solver);
    if (params->steps < 1 || params->steps > SORA_STEPS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%d sampling steps are outside 1..%d: change the step count",
                              params->steps, SORA_STEPS_MAX);
    double shift = params->shift == 0.0 ? SORA_SCHEDULE_SHIFT : params->shift;
    if (!(shift >= SORA_SCHEDULE_SHIFT_MIN && shift <= SORA_SCHEDULE_SHIFT_MAX))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a timestep shift of %g is outside %g..%g: change the shift", shift,
                              SORA_SCHEDULE_SHIFT_MIN, SORA_SCHEDULE_SHIFT_MAX);
    memset(out_schedule, 0, sizeof(*out_schedule));
    out_schedule->solver = params->solver;
    out_schedule->steps = params->steps;
    if (params->solver == SORA_SOLVER_EULER)
        sigmas_euler(shift, out_schedule);
    else
        sigmas_unipc(shift, out_schedule);
    schedule_rows(out_schedule);
    return SORA_OK;
}

static bool row_finite(const struct sora_solver_row *row)
{
    bool finite = true;
    for (int i = 0; i < 4; i++)
        finite &= isfinite(row->corrector[i]) != 0;
    for (int i = 0; i < 3; i++)
        finite &= isfinite(row->predictor[i]) != 0;
    return finite;
}

int sora_schedule_check(const struct sora_schedule *schedule, struct sora_fault *fault)
{
    if (!sora_solver_kind_name(schedule->solver))
        return sora_fault_set(fault, SORA_E_INVALID, "solver %d of the schedule does not exist",
                              (int)schedule->solver);
    if (schedule->steps < 1 || schedule->steps > SORA_STEPS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "schedule of %d steps is outside 1..%d",
                              schedule->steps, SORA_STEPS_MAX);
    for (int32_t i = 0; i < schedule->steps; i++) {
        float sigma = schedule->sigmas[i], timestep = schedule->timesteps[i];
        if (!(sigma <= 1.0f && sigma > schedule->sigmas[i + 1]))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "sigma %d of the schedule is %g: sigmas must fall from 1 to 0", i,
                                  (double)sigma);
        if (!(timestep >= 0.0f && timestep <= (float)TRAIN_TIMESTEPS))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "timestep %d of the schedule is %g, outside 0..%d", i,
                                  (double)timestep, TRAIN_TIMESTEPS);
        if (!row_finite(&schedule->rows[i]))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "solver coefficients of step %d are not finite", i);
    }
    if (schedule->sigmas[schedule->steps] != 0.0f)
        return sora_fault_set(fault, SORA_E_INVALID, "the last sigma of the schedule is %g, not 0",
                              (double)schedule->sigmas[schedule->steps]);
    return SORA_OK;
}
