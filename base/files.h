/*
 * Files: whole files in with a limit, whole files out at once or not at all.
 *
 * Everything here blocks on disk. Any thread; paths are borrowed for the call. Paths may come from
 * a person: what is wrong with one is said in the fault with the path and the way out.
 */
#ifndef SORA_BASE_FILES_H
#define SORA_BASE_FILES_H

#include "base/bytes.h"
#include "base/error.h"

/* Bytes of a path with its NUL; longer ones are refused with LIMIT. */
#define SORA_FILE_PATH_SIZE 4096

/* Reads all of `path` into `out_bytes`, which this call initialises with `size_max` as its limit
 * and the caller finishes; on error it is left empty. Errors: NOT_FOUND, DENIED, LIMIT (longer than
 * size_max, also when it grows while being read), INVALID (a folder), MEMORY, IO. */
int sora_file_read(const char *path, size_t size_max, struct sora_bytes *out_bytes,
                   struct sora_fault *fault);

/* Writes `size` bytes as `path`: a temporary file in the same folder, fsync, rename, fsync of the
 * folder. A reader sees the old file or the new one; on error nothing new is left behind. Errors:
 * those of sora_file_part_open and sora_file_part_publish. */
int sora_file_write(const char *path, const void *data, size_t size, struct sora_fault *fault);

/* Creates the folder `path` and its missing parents (mode 0777 less the umask). Done already is
 * fine. Errors: DENIED, INVALID (something else has that name), SPACE, LIMIT, IO. */
int sora_file_make_dirs(const char *path, struct sora_fault *fault);

/* Removes `path` with all that is in it; links are removed, not followed, and another file system
 * mounted below is not entered. What is missing is fine. Errors: DENIED, IO. */
int sora_file_remove_tree(const char *path, struct sora_fault *fault);

/* A file on its way to `path`, for writers that work piece by piece. The user owns the struct;
 * after open comes exactly one of publish and discard. */
struct sora_file_part {
    char path[SORA_FILE_PATH_SIZE];      /* where it is to go */
    char temporary[SORA_FILE_PATH_SIZE]; /* where it is: ".sora-part-*" in the same folder */
    int fd;                              /* open for reading and writing, or -1 */
};

/* Creates the temporary file (mode 0666 less the umask). Errors: NOT_FOUND (no such folder),
 * DENIED, INVALID (`path` is empty, a folder, a device or a pipe: renaming over those would
 * destroy them), LIMIT, SPACE, IO. */
int sora_file_part_open(const char *path, struct sora_file_part *out_part,
                        struct sora_fault *fault);

/* Writes all of `data` at the file's end. Errors: SPACE, IO. */
int sora_file_part_write(struct sora_file_part *part, const void *data, size_t size,
                         struct sora_fault *fault);

/* Flushes the file to disk, closes it and renames it to its path. On error it is discarded. */
int sora_file_part_publish(struct sora_file_part *part, struct sora_fault *fault);

/* Removes the temporary file. Accepts all-zero, published and discarded parts. */
void sora_file_part_discard(struct sora_file_part *part);

/* Sets the fault "cannot VERB PATH: <system's text>; <way out>" for an errno value and returns its
 * code. `verb` is "read", "write", "create" ... */
int sora_file_fault(struct sora_fault *fault, int errno_value, const char *verb, const char *path);

#endif
