/*
 * Schedule: the noise levels, timesteps and solver coefficients of a job, as plain numbers.
 *
 * Computed once per job by its home and sent with the job, so that every device steps with the same
 * float32 values whatever its libm says; the solver (model/solver.h) uses nothing else. A plain
 * struct of about 40 KB: keep it in an allocation or a static. Pure functions, any thread.
 *
 * Flow matching: x_sigma = (1-sigma) x0 + sigma noise, the model predicts v = noise - x0.
 */
#ifndef SORA_MODEL_SCHEDULE_H
#define SORA_MODEL_SCHEDULE_H

#include "base/job_options.h" /* enum sora_solver_kind */

#include <stdint.h>

#define SORA_STEPS_MAX 1000

struct sora_schedule_params {
    enum sora_solver_kind solver;
    int32_t steps; /* 1..SORA_STEPS_MAX */
    double shift;  /* 0.01..100; 0 means 3 (the published default; larger videos take 5) */
};
#define SORA_SCHEDULE_SHIFT 3.0
#define SORA_SCHEDULE_SHIFT_MIN 0.01
#define SORA_SCHEDULE_SHIFT_MAX 100.0

/* Coefficients of one step i, rounded from double. m_i = x_i - sigma_i v_i is the x0 prediction.
 * UniPC: corrected x_i = c0 x'_{i-1} + c1 m_{i-1} + c2 m_{i-2} + c3 m_i, x' the corrected sample of
 * the step before (absent at step 0: all zero); then x_{i+1} = p0 x'_i + p1 m_i + p2 m_{i-1}.
 * Euler: x_{i+1} = p0 x_i + p1 v_i; the corrector is zero. */
struct sora_solver_row {
    float corrector[4];
    float predictor[3];
};

struct sora_schedule {
    enum sora_solver_kind solver;
    int32_t steps;
    float sigmas[SORA_STEPS_MAX + 1]; /* [steps+1], falling, the last is 0 */
    float timesteps[SORA_STEPS_MAX];  /* [steps], what the model is told, in [0,1000] */
    struct sora_solver_row rows[SORA_STEPS_MAX];
};

/* The schedule of diffusers 0.42 with 1000 training timesteps: UniPCMultistepScheduler with
 * use_flow_sigmas and flow_shift (whole timesteps, cut down), or FlowMatchEulerDiscreteScheduler
 * with shift (fractional timesteps; its shift applies twice to the end points, as there). Errors:
 * INVALID with field, value and range. */
int sora_schedule_init(const struct sora_schedule_params *params,
                       struct sora_schedule *out_schedule, struct sora_fault *fault);

/* Checks a schedule that came from outside: known solver, step count, sigmas in [0,1] that fall to
 * 0, timesteps in range, finite coefficients. Errors: INVALID. */
int sora_schedule_check(const struct sora_schedule *schedule, struct sora_fault *fault);

#endif
