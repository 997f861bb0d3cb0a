/*
 * Shared by the files of the home only: its tables. The functions are in home_parts.h.
 *
 * What is said rests on what is stored. Every row (job, take, part, piece) carries the ticket of
 * its last change; one batch at a time takes all that changed to the store, and `durable` is the
 * ticket that is on disk. Whatever follows from a change waits in `held`, in order, until its
 * ticket is durable. A batch that fails is built anew from the rows, with growing pauses.
 */
#ifndef SORA_SCHEDULER_HOME_TABLES_H
#define SORA_SCHEDULER_HOME_TABLES_H

#include "base/files.h"
#include "base/job_notes.h"
#include "base/log.h"
#include "base/ring.h"
#include "proto/model_manifest.h"
#include "scheduler/assembler.h"
#include "scheduler/home_node.h"

#define HOME_JOBS_MAX 4096 /* listed, ended ones too; then the oldest ended one goes */
#define HOME_TAKES_MAX 256 /* open at a time, of all jobs */
#define HOME_NODES_MAX 256
#define HOME_HELD_MAX 4096
#define HOME_FETCHES_MAX 256
#define HOME_ASKS_MAX 16 /* submits and plans that wait for a manifest */
#define HOME_WATCHERS_MAX 64
#define HOME_EXPORTS_MAX 16 /* results that are being digested */
#define HOME_ASSEMBLIES_MAX 8
#define HOME_LOG_LINES 200
#define HOME_RAN_MAX 64       /* shards of a job that is over */
#define HOME_PIECES_MAX 16384 /* of a take */
#define HOME_PARTS_MAX 8192   /* of a take */
#define HOME_LEASE_MS 60000

struct home_status_room; /* home_status.c */

/* ---- jobs ---- */

struct home_part {
    struct sora_store_part row;
    uint64_t ticket;
    bool pinned;
};
struct home_piece {
    struct sora_store_piece row;
    uint64_t ticket;
};
/* What was last heard of a shard, for people and for moves. */
struct home_shard {
    uint64_t epoch, ordered_epoch;
    int32_t step, frames_done;
    Farm__ShardState state;
    double steps_per_s;
    char node[SORA_NAME_SIZE], device[65]; /* as last ordered */
    uint64_t ticket;                       /* of these two */
};
struct home_line {
    int32_t number;
    uint64_t ticket;
    char *text; /* owned */
};
struct home_take {
    struct home_job *job;
    int32_t index;
    struct sora_job_id id;
    bool in_farm;
    uint64_t ticket, text_ticket, drop_ticket;
    int32_t drop_step; /* parts before it leave the store */
    bool drop_pieces;
    uint64_t cut;
    uint64_t text_node, text_epoch; /* the text task as last offered */
    struct sora_bytes prepared;     /* packed Farm__TextEncoded */
    struct sora_message *text;      /* the same, unpacked; NULL before */
    struct home_part *parts;
    struct home_piece *pieces;
    size_t part_count, part_capacity, piece_count, piece_capacity;
    struct home_shard *shards; /* [SORA_PLAN_SHARDS_MAX] */
};

struct home_assembly {
    struct sora_assembler *assembler; /* NULL: none runs */
    int32_t take, frame;              /* next frame to hand in */
    int32_t latent_take, latent;      /* next final latent */
    bool finished;                    /* FINISH was sent */
    int32_t frames_done, preview_frames;
    int attempts;
    sora_time not_before;
};

struct home_job {
    struct sora_job_id id;
    struct sora_identity owner; /* root, node and name */
    uint64_t ticket;            /* of the row */
    uint64_t ticket_any;        /* of the row, a take, part or piece */
    bool dropped;               /* leaves the store and the list */
    bool deleting;              /* its results are being removed */
    bool settle_due, fresh;     /* fresh: nobody was told that it is taken */
    int32_t final_state;        /* enum sora_job_state, -1 while open */
    bool ended;                 /* the final state is durable */
    uint64_t wall_created_ms, wall_started_ms, wall_ended_ms;
    int32_t moves, priority;
    char device_classes[512]; /* of the devices that got work of it, separated by commas */
    char failure[256];        /* what a node said of its last failure; "" for none */
    char name[129], reason[SORA_STORE_REASON_SIZE], folder[40], file_name[128];
    unsigned char model[SORA_DIGEST_SIZE];
    struct sora_bytes envelope;    /* freed when ended */
    struct sora_message *spec;     /* Farm__JobSpec; freed when ended */
    struct sora_message *manifest; /* the facts borrow from it; freed when ended */
    struct sora_model_facts facts;
    struct sora_job_plan *plan; /* freed when ended */
    struct sora_job_notes notes;
    int32_t frames_total, steps, take_count;
    struct home_take *takes; /* [take_count]; freed when ended */
    uint64_t model_key;
    struct home_assembly assembly;
    struct sora_blob snapshot;   /* of the growing preview, pinned; size 0: none */
    struct sora_blob results[5]; /* by Farm__ResultKind, once digested; size 0 before */
    uint64_t event_sequence;     /* of its last change */
    bool changed;                /* its state, for watchers */
    double progress;             /* shown so far: never falls */
    sora_time first_order_at;
    struct sora_ring log; /* struct home_line, the newest */
    int32_t line_next;
    struct sora_store_ran *ran; /* owned; NULL before the end */
    int ran_count;
    uint64_t ran_ticket;
};

