/* Segments: whatever a member sends, the reader gives whole frames or an error, in bounded memory.
 */
#include "media/segment.h"

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WIDTH = 32, HEIGHT = 32, FRAMES_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t rgb[WIDTH * HEIGHT * 3];
    char path[64];
    struct sora_segment_reader *reader = NULL;
    struct sora_fault fault = {0};
    int fd = memfd_create("segment", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return close(fd);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = sora_segment_reader_open(path, WIDTH, HEIGHT, &reader, &fault);
    for (int i = 0; !rc && i < FRAMES_MAX; i++) {
        int got = sora_segment_reader_next(reader, rgb, &fault);
        if (got <= 0)
            rc = got ? got : 1;
    }
    SORA_ASSERT(rc >= 0 || fault.text[0]);
    sora_segment_reader_close(&reader);
    close(fd);
    return 0;
}
