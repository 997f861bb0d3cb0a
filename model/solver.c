/* Euler and UniPC as linear combinations of tensors, in an order that needs no scratch tensor. */
#include "model/solver.h"

#include <string.h>

int sora_solver_state_parts(enum sora_solver_kind solver)
{
    return solver == SORA_SOLVER_UNIPC ? 4 : 1;
}

struct sora_solver_state sora_solver_state_slice(const struct sora_solver_state *state,
                                                 int64_t first, int64_t count)
{
    struct sora_solver_state slice = {.x = sora_tensor_slice(&state->x, first, count)};
    if (sora_tensor_present(&state->last)) {
        slice.last = sora_tensor_slice(&state->last, first, count);
        for (int i = 0; i < 2; i++)
            slice.outputs[i] = sora_tensor_slice(&state->outputs[i], first, count);
    }
    return slice;
}

static void combine_add(struct sora_combine *sum, float coefficient, const struct sora_tensor *term)
{
    sum->coefficients[sum->count] = coefficient;
    sum->terms[sum->count++] = *term;
}

/* x := x - sigma v, which is m_i; last := corrected x_i; outputs[i%2] := m_i; x := x_{i+1}. */
static int update_unipc(struct sora_stream *stream, const struct sora_schedule *schedule,
                        int32_t step, const struct sora_solver_state *state,
                        const struct sora_tensor *velocity)
{
    const struct sora_solver_row *row = &schedule->rows[step];
    const struct sora_tensor *newest = &state->outputs[step & 1];
    const struct sora_tensor *older = &state->outputs[(step + 1) & 1];
    int rc = SORA_OK;
    if (step == 0)
        rc = sora_op_copy(stream, &state->x, &state->last);
    struct sora_combine output = {.count = 2,
                                  .coefficients = {1.0f, -schedule->sigmas[step]},
                                  .terms = {state->x, *velocity},
                                  .out = state->x};
    if (!rc)
        rc = sora_op_combine(stream, &output);
    struct sora_combine corrector = {.out = state->last};
    combine_add(&corrector, row->corrector[0], &state->last);
    combine_add(&corrector, row->corrector[1], older);
    if (step > 1) /* at step 1 there is no m_{i-2} yet */
        combine_add(&corrector, row->corrector[2], newest);
    combine_add(&corrector, row->corrector[3], &state->x);
    if (!rc && step > 0)
        rc = sora_op_combine(stream, &corrector);
    if (!rc)
        rc = sora_op_copy(stream, &state->x, newest);
    struct sora_combine predictor = {.out = state->x};
    combine_add(&predictor, row->predictor[0], &state->last);
    combine_add(&predictor, row->predictor[1], newest);
    if (step > 0)
        combine_add(&predictor, row->predictor[2], older);
    if (!rc)
        rc = sora_op_combine(stream, &predictor);
    return rc;
}

int sora_solver_update(struct sora_stream *stream, const struct sora_schedule *schedule,
                       int32_t step, const struct sora_solver_state *state,
                       const struct sora_tensor *velocity)
{
    SORA_ASSERT(step >= 0 && step < schedule->steps);
    if (schedule->solver == SORA_SOLVER_UNIPC)
        return update_unipc(stream, schedule, step, state, velocity);
    const float *p = schedule->rows[step].predictor;
    struct sora_combine euler = {
        .count = 2, .coefficients = {p[0], p[1]}, .terms = {state->x, *velocity}, .out = state->x};
    return sora_op_combine(stream, &euler);
}

/* The parts in export order, and how many of them hold values before `step`. */
static int state_parts(enum sora_solver_kind solver, int32_t step,
                       const struct sora_solver_state *state, struct sora_tensor out_parts[4])
{
    out_parts[0] = state->x;
    if (solver != SORA_SOLVER_UNIPC)
        return 1;
    out_parts[1] = state->last;
    out_parts[2] = state->outputs[(step + 1) & 1];
    out_parts[3] = state->outputs[step & 1];
    return step >= 2 ? 4 : step == 1 ? 3 : 1;
}

int sora_solver_export(struct sora_stream *stream, enum sora_solver_kind solver, int32_t step,
                       const struct sora_solver_state *state, float *out_values)
{
    struct sora_tensor parts[4];
    int alive = state_parts(solver, step, state, parts);
    size_t count = (size_t)sora_tensor_count(&state->x);
    int rc = SORA_OK;
    for (int i = 0; i < sora_solver_state_parts(solver) && !rc; i++) {
        if (i < alive)
            rc = sora_tensor_download(stream, &parts[i], out_values + (size_t)i * count);
        else
            memset(out_values + (size_t)i * count, 0, count * sizeof(*out_values));
    }
    return rc;
}

int sora_solver_import(struct sora_stream *stream, enum sora_solver_kind solver, int32_t step,
                       const struct sora_solver_state *state, const float *values)
{
    struct sora_tensor parts[4];
    int alive = state_parts(solver, step, state, parts);
    size_t count = (size_t)sora_tensor_count(&state->x);
    int rc = SORA_OK;
    for (int i = 0; i < alive && !rc; i++)
        rc = sora_tensor_upload(stream, &parts[i], values + (size_t)i * count);
    return rc;
}
