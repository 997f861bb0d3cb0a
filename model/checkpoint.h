/*
 * Checkpoint: the named tensors of one model component, mapped read-only from safetensors files.
 *
 * Reads `<dir>/diffusion_pytorch_model.safetensors` or `<dir>/model.safetensors`, or the shards
 * listed by the same name + `.index.json`. Files are mapped shared and read-only, so processes on
 * one machine share the pages; weights stay in their stored type. Limits: header 8 MiB, 65,536
 * tensors, rank 8, f32/f16/bf16 (other types may be present and are refused when asked for).
 *
 * Owned by whoever opened it; tensors handed out borrow it. Opening reads headers and may block on
 * disk. After opening, any thread may read.
 *
 * Headers are read with read(2) and checked before a page is mapped, and a file that changes its
 * size in between is refused. A file that someone cuts while it is mapped kills its readers with
 * SIGBUS: replace weights by rename, never in place.
 */
#ifndef SORA_MODEL_CHECKPOINT_H
#define SORA_MODEL_CHECKPOINT_H

#include "hip/device.h"

struct sora_checkpoint;

/* One stored tensor. `data` points into the mapping; it is aligned to the element in every file
 * whose header length is a multiple of 8 (as writers make it), else perhaps not. */
struct sora_checkpoint_entry {
    const char *name;
    const char *type_name; /* as stored ("BF16", "F8_E4M3") */
    enum sora_dtype dtype; /* NONE for a type that is not computed with */
    int rank;
    int64_t shape[SORA_TENSOR_RANK_MAX]; /* a stored dimension may be 0 */
    const void *data;
    size_t size; /* bytes */
    int file;    /* index for sora_checkpoint_file */
};

/* One mapped file. */
struct sora_checkpoint_file {
    const char *path;
    const void *data;
    size_t size; /* bytes */
};

#define SORA_CHECKPOINT_FILES_MAX 1024

/* Returns an owned checkpoint of component directory `dir`. Every tensor that an index lists must
 * be in its shard, and every tensor of a shard in the index. Errors, each naming the file:
 * NOT_FOUND, FORMAT (truncated, overlapping, holes, duplicate, lying sizes, bad JSON), LIMIT, IO,
 * MEMORY. */
int sora_checkpoint_open(const char *dir, struct sora_checkpoint **out_checkpoint,
                         struct sora_fault *fault);
void sora_checkpoint_destroy(struct sora_checkpoint **checkpoint);

int sora_checkpoint_count(const struct sora_checkpoint *checkpoint);
const struct sora_checkpoint_entry *sora_checkpoint_at(const struct sora_checkpoint *checkpoint,
                                                       int index);
/* NULL when there is no tensor of that name. */
const struct sora_checkpoint_entry *sora_checkpoint_find(const struct sora_checkpoint *checkpoint,
                                                         const char *name);

/* Files in the order in which the index names them first; 0 <= index < count. */
int sora_checkpoint_file_count(const struct sora_checkpoint *checkpoint);
struct sora_checkpoint_file sora_checkpoint_file(const struct sora_checkpoint *checkpoint,
                                                 int index);

/* The first tensor (by file and offset) that holds a NaN or an infinity, NULL when all are finite;
 * looks at f32, f16 and bf16. Reads every weight, so it is for naming the culprit after a result
 * was not finite, not for every start. */
const struct sora_checkpoint_entry *
sora_checkpoint_find_nonfinite(const struct sora_checkpoint *checkpoint);

/* Total bytes of the files. */
uint64_t sora_checkpoint_size(const struct sora_checkpoint *checkpoint);

/* Tells the system that the mapped pages are not needed for now (they are read again on use). */
void sora_checkpoint_release_pages(const struct sora_checkpoint *checkpoint);

/* ---- model/weights.c: a checkpoint on a device ---- */

/*
 * A checkpoint's tensors on one device. Keeps the checkpoint and the device; one thread.
 *
 * A device that works in host memory uses the mapped files in place, and tensors that are not
 * aligned to their element are copied. On any other device a tensor takes memory of its own when it
 * is first asked for, so what is not asked for is never there.
 */
struct sora_weights;
int sora_weights_create(const struct sora_checkpoint *checkpoint, struct sora_device *device,
                        struct sora_weights **out_weights, struct sora_fault *fault);
void sora_weights_destroy(struct sora_weights **weights);

/* How a tensor is held. */
enum sora_weights_form {
    SORA_WEIGHTS_STORED = 0, /* in the type of its file */
    SORA_WEIGHTS_OPERAND,    /* f32 as the device's products round it: their bits stay the same */
    SORA_WEIGHTS_INT8,       /* rows of int8 with a scale each (sora_op_quantize), where the columns
                                are a multiple of 8; else as OPERAND */
    SORA_WEIGHTS_FP8,        /* the same of fp8 */
};
struct sora_weight_ask {
    const char *name;
    int rank;
    const int64_t *shape;
    enum sora_weights_form form; /* the first one asked for stays until the tensor is dropped */
};
struct sora_weight {
    struct sora_tensor tensor;
    struct sora_tensor scale; /* [rows] f32 of int8 and fp8; else absent */
};

/* The tensor with exactly this shape, as views. Errors: NOT_FOUND "missing tensor NAME, expected
 * shape [..]", FORMAT "tensor NAME has shape [..], expected [..]", UNSUPPORTED for its type,
 * MEMORY, DEVICE. */
int sora_weights_take(struct sora_weights *weights, const struct sora_weight_ask *ask,
                      struct sora_weight *out_weight, struct sora_fault *fault);
/* The same for a tensor as it is stored, by a printf format. */
int sora_weights_get(struct sora_weights *weights, int rank, const int64_t *shape,
                     struct sora_tensor *out_tensor, struct sora_fault *fault, const char *name,
                     ...) __attribute__((format(printf, 6, 7)));

/* Whether tensors lie in device memory of their own, so that the calls below do something. */
bool sora_weights_are_copies(const struct sora_weights *weights);
/* While on, tensors are checked and handed out without memory (not present). */
void sora_weights_check_only(struct sora_weights *weights, bool on);
/* After a run of takes: gives back what rounding and quantising needed. */
void sora_weights_settle(struct sora_weights *weights);
/* Gives the memory of one tensor back (a view that take gave), or of all. The views are void then.
 */
void sora_weights_drop(struct sora_weights *weights, const struct sora_tensor *tensor);
void sora_weights_unload(struct sora_weights *weights);
/* Bytes of device memory that the tensors take now. */
uint64_t sora_weights_held(const struct sora_weights *weights);

#endif
