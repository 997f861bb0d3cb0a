/* One message frame as a peer may send it; what is accepted packs to the same again. */
#include "proto/message.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sora_message *message = NULL;
    struct sora_fault fault = {0};
    if (sora_message_decode(data, size, &message, &fault))
        return 0;
    size_t again = 0;
    int rc = sora_message_size(message->farm, &again, &fault);
    SORA_ASSERT(rc == SORA_OK || rc == SORA_E_LIMIT);
    if (rc == SORA_OK) {
        unsigned char *packed = malloc(again ? again : 1);
        SORA_ASSERT(packed);
        sora_message_encode(message->farm, packed);
        free(packed);
    }
    sora_message_destroy(&message);
    return 0;
}
