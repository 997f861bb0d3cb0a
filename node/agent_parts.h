/*
 * Shared by the files of the agent only.
 *
 * A device has a child and at most one live task. A task is a lease: granted, then a shard with its
 * machine (node/core/shard.h) or a text task; when it stops it lets go of everything and is only
 * reported until its home revokes it. Tasks and devices are places in arrays and never move, so
 * callbacks may keep pointers to them; `serial` tells whether a place still holds the same task.
 *
 * Nothing here calls the machine from within one of its actions: what fails in an action is noted
 * in `fail` and taken up when the machine has returned.
 */
#ifndef SORA_NODE_AGENT_PARTS_H
#define SORA_NODE_AGENT_PARTS_H

#include "base/child.h"
#include "node/agent.h"
#include "node/core/shard.h"
#include "node/hours.h"
#include "node/serve_wire.h"
#include "node/speeds.h"

#define AGENT_TASKS_MAX 16 /* as many as a beat can report to one home */
#define AGENT_ENDED_MAX 64
#define AGENT_BEATS_MAX 64
#define AGENT_FETCHES_MAX 4 /* of models at a time */
#define AGENT_READ_MAX 16   /* folders that a child may read */
#define AGENT_PARTIALS_MAX 16
#define AGENT_PARTS_MAX 1024 /* of a halo: 1 GiB */
#define AGENT_CHECKPOINTS_MAX (2 * SORA_SHARD_SNAPSHOTS)
#define AGENT_REPEAT_NS (2 * SORA_TIME_SECOND)
#define AGENT_FORGET_NS (300 * SORA_TIME_SECOND) /* a stopped task that nobody revokes */
#define AGENT_NEVER INT64_MAX

/* Latents of one halo: in the kept log, on its way in, or waiting for its step. */
struct agent_halo {
    struct agent_halo *next, *queue_next;
    enum sora_shard_halo kind;
    int32_t step, window;
    struct sora_range range;
    uint64_t token;        /* log: of the GET that fills it */
    bool ready, queued;    /* log: filled; waiting to be sent */
    size_t size, sent;     /* bytes; of them sent to the present owner */
    unsigned char *values; /* [size] */
};

/* A halo of which parts have arrived. */
struct agent_partial {
    struct agent_halo *halo; /* NULL: free */
    uint64_t epoch, used;    /* of the sender; when it was last added to */
    uint32_t parts_left;
    uint64_t parts[AGENT_PARTS_MAX / 64]; /* bit set: there */
};

struct agent_link {
    unsigned char node[SORA_NODE_ID_SIZE];
    struct sora_range owned;
    uint64_t epoch;                        /* 0: nobody owns it */
    struct agent_halo *log;                /* newest first */
    struct agent_halo *queue, *queue_last; /* halos of the log to send, in order */
    bool at_due;                           /* `at` is to be sent */
    struct sora_shard_action at;
    struct agent_partial partials[AGENT_PARTIALS_MAX];
};

/* A blob that the task needs before it can begin. */
struct agent_need {
    struct agent_task *task;
    struct sora_blob blob;
    enum { AGENT_NEED_TODO, AGENT_NEED_ASKED, AGENT_NEED_HERE } state;
};

struct agent_checkpoint {
    bool used, written, adopting, ready, wanted;
    int32_t step;
    struct sora_blob blob; /* when ready */
};

struct agent_piece {
    struct sora_serve_piece info;
    char *path; /* until it is adopted */
    bool adopting, ready, stored;
    struct sora_blob blob;
    sora_time said_at;
};

/* Rows of one text. */
struct agent_rows {
    void *values; /* until put is accepted */
    size_t size;
    bool got, putting, ready;
    struct sora_blob blob;
};

enum agent_load { AGENT_LOAD_NONE, AGENT_LOAD_FETCH, AGENT_LOAD_CHILD, AGENT_LOAD_DONE };

struct agent_task {
    struct sora_agent *agent;
    bool used, text, stopped;
    uint64_t serial;
    unsigned char home[SORA_NODE_ID_SIZE], job[SORA_JOB_ID_SIZE];
    uint32_t shard, epoch, lease_ms;
    uint64_t version;
    struct sora_digest model;
    struct agent_device *device; /* NULL when stopped */
    sora_time lease_until, stopped_at;
    int code, fail;   /* why it stopped; why it is to be stopped */
    bool file_missed; /* by the worker */
    char fail_text[256];

