/*
 * Solver: one step of the sampling differential equation on latents held on a device.
 *
 * The state is one tensor per part, all of one shape [n,C,H,W]: every operation is elementwise, so
 * n latents at once give the bits of one at a time. All numbers come from the job's schedule
 * (model/schedule.h), all arithmetic is sora_op_combine in float32. Functions queue work on a
 * stream and do not wait, except for export and import. The caller owns the tensors.
 */
#ifndef SORA_MODEL_SOLVER_H
#define SORA_MODEL_SOLVER_H

#include "hip/device.h"
#include "model/schedule.h"

/* Parts of the state. x is the sample that the model sees at the next step; UniPC also keeps the
 * last corrected sample and the two newest x0 predictions (prediction of step i in outputs[i%2]).
 * Euler uses x alone and leaves the others empty. */
struct sora_solver_state {
    struct sora_tensor x;
    struct sora_tensor last;
    struct sora_tensor outputs[2];
};

/* Tensors of one latent's state that the solver needs: 1 (Euler) or 4 (UniPC). */
int sora_solver_state_parts(enum sora_solver_kind solver);

/* Entries [first, first+count) of every part. */
struct sora_solver_state sora_solver_state_slice(const struct sora_solver_state *state,
                                                 int64_t first, int64_t count);

/* Takes the state from before `step` to before step+1 with the velocity predicted at `step`, same
 * shape as x, which is left as it is. 0 <= step < schedule->steps. Errors: those of the device. */
int sora_solver_update(struct sora_stream *stream, const struct sora_schedule *schedule,
                       int32_t step, const struct sora_solver_state *state,
                       const struct sora_tensor *velocity);

/* The state before `step` as host float32 values: x, then for UniPC last, m_{step-1}, m_{step-2},
 * each of x's shape; parts that do not exist yet (early steps) are zero. Export and import are
 * exact inverses: a state that moves to another device goes on with the same bits. Both wait. */
int sora_solver_export(struct sora_stream *stream, enum sora_solver_kind solver, int32_t step,
                       const struct sora_solver_state *state, float *out_values);
int sora_solver_import(struct sora_stream *stream, enum sora_solver_kind solver, int32_t step,
                       const struct sora_solver_state *state, const float *values);

#endif
