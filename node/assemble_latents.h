/*
 * The latents file of an assembly: pieces that owners sent, joined to one tensor.
 *
 * Pieces are raw float32, [latents][C,H,W]; the file is safetensors with the tensor "latents"
 * [C,T,H,W], as `sora-worker render --dump-latents` writes it, all takes one after the other.
 * Blocks on disk; one owner, one thread.
 */
#ifndef SORA_NODE_ASSEMBLE_LATENTS_H
#define SORA_NODE_ASSEMBLE_LATENTS_H

#include "base/error.h"
#include "media/assembly_wire.h"

#define SORA_ASSEMBLE_PIECES_MAX 65536

struct sora_assemble_latents {
    int32_t channels, height, width;
    struct sora_assemble_piece *pieces; /* owned */
    int count, capacity;
};

/* Notes a piece and borrows nothing. Errors: INVALID (a gap, a range), LIMIT, MEMORY. */
int sora_assemble_latents_add(struct sora_assemble_latents *latents, const char *path,
                              const struct sora_assembly_latents *piece, struct sora_fault *fault);

/* Writes the file from all pieces. Errors: NOT_FOUND, FORMAT (a piece is too short), INVALID (no
 * shape was given), those of writing. */
int sora_assemble_latents_write(const struct sora_assemble_latents *latents, const char *path,
                                struct sora_fault *fault);

void sora_assemble_latents_fini(struct sora_assemble_latents *latents);

#endif
