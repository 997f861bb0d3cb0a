/* One frame with the whole list, and waiting for it. */
#include "node/cards.h"

#include "base/child.h"
#include "hip/gpu/gpu.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define FRAME_CARDS 1

/* ---- in the child ---- */

int sora_cards_send(const struct sora_cards *cards, struct sora_fault *fault)
{
    const struct sora_frame frame = {
        .kind = FRAME_CARDS, .payload = cards, .payload_size = sizeof(*cards)};
    if (!sora_child_self_present())
        return sora_fault_set(fault, SORA_E_INVALID,
                              "--frames is for sorad, which is not there; use --json");
    int rc = sora_child_self_send(&frame);
    return rc ? sora_fault_set(fault, rc, "the list of cards cannot be handed over: %s",
                               sora_error_text(rc))
              : SORA_OK;
}

/* ---- in the daemon ---- */

/* Ends the text where it must end, and leaves nothing in it that a terminal would act on. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        *c = *c < 0x20 || *c > 0x7e ? '?' : *c;
}

static bool take(const struct sora_frame *frame, struct sora_cards *out_cards)
{
    struct sora_cards cards;
    if (frame->kind != FRAME_CARDS || frame->payload_size != sizeof(cards))
        return false;
    memcpy(&cards, frame->payload, sizeof(cards));
    if (cards.count < 0 || cards.count > SORA_CARDS_MAX)
        return false;
    clean(cards.absent, sizeof(cards.absent));
    for (int i = 0; i < cards.count; i++) {
        struct sora_card_found *card = &cards.items[i];
        clean(card->id, sizeof(card->id));
        clean(card->name, sizeof(card->name));
        clean(card->pci, sizeof(card->pci));
        if (!sora_gpu_name_is(card->id))
            return false;
    }
    *out_cards = cards;
    return true;
}

/* Waits for the child's frame, its end or the deadline. */
static int receive(struct sora_child *child, sora_time until, struct sora_cards *out_cards,
                   struct sora_fault *fault)
{
    for (;;) {
        struct sora_frame frame;
        int rc = sora_child_step(child, &frame, fault);
        if (rc < 0)
            return rc;
        if (rc == 1 && take(&frame, out_cards))
            return SORA_OK;
        if (rc == 1)
            return sora_fault_set(fault, SORA_E_FORMAT, "it said what cannot be");
        sora_time left = until - sora_clock_now();
        if (left <= 0)
            return sora_fault_set(fault, SORA_E_BUSY, "a driver did not answer in time");
        struct pollfd item = {.fd = -1};
        item.fd = sora_child_fd(child, &item.events);
        poll(&item, 1, (int)(left / 1000000) + 1);
    }
}

void sora_cards_find(const char *worker_program, sora_time wait_ns, struct sora_cards *out_cards)
{
    const char *const argv[] = {"sora-worker", "devices", "--frames", NULL};
    const struct sora_child_params params = {.program = worker_program, .argv = argv};
    struct sora_child *child = NULL;
    struct sora_fault fault = {0};
    *out_cards = (struct sora_cards){.count = 0};
    int rc = sora_child_create(&params, &child, &fault);
    if (rc == SORA_OK)
        rc = receive(child, sora_clock_now() + wait_ns, out_cards, &fault);
    if (rc)
        snprintf(out_cards->absent, sizeof(out_cards->absent), "looking for cards failed: %.400s",
                 fault.text);
    sora_child_destroy(&child);
}
