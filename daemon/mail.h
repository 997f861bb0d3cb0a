/*
 * Mail: messages of a daemon to itself, on their way from one turn to the next.
 *
 * They are packed and unpacked as on the wire, so that parts in one process see exactly what parts
 * in two would. Bounded by SORA_MAIL_MAX messages and SORA_MAIL_BYTES_MAX; a full box is FULL for
 * the sender, as a full link is. One thread; nothing blocks.
 */
#ifndef SORA_DAEMON_MAIL_H
#define SORA_DAEMON_MAIL_H

#include "proto/message.h"

#define SORA_MAIL_MAX 1024
#define SORA_MAIL_BYTES_MAX ((size_t)64 << 20)

struct sora_mail;

int sora_mail_create(struct sora_mail **out_mail);
void sora_mail_destroy(struct sora_mail **mail);

/* Sets `id` of the message and keeps a copy of it and of the payload. Errors: FULL, INVALID
 * (payload not fitting the type), MEMORY, and those of sora_message_size. */
int sora_mail_post(struct sora_mail *mail, Farm__Message *message, const void *payload,
                   size_t payload_size, struct sora_fault *fault);

/* What was posted so far. */
size_t sora_mail_count(const struct sora_mail *mail);

/* The oldest, decoded; false when there is none. `out_message` is the caller's, the payload is
 * valid until the next take. */
bool sora_mail_take(struct sora_mail *mail, struct sora_message **out_message,
                    const void **out_payload, size_t *out_payload_size);

#endif
