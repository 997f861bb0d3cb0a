/*
 * Vector exponential and activations. Relative error of the exponential below 2e-7, of the
 * activations below 1e-6 wherever the result is above 1e-30. Pure functions.
 */
#ifndef SORA_HIP_CPU_FAST_MATH_H
#define SORA_HIP_CPU_FAST_MATH_H

#include "hip/cpu/fast/simd.h"
#include "hip/cpu/internal.h"

#ifdef FAST

/* e^x; -INFINITY gives 0, NaN stays NaN. x = n ln 2 + r with |r| <= ln 2 / 2, then the Taylor
 * series of e^r to r^7 (remainder below 6e-9). */
static inline vf vf_exp(vf x)
{
    x = vf_min(vf_set(89.0f), vf_max(vf_set(-104.0f), x));
    vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    /* ln 2 in two parts: the first has few bits, so n times it is exact. */
    vf r = vf_fnma(n, vf_set(0x1.62ep-1f), x);
    r = vf_fnma(n, vf_set(0x1.0bfbe8p-15f), r);
    vf sum = vf_set(1.0f / 5040.0f);
    sum = vf_fma(sum, r, vf_set(1.0f / 720.0f));
    sum = vf_fma(sum, r, vf_set(1.0f / 120.0f));
    sum = vf_fma(sum, r, vf_set(1.0f / 24.0f));
    sum = vf_fma(sum, r, vf_set(1.0f / 6.0f));
    sum = vf_fma(sum, r, vf_set(0.5f));
    sum = vf_fma(sum, r, vf_set(1.0f));
    sum = vf_fma(sum, r, vf_set(1.0f));
    return vf_scale(sum, n);
}

static inline vf vf_silu(vf x)
{
    vf one = vf_set(1.0f);
    return vf_div(x, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
}

/* 0.5x(1+tanh(u)) = x / (1 + e^(-2u)) */
static inline vf vf_gelu_tanh(vf x)
{
    vf cubic = vf_fma(vf_mul(vf_mul(x, x), vf_set(0.044715f)), x, x);
    vf exponential = vf_exp(vf_mul(cubic, vf_set(-2.0f * 0.7978845608028654f)));
    return vf_div(x, vf_add(vf_set(1.0f), exponential));
}

/* Rare in video models: an element at a time. */
static inline vf vf_gelu_erf(vf x)
{
    float lanes[VF_LANES];
    vf_store(lanes, x);
    for (int i = 0; i < VF_LANES; i++)
        lanes[i] = sora_plain_activate(SORA_ACTIVATION_GELU_ERF, lanes[i]);
    return vf_load(lanes);
}

static inline vf vf_activate(enum sora_activation activation, vf x)
{
    switch (activation) {
    case SORA_ACTIVATION_SILU:
        return vf_silu(x);
    case SORA_ACTIVATION_GELU_TANH:
        return vf_gelu_tanh(x);
    case SORA_ACTIVATION_GELU_ERF:
        return vf_gelu_erf(x);
    case SORA_ACTIVATION_NONE:
        break;
    }
    return x;
}

#endif

#endif
