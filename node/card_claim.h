/*
 * Card claims: of the daemons of one machine, one at a time offers a card. Two would each plan with
 * all of its memory and measure half of its speed.
 *
 * A claim is a name in the abstract space of local sockets: it is the same for all users, needs no
 * folder, and is gone with its process, however that ends. Any thread; nothing blocks.
 */
#ifndef SORA_NODE_CARD_CLAIM_H
#define SORA_NODE_CARD_CLAIM_H

#include "base/error.h"

/* `card` is the card's place, "0000:41:00.0". The claim holds until the descriptor is closed, which
 * is the caller's. Errors: BUSY (another process has it, with the sentence), IO. */
int sora_card_claim(const char *card, int *out_fd, struct sora_fault *fault);

#endif
