/* A build without a device compiler: no images, no source. */
#include "hip/gpu/images.h"

static const struct sora_gpu_image images[] = {{NULL, NULL, 0}};
static const struct sora_gpu_source sources[] = {{NULL, NULL}};

const struct sora_gpu_image *const sora_gpu_images = images;
const int sora_gpu_image_count = 0;
const struct sora_gpu_source *const sora_gpu_sources = sources;
const int sora_gpu_source_count = 0;
