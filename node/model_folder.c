/*
 * Walking a model's folder with descriptors, so that no name is followed out of it but links that
 * may be (model_folder.h), and those by their real path.
 */
#include "node/model_folder.h"

#include "base/files.h"
#include "node/model_facts.h"
#include "proto/model_manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8
#define ENTRIES_MAX 16384 /* looked at in one folder */
#define NAME_SIZE 257     /* of a path in the manifest, with its NUL */
#define MANIFEST_NAME ".manifest"

static const char *const endings[] = {".safetensors", ".json", ".model", ".yaml", ".txt", ".md"};

static bool is_model_file(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcmp(name + length - ending, endings[i]) == 0)
            return true;
    }
    return false;
}

/* ---- links ---- */

/* Cuts the last part off; where it begins. */
static const char *cut_last(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return "";
    *slash = '\0';
    return slash + 1;
}

int sora_model_folder_reach(const char *path, char out_path[SORA_FILE_PATH_SIZE],
                            struct sora_fault *fault)
{
    char real[PATH_MAX], repository[PATH_MAX];
    if (!realpath(path, real))
        return sora_file_fault(fault, errno, "read", path);
    memcpy(repository, real, sizeof(repository));
    cut_last(repository); /* the revision */
    bool snapshot = strcmp(cut_last(repository), "snapshots") == 0;
    const char *name = strrchr(repository, '/');
    snapshot = snapshot && name && strncmp(name, "/models--", 9) == 0;
    snprintf(out_path, SORA_FILE_PATH_SIZE, "%s", snapshot ? repository : real);
    return SORA_OK;
}

/* ---- scanning ---- */

struct scan {
    const char *root;
    char reach[SORA_FILE_PATH_SIZE]; /* links may lead below it */
    struct sora_digest_cache *cache; /* NULL: links are checked, no file is read */
    struct sora_model_file files[SORA_MODEL_FILES_MAX]; /* paths owned */
    size_t count;
    struct sora_fault *fault;
};

static int scan_folder(struct scan *scan, int fd, const char *inside, int depth);

/* `path` is where it really is. */
static int add_file(struct scan *scan, const char *inside, const char *path)
{
    if (!scan->cache)
        return SORA_OK;
    if (scan->count == SORA_MODEL_FILES_MAX)
        return sora_fault_set(scan->fault, SORA_E_LIMIT,
                              "%s has more than %d files; is it a model's folder?", scan->root,
                              SORA_MODEL_FILES_MAX);
    struct sora_blob blob;
    int rc = sora_digest_cache_get(scan->cache, path, &blob, scan->fault);
    if (rc)
        return rc;
    struct sora_model_file *file = &scan->files[scan->count];
    file->path = strdup(inside);
    if (!file->path)
        return sora_fault_set(scan->fault, SORA_E_MEMORY, "not enough memory for %s", path);
    memcpy(file->digest, blob.digest.bytes, sizeof(file->digest));
    file->size = blob.size;
    scan->count++;
    return SORA_OK;
}

static int refuse_link(struct scan *scan, const char *path, const char *what)
{
    return sora_fault_set(scan->fault, SORA_E_INVALID,
                          "%s is a symbolic link %s; put the file itself there (cp -rL makes a "
                          "copy of a folder without links)",
                          path, what);
}

static int add_link(struct scan *scan, const char *inside, const char *path)
{
    char real[PATH_MAX];
    struct stat status;
    size_t length = strlen(scan->reach);
    bool leads = realpath(path, real) && stat(real, &status) == 0;
    if (leads && S_ISDIR(status.st_mode))
        return refuse_link(scan, path, "to a folder");
    if (!is_model_file(inside))
        return SORA_OK;
    if (!leads)
        return refuse_link(scan, path, "that leads nowhere");
    if (strncmp(real, scan->reach, length) != 0 || real[length] != '/')
        return refuse_link(scan, path, "that leads out of the model's folder");
    return S_ISREG(status.st_mode) ? add_file(scan, inside, real) : SORA_OK;
}

static int add_folder(struct scan *scan, int parent, const char *name, const char *inside,
                      int depth)
{
    if (depth == DEPTH_MAX)
        return sora_fault_set(scan->fault, SORA_E_LIMIT,
                              "%s/%s is deeper than %d folders; is it a model's folder?",
                              scan->root, inside, DEPTH_MAX);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return sora_file_fault(scan->fault, errno, "read", inside);
    return scan_folder(scan, fd, inside, depth + 1);
}

