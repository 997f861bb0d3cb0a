/* A build without a device compiler: no images, no source. */
#include "hip/gpu/images.h"

const struct sora_gpu_image sora_gpu_images[] = {{NULL, NULL, 0}};
const struct sora_gpu_source sora_gpu_sources[] = {{NULL, NULL}};
