/*
 * The bytes of a frame between parent and child (base/child.c and base/child_self.c only): this
 * header in the machine's own byte order, then the head, then the payload. Both ends are the same
 * build, so nothing is converted.
 */
#ifndef SORA_BASE_CHILD_FRAME_H
#define SORA_BASE_CHILD_FRAME_H

#include "base/child.h"

#define SORA_CHILD_FRAME_MAGIC UINT32_C(0x666f7261)
#define SORA_CHILD_DESCRIPTOR 3 /* in the child */

struct sora_child_frame {
    uint32_t magic;
    uint32_t kind;
    uint64_t head_size, payload_size;
};

/* A frame that is being received. All-zero to begin with; the user owns it. */
struct sora_child_intake {
    struct sora_child_frame header;
    size_t got; /* bytes of header, head and payload so far */
    _Alignas(16) unsigned char head[SORA_CHILD_HEAD_MAX];
    unsigned char *payload; /* owned, malloc's alignment is 16 */
    size_t payload_capacity;
};

/* Reads what there is from `fd` with the recv flags given. 1: a whole frame, valid until the next
 * call; 0: would block; SORA_CHILD_INTAKE_END: the other end closed, between frames or within one;
 * negative: malformed, MEMORY, or IO. */
#define SORA_CHILD_INTAKE_END 2
int sora_child_intake_read(struct sora_child_intake *intake, int fd, int flags,
                           struct sora_frame *out_frame, struct sora_fault *fault);
void sora_child_intake_fini(struct sora_child_intake *intake);

#endif
