/*
 * Cards: the GPUs of this machine, found by a child process.
 *
 * A vendor's driver may hang or end the process that starts it, so the daemon lets `sora-worker
 * devices --frames` do it and takes what that says. Any thread; finding blocks until the child has
 * answered, up to a limit.
 */
#ifndef SORA_NODE_CARDS_H
#define SORA_NODE_CARDS_H

#include "base/clock.h"
#include "base/error.h"

#define SORA_CARDS_MAX 16

struct sora_card_found {
    char id[16]; /* "gpu0" */
    char name[96];
    char pci[24]; /* "0000:41:00.0"; empty when unknown, and for the emulator */
    uint64_t memory_total;
};

struct sora_cards {
    int count;
    struct sora_card_found items[SORA_CARDS_MAX];
    char absent[512]; /* why a vendor has no card, or nothing was found; "" when there is no why */
};

/* Never fails: no card is a result, and `absent` says why. `wait_ns` is how long the drivers may
 * take. */
void sora_cards_find(const char *worker_program, sora_time wait_ns, struct sora_cards *out_cards);

/* In the child: hands the list to the parent. Errors: INVALID (nobody is there), IO. */
int sora_cards_send(const struct sora_cards *cards, struct sora_fault *fault);

#endif
