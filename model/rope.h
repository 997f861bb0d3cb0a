/*
 * Positions as numbers: the three-axis rotary tables of the video tokens and the sinusoid of the
 * timestep. Pure functions on host memory, computed in double; any thread.
 */
#ifndef SORA_MODEL_ROPE_H
#define SORA_MODEL_ROPE_H

/* A grid of tokens; token n = (t * rows + y) * columns + x. */
struct sora_rope_grid {
    int head_size;             /* D, even, >= 2 */
    int frames, rows, columns; /* >= 1 */
};

/* Writes the tables that sora_op_rope takes, [frames*rows*columns, D/2] f32 each. The D/2 pairs of
 * a head are the time pairs, then the row pairs, then the column pairs: rows and columns have
 * 2*(D/6) numbers each and time the rest. Pair i of an axis of `n` numbers turns by
 * position * 10000^(-2i/n) (Su et al., "RoFormer", 2021, eq. 15, per axis). */
void sora_rope_tables(const struct sora_rope_grid *grid, float *out_cos, float *out_sin);

/* Writes [width] f32, width even: cos(t f_j) for j < width/2, then sin(t f_j), with
 * f_j = 10000^(-j/(width/2)) (Vaswani et al., "Attention is all you need", 2017, section 3.5, with
 * the cosines first). Frequencies and angles are rounded to f32 before the cosine, as the reference
 * implementation does, because at t = 1000 that rounding is visible in the velocity. */
void sora_timestep_sinusoid(double timestep, int width, float *out_values);

#endif
