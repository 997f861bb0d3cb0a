/* Checkpoints: finding the files of a component, mapping them, and one table of tensors sorted by
 * name over all of them. */
#include "model/checkpoint.h"

#include "model/json_text.h"
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const file_stems[] = {"diffusion_pytorch_model", "model"};

static const struct sora_json_limits index_limits = {
    .size_max = SORA_SAFETENSORS_HEADER_SIZE_MAX,
    .depth_max = 4,
    .value_max = (size_t)SORA_SAFETENSORS_TENSORS_MAX * 2 + 4096,
};

struct mapped_file {
    char *path;
    void *data;
    size_t size;
    struct sora_safetensors table;
};

struct sora_checkpoint {
    struct mapped_file *files;
    int file_count;
    struct sora_checkpoint_entry *entries; /* sorted by name */
    int count;
};

/* ---- one file ---- */

static int file_read_header(int fd, const char *path, uint64_t file_size, char **out_bytes,
                            size_t *out_size, struct sora_fault *fault)
{
    const char *label = sora_path_tail(path);
    unsigned char length[8];
    ssize_t count = pread(fd, length, sizeof(length), 0);
    if (count < 0)
        return sora_fault_set(fault, SORA_E_IO, "%s: read failed: %s", label, strerror(errno));
    size_t size = 0;
    int rc = sora_safetensors_header_size(length, (size_t)count, file_size, label, &size, fault);
    if (rc)
        return rc;
    char *bytes = malloc(size);
    if (!bytes)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    for (size_t done = 0; done < size; done += (size_t)count) {
        count = pread(fd, bytes + done, size - done, (off_t)done);
        if (count < 0 && errno == EINTR)
            count = 0;
        else if (count <= 0) {
            free(bytes);
            return sora_fault_set(fault, SORA_E_IO, "%s: read failed: %s", label,
                                  count ? strerror(errno) : "the file became shorter");
        }
    }
    *out_bytes = bytes;
    *out_size = size;
    return SORA_OK;
}

