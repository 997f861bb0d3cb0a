/*
 * Scratch folder for tests: made fresh under $TMPDIR (or /tmp), removed with everything in it.
 * Also counts what a failed write may have left behind. Single-threaded tests only.
 */
#ifndef SORA_TESTS_UNIT_SCRATCH_H
#define SORA_TESTS_UNIT_SCRATCH_H

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch_dir[512];

static inline int scratch_setup(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(scratch_dir, sizeof(scratch_dir), "%s/sora-test-XXXXXX", root ? root : "/tmp");
    return mkdtemp(scratch_dir) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *status, int type,
                                     struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static inline int scratch_teardown(void **state)
{
    (void)state;
    return nftw(scratch_dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of `name` in the scratch folder; good until the fourth next call. */
static inline const char *scratch_path(const char *name)
{
    static char paths[4][1024];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", scratch_dir, name);
    return path;
}

/* Copies a file; ends the test program when it cannot. */
static inline void scratch_copy(const char *from, const char *to)
{
    char bytes[65536];
    size_t size;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    while (in && out && (size = fread(bytes, 1, sizeof(bytes), in)) > 0)
        fwrite(bytes, 1, size, out);
    if (!in || !out || ferror(in) || fclose(out)) {
        perror(to);
        exit(1);
    }
    fclose(in);
}

/* Number of entries in the scratch folder's subfolder `name` ("" for the folder itself). */
static inline int scratch_entry_count(const char *name)
{
    DIR *dir = opendir(scratch_path(name));
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return count;
}

#endif
