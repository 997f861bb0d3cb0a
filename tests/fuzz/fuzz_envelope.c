/* An envelope, its certificate and a job in it; nothing of a stranger may open. */
#include "proto/envelope.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char node[SORA_NODE_ID_SIZE] = "the receiver";
    struct sora_trust *trust;
    struct sora_replay *replay;
    struct sora_message *message = NULL;
    SORA_ASSERT(sora_keys_init(NULL) == SORA_OK);
    SORA_ASSERT(sora_trust_create(&trust) == SORA_OK);
    SORA_ASSERT(sora_replay_create(2, &replay) == SORA_OK);
    if (sora_message_decode_as(&farm__envelope__descriptor, data, size, true, &message, NULL) ==
        SORA_OK) {
        const Farm__Envelope *wire = (const Farm__Envelope *)message->any;
        struct sora_certificate certificate;
        struct sora_identity signer;
        const struct sora_envelope_expect expect = {.trust = trust,
                                                    .replay = replay,
                                                    .domain = SORA_DOMAIN_SUBMIT,
                                                    .node = node,
                                                    .wall_now_ms = wire->wall_expires_ms};
        /* The certificate's own root is trusted, so that the walk goes on behind that check. */
        if (sora_certificate_get(wire->certificate, &certificate, NULL) == SORA_OK &&
            sora_certificate_read(&certificate, &signer, NULL) == SORA_OK)
            sora_trust_add_root(trust, signer.root);
        struct sora_message *spec = NULL;
        if (sora_envelope_open(wire, &expect, &signer, NULL) == SORA_OK)
            sora_message_decode_as(&farm__job_spec__descriptor, wire->payload.data,
                                   wire->payload.len, true, &spec, NULL);
        sora_message_destroy(&spec);
        sora_message_destroy(&message);
    }
    if (sora_message_decode_as(&farm__revocation__descriptor, data, size, true, &message, NULL) ==
        SORA_OK)
        sora_trust_apply(trust, (const Farm__Revocation *)message->any, NULL);
    sora_message_destroy(&message);
    sora_replay_destroy(&replay);
    sora_trust_destroy(&trust);
    return 0;
}