/* ---- what waits ---- */

/* An origin that outlives the message. */
struct home_reply {
    struct sora_origin origin; /* identity points nowhere: use home_reply_origin */
    struct sora_identity identity;
};

enum home_held_kind {
    HOME_HELD_ACTION, /* action, order */
    HOME_HELD_SUBMIT, /* reply, job */
    HOME_HELD_ACK,    /* reply; NULL: told that it waits */
    HOME_HELD_PIECE,  /* action: node, job, shard, epoch, step = index */
};
struct home_held {
    enum home_held_kind kind;
    uint64_t ticket;
    struct sora_farm_action action;
    struct sora_farm_order *order; /* owned; of ORDER */
    struct home_reply *reply;      /* owned */
    struct sora_job_id job;
};

enum home_fetch_kind { HOME_FETCH_CHECKPOINT, HOME_FETCH_PIECE, HOME_FETCH_TEXT };
/* A blob on its way from a node. */
struct home_fetch {
    struct sora_home *home;
    enum home_fetch_kind kind;
    bool used;
    unsigned char node[SORA_NODE_ID_SIZE];
    struct sora_job_id take;
    int32_t shard, step;
    uint64_t epoch;
    struct sora_range latents; /* of a checkpoint */
    struct sora_store_piece piece;
    struct sora_blob blob;
    struct sora_bytes text; /* packed TextEncoded */
    struct sora_message *rows;
    size_t row;
};

struct home_ask { /* a Submit or Plan that waits for models, or for its model's manifest */
    struct sora_home *home;
    bool used, plan_only, no_models; /* no_models: no node named any yet */
    struct home_reply reply;
    struct sora_identity signer;
    struct sora_bytes envelope;
    struct sora_message *spec;
    struct home_model model;
    sora_time until;
};

struct home_watcher {
    bool used, all, fresh; /* fresh: the first status is due */
    struct home_reply reply;
    struct sora_job_id job;
    uint64_t sent; /* event sequence */
    sora_time next_at;
};

/* A result that is digested or copied beside the loop, then answered. */
struct home_export {
    struct sora_home *home;
    bool used, snapshot;
    struct home_reply reply;
    struct sora_job_id job;
    Farm__ResultKind kind;
    char path[SORA_FILE_PATH_SIZE], copy[SORA_FILE_PATH_SIZE];
    char file_name[128];
    struct sora_blob blob;
    struct sora_fault fault;
};

struct home_commit {
    struct sora_home *home; /* NULL: the home is gone */
};
struct sora_home {
    struct sora_home_params params;
    char results[SORA_FILE_PATH_SIZE], worker[SORA_FILE_PATH_SIZE];
    char blob_folder[SORA_FILE_PATH_SIZE];
    struct sora_farm *farm;
    struct sora_replay *replay;
    struct sora_tasks *tasks;
    sora_time now;                                /* of the call at hand */
    unsigned char signature[SORA_SIGNATURE_SIZE]; /* of our certificate as last read */
    unsigned char root[SORA_KEY_PUBLIC_SIZE];     /* our studio's */
    bool has_root;
    struct home_node **nodes;
    int node_count;
    struct home_job **jobs; /* by creation */
    int job_count;

    uint64_t dirty, batch, durable; /* tickets */
    struct home_commit *commit;     /* one at a time; NULL: none */
    sora_time retry_at, retry_ns;
    bool write_failed;
    struct sora_fault write_fault;
    struct sora_ring held;

    struct home_fetch *fetches;
    const struct home_fetch *arrival; /* whose blob STORE_PART is about */
    struct home_ask asks[HOME_ASKS_MAX];
    struct home_watcher watchers[HOME_WATCHERS_MAX];
    struct home_export *exports[HOME_EXPORTS_MAX]; /* made when first needed */
    uint64_t event_sequence, export_number;
    bool settle_due, assembly_due, busy;
    sora_time keep_at; /* looks for jobs that are too old */
    struct home_status_room *room;
};

#endif
