/*
 * Home: the driver of scheduler/core. It accepts jobs, keeps them in the store, plans and leases,
 * receives checkpoints and segments, has the video assembled, and answers soractl.
 *
 * A submit is answered after it is on disk; nothing that follows from a STORE leaves before the
 * store says done. Farm nodes are numbered by the first 8 bytes of their ids, so that stored leases
 * name them after a restart. Results stay in their folder until a person removes them; the list
 * holds the newest 4,096 jobs. Owned by the daemon's thread; nothing blocks but reading a model's
 * manifest (at most 256 KiB).
 */
#ifndef SORA_SCHEDULER_HOME_H
#define SORA_SCHEDULER_HOME_H

#include "proto/blob_transfer.h"
#include "proto/envelope.h"
#include "scheduler/store.h"

#include <poll.h>

/* JobSpec.model of a job that names none: mini, or the farm's only model. */
#define SORA_HOME_MODEL_DEFAULT "default"

struct sora_home;

struct sora_home_params {
    const struct sora_post *post; /* all pointers are kept */
    struct sora_store *store;
    struct sora_blob_store *blobs;
    struct sora_blob_transfer *transfer;
    const struct sora_trust *trust;
    const struct sora_key *sign; /* for leases */
    const struct sora_certificate *certificate;
    const unsigned char *local_root; /* [32] members of it see and control all jobs; NULL: none */
    const char *worker_program;      /* sora-worker, for `assemble` */
    const char *results_directory;   /* one folder per finished job */
    int assembly_threads;            /* 0 means 1 */
    int checkpoint_steps;            /* 0 means 1/4 of a job's steps, at least 2 */
    int64_t assemblies_max;          /* at a time; 0 means 1 */
    uint64_t keep_ms;                /* of jobs that are over, with their results; 0: for ever */
};

/* Loads the store and takes up what was left. Returns owned. Errors: those of the store. */
int sora_home_create(const struct sora_home_params *params, struct sora_home **out_home,
                     struct sora_fault *fault);
void sora_home_destroy(struct sora_home **home);

/* Hands in a message of a member; false when it is none of the home's: Advert, Submit, Plan,
 * Status, List, Cancel, Pause, Resume, Erase, Watch, Fetch, Logs of a job, LeaseGrant,
 * LeaseReturn, ShardProgress, Checkpoint, Segment, TextEncoded. */
bool sora_home_message(struct sora_home *home, const struct sora_origin *origin,
                       const Farm__Message *message, sora_time now);
/* A member left for good (revoked, or its membership ended), or a connection of soractl closed. */
void sora_home_member_left(struct sora_home *home, const unsigned char node[SORA_NODE_ID_SIZE]);
void sora_home_peer_down(struct sora_home *home, sora_peer peer);

/* The loop: descriptors of its children (at most SORA_HOME_POLL_MAX), deadline, step. */
#define SORA_HOME_POLL_MAX 16
size_t sora_home_poll(const struct sora_home *home, struct pollfd *out_items);
sora_time sora_home_deadline(const struct sora_home *home);
void sora_home_step(struct sora_home *home, sora_time now);

/* Jobs that are not over, for `drain` and systemd's status line. */
int sora_home_open_jobs(const struct sora_home *home);

#endif