    struct sora_shard *machine; /* NULL: granted only, text, or stopped */
    Farm__ShardAssign *order;   /* the first one, owned */
    size_t latent_bytes;
    enum agent_load load;
    sora_time fetch_at;
    struct agent_need *needs;
    int need_count;
    int link_count;
    struct agent_link links[SORA_SHARD_LINKS_MAX];
    struct agent_halo *kept; /* arrived, for steps to come */
    struct agent_checkpoint checkpoints[AGENT_CHECKPOINTS_MAX];
    struct agent_piece *pieces;
    int piece_count, piece_capacity;
    bool decoding, decoded, decoded_said;
    uint32_t frames_done;
    double steps_per_s;
    sora_time step_at;
    uint64_t halo_bytes[3]; /* handed to the post: of even steps, of odd (shifted) ones, final */

    Farm__TextEncode *encode; /* owned */
    bool encode_sent, scheduled;
    struct agent_rows *rows; /* [encode->n_texts] */
    struct sora_schedule *schedule;
    sora_time text_at;
};

struct agent_device {
    struct sora_agent *agent;
    const struct sora_agent_device *config;
    struct sora_hours hours;
    int claim; /* descriptor of its card's claim; -1: none */
    struct sora_child *child;
    bool ready;
    bool in_int8; /* its child holds weights in int8, for a job that does not fit otherwise */
    char device_class[64]; /* as configured: the child's, unless in_int8 */
    struct sora_serve_ready caps;
    sora_time start_at, ready_at, pause, memory_at;
    bool memory_asked; /* and not answered */
    char failure[SORA_FAULT_TEXT_SIZE];
    uint32_t closing; /* CLOSE commands without answer: what comes before it is of an old task */
    struct agent_task *task;
    int read_count;
    char *read_paths[AGENT_READ_MAX];
    char *wanted; /* a path that the next child must be able to read */
};

enum agent_adopts { AGENT_ADOPT_STATE, AGENT_ADOPT_PIECE, AGENT_ADOPT_ROWS };

/* A blob that is being published; outlives its task, and the agent. */
struct agent_adoption {
    struct agent_adoption *next;
    struct sora_agent *agent; /* NULL: the agent is gone */
    struct agent_task *task;
    uint64_t serial;
    enum agent_adopts kind;
    int index;
};

struct agent_member {
    bool used, up;
    uint32_t roles;
    unsigned char node[SORA_NODE_ID_SIZE];
};

struct agent_fetch {
    struct sora_agent *agent;
    bool used, failed;
    struct sora_digest model;
    unsigned char node[SORA_NODE_ID_SIZE];
    struct sora_fault fault;
};

struct agent_ended {
    unsigned char home[SORA_NODE_ID_SIZE], job[SORA_JOB_ID_SIZE];
    uint32_t epoch;
};

/* The advert with the memory that it points into. */
struct agent_advert {
    Farm__Advert advert;
    Farm__Device devices[SORA_AGENT_DEVICES_MAX], *device_list[SORA_AGENT_DEVICES_MAX];
    char state_texts[SORA_AGENT_DEVICES_MAX][200];
    Farm__Speed speeds[SORA_AGENT_DEVICES_MAX][8], *speed_lists[SORA_AGENT_DEVICES_MAX][8];
    Farm__Model models[64], *model_list[64];
    struct sora_digest model_digests[64];
    Farm__TaskReport reports[AGENT_TASKS_MAX], *report_list[AGENT_TASKS_MAX];
};

struct sora_agent {
    struct sora_agent_params params;
    sora_time now; /* of the last call */
    bool wake;     /* a callback left something to do */
    bool draining;
    sora_time models_until; /* so long the first children wait for the models that are being read */
    sora_time blocked_until; /* when to try to send again; AGENT_NEVER: nothing waits */
    struct agent_device devices[SORA_AGENT_DEVICES_MAX];
    struct agent_task tasks[AGENT_TASKS_MAX];
    uint64_t serial, token;
    struct agent_ended ended[AGENT_ENDED_MAX];
    unsigned ended_next;
    struct agent_member members[SORA_LINK_PEERS_MAX];
    struct agent_fetch fetches[AGENT_FETCHES_MAX];
    uint64_t sequence; /* of the last beat */
    sora_time beat_at, sent_at[AGENT_BEATS_MAX];
    struct sora_speeds *speeds;
    struct agent_advert advert;
    struct agent_adoption *adoptions;
    char objects[4096]; /* the blob store's folder of complete blobs */
};

#endif
