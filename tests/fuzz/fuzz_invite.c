/* An invite code as a person may paste it; what is accepted formats to a code that reads the same.
 */
#include "proto/invite.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *code = malloc(size + 1);
    SORA_ASSERT(code);
    if (size > 0)
        memcpy(code, data, size);
    code[size] = '\0';
    struct sora_invite invite, again;
    if (sora_invite_parse(code, &invite, NULL) == SORA_OK) {
        char formatted[SORA_INVITE_CODE_SIZE];
        SORA_ASSERT(sora_invite_format(&invite, formatted, NULL) == SORA_OK);
        SORA_ASSERT(sora_invite_parse(formatted, &again, NULL) == SORA_OK);
        SORA_ASSERT(memcmp(&invite, &again, sizeof(invite)) == 0);
    }
    free(code);
    return 0;
}