/* Maps `fd`; the file must still have the size that the header was checked against. */
static int file_map(int fd, struct mapped_file *file, const struct stat *before,
                    struct sora_fault *fault)
{
    const char *label = sora_path_tail(file->path);
    void *data = mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return sora_fault_set(fault, sora_error_from_errno(errno), "%s: cannot be mapped: %s",
                              label, strerror(errno));
    file->data = data;
    struct stat after;
    if (fstat(fd, &after) != 0 || after.st_size != before->st_size ||
        after.st_mtim.tv_sec != before->st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
        return sora_fault_set(fault, SORA_E_IO, "%s: changed while it was opened", label);
    return SORA_OK;
}

static int file_open_fd(int fd, struct mapped_file *file, struct sora_fault *fault)
{
    const char *label = sora_path_tail(file->path);
    struct stat status;
    if (fstat(fd, &status) != 0)
        return sora_fault_set(fault, SORA_E_IO, "%s: %s", label, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: is not a regular file", label);
    if ((uintmax_t)status.st_size > SIZE_MAX / 2)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: is too large to map", label);
    file->size = (size_t)status.st_size;
    char *header = NULL;
    size_t header_size = 0;
    int rc = file_read_header(fd, file->path, file->size, &header, &header_size, fault);
    if (rc)
        return rc;
    rc = sora_safetensors_parse(header, header_size, file->size, label, &file->table, fault);
    free(header);
    return rc ? rc : file_map(fd, file, &status, fault);
}

/* Takes `path` in every case. What was opened before an error stays in `file` for the destroyer. */
static int file_open(struct mapped_file *file, char *path, struct sora_fault *fault)
{
    file->path = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sora_fault_set(fault, sora_error_from_errno(errno), "%s: cannot be opened: %s",
                              sora_path_tail(path), strerror(errno));
    int rc = file_open_fd(fd, file, fault);
    close(fd);
    return rc;
}

static void file_fini(struct mapped_file *file)
{
    sora_safetensors_fini(&file->table);
    if (file->data)
        munmap(file->data, file->size);
    free(file->path);
}

/* ---- the table of entries ---- */

static int compare_name(const void *a, const void *b)
{
    const struct sora_checkpoint_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void entry_fill(struct sora_checkpoint_entry *entry, const struct mapped_file *file,
                       int file_index, const struct sora_safetensors_tensor *tensor)
{
    *entry = (struct sora_checkpoint_entry){
        .name = tensor->name,
        .type_name = tensor->type_name,
        .dtype = tensor->dtype,
        .rank = tensor->rank,
        .data = (const char *)file->data + tensor->offset,
        .size = (size_t)tensor->size,
        .file = file_index,
    };
    memcpy(entry->shape, tensor->shape, sizeof(entry->shape));
}

static int checkpoint_build_entries(struct sora_checkpoint *checkpoint, const char *dir,
                                    struct sora_fault *fault)
{
    size_t total = 0;
    for (int i = 0; i < checkpoint->file_count; i++)
        total += (size_t)checkpoint->files[i].table.count;
    if (total > SORA_SAFETENSORS_TENSORS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: has %zu tensors; the limit is %d",
                              sora_path_tail(dir), total, SORA_SAFETENSORS_TENSORS_MAX);
    checkpoint->entries = calloc(total + 1, sizeof(*checkpoint->entries));
    if (!checkpoint->entries)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
    for (int i = 0; i < checkpoint->file_count; i++) {
        const struct mapped_file *file = &checkpoint->files[i];
        for (int j = 0; j < file->table.count; j++)
            entry_fill(&checkpoint->entries[checkpoint->count++], file, i, &file->table.tensors[j]);
    }
    qsort(checkpoint->entries, (size_t)checkpoint->count, sizeof(*checkpoint->entries),
          compare_name);
    return SORA_OK;
}

/* ---- the index of a sharded checkpoint ---- */

static const char *file_basename(const struct mapped_file *file)
{
    return strrchr(file->path, '/') + 1;
}

static bool shard_name_is_safe(const char *name)
{
    static const char suffix[] = ".safetensors";
    size_t size = strlen(name), suffix_size = sizeof(suffix) - 1;
    return size > suffix_size && size <= NAME_MAX && name[0] != '.' && !strpbrk(name, "/\\") &&
           !strstr(name, "..") && strcmp(name + size - suffix_size, suffix) == 0;
}

static int shard_find(const struct sora_checkpoint *checkpoint, const char *name)
{
    for (int i = 0; i < checkpoint->file_count; i++) {
        if (strcmp(file_basename(&checkpoint->files[i]), name) == 0)
            return i;
    }
    return -1;
}

/* Opens the shard `name` unless it is open already. */
static int shard_require(struct sora_checkpoint *checkpoint, const char *dir, const char *name,
                         struct sora_fault *fault)
{
    if (shard_find(checkpoint, name) >= 0)
        return SORA_OK;
    if (checkpoint->file_count == SORA_CHECKPOINT_FILES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s: the index names more than %d files",
                              sora_path_tail(dir), SORA_CHECKPOINT_FILES_MAX);
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
    return file_open(&checkpoint->files[checkpoint->file_count++], path, fault);
}

static int index_open_shards(struct sora_checkpoint *checkpoint, const char *dir, json_t *map,
                             const char *label, struct sora_fault *fault)
{
    checkpoint->files = calloc(SORA_CHECKPOINT_FILES_MAX, sizeof(*checkpoint->files));
    if (!checkpoint->files)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", label);
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !shard_name_is_safe(name))
            return sora_fault_set(fault, SORA_E_FORMAT,
                                  "%s: tensor %.100s is placed in \"%.100s\"; expected the name of "
                                  "a .safetensors file in the same folder",
                                  label, tensor, name ? name : "(not a string)");
        int rc = shard_require(checkpoint, dir, name, fault);
        if (rc)
            return rc;
    }
    return SORA_OK;
}

/* Both ways: no tensor only in the index, none only in a shard. */
static int index_check_members(const struct sora_checkpoint *checkpoint, json_t *map,
                               const char *label, struct sora_fault *fault)
{
    size_t present = 0;
    for (int i = 0; i < checkpoint->file_count; i++) {
        const struct mapped_file *file = &checkpoint->files[i];
        for (int j = 0; j < file->table.count; j++) {
            const char *tensor = file->table.tensors[j].name;
            const char *listed = json_string_value(json_object_get(map, tensor));
            if (!listed || strcmp(listed, file_basename(file)) != 0)
                return sora_fault_set(fault, SORA_E_FORMAT,
                                      "%s: tensor %.100s is in %.100s but the index says %.100s",
                                      label, tensor, file_basename(file),
                                      listed ? listed : "nothing of it");
            present++;
        }
    }
    if (present == json_object_size(map))
        return SORA_OK;
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        if (!sora_checkpoint_find(checkpoint, tensor))
            return sora_fault_set(
                fault, SORA_E_FORMAT,
                "%s: tensor %.100s is missing from %.100s, where the index has it", label, tensor,
                json_string_value(value));
    }
    return SORA_OK;
}

