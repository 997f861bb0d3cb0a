/* A stranger of our own knocks. */
#include "daemon/door.h"

#define WAIT_SECONDS 5

int sora_door_test(struct sora_door *door, struct sora_link *link,
                   const struct sora_identity *server, const char *endpoint, sora_time now,
                   struct sora_fault *fault)
{
    sora_peer peer;
    if (door->link)
        return SORA_OK;
    int rc = sora_key_create(SORA_KEY_CURVE, &door->stranger, fault);
    if (rc)
        return rc;
    const struct sora_link_params params = {
        .curve = door->stranger, .software = "door test", .name = "stranger", .boot = 1};
    rc = sora_link_create(&params, &door->link, fault);
    if (rc == SORA_OK)
        sora_link_expect_refusal(link);
    if (rc == SORA_OK)
        rc = sora_link_dial(door->link, server, endpoint, &peer, fault);
    door->deadline = now + WAIT_SECONDS * SORA_TIME_SECOND;
    if (rc)
        sora_door_fini(door);
    return rc;
}

bool sora_door_step(struct sora_door *door, sora_time now)
{
    struct sora_link_event event;
    enum sora_door_verdict verdict = SORA_DOOR_UNTESTED;
    if (!door->link)
        return false;
    while (verdict == SORA_DOOR_UNTESTED && sora_link_step(door->link, now, &event, NULL) == 1) {
        if (event.kind != SORA_LINK_DOWN)
            verdict = SORA_DOOR_OPEN;
        else
            verdict = event.reason == SORA_E_DENIED ? SORA_DOOR_CLOSED : SORA_DOOR_SILENT;
    }
    if (verdict == SORA_DOOR_UNTESTED && now >= door->deadline)
        verdict = SORA_DOOR_SILENT;
    if (verdict == SORA_DOOR_UNTESTED)
        return false;
    sora_door_fini(door);
    door->verdict = verdict;
    return true;
}

size_t sora_door_poll(const struct sora_door *door, struct pollfd *out_items)
{
    return door->link ? sora_link_poll(door->link, out_items) : 0;
}

sora_time sora_door_deadline(const struct sora_door *door)
{
    if (!door->link)
        return INT64_MAX;
    sora_time link = sora_link_deadline(door->link);
    return link < door->deadline ? link : door->deadline;
}

void sora_door_fini(struct sora_door *door)
{
    sora_link_destroy(&door->link);
    sora_key_destroy(&door->stranger);
}
