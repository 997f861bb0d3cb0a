/* A ring of packed messages. */
#include "daemon/mail.h"

#include "base/log.h"
#include "base/ring.h"

#include <stdlib.h>
#include <string.h>

/* A payload, aligned for its numbers, then the message, in one allocation. */
struct letter {
    unsigned char *data;
    size_t size, payload_size;
};

struct sora_mail {
    struct sora_ring letters;
    size_t bytes;
    uint64_t next_id;
    unsigned char *open; /* of the last letter taken */
};

int sora_mail_create(struct sora_mail **out_mail)
{
    struct sora_mail *mail = calloc(1, sizeof(*mail));
    if (!mail)
        return SORA_E_MEMORY;
    int rc = sora_ring_init(&mail->letters, SORA_MAIL_MAX, sizeof(struct letter));
    if (rc)
        free(mail);
    else
        *out_mail = mail;
    return rc;
}

void sora_mail_destroy(struct sora_mail **mail)
{
    if (!*mail)
        return;
    struct letter letter;
    while (sora_ring_pop(&(*mail)->letters, &letter))
        free(letter.data);
    sora_ring_fini(&(*mail)->letters);
    free((*mail)->open);
    free(*mail);
    *mail = NULL;
}

static int check_payload(const Farm__Message *message, size_t payload_size,
                         struct sora_fault *fault)
{
    const struct sora_message_type *type = sora_message_type_find((int)message->body_case);
    if (!type || payload_size > type->payload_max || (type->payload_max > 0 && payload_size == 0))
        return sora_fault_set(fault, SORA_E_INVALID, "%s with a payload of %zu bytes",
                              type ? type->name : "a message without a body", payload_size);
    return SORA_OK;
}

int sora_mail_post(struct sora_mail *mail, Farm__Message *message, const void *payload,
                   size_t payload_size, struct sora_fault *fault)
{
    struct letter letter = {.payload_size = payload_size};
    message->id = ++mail->next_id;
    int rc = check_payload(message, payload_size, fault);
    if (rc == SORA_OK)
        rc = sora_message_size(message, &letter.size, fault);
    if (rc)
        return rc;
    if (mail->letters.count == SORA_MAIL_MAX ||
        mail->bytes + letter.size + payload_size > SORA_MAIL_BYTES_MAX)
        return SORA_E_FULL;
    letter.data = malloc(letter.size + payload_size);
    if (!letter.data)
        return SORA_E_MEMORY;
    if (payload_size > 0)
        memcpy(letter.data, payload, payload_size);
    sora_message_encode(message, letter.data + payload_size);
    mail->bytes += letter.size + payload_size;
    rc = sora_ring_push(&mail->letters, &letter);
    SORA_ASSERT(rc == SORA_OK); /* there was room */
    return SORA_OK;
}

size_t sora_mail_count(const struct sora_mail *mail)
{
    return mail->letters.count;
}

bool sora_mail_take(struct sora_mail *mail, struct sora_message **out_message,
                    const void **out_payload, size_t *out_payload_size)
{
    struct letter letter;
    free(mail->open);
    mail->open = NULL;
    while (sora_ring_pop(&mail->letters, &letter)) {
        struct sora_fault fault = {0};
        mail->bytes -= letter.size + letter.payload_size;
        if (sora_message_decode(letter.data + letter.payload_size, letter.size, out_message,
                                &fault) == SORA_OK) {
            mail->open = letter.data;
            *out_payload = letter.payload_size ? letter.data : NULL;
            *out_payload_size = letter.payload_size;
            return true;
        }
        sora_log(SORA_LOG_ERROR, "a message to ourselves was lost: %s", fault.text);
        free(letter.data);
    }
    return false;
}
