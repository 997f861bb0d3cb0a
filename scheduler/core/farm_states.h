/* The tables of states of a home: name, text, and which states may follow. Any thread. */
#ifndef SORA_SCHEDULER_CORE_FARM_STATES_H
#define SORA_SCHEDULER_CORE_FARM_STATES_H

#include "base/error.h"

#define SORA_TO(kind, name) (1u << SORA_##kind##_##name)
#define SORA_STATE_ENUM_JOB(name, text, next) SORA_JOB_##name,
#define SORA_STATE_ENUM_TASK(name, text, next) SORA_TASK_##name,
#define SORA_STATE_ENUM_NODE(name, text, next) SORA_NODE_##name,

#define SORA_JOB_STATES(X)                                                                         \
    X(QUEUED, "queued",                                                                            \
      SORA_TO(JOB, TEXT) | SORA_TO(JOB, RUNNING) | SORA_TO(JOB, PAUSED) | SORA_TO(JOB, FAILED) |   \
          SORA_TO(JOB, CANCELLED))                                                                 \
    X(TEXT, "text",                                                                                \
      SORA_TO(JOB, QUEUED) | SORA_TO(JOB, PAUSED) | SORA_TO(JOB, FAILED) |                         \
          SORA_TO(JOB, CANCELLED))                                                                 \
    X(RUNNING, "running",                                                                          \
      SORA_TO(JOB, QUEUED) | SORA_TO(JOB, ASSEMBLING) | SORA_TO(JOB, PAUSED) |                     \
          SORA_TO(JOB, FAILED) | SORA_TO(JOB, CANCELLED))                                          \
    X(ASSEMBLING, "assembling",                                                                    \
      SORA_TO(JOB, QUEUED) | SORA_TO(JOB, DONE) | SORA_TO(JOB, FAILED) | SORA_TO(JOB, CANCELLED))  \
    X(PAUSED, "paused", SORA_TO(JOB, QUEUED) | SORA_TO(JOB, CANCELLED))                            \
    X(DONE, "done", 0)                                                                             \
    X(FAILED, "failed", 0)                                                                         \
    X(CANCELLED, "cancelled", 0)
enum sora_job_state { SORA_JOB_STATES(SORA_STATE_ENUM_JOB) SORA_JOB_STATE_COUNT };

/* A task is a shard, or the text of a job. */
#define SORA_TASK_STATES(X)                                                                        \
    X(WAITING, "waiting", SORA_TO(TASK, OFFERED))                                                  \
    X(OFFERED, "offered", SORA_TO(TASK, WAITING) | SORA_TO(TASK, GRANTED))                         \
    X(GRANTED, "granted", SORA_TO(TASK, WAITING) | SORA_TO(TASK, ASSIGNED))                        \
    X(ASSIGNED, "assigned", SORA_TO(TASK, WAITING) | SORA_TO(TASK, DONE))                          \
    X(DONE, "done", SORA_TO(TASK, WAITING))
enum sora_task_state { SORA_TASK_STATES(SORA_STATE_ENUM_TASK) SORA_TASK_STATE_COUNT };

#define SORA_NODE_STATES(X)                                                                        \
    X(ONLINE, "online", SORA_TO(NODE, SUSPECTED) | SORA_TO(NODE, DRAINING) | SORA_TO(NODE, LEFT))  \
    X(SUSPECTED, "suspected",                                                                      \
      SORA_TO(NODE, ONLINE) | SORA_TO(NODE, DRAINING) | SORA_TO(NODE, LOST) | SORA_TO(NODE, LEFT)) \
    X(LOST, "lost", SORA_TO(NODE, ONLINE) | SORA_TO(NODE, DRAINING) | SORA_TO(NODE, LEFT))         \
    X(DRAINING, "draining",                                                                        \
      SORA_TO(NODE, ONLINE) | SORA_TO(NODE, SUSPECTED) | SORA_TO(NODE, LEFT))                      \
    X(LEFT, "left", SORA_TO(NODE, ONLINE) | SORA_TO(NODE, DRAINING))
enum sora_node_state { SORA_NODE_STATES(SORA_STATE_ENUM_NODE) SORA_NODE_STATE_COUNT };

/* What a node reports of a task. */
enum sora_farm_work {
    SORA_WORK_GRANTED, /* a lease without an order yet */
    SORA_WORK_RUNNING, /* loading, running, decoding, done and waiting to be released */
    SORA_WORK_PARKED,
    SORA_WORK_STOPPED, /* for `code`; reported until revoked */
};

/* The texts, and whether a move is in the table. Assert the range. */
const char *sora_job_state_text(enum sora_job_state state);
const char *sora_task_state_text(enum sora_task_state state);
const char *sora_node_state_text(enum sora_node_state state);
bool sora_job_state_may(enum sora_job_state from, enum sora_job_state to);
bool sora_task_state_may(enum sora_task_state from, enum sora_task_state to);
bool sora_node_state_may(enum sora_node_state from, enum sora_node_state to);

#endif
