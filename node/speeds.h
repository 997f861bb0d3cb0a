/*
 * Speeds: what this node's devices were measured to do, per model and size, kept in a small text
 * file between runs.
 *
 * A speed is a running mean that follows changes within a few measurements. The table is bounded:
 * the one used longest ago makes room. One thread; create blocks on disk, save writes a few
 * kilobytes to the page cache (a lost file costs new measurements, so nothing is synced).
 */
#ifndef SORA_NODE_SPEEDS_H
#define SORA_NODE_SPEEDS_H

#include "proto/blob_store.h"

#define SORA_SPEEDS_MAX 64

struct sora_speed_key {
    char device[24]; /* "cpu0" */
    int threads;
    struct sora_digest model;
    uint32_t width, height, window; /* latents */
};

struct sora_speed {
    struct sora_speed_key key;
    double window_ms; /* one window pass with guidance; 0: not measured */
    double decode_ms; /* one latent */
    uint64_t used;    /* ascending */
};

struct sora_speeds;

/* Reads `path` (copied; NULL: nothing is kept). A missing file is an empty table, lines that are
 * not understood are left out. Errors: MEMORY, and those of reading a file that is there. */
int sora_speeds_create(const char *path, struct sora_speeds **out_speeds, struct sora_fault *fault);
void sora_speeds_destroy(struct sora_speeds **speeds);

/* Takes a measurement in; 0 leaves that figure alone. */
void sora_speeds_note(struct sora_speeds *speeds, const struct sora_speed_key *key,
                      double window_ms, double decode_ms);

/* The newest first; NULL behind the last. Borrowed until the next note. */
const struct sora_speed *sora_speeds_at(const struct sora_speeds *speeds, int index);

/* Writes the file when something has changed. Errors: IO, SPACE, DENIED. */
int sora_speeds_save(struct sora_speeds *speeds, struct sora_fault *fault);

#endif
