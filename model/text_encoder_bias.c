/* Buckets of relative positions. */
#include "model/text_encoder_bias.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>

int sora_relative_bucket(const struct sora_relative_buckets *buckets, int relative)
{
    SORA_ASSERT(buckets->count >= 4 && buckets->count % 2 == 0);
    int half = buckets->count / 2, exact = half / 2;
    SORA_ASSERT(buckets->max_distance > exact);
    int first = relative > 0 ? half : 0, distance = abs(relative);
    if (distance < exact)
        return first + distance;
    /* log in double, rounded once: a correctly rounded f32 logarithm. */
    float ratio = (float)log((double)((float)distance / (float)exact));
    ratio = ratio / (float)log((double)buckets->max_distance / exact);
    int wide = exact + (int)(ratio * (float)(half - exact));
    return first + (wide < half - 1 ? wide : half - 1);
}

void sora_relative_bucket_table(const struct sora_relative_buckets *buckets, int n,
                                int32_t *out_buckets)
{
    for (int query = 0; query < n; query++) {
        for (int key = 0; key < n; key++) {
            int32_t *out = &out_buckets[(size_t)query * (size_t)n + (size_t)key];
            /* Equal distances lie on diagonals. */
            *out = query > 0 && key > 0 ? out[-(ptrdiff_t)n - 1]
                                        : sora_relative_bucket(buckets, key - query);
        }
    }
}