static int add_entry(struct scan *scan, int fd, const char *folder, const char *name, int depth)
{
    char inside[NAME_SIZE];
    struct stat status;
    if (name[0] == '.' || fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return SORA_OK;
    int length = snprintf(inside, sizeof(inside), "%s%s%s", folder, *folder ? "/" : "", name);
    if (!S_ISDIR(status.st_mode) && !is_model_file(name) && !S_ISLNK(status.st_mode))
        return SORA_OK;
    if (length >= (int)sizeof(inside))
        return sora_fault_set(scan->fault, SORA_E_LIMIT, "%s/%s/%s: names have at most %d bytes",
                              scan->root, folder, name, NAME_SIZE - 1);
    if (S_ISDIR(status.st_mode))
        return add_folder(scan, fd, name, inside, depth);
    char path[SORA_FILE_PATH_SIZE];
    if (snprintf(path, sizeof(path), "%s/%s", scan->root, inside) >= (int)sizeof(path))
        return sora_fault_set(scan->fault, SORA_E_LIMIT, "the path of %s is too long", inside);
    if (S_ISLNK(status.st_mode))
        return add_link(scan, inside, path);
    return S_ISREG(status.st_mode) ? add_file(scan, inside, path) : SORA_OK;
}

/* Takes `fd`. */
static int scan_folder(struct scan *scan, int fd, const char *inside, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return sora_fault_set(scan->fault, SORA_E_MEMORY, "not enough memory to read a folder");
    }
    int rc = SORA_OK, seen = 0;
    for (struct dirent *item; rc == SORA_OK && (item = readdir(dir));) {
        rc = add_entry(scan, fd, inside, item->d_name, depth);
        if (rc == SORA_OK && ++seen > ENTRIES_MAX)
            rc = sora_fault_set(scan->fault, SORA_E_LIMIT,
                                "%s/%s has more than %d entries; is it a model's folder?",
                                scan->root, inside, ENTRIES_MAX);
    }
    closedir(dir);
    return rc;
}

static int pack(const struct scan *scan, struct sora_bytes *manifest)
{
    struct sora_bundle bundle;
    int rc = sora_bundle_open(scan->root, &bundle, scan->fault);
    if (rc)
        return rc;
    struct sora_model_facts facts;
    rc = sora_model_facts_read(&bundle, &facts, scan->fault);
    if (rc == SORA_OK)
        rc = sora_model_manifest_pack(facts.name, &facts, scan->files, scan->count, manifest,
                                      scan->fault);
    sora_bundle_fini(&bundle);
    return rc;
}

int sora_model_folder_scan(const char *path, struct sora_digest_cache *cache,
                           struct sora_bytes *manifest, struct sora_fault *fault)
{
    struct scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to read a folder");
    scan->root = path;
    scan->cache = cache;
    scan->fault = fault;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? sora_file_fault(fault, errno, "read", path)
                    : sora_model_folder_reach(path, scan->reach, fault);
    if (rc == SORA_OK)
        rc = scan_folder(scan, fd, "", 0);
    else if (fd >= 0)
        close(fd);
    if (rc == SORA_OK && manifest)
        rc = pack(scan, manifest);
    for (size_t i = 0; i < scan->count; i++)
        free((char *)(uintptr_t)scan->files[i].path);
    free(scan);
    return rc;
}

int sora_model_folder_check_links(const char *path, struct sora_fault *fault)
{
    return sora_model_folder_scan(path, NULL, NULL, fault);
}

/* ---- checking ---- */

static int check_file(const char *folder, const Farm__ModelFile *file,
                      struct sora_digest_cache *cache, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE + NAME_SIZE];
    snprintf(path, sizeof(path), "%s/%s", folder, file->path);
    struct sora_blob blob;
    int rc = sora_digest_cache_get(cache, path, &blob, fault);
    if (rc)
        return rc;
    if (blob.size != file->size || memcmp(blob.digest.bytes, file->digest.data, SORA_DIGEST_SIZE))
        return sora_fault_set(fault, SORA_E_FORMAT, "%s is not what the model's manifest says",
                              path);
    return SORA_OK;
}

