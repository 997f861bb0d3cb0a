/*
 * The simulator: one home, many nodes, one seed, virtual time. The real cores of scheduler and node
 * run; network, disk, devices and clocks are played. A value of a latent is a 64-bit hash of all
 * that it was computed from, so any use of a wrong input shows in the result.
 */
#ifndef SORA_TESTS_SIM_SIM_H
#define SORA_TESTS_SIM_SIM_H

#include "node/core/shard.h"
#include "scheduler/core/farm_records.h"

#include <stdio.h>

#define SIM_NODES 6
#define SIM_DEVICES 2
#define SIM_JOBS 3
#define SIM_TASKS 6 /* that a node remembers */
#define SIM_ENDED 64
#define SIM_LATENTS 96
#define SIM_STEPS 10
#define SIM_WINDOW 12  /* L at most */
#define SIM_WINDOWS 64 /* a step at most */
#define SIM_VALUES 32  /* latents in one message */
#define SIM_MS ((sora_time)1000000)
#define SIM_HOME (-1)

enum sim_kind {
    /* home to node */
    SIM_OFFER,
    SIM_ORDER,
    SIM_REVOKE,
    SIM_RENEW,
    SIM_CHECKPOINT_ACK,
    SIM_SEGMENT_ACK,
    /* node to home */
    SIM_BEAT,
    SIM_GRANT,
    SIM_REFUSE,
    SIM_CHECKPOINT,
    SIM_SEGMENT,
    SIM_TEXT,
    /* node to node */
    SIM_HALO,
    SIM_AT,
    /* timers, never lost */
    SIM_WORK,
    SIM_TEXT_WORK,
    SIM_NODE_TICK,
    SIM_BEAT_TICK,
    SIM_HOME_TICK,
    SIM_ASSEMBLED,
    SIM_KILL,
    SIM_START,
    SIM_DRAIN,
    SIM_HOME_KILL,
    SIM_HOME_START,
    SIM_USER,
};

struct sim_message {
    sora_time at;
    uint64_t order; /* ties */
    enum sim_kind kind;
    int32_t from, to; /* node index or SIM_HOME */
    uint64_t life;    /* of the receiver of a timer; 0 for messages */
    int32_t job, shard, step, window, device, code;
    uint64_t epoch, sender_epoch, sequence, have, boot;
    enum sora_shard_halo halo;
    enum sora_shard_event_kind work;
    struct sora_range range;
    bool again;
    int32_t value_count;
    uint64_t values[SIM_LATENTS];
    struct sora_farm_beat *beat;  /* owned */
    struct sora_farm_order *sent; /* owned */
};

/* What a worker holds: values by step and latent, predictions by step, window and place in it. */
struct sim_data {
    uint64_t x[SIM_STEPS + 1][SIM_LATENTS];
    bool has_x[SIM_STEPS + 1][SIM_LATENTS], logged_x[SIM_STEPS + 1][SIM_LATENTS];
    uint64_t p[SIM_STEPS][SIM_WINDOWS][SIM_WINDOW];
    bool has_p[SIM_STEPS][SIM_WINDOWS][SIM_WINDOW], logged_p[SIM_STEPS][SIM_WINDOWS][SIM_WINDOW];
    bool snapshot[SIM_STEPS + 1];
};

struct sim_task {
    bool used, stopped;
    int32_t job, shard, device, code;
    uint64_t epoch, version;
    sora_time lease_until;
    struct sora_shard *machine; /* NULL: granted only, or text */
    bool text;
    struct sora_farm_order order;
    struct sim_data *data;
};

struct sim_node {
    bool up, draining;
    uint64_t life, boot, sequence;
    sora_time sent_at[64]; /* of beats, by sequence */
    struct sim_task tasks[SIM_TASKS];
    uint64_t ended[SIM_ENDED];
    int32_t ended_next;
    int64_t window_us[SIM_DEVICES];
    int32_t device_count;
    uint64_t device_class;
};

struct sim_job {
    struct sora_farm_job spec;
    uint64_t reference[SIM_STEPS + 1][SIM_LATENTS];
    /* the home's disk */
    bool stored;
    struct sora_farm_job_record record;
    struct sora_farm_shard_record shards[SORA_PLAN_SHARDS_MAX];
    uint64_t accepted[SIM_STEPS + 1][SIM_LATENTS]; /* epoch, 0 none */
    uint64_t parts[SIM_STEPS + 1][SIM_LATENTS];
    bool segment[SIM_LATENTS];
    bool submitted, cancelled;
    int64_t halo_latents, halo_latents_planned;
};

struct sim {
    uint64_t seed, random;
    bool verbose, faults;
    sora_time now, faults_until;
    uint32_t loss, twice; /* per 1000 */
    sora_time delay_ns;
    struct sim_message **heap;
    size_t heap_count, heap_capacity;
    uint64_t order, lives, boots;
    struct sim_node nodes[SIM_NODES];
    int32_t node_count, job_count;
    struct sim_job *jobs;
    struct sora_farm *farm; /* NULL: down */
    uint64_t home_life;
    sora_time home_tick_at;
    uint64_t events, kills, home_kills, lost_messages;
    uint64_t digest; /* of everything that happened */
};

/* sim.c */
uint64_t sim_random(struct sim *sim, uint64_t below);
uint64_t sim_mix(uint64_t a, uint64_t b);
struct sim_message *sim_message(struct sim *sim, enum sim_kind kind, int32_t from, int32_t to);
/* Takes the message: loses, doubles and delays it. */
void sim_send(struct sim *sim, struct sim_message *message);
/* Takes it: arrives after `delay`, exactly once. */
void sim_later(struct sim *sim, struct sim_message *message, sora_time delay);
void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
#define SIM_CHECK(sim, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail(sim, __VA_ARGS__);                                                            \
    } while (0)
int32_t sim_find_job(const struct sim *sim, const struct sora_job_id *id);
uint64_t sim_predict(uint64_t job_seed, int32_t step, const struct sora_window *window,
                     const uint64_t *inputs, int32_t latent);

/* sim_home.c */
void sim_home_message(struct sim *sim, const struct sim_message *message);
void sim_home_start(struct sim *sim);
void sim_home_kill(struct sim *sim);
void sim_home_user(struct sim *sim);
void sim_home_submit(struct sim *sim, int32_t job);
void sim_home_resume(struct sim *sim, int32_t job);

/* sim_node.c */
void sim_node_message(struct sim *sim, const struct sim_message *message);
void sim_node_start(struct sim *sim, int32_t node);
void sim_node_kill(struct sim *sim, int32_t node);
void sim_node_check(struct sim *sim, int32_t node);

#endif
