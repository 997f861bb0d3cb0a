/*
 * Relative positions of the text encoder: buckets of distances, each with one learned number per
 * head. Pure functions, any thread.
 */
#ifndef SORA_MODEL_TEXT_ENCODER_BIAS_H
#define SORA_MODEL_TEXT_ENCODER_BIAS_H

#include <stdint.h>

struct sora_relative_buckets {
    int count;        /* B, even, >= 4 */
    int max_distance; /* > B/4 */
};

/* The bucket, 0..B-1, of `relative` = key position - query position (Raffel et al., T5, 2020,
 * section 2.1; the bidirectional form). Half of the buckets are for keys behind the query, half for
 * keys ahead. Of each half, the first B/4 are single distances and the others grow
 * logarithmically up to max_distance, in f32 like the reference. */
int sora_relative_bucket(const struct sora_relative_buckets *buckets, int relative);

/* Writes the bucket of every pair, [n,n] i32: row = query, column = key. */
void sora_relative_bucket_table(const struct sora_relative_buckets *buckets, int n,
                                int32_t *out_buckets);

#endif
