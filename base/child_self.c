/* The receiving of frames, for both ends, and the child's blocking side. */
#include "base/child_frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A payload buffer beyond this is given back when the next frame begins. */
#define KEPT_CAPACITY_MAX ((size_t)4 << 20)

void sora_child_intake_fini(struct sora_child_intake *intake)
{
    free(intake->payload);
    intake->payload = NULL;
    intake->payload_capacity = 0;
    intake->got = 0;
}

static int check_header(const struct sora_child_frame *header, struct sora_fault *fault)
{
    if (header->magic != SORA_CHILD_FRAME_MAGIC)
        return sora_fault_set(fault, SORA_E_FORMAT, "the stream holds something else than frames");
    if (header->head_size > SORA_CHILD_HEAD_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "a frame of kind %u has a head of %llu bytes, at most %d are allowed",
                              header->kind, (unsigned long long)header->head_size,
                              SORA_CHILD_HEAD_MAX);
    if (header->payload_size > SORA_CHILD_PAYLOAD_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "a frame of kind %u has a payload of %llu bytes, at most %zu are "
                              "allowed",
                              header->kind, (unsigned long long)header->payload_size,
                              SORA_CHILD_PAYLOAD_MAX);
    return 0;
}

static int make_room(struct sora_child_intake *intake, struct sora_fault *fault)
{
    size_t size = (size_t)intake->header.payload_size;
    if (size <= intake->payload_capacity)
        return 0;
    free(intake->payload);
    intake->payload = malloc(size);
    intake->payload_capacity = intake->payload ? size : 0;
    return intake->payload ? 0
                           : sora_fault_set(fault, SORA_E_MEMORY,
                                            "out of memory for a frame of %zu bytes", size);
}

/* Where the next bytes go, and how many are still wanted there. 0 wanted: the frame is whole. */
static unsigned char *next_place(struct sora_child_intake *intake, size_t *out_wanted)
{
    size_t at = intake->got, size = sizeof(intake->header);
    if (at < size) {
        *out_wanted = size - at;
        return (unsigned char *)&intake->header + at;
    }
    at -= size;
    size = (size_t)intake->header.head_size;
    if (at < size) {
        *out_wanted = size - at;
        return intake->head + at;
    }
    at -= size;
    *out_wanted = (size_t)intake->header.payload_size - at;
    return intake->payload ? intake->payload + at : intake->head;
}

static void begin_frame(struct sora_child_intake *intake)
{
    if (intake->payload_capacity > KEPT_CAPACITY_MAX)
        sora_child_intake_fini(intake);
    intake->got = 0;
}

/* Counts bytes that came; the header says how much room the rest needs. */
static int take_bytes(struct sora_child_intake *intake, size_t count, struct sora_fault *fault)
{
    intake->got += count;
    if (intake->got != sizeof(intake->header))
        return SORA_OK;
    int error = check_header(&intake->header, fault);
    return error ? error : make_room(intake, fault);
}

int sora_child_intake_read(struct sora_child_intake *intake, int fd, int flags,
                           struct sora_frame *out_frame, struct sora_fault *fault)
{
    size_t wanted;
    unsigned char *place = next_place(intake, &wanted);
    if (intake->got >= sizeof(intake->header) && wanted == 0) { /* handed out by the last call */
        begin_frame(intake);
        place = next_place(intake, &wanted);
    }
    while (wanted > 0) {
        ssize_t count = recv(fd, place, wanted, flags);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (count == 0 || (count < 0 && errno == ECONNRESET))
            return SORA_CHILD_INTAKE_END;
        if (count < 0)
            return sora_fault_set(fault, SORA_E_IO, "cannot read from the stream: %s",
                                  strerror(errno));
        int error = take_bytes(intake, (size_t)count, fault);
        if (error)
            return error;
        place = next_place(intake, &wanted);
    }
    *out_frame = (struct sora_frame){
        .kind = intake->header.kind,
        .head = intake->head,
        .head_size = (size_t)intake->header.head_size,
        .payload = intake->header.payload_size ? intake->payload : NULL,
        .payload_size = (size_t)intake->header.payload_size,
    };
    return 1;
}

/* ---- in the child: one stream, one thread ---- */

static struct sora_child_intake self_intake;

bool sora_child_self_present(void)
{
    struct stat status;
    return fstat(SORA_CHILD_DESCRIPTOR, &status) == 0 && S_ISSOCK(status.st_mode);
}

int sora_child_self_receive(struct sora_frame *out_frame, struct sora_fault *fault)
{
    int rc = sora_child_intake_read(&self_intake, SORA_CHILD_DESCRIPTOR, 0, out_frame, fault);
    if (rc == 0)
        return sora_fault_set(fault, SORA_E_IO, "the stream to the parent does not block");
    return rc == SORA_CHILD_INTAKE_END ? 0 : rc;
}

static int send_all(const void *data, size_t size)
{
    const unsigned char *from = data;
    while (size > 0) {
        ssize_t count = send(SORA_CHILD_DESCRIPTOR, from, size, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return SORA_E_IO;
        from += count;
        size -= (size_t)count;
    }
    return 0;
}

int sora_child_self_send(const struct sora_frame *frame)
{
    if (frame->head_size > SORA_CHILD_HEAD_MAX || frame->payload_size > SORA_CHILD_PAYLOAD_MAX)
        return SORA_E_LIMIT;
    const struct sora_child_frame header = {SORA_CHILD_FRAME_MAGIC, frame->kind, frame->head_size,
                                            frame->payload_size};
    int error = send_all(&header, sizeof(header));
    if (!error)
        error = send_all(frame->head, frame->head_size);
    if (!error)
        error = send_all(frame->payload, frame->payload_size);
    return error;
}
