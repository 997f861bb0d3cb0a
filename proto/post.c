/* Answers that every part gives in the same way. */
#include "proto/post.h"

void sora_post_refuse(const struct sora_post *post, const struct sora_origin *origin,
                      const struct sora_fault *fault)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Refusal refusal = FARM__REFUSAL__INIT;
    int code = fault->code ? fault->code : SORA_E_INTERNAL;
    refusal.code = code;
    refusal.text = (char *)(uintptr_t)(fault->text[0] ? fault->text : sora_error_text(code));
    message.body_case = FARM__MESSAGE__BODY_REFUSAL;
    message.refusal = &refusal;
    post->reply(post->owner, origin, &message, NULL, 0, NULL);
}

void sora_post_ack(const struct sora_post *post, const struct sora_origin *origin)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Ack ack = FARM__ACK__INIT;
    message.body_case = FARM__MESSAGE__BODY_ACK;
    message.ack = &ack;
    post->reply(post->owner, origin, &message, NULL, 0, NULL);
}
