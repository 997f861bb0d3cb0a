/* Planes are copied one by one, channel by channel: memory does not grow with the timeline. */
#include "node/assemble_latents.h"

#include "base/files.h"
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDE_MAX 65536
#define HEADER_SIZE 512

struct sora_assemble_piece {
    char *path; /* owned */
    struct sora_assembly_latents range;
};

static int check_range(const struct sora_assemble_latents *latents,
                       const struct sora_assembly_latents *piece, struct sora_fault *fault)
{
    int32_t take = 0, next = 0;
    if (latents->count > 0) {
        take = latents->pieces[latents->count - 1].range.take;
        next = latents->pieces[latents->count - 1].range.end;
    }
    bool follows = piece->take == take
                       ? piece->first == next
                       : piece->take == take + 1 && latents->count > 0 && piece->first == 0;
    if (!follows || piece->end <= piece->first || piece->skip < 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "assembly: latents %d to %d of take %d after latent %d of take %d",
                              piece->first, piece->end, piece->take, next, take);
    return 0;
}

int sora_assemble_latents_add(struct sora_assemble_latents *latents, const char *path,
                              const struct sora_assembly_latents *piece, struct sora_fault *fault)
{
    int error = check_range(latents, piece, fault);
    if (error)
        return error;
    if (latents->count == SORA_ASSEMBLE_PIECES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "assembly: more than %d pieces of latents",
                              SORA_ASSEMBLE_PIECES_MAX);
    if (latents->count == latents->capacity) {
        int capacity = latents->capacity ? 2 * latents->capacity : 16;
        struct sora_assemble_piece *pieces =
            realloc(latents->pieces, (size_t)capacity * sizeof(*pieces));
        if (!pieces)
            return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for latents");
        latents->pieces = pieces;
        latents->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for latents");
    latents->pieces[latents->count++] = (struct sora_assemble_piece){copy, *piece};
    return 0;
}

void sora_assemble_latents_fini(struct sora_assemble_latents *latents)
{
    for (int i = 0; i < latents->count; i++)
        free(latents->pieces[i].path);
    free(latents->pieces);
    latents->pieces = NULL;
    latents->count = latents->capacity = 0;
}

/* ---- the file ---- */

static int check_shape(const struct sora_assemble_latents *latents, struct sora_fault *fault)
{
    const int32_t sides[] = {latents->channels, latents->height, latents->width};
    for (int i = 0; i < 3; i++) {
        if (sides[i] < 1 || sides[i] > SIDE_MAX)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "assembly: latents of %dx%dx%d; each must be 1 to %d", sides[0],
                                  sides[1], sides[2], SIDE_MAX);
    }
    return 0;
}

static int write_header(const struct sora_assemble_latents *latents, struct sora_file_part *part,
                        struct sora_fault *fault)
{
    int64_t count = 0;
    for (int i = 0; i < latents->count; i++)
        count += latents->pieces[i].range.end - latents->pieces[i].range.first;
    const int64_t shape[4] = {latents->channels, count, latents->height, latents->width};
    char text[HEADER_SIZE], shape_text[SORA_SHAPE_TEXT_SIZE];
    int length =
        snprintf(text, sizeof(text),
                 "{\"latents\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%" PRId64 "]}}",
                 sora_shape_text(4, shape, shape_text, sizeof(shape_text)),
                 shape[0] * shape[1] * shape[2] * shape[3] * 4);
    SORA_ASSERT(length > 0 && length + 8 < HEADER_SIZE);
    while (length % 8 != 0)
        text[length++] = ' ';
    uint64_t size = (uint64_t)length;
    int error = sora_file_part_write(part, &size, sizeof(size), fault);
    return error ? error : sora_file_part_write(part, text, (size_t)length, fault);
}

static int read_at(int fd, const char *path, void *out_data, size_t size, int64_t offset,
                   struct sora_fault *fault)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, (char *)out_data + done, size - done, offset + (int64_t)done);
        if (got < 0 && errno != EINTR)
            return sora_file_fault(fault, errno, "read", path);
        if (got == 0)
            return sora_fault_set(fault, SORA_E_FORMAT, "%s holds fewer latents than it should",
                                  path);
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

/* Copies channel `channel` of one piece's latents. */
static int copy_planes(const struct sora_assemble_latents *latents, int index, int channel,
                       void *plane, struct sora_file_part *part, struct sora_fault *fault)
{
    const struct sora_assemble_piece *piece = &latents->pieces[index];
    size_t plane_size = (size_t)latents->height * (size_t)latents->width * sizeof(float);
    int64_t latent_size = (int64_t)plane_size * latents->channels;
    int fd = open(piece->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sora_file_fault(fault, errno, "read", piece->path);
    int error = 0;
    for (int32_t i = piece->range.first; !error && i < piece->range.end; i++) {
        int64_t at = (int64_t)piece->range.skip + i - piece->range.first;
        error = read_at(fd, piece->path, plane, plane_size,
                        at * latent_size + (int64_t)channel * (int64_t)plane_size, fault);
        if (!error)
            error = sora_file_part_write(part, plane, plane_size, fault);
    }
    close(fd);
    return error;
}

int sora_assemble_latents_write(const struct sora_assemble_latents *latents, const char *path,
                                struct sora_fault *fault)
{
    struct sora_file_part part = {0};
    int error = check_shape(latents, fault);
    if (error)
        return error;
    void *plane = malloc((size_t)latents->height * (size_t)latents->width * sizeof(float));
    if (!plane)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for latents");
    error = sora_file_part_open(path, &part, fault);
    if (!error)
        error = write_header(latents, &part, fault);
    for (int channel = 0; !error && channel < latents->channels; channel++) {
        for (int i = 0; !error && i < latents->count; i++)
            error = copy_planes(latents, i, channel, plane, &part, fault);
    }
    if (!error)
        error = sora_file_part_publish(&part, fault);
    else
        sora_file_part_discard(&part);
    free(plane);
    return error;
}
