/* The two answers that have nothing of their own to say. A peer that is gone needs none. */
#include "proto/post.h"

#include <string.h>

void sora_post_refuse(const struct sora_post *post, const struct sora_origin *origin,
                      const struct sora_fault *fault)
{
    char text[SORA_FAULT_TEXT_SIZE];
    memcpy(text, fault->text, sizeof(text));
    Farm__Refusal refusal = FARM__REFUSAL__INIT;
    refusal.code = fault->code;
    refusal.text = text;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_REFUSAL;
    message.refusal = &refusal;
    if (post->reply(post->owner, origin, &message, NULL, 0, NULL) != SORA_E_FORMAT)
        return;
    /* A path of a file system, or a cut at the text's end, that is no UTF-8. */
    for (char *c = text; *c; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    (void)post->reply(post->owner, origin, &message, NULL, 0, NULL);
}

void sora_post_ack(const struct sora_post *post, const struct sora_origin *origin)
{
    Farm__Ack ack = FARM__ACK__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_ACK;
    message.ack = &ack;
    (void)post->reply(post->owner, origin, &message, NULL, 0, NULL);
}
