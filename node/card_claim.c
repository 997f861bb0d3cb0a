/* A datagram socket that is bound and never used. */
#include "node/card_claim.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int sora_card_claim(const char *card, int *out_fd, struct sora_fault *fault)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* The first byte stays NUL: no file. */
    int length =
        snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "sorafarm/card/%.60s", card);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int code = fd < 0 ? errno : 0;
    if (!code && bind(fd, (const struct sockaddr *)&address, size))
        code = errno;
    if (!code) {
        *out_fd = fd;
        return SORA_OK;
    }
    if (fd >= 0)
        close(fd);
    if (code == EADDRINUSE)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "another sorad of this machine offers the card %.24s; it is offered "
                              "here when that one has ended",
                              card);
    return sora_fault_set(fault, SORA_E_IO, "the card %.24s cannot be claimed: %s", card,
                          strerror(code));
}
