/* Writes of whole buffers; a failed one shows in the context's `error`. */
#include "media/av_sink.h"

#include <libavutil/error.h>
#include <libavutil/mem.h>

#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_SIZE 65536

static int descriptor(void *opaque)
{
    return (int)(intptr_t)opaque;
}

static int io_write(void *opaque, uint8_t *data, int size)
{
    for (int done = 0; done < size;) {
        ssize_t put = write(descriptor(opaque), data + done, (size_t)(size - done));
        if (put < 0 && errno != EINTR)
            return AVERROR(errno);
        if (put > 0)
            done += (int)put;
    }
    return size;
}

static int64_t io_seek(void *opaque, int64_t offset, int whence)
{
    if (whence == AVSEEK_SIZE) {
        struct stat status;
        return fstat(descriptor(opaque), &status) == 0 ? status.st_size : AVERROR(errno);
    }
    off_t place = lseek(descriptor(opaque), offset, whence & ~AVSEEK_FORCE);
    return place < 0 ? AVERROR(errno) : place;
}

AVIOContext *sora_av_sink_create(int fd, bool seekable)
{
    unsigned char *buffer = av_malloc(IO_SIZE);
    AVIOContext *sink = buffer ? avio_alloc_context(buffer, IO_SIZE, 1, (void *)(intptr_t)fd, NULL,
                                                    io_write, seekable ? io_seek : NULL)
                               : NULL;
    if (!sink)
        av_free(buffer);
    return sink;
}

int sora_av_sink_destroy(AVIOContext **sink)
{
    if (!*sink)
        return 0;
    avio_flush(*sink);
    int error = (*sink)->error;
    av_freep(&(*sink)->buffer);
    avio_context_free(sink);
    return error;
}
