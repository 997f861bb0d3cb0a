/* Getting a blob from the daemon, range by range. */
#include "ctl/client.h"

#include "base/files.h"
#include "proto/blob_store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define RANGE_BYTES ((uint64_t)4 << 20)
#define STALL_SECONDS 20.0

struct download {
    const unsigned char *digest;
    uint64_t size, done, asked; /* done: bytes written; asked: end of the last range asked for */
    uint64_t id;
    int fd;
};

static int ask(struct sora_client *client, struct download *download, struct sora_fault *fault)
{
    uint64_t left = download->size - download->done;
    Farm__BlobGet get = FARM__BLOB_GET__INIT;
    get.digest = (ProtobufCBinaryData){SORA_DIGEST_SIZE, (uint8_t *)(uintptr_t)download->digest};
    get.offset = download->done;
    get.size = (uint32_t)(left < RANGE_BYTES ? left : RANGE_BYTES);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_BLOB_GET;
    message.blob_get = &get;
    int error = sora_client_send(client, &message, &download->id, fault);
    download->asked = download->done + get.size;
    return error;
}

static int write_chunk(struct download *download, const struct sora_link_event *event,
                       struct sora_fault *fault)
{
    const unsigned char *bytes = event->payload;
    size_t left = event->payload_size;
    if (left > download->asked - download->done)
        return sora_fault_set(fault, SORA_E_FORMAT, "the daemon sent more than was asked for");
    while (left > 0) {
        ssize_t written = pwrite(download->fd, bytes, left, (off_t)download->done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return sora_file_fault(fault, errno, "write", "the output file");
        bytes += written;
        left -= (size_t)written;
        download->done += (uint64_t)written;
    }
    return 0;
}

/* Takes one message: 1 when it moved the download on. */
static int take(struct download *download, const struct sora_link_event *event,
                struct sora_fault *fault)
{
    const Farm__Message *message = event->message;
    if (message->body_case == FARM__MESSAGE__BODY_REFUSAL && message->reply_to == download->id)
        return sora_fault_set(fault,
                              message->refusal->code < 0 ? message->refusal->code : SORA_E_IO, "%s",
                              message->refusal->text);
    if (message->body_case != FARM__MESSAGE__BODY_BLOB_CHUNK ||
        memcmp(message->blob_chunk->digest.data, download->digest, SORA_DIGEST_SIZE) != 0 ||
        message->blob_chunk->offset != download->done)
        return 0;
    int error = write_chunk(download, event, fault);
    return error ? error : 1;
}

int sora_client_download(struct sora_client *client, const unsigned char *digest, uint64_t size,
                         int fd, const char *path, sora_client_progress progress, void *context,
                         struct sora_fault *fault)
{
    struct download download = {.digest = digest, .size = size, .fd = fd};
    while (download.done < size) {
        int got = 0;
        if (download.done == download.asked && (got = ask(client, &download, fault)) != 0)
            return got;
        struct sora_link_event event;
        got = sora_client_next(client, STALL_SECONDS, &event, fault);
        if (got == 0)
            return sora_fault_set(fault, SORA_E_TIMEOUT, "sorad stopped sending after %llu bytes",
                                  (unsigned long long)download.done);
        if (got == SORA_E_STALE)
            download.asked = download.done;
        else if (got < 0 || (got = take(&download, &event, fault)) < 0)
            return got;
        else if (got == 1 && progress)
            progress(context, download.done, size);
    }
    struct sora_blob found;
    int error = sora_blob_of_file(path, &found, fault);
    if (!error && memcmp(found.digest.bytes, digest, SORA_DIGEST_SIZE) != 0)
        error = sora_fault_set(fault, SORA_E_FORMAT, "what came has another digest; try again");
    return error;
}
