/* Inside of the self-test: one run of one case on one device. After the first error the helpers do
 * nothing, so cases are written without checks; `error` tells at the end. */
#ifndef SORA_HIP_SELFTEST_PARTS_H
#define SORA_HIP_SELFTEST_PARTS_H

#include "hip/device.h"

#define SORA_SELFTEST_BUFFERS 16

struct sora_selftest_case {
    struct sora_device *device; /* borrowed */
    struct sora_stream *stream; /* borrowed */
    struct sora_buffer *buffers[SORA_SELFTEST_BUFFERS];
    int buffer_count;
    struct sora_packed *packed;
    int error;
    struct sora_tensor out; /* set by the case: its result, f32 */
};

/* Writes `out` for variant 0.. of the operation. */
typedef void (*sora_selftest_function)(struct sora_selftest_case *run, int variant);

struct sora_selftest_operation {
    const char *name;
    sora_selftest_function run;
    int variants;
    double tolerance, exact_tolerance; /* products in 16 bits; in f32 */
};

extern const struct sora_selftest_operation sora_selftest_products[];
extern const int sora_selftest_product_count;
extern const struct sora_selftest_operation sora_selftest_rows[];
extern const int sora_selftest_row_count;

/* Convolutions that a device is compared on (the project's own tests use them too): the VAE's
 * shapes in small (causal, pointwise, in time, halving, doubling), and odd ones. */
struct sora_selftest_conv {
    int64_t frames, height, width, in, out, kt, kh, kw, history;
    int time_pad, stride_t, stride, pad[4], upsample; /* pad: top, bottom, left, right */
};
extern const struct sora_selftest_conv sora_selftest_convs[];
extern const int sora_selftest_conv_count;

/* The strides and paddings as parameters, without tensors, and the shape of the result. */
struct sora_conv3d sora_selftest_conv_params(const struct sora_selftest_conv *conv,
                                             int64_t out_shape[4]);

/* selftest.c: an uninitialised tensor; one with these values; one with multiples of scale/64 in
 * [-scale, scale], where `scale` is a power of two. */
struct sora_tensor sora_selftest_tensor(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape);
struct sora_tensor sora_selftest_values(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape, const float *values);
struct sora_tensor sora_selftest_random(struct sora_selftest_case *run, enum sora_dtype dtype,
                                        int rank, const int64_t *shape, uint64_t seed, float scale);
/* Keeps the first error. */
void sora_selftest_check(struct sora_selftest_case *run, int error);

/* f32, f16, bf16 in turn. */
enum sora_dtype sora_selftest_type(int variant);

#endif
