/*
 * Text rows: a prompt as embedding rows, by the model's text encoder or from a file; for a render
 * and for the farm's workers. Blocks while encoding. The rows are owned by the caller.
 */
#ifndef SORA_NODE_TEXT_ROWS_H
#define SORA_NODE_TEXT_ROWS_H

#include "hip/device.h"
#include "model/bundle.h"

/* Rows that the reference pads every prompt to. */
#define SORA_TEXT_ROWS_PADDED 512

/* [count, width] f32. */
struct sora_text_rows {
    float *values; /* owned */
    int count, width;
};
void sora_text_rows_fini(struct sora_text_rows *rows);

/* Tokenizer and text encoder of a bundle, for one text after the other. Owned by whoever opened it;
 * borrows the device. Errors: those of the two. */
struct sora_text_rows_encoder;
int sora_text_rows_encoder_open(const struct sora_bundle *bundle, struct sora_device *device,
                                struct sora_text_rows_encoder **out_encoder,
                                struct sora_fault *fault);
void sora_text_rows_encoder_close(struct sora_text_rows_encoder **encoder);
/* Bytes that a card should have free for it; it goes with less, slower. */
uint64_t sora_text_rows_encoder_room(const struct sora_text_rows_encoder *encoder);
/* `size` bytes of UTF-8. Errors: FORMAT, LIMIT, NUMERIC, MEMORY, DEVICE. */
int sora_text_rows_encoder_encode(struct sora_text_rows_encoder *encoder, const char *text,
                                  size_t size, struct sora_text_rows *out_rows,
                                  struct sora_fault *fault);

/* Opens tokenizer and text encoder of the bundle, encodes both texts and closes them again. With
 * `negative` NULL only the prompt is encoded. */
int sora_text_rows_encode(const struct sora_bundle *bundle, struct sora_device *device,
                          const char *prompt, const char *negative,
                          struct sora_text_rows *out_prompt, struct sora_text_rows *out_negative,
                          struct sora_fault *fault);

/* The same for `count` texts, each into out_rows[i]. On error none is left. */
int sora_text_rows_encode_all(const struct sora_bundle *bundle, struct sora_device *device,
                              const char *const *texts, int count, struct sora_text_rows *out_rows,
                              struct sora_fault *fault);

/* Reads tensor `name` ([n,width] or [1,n,width]) of a safetensors file. Errors name file, tensor
 * and expected width. */
int sora_text_rows_read(const char *path, const char *name, int width,
                        struct sora_text_rows *out_rows, struct sora_fault *fault);

#endif
