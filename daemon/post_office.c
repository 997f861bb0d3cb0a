/* The daemon's post: to members by the link, to ourselves by the mail. */
#include "daemon/daemon_parts.h"

#include <string.h>

static int send_to(void *owner, const unsigned char node[SORA_NODE_ID_SIZE], Farm__Message *message,
                   const void *payload, size_t payload_size, struct sora_fault *fault)
{
    struct sora_daemon *daemon = owner;
    if (memcmp(node, daemon->post.self, SORA_NODE_ID_SIZE) == 0)
        return sora_mail_post(daemon->mail, message, payload, payload_size, fault);
    sora_peer peer = sora_link_find(daemon->link, node);
    if (!peer)
        return SORA_E_NOT_FOUND;
    return sora_link_send(daemon->link, peer, message, payload, payload_size, fault);
}

static int reply_to(void *owner, const struct sora_origin *origin, Farm__Message *message,
                    const void *payload, size_t payload_size, struct sora_fault *fault)
{
    struct sora_daemon *daemon = owner;
    message->reply_to = origin->id;
    if (!origin->peer)
        return sora_mail_post(daemon->mail, message, payload, payload_size, fault);
    return sora_link_send(daemon->link, origin->peer, message, payload, payload_size, fault);
}

static const char *name_of(void *owner, const unsigned char node[SORA_NODE_ID_SIZE])
{
    struct sora_daemon *daemon = owner;
    if (memcmp(node, daemon->post.self, SORA_NODE_ID_SIZE) == 0)
        return daemon->self.identity.name;
    if (memcmp(node, daemon->self.user.node, SORA_NODE_ID_SIZE) == 0)
        return daemon->self.user.name;
    const struct sora_member *member = sora_members_find(&daemon->members, node);
    return member ? member->identity.name : "?";
}

void post_open(struct sora_daemon *daemon)
{
    daemon->post =
        (struct sora_post){.owner = daemon, .send = send_to, .reply = reply_to, .name = name_of};
    memcpy(daemon->post.self, daemon->self.identity.node, SORA_NODE_ID_SIZE);
}

void post_reply_late(struct sora_daemon *daemon, const struct sora_late *late,
                     Farm__Message *message)
{
    /* Who asked may be gone; what was done stays done. */
    const struct sora_origin origin = {.peer = late->peer, .id = late->id};
    daemon->post.reply(daemon, &origin, message, NULL, 0, NULL);
}

void post_refuse_late(struct sora_daemon *daemon, const struct sora_late *late,
                      const struct sora_fault *fault)
{
    const struct sora_origin origin = {.peer = late->peer, .id = late->id};
    sora_post_refuse(&daemon->post, &origin, fault);
}