int sora_model_folder_check(const char *path, const struct sora_digest *digest,
                            struct sora_digest_cache *cache, struct sora_bytes *manifest,
                            struct sora_fault *fault)
{
    char name[SORA_FILE_PATH_SIZE + 16];
    snprintf(name, sizeof(name), "%s/" MANIFEST_NAME, path);
    struct sora_bytes bytes;
    int rc = sora_file_read(name, SORA_MODEL_MANIFEST_BYTES_MAX, &bytes, fault);
    if (rc)
        return rc;
    struct sora_digest is;
    sora_digest_of(bytes.data, bytes.size, &is);
    if (!sora_digest_equal(&is, digest))
        rc = sora_fault_set(fault, SORA_E_FORMAT, "%s is damaged", name);
    struct sora_message *message = NULL;
    struct sora_model_facts facts;
    if (rc == SORA_OK)
        rc = sora_model_manifest_unpack(bytes.data, bytes.size, &message, &facts, fault);
    const Farm__ModelManifest *wire =
        rc == SORA_OK ? (const Farm__ModelManifest *)message->any : NULL;
    for (size_t i = 0; rc == SORA_OK && i < wire->n_files; i++)
        rc = check_file(path, wire->files[i], cache, fault);
    if (rc == SORA_OK)
        rc = sora_bytes_append(manifest, bytes.data, bytes.size);
    sora_message_destroy(&message);
    sora_bytes_fini(&bytes);
    return rc;
}

/* ---- laying out ---- */

void sora_model_folder_remove(const char *path)
{
    (void)sora_file_remove_tree(path, NULL);
}

static int sync_folder(const char *path, struct sora_fault *fault)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = SORA_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        rc = sora_file_fault(fault, errno, "write", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int copy_file(const char *source, const char *target, struct sora_fault *fault)
{
    int from = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return sora_file_fault(fault, errno, "read", source);
    struct sora_file_part part;
    int rc = sora_file_part_open(target, &part, fault);
    char piece[65536];
    ssize_t got = 1;
    while (rc == SORA_OK && got > 0) {
        got = read(from, piece, sizeof(piece));
        if (got < 0 && errno != EINTR)
            rc = sora_file_fault(fault, errno, "read", source);
        else if (got > 0)
            rc = sora_file_part_write(&part, piece, (size_t)got, fault);
        else if (got < 0)
            got = 1;
    }
    close(from);
    if (rc)
        sora_file_part_discard(&part);
    else
        rc = sora_file_part_publish(&part, fault);
    return rc;
}

static int place_file(const char *folder, const struct sora_model_source *file,
                      struct sora_fault *fault)
{
    char target[SORA_FILE_PATH_SIZE + NAME_SIZE], parent[sizeof(target)];
    if (snprintf(target, sizeof(target), "%s/%s", folder, file->path) >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "the path %s/%s is too long", folder,
                              file->path);
    memcpy(parent, target, sizeof(parent));
    *strrchr(parent, '/') = 0;
    int rc = sora_file_make_dirs(parent, fault);
    if (rc == SORA_OK && link(file->source, target) != 0)
        rc = copy_file(file->source, target, fault);
    if (rc == SORA_OK)
        rc = sync_folder(parent, fault);
    return rc;
}

int sora_model_folder_lay_out(const char *path, const struct sora_model_source *sources,
                              size_t count, const struct sora_bytes *manifest,
                              struct sora_fault *fault)
{
    char part[2 * SORA_FILE_PATH_SIZE], name[sizeof(part) + 16], parent[SORA_FILE_PATH_SIZE];
    const char *last = strrchr(path, '/');
    if (!last || strlen(path) + 16 >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "the path %s is too long", path);
    snprintf(parent, sizeof(parent), "%.*s", (int)(last - path), path);
    snprintf(part, sizeof(part), "%s/.part-%s", parent, last + 1);
    sora_model_folder_remove(part);
    int rc = sora_file_make_dirs(part, fault);
    for (size_t i = 0; i < count && rc == SORA_OK; i++)
        rc = place_file(part, &sources[i], fault);
    snprintf(name, sizeof(name), "%s/" MANIFEST_NAME, part);
    if (rc == SORA_OK)
        rc = sora_file_write(name, manifest->data, manifest->size, fault);
    if (rc == SORA_OK) {
        sora_model_folder_remove(path);
        if (rename(part, path) != 0)
            rc = sora_file_fault(fault, errno, "create", path);
    }
    if (rc == SORA_OK)
        rc = sync_folder(parent, fault);
    if (rc)
        sora_model_folder_remove(part);
    return rc;
}