static int index_open_map(struct sora_checkpoint *checkpoint, const char *dir, json_t *index,
                          const char *label, struct sora_fault *fault)
{
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        return sora_fault_set(fault, SORA_E_FORMAT, "%s: has no weight_map object", label);
    int rc = index_open_shards(checkpoint, dir, map, label, fault);
    if (!rc)
        rc = checkpoint_build_entries(checkpoint, dir, fault);
    return rc ? rc : index_check_members(checkpoint, map, label, fault);
}

static int checkpoint_open_index(struct sora_checkpoint *checkpoint, const char *dir,
                                 const char *path, struct sora_fault *fault)
{
    json_t *index = NULL;
    int rc = sora_json_read_file(path, &index_limits, &index, fault);
    if (rc)
        return rc;
    rc = index_open_map(checkpoint, dir, index, sora_path_tail(path), fault);
    json_decref(index);
    return rc;
}

static int checkpoint_open_single(struct sora_checkpoint *checkpoint, const char *dir, char **path,
                                  struct sora_fault *fault)
{
    checkpoint->files = calloc(1, sizeof(*checkpoint->files));
    if (!checkpoint->files)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
    checkpoint->file_count = 1;
    int rc = file_open(&checkpoint->files[0], *path, fault);
    *path = NULL;
    return rc ? rc : checkpoint_build_entries(checkpoint, dir, fault);
}

/* ---- opening ---- */

/* Tries the single file and then the index of each known stem; the first that exists decides. */
static int checkpoint_open_found(struct sora_checkpoint *checkpoint, const char *dir,
                                 struct sora_fault *fault)
{
    for (size_t i = 0; i < 2 * sizeof(file_stems) / sizeof(file_stems[0]); i++) {
        bool is_index = i % 2;
        char *path = NULL;
        if (asprintf(&path, "%s/%s.safetensors%s", dir, file_stems[i / 2],
                     is_index ? ".index.json" : "") < 0)
            return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
        struct stat status;
        if (lstat(path, &status) != 0) {
            free(path);
            continue;
        }
        int rc = is_index ? checkpoint_open_index(checkpoint, dir, path, fault)
                          : checkpoint_open_single(checkpoint, dir, &path, fault);
        free(path);
        return rc;
    }
    return sora_fault_set(fault, SORA_E_NOT_FOUND,
                          "%s: has no weights: expected %s.safetensors or %s.safetensors, or their "
                          ".index.json",
                          sora_path_tail(dir), file_stems[0], file_stems[1]);
}

int sora_checkpoint_open(const char *dir, struct sora_checkpoint **out_checkpoint,
                         struct sora_fault *fault)
{
    struct sora_checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));
    if (!checkpoint)
        return sora_fault_set(fault, SORA_E_MEMORY, "%s: out of memory", sora_path_tail(dir));
    int rc = checkpoint_open_found(checkpoint, dir, fault);
    if (rc) {
        sora_checkpoint_destroy(&checkpoint);
        return rc;
    }
    *out_checkpoint = checkpoint;
    return SORA_OK;
}

