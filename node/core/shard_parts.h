/* Shared by the files of the shard machine only: its state, and what its links offer. */
#ifndef SORA_NODE_CORE_SHARD_PARTS_H
#define SORA_NODE_CORE_SHARD_PARTS_H

#include "node/core/shard.h"

/* What arrived from a link for one step. */
struct sora_shard_slot {
    int32_t step; /* -1: nothing */
    bool latents;
    uint64_t predictions; /* bit i: the i-th window that the link runs for this shard */
};

/* A place in the order of the halos for one link: step, and item (0 latents, 1+i the i-th
 * window). */
struct sora_shard_cursor {
    int32_t step, item;
};

struct sora_shard_link_state {
    struct sora_shard_link link;
    int32_t peer_step;                  /* where the link is known to stand */
    struct sora_shard_cursor log, send; /* the next halo to copy, to send; send <= log */
    int32_t at_due;                     /* step to announce, -1 none */
    bool heard;                         /* its owner is there; before that halos would be lost */
    bool at_again, final_received;
    struct sora_shard_slot slots[SORA_SHARD_AHEAD];
};

enum sora_window_state { SORA_WINDOW_TODO, SORA_WINDOW_RUNNING, SORA_WINDOW_DONE };

struct sora_shard {
    struct sora_shard_params params;
    enum sora_shard_state state;
    int32_t step, floor;
    struct sora_range windows; /* of the current step */
    int32_t running, done;     /* among them */
    unsigned char *window_states;
    bool load_given, admitted, update_given, park, segment_due, decode_given;
    bool checkpoint_due, checkpoint_given;                   /* of the current step */
    int32_t snapshots[SORA_SHARD_SNAPSHOTS], snapshot_count; /* taken, not acknowledged */
    bool snapshot_unsent[SORA_SHARD_SNAPSHOTS];
    int32_t prune_due; /* step, -1 none */
    int32_t stop_code;
    bool stop_due, stop_wanted;
    int64_t kept_bytes;
    sora_time retry_at, resend_at, segment_at, progress_at; /* INT64_MAX: no */
    struct sora_shard_link_state links[SORA_SHARD_LINKS_MAX];
};

/* The next action that is due, noted as given; false when there is none
 * (node/core/shard_actions.c).
 */
bool sora_shard_next_action(struct sora_shard *shard, sora_time now, struct sora_shard_action *out);
/* Whether nothing but halos of others can bring the shard on. */
bool sora_shard_waits(const struct sora_shard *shard);

/* Windows of `step` whose predictions travel between a runner and an owner; maybe empty. */
struct sora_range sora_shard_exchange(const struct sora_shard *shard, int32_t step,
                                      struct sora_range runner, struct sora_range owner);
/* Latents of `from` that decoding `to` reads. */
struct sora_range sora_shard_context(const struct sora_shard *shard, struct sora_range from,
                                     struct sora_range to);
/* Puts all links in front of `step`. */
void sora_shard_links_start(struct sora_shard *shard, int32_t step);
/* The next halo to copy to the log; moves the cursor. */
bool sora_shard_link_log(struct sora_shard *shard, int32_t link, struct sora_shard_action *out);
/* The next message to the link, if one may go now; moves the cursor. */
bool sora_shard_link_send(struct sora_shard *shard, int32_t link, struct sora_shard_action *out);
/* Notes an arrived halo. 1: keep; 0: known already; negative: cannot be. */
int sora_shard_link_receive(struct sora_shard *shard, const struct sora_shard_event *event);
/* A message of the link's owner came; the first one is answered. */
void sora_shard_link_heard(struct sora_shard *shard, int32_t link);
/* AT: where the link stands; with `again` it asks for what it lacks. */
void sora_shard_link_at(struct sora_shard *shard, const struct sora_shard_event *event);
/* Whether the link's latents, predictions, final latents needed at the current step are there. */
bool sora_shard_link_latents_ready(const struct sora_shard *shard, int32_t link,
                                   struct sora_range span);
bool sora_shard_link_predictions_ready(const struct sora_shard *shard, int32_t link);
bool sora_shard_link_final_ready(const struct sora_shard *shard, int32_t link);

/* shard_check.c. Errors: INVALID, LIMIT; those of sora_timeline_check. */
int sora_shard_check_params(const struct sora_shard_params *params, struct sora_fault *fault);
/* The limits that follow from what travels at an even and an odd step. Errors: LIMIT. */
int sora_shard_check_halos(const struct sora_shard *shard, struct sora_fault *fault);

#endif