void sora_checkpoint_destroy(struct sora_checkpoint **checkpoint)
{
    if (!checkpoint || !*checkpoint)
        return;
    for (int i = 0; i < (*checkpoint)->file_count; i++)
        file_fini(&(*checkpoint)->files[i]);
    free((*checkpoint)->files);
    free((*checkpoint)->entries);
    free(*checkpoint);
    *checkpoint = NULL;
}

/* ---- reading ---- */

int sora_checkpoint_count(const struct sora_checkpoint *checkpoint)
{
    return checkpoint->count;
}

const struct sora_checkpoint_entry *sora_checkpoint_at(const struct sora_checkpoint *checkpoint,
                                                       int index)
{
    SORA_ASSERT(index >= 0 && index < checkpoint->count);
    return &checkpoint->entries[index];
}

const struct sora_checkpoint_entry *sora_checkpoint_find(const struct sora_checkpoint *checkpoint,
                                                         const char *name)
{
    struct sora_checkpoint_entry key = {.name = name};
    return bsearch(&key, checkpoint->entries, (size_t)checkpoint->count, sizeof(key), compare_name);
}

int sora_checkpoint_file_count(const struct sora_checkpoint *checkpoint)
{
    return checkpoint->file_count;
}

struct sora_checkpoint_file sora_checkpoint_file(const struct sora_checkpoint *checkpoint,
                                                 int index)
{
    SORA_ASSERT(index >= 0 && index < checkpoint->file_count);
    const struct mapped_file *file = &checkpoint->files[index];
    return (struct sora_checkpoint_file){file->path, file->data, file->size};
}

uint64_t sora_checkpoint_size(const struct sora_checkpoint *checkpoint)
{
    uint64_t size = 0;
    for (int i = 0; i < checkpoint->file_count; i++)
        size += checkpoint->files[i].size;
    return size;
}

void sora_checkpoint_release_pages(const struct sora_checkpoint *checkpoint)
{
    for (int i = 0; i < checkpoint->file_count; i++)
        madvise(checkpoint->files[i].data, checkpoint->files[i].size, MADV_DONTNEED);
}

/* ---- the search for values that are not finite ---- */

static bool all_finite_16(const unsigned char *data, size_t size, uint16_t exponent)
{
    for (size_t i = 0; i + 2 <= size; i += 2) {
        uint16_t bits;
        memcpy(&bits, data + i, sizeof(bits));
        if ((bits & exponent) == exponent)
            return false;
    }
    return true;
}

static bool all_finite_32(const unsigned char *data, size_t size)
{
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t bits;
        memcpy(&bits, data + i, sizeof(bits));
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return false;
    }
    return true;
}

static bool tensor_is_finite(const void *data, size_t size, enum sora_dtype dtype)
{
    switch (dtype) {
    case SORA_DTYPE_F32:
        return all_finite_32(data, size);
    case SORA_DTYPE_F16:
        return all_finite_16(data, size, 0x7c00);
    case SORA_DTYPE_BF16:
        return all_finite_16(data, size, 0x7f80);
    default:
        return true;
    }
}

const struct sora_checkpoint_entry *
sora_checkpoint_find_nonfinite(const struct sora_checkpoint *checkpoint)
{
    for (int i = 0; i < checkpoint->file_count; i++) {
        const struct mapped_file *file = &checkpoint->files[i];
        for (int j = 0; j < file->table.count; j++) {
            const struct sora_safetensors_tensor *tensor = &file->table.tensors[j];
            const unsigned char *data = (const unsigned char *)file->data + tensor->offset;
            if (!tensor_is_finite(data, (size_t)tensor->size, tensor->dtype))
                return sora_checkpoint_find(checkpoint, tensor->name);
        }
    }
    return NULL;
}
